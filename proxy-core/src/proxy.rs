//! The whole proxy: owns every machine, routes inputs, hands out ids and dice.
//!
//! ```text
//!  Received ──► Pull ── Frame ──► Relay ── packets ──► Player ──► Transmit
//!  Request  ──► Registry ──► Pull                        ▲
//!  Received ─────────────────────────────────────────────┘
//! ```
//! Machines never reach each other: each tells its effects, and the proxy carries them to whom they concern.
//!
//! | room | purpose |
//! |---|---|
//! | `operators` | adds, updates, removals, and the answers they wait for |
//! | `pulls` | what a pull reaches, and where its effects go |
//! | `media` | frames through a relay to players |
//! | `players` | what a player reaches; asked about, parked, seated, let go |
//! | `due` | what is due, and what is armed for later |
//! | `deadlines` | the index of all deadlines |

mod deadlines;
mod due;
mod media;
mod operators;
mod players;
mod pulls;

use alloc::{
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};
use core::net::SocketAddr;

use crate::{
    config::Config,
    dice::{self, Dice, PullDice},
    io::{
        AskId, ConnId, Event, EventKind, Hangup, Input, Output, PlayAnswer, PlayerView, RequestId, StreamId,
        StreamView, Wakeup,
    },
    proxy::deadlines::Deadlines,
    session::server::Refusal,
    stream::{
        budget::DialBudget,
        player::{Player, PlayerEvent},
        pull::PullEvent,
        registry::Registry,
        routes::Routes,
    },
    time::Instant,
    url::StreamKey,
    wire::handshake,
};

/// Pushes between two looks at what no player needs any more.
const TRIM_EVERY: u64 = 32;

/// Ids of streams told upstream: as many as a server believes.
const IDS_MAX: usize = 32;

/// An RTMP pull proxy without any IO.
#[derive(Debug)]
pub struct Proxy {
    config: Config,
    seed: u64,
    dice: Dice,
    /// Tells our streams from those of other proxies.
    origin_of_ids: u64,
    now: Instant,
    outputs: VecDeque<Output>,
    deadlines: Deadlines,
    routes: Routes,
    budget: DialBudget,
    /// The index names a moment for the budget.
    is_dial_due: bool,
    registry: Registry,
    players: BTreeMap<ConnId, Player>,
    /// Who waits for which stream, with the question asked about that.
    parked: BTreeMap<StreamKey, BTreeMap<ConnId, Option<AskId>>>,
    /// Connections whose end is awaited, and until when.
    closing: BTreeMap<ConnId, Instant>,
    /// Questions without an answer.
    asks: BTreeMap<AskId, AskedAbout>,
    last_ask: u64,
    shutdown: Option<Shutdown>,
    totals: Totals,
}

/// Sums over all streams and players, kept as they change: [`Proxy::counts`] is asked for at every step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    relay_bytes: usize,
    in_flight_bytes: usize,
}

/// Who waits for an answer.
#[derive(Clone, Debug)]
enum AskedAbout {
    Play { conn: ConnId, key: StreamKey },
    StreamNotFound { conn: ConnId },
    NoneReader { stream: StreamId },
}

#[derive(Debug)]
struct Shutdown {
    requests: Vec<RequestId>,
    until: Instant,
}

/// How much of everything is alive: returns to its baseline when streams and players are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Counts {
    /// Registered streams.
    pub streams: usize,
    /// Upstream connections, dialling or open.
    pub origins: usize,
    /// Player connections.
    pub players: usize,
    /// Connections of either kind whose orderly end is awaited.
    pub closing: usize,
    /// Timers in the deadline index.
    pub timers: usize,
    /// Encoded bytes kept in relays.
    pub relay_bytes: usize,
    /// Bytes handed over to players and not yet taken by sockets.
    pub in_flight_bytes: usize,
    /// Requests without a reply.
    pub requests: usize,
    /// Questions without an answer.
    pub asks: usize,
}

impl Proxy {
    /// Makes a proxy. Config, seed and inputs decide everything it does.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            budget: DialBudget::new(&config.dial),
            is_dial_due: false,
            config,
            seed,
            dice: Dice::new(seed),
            origin_of_ids: Dice::new(!seed).roll(),
            now: Instant::ZERO,
            outputs: VecDeque::new(),
            deadlines: Deadlines::default(),
            routes: Routes::default(),
            registry: Registry::default(),
            players: BTreeMap::new(),
            parked: BTreeMap::new(),
            closing: BTreeMap::new(),
            asks: BTreeMap::new(),
            last_ask: 0,
            shutdown: None,
            totals: Totals::default(),
        }
    }

    /// Rolls other dice from here on, for whoever asks what else could have come of the same beginning. Ids stay as they
    /// are numbered.
    pub fn roll_anew(&mut self, seed: u64) {
        self.seed = seed;
        self.dice = Dice::new(seed);
        for stream in self.registry.iter_mut() {
            stream.pull.set_dice(PullDice::new(seed, &stream.key));
        }
    }

    /// Takes one input. Cannot fail.
    ///
    /// # Panics
    /// If time goes back: a breach of the driver's contract.
    pub fn handle_input(&mut self, input: Input<'_>, now: Instant) {
        assert!(now >= self.now, "time went back from {} to {now}", self.now);
        self.now = now;
        match input {
            Input::Timeout => {}
            Input::Listening { addrs } => self.routes.listening(addrs),
            Input::Resolved { query, answer } => {
                if let Some(stream) = self.routes.answered(query, &answer, self.config.pull.resolve_ttl, now)
                {
                    self.with_pull(stream, |pull, cx| pull.handle_answer(query, answer, cx, now));
                }
            }
            Input::Connected { conn, outcome } => {
                let event = outcome.map_or_else(PullEvent::ConnectFailed, PullEvent::Connected);
                self.origin_event(conn, event);
            }
            Input::Accepted { conn, peer, local } => self.accept(conn, peer, local),
            Input::PlayHttp { conn, key, params, peer, local } => {
                self.play_http(conn, key, params, peer, local)
            }
            Input::Received { conn, bytes } => self.receive(conn, bytes),
            Input::Sent { conn, len } => self.sent(conn, len),
            Input::Closed { conn, hangup } => self.closed(conn, hangup),
            Input::Request { id, request } => self.request(id, request),
            Input::Answered { ask, answer } => self.answered(ask, answer),
        }
        self.run_due();
        self.run_budget();
        self.run_shutdown();
    }

    /// Returns what must be done next, `None` when it is time to wait.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when `Input::Timeout` is wanted at the latest, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Wakeup)> {
        self.deadlines.next()
    }

    /// Returns every registered stream, in the order of registration.
    pub fn streams(&self, now: Instant) -> impl Iterator<Item = StreamView> {
        self.registry.iter().map(move |stream| stream.view(self.parked_at(&stream.key), now))
    }

    /// Returns one stream by its key.
    pub fn stream(&self, key: &StreamKey, now: Instant) -> Option<StreamView> {
        let stream = self.registry.find(key)?;
        Some(stream.view(self.parked_at(key), now))
    }

    /// Returns every player connection.
    pub fn players(&self) -> impl Iterator<Item = PlayerView> {
        self.players.values().filter_map(Player::view)
    }

    /// Returns the seated players of one stream.
    pub fn players_of(&self, stream: StreamId) -> impl Iterator<Item = PlayerView> {
        let seats = self.registry.get(stream).into_iter().flat_map(|stream| stream.seats.iter());
        seats.filter_map(|conn| self.players.get(conn)?.view())
    }

    /// Returns how much of everything is alive.
    pub fn counts(&self) -> Counts {
        Counts {
            streams: self.registry.len(),
            origins: self.routes.conns(),
            players: self.players.len(),
            closing: self.closing.len(),
            timers: self.deadlines.len(),
            relay_bytes: self.totals.relay_bytes,
            in_flight_bytes: self.totals.in_flight_bytes,
            requests: self.registry.waiting()
                + self.shutdown.as_ref().map_or(0, |shutdown| shutdown.requests.len()),
            asks: self.asks.len(),
        }
    }

    /// Counts anew what [`Self::counts`] keeps as it changes: for tests, it looks at every stream and player.
    ///
    /// # Panics
    /// If they differ: a change was missed.
    pub fn check_totals(&self) {
        let totals = Totals {
            relay_bytes: self.registry.iter().map(|stream| stream.relay.bytes()).sum(),
            in_flight_bytes: self.players.values().map(Player::in_flight).sum(),
        };
        assert_eq!(self.totals, totals, "the totals kept are not what is there");
    }

    // ---- the world's news ----

    fn accept(&mut self, conn: ConnId, peer: SocketAddr, local: SocketAddr) {
        if self.is_full() {
            self.outputs.push_back(Output::Abort { conn });
            return;
        }
        let mut s1: handshake::Dice = [0; 1528];
        dice::fill(&mut s1, self.dice.roll());
        self.players.insert(conn, Player::accept(conn, peer, local, &s1, &self.config.play, self.now));
        self.tell(None, EventKind::PlayerConnected { conn, peer });
        self.schedule_player(conn);
    }

    fn play_http(
        &mut self,
        conn: ConnId,
        key: StreamKey,
        params: String,
        peer: SocketAddr,
        local: SocketAddr,
    ) {
        if self.is_full() {
            let answer = PlayAnswer::Refused(Refusal::TooManyPlayers);
            self.outputs.push_back(Output::PlayAnswer { conn, answer });
            return;
        }
        self.players.insert(conn, Player::http(conn, peer, local, &self.config.play, self.now));
        self.tell(None, EventKind::PlayerConnected { conn, peer });
        self.last_ask += 1;
        let ask = AskId(self.last_ask);
        self.step_player(conn, PlayerEvent::Asked { ask, key: Some(key), params });
    }

    fn is_full(&self) -> bool {
        self.shutdown.is_some() || self.players.len() >= self.config.limits.players_max
    }

    fn receive(&mut self, conn: ConnId, bytes: &[u8]) {
        let now = self.now;
        if let Some(id) = self.routes.stream_of_conn(conn) {
            if let Some(stream) = self.registry.get_mut(id) {
                stream.count_bytes(bytes.len(), now);
            }
            self.with_pull(id, |pull, cx| pull.handle_bytes(conn, bytes, cx, now));
        } else {
            self.with_player(conn, |player, cx| player.handle_bytes(bytes, cx, now));
        }
    }

    fn sent(&mut self, conn: ConnId, len: usize) {
        if let Some(id) = self.routes.stream_of_conn(conn) {
            if let Some(stream) = self.registry.get_mut(id) {
                stream.pull.handle_sent(conn, len);
            }
        } else if let Some(player) = self.players.get_mut(&conn) {
            let before = player.in_flight();
            player.handle_sent(len, self.now);
            self.totals.in_flight_bytes -= before - player.in_flight();
            self.pump(conn);
        }
    }

    fn closed(&mut self, conn: ConnId, hangup: Hangup) {
        if self.closing.remove(&conn).is_some() {
            self.deadlines.set(Wakeup::Conn(conn), None);
        } else if self.routes.stream_of_conn(conn).is_some() {
            self.origin_event(conn, PullEvent::Closed(hangup));
        } else {
            self.step_player(conn, PlayerEvent::HungUp(hangup));
        }
    }

    fn origin_event(&mut self, conn: ConnId, event: PullEvent) {
        let now = self.now;
        if let Some(id) = self.routes.stream_of_conn(conn) {
            self.with_pull(id, |pull, cx| pull.handle_conn_event(conn, event, cx, now));
        }
    }

    // ---- what is told ----

    fn tell(&mut self, stream: Option<StreamId>, kind: EventKind) {
        let number = stream.and_then(|id| self.registry.get_mut(id)).map_or(0, |stream| {
            stream.events += 1;
            stream.events
        });
        let stream = if number == 0 { None } else { stream };
        self.outputs.push_back(Output::Event(Event { stream, number, kind }));
    }
}

/// Returns what a stream of ours is called among proxies.
fn identity(origin_of_ids: u64, id: StreamId) -> u64 {
    Dice::new(origin_of_ids.wrapping_add(id.0)).roll()
}
