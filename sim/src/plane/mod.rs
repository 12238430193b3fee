//! Planes beside the simulated world: the same scenario, the same promises, more of the real thing.

pub mod netns;

use std::fmt;

/// Why a scenario cannot run on a plane, here and now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrunnable(pub String);

impl fmt::Display for Unrunnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unrunnable {}
