//! `repull-sim prove`: each scenario on every plane it names, and whether they agree.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use proxy_core::time::Duration;
use serde_json::{Value, json};

use super::{exit, files, progress::Progress};
use crate::{
    agree::{self, Aspect, Comparison, Gist, KNOWN_FILE, Known, KnownError, compare, side_by_side},
    plane::{self, Plane, Unrunnable, netns},
    runner::Job,
    scenario::model::Scenario,
    trace::{Cast, Record},
    world::Keep,
};

/// What is to be proven, and how it is told.
#[derive(Clone, Debug)]
pub struct ProveOptions {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// Only on these planes; the first one a file names is what the others are compared with.
    pub planes: Vec<Plane>,
    /// This seed instead of each file's first.
    pub seed: Option<u64>,
    /// Scenarios at a time.
    pub jobs: usize,
    /// The known differences; looked for beside the scenarios if not named.
    pub known: Option<PathBuf>,
    /// One JSON object instead of a table.
    pub json: bool,
    /// What planes need that run the real binary.
    pub real: netns::Options,
}

/// A run on a plane.
struct Run {
    gist: Gist,
    records: Vec<Record>,
    cast: Cast,
}

/// One plane beside the first.
struct Row {
    plane: Plane,
    /// Nothing if it could not be run.
    compared: Result<Compared, Unrunnable>,
}

struct Compared {
    comparison: Comparison,
    broken: Vec<String>,
    /// Known differences, with their reasons.
    known: Vec<(Aspect, String)>,
    /// What nobody knew, each with the traces around it.
    surprises: Vec<(Aspect, String, String)>,
}

/// A scenario on its planes.
struct Proof {
    id: String,
    path: PathBuf,
    seed: u64,
    first: Plane,
    /// The promises the first plane's run broke, or why there is none.
    reference: Result<Vec<String>, Unrunnable>,
    rows: Vec<Row>,
}

/// Runs, compares and tells; returns the exit code.
pub fn prove(options: &ProveOptions) -> u8 {
    let files = match files::find(&options.paths) {
        Ok(files) => files,
        Err(code) => return code,
    };
    let scenarios = match files::read(&files) {
        Ok(scenarios) => scenarios,
        Err(code) => return code,
    };
    let known = match find_known(options) {
        Ok(known) => known,
        Err(KnownError(error)) => {
            eprintln!("repull-sim: {error}");
            return exit::USAGE;
        }
    };
    let absent = absent(options, &scenarios);
    // An engine is no part of a machine; whatever else is asked for by name must be there.
    let is_asked_for = |plane: &Plane| *plane != Plane::Container && options.planes.contains(plane);
    if let Some((_, why)) = absent.iter().find(|(plane, _)| is_asked_for(plane)) {
        eprintln!("repull-sim: {why}");
        return exit::USAGE;
    }
    let seed = |scenario: &Scenario| options.seed.or(scenario.run.seeds.first().copied()).unwrap_or(1);
    let chosen = scenarios.iter().enumerate().filter(|(_, scenario)| !wanted(scenario, options).is_empty());
    let jobs: Vec<Job> = chosen.map(|(file, scenario)| Job { file, seed: seed(scenario) }).collect();
    let mut progress = Progress::new(jobs.len(), "files");
    let mut proofs: Vec<(usize, Proof)> = Vec::new();
    let bench = Bench { options, known: &known, absent: &absent, is_interrupted: AtomicBool::new(false) };
    each(
        &jobs,
        options.jobs,
        |job| {
            let (scenario, path) = (&scenarios[job.file], &files[job.file].path);
            // Whoever interrupts one world wants none after it.
            let is_over = bench.is_interrupted.load(Ordering::Relaxed);
            if is_over { None } else { prove_one(scenario, path, job.seed, &bench) }
        },
        |job, proof| {
            if let Some(proof) = proof {
                progress.on_done(!proof.is_surprising());
                proofs.push((job.file, proof));
            }
        },
    );
    progress.end();
    proofs.sort_by_key(|(file, _)| *file);
    let proofs: Vec<Proof> = proofs.into_iter().map(|(_, proof)| proof).collect();
    if options.json {
        println!("{:#}", json_of(&proofs));
    } else {
        print!("{}", table(&proofs));
    }
    if proofs.len() < jobs.len() {
        eprintln!("repull-sim: interrupted: {} of {} files were begun", proofs.len(), jobs.len());
    }
    if proofs.iter().any(Proof::is_surprising) {
        exit::BROKEN
    } else if proofs.len() < jobs.len() || proofs.iter().any(|proof| proof.has_no_verdict(&absent)) {
        exit::NO_VERDICT
    } else {
        exit::HELD
    }
}

/// Returns the planes that are wanted and cannot be had here, with what is missing.
fn absent(options: &ProveOptions, scenarios: &[Scenario]) -> Vec<(Plane, Unrunnable)> {
    let is_wanted =
        |plane: &Plane| scenarios.iter().any(|scenario| wanted(scenario, options).contains(plane));
    let planes = [Plane::Netns, Plane::Container].into_iter().filter(is_wanted);
    planes.filter_map(|plane| Some((plane, plane::check(plane, false).err()?))).collect()
}

/// Returns the planes a scenario is to be run on.
fn wanted(scenario: &Scenario, options: &ProveOptions) -> Vec<Plane> {
    let is_wanted = |plane: &Plane| options.planes.is_empty() || options.planes.contains(plane);
    scenario.run.planes.iter().copied().filter(is_wanted).collect()
}

/// Hands jobs to several threads.
#[expect(
    clippy::disallowed_methods,
    reason = "each thread runs worlds of its own; what a run does is its own"
)]
fn each<T: Send>(
    jobs: &[Job],
    threads: usize,
    work: impl Fn(Job) -> T + Sync,
    done: impl FnMut(Job, T) + Send,
) {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(done);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let made = work(*job);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done(*job, made);
                }
            });
        }
    });
}

/// Reads the known differences: the file named, or the one in a folder above the first scenario.
fn find_known(options: &ProveOptions) -> Result<Known, KnownError> {
    if let Some(path) = &options.known {
        return Known::read(path);
    }
    let start = options.paths.first().map(PathBuf::as_path).unwrap_or(Path::new("."));
    match start.ancestors().map(|folder| folder.join(KNOWN_FILE)).find(|path| path.is_file()) {
        Some(path) => Known::read(&path),
        None => Ok(Known::default()),
    }
}

/// What every proof needs.
struct Bench<'a> {
    options: &'a ProveOptions,
    known: &'a Known,
    absent: &'a [(Plane, Unrunnable)],
    is_interrupted: AtomicBool,
}

fn prove_one(scenario: &Scenario, path: &Path, seed: u64, bench: &Bench<'_>) -> Option<Proof> {
    let planes = wanted(scenario, bench.options);
    let (first, others) = planes.split_first()?;
    let reference = bench.run(*first, scenario, seed);
    let rows = others.iter().map(|plane| {
        let compared = match (&reference, bench.run(*plane, scenario, seed)) {
            (Ok(one), Ok(other)) => Ok(compare_runs(scenario, (*first, one), (*plane, &other), bench.known)),
            (Err(why), _) => Err(why.clone()),
            (_, Err(why)) => Err(why),
        };
        Row { plane: *plane, compared }
    });
    Some(Proof {
        id: scenario.id.clone(),
        path: path.to_owned(),
        seed,
        first: *first,
        rows: rows.collect(),
        reference: reference.map(|run| run.gist.broken),
    })
}

impl Bench<'_> {
    fn run(&self, plane: Plane, scenario: &Scenario, seed: u64) -> Result<Run, Unrunnable> {
        if let Some((_, why)) = self.absent.iter().find(|(absent, _)| *absent == plane) {
            return Err(why.clone());
        }
        let keep = Keep { records: true, ..Keep::default() };
        let outcome =
            plane::run_with(plane, scenario, seed, keep, &self.options.real).inspect_err(|why| {
                let is_interrupted = matches!(why, Unrunnable::Interrupted(_));
                self.is_interrupted.fetch_or(is_interrupted, Ordering::Relaxed);
            })?;
        if outcome.is_cut {
            return Err(Unrunnable::TooSlow(plane));
        }
        let records: Vec<Record> = outcome.log.iter().flat_map(|log| log.records()).collect();
        let gist = agree::gist(&outcome, &records);
        Ok(Run { gist, records, cast: outcome.cast })
    }
}

fn compare_runs(
    scenario: &Scenario,
    (first, one): (Plane, &Run),
    (plane, other): (Plane, &Run),
    known: &Known,
) -> Compared {
    let comparison = compare(&one.gist, &other.gist);
    let (mut expected, mut surprises) = (Vec::new(), Vec::new());
    for part in &comparison.parts {
        if let Some(why) = known.why(&scenario.id, plane, part.aspect) {
            expected.push((part.aspect, why.to_owned()));
            continue;
        }
        let traces = side_by_side(
            (plane::name(first), plane::name(plane)),
            (&one.records, &other.records),
            (&one.cast, &other.cast),
            part.at,
        );
        surprises.push((part.aspect, part.text.clone(), traces));
    }
    expected.dedup();
    Compared { comparison, broken: other.gist.broken.clone(), known: expected, surprises }
}

impl Proof {
    fn is_surprising(&self) -> bool {
        self.rows.iter().any(|row| row.compared.as_ref().is_ok_and(|compared| !compared.surprises.is_empty()))
    }

    /// A plane is there and could not be compared.
    fn has_no_verdict(&self, absent: &[(Plane, Unrunnable)]) -> bool {
        self.rows.iter().any(|row| match &row.compared {
            Ok(_) | Err(Unrunnable::NotMeant(..)) => false,
            Err(Unrunnable::Missing(plane, _)) => !absent.iter().any(|(absent, _)| absent == plane),
            Err(Unrunnable::Interrupted(_) | Unrunnable::TooSlow(_)) => true,
        })
    }
}

fn table(proofs: &[Proof]) -> String {
    let mut out = format!(
        "{:<40} {:<9} {:<8} {:>6} {:>17} {:>17} {:>8}  {}\n",
        "scenario", "plane", "verdict", "order", "worst silence", "worst recovery", "answers", ""
    );
    for proof in proofs {
        let verdict = match &proof.reference {
            Ok(broken) if broken.is_empty() => "held",
            Ok(_) => "BROKEN",
            Err(_) => "not run",
        };
        let _ = writeln!(out, "{:<40} {:<9} {verdict:<8}", proof.id, plane::name(proof.first));
        for row in &proof.rows {
            out.push_str(&line(row));
        }
    }
    for proof in proofs.iter().filter(|proof| proof.is_surprising()) {
        let _ = writeln!(out, "\nDISAGREE  {} seed {} ({})", proof.id, proof.seed, proof.path.display());
        for row in &proof.rows {
            let Ok(compared) = &row.compared else { continue };
            for (aspect, text, traces) in &compared.surprises {
                let planes = (plane::name(proof.first), plane::name(row.plane));
                let _ = writeln!(out, "  {} on {} and {}: {text}", aspect.word(), planes.0, planes.1);
                out.push_str(traces);
            }
        }
    }
    out.push_str(&summary(proofs));
    out
}

fn line(row: &Row) -> String {
    let compared = match &row.compared {
        Ok(compared) => compared,
        Err(why) => return format!("{:<40} {:<9} not run: {why}\n", "", plane::name(row.plane)),
    };
    let Comparison { order, answers, recovery, silence, .. } = &compared.comparison;
    let verdict = if compared.broken.is_empty() { "held" } else { "BROKEN" };
    let order = (order.0 * 100).checked_div(order.1).map_or("-".to_owned(), |percent| format!("{percent} %"));
    let both = |one: Option<Duration>, other: Option<Duration>| {
        let told = |time: Option<Duration>| time.map_or("-".to_owned(), decimals);
        format!("{} / {}", told(one), told(other))
    };
    let silence = both(Some(silence.0), Some(silence.1));
    let mut words: Vec<&str> = compared.surprises.iter().map(|(aspect, ..)| aspect.word()).collect();
    words.dedup();
    let mut end =
        if words.is_empty() { "agrees".to_owned() } else { format!("DISAGREES: {}", words.join(", ")) };
    for (aspect, why) in &compared.known {
        let _ = write!(end, "; known in {}: {why}", aspect.word());
    }
    format!(
        "{:<40} {:<9} {verdict:<8} {order:>6} {silence:>17} {:>17} {:>8}  {end}\n",
        "",
        plane::name(row.plane),
        both(recovery.0, recovery.1),
        format!("{}/{}", answers.0, answers.1),
    )
}

fn summary(proofs: &[Proof]) -> String {
    let rows = || proofs.iter().flat_map(|proof| &proof.rows);
    let compared = || rows().filter_map(|row| row.compared.as_ref().ok());
    let surprised = compared().filter(|compared| !compared.surprises.is_empty()).count();
    let known = compared().filter(|compared| !compared.known.is_empty()).count();
    let not_run = rows().filter(|row| row.compared.is_err()).count();
    let (alike, all) = compared().fold((0, 0), |(alike, all), compared| {
        (alike + compared.comparison.order.0, all + compared.comparison.order.1)
    });
    let permille = (alike * 1000).checked_div(all);
    let order = permille.map_or("-".to_owned(), |permille| format!("{}.{} %", permille / 10, permille % 10));
    format!(
        "{} comparisons: {} agree, {surprised} disagree, {known} with known differences; {not_run} not run; events in the same \
         order: {order}\n",
        compared().count(),
        compared().count() - surprised,
    )
}

/// Writes seconds with two decimals, cut off.
fn decimals(time: Duration) -> String {
    format!("{}.{:02} s", time.as_secs(), time.subsec_millis() / 10)
}

fn json_of(proofs: &[Proof]) -> Value {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let row = |row: &Row| match &row.compared {
        Err(why) => json!({ "plane": plane::name(row.plane), "not_run": why.to_string() }),
        Ok(Compared { comparison, broken, known, surprises }) => json!({
            "plane": plane::name(row.plane),
            "broken": broken,
            "order": [comparison.order.0, comparison.order.1],
            "answers": [comparison.answers.0, comparison.answers.1],
            "silence_ns": [nanos(comparison.silence.0), nanos(comparison.silence.1)],
            "recovery_ns": [comparison.recovery.0.map(nanos), comparison.recovery.1.map(nanos)],
            "known": known.iter().map(|(aspect, why)| json!({ "in": aspect.word(), "why": why })).collect::<Vec<_>>(),
            "disagrees": surprises
                .iter()
                .map(|(aspect, text, _)| json!({ "in": aspect.word(), "text": text }))
                .collect::<Vec<_>>(),
        }),
    };
    let proof = |proof: &Proof| {
        json!({
            "scenario": proof.id,
            "file": proof.path.display().to_string(),
            "seed": proof.seed,
            "plane": plane::name(proof.first),
            "broken": proof.reference.as_ref().ok(),
            "beside": proof.rows.iter().map(row).collect::<Vec<_>>(),
        })
    };
    json!({ "proofs": proofs.iter().map(proof).collect::<Vec<_>>() })
}
