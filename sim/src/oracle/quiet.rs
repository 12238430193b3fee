//! No busy loop. That time stands still is seen by the world itself; that a deadline lies in the past is seen here.

use super::{Findings, Kinds, Oracle, SAMPLE, Scene};
use crate::trace::{Record, What};

pub(super) const NAME: &str = "quiet";

/// Sees that the core sleeps until something is due.
#[derive(Debug, Default)]
pub(super) struct Quiet;

impl Oracle for Quiet {
    fn kinds(&self) -> Kinds {
        SAMPLE
    }

    fn on_record(&mut self, record: &Record, _: &Scene, findings: &mut Findings) {
        let What::Sample(sample) = &record.what else { return };
        if let Some((next, owner)) = sample.next
            && next <= record.at
        {
            let text = format!(
                "after everything was said at {}, the core wants to be woken at {next} for {owner:?}: a moment that lies \
                 ahead was promised",
                record.at
            );
            findings.broken(NAME, record.actor, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use proxy_core::{io::Wakeup, proxy::Counts, time::Instant};

    use super::*;
    use crate::{
        oracle::story::{PROXY, Story},
        trace::Sample,
    };

    fn check(next: u64) -> Vec<String> {
        Story::told::<Quiet>(|story| {
            let next = Some((Instant::from_millis(next), Wakeup::Dial));
            story.at(500).record(PROXY, What::Sample(Sample { core: Counts::default(), sockets: 0, next }));
        })
    }

    #[test]
    fn a_deadline_ahead_is_fine() {
        assert_eq!(check(501), [""; 0]);
    }

    #[test]
    fn a_deadline_that_has_come_is_found() {
        assert_eq!(check(500).len(), 1);
    }
}
