//! The production driver between a core and sockets that take what they like, when they like: nothing is lost, repeated or
//! turned round, credit is what the sockets took, and no more is handed over than credit allows.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use proxy_core::{
    Config,
    io::{ConnId, Input, Output, PullOptions, Request, ResolveError},
    session::server::{ServerEvent, ServerOptions, ServerSession},
    time::Instant,
    url::StreamKey,
    wire::{
        amf0::Value,
        chunk::{self, CHUNK_SIZE_DEFAULT, ChunkLimits},
        command::Command,
        handshake::{Progress, ServerHandshake},
        message::{Message, type_id},
    },
};
use proxyd::{
    driver::{Driver, DriverConfig},
    env::{Env, Wire},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf},
    sync::mpsc,
    time::Sleep,
};

/// Credit of a connection.
const SEND_BYTES_MAX: usize = 20_000;
/// What answers may have waiting beyond it.
const CONTROL_BYTES_MAX: usize = 1_024;
/// Bytes a socket's buffer holds.
const SOCKET_BYTES: usize = 8_000;
/// The player, the first that connects.
const PLAYER: ConnId = ConnId::accepted(0);
const HERE: ([u8; 4], u16) = ([10, 0, 0, 1], 1935);

/// What passed between core and driver, and what the player's socket took.
#[derive(Debug, Default)]
struct Seen {
    handed: Vec<u8>,
    packets: usize,
    credit: usize,
    credits: usize,
    /// Most bytes in flight when more were handed over.
    in_flight_max: usize,
    written: usize,
    writes: usize,
}

type Shared = Arc<Mutex<Seen>>;

fn lock(seen: &Shared) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sockets in memory.
#[derive(Clone, Debug)]
struct Memory {
    seen: Shared,
    players: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Pipe>>>,
    frames: Arc<Vec<usize>>,
}

/// A socket that takes pieces: so many bytes, or none for a while.
#[derive(Debug)]
struct Pipe {
    stream: DuplexStream,
    /// The player's; an origin's takes everything.
    taps: Option<(Shared, VecDeque<usize>)>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pipe {
    fn new(stream: DuplexStream, taps: Option<(Shared, VecDeque<usize>)>) -> Self {
        Self { stream, taps, pause: None }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, to)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let this = &mut *self;
        let Some((seen, pieces)) = &mut this.taps else {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        };
        let piece = pieces.pop_front().unwrap_or(usize::MAX);
        pieces.push_back(piece);
        if piece == 0 {
            let mut pause = Box::pin(tokio::time::sleep(Duration::from_millis(30)));
            let is_over = pause.as_mut().poll(cx).is_ready();
            this.pause = (!is_over).then_some(pause);
            return Poll::Pending;
        }
        let len = ready!(Pin::new(&mut this.stream).poll_write(cx, &bytes[..piece.min(bytes.len())]))?;
        let mut seen = lock(seen);
        seen.written += len;
        seen.writes += 1;
        Poll::Ready(Ok(len))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Wire for Pipe {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(HERE.into())
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(([10, 0, 0, 9], 50_000).into())
    }

    fn tune(&self) -> io::Result<()> {
        Ok(())
    }

    fn abort(self) {}
}

impl Env for Memory {
    type Stream = Pipe;
    type Listener = ();

    async fn dial(&self, _: SocketAddr) -> io::Result<Pipe> {
        let (near, far) = tokio::io::duplex(1 << 20);
        tokio::spawn(origin(far, Arc::clone(&self.frames)));
        Ok(Pipe::new(near, None))
    }

    async fn listen(&self, _: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    fn bound(&self, (): &()) -> io::Result<SocketAddr> {
        Ok(HERE.into())
    }

    async fn accept(&self, (): &()) -> io::Result<(Pipe, SocketAddr)> {
        let player = self.players.lock().await.recv().await;
        match player {
            Some(player) => Ok((player, ([10, 0, 0, 9], 50_000).into())),
            None => std::future::pending().await,
        }
    }

    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, ResolveError> {
        Err(ResolveError::NotFound)
    }

    fn wall(&self) -> Duration {
        Duration::ZERO
    }

    fn seed(&self) -> u64 {
        7
    }

    fn on_input(&self, input: &Input<'_>, _: Instant) {
        if let Input::Sent { conn: PLAYER, len } = input {
            let mut seen = lock(&self.seen);
            seen.credit += len;
            seen.credits += 1;
        }
    }

    fn on_output(&self, output: &Output, _: Instant) {
        if let Output::Transmit { conn: PLAYER, bytes } = output {
            let mut seen = lock(&self.seen);
            seen.in_flight_max = seen.in_flight_max.max(seen.handed.len() - seen.credit);
            seen.handed.extend_from_slice(bytes);
            seen.packets += 1;
        }
    }
}

fn video(timestamp: u32, head: [u8; 5], len: usize, out: &mut Vec<u8>) {
    let mut payload = head.to_vec();
    payload.extend((0..len).map(|at| (at as u32 ^ timestamp) as u8));
    let message = Message { type_id: type_id::VIDEO, timestamp, stream: 1, payload: Bytes::from(payload) };
    chunk::encode(6, 4096, &message, out);
}

/// Serves whoever comes: a frame of each length in turn, every 40 ms, a keyframe each second.
async fn origin(mut stream: DuplexStream, frames: Arc<Vec<usize>>) {
    let mut handshake = Some(ServerHandshake::start(&[9; 1528]));
    let options =
        ServerOptions { chunk_size: 4096, streams_max: 8, hops_max: 8, limits: ChunkLimits::PLAYER };
    let mut session = ServerSession::new(options, 3073);
    let (mut buffer, mut is_playing, mut number) = (vec![0; 16 * 1024], false, 0_u32);
    let mut tick = tokio::time::interval(Duration::from_millis(40));
    loop {
        let mut out = Vec::new();
        tokio::select! {
            read = stream.read(&mut buffer) => {
                let Ok(len @ 1..) = read else { return };
                let mut bytes = &buffer[..len];
                if let Some(pending) = handshake.take() {
                    let Ok((used, progress)) = pending.handle_bytes(bytes, &mut out) else { return };
                    bytes = &bytes[used..];
                    if let Progress::Pending(pending) = progress {
                        handshake = Some(pending);
                    }
                }
                if handshake.is_none() && session.handle_bytes(bytes, &mut out).is_err() {
                    return;
                }
                while let Some(event) = session.poll_event() {
                    if let ServerEvent::Play { .. } = event {
                        session.accept_play(&mut out);
                        is_playing = true;
                    }
                }
            }
            _ = tick.tick() => {
                if is_playing {
                    if number == 0 {
                        video(0, [0x17, 0, 0, 0, 0], 8, &mut out);
                    }
                    let kind = if number.is_multiple_of(25) { 0x17 } else { 0x27 };
                    let len = frames[number as usize % frames.len()];
                    video(number * 40, [kind, 1, 0, 0, 0], len, &mut out);
                    number += 1;
                }
            }
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
    }
}

/// Asks for the stream without waiting for an answer, and keeps all that comes.
async fn player(mut stream: DuplexStream, got: Arc<Mutex<Vec<u8>>>) {
    let mut out = vec![3];
    out.resize(1 + 1536 + 1536, 0);
    let mut call = |stream: u32, name: &str, transaction: f64, object: Value, arguments: &[Value]| {
        let command = Command { name: name.into(), transaction, object, arguments: arguments.to_vec() };
        chunk::encode(3, CHUNK_SIZE_DEFAULT, &command.to_message(stream), &mut out);
    };
    let app = vec![("app".into(), "live".into()), ("tcUrl".into(), "rtmp://10.0.0.1/live".into())];
    call(0, "connect", 1.0, Value::Object(app), &[]);
    call(0, "createStream", 2.0, Value::Null, &[]);
    call(1, "play", 3.0, Value::Null, &["x".into()]);
    if stream.write_all(&out).await.is_err() {
        return;
    }
    let mut buffer = vec![0; 4 * 1024];
    while let Ok(len @ 1..) = stream.read(&mut buffer).await {
        got.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..len]);
    }
}

/// Runs for some seconds of virtual time. Returns what was seen and what the player got.
fn run(frames: Vec<usize>, pieces: Vec<usize>) -> (Seen, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let (seen, got) = (Shared::default(), Arc::new(Mutex::new(Vec::new())));
    runtime.block_on(async {
        let (comes, players) = mpsc::unbounded_channel();
        let players = Arc::new(tokio::sync::Mutex::new(players));
        let env = Memory { seen: Arc::clone(&seen), players, frames: Arc::new(frames) };
        let mut core = Config::default();
        core.play.send_bytes_max = SEND_BYTES_MAX;
        core.play.control_bytes_max = CONTROL_BYTES_MAX;
        let config = DriverConfig { core, rtmp_listen: vec![HERE.into()] };
        let (driver, handle) = Driver::bind(env, config, |_, _| {}).await.expect("it listens");
        let driver = tokio::spawn(driver.run());
        let key = StreamKey::new("", "live", "x").expect("a key");
        let url = "rtmp://10.0.0.2/live/x".to_owned();
        handle.request(Request::Add { key, url, options: PullOptions::default() }).await.expect("it runs");
        let (near, far) = tokio::io::duplex(SOCKET_BYTES);
        let taps = Some((Arc::clone(&seen), VecDeque::from(pieces)));
        comes.send(Pipe::new(near, taps)).expect("it listens");
        let player = tokio::spawn(player(far, Arc::clone(&got)));
        tokio::time::sleep(Duration::from_secs(4)).await;
        player.abort();
        driver.abort();
    });
    drop(runtime);
    let seen = std::mem::take(&mut *lock(&seen));
    let got = std::mem::take(&mut *got.lock().unwrap_or_else(PoisonError::into_inner));
    (seen, got)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_is_handed_over_arrives_and_credit_is_what_was_taken(
        frames in vec(prop_oneof![1..200_usize, 1_000..30_000_usize], 1..8),
        pieces in vec(prop_oneof![Just(0_usize), 1..64_usize, 500..9_000_usize, Just(usize::MAX)], 1..12),
    ) {
        prop_assume!(pieces.iter().any(|piece| *piece > 64));
        let (seen, got) = run(frames, pieces);
        prop_assert!(seen.packets > 10, "the player has got a stream: {} packets", seen.packets);
        prop_assert!(seen.handed.starts_with(&got), "what came is not what was handed over");
        prop_assert_eq!(seen.credit, seen.written, "credit is what the socket took");
        prop_assert!(seen.credits <= seen.writes, "{} credits for {} writes", seen.credits, seen.writes);
        prop_assert!(seen.written >= got.len() && seen.written <= seen.handed.len());
        prop_assert!(
            seen.in_flight_max < SEND_BYTES_MAX + CONTROL_BYTES_MAX,
            "{} bytes in flight, and more were handed over",
            seen.in_flight_max
        );
    }
}

#[test]
fn what_gathers_while_a_socket_is_full_leaves_together() {
    let (seen, _) = run(vec![100], vec![0, 0, usize::MAX]);
    assert!(seen.writes * 2 < seen.packets, "{} writes of {} packets", seen.writes, seen.packets);
}
