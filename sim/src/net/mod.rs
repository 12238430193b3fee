//! The simulated network of plane `core`: namespaces, bridges, a machine in the middle, and TCP between them.
//!
//! ```text
//!   software ── Net: sockets, listeners, events ── tcp (smoltcp, one interface per connection end)
//!                                │ IP packets
//!                             router: links, filters, neighbours, NAT ── Fate ── arrival timer ── the other end
//! ```
//!
//! | room | purpose |
//! |---|---|
//! | [`router`], `trip` | the fabric, and a packet's way through it: a function of tables, bytes, time and dice |
//! | [`link`], [`filter`], [`neighbours`], [`nat`] | what can happen to a packet on its way |
//! | [`packet`] | headers as bytes |
//! | `tcp`, `sockets`, `kernel` | connection ends, what software calls, what a kernel does by itself |
//! | `relay` | the machine's userland proxy |
//! | [`dns`] | the view of names |
//! | [`tap`] | what traces see |
//! | [`dice`] | numbers from one seed, by purpose |
//!
//! The world owns the only heap. After every call it takes what there is:
//!
//! ```text
//!   loop { while poll_event() → software acts;  while poll_schedule(now) → heap;  nothing left? pop the heap, on_timer }
//! ```
//!
//! What is written or read in between leaves with the next `poll_schedule`, so software that answers at once has its
//! bytes and its acknowledgement in one packet.
//!
//! # What is modelled, and what is not
//!
//! TCP is `smoltcp`'s: its retransmission timeout is at least 1 s (Linux: 200 ms), it resends everything after a timeout,
//! and a timeout that was doubled stays so until new bytes are acknowledged. Lost data on a surviving connection comes
//! back later than under Linux, much later where a tenth of all packets is lost. Resolution of a neighbour that
//! answers takes no time. The machine has no address outside its bridges. There is no UDP and no ping. The third packet
//! of a handshake is taken even when the listener's queue has filled meanwhile.

pub mod dice;
pub mod dns;
pub mod filter;
mod kernel;
pub mod link;
pub mod nat;
pub mod neighbours;
pub mod packet;
mod relay;
pub mod router;
mod sockets;
pub mod tap;
mod tcp;
mod trip;

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
};

use proxy_core::time::{Duration, Instant};

use self::{
    dice::{Dice, Purpose},
    packet::Endpoint,
    relay::Relay,
    router::{Fate, Router, Ticket},
    tap::Tap,
    tcp::{End, Spares},
};
pub use self::{
    filter::{Direction, FilterId, FilterSpec, Traffic, Verdict},
    link::{Bandwidth, LinkSpec},
    nat::ConntrackSpec,
    neighbours::{NeighbourPolicy, SearchId},
    relay::HangUp,
    router::{BridgeId, BridgeKind, BridgeSpec, ConntrackPolicy, DropReason, HostId, MACHINE},
    tap::{Seen, TapRecord},
};

/// A socket. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SockId(pub u64);

/// A listener. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RelayId(pub(crate) u64);

/// Why a dial failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DialError {
    /// The port is closed, or a firewall says so (ECONNREFUSED).
    Refused,
    /// No route, or nobody answers for the address (ENETUNREACH, EHOSTUNREACH).
    Unreachable,
    /// No answer to any SYN in 127 s (ETIMEDOUT).
    TimedOut,
    /// Every ephemeral port towards that address is in use (EADDRNOTAVAIL).
    NoPort,
}

/// What a host's software learns. A closed socket has no news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// A dial succeeded.
    Connected {
        /// Which.
        sock: SockId,
        /// The local address.
        local: SocketAddr,
    },
    /// A dial failed; the socket is gone.
    DialFailed {
        /// Which.
        sock: SockId,
        /// Why.
        error: DialError,
    },
    /// A listener took a connection.
    Accepted {
        /// Which listener.
        listener: ListenerId,
        /// The connection.
        sock: SockId,
        /// The address that dialled, as it is seen here.
        peer: SocketAddr,
        /// The address that was dialled.
        local: SocketAddr,
    },
    /// Bytes came. Told once until the next [`Net::recv`].
    Readable {
        /// Where.
        sock: SockId,
    },
    /// There is room again, a third of the buffer at least, after [`Net::send`] took less than it was offered.
    Writable {
        /// Where.
        sock: SockId,
    },
    /// The peer has sent its last byte, and it has been read.
    Eof {
        /// Where.
        sock: SockId,
    },
    /// The connection is broken; bytes that came before can still be read. Close the socket to be rid of it.
    Reset {
        /// Where.
        sock: SockId,
    },
}

impl NetEvent {
    /// Returns the socket it is about.
    pub const fn sock(&self) -> SockId {
        match *self {
            Self::Connected { sock, .. }
            | Self::DialFailed { sock, .. }
            | Self::Accepted { sock, .. }
            | Self::Readable { sock }
            | Self::Writable { sock }
            | Self::Eof { sock }
            | Self::Reset { sock } => sock,
        }
    }
}

/// Something of the network's that is due at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetTimer {
    /// Packets reach a host.
    Arrival(u32),
    /// A connection end has something to send.
    Tcp {
        /// Which end.
        sock: SockId,
        /// It counts only if the end has not set another since.
        generation: u32,
    },
    /// A neighbour is looked for again.
    Search(SearchId),
}

/// How a port is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// The machine's NAT rewrites packets.
    Dnat,
    /// A process on the machine accepts, dials, and copies bytes; if its dial fails, it hangs up like this.
    Userland(HangUp),
}

/// How large a host's socket buffers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketSpec {
    /// Bytes that wait to be read; the receive window.
    pub rx_bytes: u32,
    /// Bytes that wait to be acknowledged.
    pub tx_bytes: u32,
    /// The first ephemeral port.
    pub port_min: u16,
    /// The last ephemeral port.
    pub port_max: u16,
}

impl SocketSpec {
    /// 64 KiB each way, Linux's ephemeral ports.
    pub const DEFAULT: Self = Self { rx_bytes: 65_536, tx_bytes: 65_536, port_min: 32_768, port_max: 60_999 };
}

/// What is in use, to see that everything is given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connection ends that software holds.
    pub sockets: usize,
    /// Connection ends that only the kernels see to.
    pub orphans: usize,
    /// Connection ends in TIME_WAIT (60 s).
    pub time_wait: usize,
    /// Ports listened on.
    pub listeners: usize,
    /// Packets on their way.
    pub in_flight: usize,
    /// Packets that wait for a neighbour.
    pub parked: usize,
    /// Flows the machine tracks.
    pub conntrack: usize,
    /// Connections the machine's userland proxies carry.
    pub relayed: usize,
}

/// Packets that arrive at one moment by one way.
#[derive(Debug)]
struct Train {
    at: Instant,
    ticket: Ticket,
    first: Vec<u8>,
    /// Most trains are one packet long.
    rest: Vec<Vec<u8>>,
}

/// Who has an address pair.
#[derive(Debug)]
enum Flow {
    End(u32),
    TimeWait { until: Instant, sent_end: u32, received_next: u32, answered: Option<Instant> },
}

#[derive(Debug)]
struct Listener {
    id: ListenerId,
    backlog: usize,
    /// Its software does not accept.
    held: bool,
    /// Connections the software has not been told of.
    waiting: VecDeque<SockId>,
    relay: Option<Publishing>,
}

/// What a userland proxy does with connections to its port.
#[derive(Clone, Copy, Debug)]
struct Publishing {
    target: Endpoint,
    on_failure: HangUp,
}

#[derive(Debug)]
struct HostState {
    spec: SocketSpec,
    next_port: u16,
    /// What it sends arrives packet by packet.
    apart: bool,
    /// How many faults keep all ports in use.
    taken_ports: u32,
    /// Rolls initial sequence numbers.
    sequence: Dice,
    paused: bool,
    withheld: VecDeque<NetEvent>,
}

impl HostState {
    fn new(seed: u64, host: HostId) -> Self {
        let spec = SocketSpec::DEFAULT;
        let ports = u64::from(spec.port_max - spec.port_min);
        let offset = Dice::new(seed, Purpose::Ports, u64::from(host.0)).below(ports);
        Self {
            spec,
            next_port: spec.port_min + u16::try_from(offset).unwrap_or(0),
            apart: false,
            taken_ports: 0,
            sequence: Dice::new(seed, Purpose::Sequence, u64::from(host.0)),
            paused: false,
            withheld: VecDeque::new(),
        }
    }
}

/// The network: everything between one piece of software and another.
#[derive(Debug)]
pub struct Net {
    router: Router,
    seed: u64,
    hosts: Vec<HostState>,
    ends: Vec<Option<Box<End>>>,
    free_ends: Vec<u32>,
    serial: u64,
    flows: BTreeMap<u128, Flow>,
    time_waits: VecDeque<(Instant, u128)>,
    listeners: BTreeMap<(HostId, u16), Listener>,
    listener_ports: BTreeMap<ListenerId, (HostId, u16)>,
    next_listener: u64,
    relays: BTreeMap<RelayId, Relay>,
    next_relay: u64,
    relay_events: VecDeque<(RelayId, NetEvent)>,
    events: VecDeque<NetEvent>,
    schedule: VecDeque<(Instant, NetTimer)>,
    dirty: VecDeque<SockId>,
    trains: Vec<Option<Train>>,
    free_trains: Vec<u32>,
    /// The train that the next packet may join.
    boarding: Option<u32>,
    spares: Spares,
    fates: Vec<Fate>,
    outgoing: Vec<Vec<u8>>,
    tap: Tap,
    /// How long somebody else takes to carry packets, if somebody does.
    carried: Option<Duration>,
    to_carry: VecDeque<(Ticket, Vec<u8>)>,
}

impl Net {
    /// Makes a network with nothing in it but the machine.
    pub fn new(seed: u64) -> Self {
        Self {
            router: Router::new(seed, false),
            seed,
            hosts: vec![HostState::new(seed, MACHINE)],
            ends: Vec::new(),
            free_ends: Vec::new(),
            serial: 0,
            flows: BTreeMap::new(),
            time_waits: VecDeque::new(),
            listeners: BTreeMap::new(),
            listener_ports: BTreeMap::new(),
            next_listener: 0,
            relays: BTreeMap::new(),
            next_relay: 0,
            relay_events: VecDeque::new(),
            events: VecDeque::new(),
            schedule: VecDeque::new(),
            dirty: VecDeque::new(),
            trains: Vec::new(),
            free_trains: Vec::new(),
            boarding: None,
            spares: Spares::default(),
            fates: Vec::new(),
            outgoing: Vec::new(),
            tap: Tap::default(),
            carried: None,
            to_carry: VecDeque::new(),
        }
    }

    /// Rolls the dice of another seed from here on. What is under way arrives when it was to.
    pub(crate) fn roll_anew(&mut self, seed: u64) {
        self.seed = seed;
        self.router.roll_anew(seed);
        for (number, host) in self.hosts.iter_mut().enumerate() {
            let place = u64::try_from(number).unwrap_or(u64::MAX);
            host.sequence = Dice::new(seed, Purpose::Sequence, place);
        }
    }

    /// Makes a bridge; the machine gets its gateway address.
    pub fn add_bridge(&mut self, name: &str, spec: BridgeSpec) -> BridgeId {
        self.router.add_bridge(name, spec)
    }

    /// Makes a namespace on a bridge.
    pub fn add_host(&mut self, name: &str, bridge: BridgeId, ip: Ipv4Addr) -> HostId {
        let host = self.router.add_host(name, bridge, ip);
        self.hosts.push(HostState::new(self.seed, host));
        host
    }

    /// Sets the buffers and ports of a host's sockets to come.
    pub fn set_sockets(&mut self, host: HostId, spec: SocketSpec) {
        let state = &mut self.hosts[usize::from(host.0)];
        state.next_port = state.next_port.clamp(spec.port_min, spec.port_max);
        state.spec = spec;
    }

    /// Lets what a host sends arrive packet by packet, each read before the next comes, however close they are.
    pub fn keep_apart(&mut self, host: HostId, apart: bool) {
        self.hosts[usize::from(host.0)].apart = apart;
    }

    /// Takes all ephemeral ports of a host that are left; as often as this, [`Net::give_ports_back`] is due.
    pub fn take_ports(&mut self, host: HostId) {
        self.hosts[usize::from(host.0)].taken_ports += 1;
    }

    /// Undoes [`Net::take_ports`].
    pub fn give_ports_back(&mut self, host: HostId) {
        let taken = &mut self.hosts[usize::from(host.0)].taken_ports;
        *taken = taken.saturating_sub(1);
    }

    /// Publishes a port of the machine's addresses: what comes there goes to `host_port` of the first address that
    /// `host` has at this moment. Returns whether it could: the host has an address, and for a userland proxy the port is free.
    pub fn publish(&mut self, port: u16, host: HostId, host_port: u16, via: Publish) -> bool {
        let Some(ip) = self.router.address(host) else { return false };
        let target = Endpoint::new(ip, host_port);
        match via {
            Publish::Dnat => {
                self.router.publish(port, target);
                true
            }
            Publish::Userland(on_failure) => self.listen_relay(port, Publishing { target, on_failure }),
        }
    }

    /// Takes a published port back. What a userland proxy carries is reset; tracked flows go on.
    pub fn unpublish(&mut self, port: u16, now: Instant) {
        self.router.unpublish(port);
        self.unlisten_relay(port, now);
    }

    /// Returns a host's name.
    pub fn host_name(&self, host: HostId) -> &str {
        self.router.name(host)
    }

    /// Returns a bridge's name.
    pub fn bridge_name(&self, bridge: BridgeId) -> &str {
        self.router.bridge_name(bridge)
    }

    /// Returns whether a host is there: it has been removed by nobody, or revived since.
    pub fn is_there(&self, host: HostId) -> bool {
        self.router.is_there(host)
    }

    /// Returns a host's first address, `None` while it is gone.
    pub fn address(&self, host: HostId) -> Option<Ipv4Addr> {
        self.router.address(host)
    }

    /// Returns how many namespaces there are, the machine included; ids count from zero.
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    // Faults. Each has its witness in `tests/net_witness*.rs`.

    /// Cuts a host off, from one other namespace or from all, until [`Net::lift`]. What a userland proxy relays comes
    /// from the machine: to cut that, name [`MACHINE`].
    pub fn partition(
        &mut self,
        host: HostId,
        peer: Option<HostId>,
        direction: Direction,
        verdict: Verdict,
    ) -> FilterId {
        let spec = FilterSpec { peer, direction, family: None, traffic: Traffic::All, verdict };
        self.filter(host, spec)
    }

    /// Puts a filter in front of a host, until [`Net::lift`].
    pub fn filter(&mut self, host: HostId, spec: FilterSpec) -> FilterId {
        self.router.add_filter(host, spec)
    }

    /// New connections to a host vanish; established ones are untouched. `None` means every port.
    pub fn drop_syn(&mut self, host: HostId, port: Option<u16>) -> FilterId {
        self.opening(host, port, Verdict::Drop)
    }

    /// New connections to a host are refused by RST, whoever listens; established ones are untouched.
    pub fn refuse(&mut self, host: HostId, port: Option<u16>) -> FilterId {
        self.opening(host, port, Verdict::Reset)
    }

    fn opening(&mut self, host: HostId, port: Option<u16>, verdict: Verdict) -> FilterId {
        let traffic = Traffic::Opening(port);
        let spec = FilterSpec { peer: None, direction: Direction::To, family: None, traffic, verdict };
        self.filter(host, spec)
    }

    /// Takes a filter away.
    pub fn lift(&mut self, id: FilterId) {
        self.router.lift(id);
    }

    /// Puts faults on a host's wires, on top of its bridge's, or takes them off: `ingress` for what comes in.
    pub fn set_link(&mut self, host: HostId, ingress: Option<LinkSpec>, egress: Option<LinkSpec>) {
        self.router.set_link(host, ingress, egress);
    }

    /// Unplugs a host's wires (`false`) or plugs them in. What is on its way is lost.
    pub fn set_up(&mut self, host: HostId, up: bool) {
        self.router.set_up(host, up);
    }

    /// Deletes a host's veth pairs and makes them again: same address, other network card.
    pub fn recreate_veths(&mut self, host: HostId, now: Instant) {
        self.router.recreate_veths(host, now);
    }

    /// Takes a host off a bridge. Nobody is told; its sockets stay.
    pub fn disconnect(&mut self, host: HostId, bridge: BridgeId, now: Instant) {
        self.router.disconnect(host, bridge, now);
    }

    /// Puts a host on a bridge, with this address.
    pub fn connect(&mut self, host: HostId, bridge: BridgeId, ip: Ipv4Addr) {
        self.router.connect(host, bridge, ip);
    }

    /// Gives a host another address in place of its first one. Its sockets keep the old one, and are cut off.
    pub fn move_address(&mut self, host: HostId, bridge: BridgeId, ip: Ipv4Addr, now: Instant) {
        if let Some(old) = self.router.address(host) {
            self.router.drop_address(host, bridge, old, now);
        }
        self.router.take_address(host, bridge, ip, true, now);
    }

    /// Gives a host an address that another one may have. With `announced` everybody follows at once; otherwise as
    /// the bridge's neighbour policy says.
    pub fn take_address(
        &mut self,
        host: HostId,
        bridge: BridgeId,
        ip: Ipv4Addr,
        announced: bool,
        now: Instant,
    ) {
        self.router.take_address(host, bridge, ip, announced, now);
    }

    /// Takes one address away from a host.
    pub fn drop_address(&mut self, host: HostId, bridge: BridgeId, ip: Ipv4Addr, now: Instant) {
        self.router.drop_address(host, bridge, ip, now);
    }

    /// Forgets every flow the machine tracks: those under NAT fall silent, new ones work.
    pub fn flush_conntrack(&mut self) {
        self.router.flush_conntrack();
    }

    /// Sets how long tracked flows live.
    pub fn set_conntrack(&mut self, spec: ConntrackSpec) {
        self.router.set_conntrack(spec);
    }

    /// Stops a host's software from learning anything, as SIGSTOP does: its kernel acknowledges, and accepts until
    /// the listeners' queues are full.
    pub fn pause(&mut self, host: HostId) {
        self.hosts[usize::from(host.0)].paused = true;
    }

    /// Lets somebody else carry what goes from one namespace to another: it comes out of [`Net::poll_carried`] this
    /// much before its time, and goes in again by [`Net::arrived`].
    pub fn let_carry(&mut self, takes: Duration) {
        self.carried = Some(takes);
    }

    /// Starts telling the tap.
    pub fn open_tap(&mut self) {
        self.tap.open();
        self.router.tells_rewrites = true;
    }

    /// Stops telling the tap, and forgets what was not taken.
    pub fn close_tap(&mut self) {
        self.tap.close();
        self.router.tells_rewrites = false;
    }

    /// Returns the next thing the tap saw.
    pub fn poll_tap(&mut self) -> Option<TapRecord> {
        self.tap.poll()
    }

    /// Returns what is in use.
    pub fn counts(&mut self, now: Instant) -> Counts {
        self.sweep_time_waits(now);
        let mut counts = Counts {
            time_wait: self.time_waits.len(),
            listeners: self.listeners.len(),
            in_flight: self.trains.iter().flatten().map(|train| 1 + train.rest.len()).sum(),
            parked: self.router.neighbours.parked(),
            conntrack: self.router.conntrack.sweep(now),
            relayed: self.relays.len(),
            ..Counts::default()
        };
        for end in self.ends.iter().flatten() {
            match end.holder {
                tcp::Holder::Software | tcp::Holder::Listener(_) | tcp::Holder::Relay(_) => {
                    counts.sockets += 1;
                }
                tcp::Holder::Orphan => counts.orphans += 1,
            }
        }
        counts
    }
}

/// How long a closed connection's addresses stay taken (Linux, `TCP_TIMEWAIT_LEN`).
const TIME_WAIT: Duration = Duration::from_secs(60);

/// The key of a connection end among all flows: host first, so that a host's flows lie together.
fn flow_key(host: HostId, local: Endpoint, remote: Endpoint) -> u128 {
    let at = |end: Endpoint| u128::from(end.ip.to_bits()) << 16 | u128::from(end.port);
    u128::from(host.0) << 112 | (local.family as u128) << 96 | at(local) << 48 | at(remote)
}
