//! Pulls: each lent what it reaches for one call, and its effects carried to whom they concern.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::net::SocketAddr;

use super::{IDS_MAX, Proxy, identity};
use crate::{
    io::{ConnId, EventKind, PullFailure, PullState, Reply, StreamEnd, StreamId, Wakeup},
    relay::Relay,
    stream::{
        budget::{Turn, Urgency},
        player::PlayerEvent,
        pull::{self, Pull, PullEvent},
        routes::PullCx,
    },
};

impl Proxy {
    pub(super) fn step_pull(&mut self, id: StreamId, event: PullEvent) {
        let now = self.now;
        self.with_pull(id, |pull, cx| pull.step(event, cx, now));
    }

    pub(super) fn with_pull(&mut self, id: StreamId, act: impl FnOnce(&mut Pull, &mut PullCx<'_>)) {
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
                pull::Effect::Entered { state, failure, failures } => {
                    self.entered(id, state, failure, failures);
                }
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
                pull::Effect::LeadsBack => {
                    if let Some(stream) = self.registry.get_mut(id) {
                        stream.unwish(&self.config);
                    }
                }
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

    fn entered(&mut self, id: StreamId, state: PullState, failure: Option<PullFailure>, failures: u32) {
        if state != PullState::Queued {
            self.budget.forget(id);
        }
        let Some(stream) = self.registry.get_mut(id) else { return };
        let next_attempt = stream.pull.next_attempt().filter(|_| state == stream.pull.state());
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

    pub(super) fn urgency(&self, id: StreamId) -> Urgency {
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

    pub(super) fn run_budget(&mut self) {
        if !self.budget.is_wanted() && !self.is_dial_due {
            return;
        }
        while let Some(turn) = self.budget.poll_turn(self.now) {
            match turn {
                Turn::Dial(id) => self.step_pull(id, PullEvent::Granted),
                Turn::LookUp(id) => self.step_pull(id, PullEvent::Deadline),
            }
            // Where the answer is known already, and all it leads to has been tried, the attempt has failed and may be due again.
            self.run_due();
        }
        let deadline = self.budget.deadline(self.now);
        self.is_dial_due = deadline.is_some();
        self.deadlines.set(Wakeup::Dial, deadline);
    }

    /// Stops a pull in whatever state, answers who waits, says goodbye to players, frees the key.
    pub(super) fn remove(&mut self, id: StreamId, end: StreamEnd, to_waiters: &Reply) {
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
}
