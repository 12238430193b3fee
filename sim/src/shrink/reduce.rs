//! What can go goes: in halves first, then one by one, until nothing can.

use std::collections::BTreeSet;

use super::{
    draft::{Draft, Gone, Times},
    knobs::{SECOND, What, knobs},
    text::{Edit, Kind, Part},
    trial::{Case, Trial},
};
use crate::scenario::model::{HostRef, PullRef};

/// Keys of events that say when and how long, and where: no file is smaller without them.
const KEPT_OF_EVENTS: &[&str] = &["at", "for", "down", "on"];
/// Keys of the file that decide nothing, and how it is run.
const KEPT_OF_FILE: &[&str] = &["schema", "id", "title", "refs", "defects", "run"];

/// Takes away what can go; what is returned fails still.
pub(super) fn reduce(draft: Draft, trial: &mut Trial, seed: u64) -> Draft {
    let mut draft = draft;
    loop {
        let before = draft.case.text.clone();
        draft = without_events(draft, trial, seed);
        draft = without_hosts(draft, trial, seed);
        draft = without_parts(draft, trial);
        if draft.case.text == before {
            return draft;
        }
    }
}

/// Takes away at once what cannot matter: what had not begun when the promise broke, what nobody missed, and the time
/// after it.
pub(super) fn cut_short(mut draft: Draft, trial: &mut Trial, seed: u64) -> Draft {
    let times = draft.times(trial, seed).clone();
    let missed = draft.missed();
    let others = (0..draft.scenario.expects.len()).filter(|index| Some(*index) != missed).collect();
    let never = times.never_began();
    for gone in [
        Gone { events: never.clone(), expects: others, ..Gone::default() },
        Gone { events: never, ..Gone::default() },
    ] {
        draft = accept_first(draft, trial, |draft| draft.without(gone.clone(), &times, false));
    }
    // Runs that hold go on to the end, so that matters most. A second more lets what is due then come.
    let end = (i128::from(times.failed.as_nanos()) / SECOND + 2) * SECOND;
    accept_first(draft, trial, |draft| {
        let time = knobs(draft).into_iter().find(|knob| knob.what == What::Run && knob.value > end)?;
        time.set(draft, end)
    })
}

fn accept_first(draft: Draft, trial: &mut Trial, make: impl Fn(&Draft) -> Option<Case>) -> Draft {
    match make(&draft) {
        Some(case) if case.text != draft.case.text && trial.fails(&case) => {
            Draft::new(case, trial).unwrap_or(draft)
        }
        Some(_) | None => draft,
    }
}

fn without_events(mut draft: Draft, trial: &mut Trial, seed: u64) -> Draft {
    let times = draft.times(trial, seed).clone();
    let (missed, replied) = (draft.missed(), draft.missed_reply());
    let events = (0..draft.scenario.events.len()).filter(|index| Some(*index) != replied);
    let expects = (0..draft.scenario.expects.len()).filter(|index| Some(*index) != missed);
    let units: Vec<Unit> = events.map(Unit::Event).chain(expects.map(Unit::Expect)).collect();
    let case = halve(&draft, &units, trial, |draft, gone| draft.without(gone_of(gone), &times, false));
    let Some(mut draft) = case.and_then(|case| Draft::new(case, trial)) else {
        return pin(draft, trial, &times);
    };
    let times = draft.times(trial, seed).clone();
    pin(draft, trial, &times)
}

/// Takes away an event more where those that stay must stand where they stood.
fn pin(draft: Draft, trial: &mut Trial, times: &Times) -> Draft {
    let replied = draft.missed_reply();
    let events = (0..draft.scenario.events.len()).filter(|index| Some(*index) != replied);
    let cases: Vec<Case> =
        events.filter_map(|index| draft.without(gone_of(&[Unit::Event(index)]), times, true)).collect();
    let Some(index) = trial.first_failing(&cases) else { return draft };
    cases.into_iter().nth(index).and_then(|case| Draft::new(case, trial)).unwrap_or(draft)
}

fn without_hosts(mut draft: Draft, trial: &mut Trial, seed: u64) -> Draft {
    let times = draft.times(trial, seed).clone();
    let number = |index: usize| u16::try_from(index).unwrap_or(u16::MAX);
    let hosts = (0..draft.scenario.hosts.len()).map(|index| Unit::Host(HostRef(number(index))));
    let pulls = (0..draft.scenario.pulls.len()).map(|index| Unit::Pull(PullRef(number(index))));
    let units: Vec<Unit> = hosts.chain(pulls).collect();
    let case = halve(&draft, &units, trial, |draft, gone| draft.without(gone_of(gone), &times, false));
    case.and_then(|case| Draft::new(case, trial)).unwrap_or(draft)
}

/// Takes away tables, keys and entries that are optional and do not matter.
fn without_parts(draft: Draft, trial: &mut Trial) -> Draft {
    let cut = |parts: &[&Part]| -> Vec<Edit> {
        parts.iter().flat_map(|part| part.cut.iter().cloned().map(Edit::cut)).collect()
    };
    let optional = |part: &&Part| {
        is_optional(part) && draft.edited(cut(&[*part])).is_some_and(|case| trial.read(&case).is_some())
    };
    let units: Vec<&Part> = draft.parts.iter().filter(optional).collect();
    let case = halve(&draft, &units, trial, |draft, gone| draft.edited(cut(gone)));
    match case.and_then(|case| Draft::new(case, trial)) {
        Some(smaller) => smaller,
        None => draft,
    }
}

/// Returns whether a part may be tried without.
fn is_optional(part: &Part) -> bool {
    let is_whole = |keys: &[&str], len: usize| part.is_below(keys) && part.path.len() == len;
    if KEPT_OF_FILE.iter().any(|key| part.is_below(&[*key])) {
        return false;
    }
    // Events, expectations, hosts and pulls go as such, with what hangs on them.
    if is_whole(&["timeline"], 1)
        || is_whole(&["timeline", "events"], 2)
        || is_whole(&["timeline", "events"], 3)
    {
        return false;
    }
    if is_whole(&["expect"], 1) || is_whole(&["expect"], 2) {
        return false;
    }
    if is_whole(&["host"], 1) || is_whole(&["host"], 2) || is_whole(&["pull"], 1) || is_whole(&["pull"], 2) {
        return false;
    }
    let is_of_event =
        part.is_below(&["timeline", "events"]) && part.kind == Kind::Pair && part.path.len() == 4;
    !(is_of_event && KEPT_OF_EVENTS.contains(&part.key()))
}

/// Something that goes as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Event(usize),
    Expect(usize),
    Host(HostRef),
    Pull(PullRef),
}

fn gone_of(units: &[Unit]) -> Gone {
    let mut gone = Gone::default();
    for unit in units {
        match unit {
            Unit::Event(index) => drop(gone.events.insert(*index)),
            Unit::Expect(index) => drop(gone.expects.insert(*index)),
            Unit::Host(host) => drop(gone.hosts.insert(*host)),
            Unit::Pull(pull) => drop(gone.pulls.insert(*pull)),
        }
    }
    gone
}

/// Delta debugging: tries without all, then without each half of what is left, each quarter, and at last without each,
/// until none of those can go. Returns the smallest case that fails, if it is smaller.
fn halve<U: Copy>(
    draft: &Draft,
    units: &[U],
    trial: &mut Trial,
    without: impl Fn(&Draft, &[U]) -> Option<Case>,
) -> Option<Case> {
    let mut kept: Vec<usize> = (0..units.len()).collect();
    let mut gone: BTreeSet<usize> = BTreeSet::new();
    let mut found = None;
    let mut size = units.len();
    while size > 0 {
        let (mut at, mut any) = (0, false);
        while at < kept.len() {
            // Each of these in turn; those behind the first that goes are tried again without it.
            let chunks: Vec<&[usize]> = kept[at..].chunks(size).collect();
            let cases = chunks.iter().map(|chunk| {
                let all: Vec<U> = gone.iter().chain(*chunk).map(|index| units[*index]).collect();
                without(draft, &all).filter(|case| case.text != draft.case.text)
            });
            // What makes no case is no case that fails.
            let cases: Vec<Case> =
                cases.map(|case| case.unwrap_or_else(|| Case { text: String::new(), place: None })).collect();
            let Some(index) = trial.first_failing(&cases) else { break };
            let chunk = chunks[index].to_vec();
            at += index * size;
            gone.extend(&chunk);
            kept.retain(|index| !chunk.contains(index));
            found = cases.into_iter().nth(index);
            any = true;
        }
        if size == 1 && !any {
            break;
        }
        size = if size == 1 { 1 } else { size.div_ceil(2) };
    }
    found
}
