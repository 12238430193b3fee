//! What each fuzz target asserts about any bytes at all.
//!
//! The first bytes of the data choose roles, limits and cuts; the rest is what the peer sends.

use proxy_core::wire::{
    amf0::{self, Value},
    chunk::{self, ChunkDecoder, ChunkError, ChunkLimits, Decoded},
    command::Command,
    flv,
    handshake::{ClientHandshake, HandshakeError, HandshakeKind, Progress, ServerHandshake},
    message::{Message, split_aggregate, type_id},
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
