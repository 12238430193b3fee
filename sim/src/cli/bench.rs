//! `repull-sim bench`: how fast the simulated world is. Rates and ratios, told and never judged.

use std::{
    path::PathBuf,
    time::{Duration as WallDuration, Instant as Wall},
};

use super::exit;
use crate::{
    plane::Plane,
    runner::{self, Job},
    scenario::{self, model::Scenario},
    world::{Keep, World},
};

/// One player, two frames a second, a minute with a restart.
const STORY_1: &str = include_str!("bench/story-1-player.toml");
/// Three players, five frames a second, the same minute.
const STORY_3: &str = include_str!("bench/story-3-players.toml");
/// Three players, 25 frames a second with sound, true counts, stub payloads.
const LIVE: &str = include_str!("bench/live-25fps.toml");
/// A stream that lasts a nanosecond: what a run costs before anything happens.
const EMPTY: &str = include_str!("bench/empty.toml");
/// Streams that lose their one origin, `{count}` of them.
const HERD: &str = include_str!("bench/herd.toml");

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// How long each rate is measured.
    pub time: WallDuration,
    /// Runs made in one process to see whether memory grows.
    pub runs: u64,
    /// The scenarios that are run twice as a whole, if they are.
    pub scenarios: Option<PathBuf>,
    /// Threads for that.
    pub jobs: usize,
}

/// Measures and prints; returns the exit code.
pub fn bench(options: &BenchOptions) -> u8 {
    match measure(options) {
        Ok(()) => exit::HELD,
        Err(text) => {
            eprintln!("repull-sim: {text}");
            exit::USAGE
        }
    }
}

fn measure(options: &BenchOptions) -> Result<(), String> {
    for (name, id, text) in [
        ("60 s, restart, 1 player at 2 fps", "story-1-player", STORY_1),
        ("60 s, restart, 3 players at 5 fps", "story-3-players", STORY_3),
    ] {
        let scenario = parse(id, text)?;
        let (runs, took) = repeat(options.time, |seed| run(&scenario, seed));
        println!("{name:<44} {:>9} runs/s   {:>7} µs a run", per_second(runs, took), micros_each(runs, took));
    }
    let scenario = parse("live-25fps", LIVE)?;
    let (runs, took) = repeat(options.time, |seed| run(&scenario, seed));
    let virtual_nanos = scenario.run.time.as_nanos() * u128::from(runs);
    println!(
        "{:<44} {:>9} × real time",
        "25 fps and sound, 3 players, stub payloads",
        virtual_nanos / took.as_nanos().max(1)
    );
    let scenario = parse("empty", EMPTY)?;
    let (runs, took) = repeat(options.time, |seed| run(&scenario, seed));
    println!(
        "{:<44} {:>9} runs/s   {:>7} µs a run",
        "start and end of a run",
        per_second(runs, took),
        micros_each(runs, took)
    );
    // Before the herd, whose memory would hide what grows.
    memory(options.runs)?;
    herd()?;
    everything(options)
}

fn parse(id: &str, text: &str) -> Result<Scenario, String> {
    scenario::read(text, &format!("{id}.toml"))
        .map_err(|problems| problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())
}

/// One execution; a broken promise would make the figure meaningless.
fn run(scenario: &Scenario, seed: u64) {
    let outcome = World::run(scenario, seed, Keep::default());
    assert!(outcome.findings.is_empty(), "{}: {:?}", scenario.id, outcome.findings);
}

/// What a thousand streams cost beside a hundred.
fn herd() -> Result<(), String> {
    let mut took = Vec::new();
    for count in [100, 1000] {
        let scenario = parse("herd", &HERD.replace("{count}", &count.to_string()))?;
        let best = (0..3).map(|seed| timed(|| run(&scenario, seed)).as_nanos()).min().unwrap_or(0);
        took.push(best);
    }
    let tenths = took[1] * 10 / took[0].max(1);
    println!(
        "{:<44} {:>7}.{} × the cost of 100",
        "1,000 streams losing one origin",
        tenths / 10,
        tenths % 10
    );
    Ok(())
}

/// Whether memory grows over many runs in one process.
fn memory(runs: u64) -> Result<(), String> {
    let scenario = parse("story-1-player", STORY_1)?;
    let mut marks = Vec::new();
    for seed in 0..runs {
        run(&scenario, seed);
        if [runs / 10, runs / 2, runs - 1].contains(&seed) {
            marks.push(resident_kib());
        }
    }
    let told: Vec<String> = marks.iter().map(|kib| format!("{kib} KiB")).collect();
    println!(
        "{:<44} resident after a tenth, half and all: {}",
        format!("{runs} runs in one process"),
        told.join(", ")
    );
    Ok(())
}

fn everything(options: &BenchOptions) -> Result<(), String> {
    let Some(folder) = &options.scenarios else { return Ok(()) };
    let files = runner::find_files(std::slice::from_ref(folder))?;
    let scenarios = runner::read_files(&files)
        .map_err(|problems| problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())?;
    let mut jobs = Vec::new();
    for (file, scenario) in scenarios.iter().enumerate() {
        jobs.extend(scenario.run.seeds.iter().map(|seed| Job { file, seed: *seed }));
    }
    let took = timed(|| {
        runner::run_all(Plane::Core, &scenarios, &jobs, options.jobs, runner::RECORDS_MAX, |_, _| {})
    });
    println!(
        "{:<44} {:>7}.{:01} s for {} runs made twice",
        format!("all of {}", folder.display()),
        took.as_secs(),
        took.subsec_millis() / 100,
        jobs.len()
    );
    Ok(())
}

fn repeat(time: WallDuration, mut run: impl FnMut(u64)) -> (u64, WallDuration) {
    run(0);
    let mut runs = 0;
    let took = timed(|| {
        let began = clock();
        while clock().duration_since(began) < time {
            runs += 1;
            run(runs);
        }
    });
    (runs, took)
}

fn timed(work: impl FnOnce()) -> WallDuration {
    let began = clock();
    work();
    clock().duration_since(began)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures on a real clock what happens on a made one"
)]
fn clock() -> Wall {
    Wall::now()
}

fn per_second(runs: u64, took: WallDuration) -> u128 {
    u128::from(runs) * 1_000_000_000 / took.as_nanos().max(1)
}

fn micros_each(runs: u64, took: WallDuration) -> u128 {
    took.as_micros() / u128::from(runs.max(1))
}

/// Returns the resident memory of this process; 0 where that is not told.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
