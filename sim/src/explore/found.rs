//! What a search found: failures by group, the smallest of each told.

use std::{collections::BTreeMap, fs, io, path::Path, path::PathBuf};

use super::attempt::{Conduct, Failure, run};
use crate::{
    report::Group,
    runner,
    scenario::{self, model::Scenario},
};

/// Failures, by group.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The groups, in a fixed order.
    pub groups: BTreeMap<Group, Example>,
    /// Groups that are known, each with the file it is known from and its reports.
    pub known: BTreeMap<Group, String>,
}

/// One failure of a group, told for all of them.
#[derive(Clone, Debug)]
pub struct Example {
    /// How often the group was met.
    pub count: u64,
    /// The seed of the smallest, or of the first of several as small.
    pub seed: u64,
    /// What was seen.
    pub text: String,
    /// The scenario.
    pub scenario: Scenario,
}

impl Found {
    /// Adds a failure.
    pub fn add(&mut self, seed: u64, failure: Failure, scenario: Scenario) {
        let Failure { group, text } = failure;
        let size = |scenario: &Scenario| (scenario.events.len(), scenario.hosts.len());
        match self.groups.get_mut(&group) {
            Some(example) => {
                example.count += 1;
                if size(&scenario) < size(&example.scenario) {
                    (example.seed, example.text, example.scenario) = (seed, text, scenario);
                }
            }
            None => {
                self.groups.insert(group, Example { count: 1, seed, text, scenario });
            }
        }
    }

    /// Returns whether there is a failure nobody knows.
    pub fn has_news(&self) -> bool {
        self.groups.keys().any(|group| !self.known.contains_key(group))
    }

    /// Returns how many groups nobody knows, and how many somebody does.
    pub fn counts(&self) -> (usize, usize) {
        let known = self.groups.keys().filter(|group| self.known.contains_key(*group)).count();
        (self.groups.len() - known, known)
    }
}

/// Runs the files of a folder of known failures; returns the group of each that still fails.
///
/// # Errors
/// A file that is not understood, or that names no report.
pub fn known_in(folder: &Path, conduct: Conduct) -> Result<BTreeMap<Group, String>, String> {
    let mut known = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(known);
    }
    let mut paths: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
        Err(error) => return Err(format!("{}: {error}", folder.display())),
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    if paths.is_empty() {
        return Ok(known);
    }
    for file in runner::find_files(&paths)? {
        let read = scenario::read(&file.text, &file.path.display().to_string());
        let scenario = read
            .map_err(|problems| problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())?;
        if scenario.refs.is_empty() {
            return Err(format!(
                "{}: what is known names its report; write refs = [\"…\"]",
                file.path.display()
            ));
        }
        let from = format!("{} ({})", file.path.display(), scenario.refs.join(", "));
        for seed in scenario.run.seeds.clone() {
            let mut scenario = scenario.clone();
            scenario.run.seeds = vec![seed];
            if let Some(failure) = run(seed, scenario, conduct).failure {
                known.insert(failure.group, from.clone());
            }
        }
    }
    Ok(known)
}

/// Returns the name of a group's file.
pub fn stem(group: &Group) -> String {
    let word = |text: &str| {
        let kept = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
        kept.collect::<String>().trim_matches('-').to_owned()
    };
    let hash = xxhash_rust::xxh3::xxh3_64(group.place.as_bytes());
    format!("{}-{:08x}", word(&group.promise), hash >> 32)
}

/// Writes the scenario of a failure, and returns where it is.
///
/// # Errors
/// It cannot be written.
pub fn save(folder: &Path, group: &Group, example: &Example, how: &str) -> io::Result<PathBuf> {
    let title = format!("{}, broken: {}", group.promise, first_line(&example.text));
    let told = [
        format!("Found by {how}, seed {}.", example.seed),
        format!("Broken: {}: {}", group.promise, example.text),
    ];
    write(folder, &stem(group), &title, &told, &example.scenario)
}

/// Writes a scenario with a comment on top, and returns where it is.
///
/// # Errors
/// It cannot be written.
pub fn write(
    folder: &Path,
    stem: &str,
    title: &str,
    told: &[String],
    scenario: &Scenario,
) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{stem}.toml"));
    let scenario = Scenario { id: stem.to_owned(), title: title.to_owned(), ..scenario.clone() };
    let mut text = String::new();
    let again = format!("See it again: repull-sim run {}", path.display());
    for line in told.iter().flat_map(|told| told.lines()).chain([again.as_str()]) {
        text.push_str("# ");
        text.push_str(line);
        text.push('\n');
    }
    text.push_str(&scenario::print(&scenario));
    fs::write(&path, text)?;
    Ok(path)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(160).collect()
}
