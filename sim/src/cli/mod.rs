//! The commands of `repull-sim` that run scenarios. Each returns the exit code; `main` leaves with it.

pub mod bench;
pub mod defects;
pub mod exit;
pub mod replay;
pub mod run;
pub mod view;
