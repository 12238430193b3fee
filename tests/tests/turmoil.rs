//! The production driver on a simulated network, through an origin's restart.
//!
//! Origin and RTMP player are `rml_rtmp`'s sessions, which share no code with ours.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use proxy_core::{
    io::{EventKind, PullOptions, PullState, Reply, Request},
    url::StreamKey,
};
use proxyd::{
    api::{ApiConfig, router},
    config::{Secret, Settings},
    driver::{Driver, DriverConfig, Handle},
    env::{Env, Wire},
    http_server::{HttpLimits, serve_http},
};
use rml_rtmp::{
    handshake::{Handshake, HandshakeProcessResult, PeerType},
    sessions::{
        ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, ServerSession,
        ServerSessionConfig, ServerSessionEvent, ServerSessionResult,
    },
    time::RtmpTimestamp,
};
use tests::turmoil_env::TurmoilEnv;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep_until},
};

const RTMP_PORT: u16 = 1935;
const HTTP_PORT: u16 = 8080;
const FRAME_TIME: Duration = Duration::from_millis(40);
const GOP_FRAMES: u32 = 25;
/// Bytes of a keyframe: more than a piece, a chunk and the segment of a write.
const KEYFRAME_BYTES: usize = 20_000;

const CRASHED_AT: Duration = Duration::from_secs(6);
const BACK_AT: Duration = Duration::from_secs(11);
const END_AT: Duration = Duration::from_secs(18);

/// After the origin listens: the longest backoff, dial, handshake and requests on a network of milliseconds.
const MEDIA_BACK_WITHIN: Duration = Duration::from_secs(2);

type Failure = Box<dyn std::error::Error>;

/// What everybody saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Video as it came to the player: when, timestamp, first two bytes, length.
    frames: Vec<(Duration, u32, [u8; 2], usize)>,
    /// FLV bytes as they came to the HTTP player.
    flv: Vec<(Duration, usize)>,
    flv_head: Vec<u8>,
    /// States of the pull.
    states: Vec<(u64, PullState)>,
    player_ended_at: Option<Duration>,
    flv_ended_at: Option<Duration>,
    down_at: Option<Duration>,
}

type Log = Arc<Mutex<Seen>>;

fn note(log: &Log, write: impl FnOnce(&mut Seen, Duration)) {
    write(&mut log.lock().expect("no panic"), turmoil::sim_elapsed().unwrap_or_default());
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

#[test]
fn players_keep_their_connections_and_get_media_again_after_an_origin_restart() {
    let seen = run(1);

    let restart: Vec<_> = seen.states.iter().map(|&(_, state)| state).collect();
    assert_eq!(seen.states.last().map(|&(_, state)| state), Some(PullState::Stopped), "{restart:?}");
    assert!(restart.contains(&PullState::BackingOff), "{restart:?}");

    let (_, _, head, _) = seen.frames[0];
    assert_eq!(head, [0x17, 0], "the sequence header comes first");
    let frame = |at: Duration| seen.frames.iter().position(|&(when, ..)| when > at);
    let gap = frame(CRASHED_AT + Duration::from_secs(1)).expect("media came back");
    let (back, _, head, _) = seen.frames[gap];
    assert!(back > BACK_AT && back < BACK_AT + MEDIA_BACK_WITHIN, "media came back at {back:?}");
    assert_eq!(head, [0x17, 0], "the sequence header comes again");
    assert_eq!(seen.frames[gap + 1].2, [0x17, 1], "then a keyframe");
    assert_eq!(seen.frames[gap + 1].3, KEYFRAME_BYTES);
    assert!(seen.frames.is_sorted_by_key(|&(_, timestamp, ..)| timestamp), "one rising clock");
    // Before the crash all but the first second, then from the return to the end.
    assert!(seen.frames.len() > 240, "{} frames", seen.frames.len());

    assert_eq!(&seen.flv_head[..4], b"FLV\x01");
    let flv_back = seen.flv.iter().find(|&&(when, _)| when > CRASHED_AT + Duration::from_secs(1));
    assert!(flv_back.is_some_and(|&(when, _)| when < BACK_AT + MEDIA_BACK_WITHIN), "{flv_back:?}");

    // Shutdown hangs up on everybody, in order, and the driver ends.
    let down = seen.down_at.expect("the driver ends");
    for ended in [seen.player_ended_at, seen.flv_ended_at] {
        let ended = ended.expect("told to go");
        assert!(ended >= END_AT && ended < down + Duration::from_millis(100), "{ended:?}, down {down:?}");
    }
}

#[test]
fn the_same_seed_leads_to_the_same_story() {
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first.frames, run(8).frames, "another seed, another story");
}

fn run(seed: u64) -> Seen {
    let log = Log::default();
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .simulation_duration(Duration::from_secs(60))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(5))
        .ephemeral_ports(1024..=65535)
        .tcp_capacity(4096)
        .enable_random_order()
        .build();
    let env = TurmoilEnv { seed };
    sim.host("origin", move || origin(env));
    sim.client("proxy", proxy(env, log.clone()));
    sim.client("player", player(env, log.clone()));
    sim.client("viewer", viewer(env, log.clone()));
    let (mut is_crashed, mut is_back) = (false, false);
    while !sim.step().expect("nobody fails") {
        if !is_crashed && sim.elapsed() >= CRASHED_AT {
            sim.crash("origin");
            is_crashed = true;
        }
        if !is_back && sim.elapsed() >= BACK_AT {
            sim.bounce("origin");
            is_back = true;
        }
    }
    drop(sim);
    Arc::into_inner(log).expect("the simulation is over").into_inner().expect("no panic")
}

async fn proxy(env: TurmoilEnv, log: Log) -> Result<(), Failure> {
    let config = DriverConfig { rtmp_listen: vec![any(RTMP_PORT)], ..DriverConfig::default() };
    let on_event = {
        let log = log.clone();
        move |event: &proxy_core::io::Event, now: proxy_core::Instant| {
            if let EventKind::PullEntered { state, .. } = event.kind {
                note(&log, |seen, _| seen.states.push((now.as_millis(), state)));
            }
        }
    };
    let (driver, handle) = Driver::bind(env, config, on_event).await?;
    assert_eq!(driver.rtmp_addrs(), [any(RTMP_PORT)]);
    let http = env.listen(any(HTTP_PORT)).await?;
    let api = ApiConfig { settings: Settings::default(), secret: Secret("not asked for here".to_owned()) };
    tokio::spawn(serve_http(env, http, router(handle.clone(), api), HttpLimits::default()));
    let operator = tokio::spawn(operate(handle));
    driver.run().await;
    note(&log, |seen, now| seen.down_at = Some(now));
    operator.await?;
    // Responses end after the driver.
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok(())
}

async fn operate(handle: Handle) {
    let key = StreamKey::new("", "live", "x").expect("a key");
    let url = "rtmp://origin/live/x".to_owned();
    let add = Request::Add { key: key.clone(), url, options: PullOptions::default() };
    assert_eq!(handle.request(add).await, Some(Reply::Added { state: PullState::Streaming }));
    sleep_until(Instant::now() + (END_AT - turmoil::sim_elapsed().unwrap_or_default())).await;
    let players = handle.query(move |proxy, now| proxy.stream(&key, now).map(|stream| stream.players)).await;
    assert_eq!(players, Some(Some(2)), "nobody lost its seat");
    assert_eq!(handle.request(Request::Shutdown).await, Some(Reply::Down));
    assert_eq!(handle.request(Request::Shutdown).await, None, "the driver is gone");
}

/// Serves video at 25 fps to everybody, whatever they ask for.
async fn origin(env: TurmoilEnv) -> Result<(), Failure> {
    let listener = env.listen(any(RTMP_PORT)).await?;
    loop {
        let (stream, _) = env.accept(&listener).await?;
        // The proxy hangs up whenever it likes.
        tokio::spawn(async move { serve(stream).await.map_err(|error| error.to_string()) });
    }
}

async fn serve(mut stream: impl Wire) -> Result<(), Failure> {
    let rest = shake_hands(&mut stream, PeerType::Server).await?;
    let (mut session, mut results) = ServerSession::new(ServerSessionConfig::new()).map_err(text)?;
    results.extend(session.handle_input(&rest).map_err(text)?);
    let mut playing = None;
    let mut buffer = vec![0; 4096];
    loop {
        for result in std::mem::take(&mut results) {
            let event = match result {
                ServerSessionResult::OutboundResponse(packet) => {
                    stream.write_all(&packet.bytes).await?;
                    continue;
                }
                ServerSessionResult::RaisedEvent(event) => event,
                ServerSessionResult::UnhandleableMessageReceived(_) => continue,
            };
            match event {
                ServerSessionEvent::ConnectionRequested { request_id, .. } => {
                    results.extend(session.accept_request(request_id).map_err(text)?);
                }
                ServerSessionEvent::PlayStreamRequested { request_id, stream_id, .. } => {
                    results.extend(session.accept_request(request_id).map_err(text)?);
                    playing = Some((stream_id, 0, Instant::now()));
                }
                _ => {}
            }
        }
        let due = playing.map(|(_, frame, since)| since + FRAME_TIME * frame);
        let read = match due {
            Some(due) => tokio::time::timeout_at(due, stream.read(&mut buffer)).await.ok(),
            None => Some(stream.read(&mut buffer).await),
        };
        match (read, &mut playing) {
            (Some(read), _) => match read? {
                0 => return Ok(()),
                len => results.extend(session.handle_input(&buffer[..len]).map_err(text)?),
            },
            (None, Some((stream_id, frame, _))) => {
                for data in video(*frame) {
                    let timestamp = RtmpTimestamp::new(*frame * 40);
                    let packet = session.send_video_data(*stream_id, data, timestamp, false).map_err(text)?;
                    stream.write_all(&packet.bytes).await?;
                }
                *frame += 1;
            }
            (None, None) => {}
        }
    }
}

/// What is sent as one frame: the first one comes with its sequence header.
fn video(frame: u32) -> Vec<Bytes> {
    let mut messages = Vec::new();
    if frame == 0 {
        messages.push(Bytes::from_static(&[0x17, 0, 0, 0, 0, 1, 0x42, 0, 0x1E]));
    }
    let (kind, len) = if frame.is_multiple_of(GOP_FRAMES) { (0x17, KEYFRAME_BYTES) } else { (0x27, 500) };
    let mut payload = vec![0x55; len];
    payload[..5].copy_from_slice(&[kind, 1, 0, 0, 0]);
    messages.push(Bytes::from(payload));
    messages
}

/// An RTMP player that stays until it is told to go.
async fn player(env: TurmoilEnv, log: Log) -> Result<(), Failure> {
    sleep_until(Instant::now() + Duration::from_secs(1)).await;
    let mut stream = env.dial(SocketAddr::new(turmoil::lookup("proxy"), RTMP_PORT)).await?;
    let rest = shake_hands(&mut stream, PeerType::Client).await?;
    let (mut session, mut results) = ClientSession::new(ClientSessionConfig::new()).map_err(text)?;
    results.push(session.request_connection("live".to_owned()).map_err(text)?);
    results.extend(session.handle_input(&rest).map_err(text)?);
    let mut buffer = vec![0; 4096];
    loop {
        for result in std::mem::take(&mut results) {
            let event = match result {
                ClientSessionResult::OutboundResponse(packet) => {
                    stream.write_all(&packet.bytes).await?;
                    continue;
                }
                ClientSessionResult::RaisedEvent(event) => event,
                ClientSessionResult::UnhandleableMessageReceived(_) => continue,
            };
            match event {
                ClientSessionEvent::ConnectionRequestAccepted => {
                    results.push(session.request_playback("x".to_owned()).map_err(text)?);
                }
                ClientSessionEvent::VideoDataReceived { timestamp, data } => {
                    let head = [data[0], data[1]];
                    note(&log, |seen, now| seen.frames.push((now, timestamp.value, head, data.len())));
                }
                _ => {}
            }
        }
        if !results.is_empty() {
            continue;
        }
        match stream.read(&mut buffer).await? {
            0 => {
                note(&log, |seen, now| seen.player_ended_at = Some(now));
                return Ok(());
            }
            len => results.extend(session.handle_input(&buffer[..len]).map_err(text)?),
        }
    }
}

/// An HTTP-FLV player that stays until the response ends.
async fn viewer(env: TurmoilEnv, log: Log) -> Result<(), Failure> {
    sleep_until(Instant::now() + Duration::from_secs(1)).await;
    let mut stream = env.dial(SocketAddr::new(turmoil::lookup("proxy"), HTTP_PORT)).await?;
    // HTTP/1.0 knows no chunks: the body ends with the connection.
    stream.write_all(b"GET /live/x.live.flv HTTP/1.0\r\n\r\n").await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("\r\ndate:"), "{head}");
    let mut buffer = vec![0; 4096];
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            note(&log, |seen, now| seen.flv_ended_at = Some(now));
            return Ok(());
        }
        note(&log, |seen, now| {
            if seen.flv_head.len() < 13 {
                seen.flv_head.extend_from_slice(&buffer[..len]);
            }
            seen.flv.push((now, len));
        });
    }
}

/// Shakes hands; returns what came after it.
async fn shake_hands(stream: &mut (impl Wire + ?Sized), peer: PeerType) -> Result<Vec<u8>, Failure> {
    let mut handshake = Handshake::new(peer);
    let hello = handshake.generate_outbound_p0_and_p1().map_err(text)?;
    stream.write_all(&hello).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Err("hung up in the handshake".into());
        }
        match handshake.process_bytes(&buffer[..len]).map_err(text)? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                stream.write_all(&response_bytes).await?
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                stream.write_all(&response_bytes).await?;
                return Ok(remaining_bytes);
            }
        }
    }
}

/// `rml_rtmp`'s errors are not all `Send`.
fn text(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}
