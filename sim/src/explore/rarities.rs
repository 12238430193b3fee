//! What hardly ever comes together by dice alone: each needs several things at once, and is told as a story of its own in a
//! few of a hundred worlds. What is rolled besides goes on top of it.

use proxy_core::{config::Config, io::PullState, time::Duration};

use super::{
    fault,
    plot::{at, call, end_of, play, push},
    roll::{MILLI, Roll},
    world,
};
use crate::{
    dice::Dice,
    origin::{Missing, OnConnect},
    scenario::model::{
        Act, AddressTaken, Anchor, Behaving, Comeback, DnsAnswer, Ending, Fault, FaultEvent, HostRef,
        LeaveBy, NextIp, PullRef, Role, Scenario, Then, When,
    },
};

/// A rarity: the name of its dice, in how many of a hundred worlds that it fits, and how it is told.
type Rarity = (&'static str, u32, fn(&mut Scenario, &mut Dice) -> Option<()>);

/// Those first that change how an origin behaves: a fault of others is what that was, and one thing more.
const RARITIES: [Rarity; 13] = [
    ("sent away", 30, sent_away),
    ("sound that is new", 6, sound_that_is_new),
    ("begun anew at once", 7, begun_anew_at_once),
    ("name that moves", 80, name_that_moves),
    ("name that is half dead", 20, name_that_is_half_dead),
    ("silence in mid-GOP", 20, silence_in_mid_gop),
    ("sent to and fro", 10, sent_to_and_fro),
    ("ring", 2, ring),
    ("on demand", 4, on_demand),
    ("left in the queue", 40, left_in_the_queue),
    ("passed over", 30, passed_over),
    ("long unwatched", 3, long_unwatched),
    ("many drops", 3, many_drops),
];

/// Tells rarities, each by dice of its own: worlds without one stay what they were.
pub(super) fn tell(scenario: &mut Scenario, seed: u64) {
    for (name, percent, rarity) in RARITIES {
        let mut dice = Dice::new(seed, &format!("explore: {name}"));
        if dice.chance(percent) {
            // None: it makes no sense in this world.
            let _ = rarity(scenario, &mut dice);
        }
    }
}

/// A name leads to one origin at first and to another one later.
fn name_that_moves(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    let [_, other] = *origins(scenario) else { return None };
    let [name] = scenario.names.as_slice() else { return None };
    if name.hosts.len() > 1 {
        return None;
    }
    let ip = scenario.hosts[usize::from(other.0)].ip?.into();
    let fault = Fault::Dns { name: name.name.clone(), answer: DnsAnswer::Addresses(vec![ip]) };
    let time = Some(dice.wide_millis(1_000, 9_000));
    let on = *proxies(scenario).first()?;
    push(scenario, at(0), Act::Fault(FaultEvent { on, fault, time }));
    // Nothing that is lifted in the end: what is not published there never will be.
    let is_published = dice.chance(30);
    world::origin_mut(scenario, other)?.published &= is_published;
    Some(())
}

/// Of the two addresses of a name one is that of a machine without a server.
fn name_that_is_half_dead(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    let [name] = scenario.names.as_slice() else { return None };
    if name.hosts.len() < 2 {
        return None;
    }
    let dead = dice.one(&name.hosts);
    world::origin_mut(scenario, dead)?.up = false;
    Some(())
}

/// An origin begins in the middle of a GOP and falls silent at once.
fn silence_in_mid_gop(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    let on = *origins(scenario).first()?;
    let model = world::origin_mut(scenario, on)?;
    model.behaviour.gop_cache = false;
    model.publisher.audio.get_or_insert_with(|| world::audio(dice));
    let fault = fault::roll("play-empty", on, scenario, dice)?;
    let begins = When {
        anchor: Anchor::Entered(PullRef(0), PullState::AwaitingMedia),
        offset: i64::try_from(dice.between(100, 500) * MILLI).unwrap_or(0),
    };
    let time = Some(dice.millis(600, 1_500));
    push(scenario, begins, Act::Fault(FaultEvent { on, fault, time }));
    Some(())
}

/// A publisher begins anew, and so soon again that its tracks go back by about as much as counts as a jump, the one by less and the
/// other by more; or again and again, and never by so much.
fn begun_anew_at_once(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    let on = *origins(scenario).first()?;
    let publisher = &mut world::origin_mut(scenario, on)?.publisher;
    publisher.video.as_mut()?.fps = dice.one(&[2, 3]);
    publisher.audio.get_or_insert_with(|| world::audio(dice)).period = Duration::from_millis(200);
    let mut begins = dice.between(3_000, 7_000);
    let (times, apart) = dice.one(&[(2, (1_000, 1_500)), (2, (1_000, 1_500)), (6, (700, 1_000))]);
    for _ in 0..times {
        let fault = Fault::PublisherAway { stream: None, back: None };
        let time = Some(Duration::ZERO);
        push(scenario, at(begins * MILLI), Act::Fault(FaultEvent { on, fault, time }));
        begins += dice.between(apart.0, apart.1);
    }
    Some(())
}

/// A publisher begins anew with sound it did not have, and that comes before its picture, which takes longer to pass.
fn sound_that_is_new(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    let on = *origins(scenario).first()?;
    let model = world::origin_mut(scenario, on)?;
    let mut back = model.publisher.clone();
    back.video.as_mut()?.bytes = (9_000, 300);
    back.audio = Some(world::audio(dice));
    model.behaviour.wire.interleave = true;
    model.publisher.audio = None;
    let fault = Fault::PublisherAway { stream: None, back: Some(Box::new(back)) };
    let time = Some(dice.wide_millis(1, 500));
    let begins = dice.between(2_000, 8_000);
    push(scenario, at(begins * MILLI), Act::Fault(FaultEvent { on, fault, time }));
    Some(())
}

/// A stream is to be pulled from itself.
fn ring(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    let proxy = *proxies(scenario).first()?;
    let ring = PullRef(u16::try_from(scenario.pulls.len()).ok()?);
    let home = scenario.hosts[usize::from(proxy.0)].name.clone();
    scenario.pulls.push(world::pull("ring", "live/ring", &format!("rtmp://{home}/live/ring"), dice));
    let begins = at(dice.between(0, 6_000) * MILLI);
    push(scenario, begins, call(proxy, "addStreamProxy", Some(ring), Vec::new()));
    Some(())
}

/// A stream is there while somebody watches; the last viewer leaves, and one comes while that is still new.
fn on_demand(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    let home = only_proxy(scenario)?;
    let groups = players(scenario);
    let (delay, gone) = (dice.between(1_000, 4_000), dice.between(4_000, 6_000));
    let comes = play(*groups.first()?, scenario, dice)?;
    settings(scenario, home)?.pull.auto_close = true;
    settings(scenario, home)?.play.none_reader_delay = Duration::from_millis(delay);
    for event in scenario.events.iter_mut().filter(|event| is_play(&event.act)) {
        event.at = at(dice.between(500, gone) * MILLI);
    }
    for players in groups {
        let by = dice.one(&[LeaveBy::Stop, LeaveBy::Close, LeaveBy::Reset]);
        push(scenario, at(gone * MILLI), Act::Leave { players, by });
    }
    push(scenario, at((gone + dice.between(1, delay)) * MILLI), comes);
    Some(())
}

/// An origin sends us to another one, which has nothing to send.
fn sent_away(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    let [on, other] = *origins(scenario) else { return None };
    if !scenario.names.is_empty() {
        return None;
    }
    let model = world::origin_mut(scenario, other)?;
    model.published = false;
    model.behaviour.missing = Missing::Wait;
    let app = model.streams.first()?.split('/').next()?.to_owned();
    let tc_url = Some(format!("rtmp://{}/{app}", scenario.hosts[usize::from(other.0)].name));
    let begins = at(dice.between(1_000, 6_000) * MILLI);
    push(
        scenario,
        begins,
        Act::Fault(FaultEvent { on, fault: Fault::ReconnectRequest { tc_url }, time: None }),
    );
    Some(())
}

/// Two origins that send whoever asks to each other.
fn sent_to_and_fro(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    let [one, another] = *origins(scenario) else { return None };
    let begins = dice.between(0, 6_000);
    let time = Some(dice.wide_millis(500, 8_000));
    for (on, other) in [(one, another), (another, one)] {
        let [stream] = world::origin(scenario, on)?.streams.as_slice() else { return None };
        let home = format!("rtmp://{}", scenario.hosts[usize::from(other.0)].name);
        let mut behaviour = world::origin(scenario, on)?.behaviour.clone();
        behaviour.connect = OnConnect::Redirect {
            tc_url: format!("{home}/{}", stream.split('/').next()?),
            url: format!("{home}/{stream}"),
        };
        let fault = Fault::Behave(Box::new(Behaving { name: "redirect", behaviour }));
        push(scenario, at(begins * MILLI), Act::Fault(FaultEvent { on, fault, time }));
    }
    Some(())
}

/// Streams that somebody watches lose the origin of them all and wait for each other to be dialled; one is left alone there.
fn left_in_the_queue(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    let lost = dice.between(4_000, 8_000);
    refused_in_a_queue(scenario, scenario.pulls.len(), lost, 6_000)?;
    let players = dice.one(&players(scenario));
    let gone = lost + dice.between(500, 6_000);
    push(scenario, at(gone * MILLI), Act::Leave { players, by: dice.one(&[LeaveBy::Stop, LeaveBy::Reset]) });
    Some(())
}

/// Two streams that somebody watches wait for each other to be dialled, again and again, and one that nobody watches waits
/// behind them.
fn passed_over(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    if scenario.pulls.len() < 3 {
        return None;
    }
    refused_in_a_queue(scenario, 2, dice.between(3_000, 5_000), 20_000)?;
    scenario.run.time = Duration::from_secs(27);
    Some(())
}

/// Has the first streams watched, and their one origin refuse whoever dials it from a time on, so many milliseconds long, where
/// one may be dialled after another.
fn refused_in_a_queue(scenario: &mut Scenario, watched: usize, lost: u64, lasts: u64) -> Option<()> {
    let [on] = *origins(scenario) else { return None };
    let home = only_proxy(scenario)?;
    if players(scenario).len() < 2 || scenario.pulls.len() < 2 {
        return None;
    }
    settings(scenario, home)?.dial.per_address = 1;
    let pulls = scenario.pulls.iter().take(watched);
    let streams: Vec<_> =
        pulls.map(|pull| format!("{}/{}", pull.app, pull.stream.replace("{n}", "1"))).collect();
    let plays = scenario.events.iter_mut().filter_map(|event| match &mut event.act {
        Act::Play { stream, .. } => Some(stream),
        _ => None,
    });
    for (play, stream) in plays.zip(streams.iter().cycle()) {
        play.clone_from(stream);
    }
    let mut loses = |fault, millis| {
        let time = Some(Duration::from_millis(millis));
        push(scenario, at(lost * MILLI), Act::Fault(FaultEvent { on, fault, time }));
    };
    let back = Comeback {
        ip: NextIp::Same,
        boot: None,
        first_frame: None,
        taken: AddressTaken::Nobody,
        never: false,
    };
    loses(Fault::Kill(back), 1);
    loses(Fault::AcceptClose, lasts);
    Some(())
}

/// An origin refuses for so long that a stream nobody watches is tried rarely; then somebody comes.
fn long_unwatched(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    let [on] = *origins(scenario) else { return None };
    let home = only_proxy(scenario)?;
    settings(scenario, home)?.pull.backoff_idle_after = dice.millis(100, 1_000);
    for pull in &mut scenario.pulls {
        pull.args.retain(|(name, _)| name != "force" && name != "retry_count");
        pull.args.insert(0, ("force".to_owned(), "1".to_owned()));
    }
    let comes = dice.between(6_000, 9_000);
    for event in scenario.events.iter_mut().filter(|event| is_play(&event.act)) {
        event.at = at((comes + dice.between(0, 1_000)) * MILLI);
    }
    push(scenario, at(0), Act::Fault(FaultEvent { on, fault: Fault::Refuse, time: None }));
    Some(())
}

/// A stream with few retries is lost and comes back more often than it may fail in a row.
fn many_drops(scenario: &mut Scenario, dice: &mut Dice) -> Option<()> {
    let [on] = *origins(scenario) else { return None };
    let home = only_proxy(scenario)?;
    settings(scenario, home)?.pull.stable_after = dice.millis(300, 1_000);
    for pull in &mut scenario.pulls {
        pull.args.retain(|(name, _)| name != "retry_count");
        pull.args.insert(0, ("retry_count".to_owned(), dice.one(&["1", "2"]).to_owned()));
    }
    let mut time = dice.between(3_000, 5_000) * MILLI;
    while time < end_of(scenario) {
        let ending = dice.one(&[Ending::StreamEof, Ending::PlayStop]);
        let fault = Fault::End { ending, then: dice.one(&[Then::Close, Then::Reset]) };
        push(scenario, at(time), Act::Fault(FaultEvent { on, fault, time: Some(Duration::ZERO) }));
        time += dice.between(2_500, 4_000) * MILLI;
    }
    Some(())
}

fn is_play(act: &Act) -> bool {
    matches!(act, Act::Play { .. })
}

fn origins(scenario: &Scenario) -> Vec<HostRef> {
    world::hosts(scenario, |role| matches!(role, Role::Origin(_)))
}

fn players(scenario: &Scenario) -> Vec<HostRef> {
    world::hosts(scenario, |role| matches!(role, Role::Player(_)))
}

fn proxies(scenario: &Scenario) -> Vec<HostRef> {
    world::hosts(scenario, |role| matches!(role, Role::Proxy(_)))
}

/// Returns the proxy where there is one alone: who pulls through another is never unwatched there.
fn only_proxy(scenario: &Scenario) -> Option<HostRef> {
    let [proxy] = *proxies(scenario) else { return None };
    Some(proxy)
}

fn settings(scenario: &mut Scenario, proxy: HostRef) -> Option<&mut Config> {
    match &mut scenario.hosts.get_mut(usize::from(proxy.0))?.role {
        Role::Proxy(settings) => Some(&mut settings.core),
        Role::Origin(_) | Role::Player(_) => None,
    }
}
