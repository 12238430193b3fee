//! Scenarios: what decides a run, as a value and as a file.
pub mod model;
