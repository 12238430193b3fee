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
//! keeps only counts (failures, attempts without a frame), the handshake kind to try next, and the tracks that are
//! missing. Nothing a peer sends is terminal while `retry_count` is negative.

mod event;
mod state;
mod steps;

use alloc::vec::Vec;
use core::{
    mem,
    net::{IpAddr, SocketAddr},
};

pub use crate::stream::pull::event::{Effect, PullEvent};

use crate::{
    config::PullConfig,
    dice::PullDice,
    io::{BackoffLaw, ConnId, PullEventKind, PullFailure, PullOptions, PullState, QueryId, ResolveError},
    session::{SessionError, client::ClientEvent},
    stream::{
        backoff::Backoff,
        flow::{AvTrack, Missing, MissingTracks},
        pull::state::{Link, Live, Play, Request, State, Wait},
        routes::PullCx,
    },
    time::Instant,
    url::OriginUrl,
    wire::handshake::HandshakeKind,
};

/// What the operator asked for, in force from the next attempt on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Where to pull from; the path is chosen by the failure count.
    pub paths: Vec<OriginUrl>,
    /// The options as given.
    pub options: PullOptions,
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
    /// The next attempt is not for what the last one was for: what that had and lost is not missing there.
    is_elsewhere: bool,
    /// The wish it was made with is in its first attempt.
    is_first: bool,
    /// Attempts in a row without a frame.
    barren: u32,
    outage_since: Option<Instant>,
    last_failure: Option<PullFailure>,
    dice: PullDice,
}

impl Pull {
    /// Makes a pull that waits for its first `Wake`.
    pub fn new(wish: Wish, dice: PullDice, config: &PullConfig, now: Instant) -> Self {
        let policy = steps::policy(&wish.options, config);
        Self {
            backoff: Backoff::new(steps::law(&wish.options, config), wish.options.retry_count),
            handshake_kind: HandshakeKind::Digest,
            missing: MissingTracks::default(),
            is_elsewhere: false,
            is_first: true,
            barren: 0,
            outage_since: Some(now),
            last_failure: None,
            state: State::BackingOff { started: now, addr: None, until: now },
            config: policy,
            wish,
            dice,
        }
    }

    /// Returns what the operator asked for.
    pub const fn wish(&self) -> &Wish {
        &self.wish
    }

    /// Sets what the operator asks for, from the next attempt on.
    pub fn set_wish(&mut self, wish: Wish, config: &PullConfig) {
        self.config = steps::policy(&wish.options, config);
        self.is_elsewhere |= wish.paths != self.wish.paths;
        self.backoff.rule(steps::law(&wish.options, config), wish.options.retry_count);
        self.wish = wish;
        self.is_first = false;
    }

    /// Rolls these dice from here on.
    pub fn set_dice(&mut self, dice: PullDice) {
        self.dice = dice;
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

    /// Returns when this state wants `Deadline`. The dial budget, for which `Queued` waits, has a deadline of its own.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Resolving { until, .. }
            | State::Connecting { until, .. }
            | State::Handshaking { until, .. }
            | State::BackingOff { until, .. } => Some(*until),
            State::Requesting { request, .. } => {
                let Some(_) = request.asked_at else { return Some(request.until) };
                let ping = request.pinger.next_at(&self.config, None);
                let dead = request.pinger.dead_at(&self.config);
                let lookup = request.lookup_at(&self.config);
                let until = request.until.min(lookup.unwrap_or(request.until));
                Some(until.min(ping).min(dead.unwrap_or(until)))
            }
            State::AwaitingMedia { play, wait } => {
                let ping = play.pinger.next_at(&self.config, None);
                let lookup = wait.looked_up_at + self.config.lookup_interval;
                Some(ping.min(lookup).min(self.give_up_at(play, wait)))
            }
            State::Streaming { play, live: Live { flow, stable, .. } } => {
                let ping = play.pinger.next_at(&self.config, Some(flow.last));
                let mut at = ping.min(flow.last + self.config.stall_timeout);
                at = at.min(play.pinger.dead_at(&self.config).unwrap_or(at));
                for track in AvTrack::ALL {
                    at = at.min(flow.track_stalled_at(&self.config, &self.missing, track).unwrap_or(at));
                }
                if !stable {
                    at = at.min(flow.since + self.config.stable_after);
                }
                Some(at)
            }
            State::Replaying { until, .. } => Some(*until),
            State::Queued { answer, .. } => answer.lookup.map(|(_, until)| until),
            State::Stopped => None,
        }
    }

    /// Takes bytes of the upstream connection, cut anywhere.
    pub fn handle_bytes(&mut self, conn: ConnId, mut input: &[u8], cx: &mut PullCx<'_>, now: Instant) {
        if self.state.conn() != Some(conn) {
            return;
        }
        if let Some(pinger) = self.state.pinger_mut() {
            pinger.hear(now);
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
                ClientEvent::Asked => PullEvent::Asked,
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
        let (before, kind, query) = (self.state.kind(), event.kind(), self.state.query());
        let failures = self.failures();
        let state = mem::replace(&mut self.state, State::Stopped);
        let failed = cx.effects.len();
        self.state = self.react(state, event, cx, now);
        let next = self.state.kind();
        if query != self.state.query() {
            // Nobody waits for its answer any more.
            cx.forget_query(query);
        }
        let failure = cx.effects.iter().skip(failed).find_map(|effect| match effect {
            Effect::AttemptFailed(failure) => Some(failure.clone()),
            _ => None,
        });
        if next == before && failure.is_some() {
            // The attempt that was due has failed as it began, for what its url leads to is known: it is told as begun.
            let (state, event) = (PullState::Resolving, PullEventKind::Resolved);
            cx.effects.push_back(Effect::Stepped { state: before, event: kind, next: state });
            cx.effects.push_back(Effect::Entered { state, failure: None, failures });
            cx.effects.push_back(Effect::Stepped { state, event, next });
            cx.effects.push_back(Effect::Entered { state: next, failure, failures: self.failures() });
            return;
        }
        cx.effects.push_back(Effect::Stepped { state: before, event: kind, next });
        if next != before {
            cx.effects.push_back(Effect::Entered { state: next, failure, failures: self.failures() });
        }
    }

    /// The table: every state, every stimulus.
    fn react(&mut self, state: State, event: PullEvent, cx: &mut PullCx<'_>, now: Instant) -> State {
        use PullEvent as E;
        use State as S;

        match (state, event) {
            // A lookup is under way.
            (S::Resolving { attempt, .. }, E::Resolved(addrs)) => {
                self.resolved(attempt, addrs, None, cx, now)
            }
            (S::Resolving { attempt, .. }, E::ResolveFailed(error)) => {
                self.fail(&attempt, None, PullFailure::Resolve(error), cx, now)
            }
            (S::Resolving { attempt, .. }, E::Deadline) => {
                self.fail(&attempt, None, PullFailure::Timeout(PullState::Resolving), cx, now)
            }
            (S::Resolving { .. }, E::Restart) => self.begin(cx, now),
            (S::Resolving { .. }, E::Stop) => S::Stopped,
            (
                state @ S::Resolving { .. },
                E::Wake
                | E::Watched
                | E::Granted
                | E::Connected(_)
                | E::ConnectFailed(_)
                | E::HandshakeDone(_)
                | E::ProtocolFailed(_)
                | E::Asked
                | E::Playing
                | E::Frame(_)
                | E::Pong
                | E::Ended(_)
                | E::Refused(_)
                | E::Redirected(_)
                | E::Closed(_),
            ) => state,

            // Waits for a token; its name may be looked up again meanwhile.
            (S::Queued { attempt, addr, rest, .. }, E::Granted) => self.dial(attempt, addr, rest, cx, now),
            (S::Queued { attempt, addr, .. }, E::Resolved(addrs)) => {
                self.resolved(attempt, addrs, Some(addr), cx, now)
            }
            (S::Queued { attempt, .. }, E::ResolveFailed(error)) => {
                self.fail(&attempt, None, PullFailure::Resolve(error), cx, now)
            }
            (S::Queued { attempt, addr, rest, answer }, E::Deadline) => {
                self.queued_due(attempt, addr, rest, answer, cx, now)
            }
            (S::Queued { .. }, E::Restart) => self.begin(cx, now),
            (S::Queued { .. }, E::Stop) => S::Stopped,
            (S::Queued { attempt, addr, rest, answer }, E::Watched) => {
                // Asked again, because the place in the queue depends on who watches.
                if answer.lookup.is_none() {
                    cx.effects.push_back(Effect::AskDial(addr, answer.fresh_until));
                }
                S::Queued { attempt, addr, rest, answer }
            }
            (
                state @ S::Queued { .. },
                E::Wake
                | E::Connected(_)
                | E::ConnectFailed(_)
                | E::HandshakeDone(_)
                | E::ProtocolFailed(_)
                | E::Asked
                | E::Playing
                | E::Frame(_)
                | E::Pong
                | E::Ended(_)
                | E::Refused(_)
                | E::Redirected(_)
                | E::Closed(_),
            ) => state,

            // A dial is in flight.
            (S::Connecting { attempt, conn, addr, rest, .. }, E::Connected(local)) => {
                self.connected(attempt, Link { conn, addr, local, rest, in_flight: 0 }, cx, now)
            }
            (S::Connecting { attempt, conn, addr, rest, .. }, E::ConnectFailed(error)) => {
                cx.routes.closed(conn);
                self.dial_failed(attempt, addr, rest, PullFailure::Connect(error), cx, now)
            }
            (S::Connecting { attempt, conn, addr, rest, .. }, E::Closed(hangup)) => {
                cx.routes.closed(conn);
                self.dial_failed(attempt, addr, rest, PullFailure::Lost(hangup), cx, now)
            }
            (S::Connecting { attempt, conn, addr, rest, .. }, E::Deadline) => {
                cx.abort(conn);
                self.dial_failed(attempt, addr, rest, PullFailure::Timeout(PullState::Connecting), cx, now)
            }
            (S::Connecting { conn, .. }, E::Restart) => {
                cx.abort(conn);
                self.begin(cx, now)
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
                | E::Asked
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
                self.begin(cx, now)
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
                | E::Asked
                | E::Playing
                | E::Frame(_)
                | E::Pong
                | E::Ended(_)
                | E::Refused(_)
                | E::Redirected(_),
            ) => state,

            // connect, createStream and play are under way.
            (S::Requesting { attempt, link, session, request }, E::Asked) => {
                let request = Request { asked_at: Some(now), ..request };
                let mut state = S::Requesting { attempt, link, session, request };
                state.ping(cx, now);
                state
            }
            (S::Requesting { attempt, link, session, mut request }, E::Pong) => {
                request.pinger.handle_pong();
                if let Some(asked_at) = request.asked_at {
                    // It lives and does not answer: it holds the request until somebody publishes.
                    request.until = asked_at + self.config.first_media_timeout;
                }
                S::Requesting { attempt, link, session, request }
            }
            (S::Requesting { attempt, link, session, request }, E::Playing) => {
                cx.effects.push_back(Effect::PlayAccepted(link.addr));
                let play = Play { attempt, link, session, pinger: request.pinger };
                self.await_media(play, false, cx, now)
            }
            (S::Requesting { attempt, link, .. }, E::ProtocolFailed(failure)) => {
                cx.abort(link.conn);
                self.not_served(attempt, link, failure, cx, now)
            }
            (S::Requesting { attempt, link, .. }, E::Refused(status)) => {
                cx.abort(link.conn);
                self.not_served(attempt, link, PullFailure::Refused(status), cx, now)
            }
            (S::Requesting { attempt, link, .. }, E::Closed(hangup)) => {
                cx.routes.closed(link.conn);
                self.not_served(attempt, link, PullFailure::Lost(hangup), cx, now)
            }
            (S::Requesting { attempt, link, session, request }, E::Deadline) => {
                self.requesting_due(attempt, link, session, request, cx, now)
            }
            (S::Requesting { attempt, link, .. }, E::Redirected(url)) => {
                cx.abort(link.conn);
                self.redirected(&attempt, link.addr, &url, cx, now)
            }
            (S::Requesting { link, .. }, E::Restart) => {
                cx.abort(link.conn);
                self.begin(cx, now)
            }
            (S::Requesting { link, .. }, E::Stop) => {
                cx.close(link.conn);
                S::Stopped
            }
            (S::Requesting { mut attempt, mut link, session, request }, E::Resolved(addrs)) => {
                if addrs.is_empty() || addrs.contains(&link.addr.ip()) {
                    self.learn_others(&mut attempt, &mut link, &addrs, cx);
                    let request = Request { lookup: None, ..request };
                    return S::Requesting { attempt, link, session, request };
                }
                cx.abort(link.conn);
                self.fail(&attempt, Some(link.addr), PullFailure::AddressMoved, cx, now)
            }
            (S::Requesting { attempt, link, session, request }, E::ResolveFailed(_)) => {
                let request = Request { lookup: None, ..request };
                S::Requesting { attempt, link, session, request }
            }
            (
                state @ S::Requesting { .. },
                E::Wake
                | E::Watched
                | E::Granted
                | E::Connected(_)
                | E::ConnectFailed(_)
                | E::HandshakeDone(_)
                | E::Frame(_)
                | E::Ended(_),
            ) => state,

            // Play is accepted, no frame has come.
            (S::AwaitingMedia { play, wait }, E::Frame(frame)) => {
                let Some(track) = AvTrack::of(&frame) else {
                    cx.effects.push_back(Effect::Frame(frame));
                    return S::AwaitingMedia { play, wait };
                };
                self.first_frame(play, track, frame, wait.replayed, cx, now)
            }
            (S::AwaitingMedia { mut play, wait }, E::Pong) => {
                play.pinger.handle_pong();
                S::AwaitingMedia { play, wait }
            }
            (S::AwaitingMedia { mut play, wait }, E::Resolved(addrs)) => {
                if addrs.is_empty() || addrs.contains(&play.link.addr.ip()) {
                    self.learn_others(&mut play.attempt, &mut play.link, &addrs, cx);
                    return S::AwaitingMedia { play, wait: Wait { lookup: None, ..wait } };
                }
                cx.abort(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), PullFailure::AddressMoved, cx, now)
            }
            (S::AwaitingMedia { play, wait }, E::ResolveFailed(_)) => {
                S::AwaitingMedia { play, wait: Wait { lookup: None, ..wait } }
            }
            (S::AwaitingMedia { play, wait }, E::Deadline) => self.awaiting_due(play, wait, cx, now),
            (S::AwaitingMedia { play, .. }, E::Refused(status)) => {
                cx.abort(play.link.conn);
                self.not_served(play.attempt, play.link, PullFailure::Refused(status), cx, now)
            }
            (S::AwaitingMedia { play, .. }, E::Redirected(url)) => {
                cx.abort(play.link.conn);
                self.redirected(&play.attempt, play.link.addr, &url, cx, now)
            }
            (S::AwaitingMedia { play, .. }, E::ProtocolFailed(failure)) => {
                cx.abort(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), failure, cx, now)
            }
            (S::AwaitingMedia { play, .. }, E::Closed(hangup)) => {
                cx.routes.closed(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), PullFailure::Lost(hangup), cx, now)
            }
            (S::AwaitingMedia { play, wait }, E::Ended(_)) => {
                S::AwaitingMedia { play, wait: Wait { is_ended: true, ..wait } }
            }
            (S::AwaitingMedia { play, .. }, E::Restart) => {
                cx.abort(play.link.conn);
                self.begin(cx, now)
            }
            (S::AwaitingMedia { play, .. }, E::Stop) => {
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
                | E::Asked
                | E::Playing,
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
                self.begin(cx, now)
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
                | E::Asked
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
                    self.begin(cx, now)
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
                self.begin(cx, now)
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
                | E::Asked
                | E::Frame(_)
                | E::Ended(_),
            ) => state,

            // Waits for the next attempt.
            (S::BackingOff { .. }, E::Wake | E::Deadline | E::Restart) => self.begin(cx, now),
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
                | E::Asked
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
                | E::Asked
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
}
