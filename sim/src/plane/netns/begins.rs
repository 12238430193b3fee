//! How a world begins: who is there, where, and that all of them are before its clock runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use proxy_core::time::{Duration, Instant};
use proxyd::config::Settings;

use super::{
    super::container::{self, Contained, Engine},
    Cut, Options, TOLERANCE,
    books::Books,
    cables::cabled,
    filter::Rules,
    ground::Ground,
    kernel::Kernel,
    peers::{PeerId, Peers},
    wire::Order,
    world::{HostNow, OriginNow, PlayersNow, ProxyNow, Runs, SECRET, Signals, Wake, World},
};
use crate::{
    oracle::Oracles,
    origin::Like,
    real::Clock,
    scenario::{
        self,
        model::{HostRef, Plane, Role, Scenario},
    },
    trace::{ActorId, Cast, CastMember, Phase, What},
    world::{
        Keep,
        heap::Heap,
        moments::{Happened, Moments},
        timeline::Timeline,
    },
};

/// How long before a world's zero its processes begin: what is to happen at once finds them there.
const HEAD_START: Duration = Duration::from_millis(200);
/// The same where an engine runs them.
const ENGINES_HEAD_START: Duration = Duration::from_millis(500);
impl<'a> World<'a> {
    /// Makes everybody who is there, and nothing that runs.
    pub(super) fn build(
        scenario: &'a Scenario,
        seed: u64,
        keep: Keep,
        options: &'a Options,
        plane: Plane,
    ) -> Result<Self, String> {
        let peers = Peers::new();
        let (ground, tolerance) = if plane == Plane::Container {
            let engine = Engine::new(scenario, &options.repull, &options.us, peers.sender())?;
            (Ground::Engine(engine), container::TOLERANCE)
        } else {
            (Ground::Kernel(Kernel::new(scenario)?), TOLERANCE)
        };
        let file = ground.folder().join(format!("{}.toml", scenario.id));
        let written = std::fs::write(&file, scenario::print(scenario));
        written.map_err(|error| format!("{}: {error}", file.display()))?;
        let end = Instant::ZERO + scenario.run.time;
        let whens = scenario.events.iter().enumerate().map(|(index, event)| (index, index, &event.at));
        let mut world = Self {
            scenario,
            options,
            peers,
            ground,
            clock: Clock::start(),
            zero: 0,
            heap: Heap::new(),
            books: Books::new(Oracles::default(), keep.records),
            cast: Cast::default(),
            phase: Phase::Safety,
            line: 0,
            timeline: Timeline::new(scenario),
            repairing: true,
            moments: Moments::new(scenario, whens, end),
            hosts: Vec::new(),
            seats: Vec::new(),
            calls: BTreeMap::new(),
            rules: Rules::default(),
            taken: BTreeMap::new(),
            names: BTreeMap::new(),
            owners: BTreeMap::new(),
            machine: None,
            cabled: cabled(scenario),
            fabric: None,
            captures: Vec::new(),
            seed,
            lifting: 0,
            left: BTreeMap::new(),
            ordered_at: Instant::ZERO,
            called_at: None,
            file,
            unready: BTreeSet::new(),
            broken: None,
            lag: Duration::ZERO,
        };
        world.add_hosts()?;
        let oracles = Oracles::from_outside(scenario, &world.cast, keep.strictness, tolerance);
        world.books = Books::new(oracles, keep.records);
        Ok(world)
    }

    fn add_hosts(&mut self) -> Result<(), String> {
        let scenario = self.scenario;
        for (index, host) in scenario.hosts.iter().enumerate() {
            let count = match &host.role {
                Role::Player(model) => model.count.max(1),
                Role::Origin(_) | Role::Proxy(_) => 1,
            };
            let actor = ActorId(u16::try_from(self.cast.members.len()).unwrap_or(u16::MAX));
            let mut ips = Vec::new();
            for number in 0..count {
                let name =
                    if count == 1 { host.name.clone() } else { format!("{}{}", host.name, number + 1) };
                let ip = match host.ip {
                    Some(ip) => Ipv4Addr::from(u32::from(ip) + u32::from(number)),
                    None => self.free_address(usize::from(host.net), true),
                };
                self.taken.insert(ip, index);
                self.cast.members.push(CastMember { name, host: u16::try_from(index).unwrap_or(u16::MAX) });
                ips.push(ip);
            }
            let is_special = self.cabled.contains(&index);
            let contained = self.contained(index)?;
            let net = usize::from(host.net);
            let port = self.ground.add_host(&host.name, net, ips.clone(), is_special, contained)?;
            let runs = match &host.role {
                Role::Proxy(settings) => Runs::Proxy(Box::new(ProxyNow {
                    settings: (**settings).clone(),
                    place: self.hosts.iter().filter(|host| matches!(host.runs, Runs::Proxy(_))).count(),
                    lives: 0,
                    repull: None,
                    aide: None,
                    flows: None,
                    is_up: false,
                    zero: 0,
                    streams: BTreeMap::new(),
                })),
                Role::Origin(model) => Runs::Origin(Box::new(OriginNow {
                    is_real: self.options.real_peers && model.like == Like::NginxRtmp,
                    ..OriginNow::new((**model).clone())
                })),
                Role::Player(_) => Runs::Players(PlayersNow { process: None, seats: Vec::new() }),
            };
            let of = Some(HostRef(u16::try_from(index).unwrap_or(u16::MAX)));
            self.hosts.push(HostNow {
                actor,
                of,
                port,
                ips,
                frozen: 0,
                has_frozen: false,
                paused: Vec::new(),
                runs,
            });
        }
        Ok(())
    }

    /// Returns what a host's container is to hold, where hosts are containers.
    fn contained(&self, host: usize) -> Result<Contained, String> {
        let spec = &self.scenario.hosts[host];
        let mut contained = self.stranger();
        contained.publish = spec.publish.map(|publish| publish.port);
        let has = |of: &HostRef| usize::from(of.0) == host;
        let names = self.scenario.names.iter().filter(|name| name.hosts.iter().any(has));
        contained.names = names.map(|name| name.name.clone()).collect();
        if let (Role::Proxy(settings), true) = (&spec.role, self.ground.is_engine()) {
            contained.config = Some((self.write_config(&spec.name, settings)?, SECRET));
        }
        Ok(contained)
    }

    /// Returns what the container of a process of ours is to hold.
    pub(super) fn stranger(&self) -> Contained {
        Contained { scenario: self.file.clone(), ..Contained::default() }
    }

    /// Writes the configuration of a proxy.
    pub(super) fn write_config(&self, name: &str, settings: &Settings) -> Result<PathBuf, String> {
        let mut text = String::new();
        scenario::print_config("", settings, &mut text);
        let config = self.ground.folder().join(format!("{name}.toml"));
        std::fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
        Ok(config)
    }

    /// Returns an address of a network that nobody has or had.
    pub(super) fn free_address(&self, net: usize, is_building: bool) -> Ipv4Addr {
        let net = &self.scenario.nets[net];
        let wanted = |ip: Ipv4Addr| is_building && self.scenario.hosts.iter().any(|host| host.ip == Some(ip));
        (u32::from(net.subnet.0) + 2..)
            .map(Ipv4Addr::from)
            .find(|ip| *ip != net.gateway && !self.taken.contains_key(ip) && !wanted(*ip))
            .unwrap_or(net.subnet.0)
    }

    /// Starts every process and lets the world begin when all are there.
    pub(super) async fn prepare(&mut self, signals: &mut Signals) -> Result<(), Cut> {
        let begins = self.hosts.len();
        if self.ground.is_engine() {
            // What the engine's resolver does not know nobody knows.
            self.start_on_machine(&["aide".to_owned()])?;
            let are_there =
                |world: &Self| matches!(&world.ground, Ground::Engine(engine) if engine.is_there());
            self.wait_until(signals, "its containers are not there", are_there).await?;
            if let Some(engine) = self.ground.engine() {
                engine.pin_bridges()?;
            }
        }
        for host in 0..begins {
            match &self.hosts[host].runs {
                Runs::Origin(_) => self.start_origin_process(host)?,
                Runs::Players(_) => self.start_players(host)?,
                Runs::Proxy(_) => self.start_aide(host)?,
                Runs::Nothing => {}
            }
        }
        if self.scenario.hosts.iter().any(|host| host.publish.is_some()) && !self.ground.is_engine() {
            self.machine = Some(self.start_on_machine(&["machine".to_owned()])?);
        }
        if self.options.capture.is_some() {
            self.start_captures()?;
        }
        if !self.cabled.is_empty() {
            self.fabric = Some(self.start_on_machine(&["fabric".to_owned(), self.seed.to_string()])?);
        }
        self.wait_until(signals, "its processes are not there", |world| world.unready.is_empty()).await?;
        self.lay_cables(signals).await?;

        let head_start = if self.ground.is_engine() { ENGINES_HEAD_START } else { HEAD_START };
        let since_1970 = wall() + head_start;
        self.zero = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
        self.clock = Clock::since_1970(since_1970);
        self.note_at(Instant::ZERO, ActorId::WORLD, What::Phase(Phase::Safety));
        for host in 0..begins {
            let (actor, ips) = (self.hosts[host].actor, self.hosts[host].ips.clone());
            for (number, ip) in ips.into_iter().enumerate() {
                let actor = ActorId(actor.0 + u16::try_from(number).unwrap_or(u16::MAX));
                self.note_at(Instant::ZERO, actor, What::Address { ip });
            }
        }
        let everybody: Vec<PeerId> = self.owners.keys().copied().chain(self.machine).collect();
        for peer in everybody {
            self.peers.order(peer, Order::Begin { zero: self.zero });
        }
        self.set_names();
        for host in 0..begins {
            self.publish_port(host)?;
        }
        // Origins come first: what a proxy's configuration names it dials at once.
        for host in 0..begins {
            if let Runs::Origin(origin) = &self.hosts[host].runs
                && origin.spec.up
            {
                let publish_at = origin.spec.published.then_some(0);
                self.boot(host, 0, publish_at);
            }
        }
        let is_booted = |host: &HostNow| match &host.runs {
            Runs::Origin(origin) => {
                let is_there = origin.is_listening && (origin.is_published || !origin.spec.published);
                is_there || !origin.spec.up
            }
            Runs::Proxy(_) | Runs::Players(_) | Runs::Nothing => true,
        };
        self.wait_until(signals, "an origin does not listen", |world| {
            world.unready.is_empty() && world.hosts.iter().all(is_booted)
        })
        .await?;
        // What its configuration names a proxy dials at once: not before the clock runs.
        let dials_at_once = |host: &HostNow| match &host.runs {
            Runs::Proxy(proxy) => !proxy.settings.proxies.is_empty(),
            Runs::Origin(_) | Runs::Players(_) | Runs::Nothing => false,
        };
        if self.hosts.iter().any(dials_at_once) {
            self.wait_for_zero(signals).await?;
        }
        for host in 0..begins {
            if let Runs::Proxy(_) = &self.hosts[host].runs {
                self.start_repull(host)?;
            }
        }
        let is_up = |host: &HostNow| match &host.runs {
            Runs::Proxy(proxy) => proxy.is_up,
            Runs::Origin(_) | Runs::Players(_) | Runs::Nothing => true,
        };
        self.wait_until(signals, "the proxy does not listen", |world| world.hosts.iter().all(is_up)).await?;
        self.wait_for_zero(signals).await?;
        self.lag = Duration::ZERO;
        for (event, at) in self.moments.take_known() {
            self.heap.push(at, Wake::Event(event));
        }
        self.happened(Happened::Zero);
        Ok(())
    }

    /// Plugs in the hosts whose cables the kernel cannot make.
    async fn lay_cables(&mut self, signals: &mut Signals) -> Result<(), Cut> {
        let Some(fabric) = self.fabric else { return Ok(()) };
        for host in self.cabled.clone() {
            let port = self.hosts[host].port;
            self.unready.insert(fabric);
            self.peers.order(fabric, Order::Cable { port, host: u16::try_from(host).unwrap_or(u16::MAX) });
            self.wait_until(signals, "a cable is not there", |world| world.unready.is_empty()).await?;
            self.ground.plug(port)?;
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the zero that all processes of a world count from")]
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
