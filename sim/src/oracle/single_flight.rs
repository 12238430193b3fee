//! One upstream connection and one pending retry per stream (I5).

use std::collections::BTreeMap;

use proxy_core::io::{EventKind, PullState};

use super::{EVENT, Findings, Kinds, Oracle, STEP, Scene};
use crate::trace::{ActorId, Record, What};

pub(super) const NAME: &str = "single-flight";

/// Sees that a failure leads to one retry, and a retry to one connection.
#[derive(Debug, Default)]
pub(super) struct SingleFlight {
    /// Attempts begun by each stream when it last began to wait.
    waits: BTreeMap<(ActorId, u64), u64>,
}

impl Oracle for SingleFlight {
    fn kinds(&self) -> Kinds {
        EVENT | STEP
    }

    fn on_record(&mut self, record: &Record, scene: &Scene, findings: &mut Findings) {
        let What::Event(event) = &record.what else { return };
        let Some(id) = event.stream.map(|stream| stream.0) else { return };
        let whose = (record.actor, id);
        if let EventKind::Unregistered { .. } = &event.kind {
            self.waits.remove(&whose);
        }
        let Some(stream) = scene.streams.get(&whose) else { return };
        let name = || scene.name_of_stream(record.actor, id);
        if let EventKind::PullStepped { state, next: PullState::Connecting, .. } = &event.kind
            && *state != PullState::Connecting
            && let (Some(other), Some(conn)) = (stream.other, stream.upstream)
        {
            let text = format!(
                "{} dialled connection {conn} while its connection {other} was still its own: 2 upstream connections \
                 at a time, at most 1 promised",
                name()
            );
            findings.broken(NAME, record.actor, text);
        }
        if let EventKind::PullEntered { state: PullState::BackingOff, failures, .. } = &event.kind
            && self.waits.insert(whose, stream.attempts) == Some(stream.attempts)
        {
            let text = format!(
                "{} began to wait for a retry twice after its attempt {}: 2 pending retries for 1 failure (it counts \
                 {failures} failures)",
                name(),
                stream.attempts
            );
            findings.broken(NAME, record.actor, text);
        }
    }

    fn forget(&mut self, proxy: ActorId) {
        self.waits.retain(|(of, _), _| *of != proxy);
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::io::{PullEventKind as E, PullState as S};

    use super::*;
    use crate::oracle::story::{Story, dial};

    fn check(tell: impl FnOnce(&mut Story)) -> Vec<String> {
        Story::told::<SingleFlight>(tell)
    }

    #[test]
    fn a_dial_after_the_other_is_over_is_fine() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.out(dial::abort(2));
            story.fails(1, 1);
            story.at(900).dials(1, 4);
        });
        assert_eq!(texts, [""; 0]);
    }

    #[test]
    fn two_connections_at_a_time_are_found() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.dials(1, 4);
        });
        assert_eq!(texts.len(), 1);
        assert!(texts[0].contains("dialled connection 4 while its connection 2"), "{texts:?}");
    }

    #[test]
    fn two_retries_for_one_failure_are_found() {
        let texts = check(|story| {
            story.register(1, "live/a");
            story.dials(1, 2);
            story.out(dial::abort(2));
            story.fails(1, 1);
            story.step(1, S::BackingOff, E::Closed, S::BackingOff);
            story.fails(1, 2);
        });
        assert_eq!(texts.len(), 1);
        assert!(texts[0].contains("2 pending retries for 1 failure (it counts 2 failures)"), "{texts:?}");
    }
}
