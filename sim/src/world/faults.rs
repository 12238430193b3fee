//! Faults: what each does to the world, and how it is undone.
//!
//! A fault on a process stops or freezes it; one on a host's network goes to the router; one on what an origin says
//! goes to the model. Faults on one host may overlap: each is undone by its own end, and what remains in force is what
//! the others say.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use proxy_core::time::{Duration, Instant};

use super::{Members, Running, Wake, World, origin::OriginHost};
use crate::{
    net::{
        Bandwidth, BridgeId, BridgeKind, BridgeSpec, ConntrackPolicy, ConntrackSpec, FilterId, FilterSpec,
        HangUp, HostId, LinkSpec, NeighbourPolicy, Net, Publish as PublishMode, Seen, TapRecord, Traffic,
        Verdict,
        dns::{DnsReply, NameSpec},
        filter,
        packet::Family,
    },
    origin::{
        ACCEPT_QUEUE, Behaviour, Change, CutAt, Ending as ModelEnding, Flow, Handshake, Like, Publisher,
        Then as ModelThen, Which,
    },
    player::Reading,
    scenario::model::{
        AddressTaken, Comeback, CutBy, Direction, DnsAnswer, Ending, Fault, FaultEvent, HostRef, LinkQuality,
        Network, NextIp, OriginModel, PartitionHow, Publish, PublishVia, Then,
    },
    trace::{ActorId, CastMember, Packet, PacketFate, What},
};

/// How long those who talked to a host go on sending to its old network card, where entries are left stale: a fresh
/// entry of Linux is believed for 15 to 45 s, delayed 5 s and probed for 3 s; a scenario has 40 s.
const STALE_FOR: Duration = Duration::from_secs(8);
/// What may wait in front of a link of limited bandwidth, in bytes.
const QUEUE_BYTES: u64 = 256 * 1024;
/// How long a packet that is overtaken is held back.
const REORDER_BY: Duration = Duration::from_millis(5);

/// What is in force, by event.
#[derive(Debug, Default)]
pub(super) struct InForce {
    /// Filters of the router.
    filters: BTreeMap<usize, Vec<FilterId>>,
    /// What links suffer, by host.
    links: BTreeMap<HostId, BTreeMap<usize, LinkPart>>,
    /// What an origin's model suffers, by origin.
    origins: BTreeMap<usize, BTreeMap<usize, Fault>>,
    /// Answers of names, by name.
    names: BTreeMap<String, BTreeMap<usize, NameFault>>,
    /// How many faults keep a host's process down.
    down: BTreeMap<HostRef, u32>,
    /// Containers about to go behind their processes: when, the address they had, and who gets it.
    ending: BTreeMap<HostRef, (Instant, Ipv4Addr, AddressTaken)>,
}

/// A container goes so long after its process: `docker stop` and `rm` take a moment, and what its kernel sent is on its way.
const CONTAINER_ENDS: Duration = Duration::from_millis(100);

/// How a name is answered while something is wrong.
#[derive(Clone, Debug)]
enum NameFault {
    /// Like this.
    Reply(DnsReply),
    /// As it should be, but so late.
    Slow(Duration),
}

/// One thing a link suffers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LinkPart {
    Loss(u32),
    Duplicate(u32),
    Reorder(u32),
    Latency(Duration, Duration),
    Bandwidth(u64),
    Mtu(u16, bool),
}

/// Makes a network of a scenario.
pub(super) fn add_bridge(net: &mut Net, spec: &Network) -> BridgeId {
    let neighbours = if spec.on_stop.neighbours_stale {
        NeighbourPolicy::Stale(STALE_FOR)
    } else {
        NeighbourPolicy::Refreshed
    };
    let conntrack =
        if spec.on_stop.conntrack_kept { ConntrackPolicy::Kept } else { ConntrackPolicy::Flushed };
    if let Some(established) = spec.conntrack_timeout {
        net.set_conntrack(ConntrackSpec { established, ..ConntrackSpec::LINUX });
    }
    net.add_bridge(
        &spec.name,
        BridgeSpec {
            subnet: spec.subnet.0,
            prefix: spec.subnet.1,
            gateway: spec.gateway,
            ipv6: spec.ipv6,
            kind: if spec.is_docker { BridgeKind::Docker } else { BridgeKind::Plain },
            link: link_of(&spec.link),
            neighbours,
            conntrack,
        },
    )
}

pub(crate) fn link_of(quality: &LinkQuality) -> LinkSpec {
    LinkSpec {
        latency_min: quality.latency_min,
        latency_max: quality.latency_max,
        loss: quality.loss_ppm,
        duplicate: quality.duplicate_ppm,
        reorder: quality.reorder_ppm,
        reorder_by: REORDER_BY,
        bandwidth: quality.bandwidth.map(bandwidth),
        mtu: u16::try_from(quality.mtu).unwrap_or(u16::MAX),
        mtu_answered: true,
    }
}

fn bandwidth(bits_per_second: u64) -> Bandwidth {
    Bandwidth { bits_per_second, queue_bytes: QUEUE_BYTES }
}

/// Publishes a host's port on the machine.
pub(super) fn publish(net: &mut Net, host: HostId, publish: Publish) {
    let mode = match publish.via {
        PublishVia::Dnat => PublishMode::Dnat,
        PublishVia::DockerProxy => PublishMode::Userland(HangUp::Close),
    };
    net.publish(publish.port, host, publish.port, mode);
}

/// Makes a record of what the tap saw.
pub(super) fn packet_record(seen: &TapRecord) -> Packet {
    let (outgoing, fate) = match seen.seen {
        Seen::Sent | Seen::Rewritten => (true, PacketFate::Passed),
        Seen::Delivered => (false, PacketFate::Passed),
        Seen::Dropped(why) => (true, PacketFate::Dropped(crate::trace::words::kebab(&why))),
    };
    Packet { host: seen.host.0, outgoing, fate, bytes: seen.packet.clone() }
}

impl World<'_> {
    /// Something goes wrong.
    pub(super) fn inflict(&mut self, index: usize, event: &FaultEvent) {
        let members = self.members[usize::from(event.on.0)].clone();
        match &event.fault {
            Fault::Term(comeback) => self.goes_down(&members, comeback, Going::Politely),
            Fault::Kill(comeback) => self.goes_down(&members, comeback, Going::Killed),
            Fault::Vanish(comeback) => self.goes_down(&members, comeback, Going::Vanished),
            Fault::Freeze | Fault::Pause => self.freezes(index, event.on, &members),
            Fault::Refuse => {
                let refuse = |net: &mut Net, namespace| net.refuse(namespace, None);
                self.opening(index, &members, refuse);
            }
            Fault::Blackhole => {
                let swallow = |net: &mut Net, namespace| net.drop_syn(namespace, None);
                self.opening(index, &members, swallow);
            }
            Fault::Partition { with, direction, family, how } => {
                let verdict = match how {
                    PartitionHow::Drop => Verdict::Drop,
                    PartitionHow::Reject => Verdict::Reset,
                };
                self.partition(index, &members, with, (*direction, *family), verdict);
            }
            Fault::Loss { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Latency { .. }
            | Fault::Bandwidth { .. }
            | Fault::Mtu { .. } => self.link(index, &members, link_part(&event.fault)),
            Fault::LinkDown => {
                for namespace in &members.namespaces {
                    self.net.set_up(*namespace, false);
                }
            }
            Fault::VethRecreate => {
                for namespace in &members.namespaces {
                    self.net.set_up(*namespace, false);
                }
            }
            Fault::Disconnect { .. } => {
                let bridge = self.bridge_of(event.on);
                for namespace in &members.namespaces {
                    self.net.disconnect(*namespace, bridge, self.now);
                }
            }
            Fault::ConntrackFlush => self.net.flush_conntrack(),
            Fault::MoveAddress { ip, taken } => {
                let old = self.home_of(event.on);
                let ip = self.next_ip(event.on, *ip);
                self.move_address(event.on, ip);
                self.take_address(event.on, old, *taken);
            }
            Fault::AcceptClose
            | Fault::AcceptReset
            | Fault::AcceptSilence
            | Fault::Behave(_)
            | Fault::Split { .. }
            | Fault::Coalesce { .. }
            | Fault::Trickle { .. }
            | Fault::NoMedia { .. }
            | Fault::Drip { .. }
            | Fault::NoKeyframes => {
                if let Running::Origin(o) = members.run {
                    let in_force = self.in_force.origins.entry(usize::from(o)).or_default();
                    in_force.insert(index, event.fault.clone());
                    self.shape_origin(usize::from(o));
                }
            }
            Fault::Cut { at, by } => {
                if let Running::Origin(o) = members.run {
                    self.cut_plays(usize::from(o), *at, *by);
                }
            }
            Fault::End { ending, then } => {
                if let Running::Origin(o) = members.run {
                    self.end_plays(usize::from(o), *ending, *then);
                }
            }
            Fault::ReconnectRequest { tc_url } => {
                if let Running::Origin(o) = members.run {
                    let origin = &mut self.origins[usize::from(o)];
                    origin.model.request_reconnect(Which::All, tc_url.as_deref(), self.now);
                    self.pump_origin(usize::from(o));
                }
            }
            Fault::PublisherAway { stream, .. } => {
                if let Running::Origin(o) = members.run {
                    *self.origins[usize::from(o)].away.entry(stream.clone()).or_insert(0) += 1;
                    self.unpublish(usize::from(o), stream.as_deref());
                }
            }
            Fault::TimestampJump { by } => {
                if let Running::Origin(o) = members.run {
                    let origin = &mut self.origins[usize::from(o)];
                    for stream in &origin.spec.streams {
                        origin.model.change(stream, &Change::ClockJump(*by), self.now);
                    }
                    self.pump_origin(usize::from(o));
                }
            }
            Fault::Dns { name, answer } => {
                let fault = self.name_fault(name, answer);
                self.in_force.names.entry(name.clone()).or_default().insert(index, fault);
                self.answer_name(name);
            }
            Fault::WallClock { by } => {
                if let Running::Proxy(p) = members.run {
                    self.proxies[usize::from(p)].wall_offset += by;
                    self.shift_wall(usize::from(p));
                }
            }
            Fault::LateTimers { by } => {
                if let Running::Proxy(p) = members.run {
                    self.proxies[usize::from(p)].late.insert(index, *by);
                }
            }
            Fault::NoPorts => {
                for namespace in &members.namespaces {
                    self.net.take_ports(*namespace);
                }
            }
            Fault::SlowReader { .. } | Fault::Stuck => {
                if let Running::Players(group) = members.run {
                    self.players_read_again(usize::from(group), event.on);
                }
            }
        }
    }

    /// A fault is over.
    pub(super) fn relieve(&mut self, index: usize, event: &FaultEvent) {
        let members = self.members[usize::from(event.on.0)].clone();
        match &event.fault {
            Fault::Term(comeback) | Fault::Kill(comeback) => {
                self.comes_back(event.on, &members, comeback, Going::Killed);
            }
            Fault::Vanish(comeback) => self.comes_back(event.on, &members, comeback, Going::Vanished),
            Fault::Freeze | Fault::Pause => self.thaws(index, event.on, &members),
            Fault::Refuse | Fault::Blackhole | Fault::Partition { .. } => {
                for id in self.in_force.filters.remove(&index).unwrap_or_default() {
                    self.net.lift(id);
                }
            }
            Fault::Loss { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Latency { .. }
            | Fault::Bandwidth { .. }
            | Fault::Mtu { .. } => self.link(index, &members, None),
            Fault::LinkDown => self.plug_in(event.on, &members),
            Fault::VethRecreate => {
                for namespace in &members.namespaces {
                    self.net.recreate_veths(*namespace, self.now);
                }
                self.plug_in(event.on, &members);
            }
            // Another one may still keep it off.
            Fault::Disconnect { .. } if self.timeline.is_disconnected(self.scenario, event.on) => {}
            // A container that is gone comes back with its network.
            Fault::Disconnect { .. } if !self.net.is_there(members.namespaces[0]) => {}
            Fault::Disconnect { ip } => {
                let bridge = self.bridge_of(event.on);
                let ip = self.next_ip(event.on, *ip);
                self.net.connect(members.namespaces[0], bridge, ip);
                self.settled_at(event.on, ip);
                // Of several alike only the first ever has another address than the one it began with.
                for namespace in &members.namespaces[1..] {
                    let own = self.addresses.iter().find(|(_, of)| *of == namespace);
                    if let Some((ip, _)) = own {
                        self.net.connect(*namespace, bridge, *ip);
                    }
                }
                self.plug_in(event.on, &members);
            }
            Fault::AcceptClose
            | Fault::AcceptReset
            | Fault::AcceptSilence
            | Fault::Behave(_)
            | Fault::Split { .. }
            | Fault::Coalesce { .. }
            | Fault::Trickle { .. }
            | Fault::NoMedia { .. }
            | Fault::Drip { .. }
            | Fault::NoKeyframes => {
                if let Running::Origin(o) = members.run {
                    if let Some(in_force) = self.in_force.origins.get_mut(&usize::from(o)) {
                        in_force.remove(&index);
                    }
                    self.shape_origin(usize::from(o));
                }
            }
            Fault::End { .. } => {
                if let Running::Origin(o) = members.run {
                    self.plays_go_on(usize::from(o));
                }
            }
            Fault::PublisherAway { stream, back } => {
                if let Running::Origin(o) = members.run {
                    self.publisher_returns(usize::from(o), stream.as_ref(), back.as_deref());
                }
            }
            Fault::Dns { name, .. } => {
                if let Some(in_force) = self.in_force.names.get_mut(name) {
                    in_force.remove(&index);
                }
                self.answer_name(name);
            }
            Fault::SlowReader { .. } | Fault::Stuck => {
                if let Running::Players(group) = members.run {
                    self.players_read_again(usize::from(group), event.on);
                }
            }
            // What happened once, and for good.
            Fault::ConntrackFlush
            | Fault::Cut { .. }
            | Fault::MoveAddress { .. }
            | Fault::ReconnectRequest { .. }
            | Fault::TimestampJump { .. }
            | Fault::WallClock { .. } => {}
            Fault::LateTimers { .. } => {
                if let Running::Proxy(p) = members.run {
                    self.proxies[usize::from(p)].late.remove(&index);
                }
            }
            Fault::NoPorts => {
                for namespace in &members.namespaces {
                    self.net.give_ports_back(*namespace);
                }
            }
        }
    }

    /// A host's links are up again, unless another fault keeps them down.
    fn plug_in(&mut self, host: HostRef, members: &Members) {
        let is_down = |fault: &Fault| matches!(fault, Fault::LinkDown | Fault::VethRecreate);
        let is_up = !self.timeline.in_force_on(self.scenario, host).any(is_down);
        for namespace in &members.namespaces {
            self.net.set_up(*namespace, is_up);
        }
    }

    // ---- processes and containers ----

    fn goes_down(&mut self, members: &Members, comeback: &Comeback, how: Going) {
        let host = self.host_of(members.actor);
        *self.in_force.down.entry(host).or_default() += 1;
        match members.run {
            Running::Origin(o) => self.stop_origin(usize::from(o), how == Going::Politely),
            Running::Proxy(p) => self.stop_proxy(usize::from(p)),
            Running::Players(_) => {}
        }
        let old = self.home_of(host);
        for namespace in &members.namespaces {
            match how {
                Going::Politely | Going::Killed => self.net.kill_process(*namespace, self.now),
                Going::Vanished => self.net.remove_host(*namespace, self.now),
            }
        }
        // A process that ends and comes back elsewhere takes its container along, but its kernel hangs up first.
        if how != Going::Vanished && comeback.ip != NextIp::Same {
            let ends = self.now + CONTAINER_ENDS;
            self.in_force.ending.insert(host, (ends, old, comeback.taken));
            self.heap.push(ends, (Wake::ContainerEnds(host.0), self.cause));
        } else {
            self.take_address(host, old, comeback.taken);
        }
    }

    /// The moment has come, unless it was that of an earlier process.
    pub(super) fn container_due(&mut self, host: HostRef) {
        if self.in_force.ending.get(&host).is_some_and(|(ends, ..)| *ends <= self.now) {
            self.container_ends(host);
        }
    }

    /// A container is gone whose process has ended, and somebody may have its address.
    fn container_ends(&mut self, host: HostRef) {
        let Some((_, old, taken)) = self.in_force.ending.remove(&host) else { return };
        for namespace in self.members[usize::from(host.0)].namespaces.clone() {
            self.net.remove_host(namespace, self.now);
        }
        self.take_address(host, old, taken);
    }

    fn comes_back(&mut self, host: HostRef, members: &Members, comeback: &Comeback, how: Going) {
        if comeback.never {
            return;
        }
        self.container_ends(host);
        if how == Going::Vanished || comeback.ip != NextIp::Same {
            let ip = self.next_ip(host, comeback.ip);
            let bridge = self.bridge_of(host);
            for namespace in &members.namespaces {
                self.net.revive_host(*namespace, bridge, ip);
            }
            self.settled_at(host, ip);
        }
        let down = self.in_force.down.entry(host).or_default();
        *down = down.saturating_sub(1);
        if *down > 0 {
            return;
        }
        match members.run {
            Running::Origin(o) => self.start_origin(usize::from(o), Some(comeback)),
            Running::Proxy(p) => self.start_proxy(usize::from(p)),
            Running::Players(_) => {}
        }
    }

    /// A process stands still. There is nothing to freeze where none runs.
    fn freezes(&mut self, index: usize, host: HostRef, members: &Members) {
        match members.run {
            Running::Origin(o) => {
                let origin = &mut self.origins[usize::from(o)];
                if !origin.is_up {
                    return;
                }
                origin.frozen.insert(index);
                self.look_at_serving(usize::from(o));
            }
            Running::Proxy(p) => {
                if !self.proxies[usize::from(p)].is_up {
                    return;
                }
                self.freeze_proxy(usize::from(p), index);
            }
            Running::Players(group) => {
                self.players_read_again(usize::from(group), host);
            }
        }
        for namespace in &members.namespaces {
            self.net.pause(*namespace);
        }
    }

    /// A process goes on, unless another fault keeps it, or it is not the one that was frozen.
    fn thaws(&mut self, index: usize, host: HostRef, members: &Members) {
        match members.run {
            Running::Origin(o) => {
                let frozen = &mut self.origins[usize::from(o)].frozen;
                if frozen.remove(&index) && frozen.is_empty() {
                    self.net.resume(members.namespaces[0]);
                    self.thaw_origin(usize::from(o));
                }
            }
            Running::Proxy(p) => {
                let frozen = &mut self.proxies[usize::from(p)].frozen;
                if frozen.remove(&index) && frozen.is_empty() {
                    self.net.resume(members.namespaces[0]);
                    self.thaw_proxy(usize::from(p));
                }
            }
            Running::Players(group) => {
                let freezes = |fault: &Fault| matches!(fault, Fault::Freeze | Fault::Pause);
                if !self.timeline.in_force_on(self.scenario, host).any(freezes) {
                    for namespace in &members.namespaces {
                        self.net.resume(*namespace);
                    }
                }
                self.players_read_again(usize::from(group), host);
            }
        }
    }

    /// Players read as what is still in force lets them.
    fn players_read_again(&mut self, group: usize, host: HostRef) {
        let still = self.timeline.in_force_on(self.scenario, host).filter_map(reading);
        let slowest = still.min_by_key(|reading| match reading {
            Reading::Rate { bytes_per_second } => *bytes_per_second,
            Reading::Until { bytes } => *bytes,
            Reading::Full => u64::MAX,
        });
        self.players_read(group, slowest);
    }

    // ---- the network ----

    /// Something happens to packets that open connections to a host.
    fn opening(&mut self, index: usize, members: &Members, act: impl Fn(&mut Net, HostId) -> FilterId) {
        let ids = members.namespaces.iter().map(|namespace| act(&mut self.net, *namespace)).collect();
        self.in_force.filters.insert(index, ids);
    }

    fn partition(
        &mut self,
        index: usize,
        members: &Members,
        with: &[HostRef],
        (direction, family): (Direction, Option<Family>),
        verdict: Verdict,
    ) {
        let direction = match direction {
            Direction::Both => filter::Direction::Both,
            Direction::To => filter::Direction::To,
            Direction::From => filter::Direction::From,
        };
        let peers: Vec<Option<HostId>> = if with.is_empty() {
            vec![None]
        } else {
            with.iter()
                .flat_map(|host| self.members[usize::from(host.0)].namespaces.clone())
                .map(Some)
                .collect()
        };
        let mut ids = Vec::new();
        for namespace in &members.namespaces {
            for peer in &peers {
                let spec = FilterSpec { peer: *peer, direction, family, traffic: Traffic::All, verdict };
                ids.push(self.net.filter(*namespace, spec));
            }
        }
        self.in_force.filters.insert(index, ids);
    }

    fn link(&mut self, index: usize, members: &Members, part: Option<LinkPart>) {
        for namespace in &members.namespaces {
            let parts = self.in_force.links.entry(*namespace).or_default();
            match part {
                Some(part) => {
                    parts.insert(index, part);
                }
                None => {
                    parts.remove(&index);
                }
            }
            let spec = suffering(parts.values());
            self.net.set_link(*namespace, spec, spec);
        }
    }

    fn bridge_of(&self, host: HostRef) -> BridgeId {
        self.bridges[usize::from(self.scenario.hosts[usize::from(host.0)].net)]
    }

    /// Chooses a host's next address.
    fn next_ip(&self, host: HostRef, next: NextIp) -> Ipv4Addr {
        let spec = &self.scenario.hosts[usize::from(host.0)];
        match next {
            NextIp::Ip(ip) => ip,
            NextIp::Same => {
                self.homes.get(&host).copied().unwrap_or(spec.ip.unwrap_or(Ipv4Addr::UNSPECIFIED))
            }
            NextIp::New => self.free_address(&self.scenario.nets[usize::from(spec.net)], &|_| false),
        }
    }

    /// A host has another address: names follow it, and a published port too.
    pub(super) fn settled_at(&mut self, host: HostRef, ip: Ipv4Addr) {
        let namespace = self.members[usize::from(host.0)].namespaces[0];
        self.addresses.insert(ip, namespace);
        let before = self.homes.insert(host, ip);
        let actor = self.members[usize::from(host.0)].actor;
        self.note(actor, What::Address { ip });
        if let Some(spec) = self.scenario.hosts[usize::from(host.0)].publish {
            // A userland proxy leads to the address it was started with: another one needs another proxy.
            if before != Some(ip) {
                self.net.unpublish(spec.port, self.now);
            }
            publish(&mut self.net, namespace, spec);
        }
        self.set_names();
    }

    fn move_address(&mut self, host: HostRef, ip: Ipv4Addr) {
        let namespace = self.members[usize::from(host.0)].namespaces[0];
        self.net.move_address(namespace, self.bridge_of(host), ip, self.now);
        self.settled_at(host, ip);
    }

    /// Somebody else gets an address.
    fn take_address(&mut self, host: HostRef, ip: Ipv4Addr, taken: AddressTaken) {
        if taken == AddressTaken::Nobody {
            return;
        }
        let spec = &self.scenario.hosts[usize::from(host.0)];
        let name = format!("{}-successor", spec.name);
        let namespace = self.net.add_host(&name, self.bridge_of(host), ip);
        self.place(namespace, None);
        self.addresses.insert(ip, namespace);
        let actor = ActorId(u16::try_from(self.cast.members.len()).unwrap_or(u16::MAX));
        self.cast.members.push(CastMember { name, host: u16::MAX });
        self.note(actor, What::Address { ip });
        match taken {
            AddressTaken::Nobody | AddressTaken::Refusing => {}
            AddressTaken::Silent => {
                self.net.partition(namespace, None, filter::Direction::To, Verdict::Drop);
            }
            AddressTaken::OtherServer => {
                let model = OriginModel {
                    backlog: ACCEPT_QUEUE,
                    like: Like::ZlMediaKit,
                    behaviour: Behaviour::like(Like::ZlMediaKit),
                    port: match &spec.role {
                        crate::scenario::model::Role::Origin(model) => model.port,
                        crate::scenario::model::Role::Proxy(_) | crate::scenario::model::Role::Player(_) => {
                            1935
                        }
                    },
                    streams: Vec::new(),
                    publisher: Publisher::default(),
                    boot: Duration::ZERO,
                    first_frame: Duration::ZERO,
                    published: false,
                    up: true,
                };
                self.origins.push(OriginHost::new(actor, namespace, model));
                self.begin_origin(self.origins.len() - 1);
            }
        }
    }

    // ---- names ----

    /// Sets every name to what its hosts' addresses are.
    pub(super) fn set_names(&mut self) {
        for (index, host) in self.scenario.hosts.iter().enumerate() {
            let addresses = self.addresses_of(HostRef(index as u16)).collect();
            self.truths.insert(host.name.clone(), (addresses, Duration::ZERO));
        }
        for name in &self.scenario.names {
            let mut addresses: Vec<IpAddr> =
                name.hosts.iter().flat_map(|host| self.addresses_of(*host)).collect();
            addresses.extend(&name.ips);
            addresses.sort_by_key(IpAddr::is_ipv4);
            self.truths.insert(name.name.clone(), (addresses, name.ttl));
        }
        for name in self.truths.keys().cloned().collect::<Vec<_>>() {
            self.answer_name(&name);
        }
    }

    /// Returns a host's addresses, or those it had last.
    pub(super) fn addresses_of(&self, host: HostRef) -> impl Iterator<Item = IpAddr> + use<> {
        let net = usize::from(self.scenario.hosts[usize::from(host.0)].net);
        self.scenario.nets[net].addresses(self.home_of(host))
    }

    /// Returns a host's address, or the one it had last.
    pub(super) fn home_of(&self, host: HostRef) -> Ipv4Addr {
        self.homes.get(&host).copied().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    fn name_fault(&self, name: &str, answer: &DnsAnswer) -> NameFault {
        match answer {
            DnsAnswer::NxDomain => NameFault::Reply(DnsReply::NotFound),
            DnsAnswer::ServFail => NameFault::Reply(DnsReply::ServFail),
            DnsAnswer::Silent => NameFault::Reply(DnsReply::Silent),
            DnsAnswer::Slow(time) => NameFault::Slow(*time),
            DnsAnswer::Stale => {
                let truth = self.truths.get(name).map(|(addresses, _)| addresses.clone());
                NameFault::Reply(truth.map_or(DnsReply::NotFound, DnsReply::Addresses))
            }
            DnsAnswer::Addresses(ips) => NameFault::Reply(DnsReply::Addresses(ips.clone())),
        }
    }

    /// Answers a name with what is true, or as the last fault in force says.
    fn answer_name(&mut self, name: &str) {
        let (addresses, ttl) = self.truths.get(name).cloned().unwrap_or_default();
        let mut reply =
            if addresses.is_empty() { DnsReply::NotFound } else { DnsReply::Addresses(addresses) };
        let mut spec = NameSpec { ttl, ..NameSpec::DEFAULT };
        match self.in_force.names.get(name).and_then(|in_force| in_force.values().next_back()) {
            Some(NameFault::Reply(fault)) => reply = fault.clone(),
            Some(NameFault::Slow(time)) => (spec.delay_min, spec.delay_max) = (*time, *time),
            None => {}
        }
        self.dns.set(name, reply, self.now);
        self.dns.set_spec(name, spec);
    }

    // ---- an origin's model ----

    /// Gives a model the behaviour its faults say.
    fn shape_origin(&mut self, o: usize) {
        let none = BTreeMap::new();
        let in_force = self.in_force.origins.get(&o).unwrap_or(&none);
        let mut behaviour = self.origins[o].spec.behaviour.clone();
        for fault in in_force.values() {
            shape(&mut behaviour, fault);
        }
        let (flow, origin) = (behaviour.flow, &mut self.origins[o]);
        origin.model.set_behaviour(behaviour);
        origin.model.set_flow(Which::All, flow, self.now);
        self.net.keep_apart(origin.namespace, origin.model.is_in_pieces());
        self.pump_origin(o);
    }

    /// Cuts live connections, each at a byte of what it says from here on.
    fn cut_plays(&mut self, o: usize, at: u64, by: CutBy) {
        self.origins[o].model.cut(Which::All, CutAt::Message(at), by, self.now);
        self.pump_origin(o);
    }

    /// Tells live plays that they end, true or not.
    fn end_plays(&mut self, o: usize, ending: Ending, then: Then) {
        let then = match then {
            Then::Silence => ModelThen::Quiet,
            Then::Close => ModelThen::Fin,
            Then::Reset => ModelThen::Reset,
            Then::GoesOn => ModelThen::GoOn,
        };
        let origin = &mut self.origins[o];
        match model_ending(ending) {
            Some(ending) => {
                origin.model.tell(Which::All, ending, then, self.now);
            }
            None => {
                let by = match then {
                    ModelThen::GoOn | ModelThen::Quiet => CutBy::Silence,
                    ModelThen::Fin => CutBy::Fin,
                    ModelThen::Reset => CutBy::Reset,
                };
                origin.model.cut(Which::All, CutAt::Message(0), by, self.now);
            }
        }
        self.pump_origin(o);
    }

    /// A publisher is back, and plays that were told of their end are told so.
    fn plays_go_on(&mut self, o: usize) {
        self.origins[o].model.tell(Which::All, ModelEnding::PublishNotify, ModelThen::GoOn, self.now);
        self.pump_origin(o);
    }

    fn publisher_returns(&mut self, o: usize, stream: Option<&String>, back: Option<&Publisher>) {
        let origin = &mut self.origins[o];
        if let Some(away) = origin.away.get_mut(&stream.cloned()) {
            *away = away.saturating_sub(1);
        }
        if let Some(back) = back {
            for name in origin.spec.streams.clone() {
                if stream.is_none_or(|stream| *stream == name) {
                    self.origins[o].content.insert(name, back.clone());
                }
            }
        }
        self.let_publish(o);
    }
}

/// Returns what a fault does to a link; `None` of one that is none on links.
pub(crate) fn link_part(fault: &Fault) -> Option<LinkPart> {
    match fault {
        Fault::Loss { ppm } => Some(LinkPart::Loss(*ppm)),
        Fault::Duplicate { ppm } => Some(LinkPart::Duplicate(*ppm)),
        Fault::Reorder { ppm } => Some(LinkPart::Reorder(*ppm)),
        Fault::Latency { min, max } => Some(LinkPart::Latency(*min, *max)),
        Fault::Bandwidth { bits } => Some(LinkPart::Bandwidth(*bits)),
        Fault::Mtu { bytes, icmp } => {
            let mtu = u16::try_from(*bytes).unwrap_or(u16::MAX);
            Some(LinkPart::Mtu(mtu, *icmp))
        }
        _ => None,
    }
}

/// Returns what a link is like that suffers all this; `None` if it suffers nothing.
pub(crate) fn suffering<'a>(parts: impl Iterator<Item = &'a LinkPart>) -> Option<LinkSpec> {
    let mut suffers = None;
    for part in parts {
        let spec = suffers.get_or_insert(LinkSpec { reorder_by: REORDER_BY, ..LinkSpec::CLEAR });
        match *part {
            LinkPart::Loss(ppm) => spec.loss = spec.loss.max(ppm),
            LinkPart::Duplicate(ppm) => spec.duplicate = spec.duplicate.max(ppm),
            LinkPart::Reorder(ppm) => spec.reorder = spec.reorder.max(ppm),
            LinkPart::Latency(min, max) => {
                (spec.latency_min, spec.latency_max) = (spec.latency_min + min, spec.latency_max + max);
            }
            LinkPart::Bandwidth(bits) => spec.bandwidth = Some(bandwidth(bits)),
            LinkPart::Mtu(bytes, icmp) => (spec.mtu, spec.mtu_answered) = (spec.mtu.min(bytes), icmp),
        }
    }
    suffers
}

/// Adds to a behaviour what a fault makes of it.
pub(crate) fn shape(behaviour: &mut Behaviour, fault: &Fault) {
    match fault {
        Fault::Behave(behaving) => *behaviour = behaving.behaviour.clone(),
        Fault::AcceptClose => behaviour.handshake = Handshake::Close,
        Fault::AcceptReset => behaviour.handshake = Handshake::Reset,
        Fault::AcceptSilence => behaviour.handshake = Handshake::Silent,
        Fault::Split { bytes } => {
            behaviour.flow = Flow::Pieces { len: *bytes as usize, every: Duration::ZERO };
        }
        Fault::Coalesce { hold } => behaviour.flow = Flow::Held { time: *hold },
        Fault::Trickle { bytes, every } => {
            behaviour.flow = Flow::Pieces { len: *bytes as usize, every: *every };
        }
        Fault::NoMedia { audio, video } => {
            behaviour.muted.audio |= audio;
            behaviour.muted.video |= video;
        }
        Fault::Drip { every } => behaviour.drip = Some(*every),
        Fault::NoKeyframes => behaviour.keyless = true,
        Fault::Term(_)
        | Fault::Kill(_)
        | Fault::Vanish(_)
        | Fault::Freeze
        | Fault::Pause
        | Fault::Refuse
        | Fault::Blackhole
        | Fault::Partition { .. }
        | Fault::Loss { .. }
        | Fault::Duplicate { .. }
        | Fault::Reorder { .. }
        | Fault::Latency { .. }
        | Fault::Bandwidth { .. }
        | Fault::Mtu { .. }
        | Fault::LinkDown
        | Fault::VethRecreate
        | Fault::Disconnect { .. }
        | Fault::ConntrackFlush
        | Fault::MoveAddress { .. }
        | Fault::Cut { .. }
        | Fault::End { .. }
        | Fault::ReconnectRequest { .. }
        | Fault::PublisherAway { .. }
        | Fault::TimestampJump { .. }
        | Fault::Dns { .. }
        | Fault::WallClock { .. }
        | Fault::LateTimers { .. }
        | Fault::NoPorts
        | Fault::SlowReader { .. }
        | Fault::Stuck => {}
    }
}

/// Returns how players read under a fault, if it is about that.
const fn reading(fault: &Fault) -> Option<Reading> {
    if let Fault::SlowReader { rate } = fault {
        Some(Reading::Rate { bytes_per_second: *rate })
    } else if let Fault::Stuck | Fault::Freeze | Fault::Pause = fault {
        Some(Reading::Until { bytes: 0 })
    } else {
        None
    }
}

pub(crate) const fn model_ending(ending: Ending) -> Option<ModelEnding> {
    Some(match ending {
        Ending::Silent => return None,
        Ending::StreamEof => ModelEnding::StreamEof,
        Ending::StreamDry => ModelEnding::StreamDry,
        Ending::UnpublishNotify => ModelEnding::UnpublishNotify,
        Ending::PlayStop => ModelEnding::PlayStop,
        Ending::PlayComplete => ModelEnding::PlayComplete,
        Ending::StreamNotFound => ModelEnding::StreamNotFound,
        Ending::PlayFailed => ModelEnding::PlayFailed,
        Ending::InsufficientBw => ModelEnding::InsufficientBw,
        Ending::ConnectClosed => ModelEnding::ConnectClosed,
        Ending::ConnectRejected => ModelEnding::ConnectRejected,
        Ending::AppShutdown => ModelEnding::AppShutdown,
    })
}

/// How something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    Politely,
    Killed,
    Vanished,
}
