//! What the table's arms do: straight-line steps from one state to the next.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::{
    mem,
    net::{IpAddr, SocketAddr},
};

use crate::{
    config::PullConfig,
    io::{BackoffLaw, PullFailure, PullOptions, PullState, ResolveError},
    session::client::{ClientOptions, ClientSession},
    stream::{
        flow::{AvTrack, Flow, Missing, MissingTracks, Pinger},
        pull::{
            Effect, Pull, PullEvent,
            state::{Answer, Attempt, Link, Live, Play, Request, State, Wait},
        },
        routes::PullCx,
    },
    time::{Duration, Instant},
    url::OriginUrl,
    wire::{
        flv::Frame,
        handshake::{ClientHandshake, Dice, HandshakeKind, Progress},
    },
};

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
    /// Begins an attempt at the path whose turn it is.
    pub(super) fn begin(&mut self, cx: &mut PullCx<'_>, now: Instant) -> State {
        if mem::take(&mut self.is_elsewhere) {
            self.missing = MissingTracks::default();
            self.handshake_kind = HandshakeKind::Digest;
            self.barren = 0;
            self.backoff.forgive();
        }
        let turn = usize::try_from(self.backoff.failures()).unwrap_or(0) % self.wish.paths.len().max(1);
        let url = self.wish.paths[turn].clone();
        self.begin_at(url, 0, cx, now)
    }

    fn begin_at(&mut self, url: OriginUrl, redirects: u32, cx: &mut PullCx<'_>, now: Instant) -> State {
        let handshake_kind = self.handshake_kind;
        let tried = Vec::new();
        let is_sent = redirects > 0;
        let attempt =
            Attempt { started: now, url, redirects, is_sent, handshake_kind, has_others: false, tried };
        if let Ok(ip) = attempt.url.host.parse::<IpAddr>() {
            return self.resolved(attempt, Vec::from([ip]), None, cx, now);
        }
        if let Some(addrs) = cx.known_answer(&attempt.url.host, self.config.resolve_ttl, now) {
            return self.resolved(attempt, addrs, None, cx, now);
        }
        let query = cx.resolve(&attempt.url.host);
        State::Resolving { attempt, query, until: now + self.config.resolve_timeout }
    }

    /// The name leads to addresses; one whose turn to be dialled has come keeps it, if it is among them. Those dialled before,
    /// in this attempt, have had their chance.
    pub(super) fn resolved(
        &mut self,
        mut attempt: Attempt,
        ips: Vec<IpAddr>,
        turn: Option<SocketAddr>,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        let mut addrs = VecDeque::new();
        for ip in ips.into_iter().take(self.config.addresses_max) {
            let addr = SocketAddr::new(ip, attempt.url.port);
            if !addrs.contains(&addr) {
                addrs.push_back(addr);
            }
        }
        attempt.has_others = addrs.len() > 1;
        if addrs.iter().any(|addr| cx.is_own_url(&attempt.url, *addr, None)) {
            return self.own_url(&attempt, cx, now);
        }
        addrs.retain(|addr| !attempt.tried.contains(addr));
        if let Some(at) = addrs.iter().position(|addr| Some(*addr) == turn) {
            addrs.rotate_left(at);
        }
        let Some(addr) = addrs.pop_front() else {
            let empty = PullFailure::Resolve(ResolveError::Empty);
            let failure = if attempt.tried.is_empty() { None } else { self.last_failure.clone() };
            return self.fail(&attempt, None, failure.unwrap_or(empty), cx, now);
        };
        self.queue(attempt, addr, addrs, cx, now)
    }

    /// A name that had one address has others by now: an origin that serves nothing is not waited for any more for ever, and
    /// they are next.
    pub(super) fn learn_others(
        &self,
        attempt: &mut Attempt,
        link: &mut Link,
        ips: &[IpAddr],
        cx: &PullCx<'_>,
    ) {
        if attempt.has_others {
            return;
        }
        let addrs =
            ips.iter().take(self.config.addresses_max).map(|ip| SocketAddr::new(*ip, attempt.url.port));
        let is_other =
            |addr: &SocketAddr| !attempt.tried.contains(addr) && !cx.is_own_url(&attempt.url, *addr, None);
        let others: VecDeque<SocketAddr> = addrs.filter(is_other).collect();
        attempt.has_others = !others.is_empty();
        link.rest = others;
    }

    fn queue(
        &mut self,
        attempt: Attempt,
        addr: SocketAddr,
        rest: VecDeque<SocketAddr>,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        let is_name = attempt.url.host.parse::<IpAddr>().is_err();
        let fresh_until = if is_name {
            now + self.config.lookup_interval.max(self.config.resolve_ttl)
        } else {
            Instant::from_nanos(u64::MAX)
        };
        cx.effects.push_back(Effect::AskDial(addr, fresh_until));
        State::Queued { attempt, addr, rest, answer: Answer { fresh_until, lookup: None } }
    }

    /// Its turn has come and its lookup has grown old, or the new one is not answered.
    pub(super) fn queued_due(
        &mut self,
        attempt: Attempt,
        addr: SocketAddr,
        rest: VecDeque<SocketAddr>,
        answer: Answer,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        if answer.lookup.is_some() {
            return self.fail(&attempt, None, PullFailure::Timeout(PullState::Resolving), cx, now);
        }
        if let Some(addrs) = cx.known_answer(&attempt.url.host, self.config.resolve_ttl, now) {
            return self.resolved(attempt, addrs, Some(addr), cx, now);
        }
        let lookup = Some((cx.resolve(&attempt.url.host), now + self.config.resolve_timeout));
        State::Queued { attempt, addr, rest, answer: Answer { lookup, ..answer } }
    }

    pub(super) fn dial(
        &mut self,
        mut attempt: Attempt,
        addr: SocketAddr,
        rest: VecDeque<SocketAddr>,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        attempt.tried.push(addr);
        let conn = cx.connect(addr);
        State::Connecting { attempt, conn, addr, rest, until: now + self.config.dial_timeout }
    }

    pub(super) fn connected(
        &mut self,
        attempt: Attempt,
        link: Link,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        if cx.is_own_url(&attempt.url, link.addr, Some(link.local)) {
            cx.abort(link.conn);
            return self.own_url(&attempt, cx, now);
        }
        cx.note_upstream(&attempt.url, link.addr, link.local);
        let mut dice: Dice = [0; 1528];
        self.dice.handshake(&mut dice);
        let mut out = Vec::new();
        let handshake = ClientHandshake::start(attempt.handshake_kind, &dice, &mut out);
        let handshake = Box::new(Progress::Pending(handshake));
        let until = now + self.config.handshake_timeout;
        let mut state = State::Handshaking { attempt, link, handshake, taken: 0, until };
        state.transmit(out, cx);
        state
    }

    /// Feeds the handshake; returns what belongs to the session.
    pub(super) fn handle_handshake_bytes<'i>(
        &mut self,
        input: &'i [u8],
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> &'i [u8] {
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

    /// After a failed handshake the next attempt tries the other kind.
    pub(super) fn handshake_failed(
        &mut self,
        attempt: Attempt,
        link: Link,
        failure: PullFailure,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        self.handshake_kind = match attempt.handshake_kind {
            HandshakeKind::Digest => HandshakeKind::Simple,
            HandshakeKind::Simple => HandshakeKind::Digest,
        };
        self.dial_failed(attempt, link.addr, link.rest, failure, cx, now)
    }

    pub(super) fn request(
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
            ids: cx.ids.clone(),
            limits: self.config.chunk_limits,
        };
        let mut out = Vec::new();
        let session = Box::new(ClientSession::start(&attempt.url, &options, taken, &mut out));
        let until = now + self.config.request_timeout;
        let pinger = Pinger::default();
        let request = Request { asked_at: None, pinger, until, lookup: None, looked_up_at: now };
        let mut state = State::Requesting { attempt, link, session, request };
        state.transmit(out, cx);
        state
    }

    pub(super) fn requesting_due(
        &mut self,
        attempt: Attempt,
        link: Link,
        session: Box<ClientSession>,
        request: Request,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        let is_dead = request.pinger.dead_at(&self.config).is_some_and(|at| at <= now);
        if is_dead || request.until <= now {
            cx.abort(link.conn);
            let failure =
                if is_dead { PullFailure::PingTimeout } else { PullFailure::Timeout(PullState::Requesting) };
            return self.next_address(attempt, link.addr, link.rest, failure, cx, now);
        }
        let is_ping_due = request.asked_at.is_some() && request.pinger.next_at(&self.config, None) <= now;
        let mut request = request;
        if request.lookup_at(&self.config).is_some_and(|at| at <= now) {
            let is_name = attempt.url.host.parse::<IpAddr>().is_err();
            request.lookup = is_name.then(|| cx.resolve(&attempt.url.host));
            request.looked_up_at = now;
        }
        let mut state = State::Requesting { attempt, link, session, request };
        if is_ping_due {
            state.ping(cx, now);
        }
        state
    }

    pub(super) fn await_media(
        &mut self,
        play: Play,
        replayed: bool,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        let mut state = State::AwaitingMedia {
            play,
            wait: Wait { since: now, replayed, is_ended: false, lookup: None, looked_up_at: now },
        };
        state.ping(cx, now);
        state
    }

    pub(super) fn first_frame(
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
        self.is_first = false;
        self.missing.note(track, Missing::No);
        if self.backoff.law() == BackoffLaw::ZlMediaKit {
            self.forgive();
        }
        let live = Live { flow: Flow::new(track, now), replayed, stable: false };
        State::Streaming { play, live }
    }

    /// Returns when waiting for media is over. An origin that answers pings is waited for, unless it has said that the play
    /// is over, the name has other addresses or another origin has sent us here: media may come to any of them. One that
    /// does not, for `first_media_timeout`.
    pub(super) fn give_up_at(&self, play: &Play, wait: &Wait) -> Instant {
        let is_only_one = !play.attempt.has_others && !play.attempt.is_sent;
        let impatient = !play.pinger.is_answered() || wait.is_ended || !is_only_one;
        let never = Instant::from_nanos(u64::MAX);
        let patience = if impatient { wait.since + self.config.first_media_timeout } else { never };
        patience.min(play.pinger.dead_at(&self.config).unwrap_or(never))
    }

    pub(super) fn awaiting_due(
        &mut self,
        play: Play,
        wait: Wait,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        let due = if play.pinger.dead_at(&self.config).is_some_and(|at| at <= now) {
            Due::Dead
        } else if self.give_up_at(&play, &wait) <= now {
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
                cx.abort(play.link.conn);
                self.fail(&play.attempt, Some(play.link.addr), PullFailure::PingTimeout, cx, now)
            }
            Due::Impatience => {
                cx.abort(play.link.conn);
                let failure = PullFailure::Timeout(PullState::AwaitingMedia);
                self.not_served(play.attempt, play.link, failure, cx, now)
            }
            Due::Ping => {
                let mut state = State::AwaitingMedia { play, wait };
                state.ping(cx, now);
                state
            }
            Due::Lookup => {
                let is_name = play.attempt.url.host.parse::<IpAddr>().is_err();
                let lookup = is_name.then(|| cx.resolve(&play.attempt.url.host));
                State::AwaitingMedia { play, wait: Wait { lookup, looked_up_at: now, ..wait } }
            }
            Due::Forgiveness | Due::Stall | Due::TrackStall(_) | Due::Nothing => {
                State::AwaitingMedia { play, wait }
            }
        }
    }

    pub(super) fn streaming_due(
        &mut self,
        mut play: Play,
        live: Live,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let silent_track = AvTrack::ALL
            .into_iter()
            .find(|track| is_due(live.flow.track_stalled_at(&self.config, &self.missing, *track)));
        let due = if is_due(play.pinger.dead_at(&self.config)) {
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
                play.attempt.redirects = 0;
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
    pub(super) fn track_stalled(
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
                self.begin(cx, now)
            }
            Missing::No | Missing::Gone => {
                cx.effects.push_back(Effect::TrackGone(track.medium()));
                State::Streaming { play, live }
            }
        }
    }

    pub(super) fn replay_or_fail(
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

    pub(super) fn replay(
        &mut self,
        mut play: Play,
        stable: bool,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        let mut out = Vec::new();
        play.session.replay(&mut out);
        let mut state = State::Replaying { play, stable, until: now + self.config.replay_timeout };
        state.transmit(out, cx);
        state
    }

    pub(super) fn redirected(
        &mut self,
        attempt: &Attempt,
        addr: SocketAddr,
        url: &str,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        // A server that names a tcUrl keeps the stream name; one that names a whole url may cut it as it likes.
        let play_path = self.wish.options.play_path.as_deref();
        let failure = match OriginUrl::parse_with(url, play_path).or_else(|_| OriginUrl::parse(url)) {
            Ok(_) if attempt.redirects >= self.config.redirects_max => PullFailure::TooManyRedirects,
            Ok(target) => return self.begin_at(target, attempt.redirects + 1, cx, now),
            Err(error) => PullFailure::RedirectUrl(error),
        };
        self.fail(attempt, Some(addr), failure, cx, now)
    }

    /// Nobody has answered at an address.
    pub(super) fn dial_failed(
        &mut self,
        attempt: Attempt,
        failed: SocketAddr,
        rest: VecDeque<SocketAddr>,
        failure: PullFailure,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        cx.effects.push_back(Effect::DialFailed(failed));
        self.next_address(attempt, failed, rest, failure, cx, now)
    }

    /// Somebody has answered at an address, and does not serve the stream.
    pub(super) fn not_served(
        &mut self,
        attempt: Attempt,
        link: Link,
        failure: PullFailure,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        cx.effects.push_back(Effect::NotServed(link.addr));
        self.next_address(attempt, link.addr, link.rest, failure, cx, now)
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
        let Some(addr) = rest.pop_front() else {
            return self.fail(&attempt, Some(failed), failure, cx, now);
        };
        self.last_failure = Some(failure);
        self.queue(attempt, addr, rest, cx, now)
    }

    /// An url that leads to ourselves is refused in the first attempt. Later a name may lead here by a stale answer
    /// or a reused address, which passes, and where an origin sends us is never the end.
    pub(super) fn own_url(&mut self, attempt: &Attempt, cx: &mut PullCx<'_>, now: Instant) -> State {
        if attempt.redirects == 0 && !self.is_first {
            cx.effects.push_back(Effect::LeadsBack);
        }
        if !self.is_first || attempt.redirects > 0 {
            return self.fail(attempt, None, PullFailure::OwnUrl, cx, now);
        }
        cx.effects.push_back(Effect::Loop);
        State::Stopped
    }

    pub(super) fn fail(
        &mut self,
        attempt: &Attempt,
        addr: Option<SocketAddr>,
        failure: PullFailure,
        cx: &mut PullCx<'_>,
        now: Instant,
    ) -> State {
        self.last_failure = Some(failure.clone());
        if let Some(addr) = addr {
            // Many may have lost it in the same instant: until it proves itself again the address budget counts.
            cx.effects.push_back(Effect::NotServed(addr));
        }
        cx.effects.push_back(Effect::AttemptFailed(failure));
        self.is_first = false;
        self.barren = self.barren.saturating_add(1);
        if self.barren == self.config.rebuild_after {
            cx.effects.push_back(Effect::Rebuild);
        }
        let cap = self.backoff_cap(cx.watched, now);
        match self.backoff.fail(&self.config, attempt.started, cap, self.dice.wait(), now) {
            Some(until) => State::BackingOff { started: attempt.started, addr, until },
            None => {
                cx.effects.push_back(Effect::GaveUp);
                State::Stopped
            }
        }
    }

    pub(super) fn backoff_cap(&self, watched: bool, now: Instant) -> Duration {
        let outage = self.outage_since.map_or(Duration::ZERO, |since| now.since(since));
        if watched || outage < self.config.backoff_idle_after {
            self.config.backoff_max
        } else {
            self.config.backoff_idle_max
        }
    }

    pub(super) fn interrupted(&mut self, cx: &mut PullCx<'_>, now: Instant) {
        self.outage_since = Some(now);
        cx.effects.push_back(Effect::Interrupted);
        if self.config.reset_when_replay {
            cx.effects.push_back(Effect::Rebuild);
        }
    }

    pub(super) fn forgive(&mut self) {
        self.backoff.forgive();
        self.last_failure = None;
    }
}

/// A replay needs a transport that is known to live, and some media since the last one: an origin that ends each
/// play after its first frame is redialled by the retry law instead.
const fn can_replay(play: &Play, live: &Live) -> bool {
    play.pinger.is_answered() && (live.stable || !live.replayed)
}

pub(super) fn law(options: &PullOptions, config: &PullConfig) -> BackoffLaw {
    let implied = if options.retry_count >= 0 { BackoffLaw::ZlMediaKit } else { BackoffLaw::Repull };
    options.law.or(config.law).unwrap_or(implied)
}

pub(super) fn policy(options: &PullOptions, config: &PullConfig) -> PullConfig {
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
