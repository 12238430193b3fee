//! Commands of `repull-sim` that are about files: they take what the command line says and return an exit code.

pub mod check;
pub mod props;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// All is well.
pub const EXIT_HELD: u8 = 0;
/// A bad file, or a command line that is not understood.
pub const EXIT_USAGE: u8 = 2;

/// Returns the scenario files that paths stand for: a file itself, of a folder every `*.toml` below it, in order.
///
/// # Errors
/// Names the path that cannot be read, or the folder without scenarios.
pub fn scenario_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        if path.is_dir() {
            collect(path, &mut files).map_err(|error| format!("{}: {error}", path.display()))?;
            if files.len() == before {
                return Err(format!("{}: no *.toml below this folder", path.display()));
            }
        } else if path.exists() {
            files.push(path.clone());
        } else {
            return Err(format!("{}: no such file or folder", path.display()));
        }
    }
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    // Folders come in any order.
    let mut entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(())
}
