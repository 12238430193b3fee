//! Planes: the same scenario, the same records and oracles, on other ground.
//!
//! | room | purpose |
//! |---|---|
//! | `turmoil` | the production driver on turmoil |
//! | [`netns`] | the production binary on the kernel's network |
//! | [`container`] | the production binary in a container, beside others |

pub mod container;
pub mod netns;
pub(crate) mod turmoil;

use std::fmt;

pub use crate::scenario::model::Plane;
use crate::{
    scenario::{model::Scenario, words},
    world::{Keep, Outcome, World},
};

/// Why a scenario cannot be run on a plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrunnable {
    /// The file says so, for this reason if it names one.
    NotMeant(Plane, Option<String>),
    /// The plane cannot be had here: what is missing.
    Missing(Plane, String),
    /// Somebody ended it: the signal.
    Interrupted(String),
    /// The machine was too slow to judge it.
    TooSlow(Plane),
}

impl fmt::Display for Unrunnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMeant(plane, Some(why)) => write!(f, "not meant for plane {}: {why}", name(*plane)),
            Self::NotMeant(plane, None) => write!(f, "not meant for plane {}", name(*plane)),
            Self::Missing(plane, what) => write!(f, "no plane {} here: {what}", name(*plane)),
            Self::Interrupted(signal) => write!(f, "interrupted by {signal}"),
            Self::TooSlow(plane) => {
                write!(f, "no verdict on plane {}: the machine was too slow to judge", name(*plane))
            }
        }
    }
}

/// Returns a plane's name.
pub fn name(plane: Plane) -> &'static str {
    words::word(words::PLANES, plane)
}

/// Returns whether a seed decides everything that happens on a plane.
pub const fn is_exact(plane: Plane) -> bool {
    match plane {
        Plane::Core | Plane::Turmoil => true,
        Plane::Netns | Plane::Container => false,
    }
}

/// Returns whether a plane can be had here.
///
/// # Errors
/// What is missing, and how to get it.
pub fn check(plane: Plane, real_peers: bool) -> Result<(), Unrunnable> {
    match plane {
        Plane::Core | Plane::Turmoil => Ok(()),
        Plane::Netns => netns::check(real_peers),
        Plane::Container => container::check(),
    }
}

/// Runs a scenario on a plane.
///
/// # Errors
/// The file does not name the plane, or the plane cannot be had here.
pub fn run(plane: Plane, scenario: &Scenario, seed: u64, keep: Keep) -> Result<Outcome, Unrunnable> {
    run_with(plane, scenario, seed, keep, &netns::Options::default())
}

/// Runs a scenario on a plane, with what those need that run the real binary.
///
/// # Errors
/// The file does not name the plane, or the plane cannot be had here.
pub fn run_with(
    plane: Plane,
    scenario: &Scenario,
    seed: u64,
    keep: Keep,
    real: &netns::Options,
) -> Result<Outcome, Unrunnable> {
    if !scenario.run.planes.contains(&plane) {
        return Err(Unrunnable::NotMeant(plane, scenario.run.why_not.clone()));
    }
    match plane {
        Plane::Core => Ok(World::run(scenario, seed, keep)),
        Plane::Turmoil => {
            World::run_carried(scenario, seed, keep).map_err(|what| Unrunnable::Missing(plane, what))
        }
        Plane::Netns => netns::run(scenario, seed, keep, real),
        Plane::Container => container::run(scenario, seed, keep, real),
    }
}
