//! Faults by kind: where one can happen, and with what parameters.

use std::net::{IpAddr, Ipv4Addr};

use proxy_core::time::Duration;

use super::{roll::Roll, world};
use crate::{
    dice::Dice,
    origin::{Handshake, Missing, OnCall, OnConnect, Publisher, Withhold},
    scenario::{
        FAULTS, FaultForm,
        model::{
            AddressTaken, Behaving, Comeback, CutBy, Direction, DnsAnswer, Family, Fault, Host, HostRef,
            NextIp, OriginModel, PartitionHow, Role, Scenario, Then,
        },
        words,
    },
};

/// Returns the hosts that a kind of fault can happen to.
pub(super) fn fitting(form: &FaultForm, scenario: &Scenario) -> Vec<HostRef> {
    let fits = |(_, host): &(usize, &Host)| form.on.has(role_of(host));
    let hosts = scenario.hosts.iter().enumerate().filter(fits);
    hosts.filter_map(|(index, _)| u16::try_from(index).ok()).map(HostRef).collect()
}

pub(super) fn role_of(host: &Host) -> crate::scenario::Roles {
    match &host.role {
        Role::Origin(_) => crate::scenario::Roles::ORIGIN,
        Role::Proxy(_) => crate::scenario::Roles::PROXY,
        Role::Player(_) => crate::scenario::Roles::PLAYER,
    }
}

/// Returns the form of a kind.
pub(super) fn form(name: &str) -> Option<&'static FaultForm> {
    FAULTS.iter().find(|form| form.name == name)
}

/// Rolls a fault of this kind on this host. `None`: it makes no sense there.
pub(super) fn roll(name: &'static str, on: HostRef, scenario: &Scenario, dice: &mut Dice) -> Option<Fault> {
    let host = scenario.hosts.get(usize::from(on.0))?;
    let model = match &host.role {
        Role::Origin(model) => Some(&**model),
        Role::Proxy(_) | Role::Player(_) => None,
    };
    Some(match name {
        "term" => Fault::Term(comeback(on, scenario, dice)),
        "kill" => Fault::Kill(comeback(on, scenario, dice)),
        "vanish" => Fault::Vanish(comeback(on, scenario, dice)),
        "freeze" => Fault::Freeze,
        "pause" => Fault::Pause,
        "refuse" => Fault::Refuse,
        "blackhole" => Fault::Blackhole,
        "accept-close" => Fault::AcceptClose,
        "accept-reset" => Fault::AcceptReset,
        "accept-silence" => Fault::AcceptSilence,
        "partition" => partition(on, scenario, dice),
        "loss" => Fault::Loss { ppm: dice.one(&[10_000, 50_000, 200_000, 500_000, 1_000_000]) },
        "duplicate" => Fault::Duplicate { ppm: dice.one(&[10_000, 200_000, 1_000_000]) },
        "reorder" => Fault::Reorder { ppm: dice.one(&[10_000, 200_000, 500_000]) },
        "latency" => {
            let min = dice.wide_millis(1, 2_000);
            Fault::Latency { min, max: min + dice.wide_millis(1, 500) }
        }
        "bandwidth" => Fault::Bandwidth { bits: dice.one(&[8_000, 24_000, 64_000, 500_000]) },
        "mtu" => Fault::Mtu { bytes: dice.one(&[296, 576, 1000, 1280, 1400]), icmp: dice.chance(50) },
        "link-down" => Fault::LinkDown,
        "veth-recreate" => Fault::VethRecreate,
        "network-disconnect" => Fault::Disconnect { ip: next_ip(on, scenario, dice) },
        "conntrack-flush" => Fault::ConntrackFlush,
        "move-address" => {
            // Somebody who dials an address goes on dialling that; and a player that only listens never learns that its proxy
            // has gone elsewhere.
            if model.is_none() || !world::is_named(scenario, on) {
                return None;
            }
            Fault::MoveAddress { ip: NextIp::New, taken: taken(dice) }
        }
        "cut" => Fault::Cut { at: cut_at(dice), by: cut_by(dice) },
        "split" => {
            // Each piece is a packet of its own: single bytes of much would be all that a run is about.
            let is_much = model.is_some_and(|model| bulk(model) > 10_000);
            let pieces = if is_much { [100, 100, 1_000, 1_000] } else { [1, 7, 100, 1_000] };
            Fault::Split { bytes: dice.one(&pieces) }
        }
        "coalesce" => Fault::Coalesce { hold: dice.wide_millis(10, 4_000) },
        "trickle" => {
            Fault::Trickle { bytes: dice.one(&[1, 10, 100, 1_000]), every: dice.wide_millis(10, 2_000) }
        }
        "end" => Fault::End {
            ending: dice.one(words::ENDINGS).1,
            then: dice.one(&[Then::Silence, Then::Close, Then::Reset, Then::GoesOn]),
        },
        "reconnect-request" => {
            Fault::ReconnectRequest { tc_url: elsewhere(on, scenario, dice).map(|(tc_url, _)| tc_url) }
        }
        "publisher-away" => {
            let model = model?;
            let stream = dice.chance(30).then(|| dice.one(&model.streams));
            let back = dice.chance(60).then(|| Box::new(another(&model.publisher, dice)));
            Fault::PublisherAway { stream, back }
        }
        "no-media" => {
            let (audio, video) = dice.one(&[(true, true), (true, false), (false, true)]);
            Fault::NoMedia { audio, video }
        }
        "drip" => Fault::Drip { every: dice.wide_millis(300, 8_000) },
        "no-keyframes" => Fault::NoKeyframes,
        "timestamp-jump" => Fault::TimestampJump {
            by: dice.one(&[-3_600_000, -5_000, -1_001, -500, -40, 40, 900, 9_000, 11_000, 3_600_000]),
        },
        "dns" => dns(scenario, dice)?,
        "wall-clock" => Fault::WallClock { by: dice.one(&[-3_600_000, -1_000, 1_000, 3_600_000]) },
        "late-timers" => Fault::LateTimers { by: dice.wide_millis(1, 50) },
        "no-ports" => Fault::NoPorts,
        "slow-reader" => Fault::SlowReader { rate: dice.one(&[1, 20, 300, 2_000]) },
        "stuck" => Fault::Stuck,
        _ => behave(name, model?, elsewhere(on, scenario, dice), dice)?,
    })
}

/// Rolls a fault that changes how an origin behaves.
fn behave(
    name: &'static str,
    model: &OriginModel,
    elsewhere: Option<(String, String)>,
    dice: &mut Dice,
) -> Option<Fault> {
    let mut to = model.behaviour.clone();
    match name {
        "handshake-truncated" => {
            let len = dice.one(&[0, 1, 2, 1_000, 1_536, 1_537, 1_538, 3_072]);
            to.cut = Some((len, dice.one(&[CutBy::Silence, CutBy::Fin, CutBy::Reset])));
        }
        "handshake-slow" => {
            let len = dice.one(&[10, 100, 1_000]);
            to.handshake = Handshake::Slow { len, every: dice.wide_millis(5, 500) };
        }
        "handshake-wrong" => to.handshake = Handshake::Version(dice.one(&[0, 6, 255])),
        "handshake-strict" => to.handshake = Handshake::Strict,
        "handshake-http" => to.handshake = Handshake::Http,
        "connect-refused" => to.connect = OnConnect::Refuse { description: "no".to_owned() },
        "connect-silent" => to.connect = OnConnect::Never,
        "connect-close" => to.connect = OnConnect::Close,
        "redirect" => {
            let (tc_url, url) = elsewhere?;
            to.connect = OnConnect::Redirect { tc_url, url };
        }
        "create-stream-silent" => to.create_stream = OnCall::Never,
        "create-stream-error" => to.create_stream = OnCall::Error,
        "create-stream-close" => to.create_stream = OnCall::Close,
        "play-silent" => to.play = OnCall::Never,
        "play-error" => to.play = OnCall::Error,
        "play-close" => to.play = OnCall::Close,
        "not-found" => {
            let after = dice.one(&[Duration::ZERO, Duration::from_millis(700), Duration::from_secs(5)]);
            to.missing = Missing::NotFound { after, close: dice.chance(50) };
        }
        "hold-play" => to.command_delay = dice.wide_millis(10, 8_000),
        "no-pings" => to.pings_answered = false,
        "metadata-only" => to.withhold = Withhold::HeadersAndFrames,
        "config-only" => to.withhold = Withhold::Frames,
        "play-empty" => to.withhold = Withhold::Everything,
        _ => return None,
    }
    Some(Fault::Behave(Box::new(Behaving { name, behaviour: to })))
}

fn comeback(on: HostRef, scenario: &Scenario, dice: &mut Dice) -> Comeback {
    let is_origin = world::origin(scenario, on).is_some();
    let ip = next_ip(on, scenario, dice);
    Comeback {
        ip,
        boot: dice.chance(40).then(|| dice.wide_millis(1, 3_000)),
        first_frame: (is_origin && dice.chance(40)).then(|| dice.wide_millis(1, 5_000)),
        // The old address is free only if it is not wanted again.
        taken: if ip == NextIp::New && is_origin { taken(dice) } else { AddressTaken::Nobody },
        never: false,
    }
}

/// Returns a host's next address: another one only where nobody dials it by the old one.
fn next_ip(on: HostRef, scenario: &Scenario, dice: &mut Dice) -> NextIp {
    let is_origin = world::origin(scenario, on).is_some();
    if is_origin && world::is_named(scenario, on) && dice.chance(40) { NextIp::New } else { NextIp::Same }
}

fn taken(dice: &mut Dice) -> AddressTaken {
    dice.one(&[
        AddressTaken::Nobody,
        AddressTaken::Nobody,
        AddressTaken::Refusing,
        AddressTaken::Silent,
        AddressTaken::OtherServer,
    ])
}

fn partition(on: HostRef, scenario: &Scenario, dice: &mut Dice) -> Fault {
    let others = (0..scenario.hosts.len()).filter_map(|index| u16::try_from(index).ok()).map(HostRef);
    let others: Vec<HostRef> = others.filter(|host| *host != on).collect();
    let with = if dice.chance(30) { vec![dice.one(&others)] } else { Vec::new() };
    Fault::Partition {
        with,
        direction: dice.one(&[Direction::Both, Direction::Both, Direction::To, Direction::From]),
        family: if scenario.nets.first().is_some_and(|net| net.ipv6) {
            dice.one(&[None, Some(Family::V4), Some(Family::V6)])
        } else {
            None
        },
        how: dice.one(&[PartitionHow::Drop, PartitionHow::Drop, PartitionHow::Reject]),
    }
}

/// Returns about how many bytes come from an origin at once.
fn bulk(model: &OriginModel) -> usize {
    let largest = model.publisher.video.as_ref().map_or(0, |video| video.bytes.0.max(video.bytes.1));
    model.streams.len() * largest.max(200)
}

/// Returns a byte of what is said: of the handshake and of control exchange as often as of media.
fn cut_at(dice: &mut Dice) -> u64 {
    match dice.below(3) {
        0 => dice.below(64),
        1 => dice.below(4_000),
        _ => dice.below(40_000),
    }
}

fn cut_by(dice: &mut Dice) -> CutBy {
    dice.one(&[CutBy::Fin, CutBy::Reset, CutBy::Silence])
}

/// Returns where an origin can send a pull: the tcUrl and the whole url of a stream.
fn elsewhere(on: HostRef, scenario: &Scenario, dice: &mut Dice) -> Option<(String, String)> {
    let origins = scenario.hosts.iter().filter_map(|host| match &host.role {
        Role::Origin(model) => Some((host, model)),
        Role::Proxy(_) | Role::Player(_) => None,
    });
    let origins: Vec<_> = origins.collect();
    // Whoever asks is sent to this one: of several streams each would have to keep its own.
    let [stream] = world::origin(scenario, on)?.streams.as_slice() else { return None };
    let (app, _) = stream.split_once('/')?;
    let (host, model) = dice.one(&origins);
    let authority =
        if model.port == 1935 { host.name.clone() } else { format!("{}:{}", host.name, model.port) };
    Some((format!("rtmp://{authority}/{app}"), format!("rtmp://{authority}/{stream}")))
}

fn dns(scenario: &Scenario, dice: &mut Dice) -> Option<Fault> {
    let names = world::dialled_names(scenario);
    if names.is_empty() {
        return None;
    }
    let name = dice.one(&names);
    let answer = match dice.below(8) {
        0 => DnsAnswer::NxDomain,
        1 => DnsAnswer::ServFail,
        2 => DnsAnswer::Silent,
        3 => DnsAnswer::Slow(dice.wide_millis(10, 5_000)),
        4 => DnsAnswer::Stale,
        5 | 6 => DnsAnswer::Addresses(addresses(scenario, dice)),
        _ => {
            let origins: Vec<Ipv4Addr> = origin_addresses(scenario).collect();
            if origins.is_empty() {
                return None;
            }
            DnsAnswer::Addresses(vec![IpAddr::V4(dice.one(&origins))])
        }
    };
    Some(Fault::Dns { name, answer })
}

/// Returns addresses nobody has, and perhaps those of origins among them.
fn addresses(scenario: &Scenario, dice: &mut Dice) -> Vec<IpAddr> {
    let first = scenario.nets.first().map_or(0, |net| u32::from(net.subnet.0));
    let mut ips: Vec<Ipv4Addr> =
        (0..=dice.below(3)).map(|n| Ipv4Addr::from(first + 200 + n as u32)).collect();
    for ip in origin_addresses(scenario) {
        if dice.chance(60) {
            let at = usize::try_from(dice.below(ips.len() as u64 + 1)).unwrap_or(0);
            ips.insert(at, ip);
        }
    }
    let has_both = scenario.nets.first().is_some_and(|net| net.ipv6);
    let mut family = || if has_both && dice.chance(50) { Family::V6 } else { Family::V4 };
    ips.into_iter().map(|ip| family().address(ip)).collect()
}

/// Returns the addresses origins begin with.
fn origin_addresses(scenario: &Scenario) -> impl Iterator<Item = Ipv4Addr> {
    let origins = scenario.hosts.iter().filter(|host| matches!(host.role, Role::Origin(_)));
    origins.filter_map(|host| host.ip)
}

/// Returns a publisher that is not quite the one before.
pub(super) fn another(publisher: &Publisher, dice: &mut Dice) -> Publisher {
    let mut publisher = publisher.clone();
    if let Some(video) = &mut publisher.video {
        (video.resize, video.until, video.skip) = (None, None, 0);
    }
    if let Some(audio) = &mut publisher.audio {
        (audio.from, audio.until) = (Duration::ZERO, None);
    }
    publisher.clock.jump = None;
    // An encoder that goes on where it was, behind a relay that does not wait for a keyframe.
    if let Some(video) = publisher.video.as_mut().filter(|video| video.gop > 1 && dice.chance(15)) {
        video.skip = 1 + dice.below(u64::from(video.gop - 1)) as u32;
    }
    match dice.below(4) {
        0 => {
            if let Some(video) = &mut publisher.video {
                video.size = (128, 96);
            }
        }
        // Sound goes only where a picture is left.
        1 if publisher.audio.is_some() && publisher.video.is_some() => publisher.audio = None,
        1 => publisher.audio = Some(world::audio(dice)),
        2 => {
            if let Some(video) = &mut publisher.video {
                video.codec = dice.one(words::VIDEO).1;
            }
        }
        _ => publisher.clock.base = dice.one(&world::CLOCKS),
    }
    // Something goes on.
    if let (None, Some(audio)) = (&publisher.video, &mut publisher.audio) {
        audio.until = None;
    }
    publisher
}
