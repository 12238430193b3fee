//! Runs made by hand: what an oracle is tested with.

use std::net::{Ipv4Addr, SocketAddr};

use proxy_core::{
    io::{
        ConnId, ConnectError, Event, EventKind, Hangup, PlayOutput, PlayerEnd, PullEventKind, PullFailure,
        PullState, StreamEnd, StreamId,
    },
    time::{Duration, Instant},
};

use super::{Oracle, Oracles, scene::key_named};
use crate::{
    origin::{ACCEPT_QUEUE, Behaviour, Like, Publisher},
    raw::media::Track,
    scenario::model::{
        Act, Anchor, Event as Happens, Expect, Fault, FaultEvent, Host, HostRef, LeftBehind, LinkQuality,
        Network, OriginModel, Plane, PlayerModel, PullSpec, Role, Run, Scenario, When,
    },
    trace::{ActorId, Call, Cast, CastMember, Inward, Moment, Outward, Phase, Record, Saw, SeatId, What},
};

/// The proxy.
pub(super) const PROXY: ActorId = ActorId(0);
/// The origin.
pub(super) const ORIGIN: ActorId = ActorId(1);
/// The first player.
pub(super) const PLAYER: ActorId = ActorId(2);
/// The hosts of each.
pub(super) const PROXY_HOST: HostRef = HostRef(0);
/// See [`PROXY_HOST`].
pub(super) const ORIGIN_HOST: HostRef = HostRef(1);
/// See [`PROXY_HOST`].
pub(super) const PLAYER_HOST: HostRef = HostRef(2);
/// A second origin.
pub(super) const OTHER_HOST: HostRef = HostRef(3);
/// The origin's address.
pub(super) const ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)), 1935);

/// A run under way.
pub(super) struct Story {
    oracles: Oracles,
    step: u64,
    now: Instant,
    cause: u64,
    numbers: std::collections::BTreeMap<u64, u64>,
    calls: u32,
    requests: u64,
}

/// A run's scenario: one proxy, two origins, one player with one seat.
pub(crate) fn scenario() -> Scenario {
    let link = LinkQuality {
        latency_min: Duration::ZERO,
        latency_max: Duration::ZERO,
        loss_ppm: 0,
        duplicate_ppm: 0,
        reorder_ppm: 0,
        bandwidth: None,
        mtu: 1500,
    };
    let net = Network {
        line: 1,
        name: "lan".to_owned(),
        is_docker: false,
        subnet: (Ipv4Addr::new(198, 18, 0, 0), 16),
        gateway: Ipv4Addr::new(198, 18, 0, 1),
        ipv6: false,
        link,
        on_stop: LeftBehind { neighbours_stale: false, conntrack_kept: false, reassign_ip: false },
        conntrack_timeout: None,
    };
    let origin = |stream: &str| OriginModel {
        like: Like::Srs6,
        behaviour: Behaviour::like(Like::Srs6),
        port: 1935,
        backlog: ACCEPT_QUEUE,
        streams: vec![stream.to_owned()],
        publisher: Publisher::default(),
        boot: Duration::from_secs(1),
        first_frame: Duration::from_secs(1),
        published: true,
        up: true,
    };
    let host = |name: &str, last: u8, role: Role| Host {
        line: 2,
        name: name.to_owned(),
        net: 0,
        ip: Some(Ipv4Addr::new(198, 18, 0, last)),
        publish: None,
        role,
    };
    Scenario {
        swarm: None,
        id: "by-hand".to_owned(),
        title: String::new(),
        refs: Vec::new(),
        defects: Vec::new(),
        run: Run { time: Duration::from_secs(40), seeds: vec![1], planes: vec![Plane::Core], why_not: None },
        nets: vec![net],
        hosts: vec![
            host("proxy", 3, Role::Proxy(Box::default())),
            host("srs", 2, Role::Origin(Box::new(origin("live/a")))),
            host("viewer", 4, Role::Player(PlayerModel { count: 1, retry: None, read_rate: None })),
            host("other", 5, Role::Origin(Box::new(origin("live/b")))),
        ],
        names: Vec::new(),
        pulls: vec![PullSpec {
            line: 3,
            name: "p1".to_owned(),
            app: "live".to_owned(),
            stream: "a".to_owned(),
            url: "rtmp://srs/live/a".to_owned(),
            count: 1,
            args: Vec::new(),
        }],
        events: Vec::new(),
        expects: Vec::new(),
    }
}

/// Something that happens on a line of its own.
pub(super) fn happens(line: u32, act: Act) -> Happens {
    Happens { line, at: When { anchor: Anchor::Zero, offset: 0 }, name: None, every: None, act }
}

/// A fault of the timeline.
pub(super) fn fault(line: u32, on: HostRef, fault: Fault) -> Happens {
    happens(line, Act::Fault(FaultEvent { on, fault, time: None }))
}

/// Outputs about connections.
pub(super) mod dial {
    use super::{ADDR, Outward};

    /// A dial to the origin.
    pub(in crate::oracle) const fn connect(conn: u64) -> Outward {
        Outward::Connect { conn, addr: ADDR }
    }

    /// A hang-up at once.
    pub(in crate::oracle) const fn abort(conn: u64) -> Outward {
        Outward::Abort { conn }
    }

    /// An orderly hang-up.
    pub(in crate::oracle) const fn close(conn: u64) -> Outward {
        Outward::Close { conn }
    }
}

impl Story {
    /// Tells a story to one family; returns what it found.
    pub(super) fn told<O: Oracle + Default + 'static>(tell: impl FnOnce(&mut Self)) -> Vec<String> {
        Self::told_to(&scenario(), Box::<O>::default(), tell)
    }

    /// Tells a story of a scenario to a family; returns what it found.
    pub(super) fn told_to(
        scenario: &Scenario,
        family: Box<dyn Oracle>,
        tell: impl FnOnce(&mut Self),
    ) -> Vec<String> {
        let members = scenario.hosts.iter().enumerate().map(|(index, host)| CastMember {
            name: host.name.clone(),
            host: u16::try_from(index).expect("few"),
        });
        let cast = Cast { members: members.collect(), namespaces: Vec::new() };
        let oracles = Oracles::of(scenario, &cast, vec![family]);
        let mut story = Self {
            oracles,
            step: 0,
            now: Instant::ZERO,
            cause: 0,
            numbers: std::collections::BTreeMap::new(),
            calls: 0,
            requests: 0,
        };
        story.world(What::Phase(Phase::Safety));
        story.record(PROXY, What::Moment(Moment::Listening));
        for origin in [ORIGIN, ActorId(3)] {
            story.record(origin, What::Moment(Moment::Listening));
            story.record(origin, What::Moment(Moment::Serving));
        }
        tell(&mut story);
        let found = story.oracles.take_findings();
        found.into_iter().map(|finding| format!("{}: {}", finding.promise, finding.text)).collect()
    }

    /// The oracles as they stand.
    pub(super) fn oracles(&mut self) -> &mut Oracles {
        &mut self.oracles
    }

    /// Goes on at so many ms.
    pub(super) fn at(&mut self, ms: u64) -> &mut Self {
        self.now = Instant::from_millis(ms);
        self
    }

    /// The moment it is.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Makes a record.
    pub(super) fn record(&mut self, actor: ActorId, what: What) -> u64 {
        self.step += 1;
        let record =
            Record { step: self.step, at: self.now, actor, cause: self.cause, line: 0, hash: 0, what };
        self.oracles.on_record(&record);
        self.step
    }

    /// Something of the world's.
    pub(super) fn world(&mut self, what: What) {
        self.record(ActorId::WORLD, what);
    }

    /// An event of the timeline begins.
    pub(super) fn begins(&mut self, event: u16) {
        self.world(What::Began { event });
    }

    /// A fault is lifted.
    pub(super) fn lifts(&mut self, event: u16) {
        self.world(What::Lifted { event });
    }

    /// Something enters the core; what follows is caused by it.
    pub(super) fn input(&mut self, inward: Inward) {
        self.cause = 0;
        self.cause = self.record(PROXY, What::In(inward));
    }

    /// A deadline of the core.
    pub(super) fn timeout(&mut self) {
        self.input(Inward::Timeout);
    }

    /// Something leaves the core.
    pub(super) fn out(&mut self, outward: Outward) {
        self.record(PROXY, What::Out(outward));
    }

    /// An event of a stream, numbered.
    pub(super) fn event(&mut self, stream: u64, kind: EventKind) {
        let number = self.numbers.entry(stream).or_default();
        *number += 1;
        let event = Event { stream: Some(StreamId(stream)), number: *number, kind };
        self.record(PROXY, What::Event(event));
    }

    /// An event of no stream.
    pub(super) fn event_of_nobody(&mut self, kind: EventKind) {
        self.record(PROXY, What::Event(Event { stream: None, number: 0, kind }));
    }

    /// An operator's call that an event of the timeline makes.
    pub(super) fn asks_by(&mut self, event: u16, name: &str, stream: &str) -> u32 {
        self.cause = 0;
        let call = Call {
            call: self.calls,
            event: Some(event),
            name: name.to_owned(),
            stream: Some(stream.to_owned()),
            args: Vec::new(),
        };
        self.calls += 1;
        self.cause = self.record(PROXY, What::Asked(call));
        self.calls - 1
    }

    /// An operator's call; with the request to the core it leads to, if it does.
    pub(super) fn asks(
        &mut self,
        name: &str,
        stream: Option<&str>,
        args: &[(&str, &str)],
        requests: bool,
    ) -> u32 {
        self.cause = 0;
        let call = Call {
            call: self.calls,
            event: None,
            name: name.to_owned(),
            stream: stream.map(str::to_owned),
            args: args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        self.calls += 1;
        self.cause = self.record(PROXY, What::Asked(call));
        if requests {
            self.requests += 1;
            self.cause = self.record(PROXY, What::In(Inward::Request { id: self.requests }));
        }
        self.calls - 1
    }

    /// The core replies to the last request.
    pub(super) fn replies(&mut self) {
        self.out(Outward::Reply { id: self.requests });
    }

    /// A call is answered.
    pub(super) fn answers(&mut self, call: u32, body: &str) {
        self.record(PROXY, What::Answered { call, body: body.to_owned() });
    }

    /// `addStreamProxy` registers a stream.
    pub(super) fn register(&mut self, stream: u64, name: &str) -> u32 {
        self.register_with(stream, name, &[])
    }

    /// The same, with options.
    pub(super) fn register_with(&mut self, stream: u64, name: &str, options: &[(&str, &str)]) -> u32 {
        let url = format!("rtmp://{}/{name}", if name == "live/b" { "other" } else { "srs" });
        let mut args = vec![("url", url.as_str())];
        args.extend(options);
        let call = self.asks("addStreamProxy", Some(name), &args, true);
        self.event(stream, EventKind::Registered { key: key_named(name).expect("a name") });
        call
    }

    /// A stream is removed.
    pub(super) fn removes(&mut self, stream: u64, name: &str, reason: StreamEnd) {
        self.event(stream, EventKind::Unregistered { key: key_named(name).expect("a name"), reason });
    }

    /// A step of a pull, and the state entered without a failure.
    pub(super) fn step(&mut self, stream: u64, state: PullState, event: PullEventKind, next: PullState) {
        self.event(stream, EventKind::PullStepped { state, event, next });
        if next != state && next != PullState::BackingOff {
            self.enters(stream, next, None, 0, None);
        }
    }

    /// A state is entered.
    pub(super) fn enters(
        &mut self,
        stream: u64,
        state: PullState,
        failure: Option<PullFailure>,
        failures: u32,
        next_attempt: Option<Instant>,
    ) {
        self.event(stream, EventKind::PullEntered { state, failure, failures, next_attempt });
    }

    /// A stream that waits begins an attempt and dials the origin.
    pub(super) fn dials(&mut self, stream: u64, conn: u64) {
        use PullEventKind as E;
        use PullState as S;

        let known = self.oracles.scene().streams.get(&(PROXY, stream));
        let begins = if known.is_none_or(|stream| stream.attempts == 0) { E::Wake } else { E::Deadline };
        self.timeout();
        self.step(stream, S::BackingOff, begins, S::Queued);
        self.out(dial::connect(conn));
        self.step(stream, S::Queued, E::Granted, S::Connecting);
    }

    /// A dialled stream comes to its first frame.
    pub(super) fn streams(&mut self, stream: u64, conn: u64) {
        use PullEventKind as E;
        use PullState as S;

        self.input(Inward::Connected { conn, failed: None });
        self.step(stream, S::Connecting, E::Connected, S::Handshaking);
        self.input(Inward::Received { conn, len: 3073 });
        self.step(stream, S::Handshaking, E::HandshakeDone, S::Requesting);
        self.input(Inward::Received { conn, len: 300 });
        self.step(stream, S::Requesting, E::Asked, S::Requesting);
        self.input(Inward::Received { conn, len: 300 });
        self.step(stream, S::Requesting, E::Playing, S::AwaitingMedia);
        self.arrives(conn, Track::Video);
        self.input(Inward::Received { conn, len: 300 });
        self.step(stream, S::AwaitingMedia, E::Frame, S::Streaming);
    }

    /// A frame arrives at the proxy's socket.
    pub(super) fn arrives(&mut self, conn: u64, track: Track) {
        self.cause = 0;
        self.record(PROXY, What::Arrived { conn, track, key: track == Track::Video, len: 100 });
    }

    /// An origin's word that its stream is over arrives at the proxy's socket.
    pub(super) fn ends(&mut self, conn: u64, told: &str) {
        self.cause = 0;
        self.record(PROXY, What::EndArrived { conn, told: told.to_owned() });
    }

    /// A frame arrives and is taken.
    pub(super) fn frame(&mut self, stream: u64, conn: u64, track: Track) {
        self.arrives(conn, track);
        self.input(Inward::Received { conn, len: 100 });
        self.step(stream, PullState::Streaming, PullEventKind::Frame, PullState::Streaming);
    }

    /// A connecting stream's attempt fails; it waits 100 ms from now for each failure.
    pub(super) fn fails(&mut self, stream: u64, failures: u32) {
        let next = self.now + Duration::from_millis(90);
        self.fails_until(stream, failures, next);
    }

    /// A connecting stream's attempt fails; it waits until then.
    pub(super) fn fails_until(&mut self, stream: u64, failures: u32, next: Instant) {
        use PullEventKind as E;
        use PullState as S;

        let failure = PullFailure::Connect(ConnectError::Refused);
        self.event(
            stream,
            EventKind::PullStepped { state: S::Connecting, event: E::ConnectFailed, next: S::BackingOff },
        );
        self.enters(stream, S::BackingOff, Some(failure), failures, Some(next));
    }

    /// The connection of a streaming pull is gone.
    pub(super) fn loses(&mut self, stream: u64, conn: u64, failures: u32, next: Instant) {
        use PullEventKind as E;
        use PullState as S;

        self.input(Inward::Closed { conn, hangup: Hangup::Reset });
        self.event(
            stream,
            EventKind::PullStepped { state: S::Streaming, event: E::Closed, next: S::BackingOff },
        );
        self.enters(stream, S::BackingOff, Some(PullFailure::Lost(Hangup::Reset)), failures, Some(next));
    }

    /// A player is made to play, connects, and the proxy knows it.
    pub(super) fn player(&mut self, seat: u32, output: PlayOutput, stream: &str, conn: u64) {
        let local = SocketAddr::from(([198, 18, 0, 4], 50_000 + u16::try_from(seat).expect("few")));
        let seat = SeatId(seat);
        self.cause = 0;
        self.record(
            PLAYER,
            What::PlayerJoins { seat, output, stream: stream.to_owned(), from: PROXY, redials: false },
        );
        self.record(PLAYER, What::PlayerConnected { seat, local });
        match output {
            PlayOutput::Rtmp => self.input(Inward::Accepted { conn, peer: local }),
            PlayOutput::HttpFlv => self.input(Inward::PlayHttp { conn, peer: local }),
        }
        self.event_of_nobody(EventKind::PlayerConnected { conn: ConnId(conn), peer: local });
    }

    /// The first stream, `live/a`, streams by connection 2 to a player by RTMP, connection 1.
    pub(super) fn watched(&mut self) {
        self.register(1, "live/a");
        self.dials(1, 2);
        self.streams(1, 2);
        self.player(0, PlayOutput::Rtmp, "live/a", 1);
        self.seats(1, 1);
    }

    /// A player gets a seat.
    pub(super) fn seats(&mut self, stream: u64, conn: u64) {
        self.event(stream, EventKind::PlayerSeated { conn: ConnId(conn) });
    }

    /// A player waits.
    pub(super) fn parks(&mut self, stream: Option<u64>, name: &str, conn: u64) {
        let kind = EventKind::PlayerParked { conn: ConnId(conn), key: key_named(name).expect("a name") };
        match stream {
            Some(stream) => self.event(stream, kind),
            None => self.event_of_nobody(kind),
        }
    }

    /// A player with a seat leaves.
    pub(super) fn leaves(&mut self, stream: u64, conn: u64, reason: PlayerEnd) {
        self.event(stream, EventKind::PlayerLeft { conn: ConnId(conn), reason });
    }

    /// A player without a seat leaves.
    pub(super) fn leaves_unseated(&mut self, conn: u64, reason: PlayerEnd) {
        self.event_of_nobody(EventKind::PlayerLeft { conn: ConnId(conn), reason });
    }

    /// A player sees something.
    pub(super) fn saw(&mut self, seat: u32, saw: Saw) {
        self.cause = 0;
        self.record(PLAYER, What::Saw { seat: SeatId(seat), saw });
    }

    /// The calm phase begins.
    pub(super) fn calm(&mut self) {
        self.cause = 0;
        self.world(What::Phase(Phase::Calm));
    }
}

/// A scenario that expects something.
pub(super) fn expecting(events: Vec<Happens>, expects: Vec<Expect>) -> Scenario {
    Scenario { events, expects, ..scenario() }
}
