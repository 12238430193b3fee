//! The simulated world: the proxy, its origins and players on a network of our own, in virtual time.
//!
//! ```text
//!            ┌────────────────────────── heap: what is due, every tie decided ───────────────────────┐
//!            ▼                                                                                        │
//!  wake ─► timeline, faults ─► origins, players, operators ─► net ─► proxy: Input ─► core ─► Output ──┘
//!                                        │                                            │
//!                                        └───────────────── records ──────────────────┴─► Tracer ─► oracles
//! ```
//! A run has four phases: safety (the timeline, faults on), calm (every fault lifted for good, until what must be well
//! is well or its time is over), cleanup (everything deleted), end. Nothing here reads a clock, rolls other dice than
//! the run's, or iterates what has no order.
//!
//! On plane `core` the world carries the core itself. On plane `turmoil` a `Carrier` does, in ticks: the production driver
//! on hosts of turmoil, which also take packets from one host to another; `carried` is the room for what differs.

pub(crate) mod calls;
mod carried;
pub(crate) mod ear;
pub(crate) mod faults;
pub(crate) mod heap;
mod knowledge;
pub(crate) mod moments;
mod origin;
pub(crate) mod player;
mod proxy;
pub(crate) mod timeline;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use proxy_core::{
    io::ConnId,
    time::{Duration, Instant},
};

use self::{
    carried::Carried,
    faults::InForce,
    heap::Heap,
    moments::{Happened, Moments},
    origin::OriginHost,
    player::{PlayerGroup, Seat},
    proxy::ProxyHost,
    timeline::Timeline,
};
use crate::{
    guard::guarded,
    net::{BridgeId, HostId, ListenerId, MACHINE, Net, NetEvent, NetTimer, SockId, dns::Dns},
    oracle::{Finding, Oracles, Strictness},
    plane::turmoil::{Carrier, GRAIN},
    scenario::model::{HostRef, Network, Role, Scenario},
    trace::{ActorId, Cast, CastMember, Log, Namespace, Phase, Tracer, What},
};

/// How many timers lead to one promised thing: a ping is due, then its answer is.
const TIMERS_IN_A_ROW: u32 = 3;
/// Steps in one instant beyond which a run is taken for a busy loop. A thousand streams that lose one origin take
/// some ten thousand.
const STEPS_PER_INSTANT_MAX: u64 = 1_000_000;
/// How exactly the end of the calm phase is found where nothing happens any more.
const CALM_STEP: Duration = Duration::from_secs(1);
/// Packets and timers without a record beyond which a run is taken for one that never comes to rest.
const UNHEARD_MAX: u32 = 1_000_000;
/// The secret of every simulated proxy.
pub(crate) const SECRET: &str = "simulated";
/// The date at 0 s, since the Unix epoch: the day Adobe's RTMP 1.0 was published, 2012-12-21.
pub(crate) const STARTED_AT: Duration = Duration::from_secs(1_356_048_000);

/// What is due.
#[derive(Clone, Copy, Debug)]
enum Wake {
    /// Something of the network.
    Net(NetTimer),
    /// An event of the timeline, by index.
    Event(u16),
    /// A fault is to be lifted.
    Lift(u16),
    /// A proxy's deadline.
    Proxy(u16),
    /// The request of an HTTP connection of a proxy is not waited for any longer.
    HttpRequest(u16, ConnId),
    /// An origin's deadline.
    Origin(u16),
    /// An origin's process has booted, in this life.
    Booted(u16, u32),
    /// An origin's publishers are there, in this life.
    Published(u16, u32),
    /// The container of a process that has ended goes, of this host.
    ContainerEnds(u16),
    /// A seat's deadline.
    Seat(u32),
    /// A lookup is answered: the proxy, and the place of the answer.
    Resolved(u16, u64),
    /// A repair script looks again.
    Repair(u16),
}

/// Who a socket belongs to.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Proxy(u16),
    Origin(u16),
    Seat(u32),
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The hash over every record.
    pub hash: u64,
    /// Records in all.
    pub steps: u64,
    /// Virtual time it took.
    pub time: Duration,
    /// Broken promises, the first one first; empty: all were held.
    pub findings: Vec<Finding>,
    /// What the oracles measured.
    pub oracles: Oracles,
    /// Who took part.
    pub cast: Cast,
    /// Every record, if they were kept.
    pub log: Option<Log>,
    /// It was stopped at [`Keep::until`], before its end.
    pub is_cut: bool,
}

/// The promise that nothing panics.
pub const PANIC: &str = "panic";

impl Outcome {
    /// Nothing is left of a run whose world cannot be made, or looked at when it is over, but what was said, and where.
    fn panicked(told: String, keep: Keep) -> Self {
        let (step, at, actor) = (0, Instant::ZERO, ActorId::WORLD);
        Self {
            hash: 0,
            steps: 0,
            time: Duration::ZERO,
            findings: vec![Finding { promise: PANIC, step, at, actor, text: told, line: 0 }],
            oracles: Oracles::default(),
            cast: Cast::default(),
            log: keep.records.then(Log::default),
            is_cut: false,
        }
    }
}

/// What a run keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Every record.
    pub records: bool,
    /// Every packet, as records.
    pub packets: bool,
    /// Stops after this record.
    pub until: Option<u64>,
    /// Stops after the first thing that happens from here on.
    pub until_time: Option<Instant>,
    /// How strictly bounds are judged.
    pub strictness: Strictness,
    /// From here on the dice of another seed.
    pub reroll: Option<Reroll>,
}

/// Another seed's dice from a record on: the same beginning, and what else could have come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reroll {
    /// The record: all up to it, and what else its instant's wake brings, is as it was.
    pub after: u64,
    /// The seed from then on.
    pub seed: u64,
    /// Whose dice.
    pub whose: Whose,
}

/// Whose dice are rolled anew. They are split by purpose, so that the others go on as they would have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    All,
    /// The network's: latency, loss, sequence numbers.
    Network,
    /// The name service's: the order of addresses.
    Names,
    /// The proxies': jitter, the order in which streams dial.
    Proxies,
}

/// A world.
pub struct World<'a> {
    scenario: &'a Scenario,
    seed: u64,
    now: Instant,
    heap: Heap<(Wake, u64)>,
    net: Net,
    dns: Dns,
    tracer: Tracer,
    oracles: Oracles,
    cast: Cast,
    phase: Phase,
    /// The record that causes what happens at the moment.
    cause: u64,
    /// The line behind what happens at the moment.
    line: u32,
    timeline: Timeline,
    in_force: InForce,
    moments: Moments,
    bridges: Vec<BridgeId>,
    proxies: Vec<ProxyHost>,
    origins: Vec<OriginHost>,
    groups: Vec<PlayerGroup>,
    seats: Vec<Seat>,
    owners: BTreeMap<SockId, Owner>,
    listeners: BTreeMap<ListenerId, Owner>,
    /// The members of each host of the scenario.
    members: Vec<Members>,
    /// Addresses somebody has or had; a new one is none of them.
    addresses: BTreeMap<Ipv4Addr, HostId>,
    /// The address each host has, or had last.
    homes: BTreeMap<HostRef, Ipv4Addr>,
    /// What is true about each name, and how long an answer may be kept.
    truths: BTreeMap<String, (Vec<IpAddr>, Duration)>,
    /// Bytes on their way from a socket to a peer.
    buffer: Vec<u8>,
    keep: Keep,
    /// What carries proxies and packets, on plane `turmoil`.
    carrier: Option<Box<Carrier>>,
    carried: Carried,
}

/// Where a host of the scenario lives.
#[derive(Clone, Debug)]
struct Members {
    /// The first actor.
    actor: ActorId,
    /// A namespace each.
    namespaces: Vec<HostId>,
    /// What they run.
    run: Running,
}

/// What a host runs, an index into the world's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Running {
    Proxy(u16),
    Origin(u16),
    Players(u16),
}

impl<'a> World<'a> {
    /// Runs a scenario with a seed. A panic is a broken promise like another.
    pub fn run(scenario: &'a Scenario, seed: u64, keep: Keep) -> Outcome {
        let run = || Self::run_until(scenario, seed, keep).finish();
        guarded(run).unwrap_or_else(|told| Outcome::panicked(told, keep))
    }

    /// Runs a scenario with a seed, the production driver in the core's place, on turmoil.
    ///
    /// # Errors
    /// Why turmoil does not take it.
    pub fn run_carried(scenario: &'a Scenario, seed: u64, keep: Keep) -> Result<Outcome, String> {
        let carrier = Carrier::new(scenario, seed)?;
        let mut world = Self::new(scenario, seed, keep, Some(Box::new(carrier)));
        world.go();
        Ok(world.finish())
    }

    /// Runs a scenario up to [`Keep::until`] and returns the world as it stands.
    pub fn run_until(scenario: &'a Scenario, seed: u64, keep: Keep) -> Self {
        let mut world = Self::new(scenario, seed, keep, None);
        world.go();
        world
    }

    /// A panic is a broken promise like another, where it happened: the core's assertions are on in every build.
    fn go(&mut self) {
        let all = || {
            self.begin();
            self.safety();
            self.calm();
            self.cleanup();
        };
        if let Err(told) = guarded(all) {
            self.oracles.broken(PANIC, self.tracer.step(), self.now, told);
        }
    }

    fn new(scenario: &'a Scenario, seed: u64, keep: Keep, carrier: Option<Box<Carrier>>) -> Self {
        let end = Instant::ZERO + scenario.run.time;
        let timeline = Timeline::new(scenario);
        let whens = scenario.events.iter().enumerate().map(|(index, event)| (index, index, &event.at));
        let moments = Moments::new(scenario, whens, end);
        let mut world = Self {
            scenario,
            seed,
            now: Instant::ZERO,
            heap: Heap::new(),
            net: Net::new(seed),
            dns: Dns::new(seed),
            tracer: Tracer::new(keep.records.then(Log::default)),
            oracles: Oracles::default(),
            cast: Cast::default(),
            phase: Phase::Safety,
            cause: 0,
            line: 0,
            timeline,
            in_force: InForce::default(),
            moments,
            bridges: Vec::new(),
            proxies: Vec::new(),
            origins: Vec::new(),
            groups: Vec::new(),
            seats: Vec::new(),
            owners: BTreeMap::new(),
            listeners: BTreeMap::new(),
            members: Vec::new(),
            addresses: BTreeMap::new(),
            homes: BTreeMap::new(),
            truths: BTreeMap::new(),
            buffer: Vec::with_capacity(64 * 1024),
            keep,
            carrier,
            carried: Carried::default(),
        };
        world.build();
        world.let_carry();
        // What is waited for may hang on several timers, one after the other.
        let late = scenario.latest_timer() * TIMERS_IN_A_ROW;
        let is_carried = world.carrier.is_some();
        let grain = if is_carried { GRAIN } else { late };
        world.oracles = Oracles::strict(scenario, &world.cast, keep.strictness).with_grain(grain, is_carried);
        world
    }

    /// Makes the networks and their hosts.
    fn build(&mut self) {
        let scenario = self.scenario;
        if self.keep.packets {
            self.net.open_tap();
        }
        self.bridges = scenario.nets.iter().map(|net| faults::add_bridge(&mut self.net, net)).collect();
        let taken = |ip: Ipv4Addr| scenario.hosts.iter().any(|host| host.ip == Some(ip));
        for (index, host) in scenario.hosts.iter().enumerate() {
            let count = match &host.role {
                Role::Player(model) => model.count.max(1),
                Role::Origin(_) | Role::Proxy(_) => 1,
            };
            let net = &scenario.nets[usize::from(host.net)];
            let actor = ActorId(u16::try_from(self.cast.members.len()).unwrap_or(u16::MAX));
            let mut namespaces = Vec::new();
            for number in 0..count {
                let name =
                    if count == 1 { host.name.clone() } else { format!("{}{}", host.name, number + 1) };
                let ip = match host.ip {
                    Some(ip) => Ipv4Addr::from(u32::from(ip) + u32::from(number)),
                    None => self.free_address(net, &taken),
                };
                let namespace = self.net.add_host(&name, self.bridges[usize::from(host.net)], ip);
                self.place(namespace, Some(index));
                self.addresses.insert(ip, namespace);
                self.homes.entry(HostRef(index as u16)).or_insert(ip);
                self.cast.members.push(CastMember { name, host: u16::try_from(index).unwrap_or(u16::MAX) });
                namespaces.push(namespace);
            }
            let run = match &host.role {
                Role::Proxy(settings) => {
                    self.proxies.push(ProxyHost::new(actor, namespaces[0], settings));
                    Running::Proxy(index_of(&self.proxies))
                }
                Role::Origin(model) => {
                    self.origins.push(OriginHost::new(actor, namespaces[0], (**model).clone()));
                    Running::Origin(index_of(&self.origins))
                }
                Role::Player(model) => {
                    self.groups.push(PlayerGroup::new(model.clone()));
                    Running::Players(index_of(&self.groups))
                }
            };
            if let Some(publish) = host.publish {
                faults::publish(&mut self.net, namespaces[0], publish);
            }
            self.members.push(Members { actor, namespaces, run });
        }
        self.set_names();
    }

    /// Returns an address of a network that nobody has or had.
    fn free_address(&self, net: &Network, taken: &dyn Fn(Ipv4Addr) -> bool) -> Ipv4Addr {
        let first = u32::from(net.subnet.0) + 2;
        (first..)
            .map(Ipv4Addr::from)
            .find(|ip| *ip != net.gateway && !self.addresses.contains_key(ip) && !taken(*ip))
            .unwrap_or(net.subnet.0)
    }

    fn begin(&mut self) {
        self.note(ActorId::WORLD, What::Phase(Phase::Safety));
        for index in 0..self.members.len() {
            for (number, namespace) in self.members[index].namespaces.clone().into_iter().enumerate() {
                let actor = ActorId(self.members[index].actor.0 + number as u16);
                if let Some(ip) = self.net.address(namespace) {
                    self.note(actor, What::Address { ip });
                }
            }
        }
        for proxy in 0..self.proxies.len() {
            self.start_proxy(proxy);
        }
        self.start_up();
        for origin in 0..self.origins.len() {
            self.begin_origin(origin);
        }
        for (event, at) in self.moments.take_known() {
            self.heap.push(at, (Wake::Event(event as u16), 0));
        }
        self.happened(Happened::Zero);
        self.settle();
    }

    fn safety(&mut self) {
        let end = Instant::ZERO + self.scenario.run.time;
        self.run_to(end, |_| false);
        if !self.is_over() {
            self.now = self.now.max(end);
        }
    }

    /// Lifts every fault for good and waits for what must be well.
    fn calm(&mut self) {
        if self.is_over() {
            return;
        }
        self.phase = Phase::Calm;
        self.cause = 0;
        self.line = 0;
        self.happened(Happened::End);
        self.note(ActorId::WORLD, What::Phase(Phase::Calm));
        self.heal();
        self.settle();
        let until = self.now + self.oracles.calm_max();
        self.run_to(until, |world| world.oracles.is_well(world.now));
        if !self.is_over() {
            // Nothing happens any more by then: only what must last a while can still become well.
            while !self.oracles.is_well(self.now) && self.now < until {
                self.now = (self.now + CALM_STEP).min(until);
            }
            self.oracles.on_calm_over(self.now);
        }
    }

    /// Deletes everything and waits until nothing is left.
    fn cleanup(&mut self) {
        if self.is_over() {
            return;
        }
        self.phase = Phase::Cleanup;
        self.note(ActorId::WORLD, What::Phase(Phase::Cleanup));
        self.clean_up();
        self.settle();
        // Longer than any linger and any TIME_WAIT the net keeps.
        let until = self.now + Duration::from_secs(30);
        self.run_to(until, |world| world.is_clean());
        self.note(ActorId::WORLD, What::Phase(Phase::End));
        if !self.is_over() {
            let left = self.left_over();
            self.oracles.on_end(&left);
        }
    }

    fn finish(mut self) -> Outcome {
        self.cast.namespaces = self.namespaces();
        let (hash, steps) = (self.tracer.hash(), self.tracer.step());
        let is_cut = self.keep.until.is_some_and(|until| steps >= until);
        let mut oracles = self.oracles;
        let findings = oracles.take_findings();
        Outcome {
            hash,
            steps,
            time: self.now.since(Instant::ZERO),
            findings,
            oracles,
            cast: self.cast,
            log: self.tracer.into_log(),
            is_cut,
        }
    }

    /// Returns every network namespace there was, with the addresses it has had.
    fn namespaces(&self) -> Vec<Namespace> {
        let gateways = self.scenario.nets.iter().map(|net| (net.gateway, MACHINE));
        let owners: Vec<(Ipv4Addr, HostId)> =
            gateways.chain(self.addresses.iter().map(|(ip, host)| (*ip, *host))).collect();
        let namespaces = (0..self.net.hosts()).filter_map(|number| u16::try_from(number).ok()).map(HostId);
        let told = namespaces.map(|host| Namespace {
            name: self.net.host_name(host).to_owned(),
            addresses: owners.iter().filter(|(_, owner)| *owner == host).map(|(ip, _)| *ip).collect(),
        });
        told.collect()
    }

    /// A promise is broken, or the run is to stop here.
    fn is_over(&self) -> bool {
        self.oracles.has_findings()
            || self.keep.until.is_some_and(|step| self.tracer.step() >= step)
            || self.keep.until_time.is_some_and(|time| self.now >= time)
    }

    /// Does what is due up to a moment, or until a condition holds.
    fn run_to(&mut self, until: Instant, is_enough: impl Fn(&Self) -> bool) {
        if self.carrier.is_some() {
            // Hosts run for a tick, then what is due by then is done.
            loop {
                self.do_due(self.now, &is_enough);
                if self.is_over() || is_enough(self) || self.now >= until {
                    return;
                }
                self.tick();
            }
        }
        self.do_due(until, &is_enough);
    }

    fn do_due(&mut self, until: Instant, is_enough: &impl Fn(&Self) -> bool) {
        let mut began = (self.now, self.tracer.step());
        let mut unheard = (self.tracer.step(), 0_u32);
        while !self.is_over() && !is_enough(self) {
            let Some((at, (wake, cause))) = self.heap.pop_until(until) else { return };
            if at > began.0 {
                began = (at, self.tracer.step());
            }
            // On a clock of ticks things are done a little after their time.
            self.now = self.now.max(at);
            self.cause = cause;
            self.line = 0;
            if self.keep.reroll.is_some_and(|reroll| self.tracer.step() >= reroll.after) {
                self.roll_anew();
            }
            self.wake(wake);
            self.settle();
            unheard = if unheard.0 == self.tracer.step() {
                (unheard.0, unheard.1 + 1)
            } else {
                (self.tracer.step(), 0)
            };
            if unheard.1 > UNHEARD_MAX {
                let text =
                    format!("{UNHEARD_MAX} packets and timers, and nobody hears anything: they never end");
                self.oracles.broken("quiet", self.tracer.step(), at, text);
            }
            if self.tracer.step() - began.1 > STEPS_PER_INSTANT_MAX {
                self.oracles.broken(
                    "quiet",
                    self.tracer.step(),
                    at,
                    "time stands still: a busy loop".to_owned(),
                );
            }
        }
    }

    /// Rolls the dice of another seed from here on: the network's, the DNS's, the proxies'. Ranges of the scenario are
    /// values already.
    fn roll_anew(&mut self) {
        let Some(reroll) = self.keep.reroll.take() else { return };
        let is_for = |whose: Whose| reroll.whose == Whose::All || reroll.whose == whose;
        if is_for(Whose::Network) {
            self.net.roll_anew(reroll.seed);
        }
        if is_for(Whose::Names) {
            self.dns.roll_anew(reroll.seed);
        }
        if is_for(Whose::Proxies) {
            self.seed = reroll.seed;
            self.proxies_roll_anew();
        }
    }

    fn wake(&mut self, wake: Wake) {
        match wake {
            Wake::Net(timer) => self.net.on_timer(timer, self.now),
            Wake::Event(event) => self.event(usize::from(event)),
            Wake::Lift(event) => self.lift(usize::from(event)),
            Wake::Proxy(proxy) => self.proxy_due(usize::from(proxy)),
            Wake::HttpRequest(proxy, conn) => self.http_request_due(usize::from(proxy), conn),
            Wake::Origin(origin) => self.origin_due(usize::from(origin)),
            Wake::Booted(origin, life) => self.origin_booted(usize::from(origin), life),
            Wake::Published(origin, life) => self.origin_published(usize::from(origin), life),
            Wake::ContainerEnds(host) => self.container_due(HostRef(host)),
            Wake::Seat(seat) => self.seat_due(seat as usize),
            Wake::Resolved(proxy, answer) => self.proxy_resolved(usize::from(proxy), answer),
            Wake::Repair(event) => self.repair(usize::from(event)),
        }
    }

    /// Carries what one wake caused until nothing moves at this instant.
    fn settle(&mut self) {
        loop {
            while let Some((at, timer)) = self.net.poll_schedule(self.now) {
                self.heap.push(at, (Wake::Net(timer), self.cause));
            }
            if self.keep.packets {
                self.note_packets();
            }
            let Some(event) = self.net.poll_event() else { break };
            self.net_event(event);
        }
        if let Some(carrier) = &mut self.carrier {
            carrier.carry(&mut self.net);
        }
    }

    fn net_event(&mut self, event: NetEvent) {
        let owner = match event {
            NetEvent::Accepted { listener, sock, .. } => {
                let Some(owner) = self.listeners.get(&listener).copied() else {
                    self.net.abort(sock);
                    return;
                };
                self.owners.insert(sock, owner);
                owner
            }
            NetEvent::Connected { sock, .. }
            | NetEvent::DialFailed { sock, .. }
            | NetEvent::Readable { sock }
            | NetEvent::Writable { sock }
            | NetEvent::Eof { sock }
            | NetEvent::Reset { sock } => {
                let Some(owner) = self.owners.get(&sock).copied() else { return };
                owner
            }
        };
        match owner {
            Owner::Proxy(proxy) => self.proxy_net(usize::from(proxy), event),
            Owner::Origin(origin) => self.origin_net(usize::from(origin), event),
            Owner::Seat(seat) => self.seat_net(seat as usize, event),
        }
    }

    /// Makes a record and feeds the oracles. Returns its number.
    fn note(&mut self, actor: ActorId, what: What) -> u64 {
        let record = self.tracer.record(self.now, actor, self.cause, self.line, what);
        self.oracles.on_record(&record);
        record.step
    }

    /// Tells those that wait for moments.
    fn happened(&mut self, happened: Happened) {
        for (event, at) in self.moments.on(happened, self.now) {
            self.heap.push(at, (Wake::Event(event as u16), self.cause));
        }
    }

    fn note_packets(&mut self) {
        while let Some(packet) = self.net.poll_tap() {
            let packet = faults::packet_record(&packet);
            // Kept, not judged: no promise is about single packets.
            self.tracer.keep(self.now, self.cause, self.line, packet);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "scenarios have fewer hosts than that")]
fn index_of<T>(list: &[T]) -> u16 {
    (list.len() - 1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Record, What};

    const STORY: &str = include_str!("../../../scenarios/field/3810-srs-restart.toml");

    #[test]
    fn packets_kept_change_neither_numbers_nor_hash() {
        let scenario = crate::scenario::read(STORY, "3810-srs-restart.toml").expect("a scenario");
        let run = |packets| World::run(&scenario, 1, Keep { records: true, packets, ..Keep::default() });
        let (plain, full) = (run(false), run(true));
        assert_eq!((plain.steps, plain.hash), (full.steps, full.hash));
        let is_packet = |record: &Record| matches!(record.what, What::Packet(_));
        let records =
            |outcome: &Outcome| outcome.log.iter().flat_map(|log| log.records()).collect::<Vec<_>>();
        let (packets, rest): (Vec<_>, Vec<_>) = records(&full).into_iter().partition(is_packet);
        assert!(packets.len() > 100, "{} packets", packets.len());
        assert_eq!(rest, records(&plain));
    }
}
