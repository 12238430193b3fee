//! Results in four forms: text, JSON, JUnit and GitHub's annotations.

use std::{fmt::Write as _, path::PathBuf};

use serde_json::{Value, json};

use super::story::seconds;
use crate::{
    oracle::Finding,
    runner::{Difference, Ran, Verdict},
    trace::{Cast, words},
};

/// Sentences told of one promise that broke.
const SENTENCES_MAX: usize = 4;

/// The form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one object.
    Json,
    /// For CI servers: JUnit's XML.
    Junit,
    /// For GitHub Actions: workflow commands that annotate the scenario's lines.
    Github,
}

/// A run to tell of.
#[derive(Debug)]
pub struct Report {
    /// The scenario's file.
    pub path: PathBuf,
    /// An open find: told, but not counted.
    pub is_known: bool,
    /// What became of it.
    pub ran: Ran,
    /// The story, if it failed.
    pub story: String,
    /// The command that shows it again.
    pub replay: String,
}

impl Report {
    fn is_good(&self) -> bool {
        matches!(self.ran.verdict, Verdict::Held)
    }
}

/// Writes a report.
pub fn write(format: Format, reports: &[Report]) -> String {
    match format {
        Format::Text => text(reports),
        Format::Json => json(reports),
        Format::Junit => junit(reports),
        Format::Github => github(reports),
    }
}

fn text(reports: &[Report]) -> String {
    let mut out = String::new();
    for report in reports.iter().filter(|report| !report.is_good()) {
        let word = if report.is_known { "known " } else { "FAILED" };
        let _ =
            writeln!(out, "{word}  {} seed {} ({})", report.ran.id, report.ran.seed, report.path.display());
        out.push_str(&wrongs(&report.ran));
        out.push_str(&report.story);
        let _ = writeln!(out, "  see it again\n    {}\n", report.replay);
    }
    if let [report] = reports
        && report.is_good()
    {
        out.push_str(&measured(&report.ran));
    }
    out.push_str(&summary(reports));
    out
}

/// The last line of every text.
fn summary(reports: &[Report]) -> String {
    let held = reports.iter().filter(|report| report.is_good()).count();
    let known = reports.iter().filter(|report| !report.is_good() && report.is_known).count();
    let failed = reports.len() - held - known;
    let steps: u64 = reports.iter().map(|report| report.ran.steps).sum();
    let mut line = format!("{held} held, {failed} failed");
    if known > 0 {
        let _ = write!(line, ", {known} known");
    }
    let _ = writeln!(line, " of {} runs, each made twice; {steps} records", reports.len());
    line
}

fn measured(ran: &Ran) -> String {
    let mut out = String::new();
    for measured in &ran.measured {
        let (observed, bound) = (seconds(measured.observed), seconds(measured.bound));
        let _ = writeln!(out, "  {:<40} {observed:>12} of {bound}", measured.what);
    }
    if !ran.marks.is_empty() {
        let _ = writeln!(out, "  marks: {}", ran.marks.join(", "));
    }
    out
}

fn wrongs(ran: &Ran) -> String {
    let mut out = String::new();
    match &ran.verdict {
        Verdict::Held => {}
        Verdict::Broken(findings) => {
            out.push_str(&sentences(findings));
        }
        Verdict::NoVerdict => {
            let _ =
                writeln!(out, "  no verdict: {} records and no end; --records-max allows more", ran.steps);
        }
        Verdict::Differs(difference) => out.push_str(&describe_difference(difference)),
        Verdict::Unrunnable(why) => {
            let _ = writeln!(out, "  no verdict: {why}");
        }
    }
    out
}

/// Returns a sentence per finding; what was said before is counted, and of one promise so many are told.
fn sentences(findings: &[Finding]) -> String {
    let mut out = String::new();
    let mut promises: Vec<(&str, u32)> = Vec::new();
    for finding in findings {
        let promise = (finding.promise, finding.line);
        if promises.contains(&promise) {
            continue;
        }
        promises.push(promise);
        let mut told: Vec<(&Finding, usize)> = Vec::new();
        for other in findings.iter().filter(|other| (other.promise, other.line) == promise) {
            match told.iter_mut().find(|(known, _)| known.text == other.text) {
                Some((_, times)) => *times += 1,
                None => told.push((other, 1)),
            }
        }
        for (finding, times) in told.iter().take(SENTENCES_MAX) {
            let asked = if finding.line > 0 { format!(" [line {}]", finding.line) } else { String::new() };
            let again = if *times > 1 { format!(" ({times} times)") } else { String::new() };
            let _ = writeln!(
                out,
                "  {} broke `{}` at {} (step {}){asked}: {}{again}",
                if finding.line > 0 { "the scenario's own end" } else { "promise" },
                finding.promise,
                finding.at,
                finding.step,
                finding.text
            );
        }
        let left = told.len().saturating_sub(SENTENCES_MAX);
        if left > 0 {
            let _ = writeln!(out, "    … and {left} more of `{}`", promise.0);
        }
    }
    out
}

fn describe_difference(difference: &Difference) -> String {
    let mut out = String::from("  two runs with the same seed differ: ");
    if difference.step == 0 {
        out.push_str("by their hashes, and in eight further pairs of runs by nothing\n");
        return out;
    }
    let _ = writeln!(out, "first at record {}", difference.step);
    for (name, record) in [("one", &difference.first), ("other", &difference.second)] {
        let told = record
            .as_ref()
            .map_or_else(|| "(over)".to_owned(), |record| words::line(record, &Cast::default()));
        let _ = writeln!(out, "    {name:<6} {told}");
    }
    out
}

fn json(reports: &[Report]) -> String {
    let runs: Vec<Value> = reports.iter().map(json_of).collect();
    let held = reports.iter().filter(|report| report.is_good()).count();
    let known = reports.iter().filter(|report| !report.is_good() && report.is_known).count();
    let value = json!({ "runs": runs, "held": held, "known": known, "failed": reports.len() - held - known });
    format!("{value:#}\n")
}

fn json_of(report: &Report) -> Value {
    let ran = &report.ran;
    let verdict = match &ran.verdict {
        Verdict::Held => "held",
        Verdict::Broken(_) => "broken",
        Verdict::NoVerdict => "no-verdict",
        Verdict::Differs(_) => "differs",
        Verdict::Unrunnable(_) => "unrunnable",
    };
    let findings = match &ran.verdict {
        Verdict::Broken(findings) => findings.as_slice(),
        Verdict::Held | Verdict::NoVerdict | Verdict::Differs(_) | Verdict::Unrunnable(_) => &[],
    };
    let nanos = |time: proxy_core::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    json!({
        "scenario": ran.id,
        "file": report.path.display().to_string(),
        "seed": ran.seed,
        "verdict": verdict,
        "known": report.is_known,
        "steps": ran.steps,
        "hash": format!("{:016x}", ran.hash),
        "time_ns": nanos(ran.time),
        "findings": findings.iter().map(|finding| json!({
            "promise": finding.promise,
            "at_ns": finding.at.as_nanos(),
            "step": finding.step,
            "line": finding.line,
            "text": finding.text,
        })).collect::<Vec<_>>(),
        "measured": ran.measured.iter().map(|measured| json!({
            "what": measured.what,
            "observed_ns": nanos(measured.observed),
            "bound_ns": nanos(measured.bound),
        })).collect::<Vec<_>>(),
        "marks": ran.marks,
        "cells": ran.cells.iter().map(|(state, event)| {
            format!("{} × {}", words::kebab(state), words::kebab(event))
        }).collect::<Vec<_>>(),
        "replay": if report.is_good() { Value::Null } else { report.replay.clone().into() },
    })
}

fn junit(reports: &[Report]) -> String {
    use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

    let mut junit = quick_junit::Report::new("repull-sim");
    let mut suite = TestSuite::new("scenarios");
    for report in reports {
        let status = match &report.ran.verdict {
            Verdict::Held => TestCaseStatus::success(),
            Verdict::Broken(findings) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(findings.first().map_or("", |finding| &finding.text));
                status.set_type(findings.first().map_or("", |finding| finding.promise));
                status.set_description(format!(
                    "{}{}  {}\n",
                    wrongs(&report.ran),
                    report.story,
                    report.replay
                ));
                status
            }
            Verdict::NoVerdict | Verdict::Unrunnable(_) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_type("no-verdict");
                status.set_message(wrongs(&report.ran).trim());
                status
            }
            Verdict::Differs(difference) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_type("determinism");
                status.set_message(describe_difference(difference).trim());
                status
            }
        };
        let mut case = TestCase::new(format!("{} seed {}", report.ran.id, report.ran.seed), status);
        case.set_classname(report.path.display().to_string());
        // The world's time: the same in every report of a run.
        case.set_time(report.ran.time);
        suite.add_test_case(case);
    }
    junit.add_test_suite(suite);
    // Nothing here can fail to be written: it is text.
    junit.to_string().unwrap_or_default() + "\n"
}

fn github(reports: &[Report]) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let mut out = String::new();
    for report in reports.iter().filter(|report| !report.is_good()) {
        let level = if report.is_known { "warning" } else { "error" };
        let (title, text, line) = match &report.ran.verdict {
            Verdict::Held => continue,
            Verdict::Broken(findings) => {
                let Some(first) = findings.first() else { continue };
                (format!("{} broke {}", report.ran.id, first.promise), first.text.clone(), first.line.max(1))
            }
            Verdict::NoVerdict | Verdict::Unrunnable(_) => {
                (format!("{} came to no verdict", report.ran.id), wrongs(&report.ran), 1)
            }
            Verdict::Differs(difference) => {
                (format!("{} is not deterministic", report.ran.id), describe_difference(difference), 1)
            }
        };
        let text = escape(&format!("{text}\n{}{}", report.story, report.replay));
        let (path, title) = (report.path.display(), escape(&title).replace(',', "%2C").replace(':', "%3A"));
        let _ = writeln!(out, "::{level} file={path},line={line},title={title}::{text}");
    }
    out.push_str(&summary(reports));
    out
}

#[cfg(test)]
mod tests {
    use proxy_core::time::Instant;

    use super::*;
    use crate::trace::ActorId;

    fn check(texts: impl Iterator<Item = String>) -> String {
        let finding = |text| Finding {
            promise: "picture",
            step: 7,
            at: Instant::from_millis(1_000),
            actor: ActorId(0),
            text,
            line: 0,
        };
        sentences(&texts.map(finding).collect::<Vec<_>>())
    }

    #[test]
    fn what_was_said_before_is_counted() {
        let told = check((0..100).map(|_| "no frame".to_owned()));
        assert_eq!(told, "  promise broke `picture` at 1.000000s (step 7): no frame (100 times)\n");
    }

    #[test]
    fn of_one_promise_a_few_sentences_are_told() {
        let told = check((0..100).map(|number| format!("no frame of live/{number}")));
        assert_eq!(told.lines().count(), SENTENCES_MAX + 1);
        assert!(told.ends_with("    … and 96 more of `picture`\n"), "{told}");
    }
}
