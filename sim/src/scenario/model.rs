//! What decides a run, as a value: a file, a generator and a shrinker all make the same thing.

mod expects;
mod faults;
mod hosts;
mod timeline;

pub use self::{
    expects::{Expect, Layer, Level, Never, Wanted},
    faults::{
        AddressTaken, Behaving, Comeback, CutBy, Direction, DnsAnswer, Ending, Family, Fault, FaultEvent,
        NextIp, PartitionHow, Realm, Then,
    },
    hosts::{
        Host, LeftBehind, LinkQuality, Name, Network, OriginModel, PlayerModel, Publish, PublishVia,
        PullSpec, Role,
    },
    timeline::{Act, Anchor, Call, Event, LeaveBy, ReplyWanted, When},
};

use proxy_core::time::Duration;

/// A line of the file, from 1; 0 for what no line says.
pub type Line = u32;

/// A scenario, every name resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Names it; the file's stem.
    pub id: String,
    /// What must hold, in a sentence.
    pub title: String,
    /// The reports it comes from.
    pub refs: Vec<String>,
    /// The planted defects that must make it fail.
    pub defects: Vec<String>,
    /// How it is run.
    pub run: Run,
    /// The networks, each a bridge on one machine.
    pub nets: Vec<Network>,
    /// The hosts; an index into this is a [`HostRef`].
    pub hosts: Vec<Host>,
    /// Names in the DNS beside the hosts' own.
    pub names: Vec<Name>,
    /// Arguments of `addStreamProxy` that events share; an index into this is a [`PullRef`].
    pub pulls: Vec<PullSpec>,
    /// What happens, in the order of the file.
    pub events: Vec<Event>,
    /// What must hold beside the promises.
    pub expects: Vec<Expect>,
    /// What a search adds to it.
    pub swarm: Option<Swarm>,
}

/// What a search adds to a scenario, another choice for each seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swarm {
    /// Its line.
    pub line: Line,
    /// The kinds of faults, by name; empty: every kind that fits a host.
    pub faults: Vec<&'static str>,
    /// The hosts they happen to; empty: all.
    pub on: Vec<HostRef>,
    /// What operators do beside the story.
    pub calls: Vec<Meddling>,
    /// Faults in a run, at least.
    pub at_least: u16,
    /// Faults in a run, at most.
    pub at_most: u16,
    /// When they begin; `None`: at any time of the run.
    pub between: Option<(Duration, Duration)>,
    /// How long they last.
    pub lasts: (Duration, Duration),
    /// What of the world varies.
    pub knobs: Vec<Knob>,
}

/// What operators do beside the story of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meddling {
    /// addStreamProxy of what may be there.
    Add,
    /// delStreamProxy.
    Del,
    /// close_streams.
    Close,
    /// updateStreamProxy.
    Update,
    /// Calls that look.
    Look,
}

/// What of a world varies in a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Knob {
    /// What software origins are, and how they behave.
    Software,
    /// What their publishers send.
    Content,
    /// What links are like.
    Link,
    /// The proxies' timeouts and limits.
    Config,
    /// Options of pulls.
    Options,
}

/// Which host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostRef(pub u16);

/// Which pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PullRef(pub u16);

/// How a scenario is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Virtual time of the safety phase. What is still broken then is lifted for good, and liveness is judged.
    pub time: Duration,
    /// The seeds run without `--seed`.
    pub seeds: Vec<u64>,
    /// The planes that can express it.
    pub planes: Vec<Plane>,
    /// Why other planes cannot, for readers.
    pub why_not: Option<String>,
}

/// Where a scenario can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plane {
    /// The core on our own network.
    Core,
    /// The driver on turmoil.
    Turmoil,
    /// The binary in Linux network namespaces.
    Netns,
    /// The binary in containers.
    Container,
}
