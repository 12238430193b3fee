//! The commands of `repull-sim` about scenarios. Each returns the exit code; `main` leaves with it.

pub mod bench;
pub mod check;
pub mod defects;
pub mod diff;
pub mod exit;
mod files;
pub mod netns;
pub mod props;
pub mod prove;
pub mod replay;
pub mod run;
pub mod shrink;
pub mod view;
pub mod why;
