//! A town on virtual time: one proxy, model origins behind addresses and names, model players in its seats, and
//! liars who say whatever a test wants. One millisecond lies between any two of them, and bytes travel in segments.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use proxy_core::{
    Config, Proxy,
    io::{
        Answer, ConnId, ConnectError, Event, EventKind, Hangup, Input, Output, PlayAnswer, PlayerEnd,
        PullFailure, PullOptions, PullState, QueryId, Reply, Request, RequestId, ResolveError, StreamView,
    },
    time::{Duration, Instant},
};
use sim::{
    origin::{Behaviour, ModelOrigin, OriginOutput, PeerConn, Publisher},
    player::{ModelPlayer, PlayerConfig, Target},
    raw::handshake::ClientHandshake,
    real::key,
    viewer::{Report, ViewerConfig},
};

/// Our end of every connection.
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), 1935);
/// The other end of every player's.
const PLAYERS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 9)), 50_000);
const LATENCY: Duration = Duration::from_millis(1);
const SEGMENT_BYTES: usize = 1448;
/// Steps of a run; a town that takes more spins on the spot.
const STEPS_MAX: u64 = 10_000_000;

/// How an address answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    Refuse,
    /// Every packet is lost, those of connections there are as well.
    Dark,
}

/// What a player takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    Rtmp,
    Flv,
}

struct Site {
    model: ModelOrigin,
    door: Door,
}

struct Seat {
    model: ModelPlayer,
    conn: Option<ConnId>,
}

/// A player that says what it is told to say.
struct Caller {
    handshake: Option<ClientHandshake>,
    heard: Vec<u8>,
}

enum Parcel {
    Resolved { query: QueryId, answer: Result<Vec<IpAddr>, ResolveError> },
    Connected { conn: ConnId, outcome: Result<SocketAddr, ConnectError> },
    Received { conn: ConnId, bytes: Vec<u8> },
    Closed { conn: ConnId, hangup: Hangup },
    SiteAccepts { conn: ConnId },
    SiteBytes { conn: ConnId, bytes: Vec<u8> },
    SiteClosed { conn: ConnId },
    SeatBytes { conn: ConnId, bytes: Vec<u8> },
    SeatClosed { conn: ConnId },
}

pub(crate) struct Town {
    pub(crate) proxy: Proxy,
    pub(crate) now: Instant,
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) dials: Vec<(Instant, SocketAddr)>,
    pub(crate) events: Vec<(Instant, Event)>,
    pub(crate) replies: BTreeMap<RequestId, Reply>,
    sites: BTreeMap<SocketAddr, Site>,
    seats: Vec<Seat>,
    callers: BTreeMap<ConnId, Caller>,
    /// Connections to origins.
    links: BTreeMap<ConnId, SocketAddr>,
    gone: BTreeSet<ConnId>,
    post: BTreeMap<(Instant, u64), Parcel>,
    posted: u64,
    accepted: u64,
    requests: u64,
}

impl Town {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            proxy: Proxy::new(config, 11),
            now: Instant::from_millis(1_000),
            names: BTreeMap::new(),
            dials: Vec::new(),
            events: Vec::new(),
            replies: BTreeMap::new(),
            sites: BTreeMap::new(),
            seats: Vec::new(),
            callers: BTreeMap::new(),
            links: BTreeMap::new(),
            gone: BTreeSet::new(),
            post: BTreeMap::new(),
            posted: 0,
            accepted: 0,
            requests: 0,
        }
    }

    /// Opens a model origin at an address; frames of two of them differ by `numbers_from`.
    pub(crate) fn found(&mut self, addr: SocketAddr, behaviour: Behaviour) {
        self.sites.insert(addr, Site { model: ModelOrigin::new(behaviour), door: Door::Open });
    }

    pub(crate) fn publish(&mut self, addr: SocketAddr, name: &str, publisher: Publisher) {
        let now = self.now;
        self.site(addr).model.publish(name, publisher, now);
        self.settle();
    }

    pub(crate) fn unpublish(&mut self, addr: SocketAddr, name: &str) {
        let now = self.now;
        self.site(addr).model.unpublish(name, now);
        self.settle();
    }

    pub(crate) fn behave(&mut self, addr: SocketAddr, behaviour: Behaviour) {
        self.site(addr).model.set_behaviour(behaviour);
    }

    pub(crate) fn door(&mut self, addr: SocketAddr, door: Door) {
        self.site(addr).door = door;
    }

    /// The process at an address ends: its connections are reset, its publishers are gone.
    pub(crate) fn kill(&mut self, addr: SocketAddr) {
        self.site(addr).model.restart();
        for conn in self.links_to(addr) {
            self.links.remove(&conn);
            self.send(Parcel::Closed { conn, hangup: Hangup::Reset });
        }
    }

    /// What clients did there that they should not do.
    pub(crate) fn complaints(&self, addr: SocketAddr) -> Vec<String> {
        self.sites[&addr].model.ledger().complaints.clone()
    }

    /// Adds `app/stream` from a url, to be tried for ever.
    pub(crate) fn add(&mut self, name: &str, url: &str) -> RequestId {
        let options = PullOptions { force: true, ..PullOptions::default() };
        self.requests += 1;
        let id = RequestId(self.requests);
        self.input(Input::Request { id, request: Request::Add { key: key(name), url: url.into(), options } });
        id
    }

    pub(crate) fn view(&self, name: &str) -> StreamView {
        self.proxy.stream(&key(name), self.now).expect("it is registered")
    }

    pub(crate) fn state(&self, name: &str) -> PullState {
        self.view(name).state
    }

    /// A model player takes `app/stream`.
    pub(crate) fn play(&mut self, take: Take, name: &str) -> usize {
        let url = match take {
            Take::Rtmp => format!("rtmp://198.18.0.1/{name}"),
            Take::Flv => format!("http://198.18.0.1/{name}"),
        };
        let (config, _) = PlayerConfig::from_url(&url, ViewerConfig::stamped(name)).expect("a url");
        let target = config.target.clone();
        let mut model = ModelPlayer::new(config, self.now);
        assert!(model.poll_dial(self.now), "it dials at once");
        model.on_connected(self.now);
        let conn = self.next_conn();
        if let Target::HttpFlv { .. } = target {
            // The driver's HTTP server reads the request.
            assert!(model.poll_transmit().is_some_and(|request| request.starts_with(b"GET /")));
        }
        self.seats.push(Seat { model, conn: Some(conn) });
        self.input(match take {
            Take::Rtmp => Input::Accepted { conn, peer: PLAYERS, local: HERE },
            Take::Flv => {
                Input::PlayHttp { conn, key: key(name), params: String::new(), peer: PLAYERS, local: HERE }
            }
        });
        self.seats.len() - 1
    }

    pub(crate) fn report(&self, seat: usize) -> &Report {
        self.seats[seat].model.report()
    }

    pub(crate) fn seat_conn(&self, seat: usize) -> ConnId {
        self.seats[seat].conn.expect("it is connected")
    }

    /// Somebody connects as a player and shakes hands; what it says after that is up to the test.
    pub(crate) fn call(&mut self) -> ConnId {
        let conn = self.call_in_silence();
        let mut out = Vec::new();
        let handshake = ClientHandshake::new(5, &mut out);
        self.callers.insert(conn, Caller { handshake: Some(handshake), heard: Vec::new() });
        self.say(conn, &out);
        self.run(10);
        assert!(self.callers[&conn].handshake.is_none(), "hands are shaken");
        conn
    }

    /// Somebody connects as a player and says nothing.
    pub(crate) fn call_in_silence(&mut self) -> ConnId {
        let conn = self.next_conn();
        self.callers.insert(conn, Caller { handshake: None, heard: Vec::new() });
        self.input(Input::Accepted { conn, peer: PLAYERS, local: HERE });
        conn
    }

    /// What a caller heard.
    pub(crate) fn heard(&self, conn: ConnId) -> &[u8] {
        &self.callers[&conn].heard
    }

    /// Bytes come to the proxy on a connection, from whoever is at its other end.
    pub(crate) fn say(&mut self, conn: ConnId, bytes: &[u8]) {
        for piece in bytes.chunks(SEGMENT_BYTES) {
            self.send(Parcel::Received { conn, bytes: piece.to_vec() });
        }
    }

    /// Connections to an origin, as the proxy sees them.
    pub(crate) fn links_to(&self, addr: SocketAddr) -> Vec<ConnId> {
        self.links.iter().filter(|(_, to)| **to == addr).map(|(conn, _)| *conn).collect()
    }

    /// The proxy has hung up, or was hung up on.
    pub(crate) fn is_gone(&self, conn: ConnId) -> bool {
        self.gone.contains(&conn)
    }

    /// Why pulls failed, in order.
    pub(crate) fn failures(&self) -> Vec<PullFailure> {
        let failure = |(_, event): &(Instant, Event)| match &event.kind {
            EventKind::PullEntered { failure, .. } => failure.clone(),
            _ => None,
        };
        self.events.iter().filter_map(failure).collect()
    }

    /// Why players left.
    pub(crate) fn leavings(&self) -> Vec<(ConnId, PlayerEnd)> {
        let left = |(_, event): &(Instant, Event)| match &event.kind {
            EventKind::PlayerLeft { conn, reason } => Some((*conn, reason.clone())),
            _ => None,
        };
        self.events.iter().filter_map(left).collect()
    }

    pub(crate) fn run(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        self.run_until(end);
    }

    /// Runs until a condition holds, looking each 10 ms; returns how long it took, at most `limit`.
    pub(crate) fn run_till(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        while !done(self) {
            if self.now.since(start) >= limit {
                return None;
            }
            self.run(10);
        }
        Some(self.now.since(start))
    }

    fn site(&mut self, addr: SocketAddr) -> &mut Site {
        self.sites.get_mut(&addr).expect("somebody is there")
    }

    fn next_conn(&mut self) -> ConnId {
        self.accepted += 1;
        ConnId::accepted(self.accepted)
    }

    fn send(&mut self, parcel: Parcel) {
        self.posted += 1;
        self.post.insert((self.now + LATENCY, self.posted), parcel);
    }

    fn input(&mut self, input: Input<'_>) {
        self.proxy.handle_input(input, self.now);
        self.settle();
    }

    fn run_until(&mut self, end: Instant) {
        for _ in 0..STEPS_MAX {
            let next = [
                self.proxy.poll_timeout().map(|(at, _)| at),
                self.sites
                    .values()
                    .filter(|site| site.door != Door::Dark)
                    .filter_map(|site| site.model.deadline())
                    .min(),
                self.post.first_key_value().map(|((at, _), _)| *at),
            ];
            let Some(next) = next.into_iter().flatten().min().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            self.step();
        }
        panic!("the town spins at {}", self.now);
    }

    fn step(&mut self) {
        while let Some(entry) = self.post.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let parcel = entry.remove();
            self.deliver(parcel);
        }
        if self.proxy.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
            self.input(Input::Timeout);
        }
        for site in self.sites.values_mut().filter(|site| site.door != Door::Dark) {
            if site.model.deadline().is_some_and(|at| at <= self.now) {
                site.model.handle_timeout(self.now);
            }
        }
        self.settle();
    }

    fn is_dark(&self, conn: ConnId) -> bool {
        self.links.get(&conn).is_some_and(|addr| self.sites[addr].door == Door::Dark)
    }

    fn deliver(&mut self, parcel: Parcel) {
        let now = self.now;
        match parcel {
            Parcel::Resolved { query, answer } => self.input(Input::Resolved { query, answer }),
            Parcel::Connected { conn, outcome } => self.input(Input::Connected { conn, outcome }),
            Parcel::Received { conn, bytes } => {
                if !self.is_dark(conn) && !self.gone.contains(&conn) {
                    self.input(Input::Received { conn, bytes: &bytes });
                }
            }
            Parcel::Closed { conn, hangup } => {
                if !self.is_dark(conn) {
                    self.gone.insert(conn);
                    self.input(Input::Closed { conn, hangup });
                }
            }
            Parcel::SiteAccepts { conn } => {
                self.at_site(conn, |site| site.on_accepted(PeerConn(conn.0), now))
            }
            Parcel::SiteBytes { conn, bytes } => {
                if !self.is_dark(conn) {
                    self.at_site(conn, |site| site.handle_bytes(PeerConn(conn.0), &bytes, now));
                }
            }
            Parcel::SiteClosed { conn } => {
                if !self.is_dark(conn) {
                    self.at_site(conn, |site| site.on_closed(PeerConn(conn.0)));
                    self.links.remove(&conn);
                }
            }
            Parcel::SeatBytes { conn, bytes } => self.at_seat(conn, &bytes),
            Parcel::SeatClosed { conn } => {
                if let Some(seat) = self.seats.iter_mut().find(|seat| seat.conn == Some(conn)) {
                    seat.conn = None;
                    seat.model.on_closed("EOF", now);
                }
            }
        }
        self.settle();
    }

    fn at_site(&mut self, conn: ConnId, act: impl FnOnce(&mut ModelOrigin)) {
        let Some(addr) = self.links.get(&conn) else { return };
        act(&mut self.sites.get_mut(addr).expect("links lead to sites").model);
    }

    fn at_seat(&mut self, conn: ConnId, bytes: &[u8]) {
        let now = self.now;
        if let Some(seat) = self.seats.iter_mut().find(|seat| seat.conn == Some(conn)) {
            seat.model.handle_bytes(bytes, now);
        }
        let Some(caller) = self.callers.get_mut(&conn) else { return };
        let Some(handshake) = &mut caller.handshake else { return caller.heard.extend_from_slice(bytes) };
        let mut answer = Vec::new();
        if let Some(rest) = handshake.handle_bytes(bytes, &mut answer).expect("our own answer") {
            (caller.handshake, caller.heard) = (None, rest);
        }
        self.say(conn, &answer);
    }

    /// Carries out what everybody wants until nobody wants anything.
    fn settle(&mut self) {
        loop {
            let mut idle = true;
            while let Some(output) = self.proxy.poll_output() {
                idle = false;
                self.act(output);
            }
            let addrs: Vec<SocketAddr> = self.sites.keys().copied().collect();
            for addr in addrs {
                while let Some(output) = self.site(addr).model.poll_output() {
                    idle = false;
                    self.act_for_site(output);
                }
            }
            let mut said = Vec::new();
            for seat in &mut self.seats {
                while let Some(bytes) = seat.model.poll_transmit() {
                    said.extend(seat.conn.map(|conn| (conn, bytes)));
                }
            }
            for (conn, bytes) in said {
                idle = false;
                self.say(conn, &bytes);
            }
            if idle {
                return;
            }
        }
    }

    fn act_for_site(&mut self, output: OriginOutput) {
        match output {
            OriginOutput::Transmit { conn, bytes } => self.say(ConnId(conn.0), &bytes),
            OriginOutput::Close { conn } => {
                self.send(Parcel::Closed { conn: ConnId(conn.0), hangup: Hangup::Eof });
            }
            OriginOutput::Reset { conn } => {
                self.send(Parcel::Closed { conn: ConnId(conn.0), hangup: Hangup::Reset });
            }
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Resolve { query, host } => {
                let answer = self.names.get(&host).cloned().ok_or(ResolveError::NotFound);
                self.send(Parcel::Resolved { query, answer });
            }
            Output::Connect { conn, addr } => {
                self.dials.push((self.now, addr));
                match self.sites.get(&addr).map_or(Door::Refuse, |site| site.door) {
                    Door::Open => {
                        self.links.insert(conn, addr);
                        self.send(Parcel::SiteAccepts { conn });
                        self.send(Parcel::Connected { conn, outcome: Ok(HERE) });
                    }
                    Door::Refuse => {
                        self.send(Parcel::Connected { conn, outcome: Err(ConnectError::Refused) });
                    }
                    Door::Dark => {}
                }
            }
            Output::Transmit { conn, bytes } => {
                self.proxy.handle_input(Input::Sent { conn, len: bytes.len() }, self.now);
                let bytes = bytes.to_vec();
                self.send(if self.links.contains_key(&conn) {
                    Parcel::SiteBytes { conn, bytes }
                } else {
                    Parcel::SeatBytes { conn, bytes }
                });
            }
            Output::Close { conn } => {
                self.hang_up(conn);
                self.proxy.handle_input(Input::Closed { conn, hangup: Hangup::Eof }, self.now);
            }
            Output::Abort { conn } => self.hang_up(conn),
            Output::Reply { id, reply } => {
                assert_eq!(self.replies.insert(id, reply), None, "{id:?} is answered once");
            }
            Output::Ask { ask, .. } => {
                self.proxy.handle_input(Input::Answered { ask, answer: Answer::Default }, self.now);
            }
            Output::PlayAnswer { conn, answer } => {
                let head = match answer {
                    PlayAnswer::Stream => "HTTP/1.1 200 OK\r\n\r\n",
                    PlayAnswer::Refused(_) => "HTTP/1.1 404 Not Found\r\n\r\n",
                };
                self.send(Parcel::SeatBytes { conn, bytes: head.into() });
                if answer != PlayAnswer::Stream {
                    self.send(Parcel::SeatClosed { conn });
                }
            }
            Output::Event(event) => self.events.push((self.now, event)),
        }
    }

    fn hang_up(&mut self, conn: ConnId) {
        self.gone.insert(conn);
        self.send(if self.links.contains_key(&conn) {
            Parcel::SiteClosed { conn }
        } else {
            Parcel::SeatClosed { conn }
        });
    }
}
