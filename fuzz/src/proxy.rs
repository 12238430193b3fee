//! The whole proxy under arbitrary inputs: any order, any bytes, any time, with honest peers among the liars so that
//! every state is reached.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
};

use proxy_core::{
    Config, Instant, Proxy,
    io::{
        Answer, AskId, ConnId, ConnectError, EventKind, Hangup, Input, Output, PullOptions, QueryId, Reply,
        Request, RequestId, ResolveError, StreamFilter, StreamId,
    },
    proxy::Counts,
    session::{
        client::{ClientOptions, ClientSession},
        server::{ServerEvent, ServerOptions, ServerSession},
    },
    time::Duration,
    url::{OriginUrl, StreamKey},
    wire::{
        chunk::{self, ChunkLimits},
        handshake::{ClientHandshake, HandshakeKind, Progress, ServerHandshake},
        message::{Message, type_id},
    },
};

const URLS: [&str; 6] = [
    "rtmp://198.18.0.2/live/a",
    "rtmp://198.18.0.3:1936/live/b?token=1",
    "rtmp://origin.example/live/a",
    "rtmp://198.18.0.1/live/a",
    "rtmps://198.18.0.2/live/a",
    "rtmp://[::1]/app/inst/c",
];

/// Inputs taken from one piece of data; more bytes than that are left alone.
const STEPS_MAX: usize = 2_000;

/// Bytes of media a hostile origin may make the core keep, in all: four streams with a log of 64 MiB each.
const RELAY_BYTES_MAX: usize = 4 * 64 * 1024 * 1024;

/// Somebody honest at the other end of a connection.
enum Peer {
    /// Says only what the data says.
    Liar,
    OriginShaking(ServerHandshake),
    Origin {
        session: Box<ServerSession>,
        playing: bool,
        frames: u32,
    },
    PlayerShaking(ClientHandshake),
    Player(Box<ClientSession>),
}

struct World<'d> {
    data: &'d [u8],
    proxy: Proxy,
    now: Instant,
    peers: BTreeMap<ConnId, Peer>,
    dials: VecDeque<ConnId>,
    lookups: VecDeque<QueryId>,
    asks: VecDeque<AskId>,
    open_requests: BTreeSet<RequestId>,
    in_flight: BTreeMap<ConnId, usize>,
    numbers: BTreeMap<StreamId, u64>,
    requests: u64,
    accepted: u64,
}

/// Drives the proxy by the data, then ends everything and looks whether anything is left.
pub fn proxy(data: &[u8]) {
    let mut world = World {
        data,
        proxy: Proxy::new(Config::default(), 3),
        now: Instant::ZERO,
        peers: BTreeMap::new(),
        dials: VecDeque::new(),
        lookups: VecDeque::new(),
        asks: VecDeque::new(),
        open_requests: BTreeSet::new(),
        in_flight: BTreeMap::new(),
        numbers: BTreeMap::new(),
        requests: 0,
        accepted: 0,
    };
    let own = SocketAddr::from(([198, 18, 0, 1], 1935));
    world.input(Input::Listening { addrs: vec![own] });
    for _ in 0..STEPS_MAX {
        let Some(op) = world.byte() else { break };
        world.step(op);
    }
    world.end();
}

impl World<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.data.split_first()?;
        self.data = rest;
        Some(*first)
    }

    fn number(&mut self, below: usize) -> usize {
        usize::from(self.byte().unwrap_or(0)) % below.max(1)
    }

    fn step(&mut self, op: u8) {
        match op % 18 {
            0 => self.pass(Duration::from_millis(self.data.first().map_or(1, |b| u64::from(*b)))),
            1 => self.pass(Duration::from_millis(100 * self.data.first().map_or(1, |b| u64::from(*b)))),
            2 => self.input(Input::Timeout),
            3 => {
                let (key, url, bits) = (self.key(), URLS[self.number(URLS.len())], self.number(256));
                let options = PullOptions {
                    retry_count: [-1, 0, 3][bits % 3],
                    force: bits & 4 != 0,
                    auto_close: Some(bits & 8 != 0),
                    reset_when_replay: Some(bits & 16 != 0),
                    fc_subscribe: Some(bits & 32 != 0),
                    ..PullOptions::default()
                };
                self.request(Request::Add { key, url: url.into(), options });
            }
            4 => {
                let key = self.key();
                self.request(Request::Del { key });
            }
            5 => {
                let force = self.number(2) == 1;
                self.request(Request::Close { filter: StreamFilter::default(), force });
            }
            6 => {
                let (key, url, now) = (self.key(), URLS[self.number(URLS.len())], self.number(2) == 1);
                self.request(Request::Update { key, url: Some(url.into()), options: None, now });
            }
            7 => self.accept(),
            8 => {
                let (conn, key) = (self.next_conn(), self.key());
                let there = SocketAddr::from(([198, 18, 0, 9], 5000));
                self.peers.insert(conn, Peer::Liar);
                self.input(Input::PlayHttp { conn, key, params: String::new(), peer: there, local: there });
            }
            9 => self.dial_ends(),
            10 => {
                if let Some(query) = self.lookups.pop_front() {
                    let answers = [
                        Ok(vec![IpAddr::from([198, 18, 0, 2]), IpAddr::from([198, 18, 0, 3])]),
                        Ok(vec![IpAddr::from([198, 18, 0, 1])]),
                        Ok(vec![]),
                        Err(ResolveError::NotFound),
                    ];
                    let answer = answers[self.number(answers.len())].clone();
                    self.input(Input::Resolved { query, answer });
                }
            }
            11 | 12 => {
                let Some(conn) = self.conn() else { return };
                let len = self.number(256).min(self.data.len());
                let (bytes, rest) = self.data.split_at(len);
                self.data = rest;
                self.input(Input::Received { conn, bytes });
            }
            13 | 14 => self.media(),
            15 => {
                let Some(conn) = self.conn() else { return };
                let len = self.in_flight.remove(&conn).unwrap_or(0);
                self.input(Input::Sent { conn, len });
            }
            16 => {
                let Some(conn) = self.conn() else { return };
                self.peers.remove(&conn);
                self.input(Input::Closed { conn, hangup: Hangup::Reset });
            }
            _ => {
                if let Some(ask) = self.asks.pop_front() {
                    let answer = [Answer::Default, Answer::Allow, Answer::Deny][self.number(3)];
                    self.input(Input::Answered { ask, answer });
                } else if let Some(conn) = self.conn() {
                    self.request(Request::Kick { conn });
                }
            }
        }
    }

    fn key(&mut self) -> StreamKey {
        StreamKey::new("", "live", ["a", "b", "c", "d"][self.number(4)]).expect("a key")
    }

    fn conn(&mut self) -> Option<ConnId> {
        let at = self.number(self.peers.len());
        self.peers.keys().nth(at).copied()
    }

    fn next_conn(&mut self) -> ConnId {
        self.accepted += 1;
        ConnId::accepted(self.accepted)
    }

    fn request(&mut self, request: Request) {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.open_requests.insert(id);
        self.input(Input::Request { id, request });
    }

    fn accept(&mut self) {
        let conn = self.next_conn();
        let there = SocketAddr::from(([198, 18, 0, 9], 5000));
        let honest = self.number(4) > 0;
        self.peers.insert(conn, Peer::Liar);
        self.input(Input::Accepted { conn, peer: there, local: there });
        if honest && self.peers.contains_key(&conn) {
            let mut out = Vec::new();
            let handshake = ClientHandshake::start(HandshakeKind::Digest, &[5; 1528], &mut out);
            self.peers.insert(conn, Peer::PlayerShaking(handshake));
            self.input(Input::Received { conn, bytes: &out });
        }
    }

    fn dial_ends(&mut self) {
        let Some(conn) = self.dials.pop_front() else { return };
        let local = SocketAddr::from(([198, 18, 0, 5], 6000));
        match self.number(6) {
            0 => self.input(Input::Connected { conn, outcome: Err(ConnectError::Refused) }),
            1 => {
                self.peers.insert(conn, Peer::Liar);
                self.input(Input::Connected { conn, outcome: Ok(local) });
            }
            _ => {
                self.peers.insert(conn, Peer::OriginShaking(ServerHandshake::start(&[6; 1528])));
                self.input(Input::Connected { conn, outcome: Ok(local) });
            }
        }
    }

    /// One message from every origin that has accepted a play.
    fn media(&mut self) {
        let kind = self.number(8);
        let mut sent = Vec::new();
        for (conn, peer) in &mut self.peers {
            let Peer::Origin { playing: true, frames, .. } = peer else { continue };
            let (type_id, payload): (u8, &[u8]) = match kind {
                0 => (type_id::VIDEO, &[0x17, 0, 0, 0, 0, 1]),
                1 => (type_id::AUDIO, &[0xAF, 0, 0x12]),
                2 => (type_id::AUDIO, &[0xAF, 1, 7]),
                3 => (type_id::VIDEO, &[0x27, 1, 0, 0, 0, 9]),
                4 => (
                    type_id::DATA_AMF0,
                    &[2, 0, 10, b'o', b'n', b'M', b'e', b't', b'a', b'D', b'a', b't', b'a', 5],
                ),
                5 => (type_id::VIDEO, &[0x90, b'h', b'v', b'c', b'1', 1]),
                _ => (type_id::VIDEO, &[0x17, 1, 0, 0, 0, 9]),
            };
            *frames += 1;
            let message =
                Message { type_id, timestamp: *frames * 40, stream: 1, payload: payload.to_vec().into() };
            let mut out = Vec::new();
            chunk::encode(6, 4096, &message, &mut out);
            sent.push((*conn, out));
        }
        for (conn, bytes) in sent {
            if self.peers.contains_key(&conn) {
                self.input(Input::Received { conn, bytes: &bytes });
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.proxy.poll_timeout()
            && at <= end
        {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
            let next = self.proxy.poll_timeout();
            assert!(
                next.is_none_or(|(at, _)| at > self.now),
                "after a drain the next deadline lies ahead: {next:?}"
            );
        }
        self.now = end;
    }

    fn input(&mut self, input: Input<'_>) {
        self.proxy.handle_input(input, self.now);
        self.proxy.check_totals();
        let mut news: VecDeque<(ConnId, Vec<u8>)> = VecDeque::new();
        loop {
            while let Some(output) = self.proxy.poll_output() {
                self.act(output, &mut news);
            }
            let Some((conn, bytes)) = news.pop_front() else { break };
            self.proxy.handle_input(Input::Received { conn, bytes: &bytes }, self.now);
        }
        let counts = self.proxy.counts();
        assert!(counts.relay_bytes <= RELAY_BYTES_MAX && counts.origins <= counts.streams);
        assert_eq!(counts.requests, self.open_requests.len());
    }

    fn act(&mut self, output: Output, news: &mut VecDeque<(ConnId, Vec<u8>)>) {
        match output {
            Output::Resolve { query, .. } => self.lookups.push_back(query),
            Output::Connect { conn, .. } => self.dials.push_back(conn),
            Output::Transmit { conn, bytes } => {
                *self.in_flight.entry(conn).or_default() += bytes.len();
                let mut out = Vec::new();
                if let Some(peer) = self.peers.remove(&conn) {
                    self.peers.insert(conn, hear(peer, &bytes, &mut out));
                }
                if !out.is_empty() {
                    news.push_back((conn, out));
                }
            }
            Output::Close { conn } | Output::Abort { conn } => {
                self.peers.remove(&conn);
                self.dials.retain(|dial| *dial != conn);
                self.in_flight.remove(&conn);
            }
            Output::Reply { id, .. } => assert!(self.open_requests.remove(&id), "{id:?} is answered once"),
            Output::Ask { ask, .. } => self.asks.push_back(ask),
            Output::PlayAnswer { .. } => {}
            Output::Event(event) => {
                if let Some(stream) = event.stream {
                    let last = self.numbers.insert(stream, event.number).unwrap_or(0);
                    assert_eq!(event.number, last + 1, "events have no gaps: {:?}", event.kind);
                    if let EventKind::Unregistered { .. } = event.kind {
                        self.numbers.remove(&stream);
                    }
                }
            }
        }
    }

    fn end(&mut self) {
        self.request(Request::Close { filter: StreamFilter::default(), force: true });
        self.pass(Duration::from_secs(30));
        self.request(Request::Shutdown);
        self.pass(Duration::from_secs(30));
        assert_eq!(self.proxy.counts(), Counts::default(), "nothing is left");
        assert!(self.open_requests.is_empty(), "every request is answered");
        let key = StreamKey::new("", "live", "a").expect("a key");
        self.requests += 1;
        let id = RequestId(self.requests);
        let add = Request::Add { key, url: URLS[0].into(), options: PullOptions::default() };
        self.proxy.handle_input(Input::Request { id, request: add }, self.now);
        let reply = std::iter::from_fn(|| self.proxy.poll_output())
            .find_map(|output| if let Output::Reply { reply, .. } = output { Some(reply) } else { None });
        assert_eq!(reply, Some(Reply::ShuttingDown));
    }
}

/// An honest peer hears bytes and answers; what it cannot make sense of makes it a liar, who says nothing by himself.
fn hear(peer: Peer, bytes: &[u8], out: &mut Vec<u8>) -> Peer {
    match peer {
        Peer::Liar => Peer::Liar,
        Peer::OriginShaking(handshake) => match handshake.handle_bytes(bytes, out) {
            Ok((_, Progress::Pending(handshake))) => Peer::OriginShaking(handshake),
            Ok((used, Progress::Done)) => {
                let options = ServerOptions {
                    chunk_size: 4096,
                    streams_max: 8,
                    hops_max: 8,
                    limits: ChunkLimits::PLAYER,
                };
                let session = Box::new(ServerSession::new(options, 3073));
                hear(Peer::Origin { session, playing: false, frames: 0 }, &bytes[used..], out)
            }
            Err(_) => Peer::Liar,
        },
        Peer::Origin { mut session, mut playing, frames } => {
            if session.handle_bytes(bytes, out).is_err() {
                return Peer::Liar;
            }
            while let Some(event) = session.poll_event() {
                match event {
                    ServerEvent::Connected { .. } => {}
                    ServerEvent::Play { .. } => {
                        session.accept_play(out);
                        playing = true;
                    }
                    ServerEvent::Stopped => playing = false,
                }
            }
            Peer::Origin { session, playing, frames }
        }
        Peer::PlayerShaking(handshake) => match handshake.handle_bytes(bytes, out) {
            Ok((_, Progress::Pending(handshake))) => Peer::PlayerShaking(handshake),
            Ok((used, Progress::Done)) => {
                let url = OriginUrl::parse(URLS[0]).expect("a url");
                let options = ClientOptions {
                    fc_subscribe: false,
                    hops: 1,
                    ids: Vec::new(),
                    limits: ChunkLimits::ORIGIN,
                };
                let session = Box::new(ClientSession::start(&url, &options, 3073, out));
                hear(Peer::Player(session), &bytes[used..], out)
            }
            Err(_) => Peer::Liar,
        },
        Peer::Player(mut session) => {
            if session.handle_bytes(bytes, out).is_err() {
                return Peer::Liar;
            }
            while session.poll_event().is_some() {}
            Peer::Player(session)
        }
    }
}
