//! A packet's way through the fabric, from the namespace that sends it to its fate.
//!
//! ```text
//!   send ─► leg ─► neighbour? ─► filter? ─► wire ─┬─► Deliver
//!            ▲         │ none yet: park, Probe    └─► machine ─► conntrack, DNAT, masquerade ─┐
//!            └─────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The whole way is followed when the packet is sent, on the tables of that moment.

use std::net::Ipv4Addr;

use proxy_core::time::{Duration, Instant};

use super::{
    filter::Verdict,
    link::{Link, Pair, Passage, Rolls, Swallowed},
    nat::Tuple,
    neighbours::SearchId,
    packet::{self, Family, Header, Parsed, Unreachable},
    router::{BridgeId, BridgeKind, DropReason, Fate, HostId, LOOPBACK, Life, MACHINE, Router, Ticket},
};

/// A packet under way.
#[derive(Clone, Debug)]
pub(crate) struct Trip {
    packet: Vec<u8>,
    sender: HostId,
    /// As its sender wrote it: answers must look like this.
    sent: Header,
    /// As it stands after NAT.
    header: Header,
    /// A wire has let others overtake it.
    held_back: bool,
}

/// The wire a packet came by.
#[derive(Clone, Copy, Debug)]
struct Came {
    from: HostId,
    from_life: Life,
    to_life: Life,
}

/// Who takes a packet on a bridge.
enum Hop {
    To(HostId, usize),
    /// The network card it is sent to is not there.
    Nobody,
    /// Nobody answers for the address so far.
    Unresolved,
}

/// What a sender is told about a packet that did not get through.
#[derive(Clone, Copy)]
enum Answer {
    Nothing,
    Reset,
    Icmp(Unreachable),
}

impl Router {
    /// Follows a packet that `sender` sends, and appends its fate to `out`.
    pub fn send(&mut self, sender: HostId, packet: Vec<u8>, now: Instant, out: &mut Vec<Fate>) {
        let Some(Parsed::Tcp(header)) = packet::parse(&packet) else {
            out.push(Fate::Drop { host: sender, reason: DropReason::Malformed, packet });
            return;
        };
        let namespace = &self.hosts[usize::from(sender.0)];
        if !namespace.alive || !self.has_address(sender, header.src.ip, header.src.family) {
            out.push(Fate::Drop { host: sender, reason: DropReason::NoSource, packet });
            return;
        }
        let trip = Trip { packet, sender, sent: header, header, held_back: false };
        let to = header.dst.ip;
        if self.has_address(sender, to, header.dst.family) {
            let came = Came { from: sender, from_life: 0, to_life: 0 };
            match sender == MACHINE {
                true => self.machine(trip, None, came, now + LOOPBACK, out),
                false => deliver(trip, sender, came, now + LOOPBACK, out),
            }
            return;
        }
        let on_link = namespace.veths.iter().map(|veth| veth.bridge).find(|&id| self.bridge(id).contains(to));
        let first = namespace.veths.first().map(|veth| veth.bridge);
        match (on_link, first) {
            (Some(bridge), _) => self.leg(trip, sender, bridge, to, now, out),
            (None, Some(bridge)) if sender != MACHINE => {
                let gateway = self.bridge(bridge).spec.gateway;
                self.leg(trip, sender, bridge, gateway, now, out);
            }
            (None, Some(_) | None) => {
                let answer = Answer::Icmp(Unreachable::Network);
                self.end(trip, sender, DropReason::NoRoute, answer, now + LOOPBACK, out);
            }
        }
    }

    /// Looks again for a neighbour that packets wait for.
    pub fn on_probe(&mut self, id: SearchId, now: Instant, out: &mut Vec<Fate>) {
        let Some(mut search) = self.neighbours.take(id) else { return };
        let (namespace, bridge, ip) = (search.namespace, search.bridge, search.ip);
        let found = match self.hosts[usize::from(namespace.0)].veth_on(bridge) {
            Some(veth) => !matches!(self.hop(namespace, veth, bridge, ip, now), Hop::Unresolved),
            None => false,
        };
        if found {
            for trip in search.parked {
                self.leg(trip, namespace, bridge, ip, now, out);
            }
            return;
        }
        if let Some(at) = search.on_probe(now) {
            self.neighbours.put_back(id, search);
            out.push(Fate::Probe { at, search: id });
            return;
        }
        for trip in search.parked {
            let back = match namespace == trip.sender {
                true => LOOPBACK,
                false => self.bridge(bridge).spec.link.latency_max,
            };
            let answer = Answer::Icmp(Unreachable::Host);
            self.end(trip, namespace, DropReason::Unresolved, answer, now + back, out);
        }
    }

    /// Returns whether a packet that was on its way really arrives.
    ///
    /// # Errors
    ///
    /// Why it does not: the wire went down, a filter came up, or the address has moved away meanwhile.
    pub fn arrives(&self, ticket: Ticket, header: Option<&Header>, to: Ipv4Addr) -> Result<(), DropReason> {
        let receiver = &self.hosts[usize::from(ticket.to.0)];
        if !receiver.alive {
            return Err(DropReason::LinkDown);
        }
        if ticket.to_life != 0 {
            let holds = |host: HostId, life: Life| {
                self.hosts[usize::from(host.0)].veths.iter().any(|veth| veth.up && veth.life == life)
            };
            if !holds(ticket.to, ticket.to_life) || !holds(ticket.from, ticket.from_life) {
                return Err(DropReason::LinkDown);
            }
            if self.filtered
                && header.is_some_and(|header| self.judge(ticket.sender, ticket.to, header).is_some())
            {
                return Err(DropReason::Filtered);
            }
        }
        match receiver.owns(to) {
            true => Ok(()),
            false => Err(DropReason::NotMine),
        }
    }

    /// One crossing of a bridge.
    fn leg(
        &mut self,
        mut trip: Trip,
        from: HostId,
        bridge: BridgeId,
        next: Ipv4Addr,
        at: Instant,
        out: &mut Vec<Fate>,
    ) {
        let carries = self.carries(bridge, trip.header.dst.family);
        let Some(veth) = self.hosts[usize::from(from.0)].veth_on(bridge).filter(|_| carries) else {
            self.end(trip, from, DropReason::NoRoute, Answer::Icmp(Unreachable::Network), at, out);
            return;
        };
        let (to, to_veth) = match self.hop(from, veth, bridge, next, at) {
            Hop::To(to, to_veth) => (to, to_veth),
            Hop::Nobody => {
                out.push(Fate::Drop { host: from, reason: DropReason::NoNeighbour, packet: trip.packet });
                return;
            }
            Hop::Unresolved => {
                let (search, pushed_out) = self.neighbours.park((from, bridge, next), trip, at);
                if let Some((search, at)) = search {
                    out.push(Fate::Probe { at, search });
                }
                if let Some(Trip { packet, .. }) = pushed_out {
                    out.push(Fate::Drop { host: from, reason: DropReason::Unresolved, packet });
                }
                return;
            }
        };
        self.neighbours_hear((from, to), bridge, trip.header.src.ip);
        if to != MACHINE && self.filtered {
            let Some(passed) = self.filter(trip, to, at, out) else { return };
            trip = passed;
        }
        let passage = match self.cross((from, veth), (to, to_veth), &trip, at) {
            Ok(passage) => passage,
            Err(Stopped { host, reason, answer }) => {
                self.end(trip, host, reason, answer, at + LOOPBACK, out);
                return;
            }
        };
        let came = Came {
            from,
            from_life: self.hosts[usize::from(from.0)].veths[veth].life,
            to_life: self.hosts[usize::from(to.0)].veths[to_veth].life,
        };
        trip.held_back = passage.held_back;
        if let Some(again) = passage.again {
            self.come_out(trip.clone(), to, bridge, came, again, out);
        }
        self.come_out(trip, to, bridge, came, passage.at, out);
    }

    fn come_out(
        &mut self,
        trip: Trip,
        to: HostId,
        bridge: BridgeId,
        came: Came,
        at: Instant,
        out: &mut Vec<Fate>,
    ) {
        match to == MACHINE {
            true => self.machine(trip, Some(bridge), came, at, out),
            false => deliver(trip, to, came, at, out),
        }
    }

    /// Who takes packets for `next` on this bridge, as far as `from` knows.
    fn hop(&mut self, from: HostId, veth: usize, bridge: BridgeId, next: Ipv4Addr, at: Instant) -> Hop {
        if !self.hosts[usize::from(from.0)].veths[veth].up {
            return Hop::Unresolved;
        }
        if let Some(mac) = self.neighbours.stale(from, bridge, next, at) {
            let holder = self.bridge(bridge).macs.get(&mac).copied();
            return match holder.and_then(|host| Some((host, self.wire(host, bridge)?))) {
                Some((host, veth)) => Hop::To(host, veth),
                None => Hop::Nobody,
            };
        }
        let owner = self.bridge(bridge).owners.get(&next).copied();
        match owner.and_then(|host| Some((host, self.wire(host, bridge)?))) {
            Some((host, veth)) => Hop::To(host, veth),
            None => Hop::Unresolved,
        }
    }

    /// Who talks to somebody for the first time, or for the first time with a new network card, asks for its neighbour,
    /// and everybody hears who asks (measured on Linux 6.18: a sender whose veth was made again is found at its next
    /// retransmission, one that has nothing to send not before the entry lapses).
    fn neighbours_hear(&mut self, (from, to): (HostId, HostId), bridge: BridgeId, src: Ipv4Addr) {
        if self.neighbours.is_right() || self.bridge(bridge).owners.get(&src) != Some(&from) {
            return;
        }
        let has_new_card = self.neighbours.breaks_silence(bridge, src);
        if has_new_card || !self.pairs.contains_key(&(from, to)) && !self.pairs.contains_key(&(to, from)) {
            self.neighbours.announce(bridge, src);
        }
    }

    /// A namespace's plugged-in wire to a bridge.
    fn wire(&self, host: HostId, bridge: BridgeId) -> Option<usize> {
        let namespace = &self.hosts[usize::from(host.0)];
        namespace.veth_on(bridge).filter(|&veth| namespace.veths[veth].up)
    }

    /// Sends a packet through the sender's and the receiver's wires.
    fn cross(
        &mut self,
        (from, veth): (HostId, usize),
        (to, to_veth): (HostId, usize),
        trip: &Trip,
        at: Instant,
    ) -> Result<Passage, Stopped> {
        let len = trip.packet.len();
        let place = u64::from(from.0) << 16 | u64::from(to.0);
        let pair = self.pairs.entry((from, to)).or_insert_with(|| Pair::new(self.seed, place));
        let sending = &mut self.hosts[usize::from(from.0)].veths[veth];
        let mut passage = Passage { at, again: None, held_back: trip.held_back };
        if let Some(fault) = &mut sending.egress_fault {
            let rolls = &mut pair.faults(self.seed, place).0;
            passage = through(fault, passage, len, rolls).map_err(|stopped| stopped.at(from))?;
        }
        let egress = &mut sending.egress;
        passage = through(egress, passage, len, &mut pair.bridge).map_err(|stopped| stopped.at(from))?;
        if let Some(fault) = &mut self.hosts[usize::from(to.0)].veths[to_veth].ingress_fault {
            let rolls = &mut pair.faults(self.seed, place).1;
            passage = through(fault, passage, len, rolls).map_err(|stopped| stopped.at(to))?;
        }
        if !passage.held_back {
            passage.at = passage.at.max(pair.last);
            pair.last = passage.at;
        }
        Ok(passage)
    }

    /// What the machine does with a packet: to itself, or on to another bridge, through NAT.
    fn machine(
        &mut self,
        mut trip: Trip,
        came_by: Option<BridgeId>,
        came: Came,
        at: Instant,
        out: &mut Vec<Fate>,
    ) {
        match self.translation(&trip.header, came_by, at) {
            Ok(Some(tuple)) => self.translate(&mut trip, tuple, out),
            Ok(None) => {}
            Err(DropReason::NoRoute) => {
                let answer = Answer::Icmp(Unreachable::Network);
                self.end(trip, MACHINE, DropReason::NoRoute, answer, at + LOOPBACK, out);
                return;
            }
            Err(reason) => {
                out.push(Fate::Drop { host: MACHINE, reason, packet: trip.packet });
                return;
            }
        }
        let to = trip.header.dst.ip;
        if self.has_address(MACHINE, to, trip.header.dst.family) {
            if self.filtered && came_by.is_some() {
                let Some(passed) = self.filter(trip, MACHINE, at, out) else { return };
                trip = passed;
            }
            deliver(trip, MACHINE, came, at, out);
            return;
        }
        if !packet::hop(&mut trip.packet, self.checksums) {
            out.push(Fate::Drop { host: MACHINE, reason: DropReason::HopsExceeded, packet: trip.packet });
            return;
        }
        match self.bridge_of(to) {
            Some(bridge) => self.leg(trip, MACHINE, bridge, to, at, out),
            None => self.end(trip, MACHINE, DropReason::NoRoute, Answer::Icmp(Unreachable::Network), at, out),
        }
    }

    /// What the machine makes of a packet's addresses, `None` if they stay as they are.
    fn translation(
        &mut self,
        header: &Header,
        came_by: Option<BridgeId>,
        at: Instant,
    ) -> Result<Option<Tuple>, DropReason> {
        // IPv6 is routed as it is.
        if header.dst.family == Family::V6 {
            return Ok(None);
        }
        if let Some(tuple) = self.conntrack.translate(header, at) {
            return Ok(Some(tuple));
        }
        let original = Tuple::of(header);
        let local = self.hosts[usize::from(MACHINE.0)].owns(header.dst.ip);
        let target = match local {
            true => self.published.get(&header.dst.port).copied(),
            false => None,
        };
        if local && target.is_none() {
            return Ok(None);
        }
        let dst = target.unwrap_or(header.dst);
        let goes_by = self.bridge_of(dst.ip).ok_or(DropReason::NoRoute)?;
        let leaves_docker = came_by.is_some_and(|came_by| {
            came_by != goes_by && self.bridge(came_by).spec.kind == BridgeKind::Docker
        });
        // What comes back to its own bridge would be answered past the machine, so it is masqueraded as well.
        let turns_back = target.is_some() && came_by == Some(goes_by);
        let mut src = header.src;
        if leaves_docker || turns_back {
            src.ip = self.bridge(goes_by).spec.gateway;
        }
        let changed = src != header.src || dst != header.dst;
        if !header.is_syn() && (changed || self.is_published(header)) {
            return Err(DropReason::NoConntrack);
        }
        let tuple = self.conntrack.insert(original, Tuple { src, dst }, header.is_syn(), at);
        Ok(Some(tuple))
    }

    /// Whether a packet comes from a published port: without its entry it would show its sender's own address.
    fn is_published(&self, header: &Header) -> bool {
        self.published.values().any(|&target| target == header.src)
    }

    fn translate(&self, trip: &mut Trip, tuple: Tuple, out: &mut Vec<Fate>) {
        if tuple == Tuple::of(&trip.header) {
            return;
        }
        trip.header.src = tuple.src;
        trip.header.dst = tuple.dst;
        packet::rewrite(&mut trip.packet, tuple.src, tuple.dst, self.checksums);
        if self.tells_rewrites {
            out.push(Fate::Rewritten { host: MACHINE, packet: trip.packet.clone() });
        }
    }

    /// Lets a packet through the filters of both its ends, or ends it.
    fn filter(&mut self, trip: Trip, to: HostId, at: Instant, out: &mut Vec<Fate>) -> Option<Trip> {
        let Some((host, verdict)) = self.judge(trip.sender, to, &trip.header) else { return Some(trip) };
        // A firewall at the far end answers after a way there and back.
        let back = match host == trip.sender {
            true => LOOPBACK,
            false => self.crossing(host) * 2,
        };
        let answer = match verdict {
            Verdict::Drop => Answer::Nothing,
            Verdict::Reset => Answer::Reset,
            Verdict::Icmp => Answer::Icmp(Unreachable::Host),
        };
        self.end(trip, host, DropReason::Filtered, answer, at + back, out);
        None
    }

    fn judge(&self, sender: HostId, to: HostId, header: &Header) -> Option<(HostId, Verdict)> {
        let leaving = self.hosts[usize::from(sender.0)].filters.leaving(header, header.dst.port, to);
        let entering = || self.hosts[usize::from(to.0)].filters.entering(header, header.dst.port, sender);
        leaving.map(|verdict| (sender, verdict)).or_else(|| entering().map(|verdict| (to, verdict)))
    }

    /// The longest a packet takes over a namespace's first bridge.
    fn crossing(&self, host: HostId) -> Duration {
        let first = self.hosts[usize::from(host.0)].veths.first();
        first.map_or(LOOPBACK, |veth| self.bridge(veth.bridge).spec.link.latency_max)
    }

    /// Ends a packet, and tells its sender if it is to be told.
    fn end(
        &mut self,
        trip: Trip,
        host: HostId,
        reason: DropReason,
        answer: Answer,
        back_at: Instant,
        out: &mut Vec<Fate>,
    ) {
        let mut back = Vec::new();
        let answered = match answer {
            Answer::Nothing => false,
            Answer::Reset => packet::reset_for(&trip.sent, &mut back, self.checksums),
            Answer::Icmp(_) if trip.sent.is_rst() => false,
            Answer::Icmp(why) => {
                let from = self.address(host).unwrap_or(trip.sent.src.ip);
                packet::write_unreachable(&mut back, from, &trip.sent, why, self.checksums);
                true
            }
        };
        out.push(Fate::Drop { host, reason, packet: trip.packet });
        if answered {
            let to = trip.sender;
            let ticket = Ticket { from: host, to, sender: to, from_life: 0, to_life: 0 };
            out.push(Fate::Deliver { at: back_at, ticket, packet: back });
        }
    }

    fn bridge(&self, id: BridgeId) -> &super::router::Bridge {
        &self.bridges[usize::from(id.0)]
    }

    fn bridge_of(&self, ip: Ipv4Addr) -> Option<BridgeId> {
        let index = self.bridges.iter().position(|bridge| bridge.contains(ip))?;
        u16::try_from(index).ok().map(BridgeId)
    }
}

/// Where and why a crossing ended.
struct Stopped {
    host: HostId,
    reason: DropReason,
    answer: Answer,
}

impl Stopped {
    fn at(self, host: HostId) -> Self {
        Self { host, ..self }
    }
}

fn through(link: &mut Link, so_far: Passage, len: usize, rolls: &mut Rolls) -> Result<Passage, Stopped> {
    let spec = link.spec();
    if len > usize::from(spec.mtu) {
        let answer = match spec.mtu_answered {
            true => Answer::Icmp(Unreachable::TooBig(spec.mtu)),
            false => Answer::Nothing,
        };
        return Err(Stopped { host: MACHINE, reason: DropReason::TooBig, answer });
    }
    let passage = link.pass(so_far.at, len, rolls).map_err(|swallowed| Stopped {
        host: MACHINE,
        reason: match swallowed {
            Swallowed::Lost => DropReason::Lost,
            Swallowed::QueueFull => DropReason::QueueFull,
        },
        answer: Answer::Nothing,
    })?;
    let later = passage.at.since(so_far.at);
    Ok(Passage {
        at: passage.at,
        again: passage.again.or(so_far.again.map(|again| again + later)),
        held_back: so_far.held_back || passage.held_back,
    })
}

fn deliver(trip: Trip, to: HostId, came: Came, at: Instant, out: &mut Vec<Fate>) {
    let ticket =
        Ticket { from: came.from, to, sender: trip.sender, from_life: came.from_life, to_life: came.to_life };
    out.push(Fate::Deliver { at, ticket, packet: trip.packet });
}
