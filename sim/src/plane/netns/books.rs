//! The records of a world, brought into the order of their time.
//!
//! Several processes tell what happens to them, each with a time of the one clock of their machine, and each a little
//! late. Records wait until nobody is likely to tell anything earlier.

use std::collections::BTreeMap;

use proxy_core::time::{Duration, Instant};

use crate::{
    oracle::Oracles,
    trace::{ActorId, Log, Phase, Tracer, What},
};

/// How long records wait.
pub(super) const HOLD: Duration = Duration::from_millis(200);

/// Records on their way to the oracles.
#[derive(Debug)]
pub(super) struct Books {
    waiting: BTreeMap<(Instant, u64), (ActorId, u32, What)>,
    noted: u64,
    /// Everything before is judged.
    settled: Instant,
    pub(super) tracer: Tracer,
    pub(super) oracles: Oracles,
    /// The latest that anything came that should have come before what is judged.
    pub(super) late: Duration,
}

impl Books {
    pub(super) fn new(oracles: Oracles, keeps: bool) -> Self {
        Self {
            waiting: BTreeMap::new(),
            noted: 0,
            settled: Instant::ZERO,
            tracer: Tracer::new(keeps.then(Log::default)),
            oracles,
            late: Duration::ZERO,
        }
    }

    /// Takes a record.
    pub(super) fn note(&mut self, at: Instant, actor: ActorId, line: u32, what: What) {
        self.noted += 1;
        self.late = self.late.max(self.settled.since(at));
        self.waiting.insert((at.max(self.settled), self.noted), (actor, line, what));
    }

    /// Judges everything up to a moment.
    pub(super) fn settle(&mut self, until: Instant) {
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= until
        {
            let ((at, _), (actor, line, what)) = entry.remove_entry();
            let is_phase = matches!(what, What::Phase(Phase::Cleanup));
            let record = self.tracer.record(at, actor, 0, line, what);
            // Kept, not judged: no promise is about single packets.
            if !matches!(record.what, What::Packet(_)) {
                self.oracles.on_record(&record);
            }
            self.settled = at;
            if self.oracles.has_findings() && !is_phase {
                return;
            }
        }
        if until > self.settled {
            self.settled = until;
            self.oracles.pass(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Moment;

    fn kept(notes: &[(u64, u16)], settles: &[u64]) -> (Vec<(u64, u16)>, Duration) {
        let mut books = Books::new(Oracles::default(), true);
        let mut notes = notes.iter();
        for until in settles {
            for (at, actor) in notes.by_ref().take(2) {
                books.note(Instant::from_millis(*at), ActorId(*actor), 0, What::Moment(Moment::Silent));
            }
            books.settle(Instant::from_millis(*until));
        }
        let late = books.late;
        let log = books.tracer.into_log().expect("records are kept");
        (log.records().map(|record| (record.at.as_millis(), record.actor.0)).collect(), late)
    }

    #[test]
    fn records_come_in_the_order_of_their_time_whoever_told_first() {
        let (records, late) = kept(&[(9, 1), (3, 2), (3, 4), (5, 3)], &[2, 10]);
        assert_eq!(records, [(3, 2), (3, 4), (5, 3), (9, 1)]);
        assert_eq!(late, Duration::ZERO);
    }

    #[test]
    fn what_comes_after_its_time_was_judged_is_late() {
        let (records, late) = kept(&[(9, 1), (3, 2), (4, 3), (12, 4)], &[10, 20]);
        assert_eq!(records, [(3, 2), (9, 1), (10, 3), (12, 4)]);
        assert_eq!(late, Duration::from_millis(6));
    }
}
