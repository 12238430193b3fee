use alloc::vec;

use super::*;

type Outcome = (Vec<Message>, Option<ChunkError>);

fn feed(decoder: &mut ChunkDecoder, mut piece: &[u8], outcome: &mut Outcome) {
    while outcome.1.is_none() {
        match decoder.decode(piece) {
            Ok(Decoded { used, message: Some(message) }) => {
                outcome.0.push(message);
                piece = &piece[used..];
            }
            Ok(Decoded { used, message: None }) => {
                assert_eq!(used, piece.len(), "without a message all input is used");
                return;
            }
            Err(error) => outcome.1 = Some(error),
        }
    }
}

fn decode_pieces<'a>(limits: ChunkLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = ChunkDecoder::new(limits);
    let mut outcome = (vec![], None);
    for piece in pieces {
        feed(&mut decoder, piece, &mut outcome);
    }
    outcome
}

/// Decodes `input` whole, byte by byte and in two pieces at every cut, which must not matter.
fn check_limits(limits: ChunkLimits, input: &[u8]) -> Outcome {
    let whole = decode_pieces(limits, [input]);
    assert_eq!(decode_pieces(limits, input.chunks(1)), whole, "byte by byte");
    for cut in 0..input.len() {
        let (front, back) = input.split_at(cut);
        assert_eq!(decode_pieces(limits, [front, back]), whole, "cut at {cut}");
    }
    whole
}

fn check(input: &[u8]) -> Outcome {
    check_limits(ChunkLimits::ORIGIN, input)
}

/// What came out, as (timestamp, payload), where nothing went wrong.
fn good(input: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let (messages, error) = check(input);
    assert_eq!(error, None);
    messages.into_iter().map(|message| (message.timestamp, message.payload.to_vec())).collect()
}

fn error(input: &[u8]) -> ChunkError {
    check(input).1.expect("an error")
}

fn message(type_id: u8, timestamp: u32, payload: &[u8]) -> Message {
    Message { type_id, timestamp, stream: 1, payload: payload.to_vec().into() }
}

fn encoded(chunk_stream: u32, chunk_size: u32, message: &Message) -> Vec<u8> {
    let mut out = vec![];
    encode(chunk_stream, chunk_size, message, &mut out);
    out
}

/// A type-0 header on `id`, message stream 1.
fn type_0(id: u8, time: u32, len: u32, type_id: u8) -> Vec<u8> {
    let mut out = vec![id];
    out.extend_from_slice(&time.min(0xFF_FFFF).to_be_bytes()[1..]);
    out.extend_from_slice(&len.to_be_bytes()[1..]);
    out.extend_from_slice(&[type_id, 1, 0, 0, 0]);
    if time >= 0xFF_FFFF {
        out.extend_from_slice(&time.to_be_bytes());
    }
    out
}

/// A type-1 header on `id`.
fn type_1(id: u8, delta: u32, len: u32, type_id: u8) -> Vec<u8> {
    let mut out = vec![0x40 | id];
    out.extend_from_slice(&delta.min(0xFF_FFFF).to_be_bytes()[1..]);
    out.extend_from_slice(&len.to_be_bytes()[1..]);
    out.push(type_id);
    if delta >= 0xFF_FFFF {
        out.extend_from_slice(&delta.to_be_bytes());
    }
    out
}

fn set_chunk_size(size: u32) -> Vec<u8> {
    [&type_0(2, 0, 4, 1)[..], &size.to_be_bytes()].concat()
}

#[test]
fn what_is_encoded_decodes_to_the_same() {
    for chunk_stream in [2, 63, 64, 319, 320, 65_599] {
        for chunk_size in [1, 2, 3, 128, CHUNK_SIZE_MAX] {
            for timestamp in [0, 0xFF_FFFE, 0xFF_FFFF, 0x0100_0000, u32::MAX] {
                for len in [0, 1, 128, 129] {
                    let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
                    let message = message(9, timestamp, &payload);
                    let mut input = set_chunk_size(chunk_size);
                    encode(chunk_stream, chunk_size, &message, &mut input);
                    let (messages, error) = decode_pieces(ChunkLimits::ORIGIN, [&input[..], &input[16..]]);
                    assert_eq!(error, None);
                    assert_eq!(messages[1..], [message.clone(), message], "{chunk_stream} {chunk_size}");
                }
            }
        }
    }
}

#[test]
fn a_small_message_has_the_bytes_of_the_specification() {
    let small = message(8, 1000, &[0xAF, 1, 2]);
    assert_eq!(encoded(4, 128, &small), [4, 0, 3, 232, 0, 0, 3, 8, 1, 0, 0, 0, 0xAF, 1, 2]);
    assert_eq!(encoded(4, 2, &small)[12..], [0xAF, 1, 0xC4, 2]);
    let late = message(8, 0x0100_0000, &[7, 8]);
    assert_eq!(
        encoded(400, 1, &late),
        [1, 0x50, 1, 0xFF, 0xFF, 0xFF, 0, 0, 2, 8, 1, 0, 0, 0, 1, 0, 0, 0, 7, 0xC1, 0x50, 1, 1, 0, 0, 0, 8]
    );
}

#[test]
fn an_empty_message_is_a_message() {
    assert_eq!(good(&[type_0(4, 5, 0, 8), vec![0xC4]].concat()), [(5, vec![]), (10, vec![])]);
}

#[test]
fn long_forms_of_small_chunk_stream_ids_are_the_same_stream() {
    // 64 in two bytes, then in three (as some encoders write it).
    let input =
        [&[0x00, 0x00][..], &type_0(0, 7, 1, 8)[1..], &[1], &[0x41, 0, 0], &[0, 0, 3, 0, 0, 1, 8], &[2]];
    assert_eq!(good(&input.concat()), [(7, vec![1]), (10, vec![2])]);
}

#[test]
fn headers_inherit_what_they_leave_out() {
    let input = [
        &type_0(6, 1000, 2, 9)[..],
        &[1, 2],
        &type_1(6, 40, 1, 8),
        &[3],
        &[0x86, 0, 0, 20],
        &[4],
        &[0xC6, 5],
        &[0xC6, 6],
    ];
    let (messages, error) = check(&input.concat());
    assert_eq!(error, None);
    let told: Vec<_> = messages.iter().map(|m| (m.type_id, m.timestamp, m.stream, m.payload[0])).collect();
    assert_eq!(told, [(9, 1000, 1, 1), (8, 1040, 1, 3), (8, 1060, 1, 4), (8, 1080, 1, 5), (8, 1100, 1, 6)]);
}

#[test]
fn type_3_behind_type_0_repeats_its_timestamp_as_a_delta() {
    // FMLE's audio: 26, then 0xC4, meant as 52 (§5.3.1.2.4).
    assert_eq!(good(&[&type_0(4, 26, 1, 8)[..], &[1, 0xC4, 2]].concat()), [(26, vec![1]), (52, vec![2])]);
}

#[test]
fn timestamps_wrap_at_2_to_the_32() {
    let input = [&type_0(4, u32::MAX, 1, 8)[..], &[1], &type_1(4, 3, 1, 8), &[2]];
    assert_eq!(good(&input.concat()), [(u32::MAX, vec![1]), (2, vec![2])]);
    // 10 ms back as a delta: rml_rtmp and GStreamer write it so.
    let input = [&type_0(4, 50, 1, 8)[..], &[1], &type_1(4, 10_u32.wrapping_neg(), 1, 8), &[2]];
    assert_eq!(good(&input.concat()), [(50, vec![1]), (40, vec![2])]);
}

#[test]
fn chunk_streams_interleave() {
    let (a, b) = ([b'a'; 300], [b'b'; 200]);
    let input = [
        &type_0(6, 1, 300, 9)[..],
        &a[..128],
        &type_0(4, 2, 200, 8),
        &b[..128],
        &[0xC6],
        &a[128..256],
        &type_0(2, 0, 6, 4),
        &[0, 6, 0, 0, 0, 9],
        &[0xC4],
        &b[128..],
        &[0xC6],
        &a[256..],
    ];
    assert_eq!(good(&input.concat()), [(0, vec![0, 6, 0, 0, 0, 9]), (2, b.to_vec()), (1, a.to_vec())]);
}

#[test]
fn chunk_stream_70_is_not_mistaken_for_6() {
    // 70 and the type bits make the byte that continues 6.
    let (a, b) = ([b'a'; 200], [b'b'; 200]);
    let far = [&[0, 70 - 64][..], &type_0(6, 2, 200, 8)[1..]].concat();
    let input =
        [&type_0(6, 1, 200, 9)[..], &a[..128], &far, &b[..128], &[0xC6], &a[128..], &[0xC0, 6], &b[128..]];
    assert_eq!(good(&input.concat()), [(1, a.to_vec()), (2, b.to_vec())]);
}

/// A message of `payload` in chunks of `size`, with what `repeat` says behind each type-3 header.
fn extended(time: u32, size: usize, payload: &[u8], repeat: &[u8]) -> Vec<u8> {
    let mut out = [set_chunk_size(size as u32), type_0(6, time, payload.len() as u32, 9)].concat();
    let mut chunks = payload.chunks(size);
    out.extend_from_slice(chunks.next().unwrap_or_default());
    for chunk in chunks {
        out.push(0xC6);
        out.extend_from_slice(repeat);
        out.extend_from_slice(chunk);
    }
    out
}

#[test]
fn the_extended_timestamp_may_be_repeated_or_not() {
    let payload: Vec<u8> = (0..40).collect();
    for time in [0xFF_FFFF, 0x0100_0000, 0x0102_0304, u32::MAX] {
        for size in [1, 2, 3, 4, 5, 7, 39] {
            for repeat in [&time.to_be_bytes()[..], &[]] {
                let next = encoded(4, size as u32, &message(8, 0, &[1, 2]));
                let told = good(&[extended(time, size, &payload, repeat), next].concat());
                assert_eq!(told[1], (time, payload.clone()), "{time:x} in chunks of {size}, {repeat:?}");
                assert_eq!(told.len(), 3);
            }
        }
    }
}

#[test]
fn payload_that_begins_like_the_timestamp_is_payload() {
    // Left out, and each chunk begins with three of the four bytes.
    let payload = [9, 9, 9, 9, 1, 0, 0, 9, 1, 0, 0, 8, 1, 0, 0];
    let told = good(&[extended(0x0100_0000, 4, &payload, &[]), set_chunk_size(9)].concat());
    assert_eq!(told[1], (0x0100_0000, payload.to_vec()));
}

#[test]
fn a_repeated_field_may_be_the_delta_or_the_absolute_timestamp() {
    let delta = 0x0100_0000_u32;
    let absolute = delta + 1000;
    for repeat in [delta.to_be_bytes(), absolute.to_be_bytes()] {
        let input = [
            &type_0(6, 1000, 1, 9)[..],
            &[1],
            &type_1(6, delta, 129, 9),
            &[2; 128],
            &[0xC6],
            &repeat,
            &[3],
            // A type 3 that begins a message may repeat it too.
            &[0xC6],
            &delta.to_be_bytes(),
            &[4; 128],
            &[0xC6, 5],
        ];
        let told = good(&input.concat());
        assert_eq!(told[1], (absolute, [&[2; 128][..], &[3]].concat()));
        assert_eq!(told[2], (absolute + delta, [&[4; 128][..], &[5]].concat()));
    }
}

#[test]
fn type_1_on_an_unknown_chunk_stream_is_a_delta_from_zero() {
    assert_eq!(good(&[&type_1(2, 7, 6, 4)[..], &[0, 6, 0, 0, 0, 9]].concat())[0].0, 7);
    assert_eq!(error(&[0x85, 0, 0, 0]), ChunkError::NoPreviousHeader { chunk_stream: 5 });
    assert_eq!(error(&[0xC0, 1]), ChunkError::NoPreviousHeader { chunk_stream: 65 });
}

#[test]
fn a_header_inside_a_message_must_continue_it() {
    let start = [&type_0(6, 0, 200, 9)[..], &[1; 128]].concat();
    let whole = (0, [[1; 128].as_slice(), &[2; 72]].concat());
    assert_eq!(good(&[&start[..], &type_1(6, 5, 200, 9), &[2; 72]].concat()), core::slice::from_ref(&whole));
    assert_eq!(good(&[&start[..], &[0x86, 0, 0, 5], &[2; 72]].concat()), [whole]);
    for inside in [type_0(6, 0, 200, 9), type_1(6, 0, 201, 9), type_1(6, 0, 200, 8)] {
        let expected = ChunkError::HeaderInsideMessage { chunk_stream: 6 };
        assert_eq!(error(&[start.clone(), inside].concat()), expected);
    }
}

#[test]
fn the_chunk_size_changes_between_the_chunks_of_another_message() {
    let payload: Vec<u8> = (0..200).collect();
    let up = [&type_0(6, 0, 200, 9)[..], &payload[..128], &set_chunk_size(4096), &[0xC6], &payload[128..]];
    assert_eq!(good(&up.concat())[1], (0, payload.clone()));
    let down = [
        &type_0(6, 0, 200, 9)[..],
        &payload[..128],
        &set_chunk_size(0x8000_0040),
        &[0xC6],
        &payload[128..192],
        &[0xC6],
        &payload[192..],
    ];
    assert_eq!(good(&down.concat())[1], (0, payload.clone()));
    let huge = [&set_chunk_size(0x7FFF_FFFF)[..], &type_0(6, 0, 200, 9), &payload];
    assert_eq!(good(&huge.concat())[1], (0, payload));
}

#[test]
fn a_chunk_size_of_zero_is_refused_and_a_short_one_ignored() {
    assert_eq!(error(&set_chunk_size(0)), ChunkError::ChunkSizeZero);
    assert_eq!(error(&set_chunk_size(0x8000_0000)), ChunkError::ChunkSizeZero);
    let input = [&type_0(2, 0, 3, 1)[..], &[0, 0, 1], &type_0(6, 0, 2, 9), &[1, 2]];
    assert_eq!(good(&input.concat())[1], (0, vec![1, 2]));
}

#[test]
fn abort_drops_the_unfinished_message() {
    let abort = |id: u8| [&type_0(2, 0, 4, 2)[..], &[0, 0, 0, id]].concat();
    let start = [&type_0(6, 10, 200, 9)[..], &[1; 128]].concat();
    let next = [&type_0(6, 20, 1, 9)[..], &[7]].concat();
    let told = good(&[start.clone(), abort(6), abort(9), next].concat());
    assert_eq!(told[2..], [(20, vec![7])]);
    // Aborting another stream changes nothing.
    let told = good(&[start, abort(9), vec![0xC6], vec![2; 72]].concat());
    assert_eq!(told[1].1.len(), 200);
}

#[test]
fn lengths_are_limited_by_type() {
    let too_long = |type_id, len| ChunkError::MessageTooLong { type_id, len };
    for (limits, type_id, len_max) in [
        (ChunkLimits::ORIGIN, 4, 64),
        (ChunkLimits::ORIGIN, 20, 256 * 1024),
        (ChunkLimits::ORIGIN, 18, 256 * 1024),
        (ChunkLimits::ORIGIN, 99, 256 * 1024),
        (ChunkLimits::PLAYER, 20, 64 * 1024),
    ] {
        assert_eq!(check_limits(limits, &type_0(6, 0, len_max, type_id)).1, None);
        let over = check_limits(limits, &type_0(6, 0, len_max + 1, type_id)).1;
        assert_eq!(over, Some(too_long(type_id, len_max + 1)));
    }
    assert_eq!(check(&type_0(6, 0, 0xFF_FFFF, 9)).1, None);
    for type_id in [8, 9, 22] {
        for len in [0, 1] {
            let refused = check_limits(ChunkLimits::PLAYER, &type_0(6, 0, len, type_id)).1;
            assert_eq!(refused, Some(too_long(type_id, len)));
        }
    }
}

#[test]
fn chunk_streams_are_limited() {
    let mut input = vec![];
    for id in 3..3 + 64 {
        encode(id, 128, &message(20, 0, &[1]), &mut input);
    }
    assert_eq!(decode_pieces(ChunkLimits::PLAYER, [&input[..]]).1, None);
    encode(100, 128, &message(20, 0, &[1]), &mut input);
    assert_eq!(decode_pieces(ChunkLimits::PLAYER, [&input[..]]).1, Some(ChunkError::TooManyChunkStreams));
}

#[test]
fn unfinished_bytes_are_limited_together() {
    let open = |id| [&type_0(id, 0, 60_000, 20)[..], &[1; 128]].concat();
    let two = [open(3), open(4)].concat();
    assert_eq!(check_limits(ChunkLimits::PLAYER, &two).1, None);
    let three = [two, open(5)].concat();
    assert_eq!(check_limits(ChunkLimits::PLAYER, &three).1, Some(ChunkError::TooManyPendingBytes));
    // What is finished or aborted gives its bytes back.
    let mut decoder = ChunkDecoder::new(ChunkLimits::PLAYER);
    let mut outcome = (vec![], None);
    for _ in 0..10 {
        feed(&mut decoder, &open(3), &mut outcome);
        feed(&mut decoder, &[&type_0(2, 0, 4, 2)[..], &[0, 0, 0, 3]].concat(), &mut outcome);
        feed(&mut decoder, &encoded(7, 128, &message(20, 0, &[3; 60_000])), &mut outcome);
    }
    assert_eq!((outcome.0.len(), outcome.1), (20, None));
    assert_eq!(decoder.pending_bytes, 0);
}

#[test]
fn a_long_message_is_handed_out_in_a_buffer_of_its_size() {
    let long = message(9, 0, &vec![5; 3_000_000]);
    let input = encoded(6, 128, &long);
    let mut decoder = ChunkDecoder::new(ChunkLimits::ORIGIN);
    let mut outcome = (vec![], None);
    for piece in input.chunks(1448) {
        feed(&mut decoder, piece, &mut outcome);
        assert!(decoder.streams[0].payload.capacity() <= 3_000_000);
    }
    assert_eq!(outcome, (vec![long], None));
    assert_eq!(decoder.pending_bytes, 0);
}
