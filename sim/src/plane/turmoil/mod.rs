//! Plane `turmoil`: the production driver, unchanged, on turmoil's hosts, time and network.
//!
//! ```text
//!   host "proxy"                              host "origin"                       host "operators"
//!   driver, HTTP API ── FabricEnv             (its model runs in the world)       HTTP requests
//!        │ read, write          ▲                                                      │
//!        ▼                      │ wakes                                                ▼ turmoil, past every fault
//!   ┌─ the world's network: kernels, wires, NAT, faults ─────────────┐           the proxy's HTTP port
//!   │  packets ──► wires of the sender's host ═══ turmoil ═══► wires │
//!   └────────────────────────────────────────────────────────────────┘
//! ```
//! turmoil alone would hand a write over as one read, refuse a dial into a partition at once, never retransmit, and move
//! no address. So connections are ends of the core plane's network, whose kernels, router and faults have their witnesses
//! in `tests`; turmoil runs the hosts, has the time, and carries every packet from one host to another over a stream of
//! its own. The driver sees what it sees in production: an [`Env`](proxyd::env::Env), `tokio` tasks and timers, an HTTP server.
//!
//! Guard rails: one seed, hosts in random order, ticks of 1 ms (a larger one erases jitter), never turmoil's `fail_rate` (it
//! breaks TCP), long lists of ports and messages (it panics or blocks at their ends), and few hosts: each costs 1.3 µs a tick.

mod env;
mod host;
mod shell;
mod watch;

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use proxy_core::time::Instant;

pub(crate) use self::shell::{CallOut, Fresh, Shell, Telling, Told};
use crate::{
    net::{HostId, Net, dns::Dns},
    scenario::model::{Role, Scenario},
};

/// Time between two steps.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// How late a driver may be here: `tokio`'s timers round up to a millisecond, and an operator's request, its answer and
/// each leg of both take ticks.
pub(crate) const GRAIN: Duration = Duration::from_millis(20);
/// Until every host has begun and every wire stands.
const WARM_UP: u64 = 10;
/// From then on until the world's zero: the proxies begin.
const START_UP: u64 = 3;
/// Hosts of a scenario that turmoil takes here: it looks at every pair of them for every host in every tick.
const HOSTS_MAX: usize = 10;
/// The host of turmoil that stands for the machine between the networks.
const MACHINE: usize = 0;
/// The longest run turmoil is told of; the world ends it sooner.
const RUN_MAX: Duration = Duration::from_secs(24 * 3600);

/// A simulation of turmoil's with its hosts.
pub(crate) struct Carrier {
    sim: turmoil::Sim<'static>,
    pub(crate) shell: Shell,
    /// The host of turmoil each namespace is on.
    places: Vec<usize>,
    /// The last host: whoever is given an address in the middle of a run.
    stranger: usize,
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carrier").field("elapsed", &self.sim.elapsed()).finish_non_exhaustive()
    }
}

fn host_name(host: usize) -> String {
    format!("host-{host}")
}

impl Carrier {
    /// Makes the hosts of a scenario and starts their wires.
    ///
    /// # Errors
    /// There are too many, or one does not begin.
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Result<Self, String> {
        if scenario.hosts.len() > HOSTS_MAX {
            return Err(format!(
                "turmoil takes {HOSTS_MAX} hosts here, and there are {}",
                scenario.hosts.len()
            ));
        }
        if !scenario.latest_timer().is_zero() {
            return Err("the timers of a driver are its runtime's, and never late".to_owned());
        }
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(SystemTime::UNIX_EPOCH)
            .simulation_duration(RUN_MAX)
            .tick_duration(TICK)
            .min_message_latency(TICK)
            .max_message_latency(TICK)
            .ephemeral_ports(1024..=65535)
            .tcp_capacity(65_536)
            .enable_random_order()
            .build();
        let proxies = scenario.hosts.iter().filter(|host| matches!(host.role, Role::Proxy(_))).count();
        let shell = Shell::new(proxies);
        let stranger = scenario.hosts.len() + 1;
        let hosts = stranger + 1;
        shell.lock().zero = (WARM_UP + START_UP) * nanos(TICK);
        let mut p = 0;
        for host in 0..hosts {
            let of_scenario = host.checked_sub(1).and_then(|index| scenario.hosts.get(index));
            let proxy = match of_scenario.map(|host| &host.role) {
                Some(Role::Proxy(_)) => {
                    p += 1;
                    Some(p - 1)
                }
                Some(Role::Origin(_) | Role::Player(_)) | None => None,
            };
            let shell = shell.clone();
            sim.client(host_name(host), async move {
                let wires = host::wires(shell.clone(), host, hosts);
                match proxy {
                    Some(p) => {
                        tokio::select! {
                            biased;
                            ended = wires => ended,
                            ended = host::proxy(shell, p) => ended,
                        }
                    }
                    None => wires.await,
                }
            });
        }
        sim.client("operators", host::operators(shell.clone()));
        let mut carrier = Self { sim, shell, places: vec![MACHINE], stranger };
        for _ in 0..WARM_UP {
            carrier.sim.step().map_err(|error| error.to_string())?;
        }
        if carrier.shell.lock().ready != hosts + 1 {
            return Err("not every host of turmoil has begun".to_owned());
        }
        Ok(carrier)
    }

    /// Puts a namespace on the host of turmoil that stands for a host of the scenario, or for a stranger.
    pub(crate) fn place(&mut self, namespace: HostId, of_scenario: Option<usize>) {
        let index = usize::from(namespace.0);
        if self.places.len() <= index {
            self.places.resize(index + 1, self.stranger);
        }
        self.places[index] = of_scenario.map_or(self.stranger, |host| host + 1);
    }

    /// Returns the host of turmoil a namespace is on.
    pub(crate) fn place_of(&self, namespace: HostId) -> usize {
        self.places.get(usize::from(namespace.0)).copied().unwrap_or(self.stranger)
    }

    /// How many steps come before the world's zero.
    pub(crate) const fn steps_before_zero() -> u64 {
        START_UP
    }

    /// Lets the hosts have the network and the names for a step that begins now.
    pub(crate) fn lend(&mut self, net: &mut Net, dns: &mut Dns, now: Instant) {
        let shared = &mut *self.shell.lock();
        shared.now = now;
        std::mem::swap(net, &mut shared.lent.0);
        std::mem::swap(dns, &mut shared.lent.1);
        shared.is_lent = true;
    }

    /// Takes them back.
    pub(crate) fn take_back(&mut self, net: &mut Net, dns: &mut Dns) {
        let shared = &mut *self.shell.lock();
        std::mem::swap(net, &mut shared.lent.0);
        std::mem::swap(dns, &mut shared.lent.1);
        shared.is_lent = false;
    }

    /// Lets every host run for a tick.
    ///
    /// # Errors
    /// A host has ended, which none does unless something is wrong.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        match self.sim.step() {
            Ok(false) => Ok(()),
            Ok(true) => Err("every host has ended".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Puts what the network wants carried on turmoil's wires.
    pub(crate) fn carry(&mut self, net: &mut Net) {
        while let Some((ticket, packet)) = net.poll_carried() {
            let (from, to) = (self.place_of(ticket.sender), self.place_of(ticket.to));
            self.shell.lock().carry(from, to, ticket, &packet);
        }
    }

    /// Hands the network what turmoil has carried.
    pub(crate) fn deliver(&mut self, net: &mut Net, now: Instant) {
        let arrived = {
            let shared = &mut *self.shell.lock();
            let arrived = std::mem::take(&mut shared.arrived);
            let ticket = |(number, packet)| Some((shared.tickets.remove(&number)?, packet));
            arrived.into_iter().filter_map(ticket).collect::<Vec<_>>()
        };
        for (ticket, packet) in arrived {
            net.arrived(ticket, packet, now);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
