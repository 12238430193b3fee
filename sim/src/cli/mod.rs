//! The commands of `repull-sim` about scenarios. Each returns the exit code; `main` leaves with it.

pub mod bench;
pub mod check;
pub mod defects;
pub mod diff;
pub mod exhaust;
pub mod exit;
pub mod explore;
mod files;
pub mod merge;
mod progress;
pub mod props;
pub mod prove;
pub mod real;
pub mod replay;
pub mod run;
pub mod seek;
pub mod shrink;
pub mod time;
pub mod view;
pub mod why;
