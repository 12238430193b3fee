//! What each fuzz target asserts about any bytes at all.
//!
//! The first bytes of the data choose roles, limits and cuts; the rest is what the peer sends.

use proxy_core::{
    session::{
        SessionError,
        client::{ClientEvent, ClientOptions, ClientSession},
        server::{Refusal, ServerEvent, ServerOptions, ServerSession},
    },
    url::OriginUrl,
    wire::{
        amf0::{self, Value},
        chunk::{self, ChunkDecoder, ChunkError, ChunkLimits, Decoded},
        command::Command,
        flv,
        handshake::{ClientHandshake, HandshakeError, HandshakeKind, Progress, ServerHandshake},
        message::{Message, split_aggregate, type_id},
    },
};

// Found beside this file, whoever includes it.
#[path = "heap.rs"]
mod heap;

/// Cuts `data` into pieces whose lengths repeat those in `lens`; an empty `lens` leaves it whole.
fn pieces<'a>(data: &'a [u8], lens: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = data;
    let mut lens = lens.iter().map(|&len| usize::from(len).max(1)).cycle();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, behind) = rest.split_at(lens.next().unwrap_or(rest.len()).min(rest.len()));
        rest = behind;
        Some(piece)
    })
}

/// What a handshake came to: what was sent, how much was used, the end if there was one.
type HandshakeOutcome = (Vec<u8>, usize, Option<Result<(), HandshakeError>>);

fn shake<'a, T>(
    mut machine: T,
    pieces: impl Iterator<Item = &'a [u8]>,
    step: impl Fn(T, &[u8], &mut Vec<u8>) -> Result<(usize, Progress<T>), HandshakeError>,
) -> HandshakeOutcome {
    let mut out = Vec::new();
    let mut used = 0;
    for piece in pieces {
        machine = match step(machine, piece, &mut out) {
            Ok((count, Progress::Pending(machine))) => {
                assert_eq!(count, piece.len(), "who waits has used everything");
                used += count;
                machine
            }
            Ok((count, Progress::Done)) => return (out, used + count, Some(Ok(()))),
            Err(error) => return (out, used, Some(Err(error))),
        };
    }
    (out, used, None)
}

/// The handshake in both roles: raw bytes from the peer, or an honest peer's with some bytes changed.
///
/// Pieces are worth the same as the whole, each side uses and sends at most 3,073 bytes, and an honest peer is
/// never refused.
pub fn handshake(data: &[u8]) {
    let Some((&[mode, seed, cut_a, cut_b], rest)) = data.split_first_chunk() else { return };
    let dice = |salt: u8| {
        std::array::from_fn(|n| (n as u8).wrapping_mul(seed | 1).wrapping_add(salt) ^ (n >> 7) as u8)
    };
    let kind = if mode & 1 == 0 { HandshakeKind::Digest } else { HandshakeKind::Simple };
    let cuts = [cut_a, cut_b];

    let mut to_server = Vec::new();
    let client = || ClientHandshake::start(kind, &dice(1), &mut Vec::new());
    let _opened = ClientHandshake::start(kind, &dice(1), &mut to_server);
    let server = || ServerHandshake::start(&dice(2));
    let (to_client, ..) = shake(server(), [&to_server[..]].into_iter(), ServerHandshake::handle_bytes);
    let (c2, _, end) = shake(client(), pieces(&to_client, &cuts), ClientHandshake::handle_bytes);
    assert_eq!((to_client.len(), end), (3073, Some(Ok(()))));
    to_server.extend_from_slice(&c2);

    let is_raw = mode & 2 != 0;
    let is_server = mode & 4 != 0;
    let mut bytes = if is_server { to_server } else { to_client };
    let mut is_honest = !is_raw;
    if is_raw {
        bytes = rest.to_vec();
    } else {
        for &[high, low, flip] in rest.as_chunks().0 {
            let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len();
            bytes[at] ^= flip;
            is_honest = false;
        }
    }

    let run = |lens: &[u8]| {
        if is_server {
            shake(server(), pieces(&bytes, lens), ServerHandshake::handle_bytes)
        } else {
            shake(client(), pieces(&bytes, lens), ClientHandshake::handle_bytes)
        }
    };
    let ((out, used, end), heap_peak) = heap::peak(|| run(&[]));
    assert!(heap_peak < 32 * 1024, "{heap_peak} bytes of heap for a handshake");
    let (cut_out, cut_used, cut_end) = run(&cuts);
    assert!((&cut_out, cut_end) == (&out, end), "pieces are worth the whole");
    if !matches!(end, Some(Err(_))) {
        assert_eq!(cut_used, used, "pieces are worth the whole");
    }
    assert!(used <= 3073 && out.len() <= 3073);
    match end {
        Some(Ok(())) => assert_eq!(used, 3073),
        Some(Err(HandshakeError::Version { version })) => assert!(version != 3 && bytes[0] == version),
        Some(Err(HandshakeError::Digest)) => assert!(!is_honest),
        None => assert!(!is_honest && bytes.len() < 3073),
    }
}

/// What a decoder came to.
type ChunkOutcome = (Vec<Message>, Option<ChunkError>);

fn decode_chunks<'a>(limits: ChunkLimits, pieces: impl Iterator<Item = &'a [u8]>) -> ChunkOutcome {
    let mut messages = Vec::new();
    let end = each_message(limits, pieces, |message| messages.push(message));
    (messages, end)
}

fn each_message<'a>(
    limits: ChunkLimits,
    pieces: impl Iterator<Item = &'a [u8]>,
    mut on_message: impl FnMut(Message),
) -> Option<ChunkError> {
    let mut decoder = ChunkDecoder::new(limits);
    for mut piece in pieces {
        loop {
            match decoder.decode(piece) {
                Ok(Decoded { used, message: Some(message) }) => {
                    on_message(message);
                    piece = &piece[used..];
                }
                Ok(Decoded { used, message: None }) => {
                    assert_eq!(used, piece.len(), "without a message all input is used");
                    break;
                }
                Err(error) => return Some(error),
            }
        }
    }
    None
}

/// Limits so small that a few bytes reach them.
const LIMITS_TINY: ChunkLimits = ChunkLimits {
    chunk_streams_max: 4,
    control_bytes_max: 16,
    command_bytes_max: 300,
    media_bytes_max: 1000,
    pending_bytes_max: 1500,
};

/// The table of chunk streams, errors and other odds and ends.
const DECODER_HEAP_MAX: usize = 64 * 1024;

/// Chunks from the peer.
///
/// Pieces are worth the same as the whole; the heap stays within the declared limits whatever lengths are
/// announced; every message, encoded again, decodes to the same; and nothing that reads messages panics.
pub fn chunk(data: &[u8]) {
    let Some((&[mode, cut_a, cut_b, size], input)) = data.split_first_chunk() else { return };
    let limits = match mode % 3 {
        0 => ChunkLimits::ORIGIN,
        1 => ChunkLimits::PLAYER,
        _ => LIMITS_TINY,
    };
    let cuts = [cut_a, cut_b];
    let (_, heap_peak) = heap::peak(|| each_message(limits, pieces(input, &cuts), drop));
    // A buffer that grows may stand beside the old one, which is at most half of it.
    let heap_max = limits.pending_bytes_max + limits.pending_bytes_max / 2 + DECODER_HEAP_MAX;
    assert!(heap_peak <= heap_max, "{heap_peak} bytes of heap, allowed {heap_max}");
    // Nor does a peer get more than it sends and what is reserved for the messages it has begun.
    let begun_max = limits.chunk_streams_max * 256 * 1024;
    assert!(heap_peak <= 4 * input.len() + begun_max + DECODER_HEAP_MAX);

    let whole = decode_chunks(limits, pieces(input, &[]));
    assert!(decode_chunks(limits, pieces(input, &cuts)) == whole, "pieces are worth the whole");
    assert!(decode_chunks(limits, pieces(input, &[1])) == whole, "bytes are worth the whole");

    for message in &whole.0 {
        check_limits(limits, message);
        check_encoding(message, u32::from(size).max(1));
        check_readers(message);
    }
}

fn check_limits(limits: ChunkLimits, message: &Message) {
    let len = message.payload.len();
    match message.type_id {
        1..=6 => assert!(len <= limits.control_bytes_max as usize),
        type_id::AUDIO | type_id::VIDEO | type_id::AGGREGATE => {
            assert!(limits.media_bytes_max > 0 && len <= limits.media_bytes_max as usize);
        }
        _ => assert!(len <= limits.command_bytes_max as usize),
    }
}

fn check_encoding(message: &Message, chunk_size: u32) {
    let announce =
        Message { payload: chunk_size.to_be_bytes().to_vec().into(), type_id: 1, ..message.clone() };
    for chunk_stream in [3, 64, 65_599] {
        let mut bytes = Vec::new();
        chunk::encode(2, 128, &announce, &mut bytes);
        chunk::encode(chunk_stream, chunk_size, message, &mut bytes);
        let (messages, error) = decode_chunks(ChunkLimits::ORIGIN, pieces(&bytes, &[]));
        match error {
            None => assert!(messages.len() == 2 && messages[1] == *message, "encoded and decoded again"),
            // It speaks of chunk sizes itself.
            Some(error) => assert_eq!((error, message.type_id), (ChunkError::ChunkSizeZero, 1)),
        }
    }
}

fn check_readers(message: &Message) {
    if let Some(control) = message.control()
        && control != proxy_core::wire::message::Control::Ignored
    {
        assert_eq!(control.to_message().control(), Some(control));
    }
    if let Some(frame) = flv::classify(message) {
        assert!(message.payload.ends_with(&frame.payload), "payloads are passed on as they came");
        assert_eq!(frame.timestamp, message.timestamp);
    }
    let mut parts_len = 0;
    for part in split_aggregate(message) {
        parts_len += part.payload.len() + 11;
        assert_eq!(part.stream, message.stream);
        assert!(split_aggregate(&part).next().is_none(), "aggregates do not nest");
    }
    assert!(parts_len <= message.payload.len());
    if let Ok(command) = Command::parse(message) {
        let _status = command.status();
    }
}

/// AMF0 from the peer.
///
/// What decodes stays within depth and count and survives being encoded; the heap is bounded by the length of
/// the input and the number of values, whatever counts are declared; and nothing that reads values panics.
pub fn amf0(data: &[u8]) {
    let (decoded, heap_peak) = heap::peak(|| amf0::decode(data));
    // A list that grows by doubling stands beside its old self; a replaced byte of text becomes three.
    let member = size_of::<(String, Value)>();
    let heap_max = 3 * amf0::VALUES_MAX * member + 9 * data.len() + 4096;
    assert!(heap_peak <= heap_max, "{heap_peak} bytes of heap, allowed {heap_max}");

    let cut = &data[..data.len() / 2];
    let _: Result<_, _> = amf0::decode(cut);
    for type_id in [type_id::COMMAND_AMF0, type_id::COMMAND_AMF3, type_id::DATA_AMF0, type_id::DATA_AMF3] {
        check_readers(&Message { type_id, timestamp: 0, stream: 0, payload: data.to_vec().into() });
    }

    let Ok(values) = decoded else { return };
    let mut count = 0;
    for value in &values {
        measure(value, 0, &mut count);
    }
    assert!(count <= amf0::VALUES_MAX);
    let encoded = |values: &[Value]| {
        let mut out = Vec::new();
        amf0::encode(values, &mut out);
        out
    };
    let bytes = encoded(&values);
    let again = amf0::decode(&bytes).expect("what we encode decodes");
    // By bytes, for a number that is none differs from itself.
    assert!(encoded(&again) == bytes, "encoded and decoded again");
}

fn measure(value: &Value, depth: usize, count: &mut usize) {
    *count += 1;
    let members = match value {
        Value::Object(members) => members,
        Value::EcmaArray(members) => members,
        Value::Typed { members, .. } => members,
        Value::StrictArray(elements) => {
            assert!(depth < amf0::DEPTH_MAX);
            return elements.iter().for_each(|element| measure(element, depth + 1, count));
        }
        Value::Number(_)
        | Value::Boolean(_)
        | Value::String(_)
        | Value::Null
        | Value::Undefined
        | Value::Date(_)
        | Value::Xml(_) => return,
    };
    assert!(depth < amf0::DEPTH_MAX);
    if let Some((name, first)) = members.first() {
        assert!(
            value.member(name).is_some_and(|found| std::ptr::eq(found, first)),
            "the first of a name is found"
        );
    }
    for (_, member) in members {
        measure(member, depth + 1, count);
    }
}

/// What a session came to: what it told, what it answered, the error if there was one.
///
/// Acknowledgements stand apart: where a type-3 header leaves open whether an extended timestamp follows, the bytes
/// behind a message have arrived before the message is told, so the two may change places.
#[derive(PartialEq)]
struct Talk<T> {
    told: Vec<T>,
    answers: Vec<Message>,
    acknowledgements: Vec<Message>,
    end: Option<SessionError>,
}

impl<T> Talk<T> {
    fn new(told: Vec<T>, out: &[u8], end: Option<SessionError>) -> Self {
        let (messages, error) = decode_chunks(ChunkLimits::ORIGIN, pieces(out, &[]));
        assert_eq!(error, None, "what we say is well formed");
        let (acknowledgements, answers) =
            messages.into_iter().partition(|message| message.type_id == type_id::ACKNOWLEDGEMENT);
        Self { told, answers, acknowledgements, end }
    }
}

/// Bytes on the heap for each byte that came in, in answers and events: an empty call of a few bytes is answered by
/// some hundred.
const SESSION_HEAP_PER_BYTE: usize = 200;

fn assert_heap(heap_peak: usize, limits: ChunkLimits, input_len: usize) {
    let pending = (limits.pending_bytes_max + limits.pending_bytes_max / 2)
        .min(2 * input_len + limits.chunk_streams_max * 256 * 1024);
    // A command's values live while it is read.
    let values = 3 * amf0::VALUES_MAX * size_of::<(String, Value)>();
    let heap_max = pending + values + SESSION_HEAP_PER_BYTE * input_len + DECODER_HEAP_MAX;
    assert!(heap_peak <= heap_max, "{heap_peak} bytes of heap, allowed {heap_max}");
}

fn limits_of(mode: u8) -> ChunkLimits {
    match mode % 3 {
        0 => ChunkLimits::ORIGIN,
        1 => ChunkLimits::PLAYER,
        _ => LIMITS_TINY,
    }
}

/// What an origin says up to the answer to createStream or to play, so that the fuzzer begins where it is wanted.
fn origin_opening(stage: u8) -> Vec<u8> {
    let call = |name: &str, transaction: f64, value: Value| Command {
        name: name.into(),
        transaction,
        object: Value::Null,
        arguments: vec![value],
    };
    let code = |code: &str| Value::Object(vec![("code".into(), code.into())]);
    let mut out = Vec::new();
    let mut say = |command: Command| chunk::encode(3, 128, &command.to_message(0), &mut out);
    if stage > 0 {
        say(call("_result", 1.0, code("NetConnection.Connect.Success")));
    }
    if stage > 1 {
        say(call("_result", 2.0, 1.0.into()));
    }
    if stage > 2 {
        say(call("onStatus", 0.0, code("NetStream.Play.Start")));
    }
    out
}

/// A pulling session, from behind the handshake or some steps on.
///
/// Pieces are worth the same as the whole, whatever we ask in between; the heap is bounded by what came in; what we
/// say is well formed; no frame is told outside a play that was told.
pub fn client_session(data: &[u8]) {
    let Some((&[mode, cut_a, cut_b, act], input)) = data.split_first_chunk() else { return };
    let limits = limits_of(mode);
    let opening = origin_opening((mode >> 2) & 3);
    let (before, behind) = input.split_at(input.len() * usize::from(act & 15) / 15);
    let url = OriginUrl::parse("rtmp://user:pw@h/live/cam?token=secret").expect("a good url");
    let options = ClientOptions { fc_subscribe: mode & 16 != 0, hops: 1, ids: vec![1, 2], limits };

    let run = |lens: &[u8]| {
        let mut out = Vec::new();
        let mut session = ClientSession::start(&url, &options, 3073, &mut out);
        let mut end = session.handle_bytes(&opening, &mut out).err();
        for piece in pieces(before, lens) {
            end = end.or_else(|| session.handle_bytes(piece, &mut out).err());
        }
        let mut told: Vec<_> = Vec::new();
        if act & 16 != 0 {
            told.extend(std::iter::from_fn(|| session.poll_event()));
        }
        if act & 32 != 0 {
            session.ping(7, &mut out);
        }
        if act & 64 != 0 {
            session.replay(&mut out);
            let mut plays = false;
            for event in std::iter::from_fn(|| session.poll_event()) {
                plays |= event == ClientEvent::Playing;
                assert!(plays || !matches!(event, ClientEvent::Frame(_) | ClientEvent::Ended(_)));
                told.push(event);
            }
        }
        for piece in pieces(behind, lens) {
            end = end.or_else(|| session.handle_bytes(piece, &mut out).err());
        }
        told.extend(std::iter::from_fn(|| session.poll_event()));
        Talk::new(told, &out, end)
    };
    let (whole, heap_peak) = heap::peak(|| run(&[]));
    // The measure includes reading our own answers back.
    assert_heap(heap_peak, limits, opening.len() + input.len() + 2048);
    assert!(run(&[cut_a, cut_b]) == whole, "pieces are worth the whole");
    assert!(run(&[1]) == whole, "bytes are worth the whole");

    let mut plays = 0;
    for event in &whole.told {
        match event {
            ClientEvent::Playing => plays += 1,
            ClientEvent::Frame(_) => assert!(plays > 0 || act & 64 != 0, "a frame outside a play"),
            ClientEvent::Redirect { url } => assert!(url.len() <= input.len() + 1024),
            ClientEvent::Status(status) | ClientEvent::Refused(status) => {
                for text in [&status.level, &status.code, &status.description] {
                    assert!(text.len() <= 512 && !text.chars().any(char::is_control));
                }
                assert!(!status.description.contains("token=secret"), "secrets are not repeated");
            }
            ClientEvent::Asked | ClientEvent::Pong { .. } | ClientEvent::Ended(_) => {}
        }
    }
    assert!(plays <= 1 + usize::from(act & 64 != 0), "told once for each play");
}

/// A serving session, from behind the handshake or from connect on.
///
/// Pieces are worth the same as the whole, whatever the owner decides in between; the heap is bounded by what came
/// in; what we say is well formed; `Play` and `Stopped` take turns and agree with what the session says of itself.
pub fn server_session(data: &[u8]) {
    let Some((&[mode, cut_a, cut_b, act], input)) = data.split_first_chunk() else { return };
    let limits = limits_of(mode);
    let (before, behind) = input.split_at(input.len() * usize::from(act & 15) / 15);
    let mut opening = Vec::new();
    if mode & 4 != 0 {
        let members =
            vec![("app".to_string(), "live?vhost=v".into()), ("tcUrl".to_string(), "rtmp://h/live".into())];
        let connect = Command {
            name: "connect".into(),
            transaction: 1.0,
            object: Value::Object(members),
            arguments: vec![],
        };
        chunk::encode(3, 128, &connect.to_message(0), &mut opening);
    }

    let run = |lens: &[u8]| {
        let options = ServerOptions { chunk_size: 60_000, streams_max: 3, hops_max: 8, limits };
        let mut session = ServerSession::new(options, 3073);
        let mut out = Vec::new();
        let mut told = Vec::new();
        let mut end = session.handle_bytes(&opening, &mut out).err();
        for piece in pieces(before, lens) {
            end = end.or_else(|| session.handle_bytes(piece, &mut out).err());
        }
        check_server_told(&mut session, &mut told);
        match (act >> 4) & 7 {
            0 => session.accept_play(&mut out),
            1 => session.reject_play(Refusal::StreamNotFound, &mut out),
            2 => {
                session.accept_play(&mut out);
                session.end_play(&mut out);
            }
            _ => {}
        }
        let is_over = matches!((act >> 4) & 7, 1 | 2);
        assert!(!(is_over && session.play_stream().is_some()));
        let decided = told.len();
        for piece in pieces(behind, lens) {
            end = end.or_else(|| session.handle_bytes(piece, &mut out).err());
        }
        let mut later = Vec::new();
        check_server_told(&mut session, &mut later);
        if is_over {
            assert!(later.first() != Some(&ServerEvent::Stopped), "it was over before");
        }
        told.extend(later);
        assert!(decided <= told.len());
        Talk::new(told, &out, end)
    };
    let (whole, heap_peak) = heap::peak(|| run(&[]));
    assert_heap(heap_peak, limits, opening.len() + input.len() + 2048);
    assert!(run(&[cut_a, cut_b]) == whole, "pieces are worth the whole");
    assert!(run(&[1]) == whole, "bytes are worth the whole");

    let connected = whole.told.iter().filter(|event| matches!(event, ServerEvent::Connected { .. })).count();
    assert!(connected <= 1);
    assert!(connected == 1 || whole.told.is_empty(), "nothing before connect");
}

/// Drains what a serving session tells; the last word agrees with its state.
fn check_server_told(session: &mut ServerSession, told: &mut Vec<ServerEvent>) {
    let mut plays = None;
    for event in std::iter::from_fn(|| session.poll_event()) {
        match &event {
            ServerEvent::Connected { agent, ids, .. } => assert!(agent.len() <= 512 && ids.len() <= 32),
            ServerEvent::Play { .. } => {
                assert!(plays != Some(true), "one play at a time");
                plays = Some(true);
            }
            ServerEvent::Stopped => {
                assert!(plays.is_none(), "told once, and never of a play that was not told");
                plays = Some(false);
            }
        }
        told.push(event);
    }
    if let Some(plays) = plays {
        assert_eq!(session.play_stream().is_some(), plays);
    }
}
