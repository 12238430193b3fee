//! Scenario files as the commands take them: what is wrong with them is told, and the exit code says so.

use std::path::PathBuf;

use super::exit;
use crate::{
    runner::{self, File},
    scenario::{self, model::Scenario},
};

/// Finds scenario files and reads their text.
///
/// # Errors
/// The exit code, once what cannot be read has been told.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<File>, u8> {
    runner::find_files(paths).map_err(|error| {
        eprintln!("repull-sim: {error}");
        exit::USAGE
    })
}

/// Reads what the files say; one with ranges becomes a scenario for each of its seeds, or for the one that is given, which
/// makes a value of each.
///
/// # Errors
/// The exit code, once every mistake has been told.
pub(super) fn read_seeded(files: Vec<File>, seed: Option<u64>) -> Result<(Vec<File>, Vec<Scenario>), u8> {
    let (mut explicit, mut scenarios, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        let path = file.path.display().to_string();
        let load = |seed| scenario::load(&file.text, &path, Some(seed));
        let first = match load(seed.unwrap_or(1)) {
            Ok(first) => first,
            Err(found) => {
                problems.extend(found);
                continue;
            }
        };
        if first.explicit == file.text {
            scenarios.push(first.scenario);
            explicit.push(file);
            continue;
        }
        for seed in seed.map_or(first.scenario.run.seeds, |seed| vec![seed]) {
            match load(seed) {
                Ok(mut loaded) => {
                    loaded.scenario.run.seeds = vec![seed];
                    scenarios.push(loaded.scenario);
                    explicit.push(File { path: file.path.clone(), text: loaded.explicit });
                }
                Err(found) => problems.extend(found),
            }
        }
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.is_empty() { Ok((explicit, scenarios)) } else { Err(exit::USAGE) }
}

/// Reads what the files say.
///
/// # Errors
/// The exit code, once every mistake has been told.
pub(super) fn read(files: &[File]) -> Result<Vec<Scenario>, u8> {
    runner::read_files(files).map_err(|problems| {
        for problem in &problems {
            eprintln!("{problem}");
        }
        exit::USAGE
    })
}
