//! What runs became, told: for people, for programs, for CI.

mod formats;
mod story;

pub use self::{
    formats::{Format, Report, write},
    story::{TOLD_MAX, is_notable, story},
};
