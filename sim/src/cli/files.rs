//! Scenario files as the commands take them: what is wrong with them is told, and the exit code says so.

use std::path::PathBuf;

use super::exit;
use crate::{
    runner::{self, File},
    scenario::model::Scenario,
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
