//! The image of the binary under test: built from the repository's own `Containerfile`, of the binary and the libraries
//! it was linked with, so that no registry is asked for anything.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::plane::netns::tools::call;

/// What it is called.
pub(super) const NAME: &str = "localhost/repull";
/// How it is built.
const CONTAINERFILE: &str = include_str!("../../../../Containerfile");

/// Lays out what an image is built of in a folder; returns its `Containerfile` and the folder that goes into it. Other
/// programs whose libraries must be there, too, run in its containers without being in it.
///
/// # Errors
/// A file cannot be copied.
pub(super) fn lay_out(folder: &Path, repull: &Path, others: &[&Path]) -> Result<(PathBuf, PathBuf), String> {
    let (file, context) = (folder.join("Containerfile"), folder.join("image"));
    write(&file, CONTAINERFILE)?;
    copy(repull, &context.join("repull"))?;
    let mut libraries = BTreeSet::new();
    for program in others.iter().chain(&[repull]) {
        libraries.extend(libraries_of(program));
    }
    for library in libraries {
        let inside = library.strip_prefix("/").unwrap_or(&library);
        copy(&library, &context.join(inside))?;
    }
    Ok((file, context))
}

/// Returns the libraries a program is linked with; none if it is static.
fn libraries_of(program: &Path) -> Vec<PathBuf> {
    read_ldd(&call(&["ldd", &program.display().to_string()]).unwrap_or_default())
}

/// Reads what `ldd` says: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn read_ldd(said: &str) -> Vec<PathBuf> {
    said.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let named = |error: std::io::Error| format!("{}: {error}", from.display());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(named)?;
    }
    fs::copy(from, to).map(drop).map_err(named)
}

pub(super) fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_as_ldd_tells_them() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let libraries = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(read_ldd(said), libraries);
        assert!(read_ldd("\tstatically linked\n").is_empty());
    }
}
