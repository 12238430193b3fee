//! Our codec against those of others, on what all of them claim to speak.
//!
//! rml_rtmp keeps one payload buffer for all chunk streams, so it sees no interleaving; shiguredo_rtmp and
//! rtmp-rs do. None of them looks whether an extended timestamp is repeated, so here it always is.

#![expect(clippy::disallowed_methods, reason = "who looks for more takes more cases by the environment")]
#![expect(clippy::disallowed_types, reason = "the oracle speaks in hash maps")]

use std::collections::{HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*, test_runner::RngSeed};
use proxy_core::wire::{
    amf0::{self, Value},
    chunk::{self, ChunkDecoder, ChunkLimits, Decoded},
    handshake::{ClientHandshake, HandshakeKind, Progress, ServerHandshake},
    message::Message,
};
use rml_amf0::Amf0Value;
use rml_rtmp::{
    chunk_io::{ChunkDeserializer, ChunkSerializer},
    handshake::{Handshake, HandshakeProcessResult, PeerType},
    messages::MessagePayload,
    time::RtmpTimestamp,
};
use shiguredo_rtmp::tests as shiguredo;

/// What one of the streams carries next.
#[derive(Clone, Debug)]
struct Draft {
    /// Which chunk stream.
    lane: usize,
    type_id: u8,
    stream: u32,
    /// Added to the lane's last timestamp, modulo 2^32.
    advance: u32,
    len: usize,
    /// The shortest header the sender would like.
    format: u8,
    /// How many chunks go out before it is another lane's turn.
    burst: usize,
}

/// Ids in one, two and three bytes; 70 looks like 6 behind the type bits.
const LANES: [u32; 5] = [6, 63, 70, 319, 65_599];

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let advance = prop_oneof![
        6 => 0..50_u32,
        1 => 0xFF_FFF0..0x100_0010_u32,
        1 => Just(0x8000_0000_u32),
    ];
    let len =
        prop_oneof![4 => 0..300_usize, 1 => 300..3000_usize, 1 => Just(128_usize), 1 => Just(256_usize)];
    let draft = (
        0..LANES.len(),
        prop::sample::select(vec![8_u8, 9, 18, 20]),
        0..3_u32,
        advance,
        len,
        0..4_u8,
        1..4_usize,
    )
        .prop_map(|(lane, type_id, stream, advance, len, format, burst)| Draft {
            lane,
            type_id,
            stream,
            advance,
            len,
            format,
            burst,
        });
    vec(draft, 1..30)
}

/// What a sender remembers of a chunk stream.
#[derive(Clone, Copy)]
struct Lane {
    timestamp: u32,
    delta: u32,
    len: usize,
    type_id: u8,
    stream: u32,
    extended: Option<u32>,
}

/// Writes chunks by the specification, with every header type; shares no code with what it tests.
struct Sender {
    chunk_size: usize,
    lanes: [Option<Lane>; LANES.len()],
}

impl Sender {
    fn basic(format: u8, id: u32, out: &mut Vec<u8>) {
        if id < 64 {
            out.push(format << 6 | id as u8);
        } else if id < 320 {
            out.extend_from_slice(&[format << 6, (id - 64) as u8]);
        } else {
            out.extend_from_slice(&[format << 6 | 1, ((id - 64) & 0xFF) as u8, ((id - 64) >> 8) as u8]);
        }
    }

    /// Returns the chunks of one message, and the message.
    fn message(&mut self, draft: &Draft, fill: u8) -> (Vec<Vec<u8>>, Message) {
        let Draft { lane, type_id, stream, len, format, .. } = *draft;
        let id = LANES[lane];
        let before = self.lanes[lane];
        let mut timestamp = before.map_or(0, |lane| lane.timestamp).wrapping_add(draft.advance);
        let format = match before {
            Some(lane) if lane.stream == stream && format > 0 => {
                if lane.len != len || lane.type_id != type_id { 1 } else { format }
            }
            _ => 0,
        };
        if let (3, Some(lane)) = (format, before) {
            timestamp = lane.timestamp.wrapping_add(lane.delta);
        }
        let field = match (format, before) {
            (0, _) | (_, None) => timestamp,
            (_, Some(lane)) => timestamp.wrapping_sub(lane.timestamp),
        };
        let extended = match (format, before) {
            (3, Some(lane)) => lane.extended,
            _ => (field >= 0xFF_FFFF).then_some(field),
        };
        self.lanes[lane] = Some(Lane { timestamp, delta: field, len, type_id, stream, extended });

        let payload: Vec<u8> = (0..len).map(|n| fill.wrapping_add((n % 251) as u8)).collect();
        let mut first = vec![];
        Self::basic(format, id, &mut first);
        if format < 3 {
            first.extend_from_slice(&field.min(0xFF_FFFF).to_be_bytes()[1..]);
        }
        if format < 2 {
            first.extend_from_slice(&(len as u32).to_be_bytes()[1..]);
            first.push(type_id);
        }
        if format == 0 {
            first.extend_from_slice(&stream.to_le_bytes());
        }
        let extended: Vec<u8> = extended.map(|field| field.to_be_bytes().to_vec()).unwrap_or_default();
        first.extend_from_slice(&extended);
        let mut parts = payload.chunks(self.chunk_size);
        first.extend_from_slice(parts.next().unwrap_or_default());
        let mut chunks = vec![first];
        for part in parts {
            let mut chunk = vec![];
            Self::basic(3, id, &mut chunk);
            chunk.extend_from_slice(&extended);
            chunk.extend_from_slice(part);
            chunks.push(chunk);
        }
        (chunks, Message { type_id, timestamp, stream, payload: payload.into() })
    }
}

/// A chunk, the message it completes, and how many chunks go out in one turn.
type Queued = (Vec<u8>, Option<Message>, usize);

/// Writes the drafts, interleaved or not; returns the bytes and the messages in the order of their last chunks.
fn send(drafts: &[Draft], chunk_size: usize, is_interleaved: bool) -> (Vec<u8>, Vec<Message>) {
    let mut sender = Sender { chunk_size, lanes: [None; LANES.len()] };
    let mut bytes = set_chunk_size(chunk_size);
    let mut sent = vec![];
    let mut queues: [VecDeque<Queued>; LANES.len()] = Default::default();
    for (n, draft) in drafts.iter().enumerate() {
        let (chunks, message) = sender.message(draft, n as u8);
        let last = chunks.len() - 1;
        for (n, chunk) in chunks.into_iter().enumerate() {
            let message = (n == last).then(|| message.clone());
            if is_interleaved {
                queues[draft.lane].push_back((chunk, message, draft.burst));
            } else {
                bytes.extend_from_slice(&chunk);
                sent.extend(message);
            }
        }
    }
    while queues.iter().any(|queue| !queue.is_empty()) {
        for queue in &mut queues {
            let burst = queue.front().map_or(0, |(_, _, burst)| *burst);
            for (chunk, message, _) in queue.drain(..burst.min(queue.len())) {
                bytes.extend_from_slice(&chunk);
                sent.extend(message);
            }
        }
    }
    (bytes, sent)
}

fn set_chunk_size(size: usize) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0][..], &(size as u32).to_be_bytes()].concat()
}

/// Without Set Chunk Size, which others hand out in their own ways.
fn ours(bytes: &[u8], piece_len: usize) -> Vec<Message> {
    let mut decoder = ChunkDecoder::new(ChunkLimits::ORIGIN);
    let mut messages = vec![];
    for mut piece in bytes.chunks(piece_len) {
        while let Decoded { used, message: Some(message) } = decoder.decode(piece).expect("legal chunks") {
            piece = &piece[used..];
            messages.push(message);
        }
    }
    messages.retain(|message| message.type_id != 1);
    messages
}

fn rml(bytes: &[u8]) -> Vec<Message> {
    let mut decoder = ChunkDeserializer::new();
    let mut messages = vec![];
    let mut input = bytes;
    while let Some(payload) = decoder.get_next_message(input).expect("legal chunks") {
        input = &[];
        if payload.type_id == 1 {
            let size: [u8; 4] = payload.data[..].try_into().expect("four bytes");
            decoder.set_max_chunk_size(u32::from_be_bytes(size) as usize).expect("a legal size");
        } else {
            messages.push(Message {
                type_id: payload.type_id,
                timestamp: payload.timestamp.value,
                stream: payload.message_stream_id,
                payload: payload.data.to_vec().into(),
            });
        }
    }
    messages
}

fn rtmp_rs(bytes: &[u8], chunk_size: usize) -> Vec<Message> {
    let mut decoder = rtmp_rs::protocol::ChunkDecoder::new();
    let mut input = BytesMut::from(bytes);
    let mut messages = vec![];
    while !input.is_empty() {
        let before = input.len();
        if let Some(chunk) = decoder.decode(&mut input).expect("legal chunks") {
            if chunk.message_type == 1 {
                decoder.set_chunk_size(chunk_size as u32);
            } else {
                messages.push(Message {
                    type_id: chunk.message_type,
                    timestamp: chunk.timestamp,
                    stream: chunk.stream_id,
                    payload: chunk.payload,
                });
            }
        }
        assert!(input.len() < before, "whole chunks are always there");
    }
    messages
}

fn shiguredo(bytes: &[u8], chunk_size: usize) -> Vec<Message> {
    let mut decoder = shiguredo::RtmpChunkDecoder::default();
    let mut input = bytes;
    let mut messages = vec![];
    while !input.is_empty() {
        let (used, chunk) = decoder.decode(input).expect("legal chunks");
        input = &input[used..];
        let Some(chunk) = chunk else { continue };
        if chunk.message_type == shiguredo::RtmpMessageType::SetChunkSize {
            decoder.set_chunk_size(shiguredo::RtmpChunkSize::new(chunk_size).expect("a legal size"));
        } else {
            messages.push(Message {
                type_id: chunk.message_type as u8,
                timestamp: chunk.timestamp.as_millis(),
                stream: chunk.message_stream_id.get(),
                payload: chunk.payload.into(),
            });
        }
    }
    messages
}

/// The same cases in every run; `PROPTEST_CASES` asks for more of them, `PROPTEST_RNG_SEED` for others.
fn config() -> ProptestConfig {
    let seed = std::env::var_os("PROPTEST_RNG_SEED");
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if seed.is_some() {
        default
    } else {
        ProptestConfig { rng_seed: RngSeed::Fixed(0x5265_7075_6C6C), ..default }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whole_messages_decode_alike(drafts in drafts(), chunk_size in 1..5000_usize, piece_len in 1..3000_usize) {
        let (bytes, sent) = send(&drafts, chunk_size, false);
        prop_assert_eq!(&ours(&bytes, piece_len), &sent);
        prop_assert_eq!(&rml(&bytes), &sent);
        prop_assert_eq!(&rtmp_rs(&bytes, chunk_size), &sent);
        prop_assert_eq!(&shiguredo(&bytes, chunk_size), &sent);
    }

    #[test]
    fn interleaved_messages_decode_alike(drafts in drafts(), chunk_size in 1..700_usize, piece_len in 1..3000_usize) {
        let (bytes, sent) = send(&drafts, chunk_size, true);
        prop_assert_eq!(&ours(&bytes, piece_len), &sent);
        prop_assert_eq!(&rtmp_rs(&bytes, chunk_size), &sent);
        prop_assert_eq!(&shiguredo(&bytes, chunk_size), &sent);
    }

    #[test]
    fn what_we_encode_others_decode(drafts in drafts(), chunk_size in 1..5000_usize) {
        let mut sender = Sender { chunk_size, lanes: [None; LANES.len()] };
        let mut bytes = set_chunk_size(chunk_size);
        let mut sent = vec![];
        for (n, draft) in drafts.iter().enumerate() {
            let (_, message) = sender.message(draft, n as u8);
            chunk::encode(LANES[draft.lane], chunk_size as u32, &message, &mut bytes);
            sent.push(message);
        }
        prop_assert_eq!(&rml(&bytes), &sent);
        prop_assert_eq!(&rtmp_rs(&bytes, chunk_size), &sent);
        prop_assert_eq!(&shiguredo(&bytes, chunk_size), &sent);
    }

    #[test]
    fn what_rml_encodes_we_decode(drafts in drafts(), chunk_size in 1..5000_u32, piece_len in 1..3000_usize) {
        let mut encoder = ChunkSerializer::new();
        let mut bytes = encoder.set_max_chunk_size(chunk_size, RtmpTimestamp::new(0)).expect("a legal size").bytes;
        let mut sender = Sender { chunk_size: 1, lanes: [None; LANES.len()] };
        let mut sent = vec![];
        for (n, draft) in drafts.iter().enumerate() {
            // It writes nothing for an empty message.
            let draft = Draft { len: draft.len.max(1), ..draft.clone() };
            let (_, message) = sender.message(&draft, n as u8);
            let payload = MessagePayload {
                timestamp: RtmpTimestamp::new(message.timestamp),
                type_id: message.type_id,
                message_stream_id: message.stream,
                data: Bytes::copy_from_slice(&message.payload),
            };
            bytes.extend_from_slice(&encoder.serialize(&payload, false, false).expect("a legal message").bytes);
            sent.push(message);
        }
        prop_assert_eq!(ours(&bytes, piece_len), sent);
    }

    #[test]
    fn what_shiguredo_and_rtmp_rs_encode_we_decode(drafts in drafts(), chunk_size in 1..5000_usize, piece_len in 1..3000_usize) {
        let mut shiguredo_encoder = shiguredo::RtmpChunkEncoder::default();
        shiguredo_encoder.set_chunk_size(shiguredo::RtmpChunkSize::new(chunk_size).expect("a legal size"));
        let mut rtmp_rs_encoder = rtmp_rs::protocol::ChunkEncoder::new();
        rtmp_rs_encoder.set_chunk_size(chunk_size as u32);
        let mut from_shiguredo = set_chunk_size(chunk_size);
        let mut from_rtmp_rs = BytesMut::from(&set_chunk_size(chunk_size)[..]);
        let mut sender = Sender { chunk_size: 1, lanes: [None; LANES.len()] };
        let mut sent = vec![];
        for (n, draft) in drafts.iter().enumerate() {
            // rtmp-rs writes nothing for an empty message either.
            let draft = Draft { len: draft.len.max(1), ..draft.clone() };
            let (_, message) = sender.message(&draft, n as u8);
            shiguredo_encoder.encode(&mut from_shiguredo, &shiguredo::RtmpChunk {
                chunk_stream_id: shiguredo::RtmpChunkStreamId::new(LANES[draft.lane]).expect("a legal id"),
                message_stream_id: shiguredo::RtmpMessageStreamId::new(message.stream),
                message_type: shiguredo::RtmpMessageType::from_type_id(message.type_id).expect("a known type"),
                timestamp: shiguredo_rtmp::RtmpTimestamp::from_millis(message.timestamp),
                payload: message.payload.to_vec(),
            });
            rtmp_rs_encoder.encode(&rtmp_rs::protocol::chunk::RtmpChunk {
                csid: LANES[draft.lane],
                timestamp: message.timestamp,
                message_type: message.type_id,
                stream_id: message.stream,
                payload: message.payload.clone(),
            }, &mut from_rtmp_rs);
            sent.push(message);
        }
        prop_assert_eq!(&ours(&from_shiguredo, piece_len), &sent);
        // rtmp-rs writes the absolute timestamp where an extended delta belongs; its own decoder adds it up.
        if sent.iter().all(|message| message.timestamp < 0xFF_FFFF) {
            prop_assert_eq!(&ours(&from_rtmp_rs, piece_len), &sent);
        }
    }

    #[test]
    fn amf0_reads_alike(values in vec(value(), 0..8)) {
        let mut bytes = vec![];
        amf0::encode(&values, &mut bytes);
        let expected: Vec<_> = values.iter().map(to_rml).collect();
        prop_assert_eq!(&rml_amf0::deserialize(&mut &bytes[..]).expect("the common subset"), &expected);
        let theirs = rml_amf0::serialize(&expected).expect("the common subset");
        let ours = amf0::decode(&theirs).expect("the common subset");
        prop_assert_eq!(ours.iter().map(to_rml).collect::<Vec<_>>(), expected);
    }
}

/// What both libraries can say: no names twice, none empty, numbers that equal themselves.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<f64>().prop_filter("comparable", |number| !number.is_nan()).prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        ".{0,20}".prop_map(Value::String),
        Just(Value::Null),
        Just(Value::Undefined),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::StrictArray),
            prop::collection::hash_map("[a-zA-Z]{1,8}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn to_rml(value: &Value) -> Amf0Value {
    match value {
        Value::Number(number) => Amf0Value::Number(*number),
        Value::Boolean(boolean) => Amf0Value::Boolean(*boolean),
        Value::String(text) => Amf0Value::Utf8String(text.clone()),
        Value::Object(members) => Amf0Value::Object(
            members.iter().map(|(name, value)| (name.clone(), to_rml(value))).collect::<HashMap<_, _>>(),
        ),
        Value::Null => Amf0Value::Null,
        Value::Undefined => Amf0Value::Undefined,
        Value::StrictArray(elements) => Amf0Value::StrictArray(elements.iter().map(to_rml).collect()),
        Value::EcmaArray(_) | Value::Date(_) | Value::Xml(_) | Value::Typed { .. } => {
            unreachable!("not in the common subset: {value:?}")
        }
    }
}

/// Feeds rml's side and returns what it sends, and what it leaves over if it is done.
fn feed_rml(peer: &mut Handshake, bytes: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    match peer.process_bytes(bytes).expect("a legal handshake") {
        HandshakeProcessResult::InProgress { response_bytes } => (response_bytes, None),
        HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
            (response_bytes, Some(remaining_bytes))
        }
    }
}

const BEHIND: &[u8] = b"the first chunk";

#[test]
fn we_serve_rml() {
    for piece_len in [1, 7, 1536, 1537, 3073, 4000] {
        let mut peer = Handshake::new(PeerType::Client);
        let c0_c1 = peer.generate_outbound_p0_and_p1().expect("C0 and C1");
        let mut to_peer = vec![];
        let mut server = ServerHandshake::start(&[5; 1528]);
        for piece in c0_c1.chunks(piece_len) {
            let Ok((used, Progress::Pending(next))) = server.handle_bytes(piece, &mut to_peer) else {
                panic!("C2 is missing");
            };
            assert_eq!(used, piece.len());
            server = next;
        }
        assert_eq!(to_peer.len(), 3073);
        assert_ne!(to_peer[1537..], c0_c1[1..], "a digest is answered by one");
        to_peer.extend_from_slice(BEHIND);
        let (c2, left) = feed_rml(&mut peer, &to_peer);
        assert_eq!(left.as_deref(), Some(BEHIND));
        let Ok((1536, Progress::Done)) = server.handle_bytes(&[&c2, BEHIND].concat(), &mut vec![]) else {
            panic!("C2 is signed or an echo");
        };
    }
}

#[test]
fn rml_serves_us() {
    for kind in [HandshakeKind::Digest, HandshakeKind::Simple] {
        for piece_len in [1, 7, 1536, 1537, 3073, 4000] {
            let mut peer = Handshake::new(PeerType::Server);
            let mut c0_c1 = vec![];
            let client = ClientHandshake::start(kind, &[9; 1528], &mut c0_c1);
            let (mut to_us, left) = feed_rml(&mut peer, &c0_c1);
            assert_eq!((to_us.len(), left), (3073, None));
            to_us.extend_from_slice(BEHIND);

            let mut c2 = vec![];
            let mut state = Progress::Pending(client);
            let mut used = 0;
            for piece in to_us.chunks(piece_len) {
                let Progress::Pending(client) = state else { break };
                let (count, next) = client.handle_bytes(piece, &mut c2).expect("S2 is signed or an echo");
                used += count;
                state = next;
            }
            assert!(matches!(state, Progress::Done));
            assert_eq!((used, c2.len()), (3073, 1536));
            let (_, left) = feed_rml(&mut peer, &[&c2, BEHIND].concat());
            assert_eq!(left.as_deref(), Some(BEHIND));
        }
    }
}
