//! A scenario printed and read is the same scenario; ranges resolved are the values that were run.

use std::net::{IpAddr, Ipv4Addr};

use proptest::{collection::vec, option, prelude::*, sample::select};
use proxy_core::{
    io::{PlayOutput, PullState},
    time::Duration,
};
use proxyd::config::Settings;
use sim::{
    origin::{
        Audio, Behaviour, Csids, Ending as Told, Handshake, Like, Missing, OnCall, OnConnect, Payload,
        Publisher, PublisherClock, Shutdown, Unpublish, Video, Withhold,
    },
    raw::media::{AudioCodec, VideoCodec},
    scenario::{
        self,
        model::{
            Act, AddressTaken, Anchor, Behaving, Call, Comeback, CutBy, Direction, DnsAnswer, Ending, Event,
            Expect, Family, Fault, FaultEvent, Host, HostRef, Knob, Layer, LeaveBy, LeftBehind, Level,
            LinkQuality, Meddling, Name, Network, Never, NextIp, OriginModel, PartitionHow, Plane,
            PlayerModel, Publish, PublishVia, PullRef, PullSpec, ReplyWanted, Role, Run, Scenario, Swarm,
            Then, Wanted, When,
        },
    },
};

const ORIGIN: HostRef = HostRef(0);
const PROXY: HostRef = HostRef(1);
const PLAYERS: HostRef = HostRef(2);
const PULL: PullRef = PullRef(0);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn what_is_printed_reads_as_it_was(scenario in scenarios()) {
        let text = scenario::print(&scenario);
        let read = match scenario::read(&text, "generated.toml") {
            Ok(read) => read.without_lines(),
            Err(problems) => panic!("{text}\n{}", tell(&problems)),
        };
        prop_assert_eq!(&read, &scenario, "{}", text);
        prop_assert_eq!(scenario::print(&read), text);
        // Telling what it says is about any scenario there can be.
        prop_assert!(scenario::explain(&read).contains(&scenario.title));
    }
}

const RANGES: &str = r#"# Kept.
schema = 1
id = "generated"
title = "Ranges"   # kept too

[run]
for = "40s"

[host.srs]
role  = "origin"
model = { stream = "live/cam{1..3}", fps = "2..9" }

[host.proxy]
role = "proxy"

[pull.p1]
app = "live"
stream = "cam1"
url = "rtmp://srs/live/cam1"

[timeline]
events = [
  { at = "0s..900ms", add = "p1" },
  { at = "+1s..5s", on = "srs", fault = "kill", for = "1s..9s" },   # and this
  { at = "20s", on = "srs", fault = "loss", percent = "1%..9%", for = "1s..9s" },
  { at = "30s", on = "srs", fault = "loss", percent = "1%..9%", for = "1s..9s", as = "f1" },
]
"#;

#[test]
fn a_resolved_text_is_what_the_seed_ran() {
    for seed in 0..50 {
        let loaded =
            scenario::load(RANGES, "generated.toml", Some(seed)).unwrap_or_else(|e| panic!("{}", tell(&e)));
        let explicit =
            scenario::resolve(RANGES, "generated.toml", seed).unwrap_or_else(|e| panic!("{}", tell(&e)));
        let read =
            scenario::read(&explicit, "generated.toml").unwrap_or_else(|e| panic!("{explicit}{}", tell(&e)));
        assert_eq!(read, loaded.scenario, "lines too");
        let comments = |text: &str| {
            text.lines()
                .filter_map(|line| line.split_once('#'))
                .map(|(_, text)| text.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(comments(&explicit), comments(RANGES));
        assert!(explicit.contains("cam{1..3}"), "counting is no range");
    }
}

#[test]
fn a_line_taken_away_does_not_shift_what_others_roll() {
    let rolled = |text: &str, line: &str| {
        let explicit =
            scenario::resolve(text, "generated.toml", 7).unwrap_or_else(|e| panic!("{}", tell(&e)));
        explicit.lines().find(|found| found.contains(line)).map(str::to_owned)
    };
    let without =
        |line: &str| RANGES.lines().filter(|other| !other.contains(line)).collect::<Vec<_>>().join("\n");
    for (gone, kept) in
        [("\"kill\"", "f1"), ("\"kill\"", "20s"), ("add =", "f1"), ("f1", "20s"), ("20s", "f1")]
    {
        assert_eq!(rolled(&without(gone), kept), rolled(RANGES, kept), "{kept} without {gone}");
    }
    assert_ne!(
        rolled(RANGES, "20s").map(|line| line.replace("20s", "")),
        rolled(RANGES, "f1"),
        "lines roll apart"
    );
}

#[test]
fn a_text_without_ranges_resolves_to_itself() {
    let text = include_str!("../../scenarios/field/3810-srs-restart.toml");
    assert_eq!(scenario::resolve(text, "scenarios/field/3810-srs-restart.toml", 3).as_deref(), Ok(text));
}

fn tell(problems: &[scenario::Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

// ---- scenarios there can be ----

fn scenarios() -> impl Strategy<Value = Scenario> {
    let head = (texts(), vec(texts(), 0..3), durations(80_000..90_000), vec(any::<u32>(), 1..3), planes());
    let who = (nets(), origins(), proxies(), players(), names(), pulls());
    let what = (vec(events(), 0..8), vec(expects(), 0..5), option::of(texts()), option::of(swarms()));
    (head, who, what).prop_map(
        |((title, refs, time, seeds, planes), who, (events, expects, why_not, swarm))| {
            let (net, origin, proxy, players, names, pull) = who;
            let host = |name: &str, ip: Option<u8>, publish, role| Host {
                line: 0,
                name: name.to_owned(),
                net: 0,
                ip: ip.map(|last| Ipv4Addr::new(10, 1, 0, last)),
                publish,
                role,
            };
            let (model, publish) = origin;
            let hosts = vec![
                host("srs", Some(2), publish, Role::Origin(Box::new(model.clone()))),
                host("proxy", None, None, Role::Proxy(Box::new(proxy))),
                host("viewer", Some(20), None, Role::Player(players)),
            ];
            let count = events.len();
            let number = |(index, plan)| event(plan, index, index + 1 == count, &model);
            let events = events.into_iter().enumerate().map(number).collect();
            Scenario {
                id: "generated".to_owned(),
                title,
                refs,
                defects: vec!["erase-by-key".to_owned()],
                run: Run { time, seeds: seeds.into_iter().map(u64::from).collect(), planes, why_not },
                nets: vec![net],
                hosts,
                names,
                pulls: vec![pull],
                events,
                expects: expects
                    .into_iter()
                    .map(|plan| Expect { line: 0, what: expect(plan, count) })
                    .collect(),
                swarm,
            }
        },
    )
}

fn swarms() -> impl Strategy<Value = Swarm> {
    let faults = proptest::sample::subsequence(vec!["kill", "loss", "cut", "stuck"], 0..=4);
    let on = proptest::sample::subsequence(vec![ORIGIN, PROXY, PLAYERS], 3..=3);
    let calls = proptest::sample::subsequence(vec![Meddling::Add, Meddling::Close, Meddling::Look], 0..=3);
    let knobs = proptest::sample::subsequence(vec![Knob::Software, Knob::Link, Knob::Options], 0..=3);
    let spans = || (durations(0..5_000), durations(5_000..9_000));
    (faults, on, calls, knobs, 0_u16..4, option::of(spans()), spans()).prop_map(
        |(faults, on, calls, knobs, at_least, between, lasts)| Swarm {
            line: 0,
            faults,
            on,
            calls,
            at_least,
            at_most: 4,
            between,
            lasts,
            knobs,
        },
    )
}

/// An event before it knows what stands above it.
type EventPlan = (u8, i64, Option<Duration>, ActPlan);

#[derive(Clone, Debug)]
enum ActPlan {
    Act(Act),
    Fault { on: HostRef, fault: FaultPlan, time: Option<Duration> },
}

#[derive(Clone, Debug)]
enum FaultPlan {
    Fault(Fault),
    Behave(&'static str, Box<Behaviour>),
}

fn event(plan: EventPlan, index: usize, is_last: bool, model: &OriginModel) -> Event {
    let (anchor, offset, every, act) = plan;
    let above = index.checked_sub(1);
    let anchor = match (anchor % 8, above) {
        (0, Some(above)) => Anchor::Start(above),
        (1, Some(_)) => Anchor::Start(0),
        (2, _) => Anchor::Listening(ORIGIN),
        (3, _) => Anchor::Serving(ORIGIN),
        (4, _) => Anchor::Entered(PULL, PullState::BackingOff),
        (5, _) => Anchor::Watching(PLAYERS),
        // Others would begin after the end.
        (6, _) if is_last => Anchor::End,
        (_, _) => Anchor::Zero,
    };
    let offset = if anchor == Anchor::End { -offset - 1 } else { offset };
    let act = match act {
        ActPlan::Act(act) => act,
        ActPlan::Fault { on, fault, time } => {
            let fault = match fault {
                FaultPlan::Fault(fault) => fault,
                FaultPlan::Behave(name, change) => Fault::Behave(Box::new(behaving(name, *change, model))),
            };
            Act::Fault(FaultEvent { on, fault, time })
        }
    };
    let is_once = matches!(act, Act::Start { .. });
    let is_repair = matches!(act, Act::Repair { .. });
    let every =
        if is_repair { Some(every.unwrap_or(Duration::from_secs(1))) } else { every.filter(|_| !is_once) };
    Event { line: 0, at: When { anchor, offset }, name: Some(format!("e{index}")), every, act }
}

/// What a fault changes stands on the origin's own behaviour.
fn behaving(name: &'static str, change: Behaviour, model: &OriginModel) -> Behaving {
    let mut behaviour = model.behaviour.clone();
    match name {
        "handshake-truncated" => behaviour.cut = change.cut,
        "not-found" => behaviour.missing = change.missing,
        "hold-play" => behaviour.command_delay = change.command_delay,
        "no-pings" => behaviour.pings_answered = false,
        "config-only" => behaviour.withhold = Withhold::Frames,
        "play-silent" => behaviour.play = OnCall::Never,
        "create-stream-error" => behaviour.create_stream = OnCall::Error,
        "redirect" | "connect-refused" => behaviour.connect = change.connect,
        _ => behaviour.handshake = change.handshake,
    }
    Behaving { name, behaviour }
}

fn events() -> impl Strategy<Value = EventPlan> {
    (any::<u8>(), 0..8_000_000_000_i64, option::of(durations(1..9_000)), acts())
}

fn acts() -> impl Strategy<Value = ActPlan> {
    let calls = ["addStreamProxy", "delStreamProxy", "close_streams", "updateStreamProxy", "getProxyInfo"];
    let call = (select(calls.to_vec()), any::<bool>(), arguments(), replies());
    prop_oneof![
        call.prop_map(|(call, is_about, args, reply)| {
            let pull = is_about.then_some(PULL);
            ActPlan::Act(Act::Call(Call { proxy: PROXY, call: call.to_owned(), pull, args, reply }))
        }),
        any::<bool>().prop_map(|closes| ActPlan::Act(Act::Repair { proxy: PROXY, pull: PULL, closes })),
        (select(vec![PROXY, ORIGIN]), outputs()).prop_map(|(at, via)| {
            ActPlan::Act(Act::Play { players: PLAYERS, at, stream: "live/111".to_owned(), via })
        }),
        select(vec![LeaveBy::Stop, LeaveBy::Close, LeaveBy::Reset, LeaveBy::Vanish])
            .prop_map(|by| ActPlan::Act(Act::Leave { players: PLAYERS, by })),
        (any::<bool>(), option::of(publishers()), any::<bool>()).prop_map(|(is_all, publisher, silently)| {
            let stream = (!is_all).then(|| "live/111".to_owned());
            ActPlan::Act(Act::Publish {
                origin: ORIGIN,
                stream,
                publisher: publisher.map(Box::new),
                silently,
            })
        }),
        Just(ActPlan::Act(Act::Start { origin: ORIGIN })),
        (lasting(), option::of(durations(0..20_000))).prop_map(|((on, fault), time)| ActPlan::Fault {
            on,
            fault,
            time
        }),
        at_once().prop_map(|(on, fault)| ActPlan::Fault { on, fault, time: None }),
    ]
}

fn partitions() -> impl Strategy<Value = Fault> {
    let directions = select(vec![Direction::Both, Direction::To, Direction::From]);
    let families = select(vec![None, Some(Family::V4), Some(Family::V6)]);
    (any::<bool>(), directions, families).prop_map(|(all, direction, family)| {
        let with = if all { Vec::new() } else { vec![PROXY, PLAYERS] };
        Fault::Partition { with, direction, family, how: PartitionHow::Reject }
    })
}

fn lasting() -> impl Strategy<Value = (HostRef, FaultPlan)> {
    let plain = vec![
        Fault::Freeze,
        Fault::Pause,
        Fault::Refuse,
        Fault::Blackhole,
        Fault::AcceptClose,
        Fault::AcceptReset,
        Fault::AcceptSilence,
        Fault::LinkDown,
        Fault::VethRecreate,
        Fault::NoKeyframes,
        Fault::NoMedia { audio: true, video: false },
        Fault::End { ending: Ending::UnpublishNotify, then: Then::Silence },
        Fault::End { ending: Ending::AppShutdown, then: Then::Close },
        Fault::Disconnect { ip: NextIp::New },
    ];
    let at_origin = prop_oneof![
        select(plain),
        comebacks().prop_map(Fault::Kill),
        comebacks().prop_map(Fault::Vanish),
        partitions(),
        (0..=1_000_000_u32).prop_map(|ppm| Fault::Loss { ppm }),
        (0..=1_000_000_u32).prop_map(|ppm| Fault::Reorder { ppm }),
        (durations(0..100), durations(100..200)).prop_map(|(min, max)| Fault::Latency { min, max }),
        (8..10_000_000_u64).prop_map(|bits| Fault::Bandwidth { bits }),
        (68..1500_u32, any::<bool>()).prop_map(|(bytes, icmp)| Fault::Mtu { bytes, icmp }),
        (1..2000_u32).prop_map(|bytes| Fault::Split { bytes }),
        durations(1..900).prop_map(|hold| Fault::Coalesce { hold }),
        (1..90_u32, durations(1..900)).prop_map(|(bytes, every)| Fault::Trickle { bytes, every }),
        durations(1..9000).prop_map(|every| Fault::Drip { every }),
        option::of(publishers())
            .prop_map(|back| Fault::PublisherAway { stream: None, back: back.map(Box::new) }),
        answers().prop_map(|answer| Fault::Dns { name: "camera".to_owned(), answer }),
    ];
    prop_oneof![
        at_origin.prop_map(|fault| (ORIGIN, FaultPlan::Fault(fault))),
        behaviours().prop_map(|(name, change)| (ORIGIN, FaultPlan::Behave(name, Box::new(change)))),
        (1..1_000_000_u64).prop_map(|rate| (PLAYERS, FaultPlan::Fault(Fault::SlowReader { rate }))),
        Just((PLAYERS, FaultPlan::Fault(Fault::Stuck))),
        durations(0..200).prop_map(|by| (PROXY, FaultPlan::Fault(Fault::LateTimers { by }))),
        Just((PROXY, FaultPlan::Fault(Fault::NoPorts))),
    ]
}

fn at_once() -> impl Strategy<Value = (HostRef, FaultPlan)> {
    let hour = 3_600_000_i64;
    prop_oneof![
        Just((PROXY, Fault::ConntrackFlush)),
        (0..9_000_u64).prop_map(|at| (ORIGIN, Fault::Cut { at, by: CutBy::Silence })),
        Just((
            ORIGIN,
            Fault::MoveAddress { ip: NextIp::Ip(Ipv4Addr::new(10, 1, 0, 9)), taken: AddressTaken::Refusing }
        )),
        option::of(texts()).prop_map(|tc_url| (ORIGIN, Fault::ReconnectRequest { tc_url })),
        (-hour..hour).prop_map(|by| (ORIGIN, Fault::TimestampJump { by })),
        (-hour..hour).prop_map(|by| (PROXY, Fault::WallClock { by })),
    ]
    .prop_map(|(on, fault)| (on, FaultPlan::Fault(fault)))
}

fn behaviours() -> impl Strategy<Value = (&'static str, Behaviour)> {
    let plain = Behaviour::default;
    prop_oneof![
        (0..3073_u64, prop_oneof![Just(CutBy::Fin), Just(CutBy::Reset), Just(CutBy::Silence)])
            .prop_map(move |cut| ("handshake-truncated", Behaviour { cut: Some(cut), ..plain() })),
        (1..3073_usize, durations(1..900)).prop_map(move |(len, every)| {
            ("handshake-slow", Behaviour { handshake: Handshake::Slow { len, every }, ..plain() })
        }),
        (4..=255_u8).prop_map(move |version| {
            ("handshake-wrong", Behaviour { handshake: Handshake::Version(version), ..plain() })
        }),
        Just(("handshake-strict", Behaviour { handshake: Handshake::Strict, ..plain() })),
        texts().prop_map(move |description| {
            ("connect-refused", Behaviour { connect: OnConnect::Refuse { description }, ..plain() })
        }),
        (texts(), texts()).prop_map(move |(tc_url, url)| {
            ("redirect", Behaviour { connect: OnConnect::Redirect { tc_url, url }, ..plain() })
        }),
        (durations(0..20_000), any::<bool>()).prop_map(move |(after, close)| {
            ("not-found", Behaviour { missing: Missing::NotFound { after, close }, ..plain() })
        }),
        durations(0..20_000)
            .prop_map(move |command_delay| ("hold-play", Behaviour { command_delay, ..plain() })),
        select(vec!["no-pings", "config-only", "play-silent", "create-stream-error"])
            .prop_map(move |name| (name, plain())),
    ]
}

fn comebacks() -> impl Strategy<Value = Comeback> {
    let taken = vec![AddressTaken::Nobody, AddressTaken::Silent, AddressTaken::OtherServer];
    (
        select(vec![NextIp::Same, NextIp::New]),
        option::of(durations(0..9000)),
        option::of(durations(0..9000)),
        select(taken),
    )
        .prop_map(|(ip, boot, first_frame, taken)| Comeback {
            ip,
            boot,
            first_frame,
            taken,
            never: false,
        })
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    let families = select(vec![Family::V4, Family::V6]);
    // Of IPv6 only those of the network are anybody's.
    (any::<u32>(), families).prop_map(|(bits, family)| match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(bits)),
        Family::V6 => family.address(Ipv4Addr::new(10, 1, 0, 20 + (bits % 200) as u8)),
    })
}

fn answers() -> impl Strategy<Value = DnsAnswer> {
    prop_oneof![
        select(vec![DnsAnswer::NxDomain, DnsAnswer::ServFail, DnsAnswer::Silent, DnsAnswer::Stale]),
        durations(1..9000).prop_map(DnsAnswer::Slow),
        vec(addresses(), 0..3).prop_map(DnsAnswer::Addresses),
    ]
}

/// An expectation before it knows how many events there are.
type ExpectPlan = (u8, usize, i64, Option<Duration>, Option<Duration>);

fn expects() -> impl Strategy<Value = ExpectPlan> {
    (
        any::<u8>(),
        any::<usize>(),
        0..9_000_000_000_i64,
        option::of(durations(1..9000)),
        option::of(durations(1..9000)),
    )
}

fn expect((kind, event, offset, at_most, max_gap): ExpectPlan, events: usize) -> Wanted {
    let after = match events {
        0 => When { anchor: Anchor::Zero, offset },
        _ => When { anchor: Anchor::Serving(ORIGIN), offset: i64::try_from(event % events).unwrap_or(0) },
    };
    let (from, until) = (When { anchor: Anchor::Zero, offset }, When { anchor: Anchor::End, offset: 0 });
    let players = vec![PLAYERS];
    match kind % 9 {
        0 => Wanted::FramesAt { players, after, at_most, max_gap, until: Some(until) },
        1 => Wanted::Never { what: Never::PlayerDisconnected, players, pulls: Vec::new(), from, until },
        2 => Wanted::Never { what: Never::Rebuilt, players: Vec::new(), pulls: vec![PULL], from, until },
        3 => Wanted::Told { players, status: "NetStream.Play.StreamNotFound".to_owned(), after, at_most },
        4 => Wanted::Dials { to: Some(ORIGIN), from, until, at_least: Some(1), at_most: Some(7) },
        5 => Wanted::Entered { pull: PULL, state: PullState::AwaitingMedia, after, within: at_most },
        6 => Wanted::Removed { pull: PULL, after, within: at_most },
        7 => Wanted::NoticedBy { pull: PULL, layer: Layer::Media, after, within: at_most },
        _ => Wanted::RecoveredBy { pull: PULL, level: Level::Redial, after },
    }
}

fn nets() -> impl Strategy<Value = Network> {
    let link =
        (durations(0..2), durations(2..9), 0..=1_000_000_u32, option::of(8..9_000_000_u64), 1280..9000_u32);
    let left = (any::<bool>(), any::<bool>(), any::<bool>());
    (1..9_u8, link, left, option::of(durations(1..9000))).prop_map(
        |(gateway, link, left, conntrack_timeout)| {
            let (latency_min, latency_max, loss_ppm, bandwidth, mtu) = link;
            Network {
                line: 0,
                name: "lan".to_owned(),
                is_docker: true,
                subnet: (Ipv4Addr::new(10, 1, 0, 0), 24),
                // Not the origin's.
                gateway: Ipv4Addr::new(10, 1, 0, if gateway == 2 { 1 } else { gateway }),
                ipv6: true,
                link: LinkQuality {
                    latency_min,
                    latency_max,
                    loss_ppm,
                    duplicate_ppm: 0,
                    reorder_ppm: 7,
                    bandwidth,
                    mtu,
                },
                on_stop: LeftBehind { neighbours_stale: left.0, conntrack_kept: left.1, reassign_ip: left.2 },
                conntrack_timeout,
            }
        },
    )
}

fn origins() -> impl Strategy<Value = (OriginModel, Option<Publish>)> {
    let likes = vec![Like::Srs6, Like::NginxRtmp, Like::ZlMediaKit, Like::Ffmpeg];
    let unpublish = vec![Unpublish::Silent, Unpublish::Notify, Unpublish::EofAndClose];
    let liberties = (select(unpublish), any::<bool>(), 1..100_000_usize, option::of(durations(1..9000)));
    let publish = select(vec![
        None,
        Some(Publish { port: 1935, via: PublishVia::Dnat }),
        Some(Publish { port: 1940, via: PublishVia::DockerProxy }),
    ]);
    (select(likes), publishers(), 1..60_u32, durations(0..3000), liberties, publish).prop_map(
        |(like, publisher, streams, boot, (unpublish, gop_cache, chunk_size, delay), publish)| {
            let mut behaviour = Behaviour::like(like);
            (behaviour.unpublish, behaviour.gop_cache, behaviour.wire.chunk_size) =
                (unpublish, gop_cache, chunk_size);
            if gop_cache {
                (behaviour.csids, behaviour.shutdown) = (Csids::FAR, Shutdown::Told(Told::UnpublishNotify));
            }
            behaviour.missing =
                delay.map_or(behaviour.missing, |after| Missing::NotFound { after, close: false });
            let model = OriginModel {
                like,
                behaviour,
                port: 1935,
                backlog: u16::try_from(chunk_size % 3).unwrap_or(0) * 64,
                streams: (0..streams).map(|n| format!("live/{}", 111 + n)).collect(),
                publisher,
                boot,
                first_frame: Duration::from_secs(3),
                published: gop_cache,
                up: false,
            };
            (model, publish)
        },
    )
}

fn publishers() -> impl Strategy<Value = Publisher> {
    let videos =
        vec![VideoCodec::Avc, VideoCodec::HevcLegacy, VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Unknown];
    let video = (
        select(videos),
        1..60_u32,
        1..300_u32,
        (16..4000_u32, 16..4000_u32),
        (0..90_000_usize, 0..9000_usize),
    );
    let video = (video, option::of(durations(1..9000)), option::of(durations(0..9000)));
    let video = video.prop_map(|((codec, fps, gop, size, bytes), until, resize)| Video {
        codec,
        fps,
        gop,
        size,
        bytes,
        until,
        skip: gop / 2,
        cues: gop % 2 == 0,
        resize: resize.map(|at| (at, (128, 96))),
    });
    let audios = vec![AudioCodec::AacStereo, AudioCodec::AacMono, AudioCodec::Opus, AudioCodec::Unknown];
    let audio = (select(audios), durations(1..900), durations(0..900), option::of(durations(1..9000)));
    let audio =
        audio.prop_map(|(codec, period, from, until)| Audio { codec, period, from, until, bytes: 77 });
    let jump = option::of((durations(0..9000), -9_000_000..9_000_000_i64));
    let clock = (any::<u32>(), any::<bool>(), jump, -900..900_i64);
    let clock = clock.prop_map(|(base, mask31, jump, drift)| PublisherClock { base, mask31, jump, drift });
    (option::of(video), option::of(audio), clock).prop_map(|(video, audio, clock)| {
        // One without anything is refused.
        let video = if audio.is_none() { Some(video.unwrap_or_default()) } else { video };
        let payload = if clock.mask31 { Payload::Stub } else { Payload::Decodable };
        Publisher { video, audio, clock, payload }
    })
}

fn proxies() -> impl Strategy<Value = Settings> {
    (option::of(100..9000_u64), any::<bool>(), option::of("[a-z\"\\\\ ]{1,9}")).prop_map(|(stall, is_static, id)| {
        let mut text = String::new();
        if let Some(stall) = stall {
            text.push_str(&format!("[pull]\nstall_timeout_ms = {stall}\ntrack_stall_timeout_ms = 10000\n"));
        }
        if is_static {
            text.push_str("[[proxy]]\napp = \"live\"\nstream = \"x\"\nurl = \"rtmp://srs/live/111\"\nretry_count = 3\n");
        }
        let mut settings = Settings::parse(&text).expect("a small file").settings;
        settings.general.media_server_id = id.unwrap_or(settings.general.media_server_id);
        settings
    })
}

fn players() -> impl Strategy<Value = PlayerModel> {
    (1..50_u16, option::of(durations(0..9000)), option::of(1..1_000_000_u64))
        .prop_map(|(count, retry, read_rate)| PlayerModel { count, retry, read_rate })
}

fn names() -> impl Strategy<Value = Vec<Name>> {
    (any::<bool>(), vec(addresses(), 0..3), durations(0..9000)).prop_map(|(has, ips, ttl)| {
        let hosts = if has { vec![ORIGIN] } else { Vec::new() };
        vec![
            Name { line: 0, name: "camera".to_owned(), hosts, ips, ttl },
            Name { line: 0, name: "no.where".to_owned(), hosts: Vec::new(), ips: Vec::new(), ttl },
        ]
    })
}

fn pulls() -> impl Strategy<Value = PullSpec> {
    let urls = ["rtmp://srs/live/111", "rtmp://10.1.0.2/live/111?token=a\"b", "rtmp://no.where/live/111"];
    (select(urls.to_vec()), any::<bool>(), arguments()).prop_map(|(url, is_forced, other)| {
        let mut args = Vec::new();
        if is_forced {
            args.push(("retry_count".to_owned(), "-1".to_owned()));
            args.push(("force".to_owned(), "1".to_owned()));
        }
        args.extend(other);
        PullSpec {
            line: 0,
            name: "p1".to_owned(),
            app: "live".to_owned(),
            stream: "111".to_owned(),
            url: url.to_owned(),
            count: 1,
            args,
        }
    })
}

fn replies() -> impl Strategy<Value = ReplyWanted> {
    let streams = option::of(vec(select(vec!["live/111", "live/112"]).prop_map(str::to_owned), 0..3));
    let parts = (
        option::of(-500..500_i64),
        option::of(texts()),
        any::<bool>(),
        option::of(durations(1..9000)),
        streams,
    );
    (parts, arguments()).prop_map(|((code, msg, refusal_only_if_true, within, streams), fields)| {
        ReplyWanted { code, msg, refusal_only_if_true, within, streams, fields }
    })
}

fn arguments() -> impl Strategy<Value = Vec<(String, String)>> {
    let names = select(vec!["vhost", "data.state", "rtp_type", "Ünusual key"]);
    option::of((names, texts()))
        .prop_map(|arg| arg.into_iter().map(|(name, text)| (name.to_owned(), text)).collect())
}

fn planes() -> impl Strategy<Value = Vec<Plane>> {
    select(vec![
        vec![Plane::Core],
        vec![Plane::Core, Plane::Turmoil, Plane::Netns, Plane::Container],
        vec![Plane::Netns],
    ])
}

fn outputs() -> impl Strategy<Value = Vec<PlayOutput>> {
    select(vec![
        vec![PlayOutput::Rtmp],
        vec![PlayOutput::HttpFlv],
        vec![PlayOutput::Rtmp, PlayOutput::HttpFlv],
    ])
}

/// Text with everything a quoted text must survive.
fn texts() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9#\"'\\\\\n\t=é{} ,.]{1,12}"
}

/// Times in milliseconds, some with odd nanoseconds.
fn durations(millis: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    (millis, select(vec![0, 0, 1, 1_000])).prop_map(|(millis, nanos)| {
        Duration::from_nanos(millis * 1_000_000 + if millis == 0 { 0 } else { nanos })
    })
}
