//! What a scenario wants beside the promises: its `[[expect]]` and the replies to its calls.
//!
//! ```text
//!  records ──► moments: when does it begin, when is it over ──► windows ──► Finding with the expectation's line
//! ```
//! What nobody ever judged, because the moment it counts from never came, is a finding itself: an expectation that
//! cannot fail proves nothing.

mod change;
mod frames;
mod replies;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use proxy_core::{
    io::{EventKind, PullState},
    time::{Duration, Instant},
};

use self::{change::Change, frames::Frames, replies::Replies};
use super::{
    CALLS, EVENT, Findings, Kinds, OUT, Oracle, PHASE, PLAYER, SAW, STEP, Scene, StreamNow, Strictness, TIME,
    TIMELINE, failures_of, scene::name_of,
};
use crate::{
    scenario::{
        PullNames,
        model::{Expect, HostRef, PullRef, Scenario, Wanted, When},
        moment_words,
    },
    trace::{ActorId, Moment, Phase, Record, What, words::kebab},
    world::moments::{BELOW_ALL, Happened, Moments},
};

/// Everything one scenario wants.
#[derive(Debug)]
pub(super) struct Expectations {
    moments: Moments,
    items: Vec<Item>,
    replies: Replies,
    names: Names,
    /// Events that have not begun, with their lines.
    to_begin: BTreeMap<u16, u32>,
    is_over: bool,
}

/// An expectation, and when it counts.
#[derive(Debug)]
struct Item {
    line: u32,
    window: Window,
    /// The moments it waits for, and how the file writes them.
    unresolved: Vec<(&'static str, String)>,
    judge: Judge,
}

/// What becomes of it.
#[derive(Debug)]
enum Judge {
    Frames(Frames),
    Change(Change),
    /// Judged elsewhere.
    Marks,
}

/// From when on until before when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    from: Option<Instant>,
    until: Option<Instant>,
}

impl Window {
    /// Returns whether a moment lies inside by more than a tolerance.
    fn holds_well(self, at: Instant, tolerance: Duration) -> bool {
        self.from.is_none_or(|from| from.as_nanos() == 0 || from + tolerance <= at)
            && self.until.is_none_or(|until| at + tolerance < until)
    }

    fn holds(self, at: Instant) -> bool {
        self.from.is_some_and(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }
}

/// Names of the scenario, for records and for people.
#[derive(Clone, Debug, Default)]
struct Names {
    pulls: PullNames,
    pull_names: Vec<String>,
    host_names: Vec<String>,
    /// When the safety phase ends.
    end: Instant,
}

impl Names {
    fn new(scenario: &Scenario) -> Self {
        Self {
            pulls: PullNames::new(scenario),
            pull_names: scenario.pulls.iter().map(|pull| pull.name.clone()).collect(),
            host_names: scenario.hosts.iter().map(|host| host.name.clone()).collect(),
            end: Instant::ZERO + scenario.run.time,
        }
    }

    /// Returns `app/stream` of every stream of a pull.
    fn streams_of(&self, pull: PullRef) -> impl Iterator<Item = &String> {
        self.pulls.streams_of(pull)
    }

    /// Returns a pull's stream of this name, where it is registered.
    fn stream<'s>(&self, pull: PullRef, name: &str, scene: &'s Scene) -> Option<&'s StreamNow> {
        let is_its = |proxy: &&ActorId| self.pulls.find(name, scene.host_of(**proxy)) == Some(pull);
        let proxies = scene.settings.keys().filter(is_its);
        proxies.into_iter().find_map(|proxy| scene.stream_named(*proxy, name)).map(|(_, stream)| stream)
    }

    fn host(&self, host: HostRef) -> &str {
        self.host_names.get(usize::from(host.0)).map_or("?", String::as_str)
    }

    fn pull(&self, pull: PullRef) -> &str {
        self.pull_names.get(usize::from(pull.0)).map_or("?", String::as_str)
    }
}

/// What judges see of a record.
struct Look<'a> {
    record: &'a Record,
    scene: &'a Scene,
    names: &'a Names,
    /// The stream the record is about, and the pull it is of: one from a proxy's own configuration is of none.
    pull: Option<(Option<PullRef>, String)>,
}

impl Expectations {
    pub(super) fn new(scenario: &Scenario, strictness: Strictness) -> Self {
        let names = Names::new(scenario);
        let whens: Vec<(usize, &When)> = scenario.expects.iter().enumerate().flat_map(whens).collect();
        let whens_below = whens.iter().map(|(id, when)| (*id, BELOW_ALL, *when));
        let moments = Moments::new(scenario, whens_below, names.end);
        let items = scenario.expects.iter().enumerate().map(|(index, expect)| {
            let words = |id: usize| {
                let when = whens.iter().find(|(known, _)| *known == id);
                when.map(|(_, when)| moment_words(scenario, when))
            };
            let unresolved = [(2 * index, "from"), (2 * index + 1, "until")];
            Item {
                line: expect.line,
                window: Window { from: None, until: None },
                unresolved: unresolved
                    .into_iter()
                    .filter_map(|(id, what)| Some((what, words(id)?)))
                    .collect(),
                judge: judge(expect, strictness),
            }
        });
        let items = items.collect();
        let replies = Replies::new(scenario, strictness);
        // What is searched for, or left of it, has no end of its own: there events may come to nothing.
        let events = scenario.events.iter().enumerate().filter(|_| !scenario.expects.is_empty());
        let to_begin =
            events.filter_map(|(index, event)| Some((u16::try_from(index).ok()?, event.line))).collect();
        let mut expectations = Self { moments, items, replies, names, to_begin, is_over: false };
        for (id, at) in expectations.moments.take_known() {
            expectations.resolve(id, at, &Scene::default());
        }
        expectations
    }

    /// A moment has its time.
    fn resolve(&mut self, id: usize, at: Instant, scene: &Scene) {
        let Some(item) = self.items.get_mut(id / 2) else { return };
        if id.is_multiple_of(2) {
            item.window.from = Some(at);
            item.unresolved.retain(|(what, _)| *what != "from");
        } else {
            item.window.until = Some(at);
            item.unresolved.retain(|(what, _)| *what != "until");
        }
        match &mut item.judge {
            Judge::Frames(frames) => frames.resolved(item.window, scene, &self.names),
            Judge::Change(change) => change.resolved(item.window, &self.names),
            Judge::Marks => {}
        }
    }

    /// Returns what others wait for that a record is.
    fn happened(look: &Look<'_>) -> Option<Happened> {
        let scene = look.scene;
        let what = &look.record.what;
        if let What::Phase(phase) = what {
            return match phase {
                Phase::Safety => Some(Happened::Zero),
                Phase::Calm => Some(Happened::End),
                Phase::Cleanup | Phase::End => None,
            };
        }
        if let What::Moment(moment) = what {
            let host = scene.host_of(look.record.actor)?;
            return match moment {
                Moment::Listening => Some(Happened::Listening(host)),
                Moment::Serving => Some(Happened::Serving(host)),
                Moment::Watching => Some(Happened::Watching(host)),
                Moment::Silent => None,
            };
        }
        if let What::Began { event } = what {
            Some(Happened::Began(usize::from(*event)))
        } else if let What::Lifted { event } = what {
            Some(Happened::Cleared(usize::from(*event)))
        } else if let What::Answered { .. } = what {
            let event = scene.answered.as_ref()?.call.event?;
            Some(Happened::Replied(usize::from(event)))
        } else if let What::Event(event) = what
            && let EventKind::PullEntered { state, .. } = &event.kind
        {
            look.pull.as_ref().and_then(|(pull, _)| *pull).map(|pull| Happened::Entered(pull, *state))
        } else {
            None
        }
    }

    /// Returns the stream a record is about and its pull, where that matters.
    fn pull_of(&self, record: &Record, scene: &Scene) -> Option<(Option<PullRef>, String)> {
        let What::Event(event) = &record.what else { return None };
        if let EventKind::PullStepped { state, next, .. } = &event.kind
            && state == next
        {
            return None;
        }
        let key = if let EventKind::Registered { key } | EventKind::Unregistered { key, .. } = &event.kind {
            key
        } else {
            &scene.streams.get(&(record.actor, event.stream?.0))?.key
        };
        let name = name_of(key);
        Some((self.names.pulls.find(&name, scene.host_of(record.actor)), name))
    }
}

impl Oracle for Expectations {
    fn kinds(&self) -> Kinds {
        PHASE | TIMELINE | CALLS | OUT | EVENT | STEP | PLAYER | SAW | TIME
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        if let What::Phase(Phase::Cleanup) = &record.what {
            self.is_over = true;
        }
        if self.is_over {
            return;
        }
        if let What::Event(event) = &record.what
            && let EventKind::PullStepped { state, next, .. } = &event.kind
            && state == next
        {
            // Nothing of a scenario's own is about steps that lead nowhere.
            return;
        }
        let pull = self.pull_of(record, scene);
        let look = Look { record, scene, names: &self.names, pull };
        for item in &mut self.items {
            match &mut item.judge {
                Judge::Frames(frames) => frames.on_record(item.line, item.window, &look, findings),
                Judge::Change(change) => change.on_record(item.line, item.window, &look, findings),
                Judge::Marks => {}
            }
        }
        self.replies.on_record(&look, findings);
        if let What::Began { event } = &record.what {
            self.to_begin.remove(event);
        }
        if let Some(happened) = Self::happened(&look) {
            for (id, at) in self.moments.on(happened, record.at) {
                self.resolve(id, at, scene);
            }
        }
    }

    fn on_time(&mut self, scene: &Scene, now: Instant, findings: &mut Findings) {
        if self.is_over {
            return;
        }
        for item in &mut self.items {
            match &mut item.judge {
                Judge::Frames(frames) => {
                    frames.on_time(item.line, item.window, scene, &self.names, now, findings)
                }
                Judge::Change(change) => {
                    change.on_time(item.line, item.window, scene, &self.names, now, findings)
                }
                Judge::Marks => {}
            }
        }
        self.replies.on_time(scene, now, findings);
    }

    fn is_well(&self, _: &Scene, _: Instant) -> bool {
        let is_settled = |item: &Item| match &item.judge {
            Judge::Frames(frames) => frames.is_settled(),
            Judge::Change(change) => change.is_settled(),
            Judge::Marks => true,
        };
        self.items.iter().all(is_settled) && self.replies.is_settled()
    }

    fn on_calm_over(&mut self, scene: &Scene, _: Instant, findings: &mut Findings) {
        // What is still to come does not come any more.
        let never = Instant::from_nanos(u64::MAX);
        self.on_time(scene, never, findings);
        for item in &mut self.items {
            if !item.unresolved.is_empty() {
                let what: Vec<String> =
                    item.unresolved.iter().map(|(what, words)| format!("{what}, {words},")).collect();
                let what = what.join(" and ");
                let text = format!(
                    "the moment it counts {what} never came, so it was not judged: an expectation that cannot fail proves \
                     nothing"
                );
                findings.missed(item.judge.name(), ActorId::WORLD, item.line, text);
                continue;
            }
            match &mut item.judge {
                Judge::Frames(frames) => frames.on_over(item.line, &self.names, findings),
                Judge::Change(change) => change.on_over(item.line, item.window, &self.names, findings),
                Judge::Marks => {}
            }
        }
        self.replies.on_over(scene, findings);
        for (event, line) in std::mem::take(&mut self.to_begin) {
            if !self.replies.wants(event) {
                let text = "it never began, as its moment never came before the end: what is to happen and does not proves nothing";
                findings.missed("expect: begins", ActorId::WORLD, line, text.to_owned());
            }
        }
        self.is_over = true;
    }
}

impl Judge {
    fn name(&self) -> &'static str {
        match self {
            Self::Frames(frames) => frames.name(),
            Self::Change(change) => change.name(),
            Self::Marks => "expect: marks",
        }
    }
}

/// Returns the moments of an expectation: its beginning by an even number, its end by the odd one after it.
fn whens((index, expect): (usize, &Expect)) -> Vec<(usize, &When)> {
    let (from, until) = match &expect.what {
        Wanted::FramesAt { after, until, .. } => (Some(after), until.as_ref()),
        Wanted::Never { from, until, .. } | Wanted::Dials { from, until, .. } => (Some(from), Some(until)),
        Wanted::Told { after, .. }
        | Wanted::Entered { after, .. }
        | Wanted::Removed { after, .. }
        | Wanted::NoticedBy { after, .. }
        | Wanted::RecoveredBy { after, .. } => (Some(after), None),
        Wanted::Marks { .. } => (None, None),
    };
    let from = from.map(|when| (2 * index, when));
    let until = until.map(|when| (2 * index + 1, when));
    from.into_iter().chain(until).collect()
}

fn judge(expect: &Expect, strictness: Strictness) -> Judge {
    match &expect.what {
        Wanted::FramesAt { players, at_most, max_gap, .. } => {
            let at_most = at_most.map(|bound| strictness.of(bound));
            Judge::Frames(Frames::seen(players.clone(), at_most, *max_gap))
        }
        Wanted::Told { players, status, at_most, .. } => {
            let at_most = at_most.map(|bound| strictness.of(bound));
            Judge::Frames(Frames::told(players.clone(), at_most, status.clone()))
        }
        Wanted::Marks { .. } => Judge::Marks,
        Wanted::Never { .. }
        | Wanted::Dials { .. }
        | Wanted::Entered { .. }
        | Wanted::Removed { .. }
        | Wanted::NoticedBy { .. }
        | Wanted::RecoveredBy { .. } => Judge::Change(Change::new(expect.what.clone(), strictness)),
    }
}

/// A time within which something is wanted, for people.
fn within(bound: Option<Duration>) -> String {
    match bound {
        Some(bound) => format!("within {}", super::secs(bound)),
        None => "before the safety phase ends".to_owned(),
    }
}

/// The state of a stream, for people.
fn state_of(scene: &Scene, name: &str) -> String {
    let found = scene.settings.keys().find_map(|proxy| scene.stream_named(*proxy, name));
    match found {
        Some((_, stream)) if stream.state == PullState::BackingOff => {
            format!("{}, {}", kebab(&stream.state), failures_of(stream))
        }
        Some((_, stream)) => format!("{} since {}", kebab(&stream.state), stream.entered_at),
        None => "not registered".to_owned(),
    }
}
