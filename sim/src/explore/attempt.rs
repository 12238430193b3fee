//! One scenario made, printed, read back, run and judged: what ran is what the file says.

use std::collections::BTreeSet;

use proxy_core::{
    io::{PullEventKind, PullState},
    time::Instant,
};

use crate::{
    oracle::{Finding, Measured, Strictness},
    report::Group,
    scenario::{self, model::Scenario},
    world::{Keep, Outcome, World},
};

/// What becomes of an attempt that is no promise of the proxy's.
pub const GENERATOR: &str = "generator";
/// The promise that a run ends.
pub const NO_VERDICT: &str = "no-verdict";

/// How runs are made.
#[derive(Clone, Copy, Debug)]
pub struct Conduct {
    /// Each run is made twice, and the two are compared.
    pub twice: bool,
    /// Records of a run beyond which it is given up.
    pub records_max: u64,
    /// How strictly bounds are judged.
    pub strictness: Strictness,
}

impl Default for Conduct {
    fn default() -> Self {
        Self { twice: false, records_max: RECORDS_MAX, strictness: Strictness::default() }
    }
}

/// Records of a run beyond which it is given up. A generated one makes some ten thousand.
pub const RECORDS_MAX: u64 = 1_000_000;

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub group: Group,
    /// What was seen, with its numbers.
    pub text: String,
}

/// What a run reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Marks.
    pub marks: Vec<&'static str>,
    /// Cells of the pull's table.
    pub cells: Vec<(PullState, PullEventKind)>,
    /// Ways, see [`crate::oracle::Oracles::ways`].
    pub ways: BTreeSet<u32>,
}

/// A scenario tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its number.
    pub seed: u64,
    /// The scenario that ran.
    pub scenario: Scenario,
    /// How it failed; of several failures the first.
    pub failure: Option<Failure>,
    /// What it reached.
    pub reach: Reach,
    /// The instants at which it turned.
    pub instants: Vec<Instant>,
    /// Worst times beside their bounds.
    pub measured: Vec<Measured>,
    /// Records made.
    pub steps: u64,
    /// The hash over them.
    pub hash: u64,
}

/// Tries a scenario.
pub fn attempt(seed: u64, mut scenario: Scenario, conduct: Conduct) -> Attempt {
    scenario.id = format!("seed-{seed}");
    if scenario.title.is_empty() {
        "Whatever happens, every promise is held".clone_into(&mut scenario.title);
    }
    let text = scenario::print(&scenario);
    let read = match scenario::read(&text, &format!("seed-{seed}.toml")) {
        Ok(read) => read,
        Err(problems) => {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            let first = told.first().cloned().unwrap_or_default();
            let group = Group { promise: GENERATOR.to_owned(), place: first };
            return failed(seed, scenario, Failure { group, text: told.join("\n") });
        }
    };
    run(seed, read, conduct)
}

/// Runs a scenario that has been read.
pub fn run(seed: u64, scenario: Scenario, conduct: Conduct) -> Attempt {
    let dice = scenario.run.seeds.first().copied().unwrap_or(1);
    let keep = Keep { until: Some(conduct.records_max), strictness: conduct.strictness, ..Keep::default() };
    let outcome = World::run(&scenario, dice, keep);
    let mut failure = failure_of(&outcome, &scenario);
    if failure.is_none() && conduct.twice {
        let second = World::run(&scenario, dice, keep);
        if (second.hash, second.steps) != (outcome.hash, outcome.steps) {
            let text = format!(
                "{} records with hash {:016x}, and {} with {:016x}",
                outcome.steps, outcome.hash, second.steps, second.hash
            );
            failure = Some(Failure { group: Group::differs(), text });
        }
    }
    let oracles = &outcome.oracles;
    Attempt {
        seed,
        failure,
        reach: Reach { marks: oracles.marks(), cells: oracles.cells(), ways: oracles.ways().clone() },
        instants: oracles.instants().to_vec(),
        measured: oracles.measured().to_vec(),
        steps: outcome.steps,
        hash: outcome.hash,
        scenario,
    }
}

/// Returns the failure of a run: of several findings the first.
fn failure_of(outcome: &Outcome, scenario: &Scenario) -> Option<Failure> {
    let of = |finding: &Finding| Failure {
        group: Group::of(finding, scenario, &outcome.cast),
        text: finding.text.clone(),
    };
    let no_verdict = || {
        let text = format!("{} records and no end", outcome.steps);
        let group =
            Group { promise: NO_VERDICT.to_owned(), place: "no end within the records allowed".to_owned() };
        Failure { group, text }
    };
    outcome.findings.first().map(of).or_else(|| outcome.is_cut.then(no_verdict))
}

fn failed(seed: u64, scenario: Scenario, failure: Failure) -> Attempt {
    Attempt {
        seed,
        scenario,
        failure: Some(failure),
        reach: Reach::default(),
        instants: Vec::new(),
        measured: Vec::new(),
        steps: 0,
        hash: 0,
    }
}
