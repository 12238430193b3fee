//! The HTTP API as controllers see it: every call's shape, over real sockets on loopback.
//!
//! The origin is `rml_rtmp`'s server, which shares no code with ours. Numbers that move (ports, bytes, ages) are
//! masked by their member's name; everything else is held word by word.

#![expect(clippy::disallowed_methods, reason = "real sockets and threads stand on the other side of the API")]

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use proxyd::{
    api::{ApiConfig, router},
    config::{Secret, Settings},
    driver::{Driver, DriverConfig, Handle},
    env::{Env, TokioEnv},
    http_server::{HttpLimits, serve_http},
};
use rml_rtmp::{
    handshake::{Handshake, HandshakeProcessResult, PeerType},
    sessions::{ServerSession, ServerSessionConfig, ServerSessionEvent, ServerSessionResult},
    time::RtmpTimestamp,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SECRET: &str = "a secret for tests";

/// Members whose numbers move.
const MOVING: &[&str] = &[
    "aliveSecond",
    "bytesSpeed",
    "createStamp",
    "frames",
    "id",
    "identifier",
    "in_flight_bytes",
    "key_frames",
    "liveSecs",
    "local_port",
    "next_attempt_ms",
    "peer_port",
    "relay_bytes",
    "timers",
    "totalBytes",
];

/// A proxy with its API on loopback.
struct Bench {
    http: SocketAddr,
    handle: Handle,
    /// What was asked and answered.
    transcript: String,
    origin: Option<SocketAddr>,
}

impl Bench {
    async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        // Outages are told while they last.
        settings.core.pull.backoff_min = Duration::from_secs(30);
        settings.core.pull.backoff_max = Duration::from_secs(30);
        settings.core.pull.backoff_idle_max = Duration::from_secs(30);
        change(&mut settings);
        let env = TokioEnv::new().expect("random numbers");
        let config = DriverConfig { core: settings.core.clone(), rtmp_listen: vec![loopback()] };
        let (driver, handle) = Driver::bind(env.clone(), config, |_, _| {}).await.expect("free ports");
        tokio::spawn(driver.run());
        let listener = env.listen(loopback()).await.expect("a free port");
        let http = env.bound(&listener).expect("an address");
        let config = ApiConfig { settings, secret: Secret(SECRET.to_owned()) };
        let router = router(handle.clone(), config);
        tokio::spawn(serve_http(env, listener, router, HttpLimits::default()));
        Self { http, handle, transcript: String::new(), origin: None }
    }

    /// Sends a request and returns status, head and body.
    async fn send(&self, request: &str, body: &str) -> (u16, String, String) {
        let mut stream = tokio::net::TcpStream::connect(self.http).await.expect("the API listens");
        let len = body.len();
        let text =
            format!("{request}\r\nhost: x\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).await.expect("room");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        let answer = String::from_utf8(answer).expect("UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        (status, head.to_owned(), body.to_owned())
    }

    /// Calls with the secret, as a form.
    async fn ask(&self, call: &str, arguments: &[(&str, &str)]) -> Value {
        let mut body = format!("secret={}", SECRET.replace(' ', "+"));
        for (name, value) in arguments {
            body.push_str(&format!("&{name}={}", value.replace('/', "%2F").replace(' ', "+")));
        }
        let head =
            format!("POST /index/api/{call} HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded");
        let (status, _, body) = self.send(&head, &body).await;
        assert_eq!(status, 200, "{call} {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Calls and writes the answer down.
    async fn tell(&mut self, call: &str, arguments: &[(&str, &str)]) -> Value {
        let answer = self.ask(call, arguments).await;
        let arguments: String = arguments.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        self.note(&format!("{call}{arguments}"), answer.clone());
        answer
    }

    fn note(&mut self, title: &str, answer: Value) {
        let answer = serde_json::to_string_pretty(&mask(answer)).expect("JSON");
        let text = format!("> {title}\n{answer}\n\n");
        self.transcript.push_str(&match self.origin {
            Some(origin) => text.replace(&origin.to_string(), "ORIGIN"),
            None => text,
        });
    }

    /// Waits until a stream's `state` is this.
    async fn until(&self, key: &str, state: &str) -> Value {
        for _ in 0..500 {
            let answer = self.ask("getProxyInfo", &[("key", key)]).await;
            if answer["data"]["state"] == state {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{key} did not become {state}: {}", self.ask("getProxyInfo", &[("key", key)]).await);
    }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn mask(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| {
                let moves = MOVING.contains(&name.as_str());
                let value = match value {
                    Value::Number(_) if moves => Value::from("<number>"),
                    Value::String(_) if moves => Value::from("<text>"),
                    value => mask(value),
                };
                (name, value)
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(mask).collect(),
        value => value,
    }
}

/// An origin with one stream of H.264 and AAC, by `rml_rtmp`. Dropping it ends listener and connections.
struct Origin {
    addr: SocketAddr,
    is_up: Arc<AtomicBool>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Origin {
    fn start() -> Self {
        let listener = TcpListener::bind(loopback()).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let addr = listener.local_addr().expect("an address");
        let is_up = Arc::new(AtomicBool::new(true));
        let up = Arc::clone(&is_up);
        let accepting = thread::spawn(move || {
            while up.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let up = Arc::clone(&up);
                        // A peer that leaves ends its thread.
                        thread::spawn(move || serve(stream, &up));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Self { addr, is_up, accepting: Some(accepting) }
    }

    fn url(&self) -> String {
        format!("rtmp://{}/live/cam", self.addr)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.is_up.store(false, Ordering::Relaxed);
        // The port refuses from here on.
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn serve(mut stream: TcpStream, is_up: &AtomicBool) -> Option<()> {
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(20))).ok()?;
    let mut buffer = vec![0; 4096];
    let mut handshake = Handshake::new(PeerType::Server);
    let mut rest = loop {
        let len = read(&mut stream, &mut buffer)?;
        match handshake.process_bytes(&buffer[..len]).ok()? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                stream.write_all(&response_bytes).ok()?
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                stream.write_all(&response_bytes).ok()?;
                break remaining_bytes;
            }
        }
    };
    let (mut session, results) = ServerSession::new(ServerSessionConfig::new()).ok()?;
    let mut playing = react(&mut session, &mut stream, results)?;
    let mut time = 0;
    while is_up.load(Ordering::Relaxed) {
        let results = session.handle_input(&rest).ok()?;
        playing = react(&mut session, &mut stream, results)?.or(playing);
        if let Some(message_stream) = playing {
            send_frames(&mut session, &mut stream, message_stream, time)?;
            time += 40;
        }
        let len = read(&mut stream, &mut buffer)?;
        rest = buffer[..len].to_vec();
    }
    // In order: a socket closed with unread bytes would reset.
    stream.shutdown(Shutdown::Write).ok()?;
    while read(&mut stream, &mut buffer).is_some() {}
    Some(())
}

/// Reads what is there within the timeout; `None` when the peer has left.
fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<usize> {
    match stream.read(buffer) {
        Ok(0) => None,
        Ok(len) => Some(len),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
        {
            Some(0)
        }
        Err(_) => None,
    }
}

/// Lets everybody connect and play; returns the message stream somebody plays.
fn react(
    session: &mut ServerSession,
    stream: &mut TcpStream,
    results: Vec<ServerSessionResult>,
) -> Option<Option<u32>> {
    let mut playing = None;
    let mut queue: std::collections::VecDeque<_> = results.into();
    while let Some(result) = queue.pop_front() {
        match result {
            ServerSessionResult::OutboundResponse(packet) => stream.write_all(&packet.bytes).ok()?,
            ServerSessionResult::RaisedEvent(ServerSessionEvent::ConnectionRequested {
                request_id, ..
            }) => {
                queue.extend(session.accept_request(request_id).ok()?);
            }
            ServerSessionResult::RaisedEvent(ServerSessionEvent::PlayStreamRequested {
                request_id,
                stream_id,
                ..
            }) => {
                queue.extend(session.accept_request(request_id).ok()?);
                playing = Some(stream_id);
            }
            ServerSessionResult::RaisedEvent(_) | ServerSessionResult::UnhandleableMessageReceived(_) => {}
        }
    }
    Some(playing)
}

/// Sends headers once, then a keyframe and some audio each time.
fn send_frames(
    session: &mut ServerSession,
    stream: &mut TcpStream,
    message_stream: u32,
    time: u32,
) -> Option<()> {
    let at = RtmpTimestamp::new(time);
    let mut video = vec![Bytes::from_static(&[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65])];
    let mut audio = vec![Bytes::from_static(&[0xAF, 1, 0x21])];
    if time == 0 {
        video.insert(0, Bytes::from_static(&[0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1F, 0xFF, 0xE1, 0, 0]));
        audio.insert(0, Bytes::from_static(&[0xAF, 0, 0x12, 0x10]));
    }
    for data in video {
        let packet = session.send_video_data(message_stream, data, at, false).ok()?;
        stream.write_all(&packet.bytes).ok()?;
    }
    for data in audio {
        let packet = session.send_audio_data(message_stream, data, at, false).ok()?;
        stream.write_all(&packet.bytes).ok()?;
    }
    Some(())
}

const KEY: &str = "__defaultVhost__/live/cam";
const NAMED: [(&str, &str); 3] = [("schema", "rtmp"), ("app", "live"), ("stream", "cam")];

/// A player of HTTP-FLV that has got its first bytes.
async fn flv_player(bench: &Bench) -> (tokio::net::TcpStream, String) {
    let mut player = tokio::net::TcpStream::connect(bench.http).await.expect("the server listens");
    player.write_all(b"GET /live/cam.live.flv HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("room");
    let mut got = Vec::new();
    while !got.windows(3).any(|bytes| bytes == b"FLV") {
        let mut buffer = [0; 4096];
        let len = player.read(&mut buffer).await.expect("bytes");
        assert_ne!(len, 0, "{}", String::from_utf8_lossy(&got));
        got.extend_from_slice(&buffer[..len]);
    }
    let text = String::from_utf8_lossy(&got).into_owned();
    let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
    (player, head)
}

#[tokio::test]
async fn a_stream_that_plays() {
    let origin = Origin::start();
    let mut bench = Bench::start(|_| {}).await;
    bench.origin = Some(origin.addr);
    let url = origin.url();
    let add = [("vhost", "__defaultVhost__"), ("app", "live"), ("stream", "cam"), ("url", url.as_str())];
    bench.tell("addStreamProxy", &add).await;
    bench.until(KEY, "streaming").await;
    // Both tracks are there before they are listed.
    for _ in 0..500 {
        let answer = bench.ask("getMediaInfo", &NAMED).await;
        if answer["tracks"].as_array().is_some_and(|tracks| tracks.len() == 2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench.tell("addStreamProxy", &add).await;
    bench.tell("getMediaList", &[]).await;
    bench.tell("getMediaList", &[("app", "live"), ("stream", "cam")]).await;
    bench.tell("getMediaList", &[("schema", "rtsp")]).await;
    bench.tell("getMediaList", &[("app", "other")]).await;
    bench.tell("getMediaInfo", &NAMED).await;
    bench.tell("isMediaOnline", &NAMED).await;
    bench.tell("isMediaOnline", &[("schema", "hls"), ("app", "live"), ("stream", "cam")]).await;
    bench.tell("listStreamProxy", &[]).await;
    bench.tell("listStreamProxy", &[("key", KEY)]).await;
    bench.tell("getProxyInfo", &[("key", KEY)]).await;
    bench.tell("getStatistic", &[]).await;
    bench.tell("updateStreamProxy", &[("key", KEY), ("stall_timeout_ms", "4000")]).await;
    bench.tell("close_streams", &[("app", "other"), ("force", "1")]).await;
    bench.tell("close_stream", &[NAMED[0], NAMED[1], NAMED[2], ("force", "1")]).await;
    bench.tell("listStreamProxy", &[]).await;
    bench.tell("addStreamProxy", &add).await;
    bench.tell("delStreamProxy", &[("key", KEY)]).await;
    bench.tell("delStreamProxy", &[("key", KEY)]).await;
    insta::assert_snapshot!(bench.transcript);
}

#[tokio::test]
async fn a_stream_with_players() {
    let origin = Origin::start();
    let mut bench = Bench::start(|_| {}).await;
    bench.origin = Some(origin.addr);
    bench.ask("addStreamProxy", &[NAMED[1], NAMED[2], ("url", &origin.url())]).await;
    bench.until(KEY, "streaming").await;
    let (mut player, head) = flv_player(&bench).await;
    assert_eq!(
        head.to_lowercase().lines().filter(|line| !line.starts_with("date")).collect::<Vec<_>>(),
        [
            "http/1.1 200 ok",
            "content-type: video/x-flv",
            "cache-control: no-store, no-cache",
            "pragma: no-cache",
            "access-control-allow-origin: *",
            "connection: close",
            "transfer-encoding: chunked",
        ]
    );
    let players = bench.tell("getMediaPlayerList", &NAMED).await;
    bench.tell("getAllSession", &[]).await;
    bench.tell("getAllSession", &[("peer_ip", "127.0.0.2")]).await;
    let info = bench.ask("getMediaInfo", &NAMED).await;
    assert_eq!((&info["readerCount"], &info["totalReaderCount"]), (&1.into(), &1.into()));
    bench.tell("close_stream", &NAMED).await;
    bench.tell("close_streams", &[]).await;
    let id = players["data"][0]["id"].as_str().expect("an id").to_owned();
    let kicked = bench.ask("kick_session", &[("id", &id)]).await;
    bench.note("kick_session id=…", kicked);
    let mut rest = Vec::new();
    // Kicked is hung up on; whether the last chunk came is the transport's business.
    let _ =
        tokio::time::timeout(Duration::from_secs(5), player.read_to_end(&mut rest)).await.expect("an end");
    let kicked = bench.ask("kick_session", &[("id", &id)]).await;
    bench.note("kick_session id=… again", kicked);
    let (_player, _) = flv_player(&bench).await;
    bench.tell("kick_sessions", &[("peer_ip", "127.0.0.1")]).await;
    bench.tell("getAllSession", &[]).await;
    bench.tell("close_streams", &[]).await;
    insta::assert_snapshot!(bench.transcript);
}

#[tokio::test]
async fn a_stream_in_an_outage() {
    let origin = Origin::start();
    let mut bench = Bench::start(|_| {}).await;
    bench.origin = Some(origin.addr);
    let add = [NAMED[1], NAMED[2], ("url", &*origin.url())].map(|(name, value)| (name, value.to_owned()));
    let add = add.each_ref().map(|(name, value)| (*name, value.as_str()));
    bench.ask("addStreamProxy", &add).await;
    bench.until(KEY, "streaming").await;
    drop(origin);
    bench.until(KEY, "backing_off").await;
    bench.tell("getProxyInfo", &[("key", KEY)]).await;
    bench.tell("getMediaList", &[]).await;
    bench.tell("getMediaInfo", &NAMED).await;
    bench.tell("isMediaOnline", &NAMED).await;
    bench.tell("getMediaPlayerList", &NAMED).await;
    // The same wish joins or begins an attempt, which fails and changes nothing.
    bench.tell("addStreamProxy", &add).await;
    bench.until(KEY, "backing_off").await;
    bench.tell("close_stream", &NAMED).await;
    bench.tell("getProxyInfo", &[("key", KEY)]).await;
    bench.tell("addStreamProxy", &add).await;
    bench.tell("listStreamProxy", &[]).await;
    bench.tell("addStreamProxy", &[add[0], add[1], add[2], ("force", "1")]).await;
    bench.tell("delStreamProxy", &[("key", KEY)]).await;
    insta::assert_snapshot!(bench.transcript);
}

#[tokio::test]
async fn the_server_tells_about_itself() {
    let mut bench = Bench::start(|_| {}).await;
    bench.tell("getApiList", &[]).await;
    bench.tell("getServerConfig", &[]).await;
    let version = bench.ask("version", &[]).await;
    assert_eq!(version["code"], 0);
    let members: Vec<_> = version["data"].as_object().expect("members").keys().collect();
    assert_eq!(members, ["branchName", "buildTime", "commitHash", "version"]);
    insta::assert_snapshot!(bench.transcript);
}

#[tokio::test]
async fn what_is_refused() {
    let mut bench = Bench::start(|_| {}).await;
    let add = [("app", "live"), ("stream", "cam")];
    bench.tell("addStreamProxy", &add).await;
    bench.tell("addStreamProxy", &[add[0], add[1], ("url", "rtsp://user:hush@h/live/cam")]).await;
    bench.tell("addStreamProxy", &[add[0], add[1], ("url", "rtmp://h/live")]).await;
    bench.tell("addStreamProxy", &[add[0], add[1], ("url", "rtmp:///live/cam")]).await;
    bench.tell("addStreamProxy", &[("app", "live"), ("stream", "a?b"), ("url", "rtmp://h/a/b")]).await;
    let url = ("url", "rtmp://127.0.0.1:1/live/cam");
    bench.tell("addStreamProxy", &[add[0], add[1], url, ("retry_count", "many")]).await;
    bench.tell("addStreamProxy", &[add[0], add[1], url, ("stall_timeout_ms", "1")]).await;
    bench.tell("delStreamProxy", &[]).await;
    bench.tell("delStreamProxy", &[("key", "no key")]).await;
    bench.tell("getProxyInfo", &[("key", KEY)]).await;
    bench.tell("listStreamProxy", &[("key", KEY)]).await;
    bench.tell("updateStreamProxy", &[("key", KEY)]).await;
    bench.tell("getMediaInfo", &[("app", "live")]).await;
    bench.tell("getMediaInfo", &NAMED).await;
    bench.tell("getMediaPlayerList", &NAMED).await;
    bench.tell("close_stream", &NAMED).await;
    bench.tell("kick_session", &[("id", "77")]).await;
    bench.tell("kick_session", &[("id", "me")]).await;
    bench.tell("getAllSession", &[("local_port", "x")]).await;
    insta::assert_snapshot!(bench.transcript);
}

/// Sends a raw request; returns status and body.
async fn raw(bench: &Bench, request: &str, body: &str) -> String {
    let (status, _, body) = bench.send(request, body).await;
    format!("{status} {}", body.trim_end())
}

#[tokio::test]
async fn who_may_call() {
    let bench = Bench::start(|_| {}).await;
    let login = r#"200 {"code":-100,"msg":"Please login first"}"#;
    let wrong = r#"200 {"code":-100,"msg":"Incorrect secret"}"#;
    for (request, body, wanted) in [
        ("GET /index/api/getMediaList HTTP/1.1", "", login),
        ("GET /index/api/getMediaList?secret= HTTP/1.1", "", login),
        ("GET /index/api/getMediaList?secret=a+secret HTTP/1.1", "", wrong),
        ("GET /index/api/getMediaList?secret=a+secret+for+tests HTTP/1.1", "", r#"200 {"code":0}"#),
        ("GET /index/api/getMediaList?SECRET=a%20secret%20for%20tests HTTP/1.1", "", r#"200 {"code":0}"#),
        ("GET /index/api/getMediaList HTTP/1.1\r\nsecret: a secret for tests", "", r#"200 {"code":0}"#),
        ("POST /index/api/getMediaList HTTP/1.1", "secret=a+secret+for+tests", r#"200 {"code":0}"#),
        ("POST /index/api/getMediaList HTTP/1.1", r#"{"secret":"a secret for tests"}"#, r#"200 {"code":0}"#),
        // The query overrides the body.
        ("POST /index/api/getMediaList?secret=x HTTP/1.1", "secret=a+secret+for+tests", wrong),
        ("GET /index/api/version HTTP/1.1", "", login),
        ("GET /index/api/getApiList HTTP/1.1", "", login),
        (
            "GET /index/api/addstreamproxy HTTP/1.1",
            "",
            r#"404 {"code":-500,"msg":"no such call; did you mean addStreamProxy?"}"#,
        ),
        (
            "GET /index/api/frobnicate HTTP/1.1",
            "",
            r#"404 {"code":-500,"msg":"no such call; getApiList lists what there is"}"#,
        ),
        (
            "POST /index/api/getMediaList HTTP/1.1\r\ncontent-type: application/json",
            "[1]",
            r#"200 {"code":-300,"msg":"the body is no JSON object"}"#,
        ),
    ] {
        assert_eq!(raw(&bench, request, body).await, wanted, "{request} {body}");
    }

    let bench = Bench::start(|settings| {
        settings.http.allow_ip_range = proxyd::config::IpRanges::parse("10.0.0.0/8").expect("a range");
    })
    .await;
    assert_eq!(
        raw(&bench, "GET /index/api/getMediaList?secret=a+secret+for+tests HTTP/1.1", "").await,
        r#"200 {"code":-100,"msg":"Your ip is not allowed to access the service."}"#
    );
    // Players are not operators.
    assert_eq!(raw(&bench, "HEAD /live/cam.live.flv HTTP/1.1", "").await, "404 ");
}

#[tokio::test]
async fn calls_are_bounded() {
    let bench = Bench::start(|settings| {
        settings.http.request_bytes_max = 1000;
        settings.http.request_timeout = Duration::from_millis(300);
        settings.api.requests_max = 2;
    })
    .await;
    let long = "x".repeat(2000);
    assert_eq!(
        raw(&bench, "POST /index/api/getMediaList HTTP/1.1", &long).await,
        r#"200 {"code":-300,"msg":"the body is cut off or has more than 1000 bytes"}"#
    );

    // Two callers that never finish their bodies fill the room, a third is told so, and time frees it.
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = tokio::net::TcpStream::connect(bench.http).await.expect("the API listens");
        let head = "POST /index/api/getMediaList HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nsecret";
        stream.write_all(head.as_bytes()).await.expect("room");
        slow.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let good = "GET /index/api/getMediaList?secret=a+secret+for+tests HTTP/1.1";
    assert_eq!(
        raw(&bench, good, "").await,
        r#"200 {"code":-1,"msg":"too many calls at once (api.requests_max)"}"#
    );
    let mut answer = vec![0; 4096];
    let len = slow[0].read(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..len]).into_owned();
    assert!(
        answer.ends_with(r#"{"code":-1,"msg":"the call took too long (http.request_timeout_ms)"}"#),
        "{answer}"
    );
    assert_eq!(raw(&bench, good, "").await, r#"200 {"code":0}"#);
}

#[tokio::test]
async fn adds_that_wait_leave_room_for_other_calls() {
    // Takes connections and never says a word.
    let silent = TcpListener::bind(loopback()).expect("a free port");
    let url = format!("rtmp://{}/live/cam", silent.local_addr().expect("an address"));
    let mut bench = Bench::start(|settings| {
        // Room for the add that begins and the look whether it has.
        settings.api.requests_max = 2;
        settings.api.adds_max = 1;
    })
    .await;
    bench.origin = silent.local_addr().ok();
    let bench = Arc::new(bench);
    let (waiting, url_of_it) = (Arc::clone(&bench), url.clone());
    let add = tokio::spawn(async move {
        let arguments =
            [("app", "live"), ("stream", "cam"), ("url", url_of_it.as_str()), ("timeout_sec", "1.5")];
        waiting.ask("addStreamProxy", &arguments).await
    });
    bench.until_known(KEY).await;
    let other = bench.ask("addStreamProxy", &[("app", "live"), ("stream", "two"), ("url", &url)]).await;
    assert_eq!(other["msg"], "too many adds are waiting (api.adds_max)");
    let answer = add.await.expect("no panic");
    assert_eq!(answer["code"], -1, "{answer}");
    assert_eq!(answer["msg"], "play rtmp timeout", "{answer}");
    assert_eq!(answer["data"]["key"], KEY, "{answer}");
}

impl Bench {
    /// Waits until a stream is registered.
    async fn until_known(&self, key: &str) {
        for _ in 0..500 {
            if self.ask("getProxyInfo", &[("key", key)]).await["code"] == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{key} was not registered: {}", self.ask("getProxyInfo", &[("key", key)]).await);
    }
}

#[tokio::test]
async fn players_without_a_stream_get_a_status() {
    let bench = Bench::start(|settings| settings.core.play.stream_wait = Duration::from_millis(50)).await;
    assert_eq!(raw(&bench, "GET /live/cam.live.flv HTTP/1.1", "").await, "404 no such stream");
    assert_eq!(raw(&bench, "HEAD /live/cam.flv HTTP/1.1", "").await, "404 ");
    assert_eq!(
        raw(&bench, "GET /live/cam.m3u8 HTTP/1.1", "").await,
        "404 no such page; streams are at /app/stream.live.flv"
    );
    assert_eq!(raw(&bench, "DELETE /live/cam.flv HTTP/1.1", "").await, "405 only GET and HEAD");
    let (status, head, _) = bench.send("OPTIONS /live/cam.flv HTTP/1.1", "").await;
    assert_eq!(status, 204);
    assert!(head.to_lowercase().contains("access-control-allow-origin: *"), "{head}");

    let bench = Bench::start(|settings| settings.http.allow_cross_domains = false).await;
    let (_, head, _) = bench.send("OPTIONS /index/api/version HTTP/1.1", "").await;
    assert!(!head.to_lowercase().contains("access-control"), "{head}");
}

#[tokio::test]
async fn after_the_end_calls_are_told_so() {
    let bench = Bench::start(|_| {}).await;
    bench.handle.request(proxy_core::io::Request::Shutdown).await;
    for (call, arguments) in [
        ("getMediaList", &NAMED[..]),
        ("addStreamProxy", &[NAMED[1], NAMED[2], ("url", "rtmp://127.0.0.1/a/b")]),
    ] {
        let answer = bench.ask(call, arguments).await;
        assert_eq!(answer["msg"], "the proxy is shutting down", "{call}");
    }
}
