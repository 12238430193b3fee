//! `repull-sim run`: scenario files, each run made twice and judged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{exit, files, progress::Progress};
use crate::{
    plane::{self, Plane},
    report::{self, Format, Report, story},
    runner::{self, File, Job, Ran, Verdict},
    scenario::{self, model::Scenario},
    world::Keep,
};

/// What is to be run, and how it is told.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// Where they run.
    pub plane: Plane,
    /// This seed instead of each file's own.
    pub seed: Option<u64>,
    /// Threads.
    pub jobs: usize,
    /// Records of a run beyond which it is given up.
    pub records_max: u64,
    /// The form of the report.
    pub format: Format,
    /// A `.trace` per run goes here.
    pub out: Option<PathBuf>,
    /// The explicit file, without ranges, goes here.
    pub resolve: Option<PathBuf>,
    /// What planes need that run the real binary.
    pub real: Option<plane::netns::Options>,
}

/// Runs and tells; returns the exit code.
pub fn run(options: &RunOptions) -> u8 {
    let mut files = match files::find(&options.paths) {
        Ok(files) => files,
        Err(code) => return code,
    };
    if let Err(code) = resolve_ranges(&mut files, options) {
        return code;
    }
    let (files, scenarios) = match files::read_seeded(files, options.seed) {
        Ok(read) => read,
        Err(code) => return code,
    };
    let mut jobs = Vec::new();
    for (file, scenario) in scenarios.iter().enumerate() {
        if !scenario.run.planes.contains(&options.plane) {
            let why = scenario.run.why_not.as_deref().map_or_else(String::new, |why| format!(": {why}"));
            let plane = plane::name(options.plane);
            eprintln!("skipped  {} is not meant for plane {plane}{why}", files[file].path.display());
            continue;
        }
        let seeds = options.seed.map_or_else(|| scenario.run.seeds.clone(), |seed| vec![seed]);
        jobs.extend(seeds.into_iter().map(|seed| Job { file, seed }));
    }
    if let Some(real) = &options.real {
        return super::real::run(real, options, &files, &scenarios);
    }
    if jobs.is_empty() {
        eprintln!("repull-sim: none of these is meant for plane {}", plane::name(options.plane));
        return exit::USAGE;
    }
    if let Some(folder) = &options.out
        && let Err(error) = keep_traces(options.plane, folder, &files, &scenarios, &jobs)
    {
        eprintln!("repull-sim: {}: {error}", folder.display());
        return exit::USAGE;
    }
    let mut progress = Progress::new(jobs.len(), "runs");
    let mut results: Vec<(Job, Ran)> = Vec::new();
    runner::run_all(options.plane, &scenarios, &jobs, options.jobs, options.records_max, |job, ran| {
        progress.on_done(matches!(ran.verdict, Verdict::Held));
        results.push((job, ran));
    });
    progress.end();
    results.sort_by_key(|(job, _)| *job);
    let told = |(job, ran): (Job, Ran)| tell(options.plane, &files[job.file], &scenarios[job.file], ran);
    let reports: Vec<Report> = results.into_iter().map(told).collect();
    print!("{}", report::write(options.format, &reports));
    verdict(&reports)
}

/// Writes the explicit file if asked to, and makes the others explicit too: a run has no ranges.
fn resolve_ranges(files: &mut [File], options: &RunOptions) -> Result<(), u8> {
    let Some(target) = &options.resolve else { return Ok(()) };
    let [file] = files else {
        eprintln!("repull-sim: --resolve writes one file: name one scenario");
        return Err(exit::USAGE);
    };
    let path = file.path.display().to_string();
    let told = |problems: Vec<scenario::Problem>| {
        for problem in &problems {
            eprintln!("{problem}");
        }
        exit::USAGE
    };
    let read = scenario::load(&file.text, &path, Some(options.seed.unwrap_or(1))).map_err(told)?;
    let own = read.scenario.run.seeds.first().copied();
    let seed = options.seed.or(own).unwrap_or(1);
    let text = scenario::resolve(&file.text, &path, seed).map_err(told)?;
    // A scenario is called as its file is.
    let stem = target.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let text = scenario::with_id(&text, stem);
    fs::write(target, &text).map_err(|error| {
        eprintln!("repull-sim: {}: {error}", target.display());
        exit::USAGE
    })?;
    file.text = text;
    file.path.clone_from(target);
    Ok(())
}

fn keep_traces(
    plane: Plane,
    folder: &Path,
    files: &[File],
    scenarios: &[Scenario],
    jobs: &[Job],
) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    for job in jobs {
        let scenario = &scenarios[job.file];
        let text = &files[job.file].text;
        let logged = runner::run_logged(plane, scenario, text, job.seed, true)
            .map_err(|why| std::io::Error::other(why.to_string()))?;
        fs::write(folder.join(format!("{}-{}.trace", scenario.id, job.seed)), logged.write())?;
    }
    Ok(())
}

fn tell(plane: Plane, file: &File, scenario: &Scenario, ran: Ran) -> Report {
    let mut told = String::new();
    let mut until = None;
    if let Verdict::Broken(findings) = &ran.verdict
        && let Ok(outcome) = plane::run(plane, scenario, ran.seed, Keep { records: true, ..Keep::default() })
    {
        let records: Vec<_> = outcome.log.iter().flat_map(|log| log.records()).collect();
        told = story(scenario, &file.text, findings, outcome.oracles.scene(), &outcome.cast, &records);
        until = findings.first().map(|finding| finding.step);
    }
    let until = until.map_or_else(String::new, |step| format!(" --until {step}"));
    let (path, seed) = (file.path.display(), ran.seed);
    let replay = match plane {
        // What does not end has no step to stop at.
        Plane::Core if matches!(ran.verdict, Verdict::NoVerdict) => {
            format!("repull-sim run {path} --seed {seed} --records-max {}", ran.steps.saturating_mul(10))
        }
        Plane::Core => format!("repull-sim replay {path} --seed {seed}{until}"),
        // Only the core can be stopped in the middle and looked into.
        Plane::Turmoil | Plane::Netns | Plane::Container => {
            format!("repull-sim run {path} --plane {} --seed {seed} --out DIR", plane::name(plane))
        }
    };
    let is_known = runner::is_known(&file.path);
    Report { path: file.path.clone(), is_known, ran, story: told, replay }
}

pub(super) fn verdict(reports: &[Report]) -> u8 {
    let counted = || reports.iter().filter(|report| !report.is_known).map(|report| &report.ran.verdict);
    if counted().any(|verdict| matches!(verdict, Verdict::Differs(_))) {
        return exit::NOT_DETERMINISTIC;
    }
    let broken: Vec<_> = counted()
        .filter_map(|verdict| match verdict {
            Verdict::Broken(findings) => Some(findings),
            Verdict::Held | Verdict::NoVerdict | Verdict::Differs(_) | Verdict::Unrunnable(_) => None,
        })
        .flatten()
        .collect();
    let is_open = |verdict: &Verdict| matches!(verdict, Verdict::NoVerdict | Verdict::Unrunnable(_));
    if broken.is_empty() && counted().any(is_open) {
        exit::NO_VERDICT
    } else if broken.is_empty() {
        exit::HELD
    } else if broken.iter().all(|finding| finding.promise == crate::oracle::MARKS_WANTED) {
        exit::MARK_MISSED
    } else {
        exit::BROKEN
    }
}
