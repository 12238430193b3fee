//! Chunk decoding and fan-out, ours beside `rml_rtmp` in one run.
//!
//! ```text
//! cargo bench -p tests --bench chunks
//! cargo bench -p tests --bench chunks -- decode/4096
//! ```
//!
//! Both sides read the same wire in the same pieces, so only the ratio is worth keeping; the last lines tell it. It
//! is made of each side's fastest sample: a machine that does other work makes samples slower, never faster.
//! Nothing here passes or fails by time.

use std::{cell::RefCell, collections::BTreeMap, hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use proxy_core::{
    relay::{Format, Relay, RelayLimits},
    wire::{
        chunk::{ChunkDecoder, ChunkLimits, encode},
        flv::{Frame, classify},
        message::{Control, Message, type_id},
    },
};
use rml_rtmp::{
    chunk_io::{ChunkDeserializer, ChunkSerializer},
    messages::MessagePayload,
    time::RtmpTimestamp,
};

/// How much of a stream is decoded, in bytes of payload.
const DECODE_BYTES: usize = 25_000_000;

/// How much of a stream is fanned out, in bytes of payload.
const FAN_OUT_BYTES: usize = 5_000_000;

/// What one read from a socket brings.
const READ_BYTES: usize = 64 * 1024;

/// The chunk size at which both sides encode.
const FAN_OUT_CHUNK_SIZE: u32 = 4096;

fn main() {
    let fastest = Fastest::default();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    decode(&mut criterion, &fastest);
    fan_out(&mut criterion, &fastest);
    criterion.final_summary();
    fastest.print();
}

fn decode(criterion: &mut Criterion, fastest: &Fastest) {
    let messages = stream(DECODE_BYTES);
    let mut group = criterion.benchmark_group("decode");
    for chunk_size in [128, 4096, 60_000] {
        let wire = wire(&messages, chunk_size);
        // The wire begins with Set Chunk Size, which both hand out like any other message.
        let whole =
            (messages.len() + 1, messages.iter().map(|message| message.payload.len()).sum::<usize>() + 4);
        assert_eq!(decode_ours(&wire), whole, "our decoder reads everything at chunk size {chunk_size}");
        assert_eq!(decode_rml(&wire), whole, "rml_rtmp reads everything at chunk size {chunk_size}");

        group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Bytes(wire.len() as u64));
        let case = format!("decode, {chunk_size}-byte chunks");
        group.bench_function(BenchmarkId::new("ours", chunk_size), |bencher| {
            bencher.iter_custom(|times| fastest.measure(&case, Side::Ours, times, || decode_ours(&wire)));
        });
        group.bench_function(BenchmarkId::new("rml_rtmp", chunk_size), |bencher| {
            bencher.iter_custom(|times| fastest.measure(&case, Side::Rml, times, || decode_rml(&wire)));
        });
    }
    group.finish();
}

/// Returns how many messages came, and how many bytes they carried.
fn decode_ours(wire: &[u8]) -> (usize, usize) {
    let mut decoder = ChunkDecoder::new(ChunkLimits::ORIGIN);
    let mut seen = (0, 0);
    for piece in wire.chunks(READ_BYTES) {
        let mut rest = piece;
        loop {
            let decoded = decoder.decode(rest).expect("the wire is our own");
            rest = &rest[decoded.used..];
            let Some(message) = decoded.message else { break };
            let message = black_box(message);
            seen = (seen.0 + 1, seen.1 + message.payload.len());
        }
    }
    seen
}

/// As [`decode_ours`], with the other codec.
fn decode_rml(wire: &[u8]) -> (usize, usize) {
    let mut decoder = ChunkDeserializer::new();
    let mut seen = (0, 0);
    for piece in wire.chunks(READ_BYTES) {
        let mut rest = piece;
        while let Some(message) =
            decoder.get_next_message(rest).expect("the wire holds nothing it cannot read")
        {
            rest = &[];
            let message = black_box(message);
            seen = (seen.0 + 1, seen.1 + message.data.len());
            if message.type_id == type_id::SET_CHUNK_SIZE {
                let size =
                    message.data.first_chunk().map(|size| u32::from_be_bytes(*size)).unwrap_or_default();
                decoder.set_max_chunk_size(size as usize).expect("a chunk size we encode with");
            }
        }
    }
    seen
}

fn fan_out(criterion: &mut Criterion, fastest: &Fastest) {
    let messages = stream(FAN_OUT_BYTES);
    let frames: Vec<Frame> =
        messages.iter().map(|message| classify(message).expect("all of it is media")).collect();
    let payloads: Vec<MessagePayload> = messages
        .iter()
        .map(|message| MessagePayload {
            timestamp: RtmpTimestamp::new(message.timestamp),
            type_id: message.type_id,
            message_stream_id: message.stream,
            data: message.payload.clone(),
        })
        .collect();
    let bytes: usize = messages.iter().map(|message| message.payload.len()).sum();

    let mut group = criterion.benchmark_group("fan-out");
    for players in [1_usize, 100] {
        let (ours, rml) = (fan_out_ours(&frames, players), fan_out_rml(&payloads, players));
        let least = bytes * players;
        assert!(
            ours >= least && rml >= least,
            "every player gets everything: {ours}, {rml} of {least} bytes"
        );

        group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Bytes(least as u64));
        let case = format!("fan-out, {players} player(s)");
        group.bench_function(BenchmarkId::new("ours", players), |bencher| {
            bencher.iter_custom(|times| {
                fastest.measure(&case, Side::Ours, times, || fan_out_ours(&frames, players))
            });
        });
        group.bench_function(BenchmarkId::new("rml_rtmp", players), |bencher| {
            bencher.iter_custom(|times| {
                fastest.measure(&case, Side::Rml, times, || fan_out_rml(&payloads, players))
            });
        });
    }
    group.finish();
}

/// Relays every frame to every player as soon as it comes; returns the bytes handed out.
fn fan_out_ours(frames: &[Frame], players: usize) -> usize {
    let mut relay = Relay::new(RelayLimits { chunk_size: FAN_OUT_CHUNK_SIZE, ..RelayLimits::default() });
    let mut cursors = vec![relay.join(); players];
    let mut bytes = 0;
    for frame in frames {
        relay.push(frame);
        for cursor in &mut cursors {
            while let Some(packet) = relay.next(cursor, Format::Rtmp { stream: 1 }) {
                bytes += black_box(packet).len();
            }
        }
        let end = relay.end();
        relay.trim(end);
    }
    bytes
}

/// The same with an encoder for each player, as chunk headers that lean on earlier ones need.
fn fan_out_rml(payloads: &[MessagePayload], players: usize) -> usize {
    let new_serializer = || {
        let mut serializer = ChunkSerializer::new();
        let told = serializer.set_max_chunk_size(FAN_OUT_CHUNK_SIZE, RtmpTimestamp::new(0));
        told.expect("a chunk size the specification allows");
        serializer
    };
    let mut serializers: Vec<_> = (0..players).map(|_| new_serializer()).collect();
    let mut bytes = 0;
    for payload in payloads {
        for serializer in &mut serializers {
            let packet = serializer.serialize(payload, false, false).expect("short enough for RTMP");
            bytes += black_box(packet).bytes.len();
        }
    }
    bytes
}

/// Makes a live stream: H.264 of 10–100 KB a frame at 30 fps with a keyframe each second, AAC of 300 bytes at 43 fps.
fn stream(bytes_min: usize) -> Vec<Message> {
    let mut sizes = Sizes(0x1234_5678);
    let mut messages =
        vec![message(type_id::VIDEO, 0, &[0x17, 0, 0, 0, 0], 40), message(type_id::AUDIO, 0, &[0xAF, 0], 4)];
    let (mut bytes, mut video, mut audio) = (0, 0, 0);
    while bytes < bytes_min {
        let (video_at, audio_at) = (video * 1000 / 30, audio * 1000 / 43);
        let next = if video_at <= audio_at {
            let kind = if video % 30 == 0 { 0x17 } else { 0x27 };
            video += 1;
            message(type_id::VIDEO, video_at, &[kind, 1, 0, 0, 0], 10_000 + sizes.next_below(90_000))
        } else {
            audio += 1;
            message(type_id::AUDIO, audio_at, &[0xAF, 1], 300)
        };
        bytes += next.payload.len();
        messages.push(next);
    }
    messages
}

/// Makes a message of `len` bytes that begins with `head`; the rest is a pattern that resembles no chunk header.
fn message(type_id: u8, timestamp: u32, head: &[u8], len: usize) -> Message {
    let mut payload = vec![0x5A; len];
    payload[..head.len()].copy_from_slice(head);
    Message { type_id, timestamp, stream: 1, payload: Bytes::from(payload) }
}

/// Encodes a stream as an origin would, Set Chunk Size first.
fn wire(messages: &[Message], chunk_size: u32) -> Vec<u8> {
    let mut wire = Vec::new();
    encode(2, 128, &Control::SetChunkSize(chunk_size).to_message(), &mut wire);
    for message in messages {
        let chunk_stream = if message.type_id == type_id::VIDEO { 6 } else { 4 };
        encode(chunk_stream, chunk_size, message, &mut wire);
    }
    wire
}

/// Frame sizes that vary alike in every run: the linear congruential generator of Numerical Recipes.
struct Sizes(u32);

impl Sizes {
    fn next_below(&mut self, end: u32) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (u64::from(self.0) * u64::from(end) >> 32) as usize
    }
}

/// Whose code was measured.
#[derive(Clone, Copy)]
enum Side {
    Ours,
    Rml,
}

/// The fastest sample of each side, by case.
#[derive(Default)]
struct Fastest(RefCell<BTreeMap<String, (Option<Duration>, Option<Duration>)>>);

impl Fastest {
    /// Runs `work` and returns the time it took, as criterion wants it.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    fn measure<T>(&self, case: &str, side: Side, times: u64, work: impl Fn() -> T) -> Duration {
        let start = std::time::Instant::now();
        for _ in 0..times {
            black_box(work());
        }
        let took = start.elapsed();
        let each = took / u32::try_from(times).expect("a sample repeats a few times");
        let mut cases = self.0.borrow_mut();
        let (ours, rml) = cases.entry(case.to_owned()).or_default();
        let kept = match side {
            Side::Ours => ours,
            Side::Rml => rml,
        };
        *kept = Some(kept.map_or(each, |fastest| fastest.min(each)));
        took
    }

    /// Tells the ratio of every case of which both sides were measured.
    fn print(&self) {
        for (case, sides) in self.0.borrow().iter() {
            let (Some(ours), Some(rml)) = *sides else { continue };
            let ratio = rml.as_secs_f64() / ours.as_secs_f64();
            println!("ratio  {case}: {ratio:.2} x as fast as rml_rtmp ({ours:.2?} against {rml:.2?})");
        }
    }
}
