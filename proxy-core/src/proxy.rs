//! The whole proxy: owns every machine, routes inputs, hands out ids and dice.
//!
//! ```text
//!  Received ──► Pull ── Frame ──► Relay ── packets ──► Player ──► Transmit
//!  Request  ──► Registry ──► Pull                        ▲
//!  Received ─────────────────────────────────────────────┘
//! ```
//! Machines never reach each other: each tells its effects, and the proxy carries them to whom they concern.

mod deadlines;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};
use core::net::SocketAddr;

use crate::{
    config::Config,
    dice::{self, Dice, PullDice},
    io::{
        Answer, AskId, ConnId, Event, EventKind, Hangup, Input, Output, PlayAnswer, PlayerEnd, PlayerView,
        PullFailure, PullOptions, PullState, Question, Reply, Request, RequestId, StreamEnd, StreamFilter,
        StreamId, StreamView, Wakeup,
    },
    proxy::deadlines::Deadlines,
    relay::Relay,
    session::server::Refusal,
    stream::{
        budget::{DialBudget, Turn, Urgency},
        player::{self, Place, Player, PlayerCx, PlayerEvent},
        pull::{self, Pull, PullEvent, Wish},
        registry::{AddMeans, Registry, Waiter},
        routes::{PullCx, Routes},
    },
    time::Instant,
    url::{OriginUrl, StreamKey},
    wire::{flv::Frame, handshake},
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

    // ---- operators ----

    fn request(&mut self, id: RequestId, request: Request) {
        match request {
            Request::Add { key, url, options } => self.add(id, key, &url, options),
            Request::Update { key, url, options, now } => self.update(id, &key, url.as_deref(), options, now),
            Request::Del { key } => {
                let stream = self.registry.find(&key).map(|stream| stream.id);
                if let Some(stream) = stream {
                    self.remove(stream, StreamEnd::Deleted, &Reply::Cancelled);
                }
                self.reply(id, if stream.is_some() { Reply::Deleted } else { Reply::NotFound });
            }
            Request::Close { filter, force } => self.close(id, &filter, force),
            Request::Kick { conn } => {
                let found = self.players.contains_key(&conn);
                self.step_player(conn, PlayerEvent::Kick);
                self.reply(id, if found { Reply::Kicked } else { Reply::NotFound });
            }
            Request::Shutdown => self.shut_down(id),
        }
    }

    fn add(&mut self, request: RequestId, key: StreamKey, url: &str, options: PullOptions) {
        if self.shutdown.is_some() {
            return self.reply(request, Reply::ShuttingDown);
        }
        let url = match OriginUrl::parse_with(url, options.play_path.as_deref()) {
            Ok(url) => url,
            Err(error) => return self.reply(request, Reply::BadUrl(error)),
        };
        let meaning = self.registry.meaning_of_add(&key, &url, &options, &self.config);
        let reply_timeout = options.reply_timeout.unwrap_or(self.config.pull.reply_timeout);
        let waiter = Waiter { request, until: self.now + reply_timeout, force: options.force };
        let leads_back = self.is_own_literal(&key, &url);
        let wish = Wish { paths: Vec::from([url]), options };
        match meaning {
            // A new wish that cannot be granted leaves the old one alone.
            AddMeans::Register | AddMeans::Supersede(_) if leads_back => self.reply(request, Reply::OwnUrl),
            AddMeans::Register => {
                let dice = PullDice::new(self.seed, &key);
                let id = self.registry.register(key.clone(), wish, dice, &self.config, self.now);
                self.tell(Some(id), EventKind::Registered { key });
                self.wait(id, waiter);
                self.watch_changed(id);
                self.step_pull(id, PullEvent::Wake);
            }
            AddMeans::Exists => self.reply(request, Reply::Exists { state: PullState::Streaming }),
            AddMeans::Join(id) => {
                self.wait(id, waiter);
                self.step_pull(id, PullEvent::Wake);
                // A place in the dial queue depends on who waits.
                self.step_pull(id, PullEvent::Watched);
            }
            AddMeans::Supersede(id) => {
                for waiter in self.registry.take_waiters(id) {
                    self.answer_waiter(&waiter, Reply::Superseded);
                }
                if let Some(stream) = self.registry.get_mut(id) {
                    stream.proven |= wish.options.force;
                    stream.rewish(wish, &self.config);
                    self.routes.forget_upstream(&stream.key);
                }
                self.wait(id, waiter);
                self.step_pull(id, PullEvent::Restart);
            }
            AddMeans::Full => self.reply(request, Reply::Full),
        }
    }

    fn update(
        &mut self,
        request: RequestId,
        key: &StreamKey,
        url: Option<&str>,
        options: Option<PullOptions>,
        now: bool,
    ) {
        let Some(stream) = self.registry.find(key) else { return self.reply(request, Reply::NotFound) };
        let id = stream.id;
        let mut wish = stream.pull.wish().clone();
        wish.options = options.unwrap_or(wish.options);
        // Without a new url the old one may be cut anew.
        let text = url.or(wish.paths.first().map(|path| path.text.as_str()));
        match text.map(|text| OriginUrl::parse_with(text, wish.options.play_path.as_deref())) {
            Some(Ok(url)) if self.is_own_literal(key, &url) => return self.reply(request, Reply::OwnUrl),
            Some(Ok(url)) => wish.paths = Vec::from([url]),
            Some(Err(error)) => return self.reply(request, Reply::BadUrl(error)),
            None => {}
        }
        if let Some(stream) = self.registry.get_mut(id) {
            stream.rewish(wish, &self.config);
        }
        if now {
            self.routes.forget_upstream(key);
            self.step_pull(id, PullEvent::Restart);
        }
        let reply = self
            .registry
            .get(id)
            .map_or(Reply::NotFound, |stream| Reply::Updated { state: stream.pull.state() });
        self.reply(request, reply);
    }

    /// An address literal can be told to be ours before anything is touched; a name only when it is looked up.
    fn is_own_literal(&self, key: &StreamKey, url: &OriginUrl) -> bool {
        let Ok(ip) = url.host.parse() else { return false };
        self.routes.leads_back(key, url, SocketAddr::new(ip, url.port), None)
    }

    fn close(&mut self, request: RequestId, filter: &StreamFilter, force: bool) {
        let ids = self.registry.matching(filter);
        let hit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let mut closed = 0;
        for id in ids {
            let readers = self.registry.get(id).map_or(0, |stream| stream.readers());
            if readers == 0 || force {
                self.remove(id, StreamEnd::Closed, &Reply::Cancelled);
                closed += 1;
            }
        }
        self.reply(request, Reply::Closed { hit, closed });
    }

    fn shut_down(&mut self, request: RequestId) {
        let until = self.now + self.config.play.linger_timeout;
        let shutdown = self.shutdown.get_or_insert(Shutdown { requests: Vec::new(), until });
        shutdown.requests.push(request);
        self.deadlines.set(Wakeup::Shutdown, Some(shutdown.until));
        for id in self.registry.matching(&StreamFilter::default()) {
            self.remove(id, StreamEnd::Shutdown, &Reply::Cancelled);
        }
        let players: Vec<ConnId> = self.players.keys().copied().collect();
        for conn in players {
            self.step_player(conn, PlayerEvent::StreamEnded(StreamEnd::Shutdown));
        }
    }

    fn run_shutdown(&mut self) {
        let Some(shutdown) = &mut self.shutdown else { return };
        let quiet = self.closing.is_empty() && self.players.is_empty() && self.routes.conns() == 0;
        if quiet || shutdown.until <= self.now {
            for id in core::mem::take(&mut shutdown.requests) {
                self.outputs.push_back(Output::Reply { id, reply: Reply::Down });
            }
            self.deadlines.set(Wakeup::Shutdown, None);
        }
    }

    fn wait(&mut self, id: StreamId, waiter: Waiter) {
        self.deadlines.set(Wakeup::Request(waiter.request), Some(waiter.until));
        self.registry.wait(id, waiter);
    }

    fn answer_waiter(&mut self, waiter: &Waiter, reply: Reply) {
        self.deadlines.set(Wakeup::Request(waiter.request), None);
        self.reply(waiter.request, reply);
    }

    fn reply(&mut self, id: RequestId, reply: Reply) {
        self.outputs.push_back(Output::Reply { id, reply });
    }

    /// An add has waited long enough.
    fn waiter_due(&mut self, request: RequestId) {
        let Some((id, waiter)) = self.registry.take_waiter(request) else { return };
        let Some(stream) = self.registry.get(id) else { return };
        let state = stream.pull.state();
        // Others may wait for the same attempt with more patience: theirs ends it. Who gives up in this very instant does not
        // keep it, or this reply would tell of a stream that is gone before it is read.
        let is_kept = stream.proven || stream.waiters.iter().any(|other| other.until > self.now);
        self.budget.rank(id, self.urgency(id));
        if waiter.force {
            self.reply(request, Reply::Added { state });
        } else if is_kept {
            self.reply(request, Reply::AddTimedOut { state: Some(state) });
        } else {
            self.reply(request, Reply::AddTimedOut { state: None });
            self.remove(id, StreamEnd::FirstAttemptFailed, &Reply::AddTimedOut { state: None });
        }
    }

    // ---- pulls ----

    fn step_pull(&mut self, id: StreamId, event: PullEvent) {
        let now = self.now;
        self.with_pull(id, |pull, cx| pull.step(event, cx, now));
    }

    fn with_pull(&mut self, id: StreamId, act: impl FnOnce(&mut Pull, &mut PullCx<'_>)) {
        let Some(stream) = self.registry.get_mut(id) else { return };
        let mut effects = VecDeque::new();
        let parked = self.parked.get(&stream.key);
        let watchers = stream.seats.iter().chain(parked.into_iter().flat_map(BTreeMap::keys));
        let (mut hops, mut ids) = (0, Vec::new());
        if stream.pull.state() == PullState::Handshaking {
            ids.push(identity(self.origin_of_ids, id));
            for player in watchers.filter_map(|conn| self.players.get(conn)) {
                hops = hops.max(player.hops());
                ids.extend_from_slice(player.ids());
            }
            ids.truncate(IDS_MAX);
        }
        let mut cx = PullCx {
            stream: id,
            key: &stream.key,
            watched: !stream.seats.is_empty() || parked.is_some(),
            ids,
            hops: hops + 1,
            config: &self.config,
            routes: &mut self.routes,
            outputs: &mut self.outputs,
            effects: &mut effects,
        };
        act(&mut stream.pull, &mut cx);
        self.apply(id, effects);
        let deadline = self.registry.get(id).and_then(|stream| stream.pull.deadline());
        self.deadlines.set(Wakeup::Pull(id), deadline);
        for conn in self.routes.take_closing() {
            self.linger(conn);
        }
    }

    /// Carries what a pull told to whom it concerns.
    fn apply(&mut self, id: StreamId, effects: VecDeque<pull::Effect>) {
        let mut failure = None;
        let mut end = None;
        let mut logged = false;
        for effect in effects {
            match effect {
                pull::Effect::Stepped { state, event, next } => {
                    self.tell(Some(id), EventKind::PullStepped { state, event, next });
                }
                pull::Effect::Entered { state, failure } => self.entered(id, state, failure),
                pull::Effect::AskDial(addr, fresh_until) => {
                    let urgency = self.urgency(id);
                    self.budget.ask(id, addr, urgency, fresh_until);
                }
                pull::Effect::DialFailed(addr) => self.budget.failed(addr),
                pull::Effect::NotServed(addr) => self.budget.not_served(addr),
                pull::Effect::PlayAccepted(addr) => {
                    self.with_relay(id, Relay::begin_play);
                    if self.budget.opened(addr) {
                        self.wake_siblings(id, addr);
                    }
                }
                pull::Effect::Frame(frame) => logged |= self.push(id, &frame),
                pull::Effect::Interrupted => self.interrupted(id),
                pull::Effect::Rebuild => {
                    if self.with_relay(id, Relay::rebuild).is_some() {
                        self.tell(Some(id), EventKind::Rebuilt);
                    }
                }
                pull::Effect::TrackGone(medium) => self.tell(Some(id), EventKind::TrackGone(medium)),
                pull::Effect::Status(status) => self.tell(Some(id), EventKind::OriginStatus(status)),
                pull::Effect::AttemptFailed(why) => failure = Some(why),
                pull::Effect::GaveUp => end = Some(StreamEnd::RetriesUsedUp),
                pull::Effect::Loop => end = Some(StreamEnd::Loop),
            }
        }
        if logged {
            self.offer(id);
        }
        match end {
            Some(StreamEnd::Loop) => self.remove(id, StreamEnd::Loop, &Reply::OwnUrl),
            end => {
                if let Some(failure) = failure {
                    self.attempt_failed(id, failure, end);
                }
            }
        }
    }

    fn entered(&mut self, id: StreamId, state: PullState, failure: Option<PullFailure>) {
        if state != PullState::Queued {
            self.budget.forget(id);
        }
        let Some(stream) = self.registry.get_mut(id) else { return };
        let (failures, next_attempt) = (stream.pull.failures(), stream.pull.next_attempt());
        if state == PullState::Streaming {
            stream.streaming_began(self.now);
        }
        self.tell(Some(id), EventKind::PullEntered { state, failure, failures, next_attempt });
        if state == PullState::Streaming {
            for waiter in self.registry.take_waiters(id) {
                self.answer_waiter(&waiter, Reply::Added { state });
            }
            self.seat_parked(id);
        }
        self.schedule_stream(id);
    }

    fn attempt_failed(&mut self, id: StreamId, failure: PullFailure, end: Option<StreamEnd>) {
        let Some(stream) = self.registry.get_mut(id) else { return };
        if failure == PullFailure::OwnUrl {
            stream.unwish(&self.config);
        }
        let (proven, state) = (stream.proven, stream.pull.state());
        if !proven {
            let reply = Reply::AddFailed { failure, state: None };
            return self.remove(id, StreamEnd::FirstAttemptFailed, &reply);
        }
        if let Some(end) = end {
            let reply = Reply::AddFailed { failure, state: None };
            return self.remove(id, end, &reply);
        }
        for waiter in self.registry.take_waiters(id) {
            let reply = if waiter.force {
                Reply::Added { state }
            } else {
                Reply::AddFailed { failure: failure.clone(), state: Some(state) }
            };
            self.answer_waiter(&waiter, reply);
        }
    }

    fn interrupted(&mut self, id: StreamId) {
        let hold = self.config.pull.player_hold;
        self.with_relay(id, Relay::interrupt);
        let Some(stream) = self.registry.get_mut(id) else { return };
        stream.streaming_ended(self.now);
        stream.hold_at = (!stream.seats.is_empty()).then_some(self.now + hold);
        self.schedule_stream(id);
    }

    fn urgency(&self, id: StreamId) -> Urgency {
        let Some(stream) = self.registry.get(id) else { return Urgency::Unwatched };
        if !stream.waiters.is_empty() {
            Urgency::Operator
        } else if !stream.seats.is_empty() || self.parked.contains_key(&stream.key) {
            Urgency::Watched
        } else {
            Urgency::Unwatched
        }
    }

    /// An address serves again: whoever waits to try it may, in shuffled order.
    fn wake_siblings(&mut self, of: StreamId, addr: SocketAddr) {
        let waits = self.registry.iter().filter(|stream| stream.pull.waits_for() == Some(addr));
        // One that was accepted and has failed since waits by the law.
        let mut siblings: Vec<StreamId> = waits.map(|stream| stream.id).filter(|id| *id != of).collect();
        self.dice.shuffle(&mut siblings);
        for id in siblings {
            self.step_pull(id, PullEvent::Wake);
        }
    }

    fn run_budget(&mut self) {
        if !self.budget.is_wanted() && !self.is_dial_due {
            return;
        }
        while let Some(turn) = self.budget.poll_turn(self.now) {
            match turn {
                Turn::Dial(id) => self.step_pull(id, PullEvent::Granted),
                Turn::LookUp(id) => self.step_pull(id, PullEvent::Deadline),
            }
        }
        let deadline = self.budget.deadline(self.now);
        self.is_dial_due = deadline.is_some();
        self.deadlines.set(Wakeup::Dial, deadline);
    }

    /// Stops a pull in whatever state, answers who waits, says goodbye to players, frees the key.
    fn remove(&mut self, id: StreamId, end: StreamEnd, to_waiters: &Reply) {
        for waiter in self.registry.take_waiters(id) {
            self.answer_waiter(&waiter, to_waiters.clone());
        }
        self.step_pull(id, PullEvent::Stop);
        let Some(stream) = self.registry.get(id) else { return };
        let seats: Vec<ConnId> = stream.seats.iter().copied().collect();
        for conn in seats {
            self.step_player(conn, PlayerEvent::StreamEnded(end));
        }
        let Some(stream) = self.registry.get(id) else { return };
        let key = stream.key.clone();
        self.routes.forget_upstream(&key);
        self.tell(Some(id), EventKind::Unregistered { key, reason: end });
        if let Some(stream) = self.registry.remove(id) {
            self.totals.relay_bytes -= stream.relay.bytes();
        }
        self.deadlines.set(Wakeup::Pull(id), None);
        self.deadlines.set(Wakeup::Stream(id), None);
    }

    // ---- media ----

    /// Puts a frame into the log, if it belongs there.
    fn push(&mut self, id: StreamId, frame: &Frame) -> bool {
        let Some(stream) = self.registry.get_mut(id) else { return false };
        let rebuilt = stream.note_codec(frame);
        let before = stream.relay.bytes();
        let pushed = stream.relay.push(frame);
        let (end, epoch) = (stream.relay.end(), stream.relay.epoch());
        self.totals.relay_bytes = self.totals.relay_bytes + stream.relay.bytes() - before;
        if rebuilt {
            self.tell(Some(id), EventKind::Rebuilt);
        }
        if let Some(cause) = pushed.epoch {
            self.tell(Some(id), EventKind::Epoch { number: epoch, cause });
        }
        if pushed.logged && end % TRIM_EVERY == 0 {
            self.trim(id);
        }
        pushed.logged
    }

    /// Lets players have what one input brought, together: an origin that sends thousands of tiny frames at once
    /// must not cost every player a visit for each.
    fn offer(&mut self, id: StreamId) {
        if self.config.play.merge_write.is_zero() {
            self.release(id);
        } else if let Some(stream) = self.registry.get_mut(id)
            && stream.merge_at.is_none()
        {
            stream.merge_at = Some(self.now + self.config.play.merge_write);
            self.schedule_stream(id);
        }
    }

    /// Lets players read up to the end of the log.
    fn release(&mut self, id: StreamId) {
        let Some(stream) = self.registry.get_mut(id) else { return };
        stream.released = stream.relay.end();
        let seats: Vec<ConnId> = stream.seats.iter().copied().collect();
        for conn in seats {
            self.pump(conn);
        }
    }

    fn pump(&mut self, conn: ConnId) {
        let Some(player) = self.players.get_mut(&conn) else { return };
        let Place::Seated(id) = player.place() else { return self.schedule_player(conn) };
        let Some(stream) = self.registry.get_mut(id) else { return };
        let mut effects = VecDeque::new();
        let mut cx = PlayerCx {
            config: &self.config.play,
            outputs: &mut self.outputs,
            effects: &mut effects,
            last_ask: &mut self.last_ask,
        };
        // What is first wanted as FLV is kept as FLV, too.
        let before = (stream.relay.bytes(), player.in_flight());
        let shed = player.pump(&mut stream.relay, stream.released, &mut cx, self.now);
        self.totals.relay_bytes = self.totals.relay_bytes + stream.relay.bytes() - before.0;
        self.totals.in_flight_bytes += player.in_flight() - before.1;
        if shed > 0 {
            self.tell(Some(id), EventKind::PlayerShed { conn, frames: shed });
        }
        self.schedule_player(conn);
    }

    fn trim(&mut self, id: StreamId) {
        let Some(stream) = self.registry.get_mut(id) else { return };
        let positions = stream.seats.iter().filter_map(|conn| self.players.get(conn)?.position());
        let oldest = positions.min().unwrap_or(stream.relay.end());
        self.with_relay(id, |relay| relay.trim(oldest));
    }

    /// Lets something happen to a stream's relay; `None` if there is no such stream.
    fn with_relay<T>(&mut self, id: StreamId, act: impl FnOnce(&mut Relay) -> T) -> Option<T> {
        let stream = self.registry.get_mut(id)?;
        let before = stream.relay.bytes();
        let outcome = act(&mut stream.relay);
        self.totals.relay_bytes = self.totals.relay_bytes + stream.relay.bytes() - before;
        Some(outcome)
    }

    // ---- players ----

    fn step_player(&mut self, conn: ConnId, event: PlayerEvent) {
        let now = self.now;
        self.with_player(conn, |player, cx| player.step(event, cx, now));
    }

    fn with_player(&mut self, conn: ConnId, act: impl FnOnce(&mut Player, &mut PlayerCx<'_>)) {
        let Some(player) = self.players.get_mut(&conn) else { return };
        let mut effects = VecDeque::new();
        let before = player.place();
        let in_flight = player.in_flight();
        let asked = player.ask();
        let mut cx = PlayerCx {
            config: &self.config.play,
            outputs: &mut self.outputs,
            effects: &mut effects,
            last_ask: &mut self.last_ask,
        };
        act(player, &mut cx);
        self.totals.in_flight_bytes += player.in_flight() - in_flight;
        let after = player.place();
        let asks = player.ask();
        if asked != asks {
            self.forget_ask(asked);
        }
        if before != after {
            self.moved(conn, &before, &after);
        }
        let seat = if let Place::Seated(id) = before { Some(id) } else { None };
        for effect in effects {
            match effect {
                // What it has taken back in the same breath is not asked.
                player::Effect::Asks { ask, key, params } if asks == Some(ask) => {
                    self.ask_play(conn, ask, key, params);
                }
                player::Effect::Asks { .. } => {}
                player::Effect::GaveUp => {
                    self.tell(seat, EventKind::PlayerLeft { conn, reason: PlayerEnd::Stopped });
                }
                player::Effect::Ended { end, closing } => {
                    if let Some(player) = self.players.remove(&conn) {
                        self.totals.in_flight_bytes -= player.in_flight();
                    }
                    self.deadlines.set(Wakeup::Conn(conn), None);
                    if closing {
                        self.linger(conn);
                    }
                    self.tell(seat, EventKind::PlayerLeft { conn, reason: end });
                }
            }
        }
        self.schedule_player(conn);
    }

    /// Keeps the books of who waits and who sits where.
    fn moved(&mut self, conn: ConnId, before: &Place, after: &Place) {
        match before {
            Place::None => {}
            Place::Parked(key) => {
                let ask = self.parked.get_mut(key).and_then(|parked| parked.remove(&conn)).flatten();
                if self.parked.get(key).is_some_and(BTreeMap::is_empty) {
                    self.parked.remove(key);
                }
                self.forget_ask(ask);
            }
            Place::Seated(id) => {
                if let Some(stream) = self.registry.get_mut(*id) {
                    stream.seats.remove(&conn);
                }
            }
        }
        match after {
            Place::None => {}
            Place::Parked(key) => {
                self.parked.entry(key.clone()).or_default().insert(conn, None);
            }
            Place::Seated(id) => {
                if let Some(stream) = self.registry.get_mut(*id) {
                    stream.seats.insert(conn);
                }
            }
        }
        for place in [before, after] {
            let id = match place {
                Place::None => None,
                Place::Parked(key) => self.registry.find(key).map(|stream| stream.id),
                Place::Seated(id) => Some(*id),
            };
            if let Some(id) = id {
                self.watch_changed(id);
            }
        }
    }

    fn ask_play(&mut self, conn: ConnId, ask: AskId, key: StreamKey, params: String) {
        let question = Question::Play { conn, key: key.clone(), params };
        self.ask(ask, AskedAbout::Play { conn, key }, question);
    }

    fn ask(&mut self, ask: AskId, about: AskedAbout, question: Question) {
        let until = self.now + self.config.play.ask_timeout;
        self.asks.insert(ask, about);
        self.deadlines.set(Wakeup::Ask(ask), Some(until));
        self.outputs.push_back(Output::Ask { ask, question });
    }

    /// Whom a question was about is gone, or has another wish: its answer concerns nobody.
    fn forget_ask(&mut self, ask: Option<AskId>) {
        if let Some(ask) = ask
            && self.asks.remove(&ask).is_some()
        {
            self.deadlines.set(Wakeup::Ask(ask), None);
        }
    }

    fn next_ask(&mut self) -> AskId {
        self.last_ask += 1;
        AskId(self.last_ask)
    }

    fn answered(&mut self, ask: AskId, answer: Answer) {
        let Some(about) = self.asks.remove(&ask) else { return };
        self.deadlines.set(Wakeup::Ask(ask), None);
        match (about, answer) {
            (AskedAbout::Play { conn, key }, Answer::Default | Answer::Allow) => {
                if self.players.get(&conn).and_then(Player::ask) == Some(ask) {
                    self.admit(conn, key);
                }
            }
            (AskedAbout::Play { conn, .. }, Answer::Deny) => {
                if self.players.get(&conn).and_then(Player::ask) == Some(ask) {
                    self.step_player(conn, PlayerEvent::Refuse(Refusal::BadAuth, PlayerEnd::Denied));
                }
            }
            (AskedAbout::StreamNotFound { .. }, Answer::Default | Answer::Allow) => {}
            (AskedAbout::StreamNotFound { conn }, Answer::Deny) => {
                if matches!(self.players.get(&conn).map(Player::place), Some(Place::Parked(_))) {
                    self.step_player(conn, PlayerEvent::Refuse(Refusal::StreamNotFound, PlayerEnd::NotFound));
                }
            }
            (AskedAbout::NoneReader { .. }, Answer::Default | Answer::Allow) => {}
            (AskedAbout::NoneReader { stream }, Answer::Deny) => {
                if self.registry.get(stream).is_some_and(|stream| stream.unwatched_since.is_some()) {
                    self.remove(stream, StreamEnd::NoneReader, &Reply::Cancelled);
                }
            }
        }
    }

    /// A stream that has streamed has seats, in an outage too; else a player waits until it does.
    fn admit(&mut self, conn: ConnId, key: StreamKey) {
        let stream = self.registry.find(&key).map(|stream| (stream.id, stream.has_streamed()));
        let is_ring = |id: StreamId| {
            let identity = identity(self.origin_of_ids, id);
            self.players.get(&conn).is_some_and(|player| player.ids().contains(&identity))
        };
        match stream {
            Some((id, _)) if is_ring(id) => {
                self.step_player(conn, PlayerEvent::Refuse(Refusal::StreamNotFound, PlayerEnd::Ring));
            }
            Some((id, true)) => self.seat(conn, id),
            _ if self.config.play.stream_wait.is_zero() => {
                self.step_player(conn, PlayerEvent::Refuse(Refusal::StreamNotFound, PlayerEnd::NotFound));
            }
            Some((id, false)) => {
                self.park(conn, Some(id), key);
            }
            None => {
                self.park(conn, None, key.clone());
                let ask = self.next_ask();
                if let Some(asked) = self.parked.get_mut(&key).and_then(|parked| parked.get_mut(&conn)) {
                    *asked = Some(ask);
                }
                let question = Question::StreamNotFound { conn, key };
                self.ask(ask, AskedAbout::StreamNotFound { conn }, question);
            }
        }
    }

    fn park(&mut self, conn: ConnId, stream: Option<StreamId>, key: StreamKey) {
        self.step_player(conn, PlayerEvent::Park(self.now + self.config.play.stream_wait));
        self.tell(stream, EventKind::PlayerParked { conn, key });
    }

    fn seat(&mut self, conn: ConnId, id: StreamId) {
        let Some(stream) = self.registry.get_mut(id) else { return };
        let cursor = Box::new(stream.relay.join());
        if stream.outage_holds() && stream.hold_at.is_none() {
            stream.hold_at = Some(self.now + self.config.pull.player_hold);
        }
        self.step_player(conn, PlayerEvent::Seat { stream: id, cursor });
        self.tell(Some(id), EventKind::PlayerSeated { conn });
        self.pump(conn);
    }

    fn seat_parked(&mut self, id: StreamId) {
        let Some(stream) = self.registry.get(id) else { return };
        let parked: Vec<ConnId> =
            self.parked.get(&stream.key).into_iter().flat_map(BTreeMap::keys).copied().collect();
        for conn in parked {
            self.seat(conn, id);
        }
    }

    fn parked_at(&self, key: &StreamKey) -> usize {
        self.parked.get(key).map_or(0, BTreeMap::len)
    }

    /// Somebody came to or went from a stream.
    fn watch_changed(&mut self, id: StreamId) {
        let Some(stream) = self.registry.get_mut(id) else { return };
        let watched = !stream.seats.is_empty() || self.parked.contains_key(&stream.key);
        let came = watched && stream.unwatched_since.is_some();
        if watched {
            stream.unwatched_since = None;
            stream.none_reader_told = false;
        } else if stream.unwatched_since.is_none() {
            stream.unwatched_since = Some(self.now);
        }
        self.schedule_stream(id);
        if came {
            self.step_pull(id, PullEvent::Watched);
        }
        self.budget.rank(id, self.urgency(id));
    }

    fn linger(&mut self, conn: ConnId) {
        let until = self.now + self.config.play.linger_timeout;
        self.closing.insert(conn, until);
        self.deadlines.set(Wakeup::Conn(conn), Some(until));
    }

    // ---- time ----

    fn run_due(&mut self) {
        while let Some(owner) = self.deadlines.poll_due(self.now) {
            match owner {
                Wakeup::Pull(id) => self.pull_due(id),
                Wakeup::Stream(id) => self.stream_due(id),
                Wakeup::Conn(conn) => self.conn_due(conn),
                // Granted after every input.
                Wakeup::Dial => {}
                Wakeup::Request(request) => self.waiter_due(request),
                Wakeup::Ask(ask) => self.answered(ask, Answer::Default),
                // Judged after every input.
                Wakeup::Shutdown => {}
            }
        }
    }

    fn pull_due(&mut self, id: StreamId) {
        let Some(deadline) = self.registry.get(id).and_then(|stream| stream.pull.deadline()) else { return };
        if deadline <= self.now {
            self.step_pull(id, PullEvent::Deadline);
        } else {
            self.deadlines.set(Wakeup::Pull(id), Some(deadline));
        }
    }

    fn stream_due(&mut self, id: StreamId) {
        let now = self.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let Some(stream) = self.registry.get_mut(id) else { return };
        let none_reader_at = stream.unwatched_since.map(|since| since + self.config.play.none_reader_delay);
        let none_reader_due = !stream.none_reader_told && due(none_reader_at);
        if due(stream.merge_at) {
            stream.merge_at = None;
            self.release(id);
        }
        if self.registry.get(id).is_some_and(|stream| due(stream.hold_at)) {
            self.hold_due(id);
        }
        if none_reader_due {
            self.none_reader(id);
        }
        self.schedule_stream(id);
    }

    /// Players whose patience with the outage has ended are told and closed.
    fn hold_due(&mut self, id: StreamId) {
        let hold = self.config.pull.player_hold;
        let Some(stream) = self.registry.get_mut(id) else { return };
        stream.hold_at = None;
        let Some(since) = stream.pull.outage_since() else { return };
        let ends = |player: &Player| player.seated_at().map(|seated| seated.max(since) + hold);
        let seats: Vec<(Instant, ConnId)> =
            stream.seats.iter().filter_map(|conn| Some((ends(self.players.get(conn)?)?, *conn))).collect();
        stream.hold_at = seats.iter().map(|(at, _)| *at).filter(|at| *at > self.now).min();
        for (at, conn) in seats {
            if at <= self.now {
                self.step_player(conn, PlayerEvent::HoldExpired);
            }
        }
    }

    fn none_reader(&mut self, id: StreamId) {
        let Some(stream) = self.registry.get_mut(id) else { return };
        stream.none_reader_told = true;
        let (key, auto_close) = (stream.key.clone(), stream.pull.config().auto_close);
        self.tell(Some(id), EventKind::NoneReader);
        if auto_close {
            self.remove(id, StreamEnd::NoneReader, &Reply::Cancelled);
        } else {
            let ask = self.next_ask();
            self.ask(ask, AskedAbout::NoneReader { stream: id }, Question::NoneReader { stream: id, key });
        }
    }

    fn conn_due(&mut self, conn: ConnId) {
        let now = self.now;
        if self.closing.get(&conn).is_some_and(|until| *until <= now) {
            self.closing.remove(&conn);
            self.outputs.push_back(Output::Abort { conn });
        } else if let Some(player) = self.players.get(&conn) {
            if player.deadline(&self.config.play).is_some_and(|at| at <= now) {
                self.step_player(conn, PlayerEvent::Deadline);
            }
            self.schedule_player(conn);
        }
    }

    fn schedule_stream(&mut self, id: StreamId) {
        let delay = self.config.play.none_reader_delay;
        let deadline = self.registry.get(id).and_then(|stream| stream.deadline(delay));
        self.deadlines.set(Wakeup::Stream(id), deadline);
    }

    fn schedule_player(&mut self, conn: ConnId) {
        let Some(player) = self.players.get(&conn) else { return };
        // A player that has taken everything keeps the moment it was named: it is looked at again then, and the index
        // is not touched twice for every packet.
        if let Some(deadline) = player.deadline(&self.config.play) {
            self.deadlines.set(Wakeup::Conn(conn), Some(deadline));
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
