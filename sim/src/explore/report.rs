//! What a search came to, as data: told to people, written for programs, joined from the shards of one search.

use std::{collections::BTreeMap, fmt, fmt::Write as _};

use proxy_core::time::Duration;
use serde::{Deserialize, Serialize};

use super::search::Tally;
use crate::{
    oracle::{REACHABLE, STIMULI},
    report::Group,
    scenario::MARKS,
    trace::{STATES, words::kebab},
};

/// The version of the form.
const SCHEMA: u32 = 1;
/// Misses told by name in text.
const TOLD_MAX: usize = 24;

/// A search, told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The form's version.
    pub schema: u32,
    /// `explore` or `exhaust`.
    pub command: String,
    /// How it can be made again.
    pub how: String,
    /// Which shard of how many, such as `1/4`; joined ones in a list.
    pub shards: Vec<String>,
    /// Seeds tried, or cases.
    pub seeds: u64,
    /// Records made.
    pub steps: u64,
    /// Wall time, in milliseconds; of shards that ran beside each other the longest.
    pub millis: u64,
    /// It was stopped before its end.
    pub is_cut: bool,
    /// In how many seeds each mark was reached.
    pub marks: BTreeMap<String, u64>,
    /// Marks never reached.
    pub marks_missed: Vec<String>,
    /// In how many seeds each cell was reached.
    pub cells: Vec<CellCount>,
    /// Reachable cells never reached, `state × event`.
    pub cells_missed: Vec<String>,
    /// Ways taken, see `Oracles::ways`.
    pub ways: Vec<u32>,
    /// Failures.
    pub groups: Vec<GroupReport>,
    /// Worst recovery times.
    pub worst: Vec<WorstReport>,
}

/// How often a cell was reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CellCount {
    /// The state.
    pub state: String,
    /// The event.
    pub event: String,
    /// In how many seeds.
    pub seeds: u64,
}

/// A group of failures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Which.
    #[serde(flatten)]
    pub group: Group,
    /// How often.
    pub count: u64,
    /// The file it is known from.
    pub known: Option<String>,
    /// The seed of the one told.
    pub seed: u64,
    /// What was seen.
    pub text: String,
    /// Events of its scenario.
    pub events: usize,
    /// Its file.
    pub file: Option<String>,
    /// The command that shows it again.
    pub replay: Option<String>,
}

/// A worst time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorstReport {
    /// Of what.
    pub what: String,
    /// The time, in microseconds.
    pub observed_us: u64,
    /// What is promised, in microseconds.
    pub bound_us: u64,
    /// The seed.
    pub seed: u64,
    /// Its file, if it was written.
    pub file: Option<String>,
}

impl Report {
    /// Tells a tally. Files are filled in by whoever writes them.
    pub fn of(
        tally: &Tally,
        command: &str,
        how: &str,
        shard: (u64, u64),
        time: Duration,
        is_cut: bool,
    ) -> Self {
        let (state, event) = (|at: usize| kebab(&STATES[at]), |at: usize| kebab(&STIMULI[at]));
        let missed =
            REACHABLE.iter().flat_map(|(state, events)| events.iter().map(move |event| (*state, *event)));
        let missed =
            missed.filter(|(state, event)| !tally.cells.contains_key(&(*state as usize, *event as usize)));
        let groups = tally.found.groups.iter().map(|(group, example)| GroupReport {
            group: group.clone(),
            count: example.count,
            known: tally.found.known.get(group).map(|path| path.display().to_string()),
            seed: example.seed,
            text: example.text.clone(),
            events: example.scenario.events.len(),
            file: None,
            replay: None,
        });
        let cell = |(&(at, of), seeds): (&(usize, usize), &u64)| CellCount {
            state: state(at),
            event: event(of),
            seeds: *seeds,
        };
        let mut cells: Vec<CellCount> = tally.cells.iter().map(cell).collect();
        cells.sort();
        let worst = tally.worst.values().filter(|worst| super::is_recovery(&worst.measured.what));
        let worst = worst.map(|worst| WorstReport {
            what: worst.measured.what.clone(),
            observed_us: micros(worst.measured.observed),
            bound_us: micros(worst.measured.bound),
            seed: worst.seed,
            file: None,
        });
        Self {
            schema: SCHEMA,
            command: command.to_owned(),
            how: how.to_owned(),
            shards: vec![format!("{}/{}", shard.0, shard.1)],
            seeds: tally.seeds,
            steps: tally.steps,
            millis: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            is_cut,
            marks: tally.marks.iter().map(|(mark, count)| ((*mark).to_owned(), *count)).collect(),
            marks_missed: tally.marks_missed().into_iter().map(str::to_owned).collect(),
            cells,
            cells_missed: missed
                .map(|(state, event)| format!("{} × {}", kebab(&state), kebab(&event)))
                .collect(),
            ways: tally.ways.iter().copied().collect(),
            groups: groups.collect(),
            worst: worst.collect(),
        }
    }

    /// Returns the groups nobody knows.
    pub fn news(&self) -> impl Iterator<Item = &GroupReport> {
        self.groups.iter().filter(|group| group.known.is_none())
    }

    /// Returns it for programs.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Returns it for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for group in &self.groups {
            let word = if group.known.is_some() { "known " } else { "FAILED" };
            let times = if group.count == 1 { "once".to_owned() } else { format!("{} times", group.count) };
            let _ = writeln!(out, "{word}  {}, {times}", group.group.promise);
            let _ = writeln!(out, "  {}", group.text.replace('\n', "\n  "));
            let _ = writeln!(out, "  seed {}, {} events", group.seed, group.events);
            if let Some(known) = &group.known {
                let _ = writeln!(out, "  known from {known}");
            }
            if let Some(replay) = &group.replay {
                let _ = writeln!(out, "  see it again\n    {replay}");
            }
            out.push('\n');
        }
        for worst in &self.worst {
            let (observed, bound) = (shown(worst.observed_us), shown(worst.bound_us));
            let _ =
                write!(out, "{:<28} {observed:>10} of {bound} at the worst, seed {}", worst.what, worst.seed);
            let _ =
                writeln!(out, "{}", worst.file.as_ref().map_or_else(String::new, |file| format!(", {file}")));
        }
        let reached = MARKS.len() - self.marks_missed.len();
        let _ = writeln!(out, "marks  {reached} of {} reached{}", MARKS.len(), listed(&self.marks_missed));
        let cells: usize = REACHABLE.iter().map(|(_, events)| events.len()).sum();
        let reached = cells - self.cells_missed.len();
        let _ = writeln!(out, "cells  {reached} of {cells} reached{}", listed(&self.cells_missed));
        let (news, known) = (self.news().count(), self.groups.len() - self.news().count());
        let told_known = if known > 0 { format!(", {known} known") } else { String::new() };
        let cut = if self.is_cut { ", stopped before its end" } else { "" };
        let noun = if self.command == "exhaust" { "cases" } else { "seeds" };
        let _ = writeln!(
            out,
            "{} {noun} in {}, {}/s, {} ways; {news} group{} of failures{told_known}{cut}",
            self.seeds,
            shown(self.millis * 1_000),
            self.seeds * 1_000 / self.millis.max(1),
            self.ways.len(),
            if news == 1 { "" } else { "s" },
        );
        out
    }
}

/// Returns what was missed, in brackets.
fn listed(missed: &[String]) -> String {
    if missed.is_empty() {
        return String::new();
    }
    let told = missed.iter().take(TOLD_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = missed.len().saturating_sub(TOLD_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("; never: {told}{more}")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / 1_000).unwrap_or(u64::MAX)
}

/// Writes microseconds as seconds with three places.
fn shown(micros: u64) -> String {
    format!("{}.{:03} s", micros / 1_000_000, micros / 1_000 % 1_000)
}

/// Why reports cannot be joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeError {
    /// There is none.
    Nothing,
    /// It is of another form.
    Schema(u32),
    /// Two are of the same part of the search.
    Twice(String),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no report to join"),
            Self::Schema(schema) => {
                write!(
                    f,
                    "a report of form {schema}; this program joins form {SCHEMA}: write it anew with this one"
                )
            }
            Self::Twice(shard) => {
                write!(
                    f,
                    "shard {shard} is there twice; give each job of the search its own --shard and report"
                )
            }
        }
    }
}

/// Joins the reports of a search's shards.
///
/// # Errors
/// They are not of one search.
pub fn merge(reports: Vec<Report>) -> Result<Report, MergeError> {
    let mut reports = reports.into_iter();
    let mut all = reports.next().ok_or(MergeError::Nothing)?;
    check(&all)?;
    for report in reports {
        check(&report)?;
        if let Some(shard) = report.shards.iter().find(|shard| all.shards.contains(shard)) {
            return Err(MergeError::Twice(shard.clone()));
        }
        join(&mut all, report);
    }
    all.shards.sort();
    Ok(all)
}

fn check(report: &Report) -> Result<(), MergeError> {
    if report.schema == SCHEMA { Ok(()) } else { Err(MergeError::Schema(report.schema)) }
}

fn join(all: &mut Report, other: Report) {
    all.shards.extend(other.shards);
    all.seeds += other.seeds;
    all.steps += other.steps;
    all.millis = all.millis.max(other.millis);
    all.is_cut |= other.is_cut;
    for (mark, count) in other.marks {
        *all.marks.entry(mark).or_insert(0) += count;
    }
    all.marks_missed.retain(|mark| other.marks_missed.contains(mark));
    for cell in other.cells {
        match all.cells.iter_mut().find(|known| (&known.state, &known.event) == (&cell.state, &cell.event)) {
            Some(known) => known.seeds += cell.seeds,
            None => all.cells.push(cell),
        }
    }
    all.cells.sort();
    all.cells_missed.retain(|cell| other.cells_missed.contains(cell));
    all.ways.extend(other.ways);
    all.ways.sort_unstable();
    all.ways.dedup();
    for group in other.groups {
        match all.groups.iter_mut().find(|known| known.group == group.group) {
            Some(known) => {
                let count = known.count + group.count;
                if (group.events, group.seed) < (known.events, known.seed) {
                    *known = group;
                }
                known.count = count;
            }
            None => all.groups.push(group),
        }
    }
    all.groups.sort_by(|a, b| a.group.cmp(&b.group));
    for worst in other.worst {
        match all.worst.iter_mut().find(|known| known.what == worst.what) {
            Some(known) if (known.observed_us, worst.seed) < (worst.observed_us, known.seed) => {
                *known = worst
            }
            Some(_) => {}
            None => all.worst.push(worst),
        }
    }
}
