//! Named marks: predicates over the records of a run, so that a scenario can say what it must have reached and two
//! files can be told apart by what they reach.

mod events;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use proxy_core::{io::PullState as S, time::Instant, url::StreamKey};
use serde_json::Value;

use super::{Findings, MARKS_WANTED, Scene};
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
    /// When streams that wait are to try again.
    waits: BTreeMap<(ActorId, u64), Instant>,
    /// Keys that are free again: since when, and what the stream that had it waited for.
    freed: BTreeMap<(ActorId, StreamKey), (Instant, Option<Instant>)>,
    /// Times that streams waited for that are gone, and whose keys others have.
    orphans: Vec<(Instant, ActorId, StreamKey)>,
    /// The add answered last: when, where, about what.
    answered: Option<(Instant, ActorId, Option<String>)>,
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
        self.on_time(record.at, scene);
        if let What::Event(event) = &record.what {
            let id = event.stream.map(|stream| stream.0);
            self.on_event(record, id, &event.kind, scene);
        } else if let What::In(inward) = &record.what {
            self.on_in(record, inward, scene);
        } else if let What::Arrived { conn, .. } = &record.what {
            self.arrived = Some((record.actor, *conn, record.at));
            self.part = None;
        } else if let What::Answered { body, .. } = &record.what {
            self.on_answered(record, body, scene);
        } else if let What::Moment(Moment::Listening) = &record.what
            && scene.settings.contains_key(&record.actor)
            && !self.lives.insert(record.actor)
        {
            self.reach("restarted");
        } else if let What::Began { .. } = &record.what
            && scene.proxies.values().any(|proxy| !proxy.frozen.is_empty())
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
        } else if let Inward::Resolved { .. } = inward
            // Nobody is there who could have asked.
            && !scene.streams.keys().any(|(of, _)| *of == proxy)
        {
            self.reach("late-answer-for-dead-life");
        } else if let Inward::Received { conn, len } = inward
            && *len >= PART_MIN
        {
            // Frames of the same read are told before it.
            let is_whole = self.arrived == Some((proxy, *conn, record.at));
            self.part = (!is_whole).then_some((proxy, *conn));
        }
    }

    /// A time has come that a stream waited for which is gone, while another one has its key.
    fn on_time(&mut self, now: Instant, scene: &Scene) {
        if self.orphans.is_empty() {
            return;
        }
        let due: Vec<_> = self.orphans.extract_if(.., |(at, ..)| *at <= now).collect();
        if due.iter().any(|(_, proxy, key)| scene.keys.contains_key(&(*proxy, key.clone()))) {
            self.reach("timer-of-a-dead-life");
        }
    }

    fn on_answered(&mut self, record: &Record, body: &str, scene: &Scene) {
        let Some(call) = scene.answered.as_ref().filter(|call| call.call.name == "addStreamProxy") else {
            return;
        };
        let answered = Some((record.at, record.actor, call.call.stream.clone()));
        if self.answered == answered && answered.as_ref().is_some_and(|(.., stream)| stream.is_some()) {
            self.reach("adds-answered-together");
        }
        self.answered = answered;
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
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{PlayOutput, PullEventKind as E, StreamEnd};

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
