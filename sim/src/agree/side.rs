//! Two traces side by side.

use std::fmt::Write as _;

use proxy_core::time::{Duration, Instant};

use crate::{
    report::is_notable,
    trace::{Cast, Record, words},
};

/// What is told before and after the place where two runs part.
const BEFORE: Duration = Duration::from_millis(1_500);
const AFTER: Duration = Duration::from_millis(2_500);
/// The width of a column.
const WIDTH: usize = 72;
/// Lines told at most.
const LINES_MAX: usize = 40;

/// Tells two runs around the place where they part, each by its own time, one beside the other.
pub fn side_by_side(
    (one, other): (&str, &str),
    (here, there): (&[Record], &[Record]),
    (cast, other_cast): (&Cast, &Cast),
    at: (Instant, Instant),
) -> String {
    let mut out = String::new();
    let (left, right) = (lines(here, cast, at.0), lines(there, other_cast, at.1));
    let _ = writeln!(out, "      {one:<WIDTH$} | {other}");
    for place in 0..left.len().max(right.len()) {
        let line = |lines: &[String]| lines.get(place).cloned().unwrap_or_default();
        let _ = writeln!(out, "      {:<WIDTH$} | {}", line(&left), line(&right));
    }
    out
}

fn lines(records: &[Record], cast: &Cast, at: Instant) -> Vec<String> {
    let is_near = |record: &&Record| record.at + BEFORE >= at && record.at <= at + AFTER;
    let told = records.iter().filter(is_near).filter(|record| is_notable(record));
    let line = |record: &Record| {
        let text = format!(
            "{:>11} {} {}",
            record.at.to_string(),
            cast.name(record.actor),
            words::describe(record, cast)
        );
        if text.chars().count() <= WIDTH {
            return text;
        }
        text.chars().take(WIDTH - 1).chain(std::iter::once('…')).collect()
    };
    told.map(line).take(LINES_MAX).collect()
}
