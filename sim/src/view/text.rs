//! A trace as text: a line for each record.

use std::fmt::Write as _;

use crate::trace::{Logged, words};

/// Returns every record as a line.
pub fn text(trace: &Logged) -> String {
    let mut out = format!("{} seed {}: {} records\n", trace.scenario, trace.seed, trace.records.len());
    for record in &trace.records {
        let _ = writeln!(out, "{}", words::line(record, &trace.cast));
    }
    out
}
