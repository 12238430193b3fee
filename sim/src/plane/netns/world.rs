//! A world of namespaces: who is there, what is due, and what is heard of whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use proxy_core::{
    time::{Duration, Instant},
    url::StreamKey,
};
use proxyd::config::Settings;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    super::Unrunnable,
    Cut, Options, TOLERANCE,
    books::{Books, HOLD},
    faults::NameFault,
    filter::Rules,
    freezer::Frozen,
    ground::Ground,
    peers::{PeerId, Peers},
    play::{CallThen, SeatNow},
    wire::Order,
};
use crate::{
    oracle::{LeftOver, Oracles},
    real::Clock,
    scenario::model::{Act, HostRef, OriginModel, Plane, Scenario},
    trace::{ActorId, Cast, Namespace, Phase, What},
    world::{
        Keep, Outcome,
        heap::Heap,
        moments::{Happened, Moments},
        timeline::{REPAIR_EVERY, Timeline},
    },
};

/// The secret of every proxy under test.
pub(super) const SECRET: &str = "netns";
/// How long an order takes to be carried out, and its packets to be on their way.
const ORDERS_PASS: Duration = Duration::from_millis(5);
/// How long processes may take to be there.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often records are judged.
const TICK: Duration = Duration::from_millis(20);
/// How late this world may look at what is due before a broken promise is no verdict: as late as things may come.
const LAG_MAX: Duration = TOLERANCE;
/// How long everything may take to be gone at the end.
const CLEAN_WITHIN: Duration = Duration::from_secs(10);

/// Publishers begin so long after the moment at which they are to begin: what the timeline does at a whole second is
/// done by then, and finds the frames of that second still to come, as where everything takes no time.
pub(super) const BEHIND: Duration = Duration::from_millis(40);

/// What is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wake {
    /// An event of the timeline.
    Event(usize),
    /// A fault is to be lifted.
    Lift(usize),
    /// A repair script looks again.
    Repair(usize),
    /// The container of a host that was told to end is taken away.
    Unplug(usize),
}

/// A world.
pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) options: &'a Options,
    pub(super) peers: Peers,
    pub(super) ground: Ground,
    pub(super) clock: Clock,
    pub(super) zero: u64,
    pub(super) heap: Heap<Wake>,
    pub(super) books: Books,
    pub(super) cast: Cast,
    pub(super) phase: Phase,
    /// The line behind what happens at the moment.
    pub(super) line: u32,
    pub(super) timeline: Timeline,
    pub(super) repairing: bool,
    pub(super) moments: Moments,
    /// Hosts of the scenario, and whoever takes over an address.
    pub(super) hosts: Vec<HostNow>,
    pub(super) seats: Vec<SeatNow>,
    pub(super) calls: BTreeMap<u32, CallThen>,
    pub(super) rules: Rules,
    pub(super) taken: BTreeMap<Ipv4Addr, usize>,
    pub(super) names: BTreeMap<String, BTreeMap<usize, NameFault>>,
    /// Everybody who tells, and who that is.
    pub(super) owners: BTreeMap<PeerId, usize>,
    pub(super) machine: Option<PeerId>,
    /// Hosts whose cables the kernel cannot make, and who makes them.
    pub(super) cabled: BTreeSet<usize>,
    pub(super) fabric: Option<PeerId>,
    pub(super) captures: Vec<(PeerId, PathBuf)>,
    pub(super) seed: u64,
    /// Faults that an engine is about to lift.
    pub(super) lifting: usize,
    /// Addresses that faults, by event, have somebody else take once an engine has let go of them.
    pub(super) left: BTreeMap<usize, Ipv4Addr>,
    /// When an origin was last told to do something.
    pub(super) ordered_at: Instant,
    /// When an operator last called, each call on a connection of its own.
    pub(super) called_at: Option<Instant>,
    pub(super) file: PathBuf,
    /// Processes that are not ready yet.
    pub(super) unready: BTreeSet<PeerId>,
    /// Why nothing can be judged.
    pub(super) broken: Option<String>,
    pub(super) lag: Duration,
}

/// A host.
#[derive(Debug)]
pub(super) struct HostNow {
    pub(super) actor: ActorId,
    /// The host of the scenario; none for a stranger.
    pub(super) of: Option<HostRef>,
    /// Its place in the kernel's world.
    pub(super) port: usize,
    pub(super) ips: Vec<Ipv4Addr>,
    pub(super) frozen: u32,
    /// It was, once: that it did not run is no news of the machine.
    pub(super) has_frozen: bool,
    /// By the freezer.
    pub(super) paused: Vec<Frozen>,
    pub(super) runs: Runs,
}

/// What a host runs.
#[derive(Debug)]
pub(super) enum Runs {
    Proxy(Box<ProxyNow>),
    Origin(Box<OriginNow>),
    Players(PlayersNow),
    Nothing,
}

/// A proxy under test.
#[derive(Debug)]
pub(super) struct ProxyNow {
    pub(super) settings: Settings,
    /// Its place among the proxies.
    pub(super) place: usize,
    /// Processes begun.
    pub(super) lives: u64,
    pub(super) repull: Option<PeerId>,
    pub(super) aide: Option<PeerId>,
    /// What its kernel tells of flows.
    pub(super) flows: Option<PeerId>,
    pub(super) is_up: bool,
    /// The zero of its own clock, of this life, in nanoseconds after the world's.
    pub(super) zero: i64,
    pub(super) streams: BTreeMap<u64, StreamKey>,
}

/// An origin.
#[derive(Debug)]
pub(super) struct OriginNow {
    pub(super) spec: OriginModel,
    /// It is the software itself, no model.
    pub(super) is_real: bool,
    pub(super) process: Option<PeerId>,
    pub(super) is_up: bool,
    pub(super) is_listening: bool,
    pub(super) is_published: bool,
    pub(super) is_serving: bool,
    /// When it is to listen.
    pub(super) listens_at: Instant,
    pub(super) life: u32,
    /// Faults of its model in force.
    pub(super) in_force: BTreeSet<usize>,
    /// Events that said what publishers send.
    pub(super) content: Vec<usize>,
}

/// The players of a host.
#[derive(Debug)]
pub(super) struct PlayersNow {
    pub(super) process: Option<PeerId>,
    pub(super) seats: Vec<u32>,
}

impl<'a> World<'a> {
    /// Runs a scenario.
    pub(super) async fn run(
        scenario: &'a Scenario,
        seed: u64,
        keep: Keep,
        options: &'a Options,
        plane: Plane,
    ) -> Result<Outcome, Unrunnable> {
        let missing = |what| Unrunnable::Missing(plane, what);
        super::faults::check(plane, scenario, options.real_peers).map_err(missing)?;
        // Before anything is there that would have to be removed.
        let mut signals = Signals::new().map_err(missing)?;
        let mut world = Self::build(scenario, seed, keep, options, plane).map_err(missing)?;
        let ran = world.live(&mut signals).await;
        for host in &mut world.hosts {
            // What is frozen does not even die.
            host.paused.clear();
        }
        world.peers.kill_all().await;
        if let (Err(_), Some(folder)) | (Ok(()), Some(folder)) = (&ran, &options.keep_in) {
            world.keep_files(folder);
        }
        ran.map_err(|cut| match cut {
            Cut::Signal(name) => Unrunnable::Interrupted(name.to_owned()),
            Cut::Failed(what) => missing(what),
        })?;
        let outcome = world.outcome();
        if let Some(folder) = &options.capture {
            world.write_capture(folder, &outcome).map_err(missing)?;
        }
        Ok(outcome)
    }

    /// Starts everything, lives through the scenario, and ends everything.
    async fn live(&mut self, signals: &mut Signals) -> Result<(), Cut> {
        self.prepare(signals).await?;
        self.safety(signals).await?;
        self.calm(signals).await?;
        self.cleanup(signals).await?;
        for capture in 0..self.captures.len() {
            self.peers.end(self.captures[capture].0).await;
        }
        match self.broken.take() {
            Some(why) => Err(why.into()),
            None => Ok(()),
        }
    }

    pub(super) async fn order_fabric(&self, order: Order) {
        self.let_orders_pass().await;
        if let Some(fabric) = self.fabric {
            self.peers.order(fabric, order);
        }
    }

    /// Lets what an origin was told to do at this moment be done before something happens to the network.
    pub(super) async fn let_orders_pass(&self) {
        if self.now().since(self.ordered_at) < ORDERS_PASS {
            tokio::time::sleep(ORDERS_PASS).await;
        }
    }

    /// Lets what an operator has called at this moment come in before it calls again.
    async fn let_calls_pass(&self) {
        if self.called_at.is_some_and(|at| self.now().since(at) < ORDERS_PASS) {
            tokio::time::sleep(ORDERS_PASS).await;
        }
    }

    async fn safety(&mut self, signals: &mut Signals) -> Result<(), Cut> {
        let end = Instant::ZERO + self.scenario.run.time;
        self.run_to(signals, end, |_| false).await
    }

    /// Lifts every fault for good and waits for what must be well.
    async fn calm(&mut self, signals: &mut Signals) -> Result<(), Cut> {
        if self.is_over() {
            return Ok(());
        }
        self.phase = Phase::Calm;
        self.line = 0;
        self.happened(Happened::End);
        self.note(ActorId::WORLD, What::Phase(Phase::Calm));
        let in_force: Vec<u16> = self.timeline.in_force.iter().copied().collect();
        for event in in_force {
            self.lift(usize::from(event)).await?;
        }
        let until = self.now() + self.books.oracles.calm_max();
        // What was lifted must have been judged before anything is well.
        let soonest = self.now() + HOLD + TICK;
        self.run_to(signals, until, |world| {
            world.lifting == 0 && world.now() > soonest && world.books.oracles.is_well(world.settled())
        })
        .await?;
        if !self.is_over() {
            let now = self.settled();
            self.books.oracles.on_calm_over(now);
        }
        Ok(())
    }

    /// Deletes everything and waits until nothing is left.
    async fn cleanup(&mut self, signals: &mut Signals) -> Result<(), Cut> {
        if self.is_over() {
            return Ok(());
        }
        self.phase = Phase::Cleanup;
        self.note(ActorId::WORLD, What::Phase(Phase::Cleanup));
        self.repairing = false;
        self.everybody_leaves();
        self.delete_streams();
        let until = self.now() + CLEAN_WITHIN;
        let soonest = self.now() + HOLD + HOLD;
        self.run_to(signals, until, |world| world.now() > soonest && world.left_over().things.is_empty())
            .await?;
        self.note(ActorId::WORLD, What::Phase(Phase::End));
        self.books.settle(self.now());
        if !self.is_over() {
            let left = self.left_over();
            self.books.oracles.on_end(&left);
        }
        Ok(())
    }

    fn outcome(&mut self) -> Outcome {
        let time = self.now().since(Instant::ZERO);
        self.cast.namespaces = self.namespaces();
        let books = std::mem::replace(&mut self.books, Books::new(Oracles::default(), false));
        let (hash, steps) = (books.tracer.hash(), books.tracer.step());
        let slowest = self.lag.max(books.late);
        let mut oracles = books.oracles;
        let findings = oracles.take_findings();
        // What a machine too slow to look makes of a promise is not the proxy's.
        let is_cut = !findings.is_empty() && slowest > LAG_MAX;
        let findings = if is_cut { Vec::new() } else { findings };
        Outcome {
            hash,
            steps,
            time,
            findings,
            oracles,
            cast: std::mem::take(&mut self.cast),
            log: books.tracer.into_log(),
            is_cut,
        }
    }

    fn namespaces(&self) -> Vec<Namespace> {
        let named = |host: &HostNow| Namespace {
            name: self.cast.name(host.actor).to_owned(),
            addresses: host.ips.clone(),
        };
        self.hosts.iter().map(named).collect()
    }

    /// Returns what is left when everything was deleted: nothing of it should be.
    fn left_over(&self) -> LeftOver {
        let mut things = Vec::new();
        for host in &self.hosts {
            let Runs::Proxy(proxy) = &host.runs else { continue };
            if !proxy.is_up {
                continue;
            }
            let name = self.cast.name(host.actor);
            let sockets = proxy.repull.and_then(|id| self.peers.pid(id)).map_or(0, connections_of);
            let streams = proxy.streams.len() as u64;
            let left = [(format!("streams of {name}"), streams), (format!("connections of {name}"), sockets)];
            things.extend(left.into_iter().filter(|(_, count)| *count > 0));
        }
        LeftOver { things }
    }

    // ---- time ----

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Everything before this moment is judged.
    fn settled(&self) -> Instant {
        Instant::from_nanos(self.now().as_nanos().saturating_sub(HOLD.as_nanos() as u64))
    }

    /// A promise is broken, or nothing can be judged.
    fn is_over(&self) -> bool {
        self.broken.is_some() || self.books.oracles.has_findings()
    }

    /// Does what is due and hears what is told, up to a moment, or until a condition holds.
    async fn run_to(
        &mut self,
        signals: &mut Signals,
        until: Instant,
        is_enough: impl Fn(&Self) -> bool,
    ) -> Result<(), Cut> {
        let mut look_at = self.now();
        loop {
            while let Some((at, wake)) = self.heap.pop_until(self.now()) {
                self.line = 0;
                self.wake(wake, at).await?;
            }
            if self.now() >= look_at {
                self.lag = self.lag.max(self.now().since(look_at).saturating_sub(TICK));
                self.books.settle(self.settled());
                look_at = self.now() + TICK;
            }
            if self.is_over() || is_enough(self) || self.now() >= until {
                return Ok(());
            }
            let due = self.heap.peek().map_or(look_at, |at| at.min(look_at)).min(until);
            self.listen_until(signals, due).await?;
        }
    }

    /// Hears what is told up to a moment; what has piled up is taken at once.
    async fn listen_until(&mut self, signals: &mut Signals, due: Instant) -> Result<(), Cut> {
        tokio::select! {
            biased;
            name = signals.next() => return Err(Cut::Signal(name)),
            heard = self.peers.heard.recv() => if let Some((peer, heard)) = heard {
                self.hear(peer, heard).await?;
            },
            () = tokio::time::sleep_until(self.clock.at(due)) => {}
        }
        while let Ok((peer, heard)) = self.peers.heard.try_recv() {
            self.hear(peer, heard).await?;
        }
        Ok(())
    }

    /// Waits for something of the beginning.
    pub(super) async fn wait_until(
        &mut self,
        signals: &mut Signals,
        or_else: &str,
        is_enough: impl Fn(&Self) -> bool,
    ) -> Result<(), Cut> {
        let until = self.now() + READY_WITHIN;
        while !is_enough(self) {
            if self.broken.is_some() || self.now() >= until {
                let why =
                    self.broken.take().unwrap_or_else(|| format!("after {READY_WITHIN:?} still {or_else}"));
                return Err(why.into());
            }
            let next = (self.now() + TICK).min(until);
            self.listen_until(signals, next).await?;
        }
        Ok(())
    }

    /// Hears what is told until the clock begins to run.
    pub(super) async fn wait_for_zero(&mut self, signals: &mut Signals) -> Result<(), Cut> {
        while !self.clock.until_zero().is_zero() {
            self.listen_until(signals, Instant::from_nanos(1)).await?;
        }
        Ok(())
    }

    async fn wake(&mut self, wake: Wake, at: Instant) -> Result<(), String> {
        match wake {
            Wake::Event(event) => self.event(event, at).await?,
            Wake::Lift(event) => self.lift(event).await?,
            Wake::Repair(event) => self.repair(event),
            Wake::Unplug(host) => self.unplug(host),
        }
        Ok(())
    }

    /// Makes a record of what happens at this moment.
    pub(super) fn note(&mut self, actor: ActorId, what: What) {
        self.note_at(self.now(), actor, what);
    }

    pub(super) fn note_at(&mut self, at: Instant, actor: ActorId, what: What) {
        self.books.note(at, actor, self.line, what);
    }

    /// Tells those that wait for moments.
    pub(super) fn happened(&mut self, happened: Happened) {
        for (event, at) in self.moments.on(happened, self.now()) {
            self.heap.push(at, Wake::Event(event));
        }
    }

    // ---- the timeline ----

    /// An event begins that was due at a moment: what is counted from it is counted from there.
    async fn event(&mut self, index: usize, due: Instant) -> Result<(), String> {
        if self.phase != Phase::Safety {
            return Ok(());
        }
        let event = &self.scenario.events[index];
        self.line = event.line;
        let number = u16::try_from(index).unwrap_or(u16::MAX);
        self.note(ActorId::WORLD, What::Began { event: number });
        self.happened(Happened::Began(index));
        if let Some(every) = event.every
            && !matches!(event.act, Act::Repair { .. })
        {
            self.heap.push(due + every, Wake::Event(index));
        }
        match &event.act {
            Act::Call(call) => {
                self.let_calls_pass().await;
                self.operate(index, call);
                self.called_at = Some(self.now());
            }
            Act::Repair { .. } => self.repair(index),
            Act::Play { players, at, stream, via } => self.players_join(*players, *at, stream, via),
            Act::Leave { players, by } => self.players_leave(*players, *by).await?,
            Act::Publish { origin, .. } => {
                let host = usize::from(origin.0);
                if let Runs::Origin(origin) = &mut self.hosts[host].runs {
                    origin.content.push(index);
                }
                self.order_origin(host, Order::Publish { event: index });
            }
            Act::Start { origin } => {
                let host = usize::from(origin.0);
                if let Runs::Origin(origin) = &self.hosts[host].runs
                    && !origin.is_up
                {
                    self.start_origin(host, None)?;
                }
            }
            Act::Fault(fault) => {
                self.timeline.in_force.insert(number);
                if let Some(time) = fault.time {
                    self.heap.push(due + time, Wake::Lift(index));
                }
                self.inflict(index, fault).await?;
            }
        }
        Ok(())
    }

    async fn lift(&mut self, index: usize) -> Result<(), String> {
        if !self.timeline.in_force.remove(&u16::try_from(index).unwrap_or(u16::MAX)) {
            return Ok(());
        }
        let event = &self.scenario.events[index];
        let Act::Fault(fault) = &event.act else { return Ok(()) };
        self.line = event.line;
        if self.engine_relieves(index, fault) {
            return Ok(());
        }
        self.note(ActorId::WORLD, What::Lifted { event: u16::try_from(index).unwrap_or(u16::MAX) });
        self.relieve(index, fault).await?;
        self.happened(Happened::Cleared(index));
        Ok(())
    }

    fn repair(&mut self, index: usize) {
        let event = &self.scenario.events[index];
        let Act::Repair { proxy, pull, closes } = event.act else { return };
        if !self.repairing {
            return;
        }
        self.line = event.line;
        self.heap.push(self.now() + event.every.unwrap_or(REPAIR_EVERY), Wake::Repair(index));
        self.repair_once(proxy, pull, closes);
    }

    /// Leaves logs and configurations behind for people.
    fn keep_files(&self, folder: &Path) {
        let to = folder.join(&self.scenario.id);
        let Ok(entries) = std::fs::read_dir(self.ground.folder()) else { return };
        // Where nothing can be kept, nothing is: the verdict counts.
        let _ = std::fs::create_dir_all(&to);
        for entry in entries.flatten() {
            let _ = std::fs::copy(entry.path(), to.join(entry.file_name()));
        }
    }
}

impl OriginNow {
    pub(super) fn new(spec: OriginModel) -> Self {
        Self {
            spec,
            is_real: false,
            process: None,
            is_up: false,
            is_listening: false,
            is_published: false,
            is_serving: false,
            listens_at: Instant::ZERO,
            life: 0,
            in_force: BTreeSet::new(),
            content: Vec::new(),
        }
    }
}

/// What ends a world early.
pub(super) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("no signals: {error}"));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Counts a process's connections to others that are open, or closed by them alone.
fn connections_of(pid: u32) -> u64 {
    let mut count = 0;
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_open = matches!(words.get(3), Some(&"01" | &"08"));
            // 127.0.0.1, also as an IPv4 address of IPv6: calls of the API.
            let is_near = words.get(2).is_some_and(|to| {
                to.starts_with("0100007F") || to.starts_with("0000000000000000FFFF00000100007F")
            });
            count += u64::from(is_open && !is_near);
        }
    }
    count
}
