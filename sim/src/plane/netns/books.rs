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
pub(super) const HOLD: Duration = Duration::from_millis(80);

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
