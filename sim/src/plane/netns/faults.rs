//! Faults: what each does to namespaces and processes, and how it is undone. The kernel does most of it by itself.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use proxy_core::time::{Duration, Instant};

use super::{
    cables::cabled,
    contained::{Deed, Ends, deed},
    filter::Rule,
    peers::PeerId,
    wire::{NameAnswer, NameReply, Order},
    world::{BEHIND, HostNow, OriginNow, Runs, Wake, World},
};
use crate::{
    origin::Like,
    scenario::model::{
        Act, AddressTaken, Comeback, Direction, DnsAnswer, Family, Fault, FaultEvent, HostRef, NextIp,
        PartitionHow, Plane, Realm, Role, Scenario,
    },
    trace::{ActorId, CastMember, Moment, What},
    world::moments::Happened,
};

/// How long a process that was told to end may take to say its last words before its container goes.
const LAST_WORDS: Duration = Duration::from_millis(120);

/// How a name is answered while something is wrong.
#[derive(Clone, Debug)]
pub(super) enum NameFault {
    /// Like this.
    Reply(NameReply),
    /// As it should be, but so late.
    Slow(Duration),
}

/// How something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    Politely,
    Killed,
    Vanished,
}

/// Returns whether this plane can do everything a scenario wants.
///
/// # Errors
/// What it cannot do.
pub(super) fn check(plane: Plane, scenario: &Scenario, real_peers: bool) -> Result<(), String> {
    if plane == Plane::Container {
        return super::contained::check(scenario);
    }
    if real_peers {
        check_real(scenario)?;
    }
    let cabled = cabled(scenario);
    if let Some(net) = scenario.nets.iter().find(|net| net.ipv6 && !cabled.is_empty()) {
        return Err(format!("line {}: cables that delay, lose or are narrow carry IPv4 alone", net.line));
    }
    for event in &scenario.events {
        let Act::Fault(fault) = &event.act else { continue };
        if fault.fault.realm() == Realm::Clock {
            return Err(format!("line {}: all namespaces have the kernel's one clock", event.line));
        }
        if takes_cable(&fault.fault) && cabled.contains(&usize::from(fault.on.0)) {
            let name = &scenario.hosts[usize::from(fault.on.0)].name;
            return Err(format!(
                "line {}: {name} hangs on a cable that delays or loses, which cannot be taken away",
                event.line
            ));
        }
    }
    Ok(())
}

/// Returns whether real peers can do everything a scenario wants.
fn check_real(scenario: &Scenario) -> Result<(), String> {
    if let Some(net) = scenario.nets.iter().find(|net| net.ipv6) {
        return Err(format!("line {}: the real nginx-rtmp listens on IPv4 alone", net.line));
    }
    let is_real = |host: HostRef| matches!(&scenario.hosts[usize::from(host.0)].role, Role::Origin(model) if model.like == Like::NginxRtmp);
    for event in &scenario.events {
        let on = match &event.act {
            Act::Publish { origin, .. } => *origin,
            Act::Fault(fault) if !is_done_to_software(&fault.fault) => fault.on,
            Act::Fault(_)
            | Act::Call(_)
            | Act::Repair { .. }
            | Act::Play { .. }
            | Act::Leave { .. }
            | Act::Start { .. } => continue,
        };
        if is_real(on) {
            return Err(format!("line {}: the real nginx-rtmp cannot be told to do that", event.line));
        }
    }
    Ok(())
}

/// Returns whether a fault is done to software from outside, whatever it is.
fn is_done_to_software(fault: &Fault) -> bool {
    match fault.realm() {
        Realm::Container
        | Realm::Machine
        | Realm::Cable
        | Realm::Names
        | Realm::Clock
        | Realm::Kernel
        | Realm::Players => true,
        Realm::Software => false,
        // That it goes, yes; that it comes back as somebody else, no.
        Realm::Publishers => matches!(fault, Fault::PublisherAway { stream: None, back: None }),
    }
}

/// Returns whether a host loses its interface.
fn takes_cable(fault: &Fault) -> bool {
    match deed(fault) {
        Some(Deed::Ends(how, comeback)) => how == Ends::Vanished || comeback.ip != NextIp::Same,
        Some(Deed::Unplugs(_)) => true,
        Some(Deed::Pauses | Deed::Moves(..)) | None => false,
    }
}

impl World<'_> {
    /// Something goes wrong.
    pub(super) async fn inflict(&mut self, index: usize, event: &FaultEvent) -> Result<(), String> {
        if self.engine_inflicts(index, event).await {
            return Ok(());
        }
        let host = usize::from(event.on.0);
        let port = self.hosts[host].port;
        match &event.fault {
            Fault::Term(comeback) => self.goes_down(host, comeback, Going::Politely).await?,
            Fault::Kill(comeback) => self.goes_down(host, comeback, Going::Killed).await?,
            Fault::Vanish(comeback) => self.goes_down(host, comeback, Going::Vanished).await?,
            Fault::Freeze => self.freezes(host, false),
            Fault::Pause => self.freezes(host, true),
            Fault::Refuse => {
                let rules = vec![Rule::Opening { port, how: PartitionHow::Reject }];
                self.filter_after_orders(index, rules).await?;
            }
            Fault::Blackhole => {
                let rules = vec![Rule::Opening { port, how: PartitionHow::Drop }];
                self.filter_after_orders(index, rules).await?;
            }
            Fault::Partition { with, direction, family, how } => {
                let rules = self.partition(host, with, (*direction, *family), *how);
                self.filter_after_orders(index, rules).await?;
            }
            Fault::LinkDown => self.ground.set_link(port, false)?,
            Fault::VethRecreate | Fault::Disconnect { .. } => self.ground.unplug(port),
            Fault::ConntrackFlush => self.ground.flush_flows()?,
            Fault::MoveAddress { ip, taken } => {
                let old = self.home_of(host);
                let ip = self.next_ip(host, *ip);
                self.ground.set_address(port, ip)?;
                self.settled_at(host, ip)?;
                self.take_address(host, old, *taken)?;
                self.ground.refresh_neighbours(port);
            }
            Fault::Dns { name, answer } => {
                let fault = self.name_fault(name, answer);
                self.names.entry(name.clone()).or_default().insert(index, fault);
                self.set_names();
            }
            Fault::SlowReader { .. } | Fault::Stuck => {
                self.order_players(host, Order::Inflict { event: index });
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
            | Fault::NoKeyframes
            | Fault::PublisherAway { .. } => {
                if let Runs::Origin(origin) = &mut self.hosts[host].runs {
                    origin.in_force.insert(index);
                }
                self.order_origin(host, Order::Inflict { event: index });
            }
            Fault::Cut { .. }
            | Fault::End { .. }
            | Fault::ReconnectRequest { .. }
            | Fault::TimestampJump { .. } => self.order_origin(host, Order::Inflict { event: index }),
            Fault::Loss { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Latency { .. }
            | Fault::Bandwidth { .. }
            | Fault::Mtu { .. } => self.order_fabric(Order::Inflict { event: index }).await,
            Fault::NoPorts => self.ground.set_ports(port, false)?,
            // Refused before the world began.
            Fault::WallClock { .. } | Fault::LateTimers { .. } => {}
        }
        Ok(())
    }

    /// A fault is over.
    pub(super) async fn relieve(&mut self, index: usize, event: &FaultEvent) -> Result<(), String> {
        let host = usize::from(event.on.0);
        let port = self.hosts[host].port;
        match &event.fault {
            Fault::Term(comeback) | Fault::Kill(comeback) => {
                self.comes_back(host, comeback, Going::Killed).await?;
            }
            Fault::Vanish(comeback) => self.comes_back(host, comeback, Going::Vanished).await?,
            Fault::Freeze | Fault::Pause => self.thaws(host),
            Fault::Refuse | Fault::Blackhole | Fault::Partition { .. } => {
                if self.rules.lift(index) {
                    self.ground.filter(&self.rules)?;
                }
            }
            Fault::LinkDown => self.ground.set_link(port, true)?,
            Fault::VethRecreate => {
                self.ground.plug(port)?;
                self.ground.refresh_neighbours(port);
                self.ground.filter(&self.rules)?;
            }
            Fault::Disconnect { .. } if self.timeline.is_disconnected(self.scenario, event.on) => {}
            Fault::Disconnect { ip } => {
                let ip = self.next_ip(host, *ip);
                self.ground.set_address(port, ip)?;
                self.ground.plug(port)?;
                self.settled_at(host, ip)?;
                self.ground.refresh_neighbours(port);
                self.ground.filter(&self.rules)?;
            }
            Fault::Dns { name, .. } => {
                if let Some(in_force) = self.names.get_mut(name) {
                    in_force.remove(&index);
                }
                self.set_names();
            }
            Fault::SlowReader { .. } | Fault::Stuck => {
                self.order_players(host, Order::Relieve { event: index });
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
            | Fault::NoKeyframes
            | Fault::End { .. }
            | Fault::PublisherAway { .. } => {
                if let Runs::Origin(origin) = &mut self.hosts[host].runs {
                    origin.in_force.remove(&index);
                    if let Fault::PublisherAway { .. } = &event.fault {
                        origin.content.push(index);
                    }
                }
                self.order_origin(host, Order::Relieve { event: index });
            }
            // What happened once, and for good, or is refused before a world begins.
            Fault::ConntrackFlush
            | Fault::Cut { .. }
            | Fault::MoveAddress { .. }
            | Fault::ReconnectRequest { .. }
            | Fault::TimestampJump { .. }
            | Fault::WallClock { .. }
            | Fault::LateTimers { .. } => {}
            Fault::NoPorts => self.ground.set_ports(port, true)?,
            Fault::Loss { .. }
            | Fault::Duplicate { .. }
            | Fault::Reorder { .. }
            | Fault::Latency { .. }
            | Fault::Bandwidth { .. }
            | Fault::Mtu { .. } => self.order_fabric(Order::Relieve { event: index }).await,
        }
        Ok(())
    }

    // ---- processes and containers ----

    async fn goes_down(&mut self, host: usize, comeback: &Comeback, how: Going) -> Result<(), String> {
        let port = self.hosts[host].port;
        // What is frozen does not even die.
        self.hosts[host].paused.clear();
        if how == Going::Vanished {
            // The cable first: no FIN and no RST of the dying processes may get out.
            self.ground.unplug(port);
        }
        let mut dying: Vec<PeerId> = Vec::new();
        match &mut self.hosts[host].runs {
            Runs::Origin(origin) => {
                origin.is_up = false;
                (origin.is_listening, origin.is_published) = (false, false);
                dying.extend(origin.process.take());
            }
            Runs::Proxy(proxy) => {
                proxy.is_up = false;
                proxy.streams.clear();
                dying.extend(proxy.repull.take());
                if how == Going::Vanished {
                    dying.extend(proxy.aide.take());
                }
            }
            Runs::Players(_) | Runs::Nothing => {}
        }
        let is_origin = matches!(self.hosts[host].runs, Runs::Origin(_));
        for process in dying {
            match (how, is_origin) {
                (Going::Politely, true) => self.peers.order(process, Order::ShutDown),
                (Going::Politely, false) => self.peers.signal(process, "TERM"),
                (Going::Killed | Going::Vanished, _) => self.peers.kill(process).await,
            }
        }
        self.look_at_serving(host);
        if how == Going::Vanished {
            self.ground.renew(port)?;
            self.ground.forget_flows(port);
            self.ground.refresh_neighbours(port);
        } else if comeback.ip != NextIp::Same {
            // A process that ends and comes back elsewhere takes its container along.
            let wait = if how == Going::Politely { LAST_WORDS } else { Duration::ZERO };
            self.heap.push(self.now() + wait, Wake::Unplug(host));
        }
        let old = self.home_of(host);
        self.take_address(host, old, comeback.taken)
    }

    /// The container of a host is gone.
    pub(super) fn unplug(&mut self, host: usize) {
        let port = self.hosts[host].port;
        self.ground.unplug(port);
        self.ground.forget_flows(port);
    }

    async fn comes_back(&mut self, host: usize, comeback: &Comeback, how: Going) -> Result<(), String> {
        if comeback.never {
            return Ok(());
        }
        let port = self.hosts[host].port;
        if how == Going::Vanished || comeback.ip != NextIp::Same {
            let ip = self.next_ip(host, comeback.ip);
            if how != Going::Vanished {
                if let Runs::Proxy(proxy) = &mut self.hosts[host].runs
                    && let Some(aide) = proxy.aide.take()
                {
                    self.peers.kill(aide).await;
                }
                self.ground.renew(port)?;
            }
            self.ground.set_address(port, ip)?;
            self.ground.plug(port)?;
            self.ground.filter(&self.rules)?;
            self.settled_at(host, ip)?;
            self.ground.refresh_neighbours(port);
        }
        match &self.hosts[host].runs {
            Runs::Origin(_) => self.start_origin(host, Some(comeback)),
            Runs::Proxy(proxy) => {
                if proxy.aide.is_none() {
                    self.start_aide(host)?;
                    self.set_names();
                }
                self.start_repull(host)
            }
            Runs::Players(_) | Runs::Nothing => Ok(()),
        }
    }

    /// A process of an origin begins; it listens after its boot time and has publishers after theirs.
    pub(super) fn start_origin(&mut self, host: usize, comeback: Option<&Comeback>) -> Result<(), String> {
        let is_there = matches!(&self.hosts[host].runs, Runs::Origin(origin) if origin.process.is_some());
        if !is_there {
            self.start_origin_process(host)?;
        }
        let Runs::Origin(origin) = &self.hosts[host].runs else { return Ok(()) };
        let boot = comeback.and_then(|comeback| comeback.boot).unwrap_or(origin.spec.boot);
        let first_frame =
            comeback.and_then(|comeback| comeback.first_frame).unwrap_or(origin.spec.first_frame);
        let now = self.now();
        let listen_at = (now + boot).as_nanos();
        let publish_at = (now + first_frame.max(boot) + BEHIND).as_nanos();
        self.boot(host, listen_at, Some(publish_at));
        Ok(())
    }

    pub(super) fn start_origin_process(&mut self, host: usize) -> Result<(), String> {
        let actor = self.hosts[host].actor.0;
        let of = self.hosts[host].of;
        let Runs::Origin(origin) = &mut self.hosts[host].runs else { return Ok(()) };
        let words: Vec<String> = match of {
            Some(of) if origin.is_real => vec!["nginx".to_owned(), of.0.to_string()],
            Some(of) => {
                vec!["origin".to_owned(), actor.to_string(), origin.life.to_string(), of.0.to_string()]
            }
            None => vec!["stranger".to_owned(), actor.to_string(), origin.spec.port.to_string()],
        };
        origin.life += 1;
        (origin.is_listening, origin.is_published) = (false, false);
        let id = self.start_host_process(host, &words)?;
        if let Runs::Origin(origin) = &mut self.hosts[host].runs {
            origin.process = Some(id);
        }
        Ok(())
    }

    /// Tells an origin's process when to listen and to publish, after what it has to know of earlier lives.
    pub(super) fn boot(&mut self, host: usize, listen_at: u64, publish_at: Option<u64>) {
        let Runs::Origin(origin) = &mut self.hosts[host].runs else { return };
        let Some(process) = origin.process else { return };
        origin.is_up = true;
        origin.listens_at = Instant::from_nanos(listen_at);
        for event in &origin.content {
            self.peers.order(process, Order::Content { event: *event });
        }
        for event in &origin.in_force {
            self.peers.order(process, Order::Inflict { event: *event });
        }
        self.peers.order(process, Order::Boot { listen_at, publish_at });
    }

    pub(super) fn order_origin(&mut self, host: usize, order: Order) {
        self.ordered_at = self.now();
        if let Runs::Origin(origin) = &self.hosts[host].runs
            && let Some(process) = origin.process.filter(|_| origin.is_up)
        {
            self.peers.order(process, order);
        }
    }

    pub(super) fn origin_listens(&mut self, host: usize, peer: PeerId, at: u64) {
        let actor = self.hosts[host].actor;
        let Runs::Origin(origin) = &mut self.hosts[host].runs else { return };
        if origin.process != Some(peer) {
            return;
        }
        origin.is_listening = true;
        let is_prompt = !origin.is_real && !self.ground.is_engine();
        if origin.listens_at > Instant::ZERO && is_prompt {
            // A process that was so late to begin had no processor to begin on.
            self.lag = self.lag.max(Instant::from_nanos(at).since(origin.listens_at));
        }
        self.books.note(Instant::from_nanos(at), actor, 0, What::Moment(Moment::Listening));
        if let Some(of) = self.hosts[host].of {
            self.happened(Happened::Listening(of));
        }
        self.look_at_serving(host);
    }

    pub(super) fn origin_publishes(&mut self, host: usize, peer: PeerId, _: u64, all: bool) {
        let Runs::Origin(origin) = &mut self.hosts[host].runs else { return };
        if origin.process == Some(peer) {
            origin.is_published = all;
            self.look_at_serving(host);
        }
    }

    /// Tells when an origin begins or ceases to serve.
    pub(super) fn look_at_serving(&mut self, host: usize) {
        let HostNow { actor, of, frozen, .. } = self.hosts[host];
        let Runs::Origin(origin) = &mut self.hosts[host].runs else { return };
        let serves = origin.is_up && frozen == 0 && origin.is_listening && origin.is_published;
        if std::mem::replace(&mut origin.is_serving, serves) == serves {
            return;
        }
        self.note(actor, What::Moment(if serves { Moment::Serving } else { Moment::Silent }));
        if let (true, Some(of)) = (serves, of) {
            self.happened(Happened::Serving(of));
        }
    }

    fn processes(&self, host: usize) -> Option<PeerId> {
        match &self.hosts[host].runs {
            Runs::Origin(origin) => origin.process,
            Runs::Proxy(proxy) => proxy.repull,
            Runs::Players(players) => players.process,
            Runs::Nothing => None,
        }
    }

    /// Stops what a host runs, by SIGSTOP or, as an engine does it, by the freezer of its control group.
    fn freezes(&mut self, host: usize, pauses: bool) {
        self.hosts[host].frozen += 1;
        self.hosts[host].has_frozen = true;
        if let Some(process) = self.processes(host) {
            let frozen = self.peers.pid(process).filter(|_| pauses);
            let frozen = frozen.and_then(|group| self.ground.freeze(self.hosts[host].port, group));
            if frozen.is_none() {
                self.peers.signal(process, "STOP");
            }
            self.hosts[host].paused.extend(frozen);
        }
        self.look_at_serving(host);
    }

    fn thaws(&mut self, host: usize) {
        let frozen = &mut self.hosts[host].frozen;
        *frozen = frozen.saturating_sub(1);
        let is_thawed = *frozen == 0;
        if is_thawed {
            self.hosts[host].paused.clear();
        }
        if is_thawed && let Some(process) = self.processes(host) {
            self.peers.signal(process, "CONT");
        }
        self.look_at_serving(host);
    }

    // ---- the network ----

    async fn filter_after_orders(&mut self, index: usize, rules: Vec<Rule>) -> Result<(), String> {
        self.let_orders_pass().await;
        self.filter(index, rules)
    }

    fn filter(&mut self, index: usize, rules: Vec<Rule>) -> Result<(), String> {
        self.rules.set(index, rules);
        self.ground.filter(&self.rules)
    }

    fn partition(
        &self,
        host: usize,
        with: &[HostRef],
        (direction, family): (Direction, Option<Family>),
        how: PartitionHow,
    ) -> Vec<Rule> {
        let port = self.hosts[host].port;
        if with.is_empty() {
            return vec![Rule::All { port, direction, family, how }];
        }
        let one = self.hosts[host].ips.clone();
        let others = with.iter().map(|other| self.hosts[usize::from(other.0)].ips.clone());
        others.map(|other| Rule::Between { one: one.clone(), other, direction, family, how }).collect()
    }

    pub(super) fn home_of(&self, host: usize) -> Ipv4Addr {
        self.hosts[host].ips.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    fn next_ip(&self, host: usize, next: NextIp) -> Ipv4Addr {
        match (next, self.hosts[host].of) {
            (NextIp::Ip(ip), _) => ip,
            (NextIp::New, Some(of)) => {
                self.free_address(usize::from(self.scenario.hosts[usize::from(of.0)].net), false)
            }
            (NextIp::Same | NextIp::New, _) => self.home_of(host),
        }
    }

    /// A host has another address: names follow it, a published port and players too.
    pub(super) fn settled_at(&mut self, host: usize, ip: Ipv4Addr) -> Result<(), String> {
        self.hosts[host].ips = vec![ip];
        self.taken.insert(ip, host);
        let actor = self.hosts[host].actor;
        self.note(actor, What::Address { ip });
        self.publish_port(host)?;
        self.set_names();
        if let Some(of) = self.hosts[host].of {
            self.tell_players(of, ip);
        }
        Ok(())
    }

    /// Somebody else gets an address.
    pub(super) fn take_address(
        &mut self,
        host: usize,
        ip: Ipv4Addr,
        taken: AddressTaken,
    ) -> Result<(), String> {
        if taken == AddressTaken::Nobody {
            return Ok(());
        }
        let Some(of) = self.hosts[host].of else { return Ok(()) };
        let spec = &self.scenario.hosts[usize::from(of.0)];
        let name = format!("{}-successor{}", spec.name, self.hosts.len());
        let port = self.ground.add_host(&name, usize::from(spec.net), vec![ip], false, self.stranger())?;
        let actor = ActorId(u16::try_from(self.cast.members.len()).unwrap_or(u16::MAX));
        self.cast.members.push(CastMember { name, host: u16::MAX });
        let stranger = self.hosts.len();
        self.taken.insert(ip, stranger);
        self.note(actor, What::Address { ip });
        let runs = match (taken, &spec.role) {
            (AddressTaken::OtherServer, Role::Origin(model)) => {
                Runs::Origin(Box::new(OriginNow::new(crate::scenario::model::OriginModel {
                    streams: Vec::new(),
                    ..(**model).clone()
                })))
            }
            (AddressTaken::OtherServer, Role::Proxy(_) | Role::Player(_))
            | (AddressTaken::Nobody | AddressTaken::Refusing | AddressTaken::Silent, _) => Runs::Nothing,
        };
        let paused = Vec::new();
        self.hosts.push(HostNow {
            actor,
            of: None,
            port,
            ips: vec![ip],
            frozen: 0,
            has_frozen: false,
            paused,
            runs,
        });
        if taken == AddressTaken::Silent {
            // For good, under a number that no event has.
            let event = usize::MAX - stranger;
            let (direction, how) = (Direction::To, PartitionHow::Drop);
            self.filter(event, vec![Rule::All { port, direction, family: None, how }])?;
        }
        // One in a container is started when its container is made.
        if let (Runs::Origin(_), false) = (&self.hosts[stranger].runs, self.ground.is_engine()) {
            self.start_origin_process(stranger)?;
            self.boot(stranger, 0, None);
        }
        self.ground.refresh_neighbours(port);
        Ok(())
    }

    // ---- names ----

    /// Returns every name, what is true about it, and how old an answer may become.
    fn truths(&self) -> BTreeMap<String, (Vec<IpAddr>, Duration)> {
        let addresses_of = |host: usize| {
            let net = usize::from(self.scenario.hosts[host].net);
            self.scenario.nets[net].addresses(self.home_of(host))
        };
        let mut truths = BTreeMap::new();
        for (index, host) in self.scenario.hosts.iter().enumerate() {
            truths.insert(host.name.clone(), (addresses_of(index).collect(), Duration::ZERO));
        }
        for name in &self.scenario.names {
            let mut addresses: Vec<IpAddr> =
                name.hosts.iter().flat_map(|host| addresses_of(usize::from(host.0))).collect();
            addresses.extend(&name.ips);
            truths.insert(name.name.clone(), (addresses, name.ttl));
        }
        truths
    }

    fn name_fault(&self, name: &str, answer: &DnsAnswer) -> NameFault {
        match answer {
            DnsAnswer::NxDomain => NameFault::Reply(NameReply::NotFound),
            DnsAnswer::ServFail => NameFault::Reply(NameReply::ServFail),
            DnsAnswer::Silent => NameFault::Reply(NameReply::Silent),
            DnsAnswer::Slow(time) => NameFault::Slow(*time),
            DnsAnswer::Stale => {
                let truth = self.truths().remove(name).map(|(addresses, _)| addresses);
                NameFault::Reply(truth.map_or(NameReply::NotFound, NameReply::Addresses))
            }
            DnsAnswer::Addresses(ips) => NameFault::Reply(NameReply::Addresses(ips.clone())),
        }
    }

    /// Tells every name server what is true, or as the last fault in force says.
    pub(super) fn set_names(&mut self) {
        let mut names = BTreeMap::new();
        let truths = self.truths();
        let known =
            truths.keys().chain(self.names.keys()).cloned().collect::<std::collections::BTreeSet<_>>();
        for name in known {
            let (addresses, ttl) = truths.get(&name).cloned().unwrap_or_default();
            let mut reply =
                if addresses.is_empty() { NameReply::NotFound } else { NameReply::Addresses(addresses) };
            let mut delay = 0;
            match self.names.get(&name).and_then(|in_force| in_force.values().next_back()) {
                Some(NameFault::Reply(fault)) => reply = fault.clone(),
                Some(NameFault::Slow(time)) => delay = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
                None => {}
            }
            let ttl = u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX);
            names.insert(name.to_lowercase(), NameAnswer { reply, delay, ttl });
        }
        for host in &self.hosts {
            if let Runs::Proxy(proxy) = &host.runs
                && let Some(aide) = proxy.aide
            {
                self.peers.order(aide, Order::Names { names: names.clone() });
            }
        }
    }
}
