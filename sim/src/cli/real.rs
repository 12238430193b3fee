//! `repull-sim run` on the planes that run the real binary, `netns` and `container`, and what looks after these planes.

use std::{
    fs,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use super::{
    exit,
    progress::Progress,
    run::{RunOptions, verdict},
};
use crate::{
    plane::{self, Unrunnable, container, netns},
    report::{self, Report, story},
    runner::{self, File, Ran, Verdict},
    scenario::model::{Plane, Scenario},
    world::{Keep, Outcome},
};

/// A scenario's run, or why there was none.
type Result = std::result::Result<Report, Unrunnable>;

/// Runs every scenario once, with its first seed, and tells.
#[expect(
    clippy::disallowed_methods,
    reason = "each thread runs worlds of its own; what a run does is the kernel's"
)]
pub(super) fn run(real: &netns::Options, options: &RunOptions, files: &[File], scenarios: &[Scenario]) -> u8 {
    let plane = options.plane;
    let meant = scenarios.iter().filter(|scenario| scenario.run.planes.contains(&plane)).count();
    if let Err(why) = plane::check(plane, real.real_peers) {
        return no_plane(plane, meant, &why);
    }
    if !real.repull.exists() {
        let shown = real.repull.display();
        eprintln!(
            "repull-sim: no {shown}: cargo build --release -p proxyd, then --repull target/release/repull"
        );
        return exit::USAGE;
    }
    let chosen: Vec<usize> =
        (0..scenarios.len()).filter(|index| scenarios[*index].run.planes.contains(&plane)).collect();
    let left_out = scenarios.len() - chosen.len();
    let (next, is_interrupted) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new((Progress::new(chosen.len(), "runs"), Vec::<(usize, Result)>::new()));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, chosen.len().max(1)) {
            scope.spawn(|| {
                // Whoever interrupts one world wants none after it.
                while !is_interrupted.load(Ordering::Relaxed)
                    && let Some(index) = chosen.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let result = run_one(real, options, &files[*index], &scenarios[*index]);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    match &result {
                        Ok(report) => results.0.on_done(matches!(report.ran.verdict, Verdict::Held)),
                        Err(why) => {
                            is_interrupted
                                .fetch_or(matches!(why, Unrunnable::Interrupted(_)), Ordering::Relaxed);
                        }
                    }
                    results.1.push((*index, result));
                }
            });
        }
    });
    let (progress, mut results) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    progress.end();
    results.sort_by_key(|(index, _)| *index);
    let mut reports = Vec::new();
    let mut unrunnable = 0;
    for (index, result) in results {
        match result {
            Ok(report) => reports.push(report),
            Err(why) => {
                unrunnable += 1;
                eprintln!("repull-sim: {}: {why}", files[index].path.display());
            }
        }
    }
    // What the kernel does cannot be had twice, and it is no number of records that ends it.
    let told = report::write(options.format, &reports)
        .replace(", each made twice", ", each made once")
        .replace("no end; --records-max allows more", "a machine too slow to judge them");
    print!("{told}");
    if left_out > 0 {
        eprintln!("{left_out} files do not name plane {}", plane::name(plane));
    }
    if unrunnable > 0 { exit::USAGE } else { verdict(&reports) }
}

/// Tells that a plane cannot be had. An engine is no part of a machine, and where there is none its files are left out
/// for all to see.
fn no_plane(plane: Plane, files: usize, why: &Unrunnable) -> u8 {
    match plane {
        Plane::Container => {
            println!("{files} files skipped: {why}");
            exit::HELD
        }
        Plane::Core | Plane::Turmoil | Plane::Netns => {
            eprintln!("repull-sim: {why}");
            exit::USAGE
        }
    }
}

fn run_one(real: &netns::Options, options: &RunOptions, file: &File, scenario: &Scenario) -> Result {
    let seed = options.seed.or(scenario.run.seeds.first().copied()).unwrap_or(1);
    let keep = Keep { records: true, ..Keep::default() };
    let outcome = plane::run_with(options.plane, scenario, seed, keep, real)?;
    if let Some(folder) = &options.out
        && let Err(error) = keep_trace(options.plane, folder, file, scenario, seed, &outcome)
    {
        return Err(Unrunnable::Missing(options.plane, format!("{}: {error}", folder.display())));
    }
    Ok(tell(options.plane, file, scenario, seed, outcome))
}

fn keep_trace(
    plane: Plane,
    folder: &Path,
    file: &File,
    scenario: &Scenario,
    seed: u64,
    outcome: &Outcome,
) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let logged = runner::logged(scenario, &file.text, seed, &outcome.cast, outcome.log.clone());
    fs::write(folder.join(format!("{}-{}.trace", scenario.id, plane::name(plane))), logged.write())
}

fn tell(plane: Plane, file: &File, scenario: &Scenario, seed: u64, outcome: Outcome) -> Report {
    let mut told = String::new();
    if !outcome.findings.is_empty() {
        let records: Vec<_> = outcome.log.iter().flat_map(|log| log.records()).collect();
        told =
            story(scenario, &file.text, &outcome.findings, outcome.oracles.scene(), &outcome.cast, &records);
    }
    let ran: Ran = runner::ran(scenario, seed, Ok(outcome), None);
    let replay = match ran.verdict {
        Verdict::NoVerdict => {
            "the machine was too slow to judge it: run it again with less beside it".to_owned()
        }
        Verdict::Held | Verdict::Broken(_) | Verdict::Differs(_) | Verdict::Unrunnable(_) => {
            format!("repull-sim run --plane {} {} --out traces", plane::name(plane), file.path.display())
        }
    };
    let is_known = file.path.components().any(|part| part.as_os_str() == "known");
    Report { path: file.path.clone(), is_known, ran, story: told, replay }
}

/// Removes what worlds of a plane have left behind.
pub fn clean(plane: Plane) -> u8 {
    match plane {
        Plane::Netns => println!("{} namespaces removed", netns::clean()),
        Plane::Container => println!("{} engines removed", container::clean()),
        Plane::Core | Plane::Turmoil => {}
    }
    exit::HELD
}

/// Tells whether worlds of a plane can be made here.
pub fn check(plane: Plane) -> u8 {
    match plane::check(plane, false) {
        Ok(()) => {
            println!("worlds of plane {} can be made here", plane::name(plane));
            exit::HELD
        }
        Err(why) => {
            eprintln!("repull-sim: {why}");
            exit::USAGE
        }
    }
}
