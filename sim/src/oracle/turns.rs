//! Where a run has been, finer than marks and cells, for a search that wants to get where none has been: which cell
//! followed which, what began or was asked in which state, and the instants at which pulls and timers turned.

use std::collections::{BTreeMap, BTreeSet};

use proxy_core::{
    io::{EventKind, PullEventKind, PullState},
    time::Instant,
};

use super::Scene;
use crate::{
    scenario::{FAULTS, model::Scenario},
    trace::{ActorId, Inward, Phase, Record, What},
};

/// Instants kept of a run: what comes later is not aimed at.
const INSTANTS_MAX: usize = 2_048;
/// Ways are numbers: a cell is below this, and what begins, shifted, is above every pair of cells.
const CELLS: u32 = 256;
/// Where what begins is counted from.
const BEGUN: u32 = CELLS * CELLS;
/// Where calls are counted from among what begins.
const CALLS: u32 = 128;

/// The ways a run took.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// What each event of the timeline is: its fault, or its call.
    kinds: Vec<Option<u32>>,
    last: BTreeMap<(ActorId, u64), u32>,
    ways: BTreeSet<u32>,
    instants: Vec<Instant>,
}

impl Turns {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let kinds = scenario.events.iter().map(|event| kind_of(&event.act)).collect();
        Self { kinds, ..Self::default() }
    }

    pub(super) fn on_record(&mut self, record: &Record, scene: &Scene) {
        if scene.phase > Some(Phase::Calm) {
            return;
        }
        if let What::Event(event) = &record.what {
            if let (Some(stream), EventKind::PullStepped { state, event, next }) = (event.stream, &event.kind)
            {
                self.on_step(record, stream.0, (*state, *event, *next), scene);
            } else if let EventKind::PlayerSeated { .. } | EventKind::PlayerLeft { .. } = &event.kind {
                self.turned(record.at, scene);
            }
        } else if let What::In(Inward::Timeout) = &record.what {
            self.turned(record.at, scene);
        } else if let What::Began { event } = &record.what
            && let Some(kind) = self.kinds.get(usize::from(*event)).copied().flatten()
        {
            let states = scene.streams.values().map(|stream| stream.state as u32 + 1);
            // Where no stream is, it begins in no state.
            for state in states.chain([0]) {
                self.ways.insert(BEGUN + kind * 16 + state);
            }
        }
    }

    fn on_step(
        &mut self,
        record: &Record,
        stream: u64,
        (state, event, next): (PullState, PullEventKind, PullState),
        scene: &Scene,
    ) {
        let cell = state as u32 * 20 + event as u32;
        let last = self.last.insert((record.actor, stream), cell);
        if last == Some(cell) {
            return;
        }
        self.ways.insert(last.unwrap_or(CELLS - 1) * CELLS + cell);
        if state != next || event == PullEventKind::Deadline {
            self.turned(record.at, scene);
        }
    }

    fn turned(&mut self, at: Instant, scene: &Scene) {
        let is_worth = scene.phase < Some(Phase::Calm) && self.instants.last() != Some(&at);
        if is_worth && self.instants.len() < INSTANTS_MAX {
            self.instants.push(at);
        }
    }

    pub(super) fn ways(&self) -> &BTreeSet<u32> {
        &self.ways
    }

    pub(super) fn instants(&self) -> &[Instant] {
        &self.instants
    }
}

/// Returns the number of what an event is; `None` of one that is a matter of course.
fn kind_of(act: &crate::scenario::model::Act) -> Option<u32> {
    use crate::scenario::model::Act;

    let number = |index: usize| u32::try_from(index).unwrap_or(0);
    match act {
        Act::Fault(fault) => {
            let name = crate::scenario::fault_name(&fault.fault);
            FAULTS.iter().position(|form| form.name == name).map(number)
        }
        Act::Call(call) => {
            let calls = proxyd::api::CALLS.iter();
            calls.map(|known| known.name).position(|name| name == call.call).map(|at| CALLS + number(at))
        }
        Act::Leave { by, .. } => Some(CALLS + 64 + *by as u32),
        Act::Play { .. } => Some(CALLS + 70),
        Act::Publish { .. } => Some(CALLS + 71),
        Act::Repair { .. } | Act::Start { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{quiet::Quiet, story::Story};

    #[test]
    fn one_more_turn_is_one_more_way() {
        let count = |again: bool| {
            let mut ways = 0;
            Story::told::<Quiet>(|story| {
                story.register(1, "live/a");
                story.dials(1, 2);
                story.streams(1, 2);
                if again {
                    story.loses(1, 2, 1, Instant::from_millis(400));
                }
                ways = story.oracles().ways().len();
            });
            ways
        };
        assert!(count(true) > count(false), "{} {}", count(true), count(false));
    }

    #[test]
    fn instants_are_those_of_changes() {
        Story::told::<Quiet>(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            let before = story.oracles().instants().len();
            story.at(700).loses(1, 2, 1, Instant::from_millis(900));
            let instants = story.oracles().instants().to_vec();
            assert_eq!(instants[before..], [Instant::from_millis(700)]);
        });
    }
}
