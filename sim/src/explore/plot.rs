//! What happens in a generated scenario: the story, what goes wrong, and when.
//!
//! A moment is a time, or hangs on something: on a state of a pull, on an origin that serves, on a fault's end. Where the
//! instants of a run without it are known, a time is one of them, or a nanosecond, a microsecond, a millisecond beside.

use proxy_core::{
    io::PlayOutput,
    time::{Duration, Instant},
};

use super::{
    fault,
    roll::{MILLI, Roll},
    world,
};
use crate::{
    dice::Dice,
    scenario::{
        FAULTS, FaultForm,
        model::{
            Act, Anchor, Call, Event, Fault, FaultEvent, HostRef, LeaveBy, Meddling, PullRef, ReplyWanted,
            Role, Scenario, Swarm, When,
        },
        words,
    },
};

/// Shifts of a time that hits an instant: at it, just before, just after. In nanoseconds.
const BESIDE: [i64; 9] = [0, 0, 0, -1, 1, -1_000, 1_000, -1_000_000, 1_000_000];

/// What may happen in one search or one seed of it.
#[derive(Clone, Debug)]
pub(super) struct Repertoire {
    /// Kinds of faults, each with the hosts it may happen to.
    faults: Vec<(&'static FaultForm, Vec<HostRef>)>,
    /// What operators do.
    calls: Vec<Meddling>,
    /// Players come and go.
    players: bool,
    /// How many faults.
    at_least: u64,
    at_most: u64,
    /// When they begin, in nanoseconds.
    between: (u64, u64),
    /// How long they last, in milliseconds.
    lasts: (u64, u64),
}

impl Repertoire {
    /// Everything that fits a world.
    pub(super) fn of_world(scenario: &Scenario) -> Self {
        let all = FAULTS.iter().map(|form| (form, fault::fitting(form, scenario)));
        Self {
            faults: all.filter(|(_, hosts)| !hosts.is_empty()).collect(),
            calls: words::MEDDLINGS.iter().map(|(_, call, _)| *call).collect(),
            players: true,
            at_least: 1,
            at_most: 4,
            between: (300 * MILLI, end_of(scenario).saturating_sub(500 * MILLI)),
            lasts: (1, 8_000),
        }
    }

    /// What a file says.
    pub(super) fn of_swarm(scenario: &Scenario, swarm: &Swarm) -> Self {
        let is_on = |host: &HostRef| swarm.on.is_empty() || swarm.on.contains(host);
        let is_kind = |form: &&FaultForm| swarm.faults.is_empty() || swarm.faults.contains(&form.name);
        let hosts = |form: &'static FaultForm| {
            let hosts = fault::fitting(form, scenario).into_iter().filter(is_on).collect::<Vec<_>>();
            (form, hosts)
        };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let end = end_of(scenario);
        let (min, max) = swarm.between.map_or((0, end), |(min, max)| (nanos(min), nanos(max)));
        let last = end.saturating_sub(MILLI);
        Self {
            faults: FAULTS.iter().filter(is_kind).map(hosts).filter(|(_, hosts)| !hosts.is_empty()).collect(),
            calls: swarm.calls.clone(),
            players: false,
            at_least: swarm.at_least.into(),
            at_most: swarm.at_most.into(),
            between: (min.min(last), max.min(last)),
            lasts: (nanos(swarm.lasts.0) / MILLI, nanos(swarm.lasts.1) / MILLI),
        }
    }

    /// Leaves each kind out in about half of the seeds: what is rare shows where what is common is away.
    pub(super) fn thinned(mut self, dice: &mut Dice) -> Self {
        let left: Vec<_> = self.faults.iter().filter(|_| dice.chance(50)).cloned().collect();
        if !left.is_empty() {
            self.faults = left;
        }
        self.calls.retain(|_| dice.chance(50));
        self.players = self.players && dice.chance(50);
        self
    }

    /// Rolls how many faults.
    pub(super) fn count(&self, dice: &mut Dice) -> u64 {
        dice.between(self.at_least, self.at_most)
    }

    /// Rolls one thing that happens. `None`: it makes no sense in this world.
    pub(super) fn thing(&self, scenario: &Scenario, dice: &mut Dice) -> Option<Act> {
        let others = u64::from(!self.calls.is_empty()) + u64::from(self.players);
        match dice.below(4 + others) {
            0..4 => self.fault(scenario, dice),
            4 if !self.calls.is_empty() => meddle(dice.one(&self.calls), scenario, dice),
            _ => come_or_go(scenario, dice),
        }
    }

    /// Rolls a fault.
    pub(super) fn fault(&self, scenario: &Scenario, dice: &mut Dice) -> Option<Act> {
        if self.faults.is_empty() {
            return None;
        }
        // An origin is what most stories are about; a kind that fits all is rolled on it as often as on the others.
        let (form, hosts) = dice.one(&self.faults);
        let origins: Vec<HostRef> =
            hosts.iter().filter(|host| world::origin(scenario, **host).is_some()).copied().collect();
        let on = if origins.is_empty() || dice.chance(40) { dice.one(&hosts) } else { dice.one(&origins) };
        let fault = fault::roll(form.name, on, scenario, dice)?;
        let time = form.lasts.then(|| dice.wide_millis(self.lasts.0, self.lasts.1));
        Some(Act::Fault(FaultEvent { on, fault, time }))
    }

    /// Rolls when something begins, in nanoseconds.
    pub(super) fn time(&self, dice: &mut Dice) -> u64 {
        let (min, max) = self.between;
        // Whole milliseconds are easier to read, and instants are hit on purpose.
        dice.between(min / MILLI, max / MILLI) * MILLI
    }

    /// Rolls a moment at an instant or beside it.
    pub(super) fn instant(&self, instants: &[Instant], dice: &mut Dice) -> Option<u64> {
        let (min, max) = self.between;
        let fitting: Vec<u64> =
            instants.iter().map(|at| at.as_nanos()).filter(|at| (min..max).contains(at)).collect();
        if fitting.is_empty() {
            return None;
        }
        let at = dice.one(&fitting).saturating_add_signed(dice.one(&BESIDE));
        Some(at.clamp(min, max))
    }
}

/// Returns the end of the safety phase, in nanoseconds.
pub(super) fn end_of(scenario: &Scenario) -> u64 {
    u64::try_from(scenario.run.time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns an absolute moment.
pub(super) fn at(nanos: u64) -> When {
    When { anchor: Anchor::Zero, offset: i64::try_from(nanos).unwrap_or(i64::MAX) }
}

/// Adds an event.
pub(super) fn push(scenario: &mut Scenario, at: When, act: Act) {
    scenario.events.push(Event { line: 0, at, name: None, every: None, act });
}

/// Mends what does not fit together after changes: a moment beyond the end, or of what never comes.
pub(super) fn mend(scenario: &mut Scenario) {
    let end = end_of(scenario);
    let earliest = |scenario: &Scenario, index: usize| {
        let earliest = crate::scenario::earliest(scenario, &scenario.events[index].at);
        u64::try_from(earliest).unwrap_or(0)
    };
    for index in 0..scenario.events.len() {
        if !may_vanish(scenario, index)
            && let Act::Leave { by: by @ LeaveBy::Vanish, .. } = &mut scenario.events[index].act
        {
            *by = LeaveBy::Reset;
        }
        if let Anchor::Cleared(above) = scenario.events[index].at.anchor
            && !matches!(&scenario.events[above].act, Act::Fault(FaultEvent { time: Some(_), .. }))
        {
            scenario.events[index].at = at(end / 2);
        }
        if earliest(scenario, index) >= end {
            scenario.events[index].at = at(end / 2);
        }
        let left = end - earliest(scenario, index);
        if let Act::Fault(FaultEvent { time: lasts @ Some(_), .. }) = &mut scenario.events[index].act
            && lasts.is_some_and(|time| time.as_nanos() > u128::from(left))
        {
            // Beyond the end it is lifted anyway.
            *lasts = None;
        }
    }
}

/// Returns whether players whose host vanishes are never heard of again: nobody there plays later, and nothing else happens
/// to the host.
fn may_vanish(scenario: &Scenario, index: usize) -> bool {
    let event = &scenario.events[index];
    let Act::Leave { players: gone, .. } = event.act else { return true };
    scenario.events.iter().all(|other| match &other.act {
        Act::Play { players, .. } => {
            let is_fixed = other.at.anchor == Anchor::Zero && event.at.anchor == Anchor::Zero;
            *players != gone || is_fixed && other.at.offset < event.at.offset
        }
        Act::Fault(fault) => fault.on != gone,
        Act::Call(_) | Act::Repair { .. } | Act::Leave { .. } | Act::Publish { .. } | Act::Start { .. } => {
            true
        }
    })
}

/// Adds the story: streams are added, players come.
pub(super) fn tell_story(scenario: &mut Scenario, dice: &mut Dice) {
    for (index, pull) in scenario.pulls.clone().iter().enumerate() {
        let Some(proxy) = world::proxy_for(scenario, pull) else { continue };
        let pull = PullRef(u16::try_from(index).unwrap_or(0));
        let begins = if dice.chance(70) { dice.between(0, 500) } else { dice.between(0, 4_000) };
        if dice.chance(8) {
            let every = Some(dice.millis(1_000, 4_000));
            let act = Act::Repair { proxy, pull, closes: dice.chance(50) };
            scenario.events.push(Event { line: 0, at: at(begins * MILLI), name: None, every, act });
        } else {
            push(scenario, at(begins * MILLI), call(proxy, "addStreamProxy", Some(pull), Vec::new()));
        }
    }
    for players in world::hosts(scenario, |role| matches!(role, Role::Player(_))) {
        if let Some(act) = play(players, scenario, dice) {
            let begins = if dice.chance(70) { dice.between(100, 2_500) } else { dice.between(100, 8_000) };
            push(scenario, at(begins * MILLI), act);
        }
    }
}

pub(super) fn play(players: HostRef, scenario: &Scenario, dice: &mut Dice) -> Option<Act> {
    let pull = dice.one(&scenario.pulls);
    let at = world::proxy_for(scenario, &pull)?;
    let via = dice.one(&[
        vec![PlayOutput::Rtmp],
        vec![PlayOutput::HttpFlv],
        vec![PlayOutput::Rtmp, PlayOutput::HttpFlv],
    ]);
    // Of many streams alike somebody watches one.
    let stream = format!("{}/{}", pull.app, pull.stream.replace("{n}", "1"));
    Some(Act::Play { players, at, stream, via })
}

/// Players come once more, or leave.
fn come_or_go(scenario: &Scenario, dice: &mut Dice) -> Option<Act> {
    let groups = world::hosts(scenario, |role| matches!(role, Role::Player(_)));
    if groups.is_empty() {
        return None;
    }
    let players = dice.one(&groups);
    if dice.chance(60) {
        let by = dice.one(&[LeaveBy::Stop, LeaveBy::Close, LeaveBy::Reset, LeaveBy::Vanish]);
        return Some(Act::Leave { players, by });
    }
    play(players, scenario, dice)
}

/// An operator does something, to what may be there or not.
fn meddle(what: Meddling, scenario: &Scenario, dice: &mut Dice) -> Option<Act> {
    let index = usize::try_from(dice.below(scenario.pulls.len() as u64)).unwrap_or(0);
    let spec = scenario.pulls.get(index)?;
    let proxy = world::proxy_for(scenario, spec)?;
    let pull = Some(PullRef(u16::try_from(index).unwrap_or(0)));
    let text = |args: &[(&str, &str)]| {
        args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
    };
    Some(match what {
        Meddling::Add => {
            let args = match world::another_url(scenario, spec, dice) {
                Some(url) if dice.chance(40) => text(&[("url", &url)]),
                Some(_) | None => {
                    dice.one(&[text(&[]), text(&[]), text(&[("force", "1")]), text(&[("retry_count", "1")])])
                }
            };
            call(proxy, "addStreamProxy", pull, args)
        }
        Meddling::Del => call(proxy, "delStreamProxy", pull, Vec::new()),
        Meddling::Close => {
            let args = dice.one(&[text(&[("force", "0")]), text(&[("force", "1")])]);
            call(proxy, "close_streams", pull, args)
        }
        Meddling::Update => {
            let args = dice.one(&[
                text(&[("now", "1")]),
                text(&[("retry_count", "2")]),
                text(&[("now", "1"), ("stall_timeout_ms", "2000")]),
            ]);
            call(proxy, "updateStreamProxy", pull, args)
        }
        Meddling::Look => match dice.below(5) {
            0 => call(proxy, "getProxyInfo", pull, Vec::new()),
            1 => call(proxy, "isMediaOnline", pull, Vec::new()),
            2 => call(proxy, "getMediaInfo", pull, Vec::new()),
            3 => call(proxy, "getMediaList", None, Vec::new()),
            _ => call(proxy, "listStreamProxy", None, Vec::new()),
        },
    })
}

pub(super) fn call(proxy: HostRef, name: &str, pull: Option<PullRef>, args: Vec<(String, String)>) -> Act {
    Act::Call(Call { proxy, call: name.to_owned(), pull, args, reply: ReplyWanted::default() })
}

/// Rolls a moment that hangs on something that happens after what stands above.
pub(super) fn anchored(scenario: &Scenario, dice: &mut Dice) -> When {
    let offset = match dice.below(6) {
        0 | 1 => 0,
        2 => 1,
        3 => dice.between(1, 900) * 1_000,
        4 => dice.between(1, 100) * MILLI,
        _ => dice.between(1, 2_500) * MILLI,
    };
    let offset = i64::try_from(offset).unwrap_or(0);
    let origins = world::hosts(scenario, |role| matches!(role, Role::Origin(_)));
    let groups = world::hosts(scenario, |role| matches!(role, Role::Player(_)));
    let pull = PullRef(u16::try_from(dice.below(scenario.pulls.len() as u64)).unwrap_or(0));
    let entered = Anchor::Entered(pull, dice.one(words::STATES).1);
    // An event above of a kind that has such a moment, the last one first.
    let above =
        |is_wanted: &dyn Fn(&Act) -> bool| scenario.events.iter().rposition(|event| is_wanted(&event.act));
    let anchor = match dice.below(8) {
        0..4 => entered,
        4 if !origins.is_empty() => Anchor::Serving(dice.one(&origins)),
        5 if !origins.is_empty() => Anchor::Listening(dice.one(&origins)),
        6 if !groups.is_empty() => Anchor::Watching(dice.one(&groups)),
        _ => {
            let cleared = above(&|act| matches!(act, Act::Fault(FaultEvent { time: Some(_), .. })))
                .map(Anchor::Cleared);
            let replied = above(&|act| matches!(act, Act::Call(_))).map(Anchor::Replied);
            if dice.chance(70) { cleared.or(replied) } else { replied.or(cleared) }.unwrap_or(entered)
        }
    };
    When { anchor, offset }
}

/// Takes an event out; what hung on it happens at its own time.
pub(super) fn remove(scenario: &mut Scenario, gone: usize) {
    let end = end_of(scenario);
    let fallback = match scenario.events.get(gone).map(|event| &event.at) {
        Some(When { anchor: Anchor::Zero, offset }) => *offset,
        Some(_) | None => i64::try_from(end / 2).unwrap_or(0),
    };
    scenario.events.remove(gone);
    for event in &mut scenario.events {
        let (Anchor::Start(above) | Anchor::Cleared(above) | Anchor::Replied(above)) = &mut event.at.anchor
        else {
            continue;
        };
        if *above > gone {
            *above -= 1;
        } else if *above == gone {
            let time = u64::try_from(fallback.saturating_add(event.at.offset)).unwrap_or(0);
            event.at = at(time.min(end.saturating_sub(MILLI)));
        }
    }
}

/// Returns the events that are not the story: faults, and what comes after it.
pub(super) fn things(scenario: &Scenario) -> Vec<usize> {
    let is_thing = |event: &Event| matches!(event.act, Act::Fault(_) | Act::Leave { .. } | Act::Call(_));
    let events = scenario.events.iter().enumerate().filter(|(_, event)| is_thing(event));
    events.map(|(index, _)| index).collect()
}

/// Returns whether a fault happens once and for good.
pub(super) fn lasts(fault: &Fault) -> bool {
    fault::form(crate::scenario::fault_name(fault)).is_some_and(|form| form.lasts)
}
