//! Agreement between planes: what a run was in the eyes of an operator and a viewer, and where two runs differ in it.
//!
//! ```text
//!   records ──► Gist: lifecycle of each stream, silences of each seat, answers of each call ──► compare ──► Part
//! ```
//! Two planes never agree on bytes or milliseconds; what they must agree on is the verdict, the order of what happens to
//! a pull, when frames are back, and what the API says.

mod compare;
mod gist;
mod known;
mod side;

pub use self::{
    compare::{Aspect, Comparison, Part, compare},
    gist::{Attempt, Gist, Silence, gist},
    known::{KNOWN_FILE, Known, KnownError},
    side::side_by_side,
};
