//! `repull-sim diff`: where two runs part, and what led to it.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::{Value, json};

use super::exit;
use crate::{
    plane::Plane,
    runner, scenario,
    shrink::diff::{Difference, Parting, diff},
    trace::Logged,
};

/// Two runs to compare.
#[derive(Clone, Debug)]
pub struct DiffOptions {
    /// A trace, or a scenario with or without `@SEED`.
    pub a: String,
    /// The other.
    pub b: String,
    /// One JSON object in place of text.
    pub json: bool,
}

/// Compares and tells; returns the exit code.
pub fn run(options: &DiffOptions) -> u8 {
    let (a, b) = match (read(&options.a), read(&options.b)) {
        (Ok(a), Ok(b)) => (a, b),
        (a, b) => {
            for error in [a.err(), b.err()].into_iter().flatten() {
                eprintln!("repull-sim: {error}");
            }
            return exit::USAGE;
        }
    };
    let found = diff(&a, &b);
    if options.json {
        println!("{:#}", json_of(found.as_ref(), [&options.a, &options.b]));
    } else {
        print!("{}", told(found.as_ref(), [&options.a, &options.b], [&a, &b]));
    }
    if found.is_none() { exit::HELD } else { exit::BROKEN }
}

/// Reads a trace, or makes one of a scenario.
fn read(name: &str) -> Result<Logged, String> {
    let (path, seed) = match name.rsplit_once('@') {
        Some((path, seed)) if !Path::new(name).exists() => {
            let seed: u64 =
                seed.parse().map_err(|_| format!("{name}: `@` is followed by a seed, a whole number"))?;
            (path, Some(seed))
        }
        Some(_) | None => (name, None),
    };
    let bytes = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    if Path::new(path).extension().is_none_or(|extension| extension != "toml") {
        return Logged::read(&bytes).map_err(|error| format!("{path}: {error}"));
    }
    let text = String::from_utf8(bytes).map_err(|error| format!("{path}: {error}"))?;
    let load = |seed| {
        let told = |problems: Vec<scenario::Problem>| {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        scenario::load(&text, path, Some(seed)).map_err(told)
    };
    let first = load(seed.unwrap_or(1))?;
    let seed = seed.or(first.scenario.run.seeds.first().copied()).unwrap_or(1);
    let loaded = load(seed)?;
    if !loaded.scenario.run.planes.contains(&Plane::Core) {
        return Err(format!("{path}: not meant for plane core, where runs can be compared record by record"));
    }
    runner::run_logged(Plane::Core, &loaded.scenario, &loaded.explicit, seed, false)
        .map_err(|why| format!("{path}: {why}"))
}

/// Tells where two runs part.
pub fn told(found: Option<&Difference>, names: [&str; 2], runs: [&Logged; 2]) -> String {
    let mut out = String::new();
    for (letter, (name, run)) in ["A", "B"].iter().zip(names.iter().zip(runs)) {
        let _ = writeln!(
            out,
            "{letter}  {name}: {} seed {}, {} records",
            run.scenario,
            run.seed,
            run.records.len()
        );
    }
    let Some(found) = found else {
        out.push_str("\nthe same, record by record\n");
        return out;
    };
    out.push_str("\nthe first record that differs at all\n");
    lines(&found.exact, runs, &mut out);
    match &found.story {
        Some(story) => {
            let _ = writeln!(out, "\nwhere they tell another story, of {}", story.actor);
            lines(story, runs, &mut out);
        }
        None => out.push_str("\nthey tell the same story: what happened to everybody, in the same order\n"),
    }
    out
}

fn lines(parting: &Parting, runs: [&Logged; 2], out: &mut String) {
    for ((letter, run), side) in ["A", "B"].iter().zip(runs).zip(&parting.sides) {
        let Some(side) = side else {
            let end = run.records.last().map(|record| record.at.to_string()).unwrap_or_default();
            let _ = writeln!(out, "  {letter} {:>8}  (nothing more: its run ends at {end})", "");
            continue;
        };
        let _ = writeln!(out, "  {letter} {}", side.line);
        for (cause, is_shared) in &side.causes {
            let mark = if *is_shared { " " } else { "≠" };
            let _ = writeln!(out, "    ↑ {mark} {cause}");
        }
        if side.causes_before > 0 {
            let _ = writeln!(out, "    ↑   … and {} before", side.causes_before);
        }
    }
    if parting.sides.iter().flatten().any(|side| side.causes.iter().any(|(_, shared)| !shared)) {
        out.push_str("  ↑ led to what stands above it; ≠ the other run has nothing of the kind\n");
    }
}

/// Returns where two runs part, for programs.
pub fn json_of(found: Option<&Difference>, names: [&str; 2]) -> Value {
    let parting = |parting: &Parting| {
        let sides = parting.sides.iter().map(|side| {
            side.as_ref().map(|side| {
                json!({
                    "step": side.step,
                    "at_ns": side.at.as_nanos(),
                    "record": side.line.trim(),
                    "causes": side
                        .causes
                        .iter()
                        .map(|(line, is_shared)| json!({ "record": line.trim(), "in_both": is_shared }))
                        .collect::<Vec<_>>(),
                    "causes_before": side.causes_before,
                })
            })
        });
        json!({ "actor": parting.actor, "sides": sides.collect::<Vec<_>>() })
    };
    json!({
        "a": names[0],
        "b": names[1],
        "same": found.is_none(),
        "exact": found.map(|found| parting(&found.exact)),
        "story": found.and_then(|found| found.story.as_ref()).map(parting),
    })
}
