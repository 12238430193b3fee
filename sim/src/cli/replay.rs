//! `repull-sim replay`: runs up to a record or a time, stops there and prints what every machine knows.

use std::path::PathBuf;

use proxy_core::time::{Duration, Instant};

use super::{exit, files, time};
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
    /// Where to stop; at the first broken promise or the end if it is not given.
    pub until: Option<Stop>,
    /// How many of the last records to print.
    pub last: usize,
}

/// Where a run stops: with what is under way then, to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At a record.
    Step(u64),
    /// At the first thing that happens from a time on.
    Time(Instant),
}

/// Reads `1200`, a record, or a time as stories tell it: `14s`, `9.268722s`, `250ms`.
///
/// # Errors
/// It is neither.
pub fn parse_stop(text: &str) -> Result<Stop, String> {
    if let Ok(step) = text.parse() {
        return Ok(Stop::Step(step));
    }
    let seconds = text.strip_suffix('s').and_then(|text| text.split_once('.'));
    let time = match seconds {
        Some((whole, part)) => {
            let (Ok(seconds), Ok(nanos)) = (whole.parse(), format!("{part:0<9}").parse()) else {
                return Err("a record's number, or a time such as 9.268722s".to_owned());
            };
            if part.len() > 9 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err("a second has nine places at most, all of them digits".to_owned());
            }
            Duration::new(seconds, nanos)
        }
        None => {
            time::parse(text).map_err(|error| format!("neither a record's number nor a time: {error}"))?
        }
    };
    Ok(Stop::Time(Instant::ZERO + time))
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
    let mut keep = Keep { records: true, ..Keep::default() };
    match options.until {
        Some(Stop::Step(step)) => keep.until = Some(step),
        Some(Stop::Time(time)) => keep.until_time = Some(time),
        None => {}
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_a_record_or_a_time_as_stories_tell_it() {
        let time = |nanos| Some(Stop::Time(Instant::from_nanos(nanos)));
        assert_eq!(parse_stop("1200").ok(), Some(Stop::Step(1200)));
        assert_eq!(parse_stop("14s").ok(), time(14_000_000_000));
        assert_eq!(parse_stop("250ms").ok(), time(250_000_000));
        assert_eq!(parse_stop("9.268722s").ok(), time(9_268_722_000));
        for wrong in ["", "s", "x", "-1", "1.s2", "1.5", "1.-5s", "1.+5s", "1.0123456789s"] {
            assert!(parse_stop(wrong).is_err(), "{wrong}");
        }
    }
}
