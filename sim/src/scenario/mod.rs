//! Scenarios: what decides a run, as a value and as a file.
//!
//! ```text
//!             forms, faults, words: the form as data
//!          ┌──────────┬────────────┬──────────┐
//! text ──► read ──► build ──► check ──► Scenario ──► print ──► text
//!            │ ranges rolled by a seed      │
//!            └──► resolve: the same text    └──► explain: in words
//! ```
//! One description of the form serves reading, messages, printing, `props` and the JSON Schema. Every mistake of a
//! file is told at once, with its place, the offending word and the allowed ones.

mod build;
mod check;
mod expect;
mod explain;
mod faults;
mod form;
mod forms;
mod lookup;
mod marks;
pub mod model;
mod moment;
mod planted;
mod print;
mod print_who;
mod publisher;
mod pulls;
mod read;
mod schema;
mod show;
mod timeline;
pub(crate) mod unit;
mod values;
pub mod vocabulary;
pub(crate) mod words;

use std::fmt;

use proxy_core::time::Duration;
use proxyd::config::Place;
use toml_edit::{Document, DocumentMut};

pub(crate) use self::{
    check::earliest,
    form::Roles,
    print::{fault_name, moment_words},
    print_who::config as print_config,
    pulls::PullNames,
};
pub use self::{
    explain::explain,
    faults::{FAULTS, FaultForm},
    marks::MARKS,
    model::Scenario,
    print::print,
    schema::schema,
};

/// Something wrong, or suspicious, in a file. Displayed as compilers do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was called.
    pub file: String,
    /// Where; `None` for the file as a whole.
    pub place: Option<Place>,
    /// It can be run nevertheless.
    pub is_warning: bool,
    /// What, and what is allowed.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_warning { "warning" } else { "error" };
        let problem = proxyd::config::Problem { place: self.place, text: self.text.clone() };
        f.write_str(&problem.line(&self.file, kind))
    }
}

/// A file understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it says.
    pub scenario: Scenario,
    /// What is suspicious, in the file's order.
    pub warnings: Vec<Problem>,
    /// The text without ranges; the same text if it had none.
    pub explicit: String,
}

/// Reads a scenario without ranges. The file's name goes into messages, and its stem must be the id.
///
/// # Errors
/// All problems of the file, warnings among them, in its order.
pub fn read(text: &str, file: &str) -> Result<Scenario, Vec<Problem>> {
    load(text, file, None).map(|loaded| loaded.scenario)
}

/// Reads a scenario; a seed makes a value of every range. Dice are split by line and key: what a line rolls does not
/// depend on the others.
///
/// # Errors
/// All problems of the file, warnings among them, in its order.
pub fn load(text: &str, file: &str, seed: Option<u64>) -> Result<Loaded, Vec<Problem>> {
    let mut reader = read::Reader::new(text, file, seed);
    let scenario = match Document::parse(text) {
        Ok(document) => Some(reader.document(&document)),
        Err(error) => {
            let at = error.span().unwrap_or_default();
            reader.not_toml(&error, &at);
            None
        }
    };
    let read::Reader { mut problems, mut edits, .. } = reader;
    problems.sort_by(|a, b| (a.place, &a.text).cmp(&(b.place, &b.text)));
    problems.dedup();
    let is_fine = problems.iter().all(|problem| problem.is_warning);
    let Some(scenario) = scenario.filter(|_| is_fine) else { return Err(problems) };
    edits.sort_by_key(|(span, _)| span.start);
    let mut explicit = text.to_owned();
    for (span, value) in edits.into_iter().rev() {
        explicit.replace_range(span, &value);
    }
    Ok(Loaded { scenario, warnings: problems, explicit })
}

/// Returns the explicit text of a scenario: every range is the value the seed makes of it, all else as it was.
///
/// # Errors
/// All problems of the file.
pub fn resolve(text: &str, file: &str, seed: u64) -> Result<String, Vec<Problem>> {
    load(text, file, Some(seed)).map(|loaded| loaded.explicit)
}

/// Returns the text of a scenario with another id.
pub fn with_id(text: &str, id: &str) -> String {
    match text.parse::<DocumentMut>() {
        Ok(mut document) => {
            if let Some(value) = document.get_mut("id").and_then(|item| item.as_value_mut()) {
                let decor = value.decor().clone();
                *value = id.into();
                *value.decor_mut() = decor;
            }
            document.to_string()
        }
        // What does not parse has been told.
        Err(_) => text.to_owned(),
    }
}

/// Returns the JSON Schema as text, as it is kept beside the scenarios.
pub fn schema_text() -> String {
    serde_json::to_string_pretty(&schema()).expect("a JSON value has text")
}

impl Scenario {
    /// Returns how late the timers of a proxy may fire, by the faults that say so.
    pub(crate) fn latest_timer(&self) -> Duration {
        let late = |event: &model::Event| {
            let model::Act::Fault(fault) = &event.act else { return None };
            if let model::Fault::LateTimers { by } = fault.fault { Some(by) } else { None }
        };
        self.events.iter().filter_map(late).max().unwrap_or_default()
    }

    /// Returns the names of its faults, as [`FAULTS`] has them, one for each event.
    pub fn fault_names(&self) -> impl Iterator<Item = &'static str> {
        self.events.iter().filter_map(|event| match &event.act {
            model::Act::Fault(fault) => Some(fault_name(&fault.fault)),
            model::Act::Call(_)
            | model::Act::Repair { .. }
            | model::Act::Play { .. }
            | model::Act::Leave { .. }
            | model::Act::Publish { .. }
            | model::Act::Start { .. } => None,
        })
    }

    /// Forgets where in a file things stand: two files that say the same are then equal.
    #[must_use]
    pub fn without_lines(mut self) -> Self {
        self.nets.iter_mut().for_each(|net| net.line = 0);
        self.hosts.iter_mut().for_each(|host| host.line = 0);
        self.names.iter_mut().for_each(|name| name.line = 0);
        self.pulls.iter_mut().for_each(|pull| pull.line = 0);
        self.events.iter_mut().for_each(|event| event.line = 0);
        self.expects.iter_mut().for_each(|expect| expect.line = 0);
        self.swarm.iter_mut().for_each(|swarm| swarm.line = 0);
        self
    }
}
