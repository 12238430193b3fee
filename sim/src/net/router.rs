//! The fabric: namespaces, their wires, the bridges between them, and the machine that owns the bridges' gateways.
//!
//! ```text
//!   namespace ──veth── bridge ──gateway── machine (NAT, conntrack, routes) ──gateway── bridge ──veth── namespace
//! ```
//!
//! [`Router::send`] is a function of tables, packet bytes, time and dice: it follows a packet to its end and tells its
//! [`Fate`]. It knows neither a heap nor a TCP stack, so it can stand between real kernels as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use proxy_core::time::{Duration, Instant};

use super::{
    filter::{FilterId, FilterSpec, Filters},
    link::{Link, LinkSpec, Pair},
    nat::{Conntrack, ConntrackSpec},
    neighbours::{NeighbourPolicy, Neighbours, SearchId},
    packet::{Endpoint, Family},
};

/// A network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u16);

/// A bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BridgeId(pub u16);

/// A network card's address; a veth made again gets another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub u32);

/// The namespace that owns every bridge's gateway address, does NAT and routes between bridges.
pub const MACHINE: HostId = HostId(0);

/// What kind of network a bridge makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeKind {
    /// Routed as it is.
    Plain,
    /// What leaves for another bridge is masqueraded, as Docker does.
    Docker,
}

/// What is left behind when a namespace goes, and when an address moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConntrackPolicy {
    /// Flows stay in the table until they expire.
    Kept,
    /// The flows of an address that goes are forgotten.
    Flushed,
}

/// A bridge to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeSpec {
    /// The network's address.
    pub subnet: Ipv4Addr,
    /// How many leading bits of an address name the network, 8 to 30.
    pub prefix: u8,
    /// The machine's address on it.
    pub gateway: Ipv4Addr,
    /// Its hosts have IPv6 addresses as well.
    pub ipv6: bool,
    /// Plain, or as Docker makes them.
    pub kind: BridgeKind,
    /// What a crossing does to packets.
    pub link: LinkSpec,
    /// What becomes of neighbour entries.
    pub neighbours: NeighbourPolicy,
    /// What becomes of tracked flows.
    pub conntrack: ConntrackPolicy,
}

impl BridgeSpec {
    /// Docker's default bridge on 172.17.0.0/16.
    pub const DOCKER: Self = Self {
        subnet: Ipv4Addr::new(172, 17, 0, 0),
        prefix: 16,
        gateway: Ipv4Addr::new(172, 17, 0, 1),
        ipv6: false,
        kind: BridgeKind::Docker,
        link: LinkSpec::BRIDGE,
        neighbours: NeighbourPolicy::Refreshed,
        conntrack: ConntrackPolicy::Kept,
    };
}

/// Why a packet did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Neither TCP nor an ICMP error.
    Malformed,
    /// The sender does not own the source address.
    NoSource,
    /// The sender has no route, or no interface.
    NoRoute,
    /// A link lost it.
    Lost,
    /// A link's queue was full.
    QueueFull,
    /// Larger than a link takes.
    TooBig,
    /// Taken by a filter.
    Filtered,
    /// Sent to a network card that is gone.
    NoNeighbour,
    /// Nobody answered for the address.
    Unresolved,
    /// Its flow is not in the machine's table.
    NoConntrack,
    /// The link went down while it was on its way.
    LinkDown,
    /// The receiver does not own the address.
    NotMine,
    /// It went around too often.
    HopsExceeded,
    /// The listener's queue is full.
    BacklogFull,
}

/// What becomes of a packet.
#[derive(Debug)]
pub enum Fate {
    /// It reaches a namespace, unless something happens to it on its way: ask [`Router::arrives`] then.
    Deliver {
        /// When.
        at: Instant,
        /// By which wires.
        ticket: Ticket,
        /// The bytes, as they arrive.
        packet: Vec<u8>,
    },
    /// It is gone.
    Drop {
        /// Where.
        host: HostId,
        /// Why.
        reason: DropReason,
        /// The bytes, as they were there.
        packet: Vec<u8>,
    },
    /// NAT changed it; its further fate follows.
    Rewritten {
        /// Where.
        host: HostId,
        /// The bytes, as they go on.
        packet: Vec<u8>,
    },
    /// Packets wait for a neighbour: call [`Router::on_probe`] then.
    Probe {
        /// When.
        at: Instant,
        /// Which search.
        search: SearchId,
    },
}

/// The way a packet was sent on: what has to hold when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The namespace it was sent from on its last leg.
    pub from: HostId,
    /// The namespace it goes to.
    pub to: HostId,
    /// The namespace that made it.
    pub sender: HostId,
    pub(crate) from_life: Life,
    pub(crate) to_life: Life,
}

/// One life of a wire: what was sent in one is lost in the next. Zero: no wire at all.
pub(crate) type Life = u32;

#[derive(Debug)]
pub(crate) struct Bridge {
    pub(crate) name: String,
    pub(crate) spec: BridgeSpec,
    pub(crate) owners: BTreeMap<Ipv4Addr, HostId>,
    pub(crate) macs: BTreeMap<Mac, HostId>,
}

impl Bridge {
    pub(crate) fn contains(&self, ip: Ipv4Addr) -> bool {
        let mask = u32::MAX << (32 - u32::from(self.spec.prefix.clamp(1, 32)));
        (ip.to_bits() ^ self.spec.subnet.to_bits()) & mask == 0
    }
}

#[derive(Debug)]
pub(crate) struct Veth {
    pub(crate) bridge: BridgeId,
    pub(crate) mac: Mac,
    /// The first one is the source of what the namespace sends.
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) up: bool,
    pub(crate) life: Life,
    pub(crate) egress: Link,
    // Boxed: faults are rare, and hosts are many.
    pub(crate) egress_fault: Option<Box<Link>>,
    pub(crate) ingress_fault: Option<Box<Link>>,
}

impl Veth {
    /// Returns whether a fault lets packets queue here.
    fn has_queue(&self) -> bool {
        let faults = [&self.ingress_fault, &self.egress_fault];
        faults.into_iter().flatten().any(|link| link.spec().bandwidth.is_some())
    }
}

#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) alive: bool,
    pub(crate) veths: Vec<Veth>,
    pub(crate) filters: Filters,
}

impl Namespace {
    pub(crate) fn owns(&self, ip: Ipv4Addr) -> bool {
        self.veths.iter().any(|veth| veth.addresses.contains(&ip))
    }

    pub(crate) fn veth_on(&self, bridge: BridgeId) -> Option<usize> {
        self.veths.iter().position(|veth| veth.bridge == bridge)
    }
}

/// Namespaces, wires, bridges and the machine in the middle.
#[derive(Debug)]
pub struct Router {
    pub(crate) seed: u64,
    pub(crate) hosts: Vec<Namespace>,
    pub(crate) bridges: Vec<Bridge>,
    pub(crate) neighbours: Neighbours,
    pub(crate) conntrack: Conntrack,
    /// Ports of the machine that DNAT hands on.
    pub(crate) published: BTreeMap<u16, Endpoint>,
    /// Who has sent to whom, and how it went.
    pub(crate) pairs: BTreeMap<(HostId, HostId), Pair>,
    /// Somebody has filters.
    pub(crate) filtered: bool,
    /// Keep checksums right.
    pub(crate) checksums: bool,
    /// Tell of rewritten packets.
    pub(crate) tells_rewrites: bool,
    next_filter: u64,
    next_life: Life,
    next_mac: u32,
}

impl Router {
    /// Makes a fabric with only the machine in it. With `checksums`, what is rewritten keeps right checksums: for
    /// packets of real kernels.
    pub fn new(seed: u64, checksums: bool) -> Self {
        let machine = Namespace {
            name: "machine".to_owned(),
            alive: true,
            veths: Vec::new(),
            filters: Filters::default(),
        };
        Self {
            seed,
            hosts: vec![machine],
            bridges: Vec::new(),
            neighbours: Neighbours::new(seed),
            conntrack: Conntrack::new(seed),
            published: BTreeMap::new(),
            pairs: BTreeMap::new(),
            filtered: false,
            checksums,
            tells_rewrites: false,
            next_filter: 0,
            next_life: 0,
            next_mac: 0,
        }
    }

    /// Rolls the dice of another seed from here on.
    pub(crate) fn roll_anew(&mut self, seed: u64) {
        self.seed = seed;
        self.neighbours.roll_anew(seed);
        self.conntrack.roll_anew(seed);
        for ((from, to), pair) in &mut self.pairs {
            pair.roll_anew(seed, u64::from(from.0) << 16 | u64::from(to.0));
        }
    }

    /// Makes a bridge; the machine gets its gateway address.
    pub fn add_bridge(&mut self, name: &str, spec: BridgeSpec) -> BridgeId {
        let id = BridgeId(u16::try_from(self.bridges.len()).expect("a world has few bridges"));
        let gateway = spec.gateway;
        self.bridges.push(Bridge {
            name: name.to_owned(),
            spec,
            owners: BTreeMap::new(),
            macs: BTreeMap::new(),
        });
        self.connect(MACHINE, id, gateway);
        id
    }

    /// Makes a namespace on a bridge.
    pub fn add_host(&mut self, name: &str, bridge: BridgeId, ip: Ipv4Addr) -> HostId {
        let id = HostId(u16::try_from(self.hosts.len()).expect("a world has fewer than 65,536 namespaces"));
        self.hosts.push(Namespace {
            name: name.to_owned(),
            alive: true,
            veths: Vec::new(),
            filters: Filters::default(),
        });
        self.connect(id, bridge, ip);
        id
    }

    /// Gives a namespace an interface on a bridge, with a network card of its own. An address in use moves here.
    pub fn connect(&mut self, host: HostId, bridge: BridgeId, ip: Ipv4Addr) {
        let egress = Link::new(self.bridges[usize::from(bridge.0)].spec.link);
        let (mac, life) = (self.new_mac(), self.new_life());
        self.hosts[usize::from(host.0)].veths.push(Veth {
            bridge,
            mac,
            addresses: vec![ip],
            up: true,
            life,
            egress,
            egress_fault: None,
            ingress_fault: None,
        });
        let net = &mut self.bridges[usize::from(bridge.0)];
        net.macs.insert(mac, host);
        net.owners.insert(ip, host);
        self.neighbours.renew(bridge, ip);
    }

    /// Takes a namespace off a bridge: its interface is gone, nobody is told.
    pub fn disconnect(&mut self, host: HostId, bridge: BridgeId, now: Instant) {
        let Some(index) = self.hosts[usize::from(host.0)].veth_on(bridge) else { return };
        let veth = self.hosts[usize::from(host.0)].veths.remove(index);
        for &ip in &veth.addresses {
            self.on_address_gone(host, bridge, veth.mac, ip, now);
        }
        self.bridges[usize::from(bridge.0)].macs.remove(&veth.mac);
        if veth.has_queue() {
            self.forget_queue(host);
        }
    }

    /// What comes now does not wait behind a queue of a namespace that is no more, nor on its way through the machine.
    fn forget_queue(&mut self, host: HostId) {
        let waited = |end: HostId| end == host || end == MACHINE;
        for (_, pair) in self.pairs.iter_mut().filter(|&(&(from, to), _)| waited(from) || waited(to)) {
            pair.last = Instant::ZERO;
        }
    }

    /// Takes a namespace away, in silence. Its filters and link faults go with it.
    pub fn remove_host(&mut self, host: HostId, now: Instant) {
        while let Some(bridge) = self.hosts[usize::from(host.0)].veths.first().map(|veth| veth.bridge) {
            self.disconnect(host, bridge, now);
        }
        let namespace = &mut self.hosts[usize::from(host.0)];
        namespace.alive = false;
        namespace.filters = Filters::default();
        self.neighbours.forget(host);
        self.pairs.retain(|&(from, to), _| from != host && to != host);
    }

    /// Brings a namespace back that was removed, with this address.
    pub fn revive_host(&mut self, host: HostId, bridge: BridgeId, ip: Ipv4Addr) {
        self.hosts[usize::from(host.0)].alive = true;
        self.connect(host, bridge, ip);
    }

    /// Gives a namespace one more address on a bridge. Who owned it before goes on believing so, and does not get
    /// its packets; with `announced` everybody is told at once, otherwise as the bridge's policy says.
    pub fn take_address(
        &mut self,
        host: HostId,
        bridge: BridgeId,
        ip: Ipv4Addr,
        announced: bool,
        now: Instant,
    ) {
        let Some(index) = self.hosts[usize::from(host.0)].veth_on(bridge) else { return };
        let before = self.bridges[usize::from(bridge.0)].owners.insert(ip, host);
        let veth = &mut self.hosts[usize::from(host.0)].veths[index];
        if !veth.addresses.contains(&ip) {
            veth.addresses.push(ip);
        }
        if announced {
            self.neighbours.announce(bridge, ip);
        } else if let Some(old) = before.filter(|&old| old != host) {
            self.leave_stale(old, bridge, ip, now);
        }
    }

    /// Takes an address away from a namespace.
    pub fn drop_address(&mut self, host: HostId, bridge: BridgeId, ip: Ipv4Addr, now: Instant) {
        let Some(index) = self.hosts[usize::from(host.0)].veth_on(bridge) else { return };
        let veth = &mut self.hosts[usize::from(host.0)].veths[index];
        veth.addresses.retain(|&there| there != ip);
        let mac = veth.mac;
        self.on_address_gone(host, bridge, mac, ip, now);
    }

    /// Unplugs a wire, or plugs it in. What is on its way is lost.
    pub fn set_up(&mut self, host: HostId, up: bool) {
        let life = self.new_life();
        for veth in &mut self.hosts[usize::from(host.0)].veths {
            veth.up = up;
            veth.life = life;
        }
    }

    /// Deletes a namespace's veth pairs and makes them again: same addresses, other network cards.
    pub fn recreate_veths(&mut self, host: HostId, now: Instant) {
        for index in 0..self.hosts[usize::from(host.0)].veths.len() {
            let (mac, life) = (self.new_mac(), self.new_life());
            let veth = &mut self.hosts[usize::from(host.0)].veths[index];
            let (bridge, old, addresses) = (veth.bridge, veth.mac, veth.addresses.clone());
            veth.mac = mac;
            veth.life = life;
            veth.up = true;
            for ip in addresses {
                self.mislead(bridge, ip, host, old, now);
                self.neighbours.renew(bridge, ip);
            }
            let net = &mut self.bridges[usize::from(bridge.0)];
            net.macs.remove(&old);
            net.macs.insert(mac, host);
        }
    }

    /// Puts faults on a namespace's wires, on top of what the bridge does, or takes them off.
    pub fn set_link(&mut self, host: HostId, ingress: Option<LinkSpec>, egress: Option<LinkSpec>) {
        let mut had_queue = false;
        for veth in &mut self.hosts[usize::from(host.0)].veths {
            had_queue |= veth.has_queue();
            veth.ingress_fault = ingress.map(|spec| Box::new(Link::new(spec)));
            veth.egress_fault = egress.map(|spec| Box::new(Link::new(spec)));
        }
        if had_queue {
            self.forget_queue(host);
        }
    }

    /// Puts a filter in front of a namespace.
    pub fn add_filter(&mut self, host: HostId, spec: FilterSpec) -> FilterId {
        let id = FilterId(self.next_filter);
        self.next_filter += 1;
        self.hosts[usize::from(host.0)].filters.add(id, spec);
        self.filtered = true;
        id
    }

    /// Takes a filter away.
    pub fn lift(&mut self, id: FilterId) {
        for host in &mut self.hosts {
            host.filters.lift(id);
        }
        self.filtered = self.hosts.iter().any(|host| !host.filters.is_empty());
    }

    /// Publishes a port on the machine's addresses by DNAT, or points it elsewhere. Flows under way keep their target.
    pub fn publish(&mut self, port: u16, target: Endpoint) {
        self.published.insert(port, target);
    }

    /// Takes a published port back.
    pub fn unpublish(&mut self, port: u16) {
        self.published.remove(&port);
    }

    /// Forgets every tracked flow (`conntrack -F`).
    pub fn flush_conntrack(&mut self) {
        self.conntrack.flush();
    }

    /// Sets how long tracked flows live; it counts from each flow's next packet.
    pub fn set_conntrack(&mut self, spec: ConntrackSpec) {
        self.conntrack.set_spec(spec);
    }

    /// Returns whether a namespace is there.
    pub fn is_there(&self, host: HostId) -> bool {
        self.hosts[usize::from(host.0)].alive
    }

    /// Returns a namespace's first address on the first of its bridges.
    pub fn address(&self, host: HostId) -> Option<Ipv4Addr> {
        self.hosts[usize::from(host.0)].veths.first().and_then(|veth| veth.addresses.first().copied())
    }

    /// Returns a namespace's name.
    pub fn name(&self, host: HostId) -> &str {
        &self.hosts[usize::from(host.0)].name
    }

    /// Returns a bridge's name.
    pub fn bridge_name(&self, bridge: BridgeId) -> &str {
        &self.bridges[usize::from(bridge.0)].name
    }

    /// Returns the address and largest packet a namespace would use towards `to`, `None` without a route.
    pub fn source_for(&self, host: HostId, to: Ipv4Addr, family: Family) -> Option<(Ipv4Addr, u16)> {
        let namespace = &self.hosts[usize::from(host.0)];
        if namespace.owns(to) {
            return self.has_address(host, to, family).then_some((to, LinkSpec::BRIDGE.mtu));
        }
        let near = namespace.veths.iter().find(|veth| self.bridges[usize::from(veth.bridge.0)].contains(to));
        let veth = near.or(namespace.veths.first()).filter(|veth| self.carries(veth.bridge, family))?;
        Some((*veth.addresses.first()?, self.bridges[usize::from(veth.bridge.0)].spec.link.mtu))
    }

    /// Returns whether a namespace has this address in this family.
    pub(crate) fn has_address(&self, host: HostId, ip: Ipv4Addr, family: Family) -> bool {
        let veths = &self.hosts[usize::from(host.0)].veths;
        veths.iter().any(|veth| veth.addresses.contains(&ip) && self.carries(veth.bridge, family))
    }

    /// Returns whether a bridge has addresses of a family.
    pub(crate) fn carries(&self, bridge: BridgeId, family: Family) -> bool {
        family == Family::V4 || self.bridges[usize::from(bridge.0)].spec.ipv6
    }

    /// An address has no owner: another namespace that has it too takes over, else those who talked to the old
    /// owner may go on sending to its network card.
    fn on_address_gone(&mut self, host: HostId, bridge: BridgeId, mac: Mac, ip: Ipv4Addr, now: Instant) {
        let net = &mut self.bridges[usize::from(bridge.0)];
        if net.owners.get(&ip) != Some(&host) {
            return;
        }
        let shares = |other: &Namespace| {
            other.veths.iter().any(|veth| veth.bridge == bridge && veth.addresses.contains(&ip))
        };
        match self.hosts.iter().position(shares).and_then(|index| u16::try_from(index).ok()) {
            Some(index) => net.owners.insert(ip, HostId(index)),
            None => net.owners.remove(&ip),
        };
        if net.spec.conntrack == ConntrackPolicy::Flushed {
            self.conntrack.forget(ip);
        }
        self.mislead(bridge, ip, host, mac, now);
    }

    /// `old` is no longer asked for `ip`, and those who knew it do not know yet.
    fn leave_stale(&mut self, old: HostId, bridge: BridgeId, ip: Ipv4Addr, now: Instant) {
        let Some(index) = self.hosts[usize::from(old.0)].veth_on(bridge) else { return };
        let mac = self.hosts[usize::from(old.0)].veths[index].mac;
        self.mislead(bridge, ip, old, mac, now);
    }

    fn mislead(&mut self, bridge: BridgeId, ip: Ipv4Addr, old: HostId, mac: Mac, now: Instant) {
        match self.bridges[usize::from(bridge.0)].spec.neighbours {
            NeighbourPolicy::Refreshed => {}
            NeighbourPolicy::Stale(lasts) => {
                let knew: BTreeSet<HostId> =
                    self.pairs.keys().filter(|&&(_, to)| to == old).map(|&(from, _)| from).collect();
                self.neighbours.mislead(bridge, ip, mac, knew, now + lasts);
            }
        }
    }

    fn new_mac(&mut self) -> Mac {
        self.next_mac += 1;
        Mac(self.next_mac)
    }

    fn new_life(&mut self) -> Life {
        self.next_life += 1;
        self.next_life
    }
}

/// A packet to oneself takes this long.
pub(crate) const LOOPBACK: Duration = Duration::from_micros(10);
