//! Planes beside the simulated world: the same scenario, the same promises, more of the real thing.

pub mod netns;

use std::fmt;

/// Why a scenario cannot run on a plane, here and now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrunnable(pub String);

/// How a text begins that tells of an end by a signal.
pub(crate) const INTERRUPTED: &str = "interrupted";

impl Unrunnable {
    /// Returns whether somebody ended it.
    pub fn is_interruption(&self) -> bool {
        self.0.starts_with(INTERRUPTED)
    }
}

impl fmt::Display for Unrunnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unrunnable {}
