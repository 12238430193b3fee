//! The timeline: what happens when, and what is to be undone.

use std::collections::{BTreeMap, BTreeSet};

use proxy_core::{time::Duration, url::OriginUrl};

use super::{Happened, Running, Wake, World};
use crate::{
    oracle::bounds,
    origin::{OnConnect, Publisher},
    scenario::{
        PullNames,
        model::{Act, Call, Event, Fault, FaultEvent, Host, HostRef, Role, Scenario},
    },
    trace::{ActorId, What},
};

/// How often a repair script looks where the scenario does not say.
pub(crate) const REPAIR_EVERY: Duration = Duration::from_secs(10);

/// What the timeline has done so far.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) pulls: PullNames,
    /// What the origin calls each `app/stream`: the two need not have the same name.
    pub(crate) sources: BTreeMap<String, String>,
    /// By `app/stream`, the proxies a pull of it leads to.
    upstream: BTreeMap<String, BTreeSet<u16>>,
    /// Faults in force, by event.
    pub(crate) in_force: BTreeSet<u16>,
    calls: u32,
    /// Repair scripts at work.
    repairing: bool,
}

impl Timeline {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let mut sources = BTreeMap::new();
        let mut upstream: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
        for pull in &scenario.pulls {
            for n in 1..=pull.count.max(1) {
                let numbered = |text: &str| text.replace("{n}", &n.to_string());
                let name = format!("{}/{}", pull.app, numbered(&pull.stream));
                sources.extend(source_of(&numbered(&pull.url)).map(|source| (name.clone(), source)));
                if let Some(proxy) = proxy_behind(scenario, &numbered(&pull.url)) {
                    upstream.entry(name.clone()).or_default().insert(proxy);
                }
            }
        }
        for host in &scenario.hosts {
            let Role::Proxy(settings) = &host.role else { continue };
            for entry in &settings.proxies {
                let name = format!("{}/{}", entry.key.app, entry.key.stream);
                if let Some(proxy) = proxy_behind(scenario, &entry.url) {
                    upstream.entry(name.clone()).or_default().insert(proxy);
                }
                sources.extend(source_of(&entry.url).map(|source| (name, source)));
            }
        }
        let pulls = PullNames::new(scenario);
        Self { pulls, sources, upstream, in_force: BTreeSet::new(), calls: 0, repairing: true }
    }

    /// Returns whether a stream at a proxy comes from another proxy: whose play goes on while the origin's begins anew.
    pub(crate) fn is_chained(&self, name: &str, at: HostRef) -> bool {
        self.upstream.get(name).is_some_and(|proxies| proxies.iter().any(|proxy| *proxy != at.0))
    }

    /// Returns whether who plays a stream again gets no older play: one that a proxy before still has is pulled again by who
    /// has gone round that proxy.
    pub(crate) fn plays_rise(&self, scenario: &Scenario, name: &str, at: HostRef) -> bool {
        !(self.is_chained(name, at) && has_detours(scenario))
    }

    /// Returns the faults in force on a host, in the order of the scenario.
    pub(crate) fn in_force_on<'s>(
        &self,
        scenario: &'s Scenario,
        host: HostRef,
    ) -> impl Iterator<Item = &'s Fault> {
        let acts = self.in_force.iter().map(|event| &scenario.events[usize::from(*event)].act);
        acts.filter_map(move |act| match act {
            Act::Fault(FaultEvent { on, fault, .. }) if *on == host => Some(fault),
            Act::Fault(_)
            | Act::Call(_)
            | Act::Repair { .. }
            | Act::Play { .. }
            | Act::Leave { .. }
            | Act::Publish { .. }
            | Act::Start { .. } => None,
        })
    }

    /// Returns whether a fault in force keeps a host off its network.
    pub(crate) fn is_disconnected(&self, scenario: &Scenario, host: HostRef) -> bool {
        self.in_force_on(scenario, host).any(|fault| matches!(fault, Fault::Disconnect { .. }))
    }

    /// Returns how many calls there have been: the number of the next one.
    pub(super) fn calls(&self) -> u32 {
        self.calls
    }

    pub(crate) fn next_call(&mut self) -> u32 {
        self.calls += 1;
        self.calls - 1
    }
}

/// Returns whether no more than one origin serves an `app/stream`.
pub(crate) fn has_one_origin(scenario: &Scenario, source: &str) -> bool {
    let serve = |host: &&Host| match &host.role {
        Role::Origin(model) => model.streams.iter().any(|stream| stream == source),
        Role::Proxy(_) | Role::Player(_) => false,
    };
    scenario.hosts.iter().filter(serve).count() <= 1
}

/// Returns whether a pull may be led elsewhere than to what its url names: by an operator, a name's answer or a redirect.
fn has_detours(scenario: &Scenario) -> bool {
    let names_url = |call: &Call| call.args.iter().any(|(name, _)| name == "url");
    let leads_away = |fault: &Fault| match fault {
        Fault::Behave(to) => matches!(to.behaviour.connect, OnConnect::Redirect { .. }),
        other => matches!(other, Fault::Dns { .. } | Fault::ReconnectRequest { .. }),
    };
    scenario.events.iter().any(|event| match &event.act {
        Act::Call(call) => names_url(call),
        Act::Fault(event) => leads_away(&event.fault),
        Act::Repair { .. }
        | Act::Play { .. }
        | Act::Leave { .. }
        | Act::Publish { .. }
        | Act::Start { .. } => false,
    })
}

/// Returns how far a clock may step forward where no frame is missing: as far as no proxy takes for a jump, 10 s at least, and a
/// frame more, where the other track went first.
pub(crate) fn forward_max(scenario: &Scenario) -> Duration {
    let of_host = |host: &Host| match &host.role {
        Role::Proxy(settings) => settings.core.relay.forward_max,
        Role::Origin(_) | Role::Player(_) => Duration::ZERO,
    };
    let frames = publishers(scenario).map(bounds::frame);
    let most = scenario.hosts.iter().map(of_host).fold(Duration::from_secs(10), Duration::max);
    most + frames.fold(Duration::ZERO, Duration::max)
}

/// Returns what publishers send, from the beginning and later.
fn publishers(scenario: &Scenario) -> impl Iterator<Item = &Publisher> {
    let first = scenario.hosts.iter().filter_map(|host| match &host.role {
        Role::Origin(model) => Some(&model.publisher),
        Role::Proxy(_) | Role::Player(_) => None,
    });
    let later = scenario.events.iter().filter_map(|event| match &event.act {
        Act::Publish { publisher, .. } => publisher.as_deref(),
        Act::Fault(FaultEvent { fault: Fault::PublisherAway { back, .. }, .. }) => back.as_deref(),
        _ => None,
    });
    first.chain(later)
}

/// Returns how long a clock may stand still at the beginning of a play: for a whole GOP of what is sent and the frame that
/// follows it, or until a track far behind is taken to be live, which takes a second of its frames, three of them at least,
/// and as much as is kept back to be written together. Where the others come again just before that, it is behind by what
/// counts as continuity, and waits for that as well.
pub(crate) fn hold_max(scenario: &Scenario) -> Duration {
    let of = |publisher: &Publisher| {
        let frame = bounds::frame(publisher);
        (bounds::gop(publisher) + frame).max(3 * frame)
    };
    let of_event = |event: &Event| match &event.act {
        Act::Fault(FaultEvent { fault: Fault::Drip { every }, .. }) => 3 * *every,
        _ => Duration::ZERO,
    };
    let continuity = |host: &Host| match &host.role {
        Role::Proxy(settings) => settings.core.relay.backward_max,
        Role::Origin(_) | Role::Player(_) => Duration::ZERO,
    };
    let drips = scenario.events.iter().map(of_event);
    let alone = publishers(scenario).map(of).chain(drips).fold(Duration::from_secs(2), Duration::max);
    alone + scenario.hosts.iter().map(continuity).fold(Duration::ZERO, Duration::max)
}

/// Returns the `app/stream` a url asks its origin for.
fn source_of(url: &str) -> Option<String> {
    let url = OriginUrl::parse(url).ok()?;
    let path = |text: &str| text.split('?').next().unwrap_or_default().to_owned();
    Some(format!("{}/{}", path(&url.app), path(&url.stream)))
}

/// Returns the proxy a url leads to, by its name, another name for it, or its address.
fn proxy_behind(scenario: &Scenario, url: &str) -> Option<u16> {
    let url = OriginUrl::parse(url).ok()?;
    let alias = scenario.names.iter().find(|name| name.name == url.host);
    let leads = |(index, host): &(usize, &Host)| {
        let is_alias = alias.is_some_and(|name| name.hosts.iter().any(|of| usize::from(of.0) == *index));
        host.name == url.host || is_alias || host.ip.is_some_and(|ip| ip.to_string() == url.host)
    };
    let (index, host) = scenario.hosts.iter().enumerate().find(leads)?;
    matches!(host.role, Role::Proxy(_)).then_some(u16::try_from(index).unwrap_or(u16::MAX))
}

impl World<'_> {
    /// An event of the timeline begins.
    pub(super) fn event(&mut self, index: usize) {
        if self.phase != crate::trace::Phase::Safety {
            return;
        }
        let event = &self.scenario.events[index];
        self.line = event.line;
        self.cause = self.note(ActorId::WORLD, What::Began { event: index as u16 });
        // Before the act: what it leads to at once, such as a pull's first lookup, counts for moments that wait for it.
        self.happened(Happened::Began(index));
        if let Some(every) = event.every
            && !matches!(event.act, Act::Repair { .. })
        {
            self.heap.push(self.now + every, (Wake::Event(index as u16), self.cause));
        }
        match &event.act {
            Act::Call(call) => self.operate(index, call),
            Act::Repair { .. } => self.repair(index),
            Act::Play { players, at, stream, via } => self.players_join(*players, *at, stream, via),
            Act::Leave { players, by } => self.players_leave(*players, *by),
            Act::Publish { origin, stream, publisher, silently } => {
                self.publishes(*origin, stream.as_deref(), publisher.as_deref(), *silently);
            }
            Act::Start { origin } => {
                if let Some(o) = self.origin_of(*origin)
                    && !self.origins[o].is_up
                {
                    self.start_origin(o, None);
                }
            }
            Act::Fault(fault) => {
                self.timeline.in_force.insert(index as u16);
                if let Some(time) = fault.time {
                    self.heap.push(self.now + time, (Wake::Lift(index as u16), self.cause));
                }
                self.inflict(index, fault);
            }
        }
    }

    /// Publishers come, or come with something else.
    fn publishes(
        &mut self,
        origin: HostRef,
        stream: Option<&str>,
        publisher: Option<&Publisher>,
        silently: bool,
    ) {
        let Some(o) = self.origin_of(origin) else { return };
        for name in self.origins[o].spec.streams.clone() {
            if stream.is_some_and(|stream| stream != name) {
                continue;
            }
            if let Some(publisher) = publisher {
                self.origins[o].content.insert(name.clone(), publisher.clone());
            }
            if !silently {
                self.origins[o].model.unpublish(&name, self.now);
            }
            self.republish(o, &name);
        }
        self.let_publish(o);
    }

    /// A fault is lifted, once.
    pub(super) fn lift(&mut self, index: usize) {
        if !self.timeline.in_force.remove(&(index as u16)) {
            return;
        }
        let event = &self.scenario.events[index];
        let Act::Fault(fault) = &event.act else { return };
        self.line = event.line;
        self.cause = self.note(ActorId::WORLD, What::Lifted { event: index as u16 });
        self.relieve(index, fault);
        self.happened(Happened::Cleared(index));
    }

    /// Every fault is lifted for good, whatever is away comes back.
    pub(super) fn heal(&mut self) {
        let in_force: Vec<u16> = self.timeline.in_force.iter().copied().collect();
        for index in in_force {
            self.lift(usize::from(index));
        }
    }

    /// A repair script looks, acts, and looks again later.
    pub(super) fn repair(&mut self, index: usize) {
        let event = &self.scenario.events[index];
        let Act::Repair { proxy, pull, closes } = event.act else { return };
        if !self.timeline.repairing {
            return;
        }
        self.line = event.line;
        let every = event.every.unwrap_or(REPAIR_EVERY);
        self.heap.push(self.now + every, (Wake::Repair(index as u16), self.cause));
        self.repair_once(proxy, pull, closes);
    }

    /// Deletes every stream, lets every player go, and ends the scripts.
    pub(super) fn clean_up(&mut self) {
        self.timeline.repairing = false;
        self.everybody_leaves();
        for p in 0..self.proxies.len() {
            self.delete_streams(p);
        }
    }

    pub(super) fn proxy_of(&self, host: HostRef) -> usize {
        match self.members[usize::from(host.0)].run {
            Running::Proxy(p) => usize::from(p),
            Running::Origin(_) | Running::Players(_) => 0,
        }
    }

    pub(super) fn origin_of(&self, host: HostRef) -> Option<usize> {
        match self.members[usize::from(host.0)].run {
            Running::Origin(o) => Some(usize::from(o)),
            Running::Proxy(_) | Running::Players(_) => None,
        }
    }

    /// Returns the host of the scenario an actor is.
    pub(super) fn host_of(&self, actor: ActorId) -> HostRef {
        HostRef(self.cast.members.get(usize::from(actor.0)).map_or(u16::MAX, |member| member.host))
    }
}
