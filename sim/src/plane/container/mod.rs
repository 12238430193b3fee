//! Plane `container`: the real binary in an image of its own, origins and players in containers beside it, and an engine
//! that does to them what engines do.
//!
//! The world is that of plane `netns` ([`crate::plane::netns`]): the same model peers, records and oracles, seen from outside. Where
//! there the world itself makes namespaces, bridges and addresses, here an engine does: podman, with a network, mounts
//! and processes of its own (`engine`), so that nothing of the host is touched and nothing is left.
//!
//! | what | who does it here |
//! |---|---|
//! | restart, killed or told to end | the container ends with its process; the engine starts it again, at another address unless one is given |
//! | network disconnected, connected, another address | the engine |
//! | pause | the engine, by the freezer |
//! | names | the engine's resolver; what it does not know, nobody knows |
//! | published ports | the engine, however it does so: podman translates, Docker forwards by a process of its own |
//! | what a firewall or a cable does | the machine: nftables, `ip link`, conntrack |
//!
//! # What an engine does otherwise
//!
//! A container that ends takes its address with it: a dial finds nobody, where on other planes the kernel of a host whose
//! process has ended refuses. Everything takes a few tenths of a second: what is lifted counts as lifted when the engine
//! says that it is done ([`TOLERANCE`] is for the rest).

mod engine;
mod image;

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use super::{
    Unrunnable,
    netns::{self, Options, tools},
};
use crate::{
    scenario::model::{Plane, Scenario},
    world::{Keep, Outcome},
};

pub(in crate::plane) use self::engine::Engine;

/// How much later than promised things may come: as on plane `netns`, and the engine beside it.
pub const TOLERANCE: Duration = Duration::from_millis(500);

/// The programs of an engine, and the packages of Debian that hold them.
const TOOLS: [(&str, &str); 11] = [
    ("podman", "podman"),
    ("runc", "runc"),
    ("conmon", "conmon"),
    ("netavark", "netavark"),
    ("aardvark-dns", "aardvark-dns"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("ldd", "libc-bin"),
];

/// What a container is to hold.
#[derive(Clone, Debug, Default)]
pub(in crate::plane) struct Contained {
    /// The binary under test with this configuration and secret; a process of ours if there is none.
    pub(in crate::plane) config: Option<(PathBuf, &'static str)>,
    /// The world's file, for a process of ours.
    pub(in crate::plane) scenario: PathBuf,
    /// A port that is published.
    pub(in crate::plane) publish: Option<u16>,
    /// Further names it has.
    pub(in crate::plane) names: Vec<String>,
}

/// Where a container is.
#[derive(Clone, Debug)]
pub(in crate::plane) struct Made {
    /// Its first process.
    pub(in crate::plane) pid: u32,
    pub(in crate::plane) ip: Ipv4Addr,
    /// The machine's end of its cable.
    pub(in crate::plane) device: Option<String>,
}

/// What an engine tells.
#[derive(Clone, Debug)]
pub(in crate::plane) enum Told {
    /// A container is there.
    Made(Made),
    /// What was to be done is done.
    Done(Then),
    /// It could not be done.
    Failed(String),
}

/// What follows when the engine is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plane) enum Then {
    /// The fault of an event is lifted.
    Lifted(usize),
    /// The fault of an event has taken a container's address away.
    Gone(usize),
}

/// Runs a scenario.
///
/// # Errors
/// It cannot run here, or not on this plane, or was interrupted.
pub fn run(scenario: &Scenario, seed: u64, keep: Keep, options: &Options) -> Result<Outcome, Unrunnable> {
    netns::run_on(Plane::Container, scenario, seed, keep, options)
}

/// Returns whether there is an engine that works here.
///
/// # Errors
/// What is missing, and how to get it.
pub fn check() -> Result<(), Unrunnable> {
    tools::check_tools(Plane::Container, &TOOLS)?;
    let missing = |why| Unrunnable::Missing(Plane::Container, why);
    let us = std::env::current_exe().map_err(|error| missing(error.to_string()))?;
    let (sender, _) = tokio::sync::mpsc::unbounded_channel();
    let engine = Engine::machine(&us, sender).map_err(missing)?;
    engine.podman(&["info"]).map(drop).map_err(missing)
}

/// Removes what engines have left behind whose world is gone. Returns how many there were.
pub fn clean() -> usize {
    engine::remove_left_over()
}
