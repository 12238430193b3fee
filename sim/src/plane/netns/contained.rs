//! What happens to the containers of a world that stands on an engine. An engine takes its time: what follows a deed
//! follows when it says that it is done.

use std::net::Ipv4Addr;

use super::{
    super::container::{Engine, Made, Then, Told},
    cables::cabled,
    peers::PeerId,
    wire::Order,
    world::{Runs, World},
};
use crate::{
    scenario::model::{Act, AddressTaken, Comeback, Fault, FaultEvent, NextIp, Realm, Scenario},
    trace::{ActorId, What},
    world::moments::Happened,
};

/// Returns whether an engine, and the machine it is on, can do everything a scenario wants.
///
/// # Errors
/// What they cannot do.
pub(super) fn check(scenario: &Scenario) -> Result<(), String> {
    if scenario.nets.len() > 1 {
        return Err("networks of an engine do not route to each other as a scenario's do".to_owned());
    }
    if let Some(net) = scenario.nets.iter().find(|net| net.ipv6) {
        return Err(format!("line {}: an engine's network has the addresses it was made with", net.line));
    }
    if !cabled(scenario).is_empty() {
        return Err("an engine has no cables that delay, lose or are narrow".to_owned());
    }
    if let Some(name) = scenario.names.iter().find(|name| !name.ips.is_empty()) {
        return Err(format!("line {}: an engine's resolver knows containers alone", name.line));
    }
    for event in &scenario.events {
        let Act::Fault(fault) = &event.act else { continue };
        cannot(&fault.fault).map_or(Ok(()), |why| Err(format!("line {}: {why}", event.line)))?;
    }
    Ok(())
}

/// Returns why no engine can do this to a container.
fn cannot(fault: &Fault) -> Option<&'static str> {
    let silent = |taken: AddressTaken| {
        (taken == AddressTaken::Silent).then_some("whoever else gets a container's address answers")
    };
    match fault.realm() {
        Realm::Container => match deed(fault) {
            Some(Deed::Ends(_, comeback)) => silent(comeback.taken),
            Some(Deed::Moves(_, taken)) => silent(taken),
            Some(Deed::Pauses | Deed::Unplugs(_)) | None => None,
        },
        Realm::Cable => Some("an engine's cables are the kernel's"),
        Realm::Names => Some("an engine's resolver does not misbehave as it is told"),
        Realm::Clock => Some("containers have the clock of their machine"),
        Realm::Kernel => Some("an engine does not say how many ports a container has"),
        Realm::Machine | Realm::Software | Realm::Publishers | Realm::Players => None,
    }
}

/// What an engine does to a container.
pub(super) enum Deed<'a> {
    /// It ends, and may be started again.
    Ends(Ends, &'a Comeback),
    /// It is frozen.
    Pauses,
    /// It is off its network until it gets this address.
    Unplugs(NextIp),
    /// It has this address from here on, and its old one has somebody else.
    Moves(NextIp, AddressTaken),
}

/// How a container ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    Politely,
    Killed,
    Vanished,
}

/// Returns what an engine does about a fault, if it does anything.
pub(super) fn deed(fault: &Fault) -> Option<Deed<'_>> {
    match fault {
        Fault::Term(comeback) => Some(Deed::Ends(Ends::Politely, comeback)),
        Fault::Kill(comeback) => Some(Deed::Ends(Ends::Killed, comeback)),
        Fault::Vanish(comeback) => Some(Deed::Ends(Ends::Vanished, comeback)),
        Fault::Pause => Some(Deed::Pauses),
        Fault::VethRecreate => Some(Deed::Unplugs(NextIp::Same)),
        Fault::Disconnect { ip } => Some(Deed::Unplugs(*ip)),
        Fault::MoveAddress { ip, taken } => Some(Deed::Moves(*ip, *taken)),
        // Signals, the machine, and what software does.
        Fault::Freeze
        | Fault::Refuse
        | Fault::Blackhole
        | Fault::Partition { .. }
        | Fault::LinkDown
        | Fault::ConntrackFlush
        | Fault::Dns { .. }
        | Fault::Loss { .. }
        | Fault::Duplicate { .. }
        | Fault::Reorder { .. }
        | Fault::Latency { .. }
        | Fault::Bandwidth { .. }
        | Fault::Mtu { .. }
        | Fault::WallClock { .. }
        | Fault::LateTimers { .. }
        | Fault::NoPorts
        | Fault::SlowReader { .. }
        | Fault::Stuck
        | Fault::AcceptClose
        | Fault::AcceptReset
        | Fault::AcceptSilence
        | Fault::Behave(_)
        | Fault::Split { .. }
        | Fault::Coalesce { .. }
        | Fault::Trickle { .. }
        | Fault::NoMedia { .. }
        | Fault::Drip { .. }
        | Fault::NoKeyframes
        | Fault::PublisherAway { .. }
        | Fault::Cut { .. }
        | Fault::End { .. }
        | Fault::ReconnectRequest { .. }
        | Fault::TimestampJump { .. } => None,
    }
}

impl World<'_> {
    /// Something goes wrong with a container; returns whether it is an engine that does it.
    pub(super) async fn engine_inflicts(&mut self, index: usize, event: &FaultEvent) -> bool {
        let Some(deed) = deed(&event.fault).filter(|_| self.ground.is_engine()) else { return false };
        let host = usize::from(event.on.0);
        let place = self.hosts[host].port;
        match deed {
            Deed::Ends(how, comeback) => self.container_ends(index, host, comeback, how).await,
            Deed::Pauses => {
                self.hosts[host].frozen += 1;
                self.hosts[host].has_frozen = true;
                self.with_engine(|engine| engine.pause(place, true));
                self.look_at_serving(host);
            }
            Deed::Unplugs(_) => self.with_engine(|engine| engine.disconnect(place)),
            Deed::Moves(ip, taken) => {
                let wanted = self.wanted(host, ip);
                self.with_engine(|engine| {
                    engine.disconnect(place);
                    engine.connect(place, wanted);
                    engine.look(place);
                });
                if taken != AddressTaken::Nobody {
                    self.left.insert(index, self.home_of(host));
                    self.with_engine(|engine| engine.then(place, Then::Gone(index)));
                }
            }
        }
        true
    }

    /// A fault of a container is to be over; returns whether an engine will say when it is.
    pub(super) fn engine_relieves(&mut self, index: usize, event: &FaultEvent) -> bool {
        let Some(deed) = deed(&event.fault).filter(|_| self.ground.is_engine()) else { return false };
        let host = usize::from(event.on.0);
        let place = self.hosts[host].port;
        match deed {
            Deed::Ends(_, Comeback { never: true, .. }) | Deed::Moves(..) => return false,
            Deed::Ends(how, comeback) => {
                let wanted = self.wanted(host, comeback.ip);
                let is_off = how == Ends::Vanished || comeback.taken != AddressTaken::Nobody;
                let is_elsewhere = comeback.ip != NextIp::Same;
                self.with_engine(|engine| {
                    if is_elsewhere && !is_off {
                        engine.disconnect(place);
                    }
                    if is_elsewhere || is_off {
                        engine.connect(place, wanted);
                    }
                    engine.come_up(place);
                });
            }
            Deed::Pauses => {
                self.hosts[host].frozen = self.hosts[host].frozen.saturating_sub(1);
                if self.hosts[host].frozen == 0 {
                    self.with_engine(|engine| engine.pause(place, false));
                }
            }
            Deed::Unplugs(_) if self.timeline.is_disconnected(self.scenario, event.on) => {}
            Deed::Unplugs(ip) => {
                let wanted = self.wanted(host, ip);
                self.with_engine(|engine| {
                    engine.connect(place, wanted);
                    engine.look(place);
                });
            }
        }
        self.with_engine(|engine| engine.then(place, Then::Lifted(index)));
        self.lifting += 1;
        true
    }

    fn with_engine(&mut self, what: impl FnOnce(&mut Engine)) {
        if let Some(engine) = self.ground.engine() {
            what(engine);
        }
    }

    /// What an engine tells.
    pub(super) async fn engine_tells(&mut self, place: usize, told: Told) -> Result<(), String> {
        match told {
            Told::Made(made) => self.container_is_made(place, made),
            Told::Done(Then::Lifted(index)) => self.engine_has_lifted(index).await,
            Told::Done(Then::Gone(index)) => {
                let event = &self.scenario.events[index];
                let (Act::Fault(fault), Some(ip)) = (&event.act, self.left.remove(&index)) else {
                    return Ok(());
                };
                let taken = match deed(&fault.fault) {
                    Some(Deed::Ends(_, comeback)) => comeback.taken,
                    Some(Deed::Moves(_, taken)) => taken,
                    Some(Deed::Pauses | Deed::Unplugs(_)) | None => AddressTaken::Nobody,
                };
                self.take_address(usize::from(fault.on.0), ip, taken)
            }
            Told::Failed(why) => Err(why),
        }
    }

    fn container_is_made(&mut self, place: usize, made: Made) -> Result<(), String> {
        let Some(host) = self.hosts.iter().position(|host| host.port == place) else { return Ok(()) };
        let ip = made.ip;
        self.with_engine(|engine| engine.is_made(place, made));
        if self.hosts[host].of.is_none() {
            // Somebody else's address is taken: it answers from here on, and serves if it is a server.
            if let Runs::Origin(_) = &self.hosts[host].runs {
                self.start_origin_process(host)?;
                self.boot(host, 0, None);
            }
        } else if !self.has_begun() {
            // Players of one host are in one container.
            self.hosts[host].ips.fill(ip);
        } else if self.home_of(host) != ip {
            let count = self.hosts[host].ips.len();
            self.settled_at(host, ip)?;
            self.hosts[host].ips = vec![ip; count];
        }
        // Rules name cables, and that is another one.
        if self.rules.is_empty() { Ok(()) } else { self.ground.filter(&self.rules) }
    }

    /// A fault is over: what was done about it is done.
    async fn engine_has_lifted(&mut self, index: usize) -> Result<(), String> {
        self.lifting = self.lifting.saturating_sub(1);
        let event = &self.scenario.events[index];
        let Act::Fault(fault) = &event.act else { return Ok(()) };
        let host = usize::from(fault.on.0);
        self.line = event.line;
        self.note(ActorId::WORLD, What::Lifted { event: u16::try_from(index).unwrap_or(u16::MAX) });
        if let Some(Deed::Ends(_, comeback)) = deed(&fault.fault) {
            match &self.hosts[host].runs {
                Runs::Origin(_) => self.start_origin(host, Some(comeback))?,
                Runs::Proxy(_) => {
                    self.start_aide(host)?;
                    self.start_repull(host)?;
                }
                Runs::Players(_) | Runs::Nothing => {}
            }
        }
        self.look_at_serving(host);
        self.happened(Happened::Cleared(index));
        Ok(())
    }

    async fn container_ends(&mut self, index: usize, host: usize, comeback: &Comeback, how: Ends) {
        let place = self.hosts[host].port;
        let old = self.home_of(host);
        let mut beside: Vec<PeerId> = Vec::new();
        let mut own = None;
        match &mut self.hosts[host].runs {
            Runs::Origin(origin) => {
                origin.is_up = false;
                (origin.is_listening, origin.is_published) = (false, false);
                own = origin.process.take();
            }
            Runs::Proxy(proxy) => {
                proxy.is_up = false;
                proxy.streams.clear();
                own = proxy.repull.take();
                beside.extend(proxy.aide.take());
                beside.extend(proxy.flows.take());
            }
            Runs::Players(_) | Runs::Nothing => {}
        }
        let is_origin = matches!(self.hosts[host].runs, Runs::Origin(_));
        let frozen = std::mem::take(&mut self.hosts[host].frozen);
        if how == Ends::Vanished {
            // The cable first: no FIN and no RST of the dying processes may get out.
            self.with_engine(|engine| engine.disconnect(place));
        }
        match (how, is_origin, own) {
            (Ends::Politely, true, Some(process)) if frozen == 0 => {
                self.peers.order(process, Order::ShutDown);
            }
            (Ends::Politely, false, Some(process)) if frozen == 0 => self.peers.signal(process, "TERM"),
            (Ends::Politely | Ends::Killed | Ends::Vanished, _, _) => {
                self.with_engine(|engine| engine.kill(place));
            }
        }
        // They are in its network, and would keep it.
        for process in beside {
            self.peers.kill(process).await;
        }
        self.look_at_serving(host);
        self.with_engine(|engine| engine.ended(place));
        if comeback.taken != AddressTaken::Nobody {
            self.left.insert(index, old);
            self.with_engine(|engine| {
                if how != Ends::Vanished {
                    engine.disconnect(place);
                }
                engine.then(place, Then::Gone(index));
            });
        }
    }

    /// Returns the address a container is to have; without one the engine chooses.
    fn wanted(&self, host: usize, next: NextIp) -> Option<Ipv4Addr> {
        match next {
            NextIp::Same => Some(self.home_of(host)),
            NextIp::New => None,
            NextIp::Ip(ip) => Some(ip),
        }
    }
}
