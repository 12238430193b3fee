//! What a search came to, as data: told to people, written for programs, joined from the shards of one search.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fmt::Write as _,
    str::FromStr,
};

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
const SCHEMA: u32 = 2;
/// Misses told by name in text.
const TOLD_MAX: usize = 24;

/// A search, told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The form's version.
    pub schema: u32,
    /// `explore` or `exhaust`.
    pub command: String,
    /// The command that makes all of it again, every shard.
    pub how: String,
    /// Which shards, each of how many.
    pub shards: Vec<Shard>,
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

/// A part of a search that several jobs share; written `3/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Shard {
    /// Which, from 1.
    pub part: u64,
    /// Of how many.
    pub of: u64,
}

impl Shard {
    /// All of a search.
    pub const WHOLE: Self = Self { part: 1, of: 1 };
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl TryFrom<String> for Shard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = || "a part and how many, such as 3/8".to_owned();
        let (part, of) = text.split_once('/').ok_or_else(hint)?;
        let (part, of): (u64, u64) = (part.parse().map_err(|_| hint())?, of.parse().map_err(|_| hint())?);
        if part == 0 || part > of {
            return Err(format!("parts count from 1 to {of}"));
        }
        Ok(Self { part, of })
    }
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
    /// The file it is known from, with its reports.
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
    pub fn of(tally: &Tally, command: &str, how: &str, shard: Shard, time: Duration, is_cut: bool) -> Self {
        let (state, event) = (|at: usize| kebab(&STATES[at]), |at: usize| kebab(&STIMULI[at]));
        let groups = tally.found.groups.iter().map(|(group, example)| GroupReport {
            group: group.clone(),
            count: example.count,
            known: tally.found.known.get(group).cloned(),
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
        let mut report = Self {
            schema: SCHEMA,
            command: command.to_owned(),
            how: how.to_owned(),
            shards: vec![shard],
            seeds: tally.seeds,
            steps: tally.steps,
            millis: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            is_cut,
            marks: tally.marks.iter().map(|(mark, count)| ((*mark).to_owned(), *count)).collect(),
            marks_missed: Vec::new(),
            cells,
            cells_missed: Vec::new(),
            ways: tally.ways.iter().copied().collect(),
            groups: groups.collect(),
            worst: worst.collect(),
        };
        report.miss();
        report
    }

    /// Notes what was never reached.
    fn miss(&mut self) {
        let marks = MARKS.iter().map(|(mark, _)| *mark).filter(|mark| !self.marks.contains_key(*mark));
        self.marks_missed = marks.map(str::to_owned).collect();
        let all = REACHABLE.iter().flat_map(|(state, events)| events.iter().map(move |event| (state, event)));
        let all = all.map(|(state, event)| (kebab(state), kebab(event)));
        let is_reached = |(state, event): &(String, String)| {
            self.cells.iter().any(|cell| (&cell.state, &cell.event) == (state, event))
        };
        let missed = all.filter(|cell| !is_reached(cell));
        self.cells_missed = missed.map(|(state, event)| format!("{state} × {event}")).collect();
    }

    /// Returns the shards of which nothing is known.
    pub fn shards_missed(&self) -> Vec<Shard> {
        let of = self.shards.first().map_or(1, |shard| shard.of);
        let all = (1..=of).map(|part| Shard { part, of });
        all.filter(|shard| !self.shards.contains(shard)).collect()
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
    /// Another version of this program has written it: it has not the same marks.
    Version(String),
    /// Two are of different searches.
    Others(String, String),
    /// Two are of the same part of the search.
    Twice(Shard),
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
            Self::Version(mark) => {
                write!(
                    f,
                    "a report of another version of this program: one of the two has no mark \"{mark}\"; all shards of a \
                     search are made, and joined, by the same version"
                )
            }
            Self::Others(one, other) => {
                write!(f, "reports of two searches, `{one}` and `{other}`: join those of one")
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
            return Err(MergeError::Twice(*shard));
        }
        let search = |report: &Report| {
            let parts = report.shards.first().map_or(1, |shard| shard.of);
            format!("{}, in {parts} shards", report.how)
        };
        if search(&report) != search(&all) {
            return Err(MergeError::Others(search(&all), search(&report)));
        }
        join(&mut all, report);
    }
    all.shards.sort_unstable();
    all.miss();
    Ok(all)
}

/// What was reached can only be told from what was not by a program that has the same marks.
fn check(report: &Report) -> Result<(), MergeError> {
    if report.schema != SCHEMA {
        return Err(MergeError::Schema(report.schema));
    }
    let theirs: BTreeSet<&str> =
        report.marks.keys().chain(&report.marks_missed).map(String::as_str).collect();
    let ours: BTreeSet<&str> = MARKS.iter().map(|(mark, _)| *mark).collect();
    match theirs.symmetric_difference(&ours).next() {
        Some(mark) => Err(MergeError::Version((*mark).to_owned())),
        None => Ok(()),
    }
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
    for cell in other.cells {
        match all.cells.iter_mut().find(|known| (&known.state, &known.event) == (&cell.state, &cell.event)) {
            Some(known) => known.seeds += cell.seeds,
            None => all.cells.push(cell),
        }
    }
    all.cells.sort();
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
