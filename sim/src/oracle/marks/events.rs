//! Marks of what the core tells: of streams that come and go, of their players.

use proxy_core::{
    io::{EventKind, PlayerEnd, PullEventKind as E, PullFailure, PullState as S, StreamEnd},
    relay::EpochCause,
    time::{Duration, Instant},
    url::StreamKey,
};

use super::Marks;
use crate::{
    oracle::{Scene, StreamNow},
    trace::Record,
};

impl Marks {
    pub(super) fn on_event(&mut self, record: &Record, id: Option<u64>, kind: &EventKind, scene: &Scene) {
        let (proxy, at) = (record.actor, record.at);
        let stream = id.and_then(|id| scene.streams.get(&(proxy, id)));
        match kind {
            EventKind::PullStepped { state, event, next } => {
                // It comes with every frame.
                if *event == E::Frame && *state == S::Streaming {
                    return;
                }
                let Some((id, stream)) = id.zip(stream) else { return };
                self.on_step(proxy, id, (*state, *event, *next), stream, scene, at);
            }
            EventKind::PullEntered { state, failure, next_attempt, .. } => {
                // What a stream waited for when it was stopped is what is asked about when it is gone.
                if *state != S::Stopped {
                    self.on_wait(record, id, *next_attempt);
                }
                if let Some(failure) = failure {
                    self.on_failure(failure);
                }
            }
            EventKind::Unregistered { key, reason } => {
                self.on_freed(record, id, key);
                self.on_end_of_stream(*reason);
            }
            EventKind::Rebuilt => self.reach("rebuild"),
            EventKind::TrackGone(_) => self.reach("track-accepted-as-gone"),
            EventKind::NoneReader => self.reach("none-reader"),
            EventKind::PlayerParked { .. } => self.reach("player-parked"),
            EventKind::PlayerSeated { conn } => {
                if stream.is_some_and(|stream| is_gap(stream, at)) {
                    self.reach("player-joins-in-gap");
                }
                let since = scene.conns.get(&(proxy, conn.0)).map(|conn| conn.since);
                // Who need not wait sits as soon as it has asked.
                if since.is_some_and(|since| at.since(since) > Duration::from_millis(500)) {
                    self.reach("parked-then-seated");
                }
            }
            EventKind::PlayerShed { .. } => self.reach("player-shed"),
            EventKind::PlayerLeft { reason, .. } => {
                let is_own_wish = matches!(reason, PlayerEnd::Left(_) | PlayerEnd::Stopped);
                if is_own_wish && stream.is_some_and(|stream| is_gap(stream, at)) {
                    self.reach("player-leaves-in-gap");
                }
                match reason {
                    PlayerEnd::NotFound => self.reach("player-not-found"),
                    PlayerEnd::Stuck => self.reach("player-stuck"),
                    PlayerEnd::HoldExpired => self.reach("hold-expired"),
                    PlayerEnd::Left(_)
                    | PlayerEnd::Stopped
                    | PlayerEnd::Session(_)
                    | PlayerEnd::Handshake(_)
                    | PlayerEnd::Idle
                    | PlayerEnd::Denied
                    | PlayerEnd::Ring
                    | PlayerEnd::Full
                    | PlayerEnd::StreamEnded(_)
                    | PlayerEnd::Kicked => {}
                }
            }
            EventKind::Epoch { cause, .. } => match cause {
                EpochCause::JumpBack | EpochCause::JumpForward => self.reach("epoch-by-jump"),
                EpochCause::HeaderChanged => self.reach("headers-changed"),
                EpochCause::Play => {}
            },
            EventKind::Registered { key } => self.on_taken(record, key),
            EventKind::OriginStatus(_) | EventKind::PlayerConnected { .. } => {}
        }
    }

    fn on_end_of_stream(&mut self, reason: StreamEnd) {
        match reason {
            StreamEnd::RetriesUsedUp => self.reach("retries-used-up"),
            StreamEnd::FirstAttemptFailed => self.reach("removed-at-first-failure"),
            StreamEnd::NoneReader => self.reach("auto-closed"),
            StreamEnd::Deleted | StreamEnd::Closed | StreamEnd::Loop | StreamEnd::Shutdown => {}
        }
    }

    /// Remembers when a stream that waits is to try again.
    fn on_wait(&mut self, record: &Record, id: Option<u64>, next_attempt: Option<Instant>) {
        let Some(id) = id else { return };
        match next_attempt {
            Some(at) => self.waits.insert((record.actor, id), at),
            None => self.waits.remove(&(record.actor, id)),
        };
    }

    /// A key is free: the time its stream waited for, if it did, is still to come.
    fn on_freed(&mut self, record: &Record, id: Option<u64>, key: &StreamKey) {
        let wait = id.and_then(|id| self.waits.remove(&(record.actor, id)));
        self.freed.insert((record.actor, key.clone()), (record.at, wait.filter(|at| *at > record.at)));
    }

    /// A key is taken again.
    fn on_taken(&mut self, record: &Record, key: &StreamKey) {
        let Some((freed, wait)) = self.freed.remove(&(record.actor, key.clone())) else { return };
        if freed == record.at {
            self.reach("key-taken-again-at-once");
        }
        self.orphans.extend(wait.filter(|at| *at > record.at).map(|at| (at, record.actor, key.clone())));
    }

    fn on_failure(&mut self, failure: &PullFailure) {
        match failure {
            PullFailure::Resolve(_) | PullFailure::Timeout(S::Resolving) => self.reach("name-unresolved"),
            PullFailure::PingTimeout => self.reach("redial-after-ping-timeout"),
            PullFailure::AddressMoved => self.reach("address-moved-noticed"),
            PullFailure::Connect(_)
            | PullFailure::Handshake(_)
            | PullFailure::Session(_)
            | PullFailure::Refused(_)
            | PullFailure::Timeout(_)
            | PullFailure::Stalled
            | PullFailure::TrackStalled(_)
            | PullFailure::Ended(_)
            | PullFailure::Lost(_)
            | PullFailure::TooManyRedirects
            | PullFailure::RedirectUrl(_)
            | PullFailure::OwnUrl
            | PullFailure::Asked => {}
        }
    }
}

/// Frames have stopped arriving, whether it has been noticed or not.
fn is_gap(stream: &StreamNow, at: Instant) -> bool {
    let silence = stream.arrived_at.map(|arrived| at.since(arrived));
    stream.outage_since.is_some() || silence.is_some_and(|silence| silence > Duration::from_millis(500))
}
