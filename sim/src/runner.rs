//! Runs scenario files: every run twice, every difference named.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use proxy_core::time::Duration;

use crate::{
    agree::KNOWN_FILE,
    oracle::{Finding, Measured, Strictness},
    plane::{self, Plane, Unrunnable},
    scenario::{self, Problem, model::Scenario},
    trace::{Cast, Log, Logged, Record},
    world::{Keep, Outcome},
};

/// A scenario file.
#[derive(Debug)]
pub struct File {
    /// Where it is, as the user named it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// One run to make: a file and a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    /// An index into the files.
    pub file: usize,
    /// The seed.
    pub seed: u64,
}

/// What became of a run.
#[derive(Debug)]
pub struct Ran {
    /// The scenario's id.
    pub id: String,
    /// The seed.
    pub seed: u64,
    /// Records made.
    pub steps: u64,
    /// The hash over them.
    pub hash: u64,
    /// Virtual time.
    pub time: Duration,
    /// How it went.
    pub verdict: Verdict,
    /// Worst times beside their bounds.
    pub measured: Vec<Measured>,
    /// Marks reached.
    pub marks: Vec<&'static str>,
    /// Cells of the pull's table reached, `state × event`.
    pub cells: Vec<(proxy_core::io::PullState, proxy_core::io::PullEventKind)>,
}

/// How a run went.
#[derive(Debug)]
pub enum Verdict {
    /// Every promise was held.
    Held,
    /// Promises were broken.
    Broken(Vec<Finding>),
    /// The run did not end within the records allowed.
    NoVerdict,
    /// Two runs of the same differ.
    Differs(Box<Difference>),
    /// The plane does not take it.
    Unrunnable(Unrunnable),
}

/// Where two runs of the same differ.
#[derive(Debug)]
pub struct Difference {
    /// The number of the first record that is not the same.
    pub step: usize,
    /// It in the first run, if there is one.
    pub first: Option<Record>,
    /// It in the second run, if there is one.
    pub second: Option<Record>,
}

/// Returns the scenario files that paths stand for: a file itself, of a folder every `*.toml` below it, in order.
///
/// # Errors
/// Names the path that cannot be read, or the folder without scenarios.
pub fn scenario_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        if path.is_dir() {
            collect(path, &mut files).map_err(|error| format!("{}: {error}", path.display()))?;
            if files.len() == before {
                return Err(format!("{}: no *.toml below this folder", path.display()));
            }
        } else if path.exists() {
            files.push(path.clone());
        } else {
            return Err(format!("{}: no such file or folder", path.display()));
        }
    }
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    // Folders come in any order.
    let mut entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") && !path.ends_with(KNOWN_FILE)
        {
            files.push(path);
        }
    }
    Ok(())
}

/// Returns whether a file is one of the failures that are known: in `scenarios/known/`.
pub fn is_known(path: &Path) -> bool {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    folder.is_some_and(|folder| folder.ends_with("scenarios/known"))
}

/// Finds scenario files and reads their text.
///
/// # Errors
/// Names what cannot be read.
pub fn find_files(paths: &[PathBuf]) -> Result<Vec<File>, String> {
    let read = |path: PathBuf| match fs::read_to_string(&path) {
        Ok(text) => Ok(File { path, text }),
        Err(error) => Err(format!("{}: {error}", path.display())),
    };
    scenario_files(paths)?.into_iter().map(read).collect()
}

/// Reads every file; one with ranges is what its first seed makes of it.
///
/// # Errors
/// The problems of all files.
pub fn read_files(files: &[File]) -> Result<Vec<Scenario>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut scenarios = Vec::new();
    for file in files {
        match read_first(&file.text, &file.path.display().to_string()) {
            Ok(scenario) => scenarios.push(scenario),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(scenarios) } else { Err(problems) }
}

fn read_first(text: &str, path: &str) -> Result<Scenario, Vec<Problem>> {
    let read = scenario::load(text, path, Some(1))?;
    let seed = read.scenario.run.seeds.first().copied().unwrap_or(1);
    if read.explicit == text {
        return Ok(read.scenario);
    }
    let mut scenario = scenario::load(text, path, Some(seed))?.scenario;
    scenario.run.seeds = vec![seed];
    Ok(scenario)
}

/// Runs a scenario on a plane and judges it; a run that makes more records than allowed is given up. Where a seed decides
/// everything it is run twice, and the two are compared.
pub fn run_twice(plane: Plane, scenario: &Scenario, seed: u64, records_max: u64) -> Ran {
    let keep = Keep { until: Some(records_max), ..Keep::default() };
    let first = plane::run(plane, scenario, seed, keep);
    let Ok(outcome) = &first else { return ran(scenario, seed, first, None) };
    let difference = if plane::is_exact(plane) {
        let second = plane::run(plane, scenario, seed, keep);
        let same = second.is_ok_and(|second| (outcome.hash, outcome.steps) == (second.hash, second.steps));
        if same { None } else { Some(find_difference(plane, scenario, seed)) }
    } else {
        None
    };
    ran(scenario, seed, first, difference)
}

/// Runs a scenario once on plane `core`.
pub fn run_once(scenario: &Scenario, seed: u64) -> Ran {
    run_once_on(Plane::Core, scenario, seed)
}

/// Runs a scenario once.
pub fn run_once_on(plane: Plane, scenario: &Scenario, seed: u64) -> Ran {
    ran(scenario, seed, plane::run(plane, scenario, seed, Keep::default()), None)
}

/// Runs a scenario once on plane `core` and judges it by other bounds than its own.
pub fn run_with(scenario: &Scenario, seed: u64, strictness: Strictness) -> Ran {
    let keep = Keep { strictness, ..Keep::default() };
    ran(scenario, seed, plane::run(Plane::Core, scenario, seed, keep), None)
}

pub(crate) fn ran(
    scenario: &Scenario,
    seed: u64,
    outcome: Result<Outcome, Unrunnable>,
    difference: Option<Difference>,
) -> Ran {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(why) => {
            return Ran {
                id: scenario.id.clone(),
                seed,
                steps: 0,
                hash: 0,
                time: Duration::ZERO,
                verdict: Verdict::Unrunnable(why),
                measured: Vec::new(),
                marks: Vec::new(),
                cells: Vec::new(),
            };
        }
    };
    let verdict = match (difference, outcome.findings.is_empty()) {
        (Some(difference), _) => Verdict::Differs(Box::new(difference)),
        (None, true) if outcome.is_cut => Verdict::NoVerdict,
        (None, true) => Verdict::Held,
        (None, false) => Verdict::Broken(outcome.findings),
    };
    Ran {
        id: scenario.id.clone(),
        seed,
        steps: outcome.steps,
        hash: outcome.hash,
        time: outcome.time,
        verdict,
        measured: outcome.oracles.measured().to_vec(),
        marks: outcome.oracles.marks(),
        cells: outcome.oracles.cells(),
    }
}

/// Two runs differed: makes them once more and finds out where. Runs that differ do not differ at the same place each
/// time, but somewhere they do.
fn find_difference(plane: Plane, scenario: &Scenario, seed: u64) -> Difference {
    let keep = Keep { records: true, ..Keep::default() };
    let run =
        || plane::run(plane, scenario, seed, keep).ok().and_then(|outcome| outcome.log).unwrap_or_default();
    for _ in 0..8 {
        let (first, second) = (run(), run());
        if let Some(step) = first.first_difference(&second) {
            let nth = |log: &Log| log.records().nth(step - 1);
            return Difference { step, first: nth(&first), second: nth(&second) };
        }
    }
    Difference { step: 0, first: None, second: None }
}

/// Runs a scenario and keeps every record, and packets if wanted.
///
/// # Errors
/// The plane does not take it.
pub fn run_logged(
    plane: Plane,
    scenario: &Scenario,
    text: &str,
    seed: u64,
    packets: bool,
) -> Result<Logged, Unrunnable> {
    let outcome = plane::run(plane, scenario, seed, Keep { records: true, packets, ..Keep::default() })?;
    Ok(logged(scenario, text, seed, &outcome.cast, outcome.log))
}

pub(crate) fn logged(scenario: &Scenario, text: &str, seed: u64, cast: &Cast, log: Option<Log>) -> Logged {
    let records = log.map(|log| log.records().collect()).unwrap_or_default();
    Logged { scenario: scenario.id.clone(), text: text.to_owned(), seed, cast: cast.clone(), records }
}

/// Records of a run beyond which it is given up, where nobody says otherwise. The longest committed one makes a
/// hundredth of that.
pub const RECORDS_MAX: u64 = 20_000_000;

/// Runs jobs on several threads and hands each result over, in no order, with its job.
#[expect(
    clippy::disallowed_methods,
    reason = "each thread runs worlds of its own; what a run does is its own"
)]
pub fn run_all(
    plane: Plane,
    scenarios: &[Scenario],
    jobs: &[Job],
    threads: usize,
    records_max: u64,
    on_ran: impl FnMut(Job, Ran) + Send,
) {
    let next = AtomicUsize::new(0);
    let on_ran = Mutex::new(on_ran);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ran = run_twice(plane, &scenarios[job.file], job.seed, records_max);
                    let mut on_ran = on_ran.lock().unwrap_or_else(PoisonError::into_inner);
                    on_ran(*job, ran);
                }
            });
        }
    });
}
