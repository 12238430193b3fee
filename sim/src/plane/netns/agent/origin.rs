//! A model origin in a process of its own: what its faults do to it, and what it tells.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use proxy_core::time::{Duration, Instant};

use super::{Orders, look_ticks, origin_of, tell, tell_what};
use crate::{
    origin::{
        ACCEPT_QUEUE, Behaviour, Change, CutAt, CutBy, Ending, Like, ModelOrigin, Publisher,
        Then as ModelThen, Which,
    },
    plane::netns::{
        wire::{News, Order},
        world::BEHIND,
    },
    real::{Clock, RealOrigin},
    scenario::model::{Act, Fault, OriginModel, Scenario, Then},
    trace::What,
    world::faults::{model_ending, shape},
};

/// Lives and plays of each life of a process count from here on, so that players can tell them apart.
const NUMBERS_PER_LIFE: u32 = 10_000;
/// Plays count on from so many more each tenth of a second, so that a play is told apart from an earlier one of another
/// origin of the same stream.
const PLAYS_PER_TENTH: u32 = 10_000;
/// How long what is said at the end may take to get out.
const LAST_WORDS: Duration = Duration::from_millis(30);

/// An origin's process.
struct Process<'a> {
    scenario: &'a Scenario,
    spec: OriginModel,
    numbers_from: u32,
    clock: Clock,
    actor: u16,
    origin: Option<RealOrigin>,
    /// What its model suffers, by event.
    in_force: BTreeMap<usize, Fault>,
    /// Publishers are away by a fault, by stream; `None` counts for all.
    away: BTreeMap<Option<String>, u32>,
    content: BTreeMap<String, Publisher>,
    publishes: bool,
    listen_at: Option<Instant>,
    publish_at: Option<Instant>,
    /// Tenths of a second since the beginning.
    tenths: u32,
    seen: Seen,
}

/// What was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    accepted: u64,
    plays: u32,
    complaints: usize,
    all: bool,
}

pub(super) async fn run(
    scenario: &Scenario,
    actor: u16,
    host: Result<u16, u16>,
    life: u32,
    mut orders: Orders,
) -> Result<(), String> {
    let spec = match host {
        Ok(host) => origin_of(scenario, host).cloned().ok_or("no origin")?,
        Err(port) => stranger(port),
    };
    let Some(clock) = orders.begin().await else { return Ok(()) };
    let numbers_from = spec.behaviour.numbers_from + life * NUMBERS_PER_LIFE;
    let mut process = Process {
        scenario,
        spec,
        numbers_from,
        clock,
        actor,
        origin: None,
        in_force: BTreeMap::new(),
        away: BTreeMap::new(),
        content: BTreeMap::new(),
        publishes: false,
        listen_at: None,
        publish_at: None,
        tenths: 0,
        seen: Seen::default(),
    };
    let mut ticks = look_ticks();
    loop {
        let due = [process.listen_at, process.publish_at].into_iter().flatten().min();
        let nap = tokio::time::sleep_until(due.map_or_else(tokio::time::Instant::now, |at| clock.at(at)));
        tokio::select! {
            biased;
            () = nap, if due.is_some() => process.come_up().await?,
            order = orders.next() => match order {
                None => return Ok(()),
                Some(Order::ShutDown) => return process.shut_down().await,
                Some(order) => process.obey(order).await,
            },
            () = ticks.tick() => {
                process.count_on().await;
                process.look().await;
            }
        }
    }
}

/// Lets lives and plays to come count on from a number.
fn number_from(model: &mut ModelOrigin, from: u32) {
    let behaviour = Behaviour { numbers_from: from, ..model.behaviour().clone() };
    model.set_behaviour(behaviour);
}

/// An RTMP server that knows no stream.
fn stranger(port: u16) -> OriginModel {
    OriginModel {
        like: Like::ZlMediaKit,
        behaviour: Behaviour::like(Like::ZlMediaKit),
        port,
        backlog: ACCEPT_QUEUE,
        streams: Vec::new(),
        publisher: Publisher::default(),
        boot: Duration::ZERO,
        first_frame: Duration::ZERO,
        published: false,
        up: true,
    }
}

impl Process<'_> {
    /// Listens and publishes as soon as it is time.
    async fn come_up(&mut self) -> Result<(), String> {
        let now = self.clock.now();
        if self.listen_at.is_some_and(|at| at <= now) {
            self.listen_at = None;
            // The unspecified address of IPv6 is that of both families.
            let has_both = self.scenario.nets.iter().any(|net| net.ipv6);
            let ip =
                if has_both { Ipv6Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv4Addr::UNSPECIFIED) };
            let at = SocketAddr::new(ip, self.spec.port);
            let started = RealOrigin::start_at(at, self.spec.backlog, self.behaviour(), self.clock).await;
            self.origin = Some(started.map_err(|error| format!("cannot listen on {at}: {error}"))?);
            tell(&News::Listening { at: self.clock.now().as_nanos() });
        }
        if self.publish_at.is_some_and(|at| at <= now) && self.origin.is_some() {
            self.publish_at = None;
            self.let_publish().await;
        }
        Ok(())
    }

    /// Returns how the model behaves, with what its faults make of it.
    fn behaviour(&self) -> Behaviour {
        let mut behaviour = self.spec.behaviour.clone();
        for fault in self.in_force.values() {
            shape(&mut behaviour, fault);
        }
        let plays = self.tenths.saturating_mul(PLAYS_PER_TENTH);
        behaviour.numbers_from = self.numbers_from.saturating_add(plays);
        behaviour
    }

    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut ModelOrigin, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        self.origin.as_ref()?.act(act).await
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Boot { listen_at, publish_at } => {
                self.listen_at = Some(Instant::from_nanos(listen_at));
                self.publish_at = publish_at.map(Instant::from_nanos);
            }
            Order::Inflict { event } => {
                if let Some(fault) = self.fault(event) {
                    self.inflict(event, fault).await;
                }
            }
            Order::Relieve { event } => {
                if let Some(fault) = self.fault(event) {
                    self.relieve(event, fault).await;
                }
            }
            Order::Publish { event } => self.publishes(event).await,
            Order::Content { event } => self.take_content(event),
            Order::Begin { .. }
            | Order::ShutDown
            | Order::Join { .. }
            | Order::Leave { .. }
            | Order::Moved { .. }
            | Order::Call { .. }
            | Order::Names { .. }
            | Order::Forward { .. }
            | Order::Cable { .. } => {}
        }
    }

    fn fault(&self, event: usize) -> Option<Fault> {
        match &self.scenario.events.get(event)?.act {
            Act::Fault(fault) => Some(fault.fault.clone()),
            Act::Call(_)
            | Act::Repair { .. }
            | Act::Play { .. }
            | Act::Leave { .. }
            | Act::Publish { .. }
            | Act::Start { .. } => None,
        }
    }

    async fn inflict(&mut self, event: usize, fault: Fault) {
        match fault {
            Fault::Cut { at, by } => {
                self.act(move |model, now| model.cut(Which::All, CutAt::Message(at), by, now)).await;
            }
            Fault::End { ending, then } => {
                let then = match then {
                    Then::Silence => ModelThen::Quiet,
                    Then::Close => ModelThen::Fin,
                    Then::Reset => ModelThen::Reset,
                    Then::GoesOn => ModelThen::GoOn,
                };
                let by = match then {
                    ModelThen::GoOn | ModelThen::Quiet => CutBy::Silence,
                    ModelThen::Fin => CutBy::Fin,
                    ModelThen::Reset => CutBy::Reset,
                };
                self.act(move |model, now| match model_ending(ending) {
                    Some(ending) => model.tell(Which::All, ending, then, now),
                    None => model.cut(Which::All, CutAt::Message(0), by, now),
                })
                .await;
            }
            Fault::ReconnectRequest { tc_url } => {
                self.act(move |model, now| model.request_reconnect(Which::All, tc_url.as_deref(), now)).await;
            }
            Fault::PublisherAway { stream, .. } => {
                *self.away.entry(stream.clone()).or_insert(0) += 1;
                let names = self.names(stream.as_deref());
                self.act(move |model, now| names.iter().for_each(|name| model.unpublish(name, now))).await;
            }
            Fault::TimestampJump { by } => {
                let names = self.names(None);
                self.act(move |model, now| {
                    for name in &names {
                        model.change(name, &Change::ClockJump(by), now);
                    }
                })
                .await;
            }
            fault => {
                self.in_force.insert(event, fault);
                self.reshape().await;
            }
        }
    }

    async fn relieve(&mut self, event: usize, fault: Fault) {
        match fault {
            Fault::End { .. } => {
                self.act(|model, now| model.tell(Which::All, Ending::PublishNotify, ModelThen::GoOn, now))
                    .await;
            }
            Fault::PublisherAway { stream, .. } => {
                if let Some(away) = self.away.get_mut(&stream) {
                    *away = away.saturating_sub(1);
                }
                self.take_content(event);
                self.let_publish().await;
            }
            // What happened once, and for good.
            Fault::Cut { .. } | Fault::ReconnectRequest { .. } | Fault::TimestampJump { .. } => {}
            _ => {
                self.in_force.remove(&event);
                self.reshape().await;
            }
        }
    }

    /// Plays to come are numbered by the time.
    async fn count_on(&mut self) {
        let tenths = u32::try_from(self.clock.now().as_millis() / 100).unwrap_or(u32::MAX);
        if std::mem::replace(&mut self.tenths, tenths) != tenths {
            let from = self.numbers_from.saturating_add(tenths.saturating_mul(PLAYS_PER_TENTH));
            self.act(move |model, _| number_from(model, from)).await;
        }
    }

    async fn reshape(&mut self) {
        let behaviour = self.behaviour();
        self.act(move |model, now| {
            let flow = behaviour.flow;
            model.set_behaviour(behaviour);
            model.set_flow(Which::All, flow, now);
        })
        .await;
    }

    /// Returns the streams meant by a name, or all.
    fn names(&self, stream: Option<&str>) -> Vec<String> {
        self.spec.streams.iter().filter(|name| stream.is_none_or(|stream| stream == *name)).cloned().collect()
    }

    /// Takes what an event says that publishers send from there on.
    fn take_content(&mut self, event: usize) {
        let Some(event) = self.scenario.events.get(event) else { return };
        let (stream, publisher) = match &event.act {
            Act::Publish { stream, publisher: Some(publisher), .. } => (stream, publisher),
            Act::Fault(fault) => match &fault.fault {
                Fault::PublisherAway { stream, back: Some(back) } => (stream, back),
                _ => return,
            },
            Act::Publish { publisher: None, .. }
            | Act::Call(_)
            | Act::Repair { .. }
            | Act::Play { .. }
            | Act::Leave { .. }
            | Act::Start { .. } => return,
        };
        for name in self.names(stream.as_deref()) {
            self.content.insert(name, (**publisher).clone());
        }
    }

    /// Publishers come, or come with something else.
    async fn publishes(&mut self, event: usize) {
        self.take_content(event);
        let Some(Act::Publish { stream, silently, .. }) =
            self.scenario.events.get(event).map(|event| &event.act)
        else {
            return;
        };
        let silently = *silently;
        for name in self.names(stream.as_deref()) {
            let publisher = self.publisher(&name);
            self.act(move |model, now| {
                if !silently {
                    model.unpublish(&name, now);
                }
                if model.epoch(&name).is_some() {
                    model.republish(&name, publisher, now);
                }
            })
            .await;
        }
        self.let_publish().await;
    }

    fn publisher(&self, name: &str) -> Publisher {
        self.content.get(name).unwrap_or(&self.spec.publisher).clone()
    }

    /// Publishers are there, but for those that a fault keeps away.
    async fn let_publish(&mut self) {
        self.publishes = true;
        let is_away = |name: &str| {
            let counts = |key: Option<String>| self.away.get(&key).is_some_and(|count| *count > 0);
            counts(None) || counts(Some(name.to_owned()))
        };
        let names: Vec<String> = self.spec.streams.iter().filter(|name| !is_away(name)).cloned().collect();
        let lives: Vec<(String, Publisher)> =
            names.into_iter().map(|name| (name.clone(), self.publisher(&name))).collect();
        // Told before the first frame can be anywhere: who waits for this moment waits for what follows it, too.
        if self.origin.is_some() && lives.len() == self.spec.streams.len() && !self.seen.all {
            self.seen.all = true;
            tell(&News::Publishes { at: self.clock.now().as_nanos(), all: true });
        }
        let from = self.numbers_from;
        self.act(move |model, now| {
            // A publisher's lives are counted by the process: two origins of one stream have the same publisher's.
            let plays_from = model.behaviour().numbers_from;
            number_from(model, from);
            for (name, publisher) in lives {
                if model.epoch(&name).is_none() {
                    model.publish(&name, publisher, now.max(Instant::ZERO + BEHIND));
                }
            }
            number_from(model, plays_from);
        })
        .await;
    }

    /// Tells what is new.
    async fn look(&mut self) {
        let (streams, before) = (self.spec.streams.clone(), self.seen.clone());
        let looked = self.act(move |model, _| {
            let ledger = model.ledger();
            let seen = Seen {
                accepted: ledger.accepted,
                plays: ledger.plays_total,
                complaints: ledger.complaints.len(),
                all: streams.iter().all(|name| model.epoch(name).is_some()),
            };
            if seen == before {
                return None;
            }
            let fresh = (seen.plays - before.plays) as usize;
            let plays: Vec<String> =
                ledger.plays.iter().rev().take(fresh).map(|play| play.name.clone()).collect();
            let complaints = ledger.complaints.get(before.complaints..).unwrap_or_default().to_vec();
            Some((seen, plays, complaints))
        });
        let Some(Some((seen, plays, complaints))) = looked.await else { return };
        let at = self.clock.now();
        for _ in self.seen.accepted..seen.accepted {
            tell_what(at, self.actor, What::OriginAccepted);
        }
        for stream in plays.into_iter().rev() {
            tell_what(at, self.actor, What::OriginPlays { stream });
        }
        for text in complaints {
            tell_what(at, self.actor, What::OriginComplains(text));
        }
        if seen.all != self.seen.all {
            tell(&News::Publishes { at: at.as_nanos(), all: seen.all });
        }
        self.seen = seen;
    }

    async fn shut_down(self) -> Result<(), String> {
        self.act(|model, now| model.shut_down(now)).await;
        tokio::time::sleep(LAST_WORDS).await;
        Ok(())
    }
}
