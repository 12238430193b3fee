//! Chunk decoding and fan-out, ours beside `rml_rtmp` in one run.
//!
//! ```text
//! cargo bench -p tests --bench chunks
//! cargo bench -p tests --bench chunks -- 'decode/.*/4096'
//! ```
//!
//! Both sides read the same wire in the same pieces out of the same buffer, filled between the measured moments as a
//! socket would fill it: in the processor's cache. Only the ratio is worth keeping; the last lines tell it. It is made
//! of each side's fastest sample: a machine that does other work makes samples slower, never faster. `copy` is the floor:
//! the same payload, copied out of the same buffer chunk by chunk by one who knows where every byte stands.
//!
//! Nothing here passes or fails by time.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    hint::black_box,
    mem,
    path::Path,
    time::{Duration, Instant},
};

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
        // Criterion reads a relative CARGO_TARGET_DIR as below this crate, where cargo does not.
        .output_directory(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("criterion"))
        .configure_from_args();
    decode(&mut criterion, &fastest);
    fan_out(&mut criterion, &fastest);
    criterion.final_summary();
    fastest.print();
}

fn decode(criterion: &mut Criterion, fastest: &Fastest) {
    let messages = stream(DECODE_BYTES);
    let mut group = criterion.benchmark_group("decode");
    for (chunk_size, copy) in [
        (128, read::<Copying<128>> as fn(&[u8]) -> (Seen, Duration)),
        (4096, read::<Copying<4096>>),
        (60_000, read::<Copying<60_000>>),
    ] {
        let wire = wire(&messages, chunk_size);
        // The wire begins with Set Chunk Size, which both hand out like any other message.
        let whole = Seen {
            messages: messages.len() + 1,
            bytes: messages.iter().map(|message| message.payload.len()).sum::<usize>() + 4,
        };
        assert_eq!(read::<ChunkDecoder>(&wire).0, whole, "our decoder reads all at chunk size {chunk_size}");
        assert_eq!(
            read::<ChunkDeserializer>(&wire).0,
            whole,
            "rml_rtmp reads all at chunk size {chunk_size}"
        );

        group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Bytes(wire.len() as u64));
        let case = format!("decode, {chunk_size}-byte chunks");
        for (name, side, read) in [
            ("ours", Side::Ours, read::<ChunkDecoder> as fn(&[u8]) -> (Seen, Duration)),
            ("rml_rtmp", Side::Rml, read::<ChunkDeserializer>),
            ("copy", Side::Floor, copy),
        ] {
            group.bench_function(BenchmarkId::new(name, chunk_size), |bencher| {
                bencher.iter_custom(|times| fastest.measure(&case, side, times, || read(&wire).1));
            });
        }
    }
    group.finish();
}

/// What came out of a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    messages: usize,
    bytes: usize,
}

/// Something that takes what a socket read.
trait Reader {
    fn new() -> Self;
    fn read(&mut self, piece: &[u8], seen: &mut Seen);
}

/// Reads a whole wire piece by piece; returns what was in it and the time spent in the reader.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn read<R: Reader>(wire: &[u8]) -> (Seen, Duration) {
    let (mut reader, mut seen, mut spent) = (R::new(), Seen::default(), Duration::ZERO);
    let mut buffer = vec![0; READ_BYTES];
    for piece in wire.chunks(READ_BYTES) {
        let buffer = &mut buffer[..piece.len()];
        buffer.copy_from_slice(piece);
        let start = Instant::now();
        reader.read(black_box(buffer), &mut seen);
        spent += start.elapsed();
    }
    (seen, spent)
}

impl Reader for ChunkDecoder {
    fn new() -> Self {
        Self::new(ChunkLimits::ORIGIN)
    }

    fn read(&mut self, piece: &[u8], seen: &mut Seen) {
        let mut rest = piece;
        loop {
            let decoded = self.decode(rest).expect("the wire is our own");
            rest = &rest[decoded.used..];
            let Some(message) = decoded.message else { break };
            seen.messages += 1;
            seen.bytes += black_box(message).payload.len();
        }
    }
}

impl Reader for ChunkDeserializer {
    fn new() -> Self {
        Self::new()
    }

    fn read(&mut self, piece: &[u8], seen: &mut Seen) {
        let mut rest = piece;
        while let Some(message) = self.get_next_message(rest).expect("the wire holds nothing it cannot read")
        {
            rest = &[];
            let message = black_box(message);
            seen.messages += 1;
            seen.bytes += message.data.len();
            if message.type_id == type_id::SET_CHUNK_SIZE {
                let size =
                    message.data.first_chunk().map(|size| u32::from_be_bytes(*size)).unwrap_or_default();
                self.set_max_chunk_size(size as usize).expect("a chunk size we encode with");
            }
        }
    }
}

/// Copies what comes into buffers of the sizes that frames have, as any reader must, and passes over headers.
struct Copying<const CHUNK: usize> {
    sizes: Sizes,
    is_audio: bool,
    frame: Vec<u8>,
    /// Bytes of the header under way that have not come.
    header: usize,
    /// Bytes of the chunk under way that have not come.
    chunk: usize,
}

impl<const CHUNK: usize> Copying<CHUNK> {
    fn next_frame(&mut self) -> Vec<u8> {
        self.is_audio = !self.is_audio;
        Vec::with_capacity(if self.is_audio { AUDIO_BYTES } else { self.sizes.next_video() })
    }

    fn missing(&self) -> usize {
        self.frame.capacity() - self.frame.len()
    }
}

impl<const CHUNK: usize> Reader for Copying<CHUNK> {
    fn new() -> Self {
        let frame = Vec::with_capacity(AUDIO_BYTES);
        Self { sizes: Sizes::new(), is_audio: true, frame, header: 12, chunk: CHUNK }
    }

    fn read(&mut self, piece: &[u8], seen: &mut Seen) {
        let mut rest = piece;
        while !rest.is_empty() {
            let header = self.header.min(rest.len());
            self.header -= header;
            rest = &rest[header..];
            let (now, later) = rest.split_at(rest.len().min(self.missing()).min(self.chunk));
            self.frame.extend_from_slice(now);
            self.chunk -= now.len();
            rest = later;
            if self.missing() == 0 {
                let next = self.next_frame();
                seen.messages += 1;
                seen.bytes += black_box(mem::replace(&mut self.frame, next)).len();
                (self.header, self.chunk) = (12, CHUNK);
            } else if self.chunk == 0 {
                (self.header, self.chunk) = (1, CHUNK);
            }
        }
    }
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
                fastest.measure(&case, Side::Ours, times, || timed(|| fan_out_ours(&frames, players)))
            });
        });
        group.bench_function(BenchmarkId::new("rml_rtmp", players), |bencher| {
            bencher.iter_custom(|times| {
                fastest.measure(&case, Side::Rml, times, || timed(|| fan_out_rml(&payloads, players)))
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
        relay.push(frame, proxy_core::time::Instant::ZERO);
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

/// An audio frame, in bytes.
const AUDIO_BYTES: usize = 300;

/// Makes a live stream: H.264 of 10–100 KB a frame at 30 fps with a keyframe each second, AAC of 300 bytes at 43 fps.
fn stream(bytes_min: usize) -> Vec<Message> {
    let mut sizes = Sizes::new();
    let mut messages =
        vec![message(type_id::VIDEO, 0, &[0x17, 0, 0, 0, 0], 40), message(type_id::AUDIO, 0, &[0xAF, 0], 4)];
    let (mut bytes, mut video, mut audio) = (0, 0, 0);
    while bytes < bytes_min {
        let (video_at, audio_at) = (video * 1000 / 30, audio * 1000 / 43);
        let next = if video_at <= audio_at {
            let kind = if video % 30 == 0 { 0x17 } else { 0x27 };
            video += 1;
            message(type_id::VIDEO, video_at, &[kind, 1, 0, 0, 0], sizes.next_video())
        } else {
            audio += 1;
            message(type_id::AUDIO, audio_at, &[0xAF, 1], AUDIO_BYTES)
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
    fn new() -> Self {
        Self(0x1234_5678)
    }

    /// Returns 10,000 to 99,999.
    fn next_video(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        10_000 + ((u64::from(self.0) * 90_000) >> 32) as usize
    }
}

/// Runs `work` and returns how long it took.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}

/// Whose code was measured.
#[derive(Clone, Copy)]
enum Side {
    Ours,
    Rml,
    Floor,
}

/// The fastest run of each side.
#[derive(Default)]
struct Sides {
    ours: Option<Duration>,
    rml: Option<Duration>,
    floor: Option<Duration>,
}

/// The fastest runs, by case.
#[derive(Default)]
struct Fastest(RefCell<BTreeMap<String, Sides>>);

impl Fastest {
    /// Runs `work` so many times and returns the sum of what it says it took, as criterion wants it.
    fn measure(&self, case: &str, side: Side, times: u64, work: impl Fn() -> Duration) -> Duration {
        let mut cases = self.0.borrow_mut();
        let sides = cases.entry(case.to_owned()).or_default();
        let kept = match side {
            Side::Ours => &mut sides.ours,
            Side::Rml => &mut sides.rml,
            Side::Floor => &mut sides.floor,
        };
        let mut sum = Duration::ZERO;
        for _ in 0..times {
            let took = work();
            *kept = Some(kept.map_or(took, |fastest| fastest.min(took)));
            sum += took;
        }
        sum
    }

    /// Tells the ratio of every case of which both sides were measured.
    #[expect(clippy::disallowed_methods, reason = "a ratio is told and nothing decided by it")]
    fn print(&self) {
        for (case, sides) in self.0.borrow().iter() {
            let (Some(ours), Some(rml)) = (sides.ours, sides.rml) else { continue };
            let ratio = rml.as_secs_f64() / ours.as_secs_f64();
            let floor = sides.floor.map(|floor| format!(", copy {floor:.2?}")).unwrap_or_default();
            println!("ratio  {case}: {ratio:.2} x as fast as rml_rtmp ({ours:.2?} against {rml:.2?}{floor})");
        }
    }
}
