//! A world small enough to read: one proxy, origins in memory that accept, refuse or stay silent, virtual time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use proxy_core::{
    Config, Proxy,
    io::{
        Answer, AskId, ConnId, ConnectError, Event, EventKind, Hangup, Input, Output, PlayAnswer,
        PullOptions, PullState, Question, Reply, Request, RequestId, ResolveError, StreamView,
    },
    session::server::{Refusal, ServerEvent, ServerOptions, ServerSession},
    time::{Duration, Instant},
    url::StreamKey,
    wire::{
        amf0::{self, Value},
        chunk::{self, ChunkLimits},
        handshake::{Progress, ServerHandshake},
        message::{Message, type_id},
    },
};

/// Our end of every connection.
pub(crate) const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), 40_000);

/// How an address answers a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    Accept,
    Refuse,
    /// No answer ever.
    Silent,
}

/// What an accepted connection gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serve {
    /// Video at 25 fps, a keyframe each second, and audio.
    Media,
    VideoOnly,
    /// `play` is accepted, nothing comes; pings are answered.
    Nothing,
    /// `play` is held unanswered until there is media; pings are answered.
    Held,
    /// StreamNotFound.
    NotFound,
    /// `play` is accepted, then refused in the same breath.
    AcceptThenRefuse,
    /// `play` is accepted, metadata comes and nothing else; pings are answered.
    MetadataOnly,
    /// As `Nothing`, and only the simple handshake is understood.
    SimpleOnly,
    /// Every client is sent to another url.
    Redirect(&'static str),
    /// The process is stopped: no answer to anything.
    Frozen,
}

enum End {
    Handshaking(Option<ServerHandshake>),
    Open { session: Box<ServerSession>, playing: bool, held: bool, frames: u32 },
}

struct Origin {
    addr: SocketAddr,
    end: End,
    /// What was asked for last.
    stream: Option<String>,
    /// When it last sent a frame of that.
    fed_at: Option<Instant>,
}

pub(crate) struct World {
    pub(crate) proxy: Proxy,
    pub(crate) now: Instant,
    pub(crate) dial: BTreeMap<SocketAddr, Dial>,
    pub(crate) serve: Serve,
    /// Addresses that serve otherwise.
    pub(crate) serve_at: BTreeMap<SocketAddr, Serve>,
    /// Streams that no origin has.
    pub(crate) missing: BTreeSet<String>,
    pub(crate) names: BTreeMap<String, Result<Vec<IpAddr>, ResolveError>>,
    /// Lookups are answered at once, or never.
    pub(crate) resolver_answers: bool,
    pub(crate) dials: Vec<(Instant, SocketAddr)>,
    pub(crate) lookups: Vec<(Instant, String)>,
    pub(crate) replies: BTreeMap<RequestId, Reply>,
    pub(crate) events: Vec<(Instant, Event)>,
    pub(crate) play_answers: BTreeMap<ConnId, PlayAnswer>,
    pub(crate) received: BTreeMap<ConnId, Vec<u8>>,
    pub(crate) closed: BTreeSet<ConnId>,
    /// Questions that wait for the test's answer.
    pub(crate) asks: Option<Vec<(AskId, Question)>>,
    /// Every input with its time, written down.
    pub(crate) recording: Option<Vec<Vec<u8>>>,
    /// Every output that is not an event, as text, with its time.
    pub(crate) outputs: Vec<String>,
    origins: BTreeMap<ConnId, Origin>,
    dialling: BTreeSet<ConnId>,
    tick_at: Instant,
    accepted: u64,
    requests: u64,
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            proxy: Proxy::new(config, 7),
            now: Instant::from_millis(1_000),
            dial: BTreeMap::new(),
            serve: Serve::Media,
            serve_at: BTreeMap::new(),
            missing: BTreeSet::new(),
            names: BTreeMap::new(),
            resolver_answers: true,
            dials: Vec::new(),
            lookups: Vec::new(),
            replies: BTreeMap::new(),
            events: Vec::new(),
            play_answers: BTreeMap::new(),
            received: BTreeMap::new(),
            closed: BTreeSet::new(),
            asks: None,
            recording: None,
            outputs: Vec::new(),
            origins: BTreeMap::new(),
            dialling: BTreeSet::new(),
            tick_at: Instant::from_millis(1_000),
            accepted: 0,
            requests: 0,
        }
    }

    pub(crate) fn key(stream: &str) -> StreamKey {
        StreamKey::new("", "live", stream).expect("a key")
    }

    /// Sends a request; returns its id.
    pub(crate) fn request(&mut self, request: Request) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.input(Input::Request { id, request });
        id
    }

    pub(crate) fn add(&mut self, stream: &str, url: &str, options: PullOptions) -> RequestId {
        self.request(Request::Add { key: Self::key(stream), url: url.into(), options })
    }

    pub(crate) fn add_forced(&mut self, stream: &str, url: &str) -> RequestId {
        self.add(stream, url, PullOptions { force: true, ..PullOptions::default() })
    }

    /// An HTTP-FLV player comes.
    pub(crate) fn play_http(&mut self, stream: &str) -> ConnId {
        let conn = ConnId::accepted(self.accepted);
        self.accepted += 1;
        let peer = SocketAddr::from(([198, 18, 0, 7], 50_000));
        self.input(Input::PlayHttp {
            conn,
            key: Self::key(stream),
            params: String::new(),
            peer,
            local: HERE,
        });
        conn
    }

    pub(crate) fn hang_up(&mut self, conn: ConnId) {
        self.input(Input::Closed { conn, hangup: Hangup::Eof });
    }

    /// Every origin connection is reset.
    pub(crate) fn reset_origins(&mut self) {
        for conn in std::mem::take(&mut self.origins).into_keys() {
            self.input(Input::Closed { conn, hangup: Hangup::Reset });
        }
    }

    /// The first origin connection is reset.
    pub(crate) fn reset_one(&mut self) {
        if let Some((conn, _)) = self.origins.pop_first() {
            self.input(Input::Closed { conn, hangup: Hangup::Reset });
        }
    }

    pub(crate) fn view(&self, stream: &str) -> Option<StreamView> {
        self.proxy.stream(&Self::key(stream), self.now)
    }

    pub(crate) fn state(&self, stream: &str) -> Option<PullState> {
        self.view(stream).map(|view| view.state)
    }

    /// Returns whether an origin that was asked for a stream has sent frames of it, the last one not so long ago as a stall.
    pub(crate) fn is_fed(&self, stream: &str, stall: Duration) -> bool {
        let feeds = |origin: &Origin| {
            origin.stream.as_deref() == Some(stream)
                && origin.fed_at.is_some_and(|at| self.now.since(at) < stall)
        };
        self.origins.values().any(feeds)
    }

    pub(crate) fn origin_connections(&self) -> usize {
        self.origins.len() + self.dialling.len()
    }

    pub(crate) fn told(&self, wanted: impl Fn(&EventKind) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| wanted(&event.kind)).count()
    }

    pub(crate) fn run(&mut self, millis: u64) {
        self.run_until(self.now + Duration::from_millis(millis));
    }

    /// Runs until `state`, at most ten seconds.
    pub(crate) fn run_to(&mut self, stream: &str, state: PullState) {
        for _ in 0..10_000 {
            if self.state(stream) == Some(state) {
                return;
            }
            self.run(1);
        }
        panic!("{stream} is {:?}, not {state:?}, after ten seconds", self.state(stream));
    }

    fn run_until(&mut self, end: Instant) {
        loop {
            let timeout = self.proxy.poll_timeout().map_or(Instant::from_nanos(u64::MAX), |(at, _)| at);
            assert!(timeout >= self.now, "a deadline in the past");
            let next = timeout.min(self.tick_at).max(self.now);
            if next > end {
                break;
            }
            self.now = next;
            if self.tick_at <= self.now {
                self.tick_at = self.now + Duration::from_millis(40);
                self.tick();
            } else {
                self.input(Input::Timeout);
                let busy = self.proxy.poll_timeout().is_some_and(|(at, _)| at <= self.now);
                assert!(
                    !busy,
                    "after a drain the next deadline lies in the future: {:?}",
                    self.proxy.poll_timeout()
                );
            }
        }
        self.now = end;
    }

    /// Hands over an input, carries out what follows until there is nothing to do.
    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.hand_over(&input);
        let mut news: VecDeque<(ConnId, Vec<u8>)> = VecDeque::new();
        loop {
            while let Some(output) = self.proxy.poll_output() {
                self.act(output, &mut news);
            }
            let Some((conn, bytes)) = news.pop_front() else { break };
            self.hand_over(&Input::Received { conn, bytes: &bytes });
        }
    }

    fn hand_over(&mut self, input: &Input<'_>) {
        if let Some(recording) = &mut self.recording {
            recording.push(postcard::to_allocvec(&(self.now, input)).expect("an input can be written down"));
        }
        self.proxy.handle_input(input.clone(), self.now);
        self.proxy.check_totals();
    }

    fn act(&mut self, output: Output, news: &mut VecDeque<(ConnId, Vec<u8>)>) {
        match &output {
            Output::Event(_) => {}
            other => self.outputs.push(format!("{} {other:?}", self.now)),
        }
        match output {
            Output::Resolve { query, host } => {
                self.lookups.push((self.now, host.clone()));
                if self.resolver_answers {
                    let answer = self.names.get(&host).cloned().unwrap_or(Err(ResolveError::NotFound));
                    self.hand_over(&Input::Resolved { query, answer });
                }
            }
            Output::Connect { conn, addr } => {
                self.dials.push((self.now, addr));
                match self.dial.get(&addr).copied().unwrap_or(Dial::Refuse) {
                    Dial::Accept => {
                        let end = End::Handshaking(Some(ServerHandshake::start(&[9; 1528])));
                        self.origins.insert(conn, Origin { addr, end, stream: None, fed_at: None });
                        self.hand_over(&Input::Connected { conn, outcome: Ok(HERE) });
                    }
                    Dial::Refuse => {
                        self.hand_over(&Input::Connected { conn, outcome: Err(ConnectError::Refused) })
                    }
                    Dial::Silent => {
                        self.dialling.insert(conn);
                    }
                }
            }
            Output::Transmit { conn, bytes } => {
                self.hand_over(&Input::Sent { conn, len: bytes.len() });
                if self.origins.contains_key(&conn) {
                    let mut out = Vec::new();
                    self.origin_receives(conn, &bytes, &mut out);
                    if !out.is_empty() {
                        news.push_back((conn, out));
                    }
                } else {
                    self.received.entry(conn).or_default().extend_from_slice(&bytes);
                }
            }
            Output::Close { conn } => {
                self.origins.remove(&conn);
                self.closed.insert(conn);
                self.hand_over(&Input::Closed { conn, hangup: Hangup::Eof });
            }
            Output::Abort { conn } => {
                self.origins.remove(&conn);
                self.dialling.remove(&conn);
                self.closed.insert(conn);
            }
            Output::Reply { id, reply } => {
                let before = self.replies.insert(id, reply);
                assert_eq!(before, None, "{id:?} is answered once");
            }
            Output::Ask { ask, question } => match &mut self.asks {
                Some(asks) => asks.push((ask, question)),
                None => self.hand_over(&Input::Answered { ask, answer: Answer::Default }),
            },
            Output::PlayAnswer { conn, answer } => {
                self.play_answers.insert(conn, answer);
            }
            Output::Event(event) => self.events.push((self.now, event)),
        }
    }

    fn origin_receives(&mut self, conn: ConnId, mut bytes: &[u8], out: &mut Vec<u8>) {
        let Some(origin) = self.origins.get_mut(&conn) else { return };
        let serve = self.serve_at.get(&origin.addr).copied().unwrap_or(self.serve);
        if serve == Serve::Frozen {
            return;
        }
        // A version in C1 announces a digest.
        let is_digest = bytes.len() == 1537 && bytes[5..9] != [0; 4];
        if serve == Serve::SimpleOnly && is_digest {
            return;
        }
        if let End::Handshaking(handshake) = &mut origin.end {
            let pending = handshake.take().expect("a handshake is fed once at a time");
            let (used, progress) = pending.handle_bytes(bytes, out).expect("our own handshake");
            match progress {
                Progress::Pending(pending) => *handshake = Some(pending),
                Progress::Done => {
                    let options = ServerOptions {
                        chunk_size: 4096,
                        streams_max: 8,
                        hops_max: 8,
                        limits: ChunkLimits::PLAYER,
                    };
                    let session = Box::new(ServerSession::new(options, 3073));
                    origin.end = End::Open { session, playing: false, held: false, frames: 0 };
                }
            }
            bytes = &bytes[used..];
        }
        let End::Open { session, playing, held, frames } = &mut origin.end else { return };
        session.handle_bytes(bytes, out).expect("our own client");
        while let Some(event) = session.poll_event() {
            if let ServerEvent::Play { stream, .. } = &event {
                (origin.stream, origin.fed_at) = (Some(stream.clone()), None);
            }
            match event {
                ServerEvent::Connected { .. } => {}
                ServerEvent::Play { stream, .. }
                    if serve == Serve::NotFound || self.missing.contains(&stream) =>
                {
                    session.reject_play(Refusal::StreamNotFound, out);
                }
                ServerEvent::Play { .. } if serve == Serve::Held => *held = true,
                ServerEvent::Play { .. } if serve == Serve::AcceptThenRefuse => {
                    session.accept_play(out);
                    session.reject_play(Refusal::StreamNotFound, out);
                }
                ServerEvent::Play { .. } => {
                    if let Serve::Redirect(url) = serve {
                        redirect(url, out);
                        continue;
                    }
                    session.accept_play(out);
                    if serve == Serve::MetadataOnly {
                        metadata(out);
                    }
                    *playing = true;
                    *frames = 0;
                }
                ServerEvent::Stopped => *playing = false,
            }
        }
    }

    /// One frame from every origin that serves.
    fn tick(&mut self) {
        let mut sent = Vec::new();
        for (conn, origin) in &mut self.origins {
            let serve = self.serve_at.get(&origin.addr).copied().unwrap_or(self.serve);
            if !matches!(serve, Serve::Media | Serve::VideoOnly) {
                continue;
            }
            let audio = serve == Serve::Media;
            let End::Open { session, playing, held, frames } = &mut origin.end else { continue };
            let mut out = Vec::new();
            if std::mem::take(held) {
                session.accept_play(&mut out);
                *playing = true;
            }
            if !*playing {
                continue;
            }
            let timestamp = *frames * 40;
            if *frames == 0 {
                message(type_id::VIDEO, timestamp, &[0x17, 0, 0, 0, 0, 1, 2, 3], &mut out);
                if audio {
                    message(type_id::AUDIO, timestamp, &[0xAF, 0, 0x12, 0x10], &mut out);
                }
            }
            let kind = if (*frames).is_multiple_of(25) { 0x17 } else { 0x27 };
            message(type_id::VIDEO, timestamp, &[kind, 1, 0, 0, 0, 9, 9, 9], &mut out);
            if audio {
                message(type_id::AUDIO, timestamp, &[0xAF, 1, 7, 7], &mut out);
            }
            *frames += 1;
            origin.fed_at = Some(self.now);
            sent.push((*conn, out));
        }
        for (conn, bytes) in sent {
            if self.origins.contains_key(&conn) {
                self.input(Input::Received { conn, bytes: &bytes });
            }
        }
    }

    /// Addresses of origins that have a connection.
    pub(crate) fn connected_to(&self) -> Vec<SocketAddr> {
        self.origins.values().map(|origin| origin.addr).collect()
    }

    /// The connections of origins.
    pub(crate) fn origin_conns(&self) -> Vec<ConnId> {
        self.origins.keys().copied().collect()
    }
}

/// Sends the client elsewhere, as SRS does.
pub(crate) fn redirect(url: &str, out: &mut Vec<u8>) {
    let ex = vec![("code".into(), 302.0.into()), ("redirect2".into(), url.into())];
    let info = vec![
        ("level".into(), "error".into()),
        ("code".into(), "NetConnection.Connect.Rejected".into()),
        ("ex".into(), Value::Object(ex)),
    ];
    let mut payload = Vec::new();
    amf0::encode(&["onStatus".into(), 0.0.into(), Value::Null, Value::Object(info)], &mut payload);
    message(type_id::COMMAND_AMF0, 0, &payload, out);
}

fn metadata(out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    let members = vec![("width".into(), 640.0.into())];
    amf0::encode(&["onMetaData".into(), Value::Object(members)], &mut payload);
    message(type_id::DATA_AMF0, 0, &payload, out);
}

pub(crate) fn message(type_id: u8, timestamp: u32, payload: &[u8], out: &mut Vec<u8>) {
    let message = Message { type_id, timestamp, stream: 1, payload: Bytes::copy_from_slice(payload) };
    chunk::encode(6, 4096, &message, out);
}
