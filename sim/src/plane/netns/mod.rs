//! Plane `netns`: the real binary, its real configuration and HTTP API, on the kernel's own network.
//!
//! ```text
//!  World ── ip, nft, conntrack, kill ──► namespaces, bridge, filters        (kernel, filter, tools)
//!    │ ▲
//!    │ └── lines of JSON ── origin, players, aide: `repull-sim netns-peer`, each in a namespace   (agent, wire, peers)
//!    │ └── --events ─────── repull
//!    └──► records, in the order of their time ──► the same oracles as everywhere
//! ```
//! What enters and leaves the core is not seen here, its events are; so the oracles are told that they look from outside
//! ([`crate::oracle::Oracles::from_outside`]). Times are the machine's: what must come by a moment may come
//! [`TOLERANCE`] later, and a broken promise is no verdict if the machine itself was later than that.
//!
//! # What is not judged here
//!
//! `identity`, `dial-budget`, `removal`, `counts`, `backlog`, `pings` and `quiet` are about what enters and leaves the core.
//! Dials are counted as the proxy's own kernel tells of them. That frames arrive is the proxy's word; that they do so in truth its players tell. Marks are not
//! wanted.
//!
//! # What kernels do otherwise than the simulated network
//!
//! | what | here |
//! |---|---|
//! | conntrack forgets a flow under a published port | silence until we send: that packet is answered by a reset |
//! | acknowledgements are lost on one side | the sender's window closes after its first timeout: no new media comes |
//! | several addresses of a name | `getaddrinfo` tries the nearest first, whatever the server's order |
//! | a dial after a reset of this very moment | is through before a fault of the same moment is in force |
//! | the wall clock of one process | cannot be set: namespaces share it |
//!
//! Files for which that matters do not name this plane and say why.

pub mod agent;
mod begins;
mod books;
mod cables;
mod capture;
mod contained;
mod faults;
pub(in crate::plane) mod filter;
mod freezer;
mod ground;
mod hears;
mod kernel;
pub(in crate::plane) mod peers;
mod play;
mod starts;
pub(in crate::plane) mod tools;
mod wire;
mod world;

pub(in crate::plane) use self::kernel::WATCH_FLOWS;

use std::{path::PathBuf, time::Duration};

use super::Unrunnable;
use crate::{
    scenario::model::{Plane, Scenario},
    world::{Keep, Outcome},
};

/// How much later than promised things may come: the host's scheduler, pipes, and clocks read one after the other.
pub const TOLERANCE: Duration = Duration::from_millis(250);

/// What a world is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary under test.
    pub repull: PathBuf,
    /// This program, for the processes of a world.
    pub us: PathBuf,
    /// Logs and captures of a world that failed stay here.
    pub keep_in: Option<PathBuf>,
    /// Origins like nginx-rtmp are nginx-rtmp, their publishers and one player of each host ffmpeg.
    pub real_peers: bool,
    /// The kernel's packets go here, a pcapng a world.
    pub capture: Option<PathBuf>,
}

impl Default for Options {
    /// The binary beside this program, model peers, nothing kept.
    fn default() -> Self {
        let us = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("repull-sim"));
        Self { repull: us.with_file_name("repull"), us, keep_in: None, real_peers: false, capture: None }
    }
}

/// What is missing for a world.
fn missing(what: impl Into<String>) -> Unrunnable {
    Unrunnable::Missing(Plane::Netns, what.into())
}

/// Why a world ended before its time: a signal, or the machine failed it.
#[derive(Debug)]
enum Cut {
    Signal(&'static str),
    Failed(String),
}

impl From<String> for Cut {
    fn from(what: String) -> Self {
        Self::Failed(what)
    }
}

/// Runs a scenario.
///
/// # Errors
/// It cannot run here, or not on this plane, or was interrupted.
pub fn run(scenario: &Scenario, seed: u64, keep: Keep, options: &Options) -> Result<Outcome, Unrunnable> {
    run_on(Plane::Netns, scenario, seed, keep, options)
}

/// Runs a scenario on this plane, or on the one that has containers in the place of namespaces.
pub(in crate::plane) fn run_on(
    plane: Plane,
    scenario: &Scenario,
    seed: u64,
    keep: Keep,
    options: &Options,
) -> Result<Outcome, Unrunnable> {
    if !scenario.run.planes.contains(&plane) {
        return Err(Unrunnable::NotMeant(plane, scenario.run.why_not.clone()));
    }
    if !options.repull.exists() {
        let shown = options.repull.display();
        let why = format!("no {shown}: cargo build --release -p proxyd, then --repull target/release/repull");
        return Err(Unrunnable::Missing(plane, why));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Unrunnable::Missing(plane, format!("no runtime: {error}")))?;
    runtime.block_on(world::World::run(scenario, seed, keep, options, plane))
}

/// Returns whether this machine can run worlds.
///
/// # Errors
/// What is missing, and how to get it.
pub fn check(real_peers: bool) -> Result<(), Unrunnable> {
    tools::check()?;
    if real_peers { tools::check_real_peers() } else { Ok(()) }
}

/// Removes what worlds have left behind whose process is gone. Returns how many namespaces there were.
pub fn clean() -> usize {
    tools::remove_left_over()
}
