//! Moments: from "when" as a scenario says it to virtual time, as things happen.
//!
//! A host's moment is its first after the last fault on that host listed above; a player's its first after it was last
//! made to play above; a pull's its first after the event listed above has begun, in an expectation after the last fault.
//! Everything else has a time as soon as what it is anchored to has.

use proxy_core::{io::PullState, time::Instant};

use crate::scenario::model::{Act, Anchor, HostRef, PullRef, Scenario, When};

/// Where an expectation stands in the list of events.
pub(crate) const BELOW_ALL: usize = usize::MAX;

/// Something others are anchored to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// The run begins.
    Zero,
    /// An event begins.
    Began(usize),
    /// A fault is lifted.
    Cleared(usize),
    /// An event's request is answered.
    Replied(usize),
    /// A host listens.
    Listening(HostRef),
    /// An origin serves.
    Serving(HostRef),
    /// A pull enters a state.
    Entered(PullRef, PullState),
    /// A player watches.
    Watching(HostRef),
    /// The safety phase ends.
    End,
}

/// Turns moments into times.
#[derive(Debug)]
pub(crate) struct Moments {
    waiting: Vec<Waiting>,
    begun: Vec<bool>,
    /// Known times of what a negative offset counts back from.
    known: Vec<(usize, Instant)>,
}

#[derive(Debug)]
struct Waiting {
    id: usize,
    when: When,
    /// Events that must have begun before a host's, pull's or player's moment counts.
    gates: Vec<usize>,
}

impl Moments {
    /// Makes a resolver for moments, each with how many events are listed above it. `end` is when the safety phase
    /// ends, known in advance so that one can count back from it.
    pub(crate) fn new<'a>(
        scenario: &Scenario,
        whens: impl Iterator<Item = (usize, usize, &'a When)>,
        end: Instant,
    ) -> Self {
        let mut moments =
            Self { waiting: Vec::new(), begun: vec![false; scenario.events.len()], known: Vec::new() };
        for (id, above, when) in whens {
            match &when.anchor {
                Anchor::Zero => moments.known.push((id, offset(Instant::ZERO, when.offset))),
                Anchor::End => moments.known.push((id, offset(end, when.offset))),
                Anchor::Start(_)
                | Anchor::Cleared(_)
                | Anchor::Replied(_)
                | Anchor::Listening(_)
                | Anchor::Serving(_)
                | Anchor::Entered(..)
                | Anchor::Watching(_) => {
                    let gates = gates(scenario, &when.anchor, above);
                    moments.waiting.push(Waiting { id, when: when.clone(), gates });
                }
            }
        }
        moments
    }

    /// Takes the times known from the beginning.
    pub(crate) fn take_known(&mut self) -> Vec<(usize, Instant)> {
        std::mem::take(&mut self.known)
    }

    /// Tells what happened; returns the moments that have their time through it.
    pub(crate) fn on(&mut self, happened: Happened, now: Instant) -> Vec<(usize, Instant)> {
        if let Happened::Began(event) = happened
            && let Some(begun) = self.begun.get_mut(event)
        {
            *begun = true;
        }
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let mut resolved = Vec::new();
        let begun = &self.begun;
        self.waiting.retain(|waiting| {
            let is_open = waiting.gates.iter().all(|event| begun.get(*event).copied().unwrap_or(true));
            let is_met = is_open && meets(&waiting.when.anchor, happened);
            if is_met {
                resolved.push((waiting.id, offset(now, waiting.when.offset).max(now)));
            }
            !is_met
        });
        resolved
    }
}

fn meets(anchor: &Anchor, happened: Happened) -> bool {
    match (anchor, happened) {
        (Anchor::Start(event), Happened::Began(begun)) => *event == begun,
        (Anchor::Cleared(event), Happened::Cleared(cleared)) => *event == cleared,
        (Anchor::Replied(event), Happened::Replied(replied)) => *event == replied,
        (Anchor::Listening(host), Happened::Listening(listening)) => *host == listening,
        (Anchor::Serving(host), Happened::Serving(serving)) => *host == serving,
        (Anchor::Entered(pull, state), Happened::Entered(entered, into)) => {
            *pull == entered && *state == into
        }
        (Anchor::Watching(host), Happened::Watching(watching)) => *host == watching,
        (
            Anchor::Zero
            | Anchor::Start(_)
            | Anchor::Cleared(_)
            | Anchor::Replied(_)
            | Anchor::Listening(_)
            | Anchor::Serving(_)
            | Anchor::Entered(..)
            | Anchor::Watching(_)
            | Anchor::End,
            Happened::Zero
            | Happened::Began(_)
            | Happened::Cleared(_)
            | Happened::Replied(_)
            | Happened::Listening(_)
            | Happened::Serving(_)
            | Happened::Entered(..)
            | Happened::Watching(_)
            | Happened::End,
        ) => false,
    }
}

/// Returns the events that must have begun before a moment counts: `above` of them are listed above it.
fn gates(scenario: &Scenario, anchor: &Anchor, above: usize) -> Vec<usize> {
    let last = |counts: &dyn Fn(&Act) -> bool| {
        let listed = scenario.events.iter().enumerate().take(above);
        listed
            .filter(|(_, event)| counts(&event.act))
            .map(|(index, _)| index)
            .next_back()
            .into_iter()
            .collect()
    };
    match anchor {
        Anchor::Listening(host) | Anchor::Serving(host) => last(&|act| match act {
            Act::Fault(fault) => fault.on == *host,
            Act::Start { origin } | Act::Publish { origin, .. } => origin == host,
            Act::Call(_) | Act::Repair { .. } | Act::Play { .. } | Act::Leave { .. } => false,
        }),
        Anchor::Watching(host) => last(&|act| matches!(act, Act::Play { players, .. } if players == host)),
        // An expectation stands below every event: it is about what follows what went wrong.
        Anchor::Entered(..) if above >= scenario.events.len() => last(&|act| matches!(act, Act::Fault(_))),
        Anchor::Entered(..) => above.checked_sub(1).into_iter().collect(),
        Anchor::Zero | Anchor::Start(_) | Anchor::Cleared(_) | Anchor::Replied(_) | Anchor::End => Vec::new(),
    }
}

fn offset(from: Instant, nanos: i64) -> Instant {
    Instant::from_nanos(from.as_nanos().saturating_add_signed(nanos))
}
