//! What a world stands on: the kernel's own parts, or a container engine. Both have hosts in places that can be plugged
//! in and out; processes are started in them or beside them.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::{
    super::container::{Contained, Engine},
    filter::Rules,
    freezer::Frozen,
    kernel::Kernel,
    peers::Start,
};
use crate::scenario::model::Publish;

/// The ground of a world. Dropping it removes everything.
#[derive(Debug)]
pub(in crate::plane) enum Ground {
    Kernel(Kernel),
    Engine(Engine),
}

/// Where a process begins that is told by `repull-sim`'s own words, and where the binary under test does.
#[derive(Clone, Debug)]
pub(super) enum Program {
    /// One of ours, with the words of its role.
    Ours(Vec<String>),
    /// The binary under test, with its configuration.
    Repull(PathBuf),
}

impl Ground {
    /// Returns the folder of the world's files.
    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::Kernel(kernel) => &kernel.folder,
            Self::Engine(engine) => engine.folder(),
        }
    }

    /// Returns the bridge of a network.
    pub(super) fn bridge(&self, net: usize) -> Result<String, String> {
        match self {
            Self::Kernel(_) => Ok(format!("b{net}")),
            Self::Engine(engine) => engine.bridge(net),
        }
    }

    /// Returns the engine, if it is one.
    pub(in crate::plane) fn engine(&mut self) -> Option<&mut Engine> {
        match self {
            Self::Kernel(_) => None,
            Self::Engine(engine) => Some(engine),
        }
    }

    /// Returns whether an engine does what happens to containers.
    pub(super) fn is_engine(&self) -> bool {
        match self {
            Self::Kernel(_) => false,
            Self::Engine(_) => true,
        }
    }

    /// Adds a host with its addresses; returns its place. One with a cable of somebody else's is plugged in later.
    pub(super) fn add_host(
        &mut self,
        name: &str,
        net: usize,
        ips: Vec<Ipv4Addr>,
        is_special: bool,
        contained: Contained,
    ) -> Result<usize, String> {
        match self {
            Self::Kernel(kernel) => kernel.add_host(name, net, ips, is_special),
            Self::Engine(engine) => engine.add_host(name, net, ips.first().copied(), contained),
        }
    }

    /// Returns the beginning of a command on the machine between the hosts.
    pub(super) fn on_machine(&self) -> Command {
        match self {
            Self::Kernel(kernel) => inside(kernel.machine()),
            Self::Engine(engine) => engine.on_machine(),
        }
    }

    /// Returns the beginning of a command within a host's network.
    pub(super) fn beside(&self, place: usize) -> Result<Command, String> {
        match self {
            Self::Kernel(kernel) => Ok(inside(kernel.namespace(place))),
            Self::Engine(engine) => engine.beside(place),
        }
    }

    /// Returns how a host's own process is started.
    pub(super) fn start(
        &self,
        place: usize,
        program: Program,
        (us, repull, scenario): (&Path, &Path, &Path),
        secret: &str,
    ) -> Result<Start, String> {
        match (self, program) {
            (Self::Kernel(kernel), Program::Ours(words)) => {
                let mut command = inside(kernel.namespace(place));
                command.arg(us).arg("netns-peer").arg(scenario).args(words);
                Ok(command.into())
            }
            (Self::Kernel(kernel), Program::Repull(config)) => {
                let mut command = inside(kernel.namespace(place));
                command.arg(repull).arg("--config").arg(config).args(["--events", "-"]);
                command.env("REPULL_API_SECRET", secret);
                Ok(command.into())
            }
            (Self::Engine(engine), Program::Ours(words)) => engine.start(place, &words),
            // Its configuration is where its container looks for it.
            (Self::Engine(engine), Program::Repull(_)) => engine.start(place, &[]),
        }
    }

    /// Plugs a host in, with its addresses and a hardware address nobody has seen.
    pub(super) fn plug(&mut self, place: usize) -> Result<(), String> {
        match self {
            Self::Kernel(kernel) => kernel.plug(place),
            Self::Engine(engine) => {
                engine.connect(place, None);
                Ok(())
            }
        }
    }

    /// Pulls a host's cable out for good: its interface is gone.
    pub(super) fn unplug(&mut self, place: usize) {
        match self {
            Self::Kernel(kernel) => kernel.unplug(place),
            Self::Engine(engine) => engine.disconnect(place),
        }
    }

    /// Takes a host's link up or down.
    pub(super) fn set_link(&self, place: usize, up: bool) -> Result<(), String> {
        match self {
            Self::Kernel(kernel) => kernel.set_link(place, up),
            Self::Engine(engine) => engine.set_link(place, up),
        }
    }

    /// Gives a host its ephemeral ports, or none at all.
    pub(super) fn set_ports(&mut self, place: usize, some: bool) -> Result<(), String> {
        match self {
            Self::Kernel(kernel) => kernel.set_ports(place, some),
            // Refused before the world began.
            Self::Engine(_) => Ok(()),
        }
    }

    /// Gives a host another address, on its interface if it has one.
    pub(super) fn set_address(&mut self, place: usize, ip: Ipv4Addr) -> Result<(), String> {
        match self {
            Self::Kernel(kernel) => kernel.set_address(place, ip),
            Self::Engine(engine) => {
                engine.disconnect(place);
                engine.connect(place, Some(ip));
                Ok(())
            }
        }
    }

    /// A host's container is gone; a fresh one, without a cable, has its place. An engine starts the same one again.
    pub(super) fn renew(&mut self, place: usize) -> Result<(), String> {
        match self {
            Self::Kernel(kernel) => kernel.renew(place),
            Self::Engine(_) => Ok(()),
        }
    }

    /// A host is gone: what the machine tracks of its flows goes along. An engine sees to that by itself.
    pub(super) fn forget_flows(&self, place: usize) {
        match self {
            Self::Kernel(kernel) => kernel.forget_flows(place),
            Self::Engine(_) => {}
        }
    }

    /// Freezes a group of processes; `None` where there is no freezer, or it is an engine's.
    pub(super) fn freeze(&self, place: usize, group: u32) -> Option<Frozen> {
        match self {
            Self::Kernel(kernel) => Frozen::freeze(kernel.namespace(place), group),
            Self::Engine(_) => None,
        }
    }

    /// Everybody forgets who has which hardware address; an engine sees to that by itself.
    pub(super) fn refresh_neighbours(&self, place: usize) {
        match self {
            Self::Kernel(kernel) => kernel.refresh_neighbours(place),
            Self::Engine(_) => {}
        }
    }

    /// The machine forgets every flow.
    pub(super) fn flush_flows(&self) -> Result<(), String> {
        match self {
            Self::Kernel(kernel) => kernel.flush_flows(),
            Self::Engine(engine) => engine.flush_flows(),
        }
    }

    /// Publishes a host's port; an engine has done so since its container was made.
    pub(super) fn publish(&mut self, place: usize, publish: Publish) -> Result<(), String> {
        match self {
            Self::Kernel(kernel) => kernel.publish(place, publish),
            Self::Engine(_) => Ok(()),
        }
    }

    /// Lets a host's own kernel keep track of flows, so that it can tell of new ones.
    pub(super) fn watch_flows(&self, place: usize) -> Result<(), String> {
        match self {
            Self::Kernel(kernel) => kernel.watch_flows(place),
            Self::Engine(engine) => engine.watch_flows(place),
        }
    }

    /// Lets packets pass as rules say.
    pub(super) fn filter(&self, rules: &Rules) -> Result<(), String> {
        match self {
            Self::Kernel(kernel) => kernel.filter(rules),
            Self::Engine(engine) => engine.filter(rules),
        }
    }
}

/// A command inside a namespace that does not outlive whoever started it.
fn inside(namespace: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, "setpriv", "--pdeathsig", "KILL"]);
    command
}
