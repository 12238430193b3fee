//! Filters: partitions, black holes and refusals, as a firewall in front of one namespace.

use super::{
    packet::{Family, Header},
    router::HostId,
};

/// A filter in place, named to lift it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FilterId(pub(crate) u64);

/// Which packets a filter takes, seen from its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Those that come in and those that go out.
    Both,
    /// Those that come in.
    To,
    /// Those that go out.
    From,
}

impl Direction {
    /// Returns whether incoming packets are meant.
    pub const fn is_to(self) -> bool {
        match self {
            Self::Both | Self::To => true,
            Self::From => false,
        }
    }

    /// Returns whether outgoing packets are meant.
    pub const fn is_from(self) -> bool {
        match self {
            Self::Both | Self::From => true,
            Self::To => false,
        }
    }
}

/// What happens to a packet that a filter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It vanishes.
    Drop,
    /// Its sender gets an RST (`reject with tcp reset`).
    Reset,
    /// Its sender gets ICMP host unreachable (`reject with icmp host-unreachable`).
    Icmp,
}

/// Which traffic a filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Everything.
    All,
    /// Packets that open a connection to this port, to any port if `None`.
    Opening(Option<u16>),
}

impl Traffic {
    const fn takes(self, header: &Header, dst_port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Opening(None) => header.is_syn(),
            Self::Opening(Some(port)) => header.is_syn() && dst_port == port,
        }
    }
}

/// A filter in front of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterSpec {
    /// The other end: only packets to or from this namespace, all if `None`. What another machine relays for it,
    /// such as a userland proxy, is that machine's.
    pub peer: Option<HostId>,
    /// Which way.
    pub direction: Direction,
    /// Of which family; both if `None`.
    pub family: Option<Family>,
    /// Which packets.
    pub traffic: Traffic,
    /// What happens to them.
    pub verdict: Verdict,
}

/// The filters of one namespace, in the order they were set.
#[derive(Debug, Default)]
pub(crate) struct Filters(Vec<(FilterId, FilterSpec)>);

impl Filters {
    pub(crate) fn add(&mut self, id: FilterId, spec: FilterSpec) {
        self.0.push((id, spec));
    }

    pub(crate) fn lift(&mut self, id: FilterId) {
        self.0.retain(|&(there, _)| there != id);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what happens to a packet that leaves for `to`.
    pub(crate) fn leaving(&self, header: &Header, dst_port: u16, to: HostId) -> Option<Verdict> {
        self.judge(header, dst_port, to, Direction::is_from)
    }

    /// Returns what happens to a packet that comes from `from`.
    pub(crate) fn entering(&self, header: &Header, dst_port: u16, from: HostId) -> Option<Verdict> {
        self.judge(header, dst_port, from, Direction::is_to)
    }

    fn judge(
        &self,
        header: &Header,
        dst_port: u16,
        peer: HostId,
        faces: fn(Direction) -> bool,
    ) -> Option<Verdict> {
        let fits = |spec: &FilterSpec| {
            faces(spec.direction)
                && spec.peer.is_none_or(|only| only == peer)
                && spec.family.is_none_or(|only| only == header.dst.family)
                && spec.traffic.takes(header, dst_port)
        };
        self.0.iter().find(|(_, spec)| fits(spec)).map(|(_, spec)| spec.verdict)
    }
}
