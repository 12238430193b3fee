//! The search: seeds in generations, each scenario tried, what reached something new remembered.
//!
//! ```text
//!  seed ─► fresh from its source ──────┐
//!       └► a remembered one, changed ──┴─► attempt ─► reached something new? remember it ─► the next generation
//! ```
//! What a generation is made of depends on what the ones before it reached, and on nothing else: not on how many threads
//! ran it, nor on which was done first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use proxy_core::time::{Duration, Instant};

use super::{
    attempt::{Attempt, Conduct, attempt},
    expand::Source,
    found::Found,
    report::Shard,
    roll::Roll,
};
use crate::{
    dice::Dice,
    oracle::{Measured, REACHABLE},
    report::Group,
    scenario::{MARKS, model::Scenario},
};

/// Attempts of a generation.
const GENERATION: usize = 96;
/// Of a hundred attempts of a guided search, those that change a scenario that is remembered. Defects take the longer to find the
/// more these are: what was near is tried again, and what nobody has told yet is tried less.
const CHANGED: u32 = 30;
/// Scenarios remembered; beyond it the oldest are forgotten.
const REMEMBERED_MAX: usize = 3_000;
/// Scenarios remembered for their recovery time.
const WORST_MAX: usize = 24;

/// How scenarios are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Each seed by itself, anything at any time.
    Random,
    /// Each seed by itself, kinds of faults left out in about half of them, aimed at instants.
    Swarm,
    /// The same, and what reached something new is changed and tried again.
    Guided,
}

impl Mode {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Swarm => "swarm",
            Self::Guided => "guided",
        }
    }
}

/// What is searched.
#[derive(Debug)]
pub struct Plan {
    /// Where scenarios come from, in turn.
    pub sources: Vec<Source>,
    /// The first seed.
    pub from: u64,
    /// How many seeds, of all shards together; `None`: until told to stop.
    pub seeds: Option<u64>,
    /// This part of so many: every so-manieth seed.
    pub shard: Shard,
    /// How scenarios are chosen.
    pub mode: Mode,
    /// Long recovery is what is looked for, beside failures.
    pub maximises: bool,
    /// How runs are made.
    pub conduct: Conduct,
    /// Threads.
    pub jobs: usize,
    /// Stops at the first failure that is not known.
    pub stops_at_first: bool,
}

/// What a search has come to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Seeds tried.
    pub seeds: u64,
    /// Records made.
    pub steps: u64,
    /// How often each mark was reached, in how many seeds.
    pub marks: BTreeMap<&'static str, u64>,
    /// In how many seeds each cell was reached, and the first of them.
    pub cells: BTreeMap<(usize, usize), u64>,
    /// Ways taken.
    pub ways: BTreeSet<u32>,
    /// Failures.
    pub found: Found,
    /// The worst recovery times.
    pub worst: BTreeMap<String, Worst>,
}

/// A worst time, and what led to it.
#[derive(Clone, Debug)]
pub struct Worst {
    /// The time and its bound.
    pub measured: Measured,
    /// The seed.
    pub seed: u64,
    /// The scenario.
    pub scenario: Scenario,
}

/// A scenario worth another try.
#[derive(Debug)]
struct Remembered {
    source: usize,
    scenario: Scenario,
    instants: Vec<Instant>,
    recovery: Duration,
}

/// What a search remembers.
#[derive(Debug, Default)]
struct Memory {
    fresh: Vec<Remembered>,
    worst: Vec<Remembered>,
}

/// Searches, and tells after each generation how far it is. `is_over`: stop as soon as you can.
pub fn search(
    plan: &Plan,
    is_over: &AtomicBool,
    known: BTreeMap<Group, String>,
    mut on_progress: impl FnMut(&Tally),
) -> Tally {
    let mut tally = Tally::default();
    tally.found.known = known;
    let mut memory = Memory::default();
    let mut seeds = seeds_of(plan);
    loop {
        let generation: Vec<u64> = seeds.by_ref().take(GENERATION).collect();
        if generation.is_empty() || is_over.load(Ordering::Relaxed) {
            return tally;
        }
        for (source, attempt) in run_generation(plan, &generation, &memory, is_over) {
            take(plan, source, attempt, &mut tally, &mut memory);
            if plan.stops_at_first && tally.found.has_news() {
                return tally;
            }
        }
        memory.forget();
        on_progress(&tally);
    }
}

/// Returns the seeds of a shard.
fn seeds_of(plan: &Plan) -> Box<dyn Iterator<Item = u64>> {
    let Shard { part, of: parts } = plan.shard;
    let all = plan.from..plan.seeds.map_or(u64::MAX, |seeds| plan.from.saturating_add(seeds));
    let step = usize::try_from(parts.max(1)).unwrap_or(usize::MAX);
    Box::new(all.skip(usize::try_from(part.saturating_sub(1)).unwrap_or(0)).step_by(step))
}

/// Makes the attempts of a generation, and returns them in the order of their seeds.
#[expect(
    clippy::disallowed_methods,
    reason = "each thread runs worlds of its own; what a run does is its own"
)]
fn run_generation(
    plan: &Plan,
    seeds: &[u64],
    memory: &Memory,
    is_over: &AtomicBool,
) -> Vec<(usize, Attempt)> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(seeds.len()));
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.clamp(1, seeds.len()) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let made = make(plan, *seed, memory);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push(made);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(_, attempt)| attempt.seed);
    done
}

/// Makes the scenario of a seed and tries it.
fn make(plan: &Plan, seed: u64, memory: &Memory) -> (usize, Attempt) {
    let mut dice = Dice::new(seed, "explore: choice");
    let changes = plan.mode == Mode::Guided && dice.chance(CHANGED);
    let (source, scenario) = match memory.choose(plan.maximises, &mut dice).filter(|_| changes) {
        Some(parent) => {
            let scenario = plan.sources[parent.source].mutate(&parent.scenario, &parent.instants, seed);
            (parent.source, scenario)
        }
        None => {
            let source = usize::try_from(seed % plan.sources.len() as u64).unwrap_or(0);
            (source, plan.sources[source].expand(seed, plan.mode != Mode::Random))
        }
    };
    (source, attempt(seed, scenario, plan.conduct))
}

/// Counts what an attempt came to, and remembers it if it reached something new.
fn take(plan: &Plan, source: usize, attempt: Attempt, tally: &mut Tally, memory: &mut Memory) {
    let is_new = tally.count(&attempt);
    let recovery = recovery_of(&attempt.measured);
    if let Some(failure) = attempt.failure {
        tally.found.add(attempt.seed, failure, attempt.scenario);
        // What fails would fail again.
        return;
    }
    let remembered = || Remembered {
        source,
        scenario: attempt.scenario.clone(),
        instants: attempt.instants.clone(),
        recovery,
    };
    if plan.mode != Mode::Guided {
        return;
    }
    if is_new {
        memory.fresh.push(remembered());
    }
    if plan.maximises && !recovery.is_zero() {
        memory.worst.push(remembered());
    }
}

/// Returns the longest recovery measured.
fn recovery_of(measured: &[Measured]) -> Duration {
    let recoveries = measured.iter().filter(|measured| is_recovery(&measured.what));
    recoveries.map(|measured| measured.observed).max().unwrap_or_default()
}

/// Returns whether something measured is a recovery.
pub fn is_recovery(what: &str) -> bool {
    crate::oracle::RECOVERIES.contains(&what)
}

impl Memory {
    /// Chooses what is changed next: what is young as often as all that is older.
    fn choose(&self, maximises: bool, dice: &mut Dice) -> Option<&Remembered> {
        if maximises && !self.worst.is_empty() && dice.chance(70) {
            let at = dice.below(self.worst.len() as u64);
            return self.worst.get(usize::try_from(at).unwrap_or(0));
        }
        let count = self.fresh.len() as u64;
        let among = if dice.chance(50) { count.min(64) } else { count };
        let back = dice.below(among);
        self.fresh.get(usize::try_from(count.checked_sub(back + 1)?).ok()?)
    }

    fn forget(&mut self) {
        let beyond = self.fresh.len().saturating_sub(REMEMBERED_MAX);
        self.fresh.drain(..beyond);
        self.worst.sort_by_key(|remembered| std::cmp::Reverse(remembered.recovery));
        self.worst.truncate(WORST_MAX);
    }
}

impl Tally {
    /// Counts what an attempt reached and measured; returns whether it reached something new. Its failure is for
    /// [`Found::add`].
    pub fn count(&mut self, attempt: &Attempt) -> bool {
        self.seeds += 1;
        self.steps += attempt.steps;
        let mut is_new = false;
        for mark in &attempt.reach.marks {
            let count = self.marks.entry(mark).or_insert(0);
            is_new |= *count == 0;
            *count += 1;
        }
        for (state, event) in &attempt.reach.cells {
            let count = self.cells.entry((*state as usize, *event as usize)).or_insert(0);
            is_new |= *count == 0;
            *count += 1;
        }
        let before = self.ways.len();
        self.ways.extend(&attempt.reach.ways);
        is_new |= self.ways.len() > before;
        if attempt.failure.is_none() {
            self.compare(attempt);
        }
        is_new
    }

    /// Returns how many of the reachable cells were reached.
    pub fn cells_reached(&self) -> usize {
        let all =
            REACHABLE.iter().flat_map(|(state, events)| events.iter().map(move |event| (*state, *event)));
        all.filter(|(state, event)| self.cells.contains_key(&(*state as usize, *event as usize))).count()
    }

    /// Keeps what took longest.
    fn compare(&mut self, attempt: &Attempt) {
        for measured in attempt.measured.iter().filter(|measured| is_recovery(&measured.what)) {
            let known = self.worst.get(&measured.what);
            if known.is_none_or(|worst| worst.measured.observed < measured.observed) {
                let (seed, scenario) = (attempt.seed, attempt.scenario.clone());
                self.worst
                    .insert(measured.what.clone(), Worst { measured: measured.clone(), seed, scenario });
            }
        }
    }

    /// Returns the marks never reached.
    pub fn marks_missed(&self) -> Vec<&'static str> {
        MARKS.iter().map(|(name, _)| *name).filter(|name| !self.marks.contains_key(name)).collect()
    }
}
