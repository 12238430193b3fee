//! What runs became, told: for people, for programs, for CI.

mod formats;
mod group;
mod story;

pub use self::{
    formats::{Format, Report, write},
    group::Group,
    story::{TOLD_MAX, is_notable, story},
};
