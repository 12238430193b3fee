//! The proxy under test: `proxy-core` as it is, and the little that carries it. Nothing here decides.
//!
//! What a production driver does with sockets this does with the simulated ones: bytes that came are handed over as
//! they came, what the core transmits is written when the socket takes it, and what it took gives credit back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
};

use bytes::{Buf, Bytes};
use proxy_core::{
    Proxy,
    io::{
        Answer, AskId, ConnId, ConnectError, EventKind, Hangup, Input, Output, PlayAnswer, QueryId,
        RequestId, ResolveError, Wakeup,
    },
    proxy::Counts,
    session::server::Refusal,
    time::{Duration, Instant},
    url::{DEFAULT_VHOST, StreamKey},
};
use proxyd::{api::Step, config::Settings};

use super::{Happened, Owner, Wake, World, calls::Pending, ear::Ear};
use crate::{
    dice::Dice,
    net::{
        DialError, HostId, ListenerId, NetEvent, SockId,
        dns::{DnsError, Lookup},
    },
    trace::{ActorId, Inward, Moment, Outward, Sample, What},
};

/// Connections the kernel may hold between two accepts.
const BACKLOG: usize = 1024;
/// The longest request head of an HTTP player.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The proxy and what carries it.
#[derive(Debug)]
pub(super) struct ProxyHost {
    pub(super) actor: ActorId,
    pub(super) namespace: HostId,
    pub(super) settings: Settings,
    pub(super) core: Proxy,
    /// Lives of the process so far; each has dice of its own.
    lives: u64,
    pub(super) is_up: bool,
    /// The faults that keep it still.
    pub(super) frozen: BTreeSet<usize>,
    rtmp: Option<ListenerId>,
    http: Option<ListenerId>,
    conns: BTreeMap<ConnId, Conn>,
    socks: BTreeMap<SockId, ConnId>,
    accepted: u64,
    /// Connections with bytes to write.
    dirty: BTreeSet<ConnId>,
    /// Questions of the core without an answer.
    asks: VecDeque<AskId>,
    /// Answers to lookups under way.
    answers: BTreeMap<u64, Answered>,
    lookups: u64,
    /// The deadline the heap knows.
    armed: Option<Instant>,
    pub(super) sampled: Option<Sample>,
    pub(super) requests: u64,
    pub(super) pending: BTreeMap<RequestId, Pending>,
    /// Calls that go on as soon as the core has said everything.
    pub(super) steps: VecDeque<(u32, Option<u16>, Step)>,
    /// The key of every stream registered, by its id.
    pub(super) streams: BTreeMap<u64, StreamKey>,
    /// How far the wall clock is off, in ms.
    pub(super) wall_offset: i64,
    /// How late its timers fire, by the fault that says so.
    pub(super) late: BTreeMap<usize, Duration>,
}

#[derive(Debug)]
struct Answered {
    query: QueryId,
    answer: Result<Vec<IpAddr>, ResolveError>,
    /// Of which life.
    life: u64,
}

#[derive(Debug)]
struct Conn {
    sock: SockId,
    /// The peer's address and ours.
    ends: (SocketAddr, SocketAddr),
    queue: VecDeque<Bytes>,
    kind: Kind,
    is_open: bool,
    closing: bool,
}

#[derive(Debug)]
enum Kind {
    /// To an origin, with ears of our own on what it sends.
    Origin(Box<Ear>),
    /// An RTMP player.
    Rtmp,
    /// An HTTP player, its request so far, and until when the rest is waited for.
    Request { head: Vec<u8>, until: Instant },
    /// An HTTP player that waits for its answer or gets its stream.
    Flv,
}

impl ProxyHost {
    pub(super) fn new(actor: ActorId, namespace: HostId, settings: &Settings) -> Self {
        Self {
            actor,
            namespace,
            settings: settings.clone(),
            core: Proxy::new(settings.core.clone(), 0),
            lives: 0,
            is_up: false,
            frozen: BTreeSet::new(),
            rtmp: None,
            http: None,
            conns: BTreeMap::new(),
            socks: BTreeMap::new(),
            accepted: 0,
            dirty: BTreeSet::new(),
            asks: VecDeque::new(),
            answers: BTreeMap::new(),
            lookups: 0,
            armed: None,
            sampled: None,
            requests: 0,
            pending: BTreeMap::new(),
            steps: VecDeque::new(),
            streams: BTreeMap::new(),
            wall_offset: 0,
            late: BTreeMap::new(),
        }
    }

    /// Returns how many sockets the driver holds.
    pub(super) fn sockets(&self) -> usize {
        self.conns.len()
    }

    /// Returns what was alive when the core last rested.
    pub(super) fn sampled(&self) -> (Counts, usize) {
        self.sampled.map_or_else(Default::default, |sample| (sample.core, sample.sockets as usize))
    }

    /// Returns the RTMP and HTTP ports.
    pub(super) fn ports(&self) -> (u16, u16) {
        (self.settings.rtmp.port, self.settings.http.port)
    }
}

impl World<'_> {
    /// Starts the process: listeners, then the streams of its configuration.
    pub(super) fn start_proxy(&mut self, p: usize) {
        let proxy = &mut self.proxies[p];
        let drawn = Dice::seed_of_proxy(self.seed, p, proxy.lives);
        let seed = if proxy.settings.general.seed == 0 { drawn } else { proxy.settings.general.seed }.into();
        proxy.core = Proxy::new(proxy.settings.core.clone(), seed);
        proxy.lives += 1;
        proxy.is_up = true;
        proxy.sampled = None;
        proxy.armed = None;
        if self.carrier.is_some() {
            return self.start_driver(p, seed);
        }
        let proxy = &mut self.proxies[p];
        let (namespace, (rtmp, http)) = (proxy.namespace, proxy.ports());
        let addresses: Vec<IpAddr> = self.addresses_of(self.host_of(self.proxies[p].actor)).collect();
        let mut listens = |port: u16| {
            let listener = if port == 0 { None } else { self.net.listen(namespace, port, BACKLOG) }?;
            self.listeners.insert(listener, Owner::Proxy(p as u16));
            Some(listener)
        };
        let (rtmp_listener, http_listener) = (listens(rtmp), listens(http));
        let proxy = &mut self.proxies[p];
        (proxy.rtmp, proxy.http) = (rtmp_listener, http_listener);
        if rtmp != 0 {
            let addrs = addresses.into_iter().map(|ip| SocketAddr::new(ip, rtmp)).collect();
            self.proxy_input(p, Input::Listening { addrs });
        }
        let actor = self.proxies[p].actor;
        self.note(actor, What::Moment(Moment::Listening));
        self.happened(Happened::Listening(self.host_of(actor)));
        self.add_static_streams(p);
    }

    /// Every running process rolls the dice of another seed from here on.
    pub(super) fn proxies_roll_anew(&mut self) {
        for (p, proxy) in self.proxies.iter_mut().enumerate() {
            proxy.core.roll_anew(Dice::seed_of_proxy(self.seed, p, proxy.lives).into());
        }
    }

    /// The process is gone, with everything it knew; its sockets are the kernel's business.
    pub(super) fn stop_proxy(&mut self, p: usize) {
        let proxy = &mut self.proxies[p];
        proxy.is_up = false;
        proxy.frozen.clear();
        proxy.conns.clear();
        proxy.dirty.clear();
        proxy.asks.clear();
        proxy.answers.clear();
        proxy.pending.clear();
        proxy.steps.clear();
        proxy.streams.clear();
        proxy.armed = None;
        for sock in std::mem::take(&mut proxy.socks).into_keys() {
            self.owners.remove(&sock);
        }
        for listener in [self.proxies[p].rtmp.take(), self.proxies[p].http.take()].into_iter().flatten() {
            self.listeners.remove(&listener);
        }
        self.freeze_driver(p, false);
        self.stop_driver(p);
    }

    /// The process stands still; its kernel does not.
    pub(super) fn freeze_proxy(&mut self, p: usize, fault: usize) {
        self.proxies[p].frozen.insert(fault);
        self.freeze_driver(p, true);
    }

    /// A frozen process runs again; the network tells it what it has missed.
    pub(super) fn thaw_proxy(&mut self, p: usize) {
        self.proxies[p].armed = None;
        self.freeze_driver(p, false);
        self.proxy_due(p);
    }

    /// Hands an input over and carries what comes of it.
    pub(super) fn proxy_input(&mut self, p: usize, input: Input<'_>) {
        self.enter(p, input);
        self.pump_proxy(p);
    }

    /// Answers what is asked and writes what waits, until the core has nothing more to say at this instant.
    fn pump_proxy(&mut self, p: usize) {
        loop {
            if let Some(ask) = self.proxies[p].asks.pop_front() {
                // As the production driver: there is nobody to ask, so the default counts.
                self.enter(p, Input::Answered { ask, answer: Answer::Default });
            } else if let Some(conn) = self.proxies[p].dirty.pop_first() {
                self.flush(p, conn);
            } else if !self.continue_call(p) {
                break;
            }
        }
        self.arm_proxy(p);
        self.sample(p);
    }

    fn enter(&mut self, p: usize, input: Input<'_>) {
        if let Input::Received { bytes, .. } = &input {
            self.tracer.take_bytes(bytes);
        }
        let inward = Inward::of(&input);
        let proxy = &self.proxies[p];
        let before = self.cause;
        self.cause = self.note(proxy.actor, What::In(inward));
        self.proxies[p].core.handle_input(input, self.now);
        while let Some(output) = self.proxies[p].core.poll_output() {
            self.carry(p, output);
        }
        self.cause = before;
    }

    fn carry(&mut self, p: usize, output: Output) {
        let actor = self.proxies[p].actor;
        if let Output::Transmit { bytes, .. } = &output {
            self.tracer.take_bytes(bytes);
        }
        if let Some(outward) = Outward::of(&output) {
            self.note(actor, What::Out(outward));
        }
        match output {
            Output::Resolve { query, host } => {
                let Lookup { at, answer } = self.dns.lookup(self.proxies[p].namespace, &host, self.now);
                let answer = answer.map_err(resolve_error);
                let proxy = &mut self.proxies[p];
                proxy.lookups += 1;
                let number = proxy.lookups;
                proxy.answers.insert(number, Answered { query, answer, life: proxy.lives });
                self.heap.push(at, (Wake::Resolved(p as u16, number), self.cause));
            }
            Output::Connect { conn, addr } => {
                let sock = self.net.dial(self.proxies[p].namespace, addr, self.now);
                self.owners.insert(sock, Owner::Proxy(p as u16));
                self.proxies[p].insert(conn, sock, Kind::Origin(Box::new(Ear::new())), (addr, addr));
            }
            Output::Transmit { conn, bytes } => {
                let proxy = &mut self.proxies[p];
                if let Some(entry) = proxy.conns.get_mut(&conn) {
                    entry.queue.push_back(bytes);
                    proxy.dirty.insert(conn);
                }
            }
            Output::Close { conn } => {
                let proxy = &mut self.proxies[p];
                if let Some(entry) = proxy.conns.get_mut(&conn) {
                    entry.closing = true;
                    proxy.dirty.insert(conn);
                }
            }
            Output::Abort { conn } => {
                self.drop_conn(p, conn, true);
            }
            Output::Reply { id, reply } => {
                self.replied(p, id, reply);
            }
            Output::Ask { ask, question: _ } => {
                self.proxies[p].asks.push_back(ask);
            }
            Output::PlayAnswer { conn, answer } => {
                self.answer_http(p, conn, answer);
            }
            Output::Event(event) => self.told(p, event),
        }
    }

    pub(super) fn told(&mut self, p: usize, event: proxy_core::io::Event) {
        let actor = self.proxies[p].actor;
        let mut entered = None;
        match &event.kind {
            EventKind::Registered { key } => {
                if let Some(stream) = event.stream {
                    self.proxies[p].streams.insert(stream.0, key.clone());
                }
            }
            EventKind::PullEntered { state, .. } => {
                let key = event.stream.and_then(|stream| self.proxies[p].streams.get(&stream.0));
                let host = self.host_of(actor);
                let name = key.map(|key| format!("{}/{}", key.app, key.stream));
                let pull = name.and_then(|name| self.timeline.pulls.find(&name, Some(host)));
                entered = pull.map(|pull| Happened::Entered(pull, *state));
            }
            EventKind::Unregistered { .. } => {
                if let Some(stream) = event.stream {
                    self.proxies[p].streams.remove(&stream.0);
                }
            }
            EventKind::PullStepped { .. }
            | EventKind::OriginStatus(_)
            | EventKind::Epoch { .. }
            | EventKind::Rebuilt
            | EventKind::TrackGone(_)
            | EventKind::PlayerConnected { .. }
            | EventKind::PlayerParked { .. }
            | EventKind::PlayerSeated { .. }
            | EventKind::PlayerShed { .. }
            | EventKind::PlayerLeft { .. }
            | EventKind::NoneReader => {}
        }
        self.note(actor, What::Event(event));
        if let Some(entered) = entered {
            self.happened(entered);
        }
    }

    /// Writes what a connection's socket takes, hangs up if that was all.
    fn flush(&mut self, p: usize, conn: ConnId) {
        let mut taken = 0;
        let Some(entry) = self.proxies[p].conns.get_mut(&conn) else { return };
        if !entry.is_open {
            return;
        }
        while let Some(front) = entry.queue.front_mut() {
            let len = self.net.send(entry.sock, front);
            front.advance(len);
            taken += len;
            if !front.is_empty() {
                break;
            }
            entry.queue.pop_front();
        }
        let (is_done, sock) = (entry.closing && entry.queue.is_empty(), entry.sock);
        if taken > 0 {
            self.enter(p, Input::Sent { conn, len: taken });
        }
        if is_done && self.proxies[p].conns.contains_key(&conn) {
            self.net.close(sock, self.now);
            self.drop_conn(p, conn, false);
            self.enter(p, Input::Closed { conn, hangup: Hangup::Eof });
        }
    }

    /// Forgets a connection; `abort` resets it.
    fn drop_conn(&mut self, p: usize, conn: ConnId, abort: bool) {
        let proxy = &mut self.proxies[p];
        proxy.dirty.remove(&conn);
        let Some(entry) = proxy.conns.remove(&conn) else { return };
        proxy.socks.remove(&entry.sock);
        self.owners.remove(&entry.sock);
        if abort {
            self.net.abort(entry.sock);
        }
    }

    /// News of a socket.
    pub(super) fn proxy_net(&mut self, p: usize, event: NetEvent) {
        if self.driver_net(p, event) {
            return;
        }
        let proxy = &mut self.proxies[p];
        if !proxy.is_up {
            return;
        }
        match event {
            NetEvent::Accepted { listener, sock, peer, local } => {
                proxy.accepted += 1;
                let conn = ConnId::accepted(proxy.accepted);
                if Some(listener) == proxy.http {
                    let until = self.now + proxy.settings.http.keep_alive;
                    proxy.insert(conn, sock, Kind::Request { head: Vec::new(), until }, (peer, local));
                    self.heap.push(until, (Wake::HttpRequest(p as u16, conn), self.cause));
                } else {
                    proxy.insert(conn, sock, Kind::Rtmp, (peer, local));
                    self.proxy_input(p, Input::Accepted { conn, peer, local });
                }
            }
            NetEvent::Connected { sock, local } => {
                let Some(conn) = proxy.socks.get(&sock).copied() else { return };
                if let Some(entry) = proxy.conns.get_mut(&conn) {
                    entry.is_open = true;
                }
                self.proxy_input(p, Input::Connected { conn, outcome: Ok(local) });
            }
            NetEvent::DialFailed { sock, error } => {
                let Some(conn) = proxy.socks.get(&sock).copied() else { return };
                self.drop_conn(p, conn, false);
                self.proxy_input(p, Input::Connected { conn, outcome: Err(connect_error(error)) });
            }
            NetEvent::Readable { sock } => self.proxy_read(p, sock),
            NetEvent::Writable { sock } => {
                let Some(conn) = proxy.socks.get(&sock).copied() else { return };
                proxy.dirty.insert(conn);
                self.pump_proxy(p);
            }
            NetEvent::Eof { sock } => {
                // What came before the end is read first.
                self.proxy_read(p, sock);
                self.proxy_hangup(p, sock, Hangup::Eof);
            }
            NetEvent::Reset { sock } => {
                self.proxy_read(p, sock);
                self.proxy_hangup(p, sock, Hangup::Reset);
            }
        }
    }

    fn proxy_hangup(&mut self, p: usize, sock: SockId, hangup: Hangup) {
        let Some(conn) = self.proxies[p].socks.get(&sock).copied() else { return };
        let is_known =
            self.proxies[p].conns.get(&conn).is_some_and(|entry| !matches!(entry.kind, Kind::Request { .. }));
        self.drop_conn(p, conn, false);
        self.net.close(sock, self.now);
        if is_known {
            self.proxy_input(p, Input::Closed { conn, hangup });
        } else {
            self.sample(p);
        }
    }

    fn proxy_read(&mut self, p: usize, sock: SockId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(conn) = self.proxies[p].socks.get(&sock).copied() {
            buffer.clear();
            if self.net.recv(sock, 64 * 1024, &mut buffer) == 0 {
                break;
            }
            self.proxy_received(p, conn, &buffer);
        }
        self.buffer = buffer;
    }

    fn proxy_received(&mut self, p: usize, conn: ConnId, bytes: &[u8]) {
        let proxy = &mut self.proxies[p];
        let actor = proxy.actor;
        let Some(entry) = proxy.conns.get_mut(&conn) else { return };
        match &mut entry.kind {
            Kind::Origin(ear) => {
                let mut heard = Vec::new();
                ear.hear(bytes, |what| heard.push(what.into_record(conn.0)));
                for what in heard {
                    self.note(actor, what);
                }
                self.proxy_input(p, Input::Received { conn, bytes });
            }
            Kind::Rtmp => self.proxy_input(p, Input::Received { conn, bytes }),
            Kind::Request { head, .. } => {
                head.extend_from_slice(bytes);
                self.http_request(p, conn);
            }
            // Nothing more is expected of a player of HTTP-FLV.
            Kind::Flv => {}
        }
    }

    fn http_request(&mut self, p: usize, conn: ConnId) {
        let proxy = &mut self.proxies[p];
        let Some(entry) = proxy.conns.get_mut(&conn) else { return };
        let Kind::Request { head, .. } = &mut entry.kind else { return };
        if head.len() > HEAD_BYTES_MAX {
            self.drop_conn(p, conn, true);
            return self.sample(p);
        }
        if !head.ends_with(b"\r\n\r\n") {
            return;
        }
        let text = String::from_utf8_lossy(head).into_owned();
        let (sock, target) = (entry.sock, text.split(' ').nth(1).unwrap_or("/").to_owned());
        entry.kind = Kind::Flv;
        let (path, params) = target.split_once('?').unwrap_or((&target, ""));
        match key_of(path) {
            Some(key) => {
                let (peer, local) = entry.ends;
                let params = params.to_owned();
                self.proxy_input(p, Input::PlayHttp { conn, key, params, peer, local });
            }
            None => {
                let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                self.net.send(sock, answer.as_bytes());
                self.net.close(sock, self.now);
                self.drop_conn(p, conn, false);
            }
        }
    }

    /// Nobody is waited for longer whose request has not come, as the daemon does.
    pub(super) fn http_request_due(&mut self, p: usize, conn: ConnId) {
        let Some(entry) = self.proxies[p].conns.get(&conn) else { return };
        let sock = entry.sock;
        if matches!(entry.kind, Kind::Request { until, .. } if until <= self.now) {
            self.net.close(sock, self.now);
            self.drop_conn(p, conn, false);
            self.sample(p);
        }
    }

    fn answer_http(&mut self, p: usize, conn: ConnId, answer: PlayAnswer) {
        let (status, is_stream) = match answer {
            PlayAnswer::Stream => ("200 OK", true),
            PlayAnswer::Refused(Refusal::StreamNotFound) => ("404 Not Found", false),
            PlayAnswer::Refused(Refusal::BadAuth) => ("403 Forbidden", false),
            PlayAnswer::Refused(Refusal::TooManyPlayers) => ("503 Service Unavailable", false),
        };
        let head = if is_stream {
            format!("HTTP/1.1 {status}\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n")
        } else {
            format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        };
        let Some(entry) = self.proxies[p].conns.get(&conn) else { return };
        let sock = entry.sock;
        // The head is the carrier's, so it is no credit of the core's; a fresh socket has room for it.
        self.net.send(sock, head.as_bytes());
        if !is_stream {
            self.net.close(sock, self.now);
            self.drop_conn(p, conn, false);
        }
    }

    /// A lookup is answered.
    pub(super) fn proxy_resolved(&mut self, p: usize, number: u64) {
        let proxy = &mut self.proxies[p];
        let Some(lookup) = proxy.answers.remove(&number) else { return };
        if proxy.is_up && lookup.life == proxy.lives {
            self.proxy_input(p, Input::Resolved { query: lookup.query, answer: lookup.answer });
        }
    }

    /// The core's deadline may have come.
    pub(super) fn proxy_due(&mut self, p: usize) {
        let proxy = &mut self.proxies[p];
        if !proxy.is_up || !proxy.frozen.is_empty() || self.carrier.is_some() {
            return;
        }
        proxy.armed = None;
        match proxy.core.poll_timeout() {
            Some((at, _)) if at <= self.now => self.proxy_input(p, Input::Timeout),
            Some(_) | None => self.arm_proxy(p),
        }
    }

    /// Asks the heap for the core's deadline; a moment that moved back is looked at again when it comes.
    fn arm_proxy(&mut self, p: usize) {
        let proxy = &mut self.proxies[p];
        let Some((at, _)) = proxy.core.poll_timeout() else { return };
        if proxy.armed.is_none_or(|armed| at < armed) {
            proxy.armed = Some(at);
            let late = proxy.late.values().max().copied().unwrap_or_default();
            self.heap.push(at + late, (Wake::Proxy(p as u16), self.cause));
        }
    }

    fn sample(&mut self, p: usize) {
        let proxy = &self.proxies[p];
        let sample = Sample {
            core: proxy.core.counts(),
            sockets: proxy.conns.len() as u32,
            next: proxy.core.poll_timeout().filter(|(_, owner)| !matches!(owner, Wakeup::Conn(_))),
        };
        if proxy.sampled != Some(sample) {
            let actor = proxy.actor;
            self.proxies[p].sampled = Some(sample);
            self.note(actor, What::Sample(sample));
        }
    }
}

impl ProxyHost {
    fn insert(&mut self, conn: ConnId, sock: SockId, kind: Kind, ends: (SocketAddr, SocketAddr)) {
        let is_open = !matches!(kind, Kind::Origin(_));
        self.socks.insert(sock, conn);
        self.conns.insert(conn, Conn { sock, ends, queue: VecDeque::new(), kind, is_open, closing: false });
    }
}

/// Reads a key off the path of an HTTP player.
fn key_of(path: &str) -> Option<StreamKey> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix(".live.flv").or_else(|| path.strip_suffix(".flv"))?;
    let (app, stream) = path.rsplit_once('/')?;
    StreamKey::new(DEFAULT_VHOST, app, stream).ok()
}

/// Maps what a resolver says to what a driver says of it.
const fn resolve_error(error: DnsError) -> ResolveError {
    match error {
        DnsError::NotFound => ResolveError::NotFound,
        DnsError::ServFail | DnsError::TimedOut => ResolveError::Failed,
    }
}

/// Maps what a kernel says of a dial to what a driver says of it.
const fn connect_error(error: DialError) -> ConnectError {
    match error {
        DialError::Refused => ConnectError::Refused,
        DialError::Unreachable => ConnectError::Unreachable,
        DialError::TimedOut => ConnectError::TimedOut,
        DialError::NoPort => ConnectError::Other,
    }
}
