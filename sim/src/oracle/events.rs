//! Events are numbered from 1 without gaps, tell one chain of states, and epochs in the order they began (I15).

use std::collections::BTreeMap;

use proxy_core::io::{EventKind, PullState};

use super::{EVENT, Findings, Kinds, Oracle, STEP, Scene};
use crate::trace::{ActorId, Record, What, words::kebab};

pub(super) const NAME: &str = "events";

/// Follows numbers and states.
#[derive(Debug, Default)]
pub(super) struct Events {
    streams: BTreeMap<(ActorId, u64), Chain>,
}

#[derive(Debug)]
struct Chain {
    number: u64,
    /// The state after the last step.
    stepped: PullState,
    /// The state entered last.
    entered: PullState,
    /// The epoch that began last.
    epoch: u64,
}

impl Oracle for Events {
    fn kinds(&self) -> Kinds {
        EVENT | STEP
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let What::Event(event) = &record.what else { return };
        let Some(id) = event.stream.map(|stream| stream.0) else { return };
        let whose = (record.actor, id);
        let chain = self.streams.entry(whose).or_insert(Chain {
            number: 0,
            stepped: PullState::BackingOff,
            entered: PullState::BackingOff,
            epoch: 0,
        });
        let mut complain = |text: String| {
            findings.broken(
                NAME,
                record.actor,
                format!("{}: {text}", scene.name_of_stream(record.actor, id)),
            );
        };
        chain.number += 1;
        if event.number != chain.number {
            complain(format!("event {} came where number {} was promised", event.number, chain.number));
            chain.number = event.number;
        }
        if let EventKind::PullStepped { state, event, next } = &event.kind {
            if *state != chain.stepped {
                complain(format!(
                    "a step by {} is told from state {}, and the step before led to {}",
                    kebab(event),
                    kebab(state),
                    kebab(&chain.stepped)
                ));
            }
            chain.stepped = *next;
        } else if let EventKind::PullEntered { state, .. } = &event.kind {
            if *state != chain.stepped {
                complain(format!(
                    "{} was entered, and the step before led to {}",
                    kebab(state),
                    kebab(&chain.stepped)
                ));
            }
            if *state == chain.entered {
                complain(format!("{} was entered while it was the state", kebab(state)));
            }
            chain.entered = *state;
        } else if let EventKind::Epoch { number, .. } = &event.kind {
            if *number <= chain.epoch {
                complain(format!("epoch {number} began behind epoch {}", chain.epoch));
            }
            chain.epoch = *number;
        } else if let EventKind::Unregistered { .. } = &event.kind {
            if chain.stepped != PullState::Stopped {
                complain(format!(
                    "it was removed in state {}, before its pull was stopped",
                    kebab(&chain.stepped)
                ));
            }
            self.streams.remove(&whose);
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.streams.retain(|(of, _), _| *of != proxy);
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::{
        io::{Event, PullEventKind as E, PullState as S, StreamEnd, StreamId},
        relay::EpochCause,
    };

    use super::*;
    use crate::oracle::story::{PROXY, Story};

    fn check(tell: impl FnOnce(&mut Story)) -> Vec<String> {
        Story::told::<Events>(tell)
    }

    #[test]
    fn a_whole_life_is_fine() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.streams(1, 2);
            story.step(1, S::Streaming, E::Stop, S::Stopped);
            story.removes(1, "live/a", StreamEnd::Deleted);
        });
        assert_eq!(texts, [""; 0]);
    }

    #[test]
    fn a_gap_is_found() {
        let texts = check(|story| {
            story.register(1, "live/a");
            let event = Event { stream: Some(StreamId(1)), number: 3, kind: EventKind::Rebuilt };
            story.record(PROXY, What::Event(event));
        });
        assert_eq!(texts, ["events: live/a: event 3 came where number 2 was promised"]);
    }

    #[test]
    fn a_step_from_elsewhere_is_found() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.step(1, S::Streaming, E::Frame, S::Streaming);
        });
        assert!(
            texts[0].contains("is told from state streaming, and the step before led to backing-off"),
            "{texts:?}"
        );
    }

    #[test]
    fn entering_what_no_step_led_to_is_found() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.enters(1, S::Streaming, None, 0, None);
        });
        assert!(
            texts[0].contains("streaming was entered, and the step before led to backing-off"),
            "{texts:?}"
        );
    }

    #[test]
    fn an_epoch_that_began_before_is_found() {
        let texts = check(|story| {
            story.register(1, "live/a");
            for number in [1, 3, 3] {
                story.event(1, EventKind::Epoch { number, cause: EpochCause::Play });
            }
        });
        assert_eq!(texts, ["events: live/a: epoch 3 began behind epoch 3"]);
    }

    #[test]
    fn removal_of_a_running_pull_is_found() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.removes(1, "live/a", StreamEnd::Deleted);
        });
        assert!(texts[0].contains("removed in state backing-off"), "{texts:?}");
    }
}
