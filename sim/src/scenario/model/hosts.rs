//! Who there is: networks, hosts and their models, names, and what is pulled.

use std::net::{IpAddr, Ipv4Addr};

use proxy_core::time::Duration;
use proxyd::config::Settings;

use super::{HostRef, Line};
use crate::{
    net::packet::Family,
    origin::{Behaviour, Like, Publisher},
};

/// A network: a bridge on the one machine all hosts live on.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its line.
    pub line: Line,
    /// Its name.
    pub name: String,
    /// A Docker bridge masquerades what leaves it and publishes ports; a plain one routes.
    pub is_docker: bool,
    /// Its first address and prefix length.
    pub subnet: (Ipv4Addr, u8),
    /// The machine's address on it.
    pub gateway: Ipv4Addr,
    /// Its hosts have IPv6 addresses as well.
    pub ipv6: bool,
    /// What each host's link to it is like.
    pub link: LinkQuality,
    /// What is left behind when a host goes.
    pub on_stop: LeftBehind,
    /// How long an idle established flow stays in the machine's connection tracking.
    pub conntrack_timeout: Option<Duration>,
}

/// What a link is like, in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkQuality {
    /// The least latency.
    pub latency_min: Duration,
    /// The most; each packet rolls.
    pub latency_max: Duration,
    /// Packets lost, per million.
    pub loss_ppm: u32,
    /// Packets that come twice, per million.
    pub duplicate_ppm: u32,
    /// Packets that are overtaken, per million.
    pub reorder_ppm: u32,
    /// Bits per second; `None` is as fast as can be.
    pub bandwidth: Option<u64>,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

/// What is left behind when a host goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftBehind {
    /// Neighbour entries point to the old interface until they are probed.
    pub neighbours_stale: bool,
    /// Connection tracking keeps its flows.
    pub conntrack_kept: bool,
    /// A host that comes back with `ip = "new"` leaves its address free for the next that wants one.
    pub reassign_ip: bool,
}

impl Network {
    /// Returns what a host with this address is called by its peers, as glibc sorts it: IPv6 first.
    pub fn addresses(&self, ip: Ipv4Addr) -> impl Iterator<Item = IpAddr> + use<> {
        self.ipv6.then(|| Family::V6.address(ip)).into_iter().chain([IpAddr::V4(ip)])
    }
}

/// A host, or several alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its line.
    pub line: Line,
    /// Its name, also in the DNS; of several alike the name they share.
    pub name: String,
    /// Its network, an index into [`Scenario::nets`](super::Scenario::nets).
    pub net: u16,
    /// Its address; of several alike the first one's.
    pub ip: Option<Ipv4Addr>,
    /// The port published on the machine's addresses, and how.
    pub publish: Option<Publish>,
    /// What it runs.
    pub role: Role,
}

/// A published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// On the machine and in the container.
    pub port: u16,
    /// How.
    pub via: PublishVia,
}

/// How a port is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishVia {
    /// Destination NAT.
    Dnat,
    /// Docker's userland proxy: accepts before the container listens.
    DockerProxy,
}

/// What a host runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// An RTMP origin with publishers.
    Origin(Box<OriginModel>),
    /// The proxy under test.
    Proxy(Box<Settings>),
    /// Players, each with a network namespace of its own.
    Player(PlayerModel),
}

/// An origin's model.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginModel {
    /// The software.
    pub like: Like,
    /// How it behaves; begins as `like` does.
    pub behaviour: Behaviour,
    /// The port it listens on.
    pub port: u16,
    /// How many dials its kernel takes that it has not taken up.
    pub backlog: u16,
    /// `app/stream` of every stream published, ranges such as `live/cam{1..500}` expanded.
    pub streams: Vec<String>,
    /// What the publishers send.
    pub publisher: Publisher,
    /// From start of the process to listening, at each restart; it is up at 0 s.
    pub boot: Duration,
    /// From start of the process to the first frame of its publishers, at each restart.
    pub first_frame: Duration,
    /// Its publishers are there at 0 s.
    pub published: bool,
    /// It is up at 0 s; otherwise it begins as if killed, until a `start` event.
    pub up: bool,
}

/// A player's model.
#[derive(Clone, Debug, PartialEq)]
pub struct PlayerModel {
    /// How many alike.
    pub count: u16,
    /// Dials again so long after a connection was lost; `None`: never.
    pub retry: Option<Duration>,
    /// Reads at most so many bytes a second.
    pub read_rate: Option<u64>,
}

/// A name in the DNS.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// Its line.
    pub line: Line,
    /// The name.
    pub name: String,
    /// The hosts whose addresses it has, in this order; follows them when they move.
    pub hosts: Vec<HostRef>,
    /// Further addresses.
    pub ips: Vec<IpAddr>,
    /// How old an answer may be.
    pub ttl: Duration,
}

/// Arguments of `addStreamProxy` that events share.
#[derive(Clone, Debug, PartialEq)]
pub struct PullSpec {
    /// Its line.
    pub line: Line,
    /// Its name.
    pub name: String,
    /// The application.
    pub app: String,
    /// The stream; of several alike with `{n}` in it.
    pub stream: String,
    /// The url; of several alike with `{n}` in it.
    pub url: String,
    /// How many alike; `{n}` counts from 1.
    pub count: u16,
    /// Other arguments, as text.
    pub args: Vec<(String, String)>,
}
