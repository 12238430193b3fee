//! Named marks: predicates over the records of a run, so that a scenario can say what it must have reached and two
//! files can be told apart by what they reach.

use std::collections::BTreeSet;

use proxy_core::{
    io::{EventKind, PlayerEnd, PullEventKind as E, PullFailure, PullState as S, StreamEnd},
    time::{Duration, Instant},
};
use serde_json::Value;

use super::{Entered, Findings, MARKS_WANTED, Scene, StreamNow};
use crate::{
    scenario::{
        MARKS,
        model::{Scenario, Wanted},
    },
    trace::{ActorId, Inward, Moment, Phase, Record, What},
};

/// Bytes without a whole frame that are more than a control message.
const PART_MIN: u32 = 100;

/// The marks reached: a bit each.
#[derive(Debug, Default)]
pub(super) struct Marks {
    bits: u64,
    /// Marks that the scenario wants, with their lines.
    wanted: Vec<(u32, String)>,
    queued: BTreeSet<(ActorId, u64)>,
    connected: Option<(Instant, ActorId, u64)>,
    /// The connection whose last bytes were a part of a frame.
    part: Option<(ActorId, u64)>,
    /// Where the last whole frame arrived, and when.
    arrived: Option<(ActorId, u64, Instant)>,
    lives: BTreeSet<ActorId>,
}

impl Marks {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let wanted = scenario.expects.iter().filter_map(|expect| match &expect.what {
            Wanted::Marks { marks } => Some(marks.iter().map(move |mark| (expect.line, mark.clone()))),
            Wanted::FramesAt { .. }
            | Wanted::Never { .. }
            | Wanted::Told { .. }
            | Wanted::Dials { .. }
            | Wanted::Entered { .. }
            | Wanted::Removed { .. }
            | Wanted::NoticedBy { .. }
            | Wanted::RecoveredBy { .. } => None,
        });
        Self { wanted: wanted.flatten().collect(), ..Self::default() }
    }

    /// Returns the names of those reached.
    pub(super) fn reached(&self) -> Vec<&'static str> {
        let is_reached = |(index, _): &(usize, &(&'static str, &str))| self.bits >> index & 1 == 1;
        MARKS.iter().enumerate().filter(is_reached).map(|(_, (name, _))| *name).collect()
    }

    /// Notes those the scenario wants and the run has not reached.
    pub(super) fn take_unreached(&mut self, findings: &mut Findings) {
        let reached = self.reached();
        for (line, mark) in std::mem::take(&mut self.wanted) {
            if !reached.contains(&mark.as_str()) {
                let text = format!("mark {mark} was not reached; reached were {}", reached.join(", "));
                findings.missed(MARKS_WANTED, ActorId::WORLD, line, text);
            }
        }
    }

    pub(super) fn on_record(&mut self, record: &Record, scene: &Scene) {
        // What deleting everything reaches is nobody's merit.
        if scene.phase > Some(Phase::Calm) {
            return;
        }
        if let What::Event(event) = &record.what {
            let id = event.stream.map(|stream| stream.0);
            self.on_event(record, id, &event.kind, scene);
        } else if let What::In(inward) = &record.what {
            self.on_in(record, inward, scene);
        } else if let What::Arrived { conn, .. } = &record.what {
            self.arrived = Some((record.actor, *conn, record.at));
            self.part = None;
        } else if let What::Answered { body, .. } = &record.what {
            self.on_answered(body, scene);
        } else if let What::Moment(Moment::Listening) = &record.what
            && scene.settings.contains_key(&record.actor)
            && !self.lives.insert(record.actor)
        {
            self.reach("restarted");
        } else if let What::Began { .. } = &record.what
            && scene.proxies.values().any(|proxy| proxy.frozen > 0)
        {
            self.reach("frozen");
        }
    }

    fn reach(&mut self, mark: &str) {
        let index = MARKS.iter().position(|(name, _)| *name == mark);
        debug_assert!(index.is_some(), "{mark} is in the table");
        self.bits |= index.map_or(0, |index| 1 << index);
    }

    fn on_in(&mut self, record: &Record, inward: &Inward, scene: &Scene) {
        let proxy = record.actor;
        if let Inward::Connected { conn, failed: None } = inward {
            // The scene knows what has not been given up.
            if !scene.conns.contains_key(&(proxy, *conn)) {
                self.reach("late-answer-for-dead-life");
            }
            let stream = scene.conns.get(&(proxy, *conn)).and_then(|conn| conn.stream);
            self.connected = stream.map(|stream| (record.at, proxy, stream));
        } else if let Inward::Received { conn, len } = inward
            && *len >= PART_MIN
        {
            // Frames of the same read are told before it.
            let is_whole = self.arrived == Some((proxy, *conn, record.at));
            self.part = (!is_whole).then_some((proxy, *conn));
        }
    }

    fn on_answered(&mut self, body: &str, scene: &Scene) {
        let Some(call) = scene.answered.as_ref().filter(|call| call.call.name == "addStreamProxy") else {
            return;
        };
        match call.was {
            Some(S::BackingOff) => self.reach("add-during-backoff"),
            Some(S::Streaming) => self.reach("add-while-streaming"),
            Some(
                S::Resolving
                | S::Queued
                | S::Connecting
                | S::Handshaking
                | S::Requesting
                | S::AwaitingMedia
                | S::Replaying
                | S::Stopped,
            )
            | None => {}
        }
        if body.contains("superseded")
            && serde_json::from_str::<Value>(body).is_ok_and(|body| body["msg"] == "superseded")
        {
            self.reach("superseded-add");
        }
    }

    fn on_event(&mut self, record: &Record, id: Option<u64>, kind: &EventKind, scene: &Scene) {
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
            EventKind::PullEntered { failure, .. } => {
                if let Some(failure) = failure {
                    self.on_failure(failure);
                }
            }
            EventKind::Unregistered { reason, .. } => match reason {
                StreamEnd::RetriesUsedUp => self.reach("retries-used-up"),
                StreamEnd::FirstAttemptFailed => self.reach("removed-at-first-failure"),
                StreamEnd::NoneReader => self.reach("auto-closed"),
                StreamEnd::Deleted | StreamEnd::Closed | StreamEnd::Loop | StreamEnd::Shutdown => {}
            },
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
            EventKind::Epoch { cause, .. } => {
                use proxy_core::relay::EpochCause;
                match cause {
                    EpochCause::JumpBack | EpochCause::JumpForward => self.reach("epoch-by-jump"),
                    EpochCause::Play | EpochCause::HeaderChanged => {}
                }
            }
            EventKind::Registered { .. } | EventKind::OriginStatus(_) | EventKind::PlayerConnected { .. } => {
            }
        }
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

    fn on_step(
        &mut self,
        proxy: ActorId,
        id: u64,
        step: (S, E, S),
        stream: &StreamNow,
        scene: &Scene,
        at: Instant,
    ) {
        let (state, stimulus, next) = step;
        if next == S::Queued && state != S::Queued {
            self.queued.insert((proxy, id));
            if self.queued.len() >= 8 {
                self.reach("storm-queued");
            }
        } else if next != S::Queued {
            self.queued.remove(&(proxy, id));
        }
        if next == S::Queued
            && matches!(state, S::Connecting | S::Handshaking | S::Requesting | S::AwaitingMedia)
            && !matches!(stimulus, E::Restart | E::Redirected)
        {
            self.reach("next-address");
        }
        match (state, stimulus) {
            (S::Connecting, E::Stop) => self.reach("del-during-dial"),
            (S::BackingOff, E::Stop) if stream.attempts > 0 => self.reach("del-during-backoff"),
            (S::Handshaking, E::Stop) if self.connected == Some((at, proxy, id)) => {
                self.reach("close-as-dial-succeeds")
            }
            (S::Connecting, E::Deadline) => self.reach("dial-timed-out"),
            (S::Connecting, E::ConnectFailed) => self.reach("dial-refused"),
            (S::Handshaking, E::ProtocolFailed | E::Closed | E::Deadline) => self.reach("handshake-failed"),
            (S::Requesting, E::Refused) => self.reach("request-refused"),
            (S::Requesting, E::Pong) => self.reach("origin-holds-request"),
            (S::Requesting, E::Deadline) if next != S::Requesting => self.reach("request-unanswered"),
            (S::AwaitingMedia, E::Deadline) if at.since(stream.entered_at) >= Duration::from_secs(1) => {
                self.reach("silent-play");
            }
            (S::AwaitingMedia, E::Frame) if next == S::Streaming => self.on_first_frame(stream),
            (S::Streaming, E::Ended) => self.reach("ended-on-connection"),
            (S::Streaming, E::Deadline) => self.on_streaming_due(next, stream, scene, proxy, at),
            (S::Streaming, E::Closed) => self.on_lost(scene),
            (S::Replaying, E::Closed | E::Deadline | E::Refused | E::ProtocolFailed) => {
                self.reach("replay-fails")
            }
            (S::BackingOff, E::Wake) if next != S::BackingOff && stream.attempts > 1 => {
                let asked = scene.inward.is_some_and(|inward| matches!(inward.what, Inward::Request { .. }));
                if !asked {
                    self.reach("woken-by-sibling");
                }
            }
            (_, E::Redirected) if next != S::BackingOff => self.reach("redirect-followed"),
            (
                S::Resolving
                | S::Queued
                | S::Connecting
                | S::Handshaking
                | S::Requesting
                | S::AwaitingMedia
                | S::Streaming
                | S::Replaying
                | S::BackingOff
                | S::Stopped,
                E::Wake
                | E::Watched
                | E::Resolved
                | E::ResolveFailed
                | E::Granted
                | E::Connected
                | E::ConnectFailed
                | E::HandshakeDone
                | E::ProtocolFailed
                | E::Asked
                | E::Playing
                | E::Frame
                | E::Pong
                | E::Ended
                | E::Refused
                | E::Redirected
                | E::Closed
                | E::Deadline
                | E::Restart
                | E::Stop,
            ) => {}
        }
    }

    fn on_first_frame(&mut self, stream: &StreamNow) {
        if stream.replayed {
            self.reach("replay-succeeds");
        } else if stream.attempts == 1 {
            self.reach("first-try");
        }
    }

    fn on_streaming_due(&mut self, next: S, stream: &StreamNow, scene: &Scene, proxy: ActorId, at: Instant) {
        let silence = at.since(stream.arrived_at.unwrap_or(at));
        if next != S::Streaming {
            self.reach(if silence >= stream.policy.stall { "stalled" } else { "track-redialled" });
        } else if stream.failures > 0 && at == stream.entered_at + scene.config(proxy).pull.stable_after {
            self.reach("forgiven");
        }
    }

    fn on_lost(&mut self, scene: &Scene) {
        self.reach("connection-lost");
        if let Some(Entered { proxy, what: Inward::Closed { conn, .. }, .. }) = scene.inward
            && self.part == Some((proxy, conn))
        {
            self.reach("frame-split-over-re-pull");
        }
    }
}

/// Frames have stopped arriving, whether it has been noticed or not.
fn is_gap(stream: &StreamNow, at: Instant) -> bool {
    let silence = stream.arrived_at.map(|arrived| at.since(arrived));
    stream.outage_since.is_some() || silence.is_some_and(|silence| silence > Duration::from_millis(500))
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{PlayOutput, StreamEnd};

    use super::*;
    use crate::{
        oracle::{quiet::Quiet, story::Story},
        scenario::model::Expect,
    };

    fn check(tell: impl FnOnce(&mut Story)) -> Vec<&'static str> {
        let mut marks = Vec::new();
        Story::told::<Quiet>(|story| {
            tell(story);
            marks = story.oracles().marks();
        });
        marks
    }

    #[test]
    fn names_are_unique_and_fit_the_bits() {
        let names: BTreeSet<&str> = MARKS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), MARKS.len());
        assert!(MARKS.len() <= 64);
    }

    #[test]
    fn a_life_leaves_its_marks() {
        let marks = check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            story.at(400).input(Inward::Received { conn: 2, len: 9_000 });
            story.loses(1, 2, 1, Instant::from_millis(400));
            story.player(0, PlayOutput::Rtmp, "live/a", 1);
            story.seats(1, 1);
            story.dials(1, 4);
            story.input(Inward::Connected { conn: 4, failed: None });
            story.step(1, S::Connecting, E::Connected, S::Handshaking);
            story.step(1, S::Handshaking, E::Stop, S::Stopped);
            story.removes(1, "live/a", StreamEnd::Deleted);
        });
        assert_eq!(
            marks,
            [
                "first-try",
                "close-as-dial-succeeds",
                "connection-lost",
                "frame-split-over-re-pull",
                "player-joins-in-gap"
            ]
        );
    }

    #[test]
    fn a_replay_is_told_from_a_redial() {
        let marks = check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            story.at(5_000).step(1, S::Streaming, E::Deadline, S::Replaying);
            story.step(1, S::Replaying, E::Playing, S::AwaitingMedia);
            story.step(1, S::AwaitingMedia, E::Frame, S::Streaming);
        });
        assert_eq!(marks, ["first-try", "stalled", "replay-succeeds"]);
    }

    #[test]
    fn a_mark_that_is_wanted_and_not_reached_is_found() {
        let what = Wanted::Marks { marks: vec!["first-try".to_owned(), "rebuild".to_owned()] };
        let scenario = crate::oracle::story::expecting(Vec::new(), vec![Expect { line: 7, what }]);
        let texts = Story::told_to(&scenario, Box::<Quiet>::default(), |story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            story.oracles().on_end(&crate::oracle::LeftOver::default());
        });
        assert_eq!(texts, ["expect: marks: mark rebuild was not reached; reached were first-try"]);
    }
}
