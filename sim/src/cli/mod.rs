//! The commands of `repull-sim` about scenarios. Each returns the exit code; `main` leaves with it.

pub mod bench;
pub mod check;
pub mod defects;
pub mod exit;
mod files;
pub mod props;
pub mod prove;
pub mod real;
pub mod replay;
pub mod run;
pub mod view;
