//! Runs smaller files and says which still fail: each once, several at a time, none twice.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{failure::Failure, text::line_at};
use crate::{
    oracle::Finding,
    scenario::{self, model::Scenario},
    world::{Keep, World},
};

/// A file as it might be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) text: String,
    /// Where what is missed is asked for, if the promise is the scenario's own.
    pub(super) place: Option<usize>,
}

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It fails, by the same promise.
    Fails,
    /// It does not, or by something else.
    Not,
    /// It is no scenario, or one that is warned of, or whose run does not end.
    Invalid,
}

/// What tries cases.
#[derive(Debug)]
pub(super) struct Trial {
    /// The file's name: its stem is the id in the text.
    file: String,
    seed: u64,
    failure: Failure,
    jobs: usize,
    /// Records of a run beyond which it is no smaller case.
    records_max: u64,
    /// Warnings the file has as it is.
    warnings_max: usize,
    known: BTreeMap<String, Verdict>,
    /// Runs made.
    pub(super) runs: usize,
}

impl Trial {
    pub(super) fn new(file: &str, seed: u64, failure: Failure, jobs: usize) -> Self {
        Self {
            file: file.to_owned(),
            seed,
            failure,
            jobs: jobs.max(1),
            records_max: u64::MAX,
            warnings_max: usize::MAX,
            known: BTreeMap::new(),
            runs: 0,
        }
    }

    /// From here on a case may make so many records, and may be warned of so often.
    pub(super) fn limit(&mut self, records_max: u64, warnings_max: usize) {
        (self.records_max, self.warnings_max) = (records_max, warnings_max);
    }

    /// Reads a case, if it is a scenario.
    pub(super) fn read(&self, case: &Case) -> Option<Scenario> {
        let loaded = scenario::load(&case.text, &self.file, None).ok()?;
        (loaded.warnings.len() <= self.warnings_max).then_some(loaded.scenario)
    }

    /// Returns how a case fails, and whether it was given up.
    pub(super) fn run(&self, case: &Case, scenario: &Scenario, seed: u64) -> (Option<Finding>, bool) {
        let keep = Keep { until: Some(self.records_max), ..Keep::default() };
        let outcome = World::run(scenario, seed, keep);
        let line = case.place.map_or(0, |place| line_at(&case.text, place));
        (self.failure.find(&outcome.findings, line, scenario).cloned(), outcome.is_cut)
    }

    /// Returns whether a case fails by the same promise.
    pub(super) fn fails(&mut self, case: &Case) -> bool {
        self.verdict(case) == Verdict::Fails
    }

    /// Returns what becomes of a case.
    pub(super) fn verdict(&mut self, case: &Case) -> Verdict {
        self.verdicts(std::slice::from_ref(case)).pop().unwrap_or(Verdict::Invalid)
    }

    /// Returns the first of several cases that fails by the same promise, whatever the number of threads. Those behind it
    /// may not have been tried.
    pub(super) fn first_failing(&mut self, cases: &[Case]) -> Option<usize> {
        let mut done = 0;
        for some in cases.chunks(self.jobs) {
            let verdicts = self.verdicts(some);
            if let Some(index) = verdicts.iter().position(|verdict| *verdict == Verdict::Fails) {
                return Some(done + index);
            }
            done += some.len();
        }
        None
    }

    /// Returns what becomes of each case.
    pub(super) fn verdicts(&mut self, cases: &[Case]) -> Vec<Verdict> {
        let mut open: Vec<(&Case, Scenario)> = Vec::new();
        for case in cases {
            if self.known.contains_key(&case.text) || open.iter().any(|(other, _)| other.text == case.text) {
                continue;
            }
            match self.read(case) {
                Some(scenario) => open.push((case, scenario)),
                None => {
                    self.known.insert(case.text.clone(), Verdict::Invalid);
                }
            }
        }
        let judge = |(case, scenario): &(&Case, Scenario)| match self.run(case, scenario, self.seed) {
            (Some(_), _) => Verdict::Fails,
            (None, false) => Verdict::Not,
            // Nobody knows what it would have come to.
            (None, true) => Verdict::Invalid,
        };
        let found = each(&open, self.jobs, judge);
        self.runs += open.len();
        for ((case, _), verdict) in open.iter().zip(found) {
            self.known.insert(case.text.clone(), verdict);
        }
        let known = |case: &Case| self.known.get(&case.text).copied().unwrap_or(Verdict::Invalid);
        cases.iter().map(known).collect()
    }

    /// Returns with how many other seeds a case fails too.
    pub(super) fn seeds(&mut self, case: &Case, seeds: &[u64]) -> usize {
        let Some(scenario) = self.read(case) else { return 0 };
        let fails = each(seeds, self.jobs, |seed| self.run(case, &scenario, *seed).0.is_some());
        self.runs += seeds.len();
        fails.into_iter().filter(|fails| *fails).count()
    }
}

/// Works on several things at a time; what comes of each stands in its place.
#[expect(
    clippy::disallowed_methods,
    reason = "each thread runs worlds of its own; what a run does is its own"
)]
pub(crate) fn each<T: Sync, R: Send>(things: &[T], threads: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if threads <= 1 || things.len() <= 1 {
        return things.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(things.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.min(things.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(thing) = things.get(index) else { break };
                    let made = work(thing);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, made));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, made)| made).collect()
}
