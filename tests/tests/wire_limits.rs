//! Hostile bytes: what has panicked, aborted or starved other decoders costs ours an error and bounded memory.

use proxy_core::wire::{
    amf0::{self, Amf0Error, DEPTH_MAX, VALUES_MAX, Value},
    chunk::{ChunkDecoder, ChunkError, ChunkLimits, Decoded},
    command::Command,
    message::{Message, type_id},
};

#[path = "../../fuzz/src/heap.rs"]
mod heap;

/// A type-0 header on a chunk stream of 2–63, timestamp 0, message stream 1.
fn header(id: u8, len: u32, type_id: u8) -> Vec<u8> {
    let [_, high, mid, low] = len.to_be_bytes();
    vec![id, 0, 0, 0, high, mid, low, type_id, 1, 0, 0, 0]
}

/// The same, on 64–65599 by the three-byte form.
fn far_header(id: u32, len: u32, type_id: u8) -> Vec<u8> {
    let [low, high, ..] = (id - 64).to_le_bytes();
    [&[1, low, high], &header(0, len, type_id)[1..]].concat()
}

/// Feeds `input` in pieces of a network's size; returns messages, error, and the most heap the decoder held
/// beyond the messages.
fn attack(limits: ChunkLimits, input: &[u8]) -> (usize, Option<ChunkError>, usize) {
    let ((count, error), peak) = heap::peak(|| {
        let mut decoder = ChunkDecoder::new(limits);
        let mut count = 0;
        for mut piece in input.chunks(1448) {
            loop {
                match decoder.decode(piece) {
                    Ok(Decoded { used, message: Some(_) }) => {
                        count += 1;
                        piece = &piece[used..];
                    }
                    Ok(Decoded { message: None, .. }) => break,
                    Err(error) => return (count, Some(error)),
                }
            }
        }
        (count, None)
    });
    (count, error, peak)
}

#[test]
fn declared_lengths_reserve_only_what_has_come() {
    // One byte of 16 MiB: 256 KiB at most.
    let (_, error, peak) = attack(ChunkLimits::ORIGIN, &[header(6, 0xFF_FFFF, 9), vec![1]].concat());
    assert_eq!(error, None);
    assert!(peak <= 256 * 1024 + 4096, "{peak}");
    // A header alone reserves nothing.
    let (_, _, peak) = attack(ChunkLimits::ORIGIN, &header(6, 0xFF_FFFF, 9));
    assert!(peak <= 8192, "{peak}");
    // rtmp-rs: 142 KB of wire ask for 16 GB.
    let bomb: Vec<u8> =
        (0..10_000).flat_map(|n| [&far_header(64 + n, 0xFF_FFFF, 9)[..], &[1; 128]].concat()).collect();
    let (_, error, peak) = attack(ChunkLimits::ORIGIN, &bomb);
    assert_eq!(error, Some(ChunkError::TooManyChunkStreams));
    assert!(peak <= 64 * 256 * 1024 + 64 * 1024, "{peak}");
    let commands: Vec<u8> =
        (0..10_000).flat_map(|n| [&far_header(64 + n, 65_536, 20)[..], &[1; 128]].concat()).collect();
    let (_, error, peak) = attack(ChunkLimits::PLAYER, &commands);
    assert_eq!(error, Some(ChunkError::TooManyPendingBytes));
    assert!(peak <= 128 * 1024 + 16 * 1024, "{peak}");
}

#[test]
fn chunk_stream_ids_do_not_fill_the_memory() {
    // rml_rtmp keeps 65,536 entries, 5.6 MB, for 917 KB of wire.
    let bomb: Vec<u8> = (64..65_600).flat_map(|id| far_header(id, 0, 20)).collect();
    let (count, error, peak) = attack(ChunkLimits::PLAYER, &bomb);
    assert_eq!((count, error), (64, Some(ChunkError::TooManyChunkStreams)));
    assert!(peak <= 16 * 1024, "{peak}");
}

#[test]
fn a_message_of_the_largest_length_costs_its_length_and_a_half() {
    let mut input = [&header(2, 4, 1)[..], &[0x7F, 0xFF, 0xFF, 0xFF]].concat();
    input.extend_from_slice(&header(6, 0xFF_FFFF, 9));
    input.resize(input.len() + 0xFF_FFFF, 7);
    let (count, error, peak) = attack(ChunkLimits::ORIGIN, &input);
    assert_eq!((count, error), (2, None));
    assert!(peak <= 0xFF_FFFF * 3 / 2 + 64 * 1024, "{peak}");
}

#[test]
fn a_message_inside_a_message_neither_panics_nor_mixes() {
    // rml_rtmp: a ping between the chunks of a longer message panics, one of equal length mixes the payloads.
    let start = [&header(6, 200, 9)[..], &[b'A'; 128]].concat();
    let ping = [&header(2, 6, 4)[..], &[0, 6, 0, 0, 0, 1]].concat();
    let equal = [&header(4, 200, 8)[..], &[b'B'; 128], &[0xC6], &[b'A'; 72], &[0xC4], &[b'B'; 72]].concat();
    let mut decoder = ChunkDecoder::new(ChunkLimits::ORIGIN);
    let mut input = &[start, ping, equal].concat()[..];
    let mut payloads = vec![];
    while let Decoded { used, message: Some(message) } = decoder.decode(input).expect("legal chunks") {
        input = &input[used..];
        payloads.push(message.payload.to_vec());
    }
    assert_eq!(payloads, [vec![0, 6, 0, 0, 0, 1], vec![b'A'; 200], vec![b'B'; 200]]);
}

#[test]
fn chunk_sizes_of_nothing_are_refused() {
    // rml_rtmp never completes a message again.
    let (_, error, _) = attack(ChunkLimits::PLAYER, &[&header(2, 4, 1)[..], &[0; 4]].concat());
    assert_eq!(error, Some(ChunkError::ChunkSizeZero));
}

fn amf0_peak(input: &[u8]) -> (Result<Vec<Value>, Amf0Error>, usize) {
    heap::peak(|| amf0::decode(input))
}

#[test]
fn nested_amf0_neither_overflows_the_stack_nor_the_heap() {
    // rml_amf0 dies at 8,200 levels, 41 KB, and takes the process with it.
    for level in [&b"\x03\0\x01a"[..], b"\x08\0\0\0\x01\0\x01a", b"\x0A\0\0\0\x01", b"\x10\0\x01C\0\x01a"] {
        let (result, peak) = amf0_peak(&level.repeat(100_000));
        assert_eq!(result, Err(Amf0Error::TooDeep));
        assert!(peak <= 64 * (DEPTH_MAX + 1) * size_of::<(String, Value)>(), "{peak}");
    }
}

#[test]
fn declared_counts_and_lengths_of_amf0_allocate_nothing() {
    // scuffle-amf0: 5 bytes ask for 833 GB; rml_amf0: 5 bytes become a text of 65,535.
    for input in
        [&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF][..], &[0x0C, 0xFF, 0xFF, 0xFF, 0xFF], &[2, 0xFF, 0xFF, 1, 1]]
    {
        let (result, peak) = amf0_peak(input);
        assert_eq!(result, Err(Amf0Error::Truncated));
        assert!(peak <= 1024, "{peak}");
    }
    // A million values of one byte.
    let (result, peak) = amf0_peak(&[5; 1_000_000]);
    assert_eq!(result, Err(Amf0Error::TooManyValues));
    assert!(peak <= 3 * VALUES_MAX * size_of::<Value>(), "{peak}");
}

#[test]
fn commands_of_fewer_than_three_values_are_commands() {
    // rml_rtmp panics on a 12-byte chunk before connect, and on type 17 with a single byte.
    for (type_id, payload) in [
        (type_id::COMMAND_AMF0, &[][..]),
        (type_id::COMMAND_AMF3, &[]),
        (type_id::COMMAND_AMF3, &[0]),
        (type_id::COMMAND_AMF0, b"\x02\0\x04ping"),
        (type_id::COMMAND_AMF0, b"\x02\0\x04ping\0\0\0\0\0\0\0\0\0"),
    ] {
        let message = Message { type_id, timestamp: 0, stream: 0, payload: payload.to_vec().into() };
        let command = Command::parse(&message).expect("a command");
        assert_eq!((command.transaction, command.object, command.arguments.len()), (0.0, Value::Null, 0));
    }
}
