//! `repull-sim replay`: runs up to a record, stops there and prints what every machine knows.

use std::path::PathBuf;

use super::{exit, files};
use crate::{
    trace::words,
    world::{Keep, World},
};

/// What is to be replayed.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// The scenario.
    pub path: PathBuf,
    /// The seed; the file's first if none is given.
    pub seed: Option<u64>,
    /// The record to stop at; the first broken promise or the end if none is given.
    pub until: Option<u64>,
    /// How many of the last records to print.
    pub last: usize,
}

/// Replays and prints; returns the exit code.
pub fn replay(options: &ReplayOptions) -> u8 {
    let files = match files::find(std::slice::from_ref(&options.path)) {
        Ok(files) => files,
        Err(code) => return code,
    };
    let scenarios = match files::read_seeded(files, options.seed) {
        Ok((_, scenarios)) => scenarios,
        Err(code) => return code,
    };
    // One with ranges is a scenario for each of its seeds.
    let Some((scenario, [])) = scenarios.split_first().map(|(first, others)| {
        (first, if others.iter().all(|other| other.id == first.id) { &[] } else { others })
    }) else {
        eprintln!("repull-sim: {}: replay takes one scenario", options.path.display());
        return exit::USAGE;
    };
    let seed = options.seed.or(scenario.run.seeds.first().copied()).unwrap_or(1);
    let keep = Keep { records: true, until: options.until, ..Keep::default() };
    let mut world = World::run_until(scenario, seed, keep);
    println!("{} seed {seed}, at step {} ({})\n", scenario.id, world.step(), world.now());
    print!("{}", world.knowledge());
    let outcome = world.into_outcome();
    println!("\nthe last {} records", options.last);
    let records: Vec<_> = outcome.log.iter().flat_map(|log| log.records()).collect();
    for record in &records[records.len().saturating_sub(options.last)..] {
        println!("{}", words::line(record, &outcome.cast));
    }
    for finding in &outcome.findings {
        println!("\nbroken: {} at {} (step {}): {}", finding.promise, finding.at, finding.step, finding.text);
    }
    if outcome.findings.is_empty() { exit::HELD } else { exit::BROKEN }
}
