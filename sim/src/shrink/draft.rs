//! A file on its way to a smaller one: what in it hangs together, and what goes with what.

use std::collections::BTreeSet;

use proxy_core::time::{Duration, Instant};

use super::{
    text::{self, Edit, Kind, Part, Step},
    trial::{Case, Trial},
};
use crate::{
    oracle::Finding,
    scenario::{
        model::{Act, Anchor, Event, Expect, Fault, HostRef, PullRef, Scenario, Wanted, When},
        unit::TIME,
    },
    trace::What,
    world::{Keep, World},
};

/// A millisecond: what a moment that was something else is rounded up to when it becomes a time.
const MILLI: u64 = 1_000_000;

/// A file that fails, read.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) case: Case,
    pub(super) scenario: Scenario,
    pub(super) parts: Vec<Part>,
    /// When things happened in its run.
    times: Option<Times>,
}

/// When things happened in a run, by the number of their event.
#[derive(Clone, Debug)]
pub(super) struct Times {
    began: Vec<Option<Instant>>,
    cleared: Vec<Option<Instant>>,
    replied: Vec<Option<Instant>>,
    /// When the promise broke.
    pub(super) failed: Instant,
}

/// What is to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) events: BTreeSet<usize>,
    pub(super) expects: BTreeSet<usize>,
    pub(super) hosts: BTreeSet<HostRef>,
    pub(super) pulls: BTreeSet<PullRef>,
}

impl Draft {
    /// Reads a case; nothing if it is no scenario.
    pub(super) fn new(case: Case, trial: &Trial) -> Option<Self> {
        let scenario = trial.read(&case)?;
        let parts = text::parts(&case.text);
        Some(Self { case, scenario, parts, times: None })
    }

    /// Returns when things happened, running it once more if that is not known.
    pub(super) fn times(&mut self, trial: &mut Trial, seed: u64) -> &Times {
        if self.times.is_none() {
            trial.runs += 1;
            self.times = Some(Times::of(&self.scenario, seed));
        }
        self.times.get_or_insert_with(|| Times::of(&self.scenario, seed))
    }

    /// Returns the part that is an event, by its number.
    pub(super) fn event(&self, index: usize) -> Option<&Part> {
        self.at(&["timeline", "events"], Some(index))
    }

    /// Returns the part that is an expectation, by its number.
    pub(super) fn expect(&self, index: usize) -> Option<&Part> {
        self.at(&["expect"], Some(index))
    }

    fn at(&self, keys: &[&str], entry: Option<usize>) -> Option<&Part> {
        let mut path: Vec<Step> = keys.iter().map(|key| Step::Key((*key).to_owned())).collect();
        path.extend(entry.map(Step::Entry));
        self.parts.iter().find(|part| part.path == path)
    }

    /// Returns a value within a part.
    pub(super) fn within(&self, part: &Part, key: &str) -> Option<&Part> {
        let is_it = |other: &&Part| {
            other.path.len() == part.path.len() + 1
                && other.path.starts_with(&part.path)
                && other.key() == key
        };
        self.parts.iter().find(is_it)
    }

    /// Returns the entries of a list within a part.
    fn entries_of<'d>(&'d self, list: &'d Part) -> impl Iterator<Item = &'d Part> {
        self.parts.iter().filter(|part| {
            part.kind == Kind::Entry
                && part.path.len() == list.path.len() + 1
                && part.path.starts_with(&list.path)
        })
    }

    /// Returns the expectation that is missed, if the failure is one of those.
    pub(super) fn missed(&self) -> Option<usize> {
        let line = self.line()?;
        self.scenario.expects.iter().position(|expect| expect.line == line)
    }

    /// Returns the event whose reply is missed, if the failure is one of those.
    pub(super) fn missed_reply(&self) -> Option<usize> {
        let line = self.line()?;
        self.scenario.events.iter().position(|event| event.line == line)
    }

    fn line(&self) -> Option<u32> {
        self.case.place.map(|place| text::line_at(&self.case.text, place))
    }

    /// Returns the case with its text changed; nothing if what is missed goes with it.
    pub(super) fn edited(&self, edits: Vec<Edit>) -> Option<Case> {
        let (text, place) = text::apply(&self.case.text, edits, self.case.place)?;
        let (text, place) = text::apply(&text, text::untidy(&text), place)?;
        Some(Case { text, place })
    }

    /// Returns the case without some of it and without all that makes no sense alone. What counts from a moment that goes
    /// stands at the time it had. With `pinned` every event does.
    pub(super) fn without(&self, mut gone: Gone, times: &Times, pinned: bool) -> Option<Case> {
        while self.take_along(&mut gone, times) {}
        let is_kept = |index: Option<usize>, gone: &BTreeSet<usize>| index.is_none_or(|i| !gone.contains(&i));
        if !is_kept(self.missed(), &gone.expects) || !is_kept(self.missed_reply(), &gone.events) {
            return None;
        }
        let mut edits = Vec::new();
        let mut cut = |part: Option<&Part>| {
            edits.extend(part.into_iter().flat_map(|part| part.cut.iter().cloned().map(Edit::cut)));
        };
        gone.events.iter().for_each(|index| cut(self.event(*index)));
        gone.expects.iter().for_each(|index| cut(self.expect(*index)));
        for host in &gone.hosts {
            cut(self.host(*host).and_then(|name| self.at(&["host", name], None)));
        }
        for pull in &gone.pulls {
            cut(self.pull(*pull).and_then(|name| self.at(&["pull", name], None)));
        }
        self.cut_names(&gone, &mut cut);
        for (index, event) in self.scenario.events.iter().enumerate() {
            if gone.events.contains(&index) || !(pinned || gone.has(&event.at.anchor)) {
                continue;
            }
            if event.at.anchor == Anchor::Zero || matches!(event.at.anchor, Anchor::End) {
                continue;
            }
            let Some(at) = times.began.get(index).copied().flatten() else { continue };
            edits.extend(self.moved(self.event(index), "at", at));
        }
        for (index, expect) in self.scenario.expects.iter().enumerate() {
            if gone.expects.contains(&index) {
                continue;
            }
            for (key, when) in moments(expect).into_iter().filter(|(_, when)| gone.has(&when.anchor)) {
                edits.extend(self.moved(self.expect(index), key, times.of_moment(when)?));
            }
        }
        self.edited(edits)
    }

    fn moved(&self, part: Option<&Part>, key: &str, at: Instant) -> Option<Edit> {
        let span = self.within(part?, key)?.value.clone()?;
        let nanos = at.as_nanos().div_ceil(MILLI) * MILLI;
        Some(Edit { span, with: format!("\"{}\"", (TIME.show)(i128::from(nanos))) })
    }

    fn host(&self, host: HostRef) -> Option<&str> {
        self.scenario.hosts.get(usize::from(host.0)).map(|host| host.name.as_str())
    }

    fn pull(&self, pull: PullRef) -> Option<&str> {
        self.scenario.pulls.get(usize::from(pull.0)).map(|pull| pull.name.as_str())
    }

    /// Adds what cannot stay without what goes. Returns whether there was any.
    fn take_along(&self, gone: &mut Gone, times: &Times) -> bool {
        let before = gone.clone();
        for (index, event) in self.scenario.events.iter().enumerate() {
            let is_lost = gone.has(&event.at.anchor) && times.began.get(index).copied().flatten().is_none();
            if is_lost || self.is_about_gone(index, event, gone) {
                gone.events.insert(index);
            }
        }
        for (index, expect) in self.scenario.expects.iter().enumerate() {
            let is_lost = moments(expect)
                .iter()
                .any(|(_, when)| gone.has(&when.anchor) && times.of_moment(when).is_none());
            if is_lost || is_expect_of_gone(expect, gone) {
                gone.expects.insert(index);
            }
        }
        *gone != before
    }

    fn is_about_gone(&self, index: usize, event: &Event, gone: &Gone) -> bool {
        let host = |host: &HostRef| gone.hosts.contains(host);
        match &event.act {
            Act::Call(call) => host(&call.proxy) || call.pull.is_some_and(|pull| gone.pulls.contains(&pull)),
            Act::Repair { proxy, pull, .. } => host(proxy) || gone.pulls.contains(pull),
            Act::Play { players, at, .. } => {
                let played = self.event(index).and_then(|part| self.within(part, "play"));
                let played = played.and_then(|part| part.text.as_deref());
                let is_gone = gone.pulls.iter().any(|pull| self.pull(*pull) == played && played.is_some());
                host(players) || host(at) || is_gone
            }
            Act::Leave { players, .. } => host(players),
            Act::Publish { origin, .. } | Act::Start { origin } => host(origin),
            Act::Fault(fault) => {
                let parted = match &fault.fault {
                    Fault::Partition { with, .. } => !with.is_empty() && with.iter().all(host),
                    Fault::Dns { name, .. } => {
                        gone.hosts.iter().any(|of| self.host(*of) == Some(name.as_str()))
                    }
                    Fault::Term(_)
                    | Fault::Kill(_)
                    | Fault::Vanish(_)
                    | Fault::Freeze
                    | Fault::Pause
                    | Fault::Refuse
                    | Fault::Blackhole
                    | Fault::AcceptClose
                    | Fault::AcceptReset
                    | Fault::AcceptSilence
                    | Fault::Loss { .. }
                    | Fault::Duplicate { .. }
                    | Fault::Reorder { .. }
                    | Fault::Latency { .. }
                    | Fault::Bandwidth { .. }
                    | Fault::Mtu { .. }
                    | Fault::LinkDown
                    | Fault::VethRecreate
                    | Fault::Disconnect { .. }
                    | Fault::ConntrackFlush
                    | Fault::MoveAddress { .. }
                    | Fault::Cut { .. }
                    | Fault::Split { .. }
                    | Fault::Coalesce { .. }
                    | Fault::Trickle { .. }
                    | Fault::Behave(_)
                    | Fault::End { .. }
                    | Fault::ReconnectRequest { .. }
                    | Fault::PublisherAway { .. }
                    | Fault::NoMedia { .. }
                    | Fault::Drip { .. }
                    | Fault::NoKeyframes
                    | Fault::TimestampJump { .. }
                    | Fault::WallClock { .. }
                    | Fault::LateTimers { .. }
                    | Fault::NoPorts
                    | Fault::SlowReader { .. }
                    | Fault::Stuck => false,
                };
                host(&fault.on) || parted
            }
        }
    }

    /// Cuts the names of what goes out of lists that stay.
    fn cut_names(&self, gone: &Gone, cut: &mut impl FnMut(Option<&Part>)) {
        let hosts: Vec<&str> = gone.hosts.iter().filter_map(|host| self.host(*host)).collect();
        let pulls: Vec<&str> = gone.pulls.iter().filter_map(|pull| self.pull(*pull)).collect();
        for list in self.parts.iter().filter(|part| part.kind == Kind::Pair) {
            let names = match list.key() {
                "players" | "frames_at" | "with" | "hosts" => &hosts,
                "pulls" => &pulls,
                _ => continue,
            };
            for entry in self.entries_of(list) {
                if entry.text.as_deref().is_some_and(|name| names.contains(&name)) {
                    cut(Some(entry));
                }
            }
        }
    }
}

impl Gone {
    /// Returns whether a moment counts from something that goes.
    fn has(&self, anchor: &Anchor) -> bool {
        match anchor {
            Anchor::Zero | Anchor::End => false,
            Anchor::Start(event) | Anchor::Cleared(event) | Anchor::Replied(event) => {
                self.events.contains(event)
            }
            Anchor::Listening(host) | Anchor::Serving(host) | Anchor::Watching(host) => {
                self.hosts.contains(host)
            }
            Anchor::Entered(pull, _) => self.pulls.contains(pull),
        }
    }
}

impl Times {
    /// Runs a scenario and notes when its events were.
    fn of(scenario: &Scenario, seed: u64) -> Self {
        let outcome = World::run(scenario, seed, Keep { records: true, ..Keep::default() });
        let none = vec![None; scenario.events.len()];
        let failed = outcome.findings.first().map_or(Instant::ZERO, |finding: &Finding| finding.at);
        let mut times = Self { began: none.clone(), cleared: none.clone(), replied: none, failed };
        let mut asked: Vec<(u32, u16)> = Vec::new();
        let first = |of: &mut Vec<Option<Instant>>, event: u16, at: Instant| {
            if let Some(known) = of.get_mut(usize::from(event)) {
                known.get_or_insert(at);
            }
        };
        for record in outcome.log.iter().flat_map(|log| log.records()) {
            if let What::Began { event } = record.what {
                first(&mut times.began, event, record.at);
            } else if let What::Lifted { event } = record.what {
                first(&mut times.cleared, event, record.at);
            } else if let What::Asked(call) = &record.what {
                asked.extend(call.event.map(|event| (call.call, event)));
            } else if let What::Answered { call, .. } = record.what
                && let Some((_, event)) = asked.iter().find(|(known, _)| *known == call)
            {
                first(&mut times.replied, *event, record.at);
            }
        }
        times
    }

    /// Returns the events that never began.
    pub(super) fn never_began(&self) -> BTreeSet<usize> {
        let never = self.began.iter().enumerate().filter(|(_, at)| at.is_none());
        never.map(|(index, _)| index).collect()
    }

    /// Returns when a moment was that counts from an event.
    fn of_moment(&self, when: &When) -> Option<Instant> {
        let anchor = match when.anchor {
            Anchor::Start(event) => self.began.get(event).copied().flatten(),
            Anchor::Cleared(event) => self.cleared.get(event).copied().flatten(),
            Anchor::Replied(event) => self.replied.get(event).copied().flatten(),
            Anchor::Zero
            | Anchor::End
            | Anchor::Listening(_)
            | Anchor::Serving(_)
            | Anchor::Entered(..)
            | Anchor::Watching(_) => None,
        };
        anchor.map(|at| at + Duration::from_nanos(u64::try_from(when.offset).unwrap_or(0)))
    }
}

/// Returns the moments an expectation counts from, with their keys.
fn moments(expect: &Expect) -> Vec<(&'static str, &When)> {
    let (from, until) = match &expect.what {
        Wanted::FramesAt { after, until, .. } => (Some(("after", after)), until.as_ref()),
        Wanted::Never { from, until, .. } | Wanted::Dials { from, until, .. } => {
            (Some(("from", from)), Some(until))
        }
        Wanted::Told { after, .. }
        | Wanted::Entered { after, .. }
        | Wanted::Removed { after, .. }
        | Wanted::NoticedBy { after, .. }
        | Wanted::RecoveredBy { after, .. } => (Some(("after", after)), None),
        Wanted::Marks { .. } => (None, None),
    };
    from.into_iter().chain(until.map(|until| ("until", until))).collect()
}

/// Returns whether nothing is left of what an expectation is about.
fn is_expect_of_gone(expect: &Expect, gone: &Gone) -> bool {
    let all_gone =
        |hosts: &[HostRef]| !hosts.is_empty() && hosts.iter().all(|host| gone.hosts.contains(host));
    let pull_gone = |pull: &PullRef| gone.pulls.contains(pull);
    match &expect.what {
        Wanted::FramesAt { players, .. } | Wanted::Told { players, .. } => all_gone(players),
        Wanted::Never { players, pulls, .. } => {
            all_gone(players) || !pulls.is_empty() && pulls.iter().all(pull_gone)
        }
        Wanted::Dials { to, .. } => to.is_some_and(|host| gone.hosts.contains(&host)),
        Wanted::Entered { pull, .. }
        | Wanted::Removed { pull, .. }
        | Wanted::NoticedBy { pull, .. }
        | Wanted::RecoveredBy { pull, .. } => pull_gone(pull),
        Wanted::Marks { .. } => false,
    }
}
