//! `repull-sim check`: what is wrong in scenario files, and what they say.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use super::exit;
use crate::{
    runner::find_files,
    scenario::{self, Loaded, Problem},
};

/// Checks files and folders: problems go to `err`, what a file says to `out` if it is asked for.
///
/// # Errors
/// What cannot be written.
pub fn run(paths: &[PathBuf], explain: bool, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let files = match find_files(paths) {
        Ok(files) => files,
        Err(error) => {
            writeln!(err, "repull-sim: {error}")?;
            return Ok(exit::USAGE);
        }
    };
    let mut wrong = 0;
    for file in &files {
        let name = file.path.display().to_string();
        match load_every_seed(&file.text, &name) {
            Ok(loaded) => {
                tell(&loaded.warnings, err)?;
                if explain {
                    writeln!(out, "{}", scenario::explain(&loaded.scenario))?;
                }
            }
            Err(problems) => {
                tell(&problems, err)?;
                wrong += 1;
            }
        }
    }
    let files = files.len();
    let plural = if files == 1 { "" } else { "s" };
    if wrong > 0 {
        writeln!(err, "repull-sim: {wrong} of {files} scenario{plural} cannot be run")?;
        return Ok(exit::USAGE);
    }
    writeln!(out, "{files} scenario{plural}, nothing wrong")?;
    Ok(exit::HELD)
}

/// Reads a file as each of its seeds makes it: a range can hold a mistake that one seed does not meet.
fn load_every_seed(text: &str, name: &str) -> Result<Loaded, Vec<Problem>> {
    let first = scenario::load(text, name, Some(1))?;
    for seed in &first.scenario.run.seeds {
        scenario::load(text, name, Some(*seed))?;
    }
    Ok(first)
}

fn tell(problems: &[Problem], err: &mut dyn Write) -> io::Result<()> {
    for problem in problems {
        writeln!(err, "{problem}")?;
    }
    Ok(())
}
