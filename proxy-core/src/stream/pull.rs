//! The lifecycle of one pull.
//!
//! ```text
//!     Wake          Resolved       Granted          Connected        HandshakeDone       Playing             Frame
//!  ────────► Resolving ────► Queued ────► Connecting ────► Handshaking ────► Requesting ────► AwaitingMedia ────► Streaming
//!                ▲              ▲              │ next address │                  │               ▲     │             │ stalled,
//!                │              └──────────────┴──────────────┴──────────────────┘       Playing │     │             │ ended
//!                │ Deadline, Wake                                                                └─ Replaying ◄──────┤
//!           BackingOff ◄──────────────── any failure, or the state's own deadline ────────────────────┴──────────────┘
//!                │ a finite retry count used up
//!                ▼
//!             Stopped ◄───────────── Stop, own url: from every state, at once
//! ```
//!
//! What an attempt learns lives inside its state's variant and dies with it; what the operator asked for has no
//! setter but [`Pull::wish`]. So nothing that happens after reconnect k can depend on k. Between attempts the pull
//! keeps only counts (failures, redirects, attempts without a frame), the handshake kind to try next, and the
//! tracks that are missing. Nothing a peer sends is terminal while `retry_count` is negative.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    string::String,
    vec::Vec,
};
use core::{
    mem,
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;

use crate::{
    config::{Config, PullConfig},
    io::{
        BackoffLaw, ConnId, ConnectError, Hangup, Output, PullEventKind, PullFailure, PullOptions, PullState,
        QueryId, ResolveError, StreamId,
    },
    session::{
        SessionError,
        client::{ClientEvent, ClientOptions, ClientSession, Ending},
    },
    stream::{
        backoff::Backoff,
        flow::{AvTrack, Flow, Missing, MissingTracks, Pinger},
    },
    time::{Duration, Instant},
    url::{OriginUrl, StreamKey},
    wire::{
        command::Status,
        flv::{Frame, Medium},
        handshake::{ClientHandshake, Dice, HandshakeKind, Progress},
    },
};

/// What a pull tells its stream, in order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A step was taken.
    Stepped {
        /// The state before.
        state: PullState,
        /// The stimulus.
        event: PullEventKind,
        /// The state after.
        next: PullState,
    },
    /// Another state was entered.
    Entered {
        /// The state entered.
        state: PullState,
        /// Why, if by failure.
        failure: Option<PullFailure>,
    },
    /// It wants to dial; `Granted` is awaited.
    AskDial(SocketAddr),
    /// It does not want to dial any more.
    LeaveQueue,
    /// A dial or handshake failed.
    DialFailed(SocketAddr),
    /// An origin accepted a play.
    PlayAccepted(SocketAddr),
    /// A frame for the relay.
    Frame(Frame),
    /// Media was lost.
    Interrupted,
    /// The stream context must be made anew.
    Rebuild,
    /// A track is accepted as gone.
    TrackGone(Medium),
    /// The origin said something.
    Status(Status),
    /// The attempt under way failed.
    AttemptFailed(PullFailure),
    /// The retries are used up.
    GaveUp,
    /// It would pull from itself.
    Loop,
}

/// What a pull reaches while it handles one stimulus: lent by the proxy for one call.
#[derive(Debug)]
pub struct PullCx<'a> {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// The stream's key, to tell a loop.
    pub key: &'a StreamKey,
    /// Frames have flowed before.
    pub streamed: bool,
    /// Players are seated or parked.
    pub watched: bool,
    /// The hop count to tell the origin.
    pub hops: u32,
    /// The proxy's numbers.
    pub config: &'a Config,
    /// Ids and who waits for what.
    pub routes: &'a mut Routes,
    /// Where outputs go.
    pub outputs: &'a mut VecDeque<Output>,
    /// Where effects go.
    pub effects: &'a mut VecDeque<Effect>,
    /// One number for jitter, rolled for this call.
    pub dice: u64,
    /// Bytes for a handshake, rolled when wanted.
    pub fill: fn(&mut [u8], u64),
}

/// Which news belongs to whom, and the ids of what we start. Ids are never reused.
#[derive(Debug, Default)]
pub struct Routes {
    conns: BTreeMap<ConnId, StreamId>,
    queries: BTreeMap<QueryId, (StreamId, String)>,
    answers: BTreeMap<String, (Instant, Vec<IpAddr>)>,
    closing: Vec<ConnId>,
    listeners: Vec<SocketAddr>,
    last: u64,
}

/// Names whose answers are kept for `resolve_ttl`; beyond it all are forgotten.
const ANSWERS_MAX: usize = 4096;

impl Routes {
    /// Returns whose connection this is.
    pub fn stream_of_conn(&self, conn: ConnId) -> Option<StreamId> {
        self.conns.get(&conn).copied()
    }

    /// Takes a lookup's answer in; returns whose lookup it was.
    pub fn answered(
        &mut self,
        query: QueryId,
        answer: &Result<Vec<IpAddr>, ResolveError>,
        ttl: Duration,
        now: Instant,
    ) -> Option<StreamId> {
        let (stream, host) = self.queries.remove(&query)?;
        if let Ok(addrs) = answer
            && !ttl.is_zero()
        {
            if self.answers.len() >= ANSWERS_MAX {
                self.answers.clear();
            }
            self.answers.insert(host, (now, addrs.clone()));
        }
        Some(stream)
    }

    /// Notes where the driver listens for players.
    pub fn listening(&mut self, addrs: Vec<SocketAddr>) {
        self.listeners = addrs;
    }

    /// Forgets a connection that is gone.
    pub fn closed(&mut self, conn: ConnId) {
        self.conns.remove(&conn);
    }

    /// Returns connections that were asked to close and whose end is awaited from now on.
    pub fn take_closing(&mut self) -> Vec<ConnId> {
        mem::take(&mut self.closing)
    }

    /// Returns how many upstream connections are dialling or open.
    pub fn conns(&self) -> usize {
        self.conns.len()
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// An address is ours if we listen there, or on every local address while `local`, our end of a connection
    /// to it, is the same address.
    fn is_own(&self, addr: SocketAddr, local: Option<SocketAddr>) -> bool {
        self.listeners.iter().any(|listener| {
            let everywhere = listener.ip().is_unspecified()
                && (addr.ip().is_loopback() || local.is_some_and(|local| local.ip() == addr.ip()));
            listener.port() == addr.port() && (listener.ip() == addr.ip() || everywhere)
        })
    }
}

/// What the operator asked for, in force from the next attempt on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Where to pull from; the path is chosen by the failure count.
    pub paths: Vec<OriginUrl>,
    /// The options as given.
    pub options: PullOptions,
}

/// A stimulus.
#[derive(Clone, Debug)]
pub enum PullEvent {
    /// Begin an attempt now.
    Wake,
    /// Somebody wants to watch: the grown cap no longer counts.
    Watched,
    /// The lookup has addresses.
    Resolved(Vec<IpAddr>),
    /// The lookup failed.
    ResolveFailed(ResolveError),
    /// The dial budget grants a dial.
    Granted,
    /// The dial succeeded; our local address.
    Connected(SocketAddr),
    /// The dial failed.
    ConnectFailed(ConnectError),
    /// The handshake is complete; bytes it took.
    HandshakeDone(u64),
    /// The origin's bytes are not what we accept.
    ProtocolFailed(PullFailure),
    /// Play is accepted.
    Playing,
    /// A frame came.
    Frame(Frame),
    /// A ping was answered.
    Pong,
    /// The stream ended, the connection lives.
    Ended(Ending),
    /// The origin refused.
    Refused(Status),
    /// The origin sends us elsewhere.
    Redirected(String),
    /// The connection is gone.
    Closed(Hangup),
    /// The state's deadline passed.
    Deadline,
    /// Redial with what the operator asked for.
    Restart,
    /// Stop for good.
    Stop,
}

impl PullEvent {
    const fn kind(&self) -> PullEventKind {
        match self {
            Self::Wake => PullEventKind::Wake,
            Self::Watched => PullEventKind::Watched,
            Self::Resolved(_) => PullEventKind::Resolved,
            Self::ResolveFailed(_) => PullEventKind::ResolveFailed,
            Self::Granted => PullEventKind::Granted,
            Self::Connected(_) => PullEventKind::Connected,
            Self::ConnectFailed(_) => PullEventKind::ConnectFailed,
            Self::HandshakeDone(_) => PullEventKind::HandshakeDone,
            Self::ProtocolFailed(_) => PullEventKind::ProtocolFailed,
            Self::Playing => PullEventKind::Playing,
            Self::Frame(_) => PullEventKind::Frame,
            Self::Pong => PullEventKind::Pong,
            Self::Ended(_) => PullEventKind::Ended,
            Self::Refused(_) => PullEventKind::Refused,
            Self::Redirected(_) => PullEventKind::Redirected,
            Self::Closed(_) => PullEventKind::Closed,
            Self::Deadline => PullEventKind::Deadline,
            Self::Restart => PullEventKind::Restart,
            Self::Stop => PullEventKind::Stop,
        }
    }
}

/// One try to get media, from the lookup on: dies with its state.
#[derive(Debug)]
struct Attempt {
    started: Instant,
    url: OriginUrl,
    /// A dial granted while the lookup had grown old: it may be used for this address without asking again.
    granted: Option<SocketAddr>,
}

/// An upstream connection.
#[derive(Debug)]
struct Link {
    conn: ConnId,
    addr: SocketAddr,
    local: SocketAddr,
    /// Addresses of the same answer that have not been tried.
    rest: VecDeque<SocketAddr>,
    in_flight: usize,
}

/// An accepted play, or one that is asked anew.
#[derive(Debug)]
struct Play {
    attempt: Attempt,
    link: Link,
    session: Box<ClientSession>,
    pinger: Pinger,
}

/// What is known while no frame has come.
#[derive(Debug)]
struct Wait {
    since: Instant,
    /// The play was asked anew on the same connection.
    replayed: bool,
    /// A lookup that asks whether the name still leads here.
    lookup: Option<QueryId>,
    looked_up_at: Instant,
}

/// What is known while frames flow.
#[derive(Debug)]
struct Live {
    flow: Flow,
    /// The play was asked anew on the same connection.
    replayed: bool,
    /// Media has flowed for `stable_after`.
    stable: bool,
}

#[derive(Debug)]
enum State {
    Resolving {
        attempt: Attempt,
        query: QueryId,
        until: Instant,
    },
    Queued {
        attempt: Attempt,
        addr: SocketAddr,
        rest: VecDeque<SocketAddr>,
        resolved_at: Instant,
    },
    Connecting {
        attempt: Attempt,
        conn: ConnId,
        addr: SocketAddr,
        rest: VecDeque<SocketAddr>,
        until: Instant,
    },
    Handshaking {
        attempt: Attempt,
        link: Link,
        handshake: Box<Progress<ClientHandshake>>,
        taken: u64,
        until: Instant,
    },
    Requesting {
        attempt: Attempt,
        link: Link,
        session: Box<ClientSession>,
        until: Instant,
    },
    AwaitingMedia {
        play: Play,
        wait: Wait,
    },
    Streaming {
        play: Play,
        live: Live,
    },
    Replaying {
        play: Play,
        stable: bool,
        until: Instant,
    },
    BackingOff {
        started: Instant,
        addr: Option<SocketAddr>,
        until: Instant,
    },
    Stopped,
}

/// One pull.
#[derive(Debug)]
pub struct Pull {
    wish: Wish,
    config: PullConfig,
    state: State,
    backoff: Backoff,
    handshake_kind: HandshakeKind,
    missing: MissingTracks,
    redirects: u32,
    /// Attempts in a row without a frame.
    barren: u32,
    outage_since: Option<Instant>,
    last_failure: Option<PullFailure>,
}

/// What has come due in a state with several clocks.
enum Due {
    Nothing,
    Ping,
    Lookup,
    Forgiveness,
    Dead,
    Impatience,
    Stall,
    TrackStall(AvTrack),
}

impl Pull {
    /// Makes a pull that waits for its first `Wake`.
    pub fn new(wish: Wish, config: &PullConfig, now: Instant) -> Self {
        let policy = policy(&wish.options, config);
        Self {
            backoff: Backoff::new(law(&wish.options, config), wish.options.retry_count),
            handshake_kind: HandshakeKind::Digest,
            missing: MissingTracks::default(),
            redirects: 0,
            barren: 0,
            outage_since: Some(now),
            last_failure: None,
            state: State::BackingOff { started: now, addr: None, until: now },
            config: policy,
            wish,
        }
    }

    /// Returns what the operator asked for.
    pub const fn wish(&self) -> &Wish {
        &self.wish
    }

    /// Sets what the operator asks for, from the next attempt on.
    pub fn set_wish(&mut self, wish: Wish, config: &PullConfig) {
        self.config = policy(&wish.options, config);
        self.backoff.rule(law(&wish.options, config), wish.options.retry_count);
        self.wish = wish;
    }

    /// Returns the numbers in force for this pull.
    pub const fn config(&self) -> &PullConfig {
        &self.config
    }

    /// Returns the state's name.
    pub const fn state(&self) -> PullState {
        self.state.kind()
    }

    /// Returns consecutive failures.
    pub const fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Returns the last failure, until media has been stable.
    pub const fn last_failure(&self) -> Option<&PullFailure> {
        self.last_failure.as_ref()
    }

    /// Returns when the outage began; `None` while frames flow.
    pub const fn outage_since(&self) -> Option<Instant> {
        self.outage_since
    }

    /// Returns when the next attempt begins.
    pub const fn next_attempt(&self) -> Option<Instant> {
        match &self.state {
            State::BackingOff { until, .. } => Some(*until),
            State::Resolving { .. }
            | State::Queued { .. }
            | State::Connecting { .. }
            | State::Handshaking { .. }
            | State::Requesting { .. }
            | State::AwaitingMedia { .. }
            | State::Streaming { .. }
            | State::Replaying { .. }
            | State::Stopped => None,
        }
    }

    /// Returns the address this pull would try again, if it waits for that by law `Repull`.
    pub fn waits_for(&self) -> Option<SocketAddr> {
        match &self.state {
            State::BackingOff { addr, .. } if self.backoff.law() == BackoffLaw::Repull => *addr,
            State::BackingOff { .. }
            | State::Resolving { .. }
            | State::Queued { .. }
            | State::Connecting { .. }
            | State::Handshaking { .. }
            | State::Requesting { .. }
            | State::AwaitingMedia { .. }
            | State::Streaming { .. }
            | State::Replaying { .. }
            | State::Stopped => None,
        }
    }

    /// Returns local and remote address of the upstream connection.
    pub fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.state.link().map(|link| (link.local, link.addr))
    }

    /// Returns when this state wants `Deadline`. `Queued` waits for the dial budget, which has a deadline of its own.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Resolving { until, .. }
            | State::Connecting { until, .. }
            | State::Handshaking { until, .. }
            | State::Requesting { until, .. }
            | State::BackingOff { until, .. } => Some(*until),
            State::AwaitingMedia { play, wait } => {
                let ping = play.pinger.next_at(&self.config, None);
                let lookup = wait.looked_up_at + self.config.lookup_interval;
                Some(ping.min(lookup).min(self.give_up_at(play, wait.since)))
            }
            State::Streaming { play, live: Live { flow, stable, .. } } => {
                let ping = play.pinger.next_at(&self.config, Some(flow.last));
                let mut at = ping.min(flow.last + self.config.stall_timeout);
                at = at.min(play.pinger.dead_at(&self.config, Some(flow.last)).unwrap_or(at));
                for track in AvTrack::ALL {
                    at = at.min(flow.track_stalled_at(&self.config, &self.missing, track).unwrap_or(at));
                }
                if !stable {
                    at = at.min(flow.since + self.config.stable_after);
                }
                Some(at)
            }
            State::Replaying { until, .. } => Some(*until),
            State::Queued { .. } | State::Stopped => None,
        }
    }

    /// Takes bytes of the upstream connection, cut anywhere.
    pub fn handle_bytes(&mut self, conn: ConnId, mut input: &[u8], cx: &mut PullCx<'_>, now: Instant) {
        if self.state.conn() != Some(conn) {
            return;
        }
        if matches!(self.state, State::Handshaking { .. }) {
            input = self.handle_handshake_bytes(input, cx, now);
        }
        let mut out = Vec::new();
        let Some(session) = self.state.session_mut() else { return };
        let outcome = session.handle_bytes(input, &mut out);
        self.state.transmit(out, cx);
        while let Some(event) = self.state.session_mut().and_then(|session| session.poll_event()) {
            let event = match event {
                ClientEvent::Playing => PullEvent::Playing,
                ClientEvent::Frame(frame) => PullEvent::Frame(frame),
                ClientEvent::Pong { .. } => PullEvent::Pong,
                ClientEvent::Ended(ending) => PullEvent::Ended(ending),
                ClientEvent::Refused(status) => PullEvent::Refused(status),
                ClientEvent::Redirect { url } => PullEvent::Redirected(url),
                ClientEvent::Status(status) => {
                    cx.effects.push_back(Effect::Status(status));
                    continue;
                }
            };
            self.step(event, cx, now);
        }
        if self.state.conn() != Some(conn) {
            return;
        }
        if let Err(error) = outcome {
            self.step(PullEvent::ProtocolFailed(PullFailure::Session(error)), cx, now);
        } else if self.state.link().is_some_and(|link| link.in_flight > cx.config.play.control_bytes_max) {
            self.step(PullEvent::ProtocolFailed(PullFailure::Session(SessionError::Flood)), cx, now);
        }
    }

    /// The socket took bytes.
    pub fn handle_sent(&mut self, conn: ConnId, len: usize) {
        if let Some(link) = self.state.link_mut()
            && link.conn == conn
        {
            link.in_flight = link.in_flight.saturating_sub(len);
        }
    }

    /// Takes news of a connection; late news of another one is ignored.
    pub fn handle_conn_event(&mut self, conn: ConnId, event: PullEvent, cx: &mut PullCx<'_>, now: Instant) {
        if self.state.conn() == Some(conn) {
            self.step(event, cx, now);
        }
    }

    /// Takes the answer to a lookup; a late answer to another one is ignored.
    pub fn handle_answer(
        &mut self,
        query: QueryId,
        answer: Result<Vec<IpAddr>, ResolveError>,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) {
        if self.state.query() == Some(query) {
            self.step(answer.map_or_else(PullEvent::ResolveFailed, PullEvent::Resolved), cx, now);
        }
    }

    /// Takes a stimulus: the one place where the machine moves.
    pub fn step(&mut self, event: PullEvent, cx: &mut PullCx<'_>, now: Instant) {
        let (before, kind) = (self.state.kind(), event.kind());
        let state = mem::replace(&mut self.state, State::Stopped);
        let failed = cx.effects.len();
        self.state = self.react(state, event, cx, now);
        let next = self.state.kind();
        cx.effects.push_back(Effect::Stepped { state: before, event: kind, next });
        if next != before {
            let failure = cx.effects.iter().skip(failed).find_map(|effect| {
                if let Effect::AttemptFailed(failure) = effect { Some(failure.clone()) } else { None }
            });
            cx.effects.push_back(Effect::Entered { state: next, failure });
        }
    }

    /// The table: every state, every stimulus.
    fn react(&mut self, state: State, event: PullEvent, cx: &mut PullCx<'_>, now: Instant) -> State {
        use PullEvent as E;
        use State as S;

        match (state, event) {
            // A lookup is under way.
            (S::Resolving { attempt, .. }, E::Resolved(addrs)) => self.resolved(attempt, addrs, cx, now),
            (S::Resolving { attempt, .. }, E::ResolveFailed(error)) => {
                self.fail(&attempt, None, PullFailure::Resolve(error), cx, now)
            }
            (S::Resolving { attempt, query, .. }, E::Deadline) => {
                cx.routes.queries.remove(&query);
                self.fail(&attempt, None, PullFailure::Timeout(PullState::Resolving), cx, now)
            }
            (S::Resolving { query, .. }, E::Restart) => {
                cx.routes.queries.remove(&query);
                self.begin(None, cx, now)
            }
            (S::Resolving { query, .. }, E::Stop) => {
                cx.routes.queries.remove(&query);
                S::Stopped
            }
            (
                state @ S::Resolving { .. },
                E::Wake
                | E::Watched
                | E::Granted
                | E::Connected(_)
                | E::ConnectFailed(_)
                | E::HandshakeDone(_)
                | E::ProtocolFailed(_)
                | E::Playing
                | E::Frame(_)
                | E::Pong
                | E::Ended(_)
                | E::Refused(_)
                | E::Redirected(_)
                | E::Closed(_),
            ) => state,

            // Waits for a token.
            (S::Queued { attempt, addr, rest, resolved_at }, E::Granted) => {
                self.granted(attempt, addr, rest, resolved_at, cx, now)
            }
            (S::Queued { .. }, E::Restart) => {
                cx.effects.push_back(Effect::LeaveQueue);
                self.begin(None, cx, now)
            }
            (S::Queued { .. }, E::Stop) => {
                cx.effects.push_back(Effect::LeaveQueue);
                S::Stopped
            }
            (S::Queued { attempt, addr, rest, resolved_at }, E::Watched) => {
                // Asked again, because the place in the queue depends on who watches.
                cx.effects.push_back(Effect::AskDial(addr));
                S::Queued { attempt, addr, rest, resolved_at }
            }
            (
                state @ S::Queued { .. },
                E::Wake
                | E::Resolved(_)
                | E::ResolveFailed(_)
                | E::Connected(_)
                | E::ConnectFailed(_)
                | E::HandshakeDone(_)
                | E::ProtocolFailed(_)
                | E::Playing
                | E::Frame(_)
                | E::Pong
                | E::Ended(_)
                | E::Refused(_)
                | E::Redirected(_)
                | E::Closed(_)
                | E::Deadline,
            ) => state,

            // A dial is in flight.
            (S::Connecting { attempt, conn, addr, rest, .. }, E::Connected(local)) => {
                self.connected(attempt, Link { conn, addr, local, rest, in_flight: 0 }, cx, now)
            }
            (S::Connecting { attempt, conn, addr, rest, .. }, E::ConnectFailed(error)) => {
                cx.routes.closed(conn);
                self.next_address(attempt, addr, rest, PullFailure::Connect(error), cx, now)
            }
            (S::Connecting { attempt, conn, addr, rest, .. }, E::Closed(hangup)) => {
                cx.routes.closed(conn);
                self.next_address(attempt, addr, rest, PullFailure::Lost(hangup), cx, now)
            }
            (S::Connecting { attempt, conn, addr, rest, .. }, E::Deadline) => {
                cx.abort(conn);
                self.next_address(attempt, addr, rest, PullFailure::Timeout(PullState::Connecting), cx, now)
            }
            (S::Connecting { conn, .. }, E::Restart) => {
                cx.abort(conn);
                self.begin(None, cx, now)
            }
            (S::Connecting { conn, .. }, E::Stop) => {
                cx.abort(conn);
                S::Stopped
            }
            (
                state @ S::Connecting { .. },
                E::Wake
                | E::Watched
                | E::Resolved(_)
                | E::ResolveFailed(_)
                | E::Granted
                | E::HandshakeDone(_)
                | E::ProtocolFailed(_)
                | E::Playing
                | E::Frame(_)
                | E::Pong
                | E::Ended(_)
                | E::Refused(_)
                | E::Redirected(_),
            ) => state,

            // S0 S1 S2 are awaited.
            (S::Handshaking { attempt, link, .. }, E::HandshakeDone(taken)) => {
                self.request(attempt, link, taken, cx, now)
            }
            (S::Handshaking { attempt, link, .. }, E::ProtocolFailed(failure)) => {
                cx.abort(link.conn);
                self.handshake_failed(attempt, link, failure, cx, now)
            }
            (S::Handshaking { attempt, link, .. }, E::Closed(hangup)) => {
                cx.routes.closed(link.conn);
                self.handshake_failed(attempt, link, PullFailure::Lost(hangup), cx, now)
            }
            (S::Handshaking { attempt, link, .. }, E::Deadline) => {
                cx.abort(link.conn);
                self.handshake_failed(attempt, link, PullFailure::Timeout(PullState::Handshaking), cx, now)
            }
            (S::Handshaking { link, .. }, E::Restart) => {
                cx.abort(link.conn);
                self.begin(None, cx, now)
            }
            (S::Handshaking { link, .. }, E::Stop) => {
                cx.abort(link.conn);
                S::Stopped
            }
            (
                state @ S::Handshaking { .. },
                E::Wake
                | E::Watched
                | E::Resolved(_)
                | E::ResolveFailed(_)
                | E::Granted
                | E::Connected(_)
                | E::ConnectFailed(_)
                | E::Playing
                | E::Frame(_)
                | E::Pong
                | E::Ended(_)
                | E::Refused(_)
                | E::Redirected(_),
            ) => state,

            // connect, createStream and play are under way.
            (S::Requesting { attempt, link, session, .. }, E::Playing) => {
                cx.effects.push_back(Effect::PlayAccepted(link.addr));
                let play = Play { attempt, link, session, pinger: Pinger::default() };
                self.await_media(play, false, cx, now)
            }
            (S::Requesting { attempt, link, .. }, E::ProtocolFailed(failure)) => {
                cx.abort(link.conn);
                self.next_address(attempt, link.addr, link.rest, failure, cx, now)
            }
            (S::Requesting { attempt, link, .. }, E::Refused(status)) => {
                cx.abort(link.conn);
                self.next_address(attempt, link.addr, link.rest, PullFailure::Refused(status), cx, now)
            }
            (S::Requesting { attempt, link, .. }, E::Closed(hangup)) => {
                cx.routes.closed(link.conn);
                self.next_address(attempt, link.addr, link.rest, PullFailure::Lost(hangup), cx, now)
            }
            (S::Requesting { attempt, link, .. }, E::Deadline) => {
                cx.abort(link.conn);
                let failure = PullFailure::Timeout(PullState::Requesting);
                self.next_address(attempt, link.addr, link.rest, failure, cx, now)
            }
            (S::Requesting { attempt, link, .. }, E::Redirected(url)) => {
                cx.abort(link.conn);
                self.redirected(&attempt, link.addr, &url, cx, now)
            }
            (S::Requesting { link, .. }, E::Restart) => {
                cx.abort(link.conn);
                self.begin(None, cx, now)
            }
            (S::Requesting { link, .. }, E::Stop) => {
                cx.close(link.conn);
                S::Stopped
            }
            (
                state @ S::Requesting { .. },
                E::Wake
                | E::Watched
                | E::Resolved(_)
                | E::ResolveFailed(_)
                | E::Granted
                | E::Connected(_)
                | E::ConnectFailed(_)
                | E::HandshakeDone(_)
                | E::Frame(_)
                | E::Pong
                | E::Ended(_),
            ) => state,

            // Play is accepted, no frame has come.
            (S::AwaitingMedia { play, wait }, E::Frame(frame)) => {
                let Some(track) = AvTrack::of(&frame) else {
                    cx.effects.push_back(Effect::Frame(frame));
                    return S::AwaitingMedia { play, wait };
                };
                cx.forget_query(wait.lookup);
                self.first_frame(play, track, frame, wait.replayed, cx, now)
            }
            (S::AwaitingMedia { mut play, wait }, E::Pong) => {
                play.pinger.handle_pong();
                S::AwaitingMedia { play, wait }
            }
            (S::AwaitingMedia { play, wait }, E::Resolved(addrs)) => {
                if addrs.is_empty() || addrs.contains(&play.link.addr.ip()) {
                    return S::AwaitingMedia { play, wait: Wait { lookup: None, ..wait } };
                }
                cx.abort(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), PullFailure::AddressMoved, cx, now)
            }
            (S::AwaitingMedia { play, wait }, E::ResolveFailed(_)) => {
                S::AwaitingMedia { play, wait: Wait { lookup: None, ..wait } }
            }
            (S::AwaitingMedia { play, wait }, E::Deadline) => self.awaiting_due(play, wait, cx, now),
            (S::AwaitingMedia { play, wait }, E::Refused(status)) => {
                cx.forget_query(wait.lookup);
                cx.abort(play.link.conn);
                self.next_address(
                    play.attempt,
                    play.link.addr,
                    play.link.rest,
                    PullFailure::Refused(status),
                    cx,
                    now,
                )
            }
            (S::AwaitingMedia { play, wait }, E::Redirected(url)) => {
                cx.forget_query(wait.lookup);
                cx.abort(play.link.conn);
                self.redirected(&play.attempt, play.link.addr, &url, cx, now)
            }
            (S::AwaitingMedia { play, wait }, E::ProtocolFailed(failure)) => {
                cx.forget_query(wait.lookup);
                cx.abort(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), failure, cx, now)
            }
            (S::AwaitingMedia { play, wait }, E::Closed(hangup)) => {
                cx.forget_query(wait.lookup);
                cx.routes.closed(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), PullFailure::Lost(hangup), cx, now)
            }
            (S::AwaitingMedia { play, wait }, E::Restart) => {
                cx.forget_query(wait.lookup);
                cx.abort(play.link.conn);
                self.begin(None, cx, now)
            }
            (S::AwaitingMedia { play, wait }, E::Stop) => {
                cx.forget_query(wait.lookup);
                cx.close(play.link.conn);
                S::Stopped
            }
            (
                state @ S::AwaitingMedia { .. },
                E::Wake
                | E::Watched
                | E::Granted
                | E::Connected(_)
                | E::ConnectFailed(_)
                | E::HandshakeDone(_)
                | E::Playing
                | E::Ended(_),
            ) => state,

            // Frames flow.
            (S::Streaming { play, mut live }, E::Frame(frame)) => {
                if let Some(track) = AvTrack::of(&frame) {
                    live.flow.note(track, now);
                    self.missing.note(track, Missing::No);
                }
                cx.effects.push_back(Effect::Frame(frame));
                S::Streaming { play, live }
            }
            (S::Streaming { mut play, live }, E::Pong) => {
                play.pinger.handle_pong();
                S::Streaming { play, live }
            }
            (S::Streaming { play, live }, E::Deadline) => self.streaming_due(play, live, cx, now),
            (S::Streaming { play, live }, E::Ended(ending)) => {
                self.interrupted(cx, now);
                self.replay_or_fail(play, &live, PullFailure::Ended(ending), cx, now)
            }
            (S::Streaming { play, .. }, E::Refused(status)) => {
                self.interrupted(cx, now);
                cx.abort(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), PullFailure::Refused(status), cx, now)
            }
            (S::Streaming { play, .. }, E::Redirected(url)) => {
                self.interrupted(cx, now);
                cx.abort(play.link.conn);
                self.redirected(&play.attempt, play.link.addr, &url, cx, now)
            }
            (S::Streaming { play, .. }, E::ProtocolFailed(failure)) => {
                self.interrupted(cx, now);
                cx.abort(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), failure, cx, now)
            }
            (S::Streaming { play, .. }, E::Closed(hangup)) => {
                self.interrupted(cx, now);
                cx.routes.closed(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), PullFailure::Lost(hangup), cx, now)
            }
            (S::Streaming { play, .. }, E::Restart) => {
                self.interrupted(cx, now);
                cx.abort(play.link.conn);
                self.begin(None, cx, now)
            }
            (S::Streaming { play, .. }, E::Stop) => {
                self.interrupted(cx, now);
                cx.close(play.link.conn);
                S::Stopped
            }
            (
                state @ S::Streaming { .. },
                E::Wake
                | E::Watched
                | E::Resolved(_)
                | E::ResolveFailed(_)
                | E::Granted
                | E::Connected(_)
                | E::ConnectFailed(_)
                | E::HandshakeDone(_)
                | E::Playing,
            ) => state,

            // A new play is under way on the same connection.
            (S::Replaying { play, .. }, E::Playing) => {
                cx.effects.push_back(Effect::PlayAccepted(play.link.addr));
                self.await_media(play, true, cx, now)
            }
            (S::Replaying { mut play, stable, until }, E::Pong) => {
                play.pinger.handle_pong();
                S::Replaying { play, stable, until }
            }
            (S::Replaying { play, stable, .. }, E::Closed(hangup)) => {
                cx.routes.closed(play.link.conn);
                if stable {
                    // ZLMediaKit answers deleteStream by hanging up: that is its way to end a play, not a failure.
                    self.begin(None, cx, now)
                } else {
                    self.fail(&play.attempt, Some(play.link.addr), PullFailure::Lost(hangup), cx, now)
                }
            }
            (S::Replaying { play, .. }, E::Deadline) => {
                cx.abort(play.link.conn);
                let failure = PullFailure::Timeout(PullState::Replaying);
                self.fail(&play.attempt, Some(play.link.addr), failure, cx, now)
            }
            (S::Replaying { play, .. }, E::Refused(status)) => {
                cx.abort(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), PullFailure::Refused(status), cx, now)
            }
            (S::Replaying { play, .. }, E::ProtocolFailed(failure)) => {
                cx.abort(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), failure, cx, now)
            }
            (S::Replaying { play, .. }, E::Redirected(url)) => {
                cx.abort(play.link.conn);
                self.redirected(&play.attempt, play.link.addr, &url, cx, now)
            }
            (S::Replaying { play, .. }, E::Restart) => {
                cx.abort(play.link.conn);
                self.begin(None, cx, now)
            }
            (S::Replaying { play, .. }, E::Stop) => {
                cx.close(play.link.conn);
                S::Stopped
            }
            (
                state @ S::Replaying { .. },
                E::Wake
                | E::Watched
                | E::Resolved(_)
                | E::ResolveFailed(_)
                | E::Granted
                | E::Connected(_)
                | E::ConnectFailed(_)
                | E::HandshakeDone(_)
                | E::Frame(_)
                | E::Ended(_),
            ) => state,

            // Waits for the next attempt.
            (S::BackingOff { .. }, E::Wake | E::Deadline | E::Restart) => self.begin(None, cx, now),
            (S::BackingOff { started, addr, until }, E::Watched) => {
                let until = match self.backoff.law() {
                    BackoffLaw::Repull => until.min((started + self.config.backoff_max).max(now)),
                    BackoffLaw::ZlMediaKit => until,
                };
                S::BackingOff { started, addr, until }
            }
            (S::BackingOff { .. }, E::Stop) => S::Stopped,
            (
                state @ S::BackingOff { .. },
                E::Resolved(_)
                | E::ResolveFailed(_)
                | E::Granted
                | E::Connected(_)
                | E::ConnectFailed(_)
                | E::HandshakeDone(_)
                | E::ProtocolFailed(_)
                | E::Playing
                | E::Frame(_)
                | E::Pong
                | E::Ended(_)
                | E::Refused(_)
                | E::Redirected(_)
                | E::Closed(_),
            ) => state,

            // Over.
            (
                S::Stopped,
                E::Wake
                | E::Watched
                | E::Resolved(_)
                | E::ResolveFailed(_)
                | E::Granted
                | E::Connected(_)
                | E::ConnectFailed(_)
                | E::HandshakeDone(_)
                | E::ProtocolFailed(_)
                | E::Playing
                | E::Frame(_)
                | E::Pong
                | E::Ended(_)
                | E::Refused(_)
                | E::Redirected(_)
                | E::Closed(_)
                | E::Deadline
                | E::Restart
                | E::Stop,
            ) => S::Stopped,
        }
    }

    /// Begins an attempt: at a redirect's target, else at the path whose turn it is.
    fn begin(&mut self, target: Option<OriginUrl>, cx: &mut PullCx<'_>, now: Instant) -> State {
        let turn = usize::try_from(self.backoff.failures()).unwrap_or(0) % self.wish.paths.len().max(1);
        let url = target.unwrap_or_else(|| self.wish.paths[turn].clone());
        self.look_up(Attempt { started: now, url, granted: None }, cx, now)
    }

    fn look_up(&mut self, attempt: Attempt, cx: &mut PullCx<'_>, now: Instant) -> State {
        if let Ok(ip) = attempt.url.host.parse::<IpAddr>() {
            return self.resolved(attempt, Vec::from([ip]), cx, now);
        }
        if let Some(addrs) = cx.known_answer(&attempt.url.host, self.config.resolve_ttl, now) {
            return self.resolved(attempt, addrs, cx, now);
        }
        let query = cx.resolve(&attempt.url.host);
        State::Resolving { attempt, query, until: now + self.config.resolve_timeout }
    }

    fn resolved(&mut self, attempt: Attempt, ips: Vec<IpAddr>, cx: &mut PullCx<'_>, now: Instant) -> State {
        let mut addrs = VecDeque::new();
        for ip in ips.into_iter().take(self.config.addresses_max) {
            let addr = SocketAddr::new(ip, attempt.url.port);
            if !addrs.contains(&addr) {
                addrs.push_back(addr);
            }
        }
        if addrs.iter().any(|addr| cx.is_own_url(&attempt.url, *addr, None)) {
            return self.own_url(&attempt, cx, now);
        }
        if let Some(granted) = attempt.granted
            && let Some(at) = addrs.iter().position(|addr| *addr == granted)
        {
            addrs.drain(..=at);
            return self.dial(attempt, granted, addrs, cx, now);
        }
        let Some(addr) = addrs.pop_front() else {
            return self.fail(&attempt, None, PullFailure::Resolve(ResolveError::Empty), cx, now);
        };
        cx.effects.push_back(Effect::AskDial(addr));
        State::Queued { attempt: Attempt { granted: None, ..attempt }, addr, rest: addrs, resolved_at: now }
    }

    /// A token is there. A lookup that grew old in the queue is made again first, keeping the token.
    fn granted(
        &mut self,
        attempt: Attempt,
        addr: SocketAddr,
        rest: VecDeque<SocketAddr>,
        resolved_at: Instant,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        let is_name = attempt.url.host.parse::<IpAddr>().is_err();
        if is_name && now.since(resolved_at) > self.config.lookup_interval.max(self.config.resolve_ttl) {
            return self.look_up(Attempt { granted: Some(addr), ..attempt }, cx, now);
        }
        self.dial(attempt, addr, rest, cx, now)
    }

    fn dial(
        &mut self,
        attempt: Attempt,
        addr: SocketAddr,
        rest: VecDeque<SocketAddr>,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        let conn = cx.connect(addr);
        State::Connecting { attempt, conn, addr, rest, until: now + self.config.dial_timeout }
    }

    fn connected(&mut self, attempt: Attempt, link: Link, cx: &mut PullCx<'_>, now: Instant) -> State {
        if cx.is_own_url(&attempt.url, link.addr, Some(link.local)) {
            cx.abort(link.conn);
            return self.own_url(&attempt, cx, now);
        }
        let mut dice: Dice = [0; 1528];
        (cx.fill)(&mut dice, cx.dice);
        let mut out = Vec::new();
        let handshake = ClientHandshake::start(self.handshake_kind, &dice, &mut out);
        let handshake = Box::new(Progress::Pending(handshake));
        let until = now + self.config.handshake_timeout;
        let mut state = State::Handshaking { attempt, link, handshake, taken: 0, until };
        state.transmit(out, cx);
        state
    }

    /// Feeds the handshake; returns what belongs to the session.
    fn handle_handshake_bytes<'i>(&mut self, input: &'i [u8], cx: &mut PullCx<'_>, now: Instant) -> &'i [u8] {
        let State::Handshaking { handshake, taken, .. } = &mut self.state else { return input };
        let Progress::Pending(pending) = mem::replace(&mut **handshake, Progress::Done) else { return input };
        let mut out = Vec::new();
        let (used, event) = match pending.handle_bytes(input, &mut out) {
            Ok((used, Progress::Pending(pending))) => {
                **handshake = Progress::Pending(pending);
                (used, None)
            }
            Ok((used, Progress::Done)) => (used, Some(PullEvent::HandshakeDone(*taken + used as u64))),
            Err(error) => (input.len(), Some(PullEvent::ProtocolFailed(PullFailure::Handshake(error)))),
        };
        *taken += used as u64;
        self.state.transmit(out, cx);
        if let Some(event) = event {
            self.step(event, cx, now);
        }
        &input[used..]
    }

    /// After a failed handshake the other kind is tried next.
    fn handshake_failed(
        &mut self,
        attempt: Attempt,
        link: Link,
        failure: PullFailure,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        self.handshake_kind = match self.handshake_kind {
            HandshakeKind::Digest => HandshakeKind::Simple,
            HandshakeKind::Simple => HandshakeKind::Digest,
        };
        self.next_address(attempt, link.addr, link.rest, failure, cx, now)
    }

    fn request(
        &mut self,
        attempt: Attempt,
        link: Link,
        taken: u64,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        let options = ClientOptions {
            fc_subscribe: self.config.fc_subscribe,
            hops: cx.hops,
            limits: self.config.chunk_limits,
        };
        let mut out = Vec::new();
        let session = Box::new(ClientSession::start(&attempt.url, &options, taken, &mut out));
        let mut state =
            State::Requesting { attempt, link, session, until: now + self.config.request_timeout };
        state.transmit(out, cx);
        state
    }

    fn await_media(&mut self, play: Play, replayed: bool, cx: &mut PullCx<'_>, now: Instant) -> State {
        let mut state = State::AwaitingMedia {
            play,
            wait: Wait { since: now, replayed, lookup: None, looked_up_at: now },
        };
        state.ping(cx, now);
        state
    }

    fn first_frame(
        &mut self,
        play: Play,
        track: AvTrack,
        frame: Frame,
        replayed: bool,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        cx.effects.push_back(Effect::Frame(frame));
        self.outage_since = None;
        self.barren = 0;
        self.missing.note(track, Missing::No);
        if self.backoff.law() == BackoffLaw::ZlMediaKit {
            self.forgive();
        }
        State::Streaming { play, live: Live { flow: Flow::new(track, now), replayed, stable: false } }
    }

    /// Returns when waiting for media is over. An origin that answers pings is waited for, unless the name has
    /// other addresses to try; one that does not, for `first_media_timeout`.
    fn give_up_at(&self, play: &Play, since: Instant) -> Instant {
        let impatient = !play.pinger.is_answered() || !play.link.rest.is_empty();
        let never = Instant::from_nanos(u64::MAX);
        let patience = if impatient { since + self.config.first_media_timeout } else { never };
        patience.min(play.pinger.dead_at(&self.config, None).unwrap_or(never))
    }

    fn awaiting_due(&mut self, play: Play, wait: Wait, cx: &mut PullCx<'_>, now: Instant) -> State {
        let due = if play.pinger.dead_at(&self.config, None).is_some_and(|at| at <= now) {
            Due::Dead
        } else if self.give_up_at(&play, wait.since) <= now {
            Due::Impatience
        } else if play.pinger.next_at(&self.config, None) <= now {
            Due::Ping
        } else if wait.looked_up_at + self.config.lookup_interval <= now {
            Due::Lookup
        } else {
            Due::Nothing
        };
        match due {
            Due::Dead => {
                cx.forget_query(wait.lookup);
                cx.abort(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), PullFailure::PingTimeout, cx, now)
            }
            Due::Impatience => {
                cx.forget_query(wait.lookup);
                cx.abort(play.link.conn);
                let failure = PullFailure::Timeout(PullState::AwaitingMedia);
                self.next_address(play.attempt, play.link.addr, play.link.rest, failure, cx, now)
            }
            Due::Ping => {
                let mut state = State::AwaitingMedia { play, wait };
                state.ping(cx, now);
                state
            }
            Due::Lookup => {
                cx.forget_query(wait.lookup);
                let is_name = play.attempt.url.host.parse::<IpAddr>().is_err();
                let lookup = is_name.then(|| cx.resolve(&play.attempt.url.host));
                State::AwaitingMedia { play, wait: Wait { lookup, looked_up_at: now, ..wait } }
            }
            Due::Forgiveness | Due::Stall | Due::TrackStall(_) | Due::Nothing => {
                State::AwaitingMedia { play, wait }
            }
        }
    }

    fn streaming_due(&mut self, play: Play, live: Live, cx: &mut PullCx<'_>, now: Instant) -> State {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let silent_track = AvTrack::ALL
            .into_iter()
            .find(|track| is_due(live.flow.track_stalled_at(&self.config, &self.missing, *track)));
        let due = if is_due(play.pinger.dead_at(&self.config, Some(live.flow.last))) {
            Due::Dead
        } else if live.flow.last + self.config.stall_timeout <= now {
            Due::Stall
        } else if let Some(track) = silent_track {
            Due::TrackStall(track)
        } else if !live.stable && live.flow.since + self.config.stable_after <= now {
            Due::Forgiveness
        } else if play.pinger.next_at(&self.config, Some(live.flow.last)) <= now {
            Due::Ping
        } else {
            Due::Nothing
        };
        match due {
            Due::Dead => {
                self.interrupted(cx, now);
                cx.abort(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), PullFailure::PingTimeout, cx, now)
            }
            Due::Stall => {
                self.interrupted(cx, now);
                self.replay_or_fail(play, &live, PullFailure::Stalled, cx, now)
            }
            Due::TrackStall(track) => self.track_stalled(play, live, track, cx, now),
            Due::Forgiveness => {
                self.forgive();
                State::Streaming { play, live: Live { stable: true, ..live } }
            }
            Due::Ping => {
                let mut state = State::Streaming { play, live };
                state.ping(cx, now);
                state
            }
            Due::Lookup | Due::Impatience | Due::Nothing => State::Streaming { play, live },
        }
    }

    /// A track is asked for again by one replay and one redial; neither is a failure, because the rest flows.
    fn track_stalled(
        &mut self,
        play: Play,
        live: Live,
        track: AvTrack,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        let may_replay = can_replay(&play, &live);
        let next = match self.missing.of(track) {
            Missing::No if may_replay => Missing::Replayed,
            Missing::No | Missing::Replayed => Missing::Redialled,
            Missing::Redialled | Missing::Gone => Missing::Gone,
        };
        self.missing.note(track, next);
        match next {
            Missing::Replayed => {
                self.interrupted(cx, now);
                self.replay(play, live.stable, cx, now)
            }
            Missing::Redialled => {
                self.last_failure = Some(PullFailure::TrackStalled(track.medium()));
                self.interrupted(cx, now);
                cx.abort(play.link.conn);
                self.begin(None, cx, now)
            }
            Missing::No | Missing::Gone => {
                cx.effects.push_back(Effect::TrackGone(track.medium()));
                State::Streaming { play, live }
            }
        }
    }

    fn replay_or_fail(
        &mut self,
        play: Play,
        live: &Live,
        failure: PullFailure,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        if can_replay(&play, live) {
            return self.replay(play, live.stable, cx, now);
        }
        cx.abort(play.link.conn);
        self.fail(&play.attempt, Some(play.link.addr), failure, cx, now)
    }

    fn replay(&mut self, mut play: Play, stable: bool, cx: &mut PullCx<'_>, now: Instant) -> State {
        let mut out = Vec::new();
        play.session.replay(&mut out);
        let mut state = State::Replaying { play, stable, until: now + self.config.replay_timeout };
        state.transmit(out, cx);
        state
    }

    fn redirected(
        &mut self,
        attempt: &Attempt,
        addr: SocketAddr,
        url: &str,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        let failure = match OriginUrl::parse(url) {
            Ok(_) if self.redirects >= self.config.redirects_max => PullFailure::TooManyRedirects,
            Ok(target) => {
                self.redirects += 1;
                return self.begin(Some(target), cx, now);
            }
            Err(error) => PullFailure::RedirectUrl(error),
        };
        self.fail(attempt, Some(addr), failure, cx, now)
    }

    /// Before any media, the other addresses of the same answer get their chance within the attempt.
    fn next_address(
        &mut self,
        attempt: Attempt,
        failed: SocketAddr,
        mut rest: VecDeque<SocketAddr>,
        failure: PullFailure,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        cx.effects.push_back(Effect::DialFailed(failed));
        let Some(addr) = rest.pop_front() else {
            return self.fail(&attempt, Some(failed), failure, cx, now);
        };
        self.last_failure = Some(failure);
        cx.effects.push_back(Effect::AskDial(addr));
        State::Queued { attempt, addr, rest, resolved_at: now }
    }

    /// An url that leads to ourselves is refused before it has ever worked. Later a name may lead here by a
    /// stale answer or a reused address: that passes.
    fn own_url(&mut self, attempt: &Attempt, cx: &mut PullCx<'_>, now: Instant) -> State {
        if cx.streamed {
            return self.fail(attempt, None, PullFailure::OwnUrl, cx, now);
        }
        cx.effects.push_back(Effect::Loop);
        State::Stopped
    }

    fn fail(
        &mut self,
        attempt: &Attempt,
        addr: Option<SocketAddr>,
        failure: PullFailure,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        self.last_failure = Some(failure.clone());
        cx.effects.push_back(Effect::AttemptFailed(failure));
        self.barren = self.barren.saturating_add(1);
        if self.barren == self.config.rebuild_after {
            cx.effects.push_back(Effect::Rebuild);
        }
        let cap = self.backoff_cap(cx.watched, now);
        match self.backoff.fail(&self.config, attempt.started, cap, cx.dice, now) {
            Some(until) => State::BackingOff { started: attempt.started, addr, until },
            None => {
                cx.effects.push_back(Effect::GaveUp);
                State::Stopped
            }
        }
    }

    fn backoff_cap(&self, watched: bool, now: Instant) -> Duration {
        let outage = self.outage_since.map_or(Duration::ZERO, |since| now.since(since));
        if watched || outage < self.config.backoff_idle_after {
            self.config.backoff_max
        } else {
            self.config.backoff_idle_max
        }
    }

    fn interrupted(&mut self, cx: &mut PullCx<'_>, now: Instant) {
        self.outage_since = Some(now);
        cx.effects.push_back(Effect::Interrupted);
        if self.config.reset_when_replay {
            cx.effects.push_back(Effect::Rebuild);
        }
    }

    fn forgive(&mut self) {
        self.backoff.forgive();
        self.redirects = 0;
        self.last_failure = None;
    }
}

/// A replay needs a transport that is known to live, and some media since the last one: an origin that ends each
/// play after its first frame is redialled by the retry law instead.
const fn can_replay(play: &Play, live: &Live) -> bool {
    play.pinger.is_answered() && (live.stable || !live.replayed)
}

fn law(options: &PullOptions, config: &PullConfig) -> BackoffLaw {
    let implied = if options.retry_count >= 0 { BackoffLaw::ZlMediaKit } else { config.law };
    options.law.unwrap_or(implied)
}

fn policy(options: &PullOptions, config: &PullConfig) -> PullConfig {
    PullConfig {
        stall_timeout: options.stall_timeout.unwrap_or(config.stall_timeout),
        track_stall_timeout: options.track_stall_timeout.unwrap_or(config.track_stall_timeout),
        first_media_timeout: options.first_media_timeout.unwrap_or(config.first_media_timeout),
        reply_timeout: options.reply_timeout.unwrap_or(config.reply_timeout),
        auto_close: options.auto_close.unwrap_or(config.auto_close),
        reset_when_replay: options.reset_when_replay.unwrap_or(config.reset_when_replay),
        fc_subscribe: options.fc_subscribe.unwrap_or(config.fc_subscribe),
        ..config.clone()
    }
}

impl State {
    const fn kind(&self) -> PullState {
        match self {
            Self::Resolving { .. } => PullState::Resolving,
            Self::Queued { .. } => PullState::Queued,
            Self::Connecting { .. } => PullState::Connecting,
            Self::Handshaking { .. } => PullState::Handshaking,
            Self::Requesting { .. } => PullState::Requesting,
            Self::AwaitingMedia { .. } => PullState::AwaitingMedia,
            Self::Streaming { .. } => PullState::Streaming,
            Self::Replaying { .. } => PullState::Replaying,
            Self::BackingOff { .. } => PullState::BackingOff,
            Self::Stopped => PullState::Stopped,
        }
    }

    const fn link(&self) -> Option<&Link> {
        match self {
            Self::Handshaking { link, .. } | Self::Requesting { link, .. } => Some(link),
            Self::AwaitingMedia { play, .. }
            | Self::Streaming { play, .. }
            | Self::Replaying { play, .. } => Some(&play.link),
            Self::Resolving { .. }
            | Self::Queued { .. }
            | Self::Connecting { .. }
            | Self::BackingOff { .. }
            | Self::Stopped => None,
        }
    }

    const fn link_mut(&mut self) -> Option<&mut Link> {
        match self {
            Self::Handshaking { link, .. } | Self::Requesting { link, .. } => Some(link),
            Self::AwaitingMedia { play, .. }
            | Self::Streaming { play, .. }
            | Self::Replaying { play, .. } => Some(&mut play.link),
            Self::Resolving { .. }
            | Self::Queued { .. }
            | Self::Connecting { .. }
            | Self::BackingOff { .. }
            | Self::Stopped => None,
        }
    }

    const fn conn(&self) -> Option<ConnId> {
        match self {
            Self::Connecting { conn, .. } => Some(*conn),
            Self::Handshaking { link, .. } | Self::Requesting { link, .. } => Some(link.conn),
            Self::AwaitingMedia { play, .. }
            | Self::Streaming { play, .. }
            | Self::Replaying { play, .. } => Some(play.link.conn),
            Self::Resolving { .. } | Self::Queued { .. } | Self::BackingOff { .. } | Self::Stopped => None,
        }
    }

    const fn query(&self) -> Option<QueryId> {
        match self {
            Self::Resolving { query, .. } => Some(*query),
            Self::AwaitingMedia { wait, .. } => wait.lookup,
            Self::Queued { .. }
            | Self::Connecting { .. }
            | Self::Handshaking { .. }
            | Self::Requesting { .. }
            | Self::Streaming { .. }
            | Self::Replaying { .. }
            | Self::BackingOff { .. }
            | Self::Stopped => None,
        }
    }

    const fn session_mut(&mut self) -> Option<&mut ClientSession> {
        match self {
            Self::Requesting { session, .. } => Some(session),
            Self::AwaitingMedia { play, .. }
            | Self::Streaming { play, .. }
            | Self::Replaying { play, .. } => Some(&mut play.session),
            Self::Resolving { .. }
            | Self::Queued { .. }
            | Self::Connecting { .. }
            | Self::Handshaking { .. }
            | Self::BackingOff { .. }
            | Self::Stopped => None,
        }
    }

    fn transmit(&mut self, out: Vec<u8>, cx: &mut PullCx<'_>) {
        if out.is_empty() {
            return;
        }
        let Some(link) = self.link_mut() else { return };
        link.in_flight += out.len();
        cx.outputs.push_back(Output::Transmit { conn: link.conn, bytes: Bytes::from(out) });
    }

    /// Sends a ping, where a play is accepted.
    fn ping(&mut self, cx: &mut PullCx<'_>, now: Instant) {
        let mut out = Vec::new();
        if let Self::AwaitingMedia { play, .. } | Self::Streaming { play, .. } = self {
            play.session.ping(now.as_millis() as u32, &mut out);
            play.pinger.sent(now);
        }
        self.transmit(out, cx);
    }
}

impl PullCx<'_> {
    fn resolve(&mut self, host: &str) -> QueryId {
        let query = QueryId(self.routes.next());
        self.routes.queries.insert(query, (self.stream, host.into()));
        self.outputs.push_back(Output::Resolve { query, host: host.into() });
        query
    }

    fn forget_query(&mut self, query: Option<QueryId>) {
        if let Some(query) = query {
            self.routes.queries.remove(&query);
        }
    }

    fn known_answer(&self, host: &str, ttl: Duration, now: Instant) -> Option<Vec<IpAddr>> {
        let (at, addrs) = self.routes.answers.get(host)?;
        (now.since(*at) < ttl).then(|| addrs.clone())
    }

    fn connect(&mut self, addr: SocketAddr) -> ConnId {
        let conn = ConnId::dialled(self.routes.next());
        self.routes.conns.insert(conn, self.stream);
        self.outputs.push_back(Output::Connect { conn, addr });
        conn
    }

    /// Hangs up at once.
    fn abort(&mut self, conn: ConnId) {
        self.routes.closed(conn);
        self.outputs.push_back(Output::Abort { conn });
    }

    /// Hangs up in order.
    fn close(&mut self, conn: ConnId) {
        self.routes.closed(conn);
        self.routes.closing.push(conn);
        self.outputs.push_back(Output::Close { conn });
    }

    fn is_own_url(&self, url: &OriginUrl, addr: SocketAddr, local: Option<SocketAddr>) -> bool {
        self.routes.is_own(addr, local) && url.names(self.key)
    }
}
