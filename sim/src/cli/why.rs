//! `repull-sim why`: how likely a failure is from each point of its run on, and where that jumps.

use std::{fmt::Write as _, path::PathBuf, time::Instant as Wall};

use serde_json::{Value, json};

use super::exit;
use crate::{
    report::is_notable,
    runner, scenario,
    shrink::why::{JUMP_MIN, Point, Why, WhyWish, why},
    trace::{Record, words},
    world::Whose,
};

/// Records told of the stretch that decides.
const TOLD_MAX: usize = 16;

/// What is asked.
#[derive(Clone, Debug)]
pub struct WhyOptions {
    /// The scenario.
    pub path: PathBuf,
    /// The seed; the file's first if none is given.
    pub seed: Option<u64>,
    /// Points spread over the run.
    pub points: usize,
    /// Runs in all.
    pub runs: usize,
    /// Runs made at a time.
    pub jobs: usize,
    /// One JSON object in place of text.
    pub json: bool,
}

/// Finds out and tells; returns the exit code.
#[expect(clippy::disallowed_methods, reason = "how long it took is told to the user; no run sees it")]
pub fn run(options: &WhyOptions) -> u8 {
    let path = options.path.display().to_string();
    let files = match runner::find_files(std::slice::from_ref(&options.path)) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("repull-sim: {error}");
            return exit::USAGE;
        }
    };
    let [file] = &files[..] else {
        eprintln!("repull-sim: {path}: why takes one scenario");
        return exit::USAGE;
    };
    // A range is a value before the first die of a run is rolled.
    let load = |seed: u64| scenario::load(&file.text, &path, Some(seed));
    let loaded = load(options.seed.unwrap_or(1)).and_then(|loaded| {
        let seed = options.seed.or(loaded.scenario.run.seeds.first().copied()).unwrap_or(1);
        load(seed).map(|loaded| (loaded, seed))
    });
    let (loaded, seed) = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in &problems {
                eprintln!("{problem}");
            }
            return exit::USAGE;
        }
    };
    let began = Wall::now();
    let wish = WhyWish { seed, points: options.points, runs: options.runs, jobs: options.jobs };
    let Some(found) = why(&loaded.scenario, wish) else {
        if options.json {
            println!("{:#}", json!({ "file": path, "seed": seed, "fails": false }));
        } else {
            println!("{path}: with seed {seed} every promise is held: there is nothing to ask why");
        }
        return exit::HELD;
    };
    if options.json {
        println!("{:#}", json_of(&found, &path, seed));
    } else {
        print!("{}", told(&found, &path, seed, &loaded.explicit));
        let millis = began.elapsed().as_millis();
        println!("{} runs, {}.{} s", found.runs, millis / 1000, millis / 100 % 10);
    }
    exit::BROKEN
}

/// Tells what was found out.
pub fn told(found: &Why, path: &str, seed: u64, text: &str) -> String {
    let finding = &found.finding;
    let mut out = format!(
        "{path} seed {seed} breaks `{}` at {} (step {}): {}\n\nwith other dice from there on it fails\n",
        finding.promise, finding.at, finding.step, finding.text
    );
    for (number, point) in found.points.iter().enumerate() {
        let mark = if found.jump.is_some_and(|(_, after)| after == number) { "►" } else { " " };
        let what = record_at(found, point.step).map_or_else(
            || "from the beginning".to_owned(),
            |record| format!("{}: {}", found.cast.name(record.actor), words::describe(record, &found.cast)),
        );
        let _ = writeln!(out, "{mark} {}  {what}", counts(point));
    }
    out.push('\n');
    match found.jump {
        Some((before, after)) => out.push_str(&jump(found, before, after, text)),
        None => {
            let least = found.points.iter().map(Point::percent).min().unwrap_or(0);
            let words = if least > 100 - JUMP_MIN {
                "it fails whatever the dice are: the scenario alone decides, and `repull-sim shrink` says what of it"
            } else {
                "it grows little by little: no single stretch of the run decides"
            };
            let _ = writeln!(out, "{words}");
        }
    }
    out
}

fn counts(point: &Point) -> String {
    format!(
        "{:>5} of {:<5} {:>3} %  after step {:<7} {:>12}",
        point.fails,
        point.runs,
        point.percent(),
        point.step,
        point.at.to_string()
    )
}

fn jump(found: &Why, before: usize, after: usize, text: &str) -> String {
    let (from, to) = (&found.points[before], &found.points[after]);
    let mut out = format!(
        "what decides lies between step {} and step {}: before it {} of a hundred fail, after it {}\n",
        from.step,
        to.step,
        from.percent(),
        to.percent()
    );
    for (whose, point) in &found.whose {
        let _ = writeln!(
            out,
            "  other dice of {} alone: {} of {} fail",
            name_of(*whose),
            point.fails,
            point.runs
        );
    }
    // What is named is told; of a stretch without names, everything.
    let between: Vec<&Record> =
        found.records.iter().filter(|record| record.step > from.step && record.step <= to.step).collect();
    let named: Vec<&Record> = between.iter().copied().filter(|record| is_notable(record)).collect();
    let told = if named.is_empty() || between.len() <= TOLD_MAX { &between } else { &named };
    for record in told.iter().take(TOLD_MAX) {
        let _ = writeln!(out, "  {}", words::line(record, &found.cast));
    }
    if told.len() > TOLD_MAX {
        let _ = writeln!(out, "    … and {} more", told.len() - TOLD_MAX);
    }
    for record in found.lost.iter().take(TOLD_MAX) {
        let _ = writeln!(out, "  {}", lost(record, found));
    }
    if found.lost.len() > TOLD_MAX {
        let _ = writeln!(out, "    … and {} packets more", found.lost.len() - TOLD_MAX);
    }
    let lines: Vec<u32> = told.iter().map(|record| record.line).filter(|line| *line > 0).collect();
    if let Some(line) = lines.first() {
        let words = text.lines().nth(*line as usize - 1).unwrap_or_default().trim();
        let _ = writeln!(out, "  line {line}: {words}");
    }
    out
}

/// Tells a packet that was lost, without its number: the other records are those of a run without packets.
fn lost(record: &Record, found: &Why) -> String {
    format!("{} {}", record.at, words::describe(record, &found.cast))
}

fn record_at(found: &Why, step: u64) -> Option<&Record> {
    let index = usize::try_from(step).ok()?.checked_sub(1)?;
    found.records.get(index)
}

fn name_of(whose: Whose) -> &'static str {
    match whose {
        Whose::All => "everybody",
        Whose::Network => "the network (latency, loss, sequence numbers)",
        Whose::Names => "the name service (the order of addresses)",
        Whose::Proxies => "the proxy (jitter, the order of dials)",
    }
}

/// Returns what was found out, for programs.
pub fn json_of(found: &Why, path: &str, seed: u64) -> Value {
    let point = |point: &Point| json!({ "after_step": point.step, "at_ns": point.at.as_nanos(), "runs": point.runs, "fails": point.fails });
    let word = |whose: Whose| match whose {
        Whose::All => "all",
        Whose::Network => "network",
        Whose::Names => "names",
        Whose::Proxies => "proxies",
    };
    json!({
        "file": path,
        "seed": seed,
        "fails": true,
        "promise": found.finding.promise,
        "step": found.finding.step,
        "at_ns": found.finding.at.as_nanos(),
        "what": found.finding.text,
        "points": found.points.iter().map(point).collect::<Vec<_>>(),
        "jump": found.jump.map(|(before, after)| {
            let steps = (found.points[before].step, found.points[after].step);
            let between = found.records.iter().filter(|record| record.step > steps.0 && record.step <= steps.1);
            json!({
                "after_step": steps.0,
                "up_to_step": steps.1,
                "records": between.take(TOLD_MAX).map(|record| words::line(record, &found.cast)).collect::<Vec<_>>(),
                "lost": found.lost.iter().take(TOLD_MAX).map(|record| lost(record, found)).collect::<Vec<_>>(),
            })
        }),
        "whose": found.whose.iter().map(|(whose, at)| json!({ "dice": word(*whose), "of": point(at) })).collect::<Vec<_>>(),
        "runs": found.runs,
    })
}
