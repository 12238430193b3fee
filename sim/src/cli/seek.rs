//! How many seeds a search needs to find a planted defect: what `repull-sim defects --search` counts.

use std::{io, path::Path, process::Command};

use serde_json::Value;

use super::explore::ModeArg;
use crate::explore::Mode;

/// Seeds between the beginnings of two searches: none tries what another has tried.
const APART: u64 = 1_000_000;
/// Searches of one kind that find nothing in a row before the rest of them is left out: they cost the most.
const PATIENCE: usize = 3;

/// How each defect is searched for.
#[derive(Clone, Debug)]
pub struct Seek {
    /// Searches of each kind.
    pub searches: u32,
    /// Seeds after which a search ends without having found anything.
    pub cap: u64,
    /// Kinds of search.
    pub modes: Vec<ModeArg>,
    /// Runs made at a time; what is found does not depend on it.
    pub jobs: usize,
}

/// What the searches of one kind came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// The seeds each needed; `None` if it found nothing.
    needed: Vec<Option<u64>>,
}

impl Seek {
    /// Searches with a planted binary. `twice`: what it breaks shows in the difference of two runs.
    pub fn seek(&self, binary: &Path, twice: bool) -> io::Result<Vec<Sought>> {
        self.modes.iter().map(|mode| self.seek_by(binary, *mode, twice)).collect()
    }

    fn seek_by(&self, binary: &Path, mode: ModeArg, twice: bool) -> io::Result<Sought> {
        let mut needed = Vec::new();
        for search in 0..u64::from(self.searches) {
            needed.push(self.one(binary, mode, 1 + search * APART, twice)?);
            if needed.len() == PATIENCE && needed.iter().all(Option::is_none) {
                break;
            }
        }
        Ok(Sought { needed })
    }

    /// Makes one search; returns how many seeds it tried until one broke a promise.
    fn one(&self, binary: &Path, mode: ModeArg, from: u64, twice: bool) -> io::Result<Option<u64>> {
        let out = binary.with_file_name("found");
        let output = Command::new(binary)
            .args(["explore", "--first", "--format", "json", "--jobs", &self.jobs.to_string()])
            .args(["--search", Mode::from(mode).name(), "--from", &from.to_string()])
            .args(["--seeds", &self.cap.to_string(), "--out"])
            .arg(out)
            .args(twice.then_some("--twice"))
            .output()?;
        let report: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
            let told = String::from_utf8_lossy(&output.stderr);
            io::Error::other(format!("no report of a search: {}", told.trim()))
        })?;
        let has_found = report["groups"].as_array().is_some_and(|groups| !groups.is_empty());
        Ok(report["seeds"].as_u64().filter(|_| has_found))
    }
}

impl Sought {
    /// Returns the seeds needed by half of the searches; `None` if half of them found nothing.
    pub fn median(&self) -> Option<u64> {
        let mut needed: Vec<u64> = self.needed.iter().map(|needed| needed.unwrap_or(u64::MAX)).collect();
        needed.sort_unstable();
        // The upper one of two in the middle: no search is made to look better than it was.
        needed.get(needed.len() / 2).copied().filter(|median| *median < u64::MAX)
    }

    /// Says the median, and how many of the searches found anything if not all did.
    pub fn tell(&self, cap: u64) -> String {
        let found = self.needed.iter().flatten().count();
        let median = self.median().map_or_else(|| format!(">{cap}"), |median| median.to_string());
        if found == self.needed.len() { median } else { format!("{median} ({found}/{})", self.needed.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(needed: &[Option<u64>], expected: &str) {
        assert_eq!(Sought { needed: needed.to_vec() }.tell(20_000), expected);
    }

    #[test]
    fn a_median_says_what_half_of_the_searches_needed() {
        check(&[Some(9), Some(3), Some(5)], "5");
        check(&[Some(9), Some(3), Some(5), Some(1)], "5");
        check(&[None, Some(3), Some(5)], "5 (2/3)");
        check(&[None, None, Some(5)], ">20000 (1/3)");
        check(&[None, None, None], ">20000 (0/3)");
    }
}
