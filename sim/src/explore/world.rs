//! The built-in universe's worlds: who there is before anything goes wrong. Small, so that thousands run in a minute.

use std::net::{IpAddr, Ipv4Addr};

use proxy_core::{time::Duration, url::OriginUrl};
use proxyd::config::Settings;

use super::roll::Roll;
use crate::{
    dice::Dice,
    net::packet::host_address,
    origin::{
        ACCEPT_QUEUE, Audio, Behaviour, Csids, Handshake, Like, Missing, Publisher, SecondPlay, Shutdown,
        Video,
    },
    raw::{chunk::Headers, media::AudioCodec},
    scenario::model::{
        Host, HostRef, Knob, LeftBehind, LinkQuality, Name, Network, OriginModel, Plane, PlayerModel,
        Publish, PublishVia, PullSpec, Role, Run, Scenario,
    },
};

/// Clocks that begin where something turns over.
pub(super) const CLOCKS: [u32; 5] = [0, 0x00FF_F000, 0x7FFF_F000, 0xFFFF_F000, 1_234_567];

/// The network's first address.
const SUBNET: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 0);
/// The machine's address on it.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);

/// How many worlds have a crowd of streams, in a hundred.
const CROWDED: u32 = 3;

/// How many have somebody who cannot keep up, in a hundred.
const LAGGING: u32 = 3;

/// How pulls get to their origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By the host's name.
    Name,
    /// By its address.
    Address,
    /// By the machine's address and a published port.
    Published(PublishVia),
    /// By another name, which may have several addresses.
    Alias,
}

/// Makes a world: networks, hosts, names and pulls, and nothing that happens.
pub(super) fn make(seed: u64) -> Scenario {
    let mut dice = Dice::new(seed, "explore: world");
    let dice = &mut dice;
    let way = dice.one(&[
        Way::Name,
        Way::Name,
        Way::Name,
        Way::Address,
        Way::Published(PublishVia::Dnat),
        Way::Published(PublishVia::DockerProxy),
        Way::Alias,
    ]);
    let is_chain = dice.chance(8);
    let origins = if way == Way::Alias || dice.chance(15) { 2 } else { 1 };
    let streams: Vec<String> = (1..=dice.one(&[1, 1, 1, 2, 3])).map(|n| format!("live/cam{n}")).collect();
    let time = dice.millis(9_000, 22_000);
    let mut scenario = Scenario {
        id: String::new(),
        title: String::new(),
        refs: Vec::new(),
        defects: Vec::new(),
        run: Run { time, seeds: vec![seed], planes: vec![Plane::Core], why_not: None },
        nets: vec![net(matches!(way, Way::Published(_)) || dice.chance(60), dice)],
        hosts: Vec::new(),
        names: Vec::new(),
        pulls: Vec::new(),
        events: Vec::new(),
        expects: Vec::new(),
        swarm: None,
    };
    for n in 0..origins {
        let publish = match way {
            Way::Published(via) if n == 0 => Some(Publish { port: 1935, via }),
            Way::Published(_) | Way::Name | Way::Address | Way::Alias => None,
        };
        let ip = Some(Ipv4Addr::from(u32::from(SUBNET) + 10 + n));
        let mut model = origin_model(streams.clone(), dice);
        // One that stands by, where its name does not lead yet.
        model.published &= n == 0 || way != Way::Alias || !dice.chance(25);
        scenario.hosts.push(host(&format!("srs{}", n + 1), ip, publish, Role::Origin(Box::new(model))));
    }
    scenario.hosts.push(host("proxy", None, None, Role::Proxy(Box::new(settings(dice)))));
    if is_chain {
        scenario.hosts.push(host("edge", None, None, Role::Proxy(Box::new(settings(dice)))));
    }
    for n in 1..=dice.one(&[1, 1, 2, 2, 3]) {
        let model = PlayerModel {
            count: dice.one(&[1, 1, 1, 2]),
            retry: dice.chance(40).then(|| dice.wide_millis(10, 3_000)),
            read_rate: dice.chance(8).then(|| dice.one(&[4_000, 40_000])),
        };
        scenario.hosts.push(host(&format!("viewer{n}"), None, None, Role::Player(model)));
    }
    if way == Way::Alias {
        let hosts = if dice.chance(60) { vec![HostRef(0), HostRef(1)] } else { vec![HostRef(0)] };
        let ttl = dice.one(&[Duration::ZERO, Duration::from_millis(500), Duration::from_secs(3)]);
        scenario.names.push(Name { line: 0, name: "media".to_owned(), hosts, ips: Vec::new(), ttl });
    }
    for (n, stream) in streams.iter().enumerate() {
        let origin = if origins == 2 && way != Way::Alias { 1 + (n as u32 % 2) } else { 1 };
        let authority = match way {
            Way::Name => format!("srs{origin}"),
            Way::Address => Ipv4Addr::from(u32::from(SUBNET) + 9 + origin).to_string(),
            Way::Published(_) if origin == 1 => GATEWAY.to_string(),
            Way::Published(_) => format!("srs{origin}"),
            Way::Alias => "media".to_owned(),
        };
        scenario.pulls.push(pull(
            &format!("cam{}", n + 1),
            stream,
            &format!("rtmp://{authority}/{stream}"),
            dice,
        ));
    }
    if is_chain {
        let (pull_name, stream) = ("far", "live/far");
        scenario.pulls.push(pull(pull_name, stream, &format!("rtmp://proxy/{}", streams[0]), dice));
    }
    // By dice of its own: worlds without a crowd stay what they were.
    let mut dice = Dice::new(seed, "explore: crowd");
    if !is_chain && dice.chance(CROWDED) {
        add_crowd(&mut scenario, &mut dice);
    }
    let mut dice = Dice::new(seed, "explore: lag");
    if dice.chance(LAGGING) {
        add_lag(&mut scenario, &mut dice);
    }
    scenario
}

/// Makes pictures large, queues short and one player slow: socket buffers take up to 128 KiB before anything waits in the
/// proxy.
fn add_lag(scenario: &mut Scenario, dice: &mut Dice) {
    for model in origin_models(scenario) {
        if let Some(video) = &mut model.publisher.video {
            (video.fps, video.bytes) = (5, (24_000, 12_000));
        }
    }
    let mut rate = Some(dice.one(&[16_000, 30_000]));
    for host in &mut scenario.hosts {
        match &mut host.role {
            Role::Proxy(settings) => {
                settings.core.play.queue_bytes_max = dice.one(&[16 * 1024, 64 * 1024]);
                settings.core.play.send_bytes_max = dice.one(&[1_024, 8 * 1024]);
            }
            Role::Player(model) => model.read_rate = rate.take().or(model.read_rate),
            Role::Origin(_) => {}
        }
    }
}

/// Adds streams all alike, more than may be dialled at once: they wait for each other, and somebody waits behind them.
fn add_crowd(scenario: &mut Scenario, dice: &mut Dice) {
    let Some(first) = scenario.pulls.first() else { return };
    let Some((root, _)) = first.url.rsplit_once('/') else { return };
    let spec = PullSpec {
        name: "many".to_owned(),
        stream: "many{n}".to_owned(),
        url: format!("{root}/many{{n}}"),
        count: dice.one(&[10, 12]),
        ..first.clone()
    };
    for model in origin_models(scenario) {
        model.streams.extend((1..=spec.count).map(|n| format!("{}/many{n}", spec.app)));
    }
    for host in &mut scenario.hosts {
        if let Role::Proxy(settings) = &mut host.role {
            settings.core.dial.per_address = dice.one(&[1, 2, 5]);
        }
    }
    scenario.pulls.push(spec);
}

/// Varies what knobs name in a world that is there.
pub(super) fn turn(knobs: &[Knob], scenario: &mut Scenario, dice: &mut Dice) {
    for knob in knobs {
        match knob {
            Knob::Software => {
                for model in origin_models(scenario) {
                    let like = dice.one(&Like::ALL);
                    (model.like, model.behaviour) = (like, behaviour(like, dice));
                    (model.boot, model.first_frame) = boot(dice);
                }
            }
            Knob::Content => {
                origin_models(scenario).for_each(|model| model.publisher = publisher(dice));
            }
            Knob::Link => scenario.nets.iter_mut().for_each(|net| net.link = link(dice)),
            Knob::Config => {
                for host in &mut scenario.hosts {
                    if let Role::Proxy(settings) = &mut host.role {
                        configure(settings, dice);
                    }
                }
            }
            Knob::Options => {
                for pull in &mut scenario.pulls {
                    pull.args.retain(|(name, _)| !proxyd::config::has_option(name));
                    pull.args.splice(0..0, options(dice));
                }
            }
        }
    }
}

fn origin_models(scenario: &mut Scenario) -> impl Iterator<Item = &mut OriginModel> {
    scenario.hosts.iter_mut().filter_map(|host| match &mut host.role {
        Role::Origin(model) => Some(&mut **model),
        Role::Proxy(_) | Role::Player(_) => None,
    })
}

fn host(name: &str, ip: Option<Ipv4Addr>, publish: Option<Publish>, role: Role) -> Host {
    Host { line: 0, name: name.to_owned(), net: 0, ip, publish, role }
}

fn net(is_docker: bool, dice: &mut Dice) -> Network {
    Network {
        line: 0,
        name: if is_docker { "docker0" } else { "lan" }.to_owned(),
        is_docker,
        subnet: (SUBNET, 16),
        gateway: GATEWAY,
        link: link(dice),
        on_stop: LeftBehind {
            neighbours_stale: dice.chance(50),
            conntrack_kept: dice.chance(50),
            reassign_ip: dice.chance(70),
        },
        ipv6: dice.chance(15),
        conntrack_timeout: dice.chance(10).then(|| dice.millis(2_000, 9_000)),
    }
}

fn link(dice: &mut Dice) -> LinkQuality {
    let (latency_min, latency_max) = dice.one(&[
        (Duration::from_micros(40), Duration::from_micros(400)),
        (Duration::from_micros(40), Duration::from_micros(400)),
        (Duration::from_millis(2), Duration::from_millis(4)),
        (Duration::from_millis(30), Duration::from_millis(60)),
    ]);
    LinkQuality {
        latency_min,
        latency_max,
        loss_ppm: 0,
        duplicate_ppm: if dice.chance(5) { 10_000 } else { 0 },
        reorder_ppm: if dice.chance(5) { 10_000 } else { 0 },
        bandwidth: None,
        mtu: if dice.chance(10) { 1_280 } else { 1_500 },
    }
}

fn origin_model(streams: Vec<String>, dice: &mut Dice) -> OriginModel {
    let like = dice.one(&Like::ALL);
    let (boot, first_frame) = boot(dice);
    OriginModel {
        like,
        behaviour: behaviour(like, dice),
        port: 1935,
        backlog: if dice.chance(10) { 0 } else { ACCEPT_QUEUE },
        streams,
        publisher: publisher(dice),
        boot,
        first_frame,
        published: !dice.chance(8),
        up: true,
    }
}

fn boot(dice: &mut Dice) -> (Duration, Duration) {
    let boot = dice.wide_millis(1, 2_000);
    (boot, boot + dice.wide_millis(1, 3_000))
}

/// Returns what a software does, with a liberty or two that others like it take.
fn behaviour(like: Like, dice: &mut Dice) -> Behaviour {
    let mut to = Behaviour::like(like);
    for _ in 0..dice.one(&[0, 0, 1, 2]) {
        match dice.below(14) {
            0 => to.handshake = Handshake::Strict,
            1 => {
                let after = dice.one(&[Duration::ZERO, Duration::from_millis(800), Duration::from_secs(4)]);
                let found = Missing::NotFound { after, close: dice.chance(50) };
                to.missing = dice.one(&[Missing::Wait, found, Missing::Never, Missing::Close]);
            }
            2 => to.unpublish = dice.one(crate::scenario::words::UNPUBLISH).1,
            // No bare one: a stream whose context is made anew has lost the headers that it leaves out.
            3 => {
                let answers = crate::scenario::words::SECOND_PLAY.iter().map(|word| word.1);
                let answers: Vec<_> = answers.filter(|answer| *answer != SecondPlay::Bare).collect();
                to.second_play = dice.one(&answers);
            }
            // Three commands are to be answered within the shortest request_timeout_ms there is.
            4 => to.command_delay = dice.wide_millis(1, 150),
            5 => to.ping_every = Some(dice.wide_millis(500, 10_000)),
            6 => to.gop_cache = !to.gop_cache,
            7 => to.media_before_start = true,
            8 => to.metadata = dice.one(crate::scenario::words::METADATA).1,
            9 => {
                // Below 32 KiB the core believes no window, and an origin that does would wait for ever.
                to.window = dice.one(&[33_000, 50_000, 200_000]);
                to.stops_unacknowledged = dice.chance(50);
            }
            10 => to.csids = dice.one(&[Csids::USUAL, Csids::SHARED, Csids::FAR]),
            11 => {
                to.wire.chunk_size = dice.one(&[1, 64, 128, 4096, 60_000]);
                to.wire.headers = dice.one(&[Headers::Full, Headers::Short]);
                to.wire.interleave = dice.chance(50);
            }
            12 => {
                to.wire.extended_in_continuations = !to.wire.extended_in_continuations;
                to.wire.interleave = dice.chance(50);
            }
            _ => {
                to.wire.aggregate = true;
                to.shutdown = dice.one(&[Shutdown::Hangup, Shutdown::AsPublisher]);
            }
        }
    }
    to
}

/// Returns what a publisher sends: few frames, of sizes that need one packet or several.
fn publisher(dice: &mut Dice) -> Publisher {
    let fps = dice.one(&[2, 2, 3, 4, 5]);
    let gop = dice.one(&[1, fps, fps, 2 * fps]);
    let bytes = dice.one(&[(64, 64), (64, 64), (3_000, 300), (9_000, 64)]);
    let has_audio = dice.chance(40);
    let has_video = !has_audio || !dice.chance(6);
    let mut publisher = Publisher::stub();
    publisher.video = has_video.then(|| Video {
        codec: if dice.chance(15) {
            dice.one(crate::scenario::words::VIDEO).1
        } else {
            crate::raw::media::VideoCodec::Avc
        },
        fps,
        gop,
        bytes,
        skip: if dice.chance(10) { 1 } else { 0 },
        resize: None,
        until: (has_audio && dice.chance(4)).then(|| dice.millis(1_000, 8_000)),
        cues: dice.chance(10),
        size: (64, 48),
    });
    publisher.audio = has_audio.then(|| audio(dice));
    publisher.clock.base = dice.one(&CLOCKS);
    publisher.clock.mask31 = dice.chance(6);
    publisher.clock.drift = if dice.chance(6) { dice.one(&[-20, -1, 1, 20]) } else { 0 };
    publisher
}

pub(super) fn audio(dice: &mut Dice) -> Audio {
    Audio {
        codec: dice.one(&[
            AudioCodec::AacStereo,
            AudioCodec::AacStereo,
            AudioCodec::Opus,
            AudioCodec::Unknown,
        ]),
        period: dice.one(&[Duration::from_millis(200), Duration::from_millis(500)]),
        bytes: 64,
        from: if dice.chance(10) { Duration::from_secs(2) } else { Duration::ZERO },
        until: dice.chance(8).then(|| dice.millis(2_500, 8_000)),
    }
}

fn settings(dice: &mut Dice) -> Settings {
    let mut settings = Settings::default();
    configure(&mut settings, dice);
    settings
}

/// Changes a few settings, those above all that make time short: what takes minutes would never be seen.
fn configure(settings: &mut Settings, dice: &mut Dice) {
    for _ in 0..dice.one(&[0, 1, 2, 4]) {
        let (pull, play) = (&mut settings.core.pull, &mut settings.core.play);
        match dice.below(24) {
            0 => pull.stall_timeout = dice.millis(1_500, 5_000),
            1 => pull.track_stall_timeout = dice.millis(1_500, 6_000),
            2 => pull.first_media_timeout = dice.millis(3_000, 20_000),
            3 => pull.ping_interval = dice.millis(1_000, 5_000),
            4 => pull.ping_interval_silent = dice.millis(500, 2_000),
            5 => pull.ping_timeout = dice.millis(1_000, 3_000),
            6 | 7 => pull.player_hold = dice.wide_millis(500, 8_000),
            8 => pull.stable_after = dice.wide_millis(500, 5_000),
            9 => pull.dial_timeout = dice.millis(500, 3_000),
            10 => pull.handshake_timeout = dice.millis(1_000, 3_000),
            11 => pull.request_timeout = dice.millis(1_000, 3_000),
            12 => pull.replay_timeout = dice.millis(500, 3_000),
            13 => pull.resolve_timeout = dice.millis(500, 3_000),
            14 => pull.resolve_ttl = dice.wide_millis(100, 5_000),
            15 => pull.reset_when_replay = true,
            16 => pull.rebuild_after = dice.one(&[1, 2]),
            17 => pull.auto_close = true,
            18 => play.none_reader_delay = dice.wide_millis(500, 6_000),
            19 => play.stream_wait = dice.wide_millis(100, 6_000),
            20 => settings.core.dial.per_address = dice.one(&[1, 2, 5]),
            21 => pull.backoff_idle_after = dice.wide_millis(200, 5_000),
            22 => play.merge_write = dice.one(&[Duration::from_millis(40), Duration::from_millis(500)]),
            _ => {
                play.queue_bytes_max = dice.one(&[16 * 1024, 64 * 1024]);
                play.send_bytes_max = dice.one(&[1_024, 8 * 1024]);
            }
        }
    }
}

pub(super) fn pull(name: &str, path: &str, url: &str, dice: &mut Dice) -> PullSpec {
    let (app, stream) = path.split_once('/').unwrap_or(("live", path));
    PullSpec {
        line: 0,
        name: name.to_owned(),
        app: app.to_owned(),
        stream: stream.to_owned(),
        url: url.to_owned(),
        count: 1,
        args: options(dice),
    }
}

/// Returns a few options, in the order of their table.
fn options(dice: &mut Dice) -> Vec<(String, String)> {
    let mut wanted: Vec<(&str, String)> = Vec::new();
    if dice.chance(25) {
        wanted.push(("retry_count", dice.one(&["0", "1", "3", "-1"]).to_owned()));
    }
    if dice.chance(40) {
        wanted.push(("force", "1".to_owned()));
    }
    if dice.chance(10) {
        wanted.push(("reply_timeout_ms", dice.between(200, 5_000).to_string()));
    }
    if dice.chance(8) {
        wanted.push(("law", dice.one(&["repull", "zlmediakit"]).to_owned()));
    }
    if dice.chance(8) {
        wanted.push(("stall_timeout_ms", dice.between(1_500, 6_000).to_string()));
    }
    if dice.chance(8) {
        wanted.push(("auto_close", "1".to_owned()));
    }
    if dice.chance(8) {
        wanted.push(("reset_when_replay", "1".to_owned()));
    }
    if dice.chance(8) {
        wanted.push(("fc_subscribe", "1".to_owned()));
    }
    wanted.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

// ---- what is asked about worlds ----

/// Returns the model of an origin.
pub(super) fn origin(scenario: &Scenario, host: HostRef) -> Option<&OriginModel> {
    match &scenario.hosts.get(usize::from(host.0))?.role {
        Role::Origin(model) => Some(model),
        Role::Proxy(_) | Role::Player(_) => None,
    }
}

/// Returns the model of an origin, to be changed.
pub(super) fn origin_mut(scenario: &mut Scenario, host: HostRef) -> Option<&mut OriginModel> {
    match &mut scenario.hosts.get_mut(usize::from(host.0))?.role {
        Role::Origin(model) => Some(model),
        Role::Proxy(_) | Role::Player(_) => None,
    }
}

/// Returns the names that pulls dial.
pub(super) fn dialled_names(scenario: &Scenario) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for pull in &scenario.pulls {
        if let Ok(url) = OriginUrl::parse(&pull.url.replace("{n}", "1"))
            && url.host.parse::<IpAddr>().is_err()
            && !names.contains(&url.host)
        {
            names.push(url.host);
        }
    }
    names
}

/// Returns another url by which an origin serves what a pull asks for, by its name or, if it never moves, by its address.
pub(super) fn another_url(scenario: &Scenario, spec: &PullSpec, dice: &mut Dice) -> Option<String> {
    let (_, path) = spec.url.strip_prefix("rtmp://")?.split_once('/')?;
    let mut urls = Vec::new();
    for origin in hosts(scenario, |role| matches!(role, Role::Origin(_))) {
        let host = scenario.hosts.get(usize::from(origin.0))?;
        let serves =
            self::origin(scenario, origin).is_some_and(|model| model.streams.iter().any(|of| of == path));
        let ip = host.ip.filter(|_| !is_named(scenario, origin)).map(|ip| ip.to_string());
        for authority in [host.name.clone()].into_iter().chain(ip).filter(|_| serves) {
            urls.push(format!("rtmp://{authority}/{path}"));
        }
    }
    urls.retain(|url| *url != spec.url);
    if urls.is_empty() { None } else { Some(dice.one(&urls)) }
}

/// Returns whether nobody dials a host by its own address: it may move, and is found.
pub(super) fn is_named(scenario: &Scenario, host: HostRef) -> bool {
    let Some(ip) = scenario.hosts.get(usize::from(host.0)).and_then(|host| host.ip) else { return true };
    let mut urls =
        scenario.pulls.iter().filter_map(|pull| OriginUrl::parse(&pull.url.replace("{n}", "1")).ok());
    !urls.any(|url| url.host.parse().ok().and_then(host_address) == Some(ip))
}

/// Returns the hosts of a role.
pub(super) fn hosts(scenario: &Scenario, is_wanted: impl Fn(&Role) -> bool) -> Vec<HostRef> {
    let hosts = scenario.hosts.iter().enumerate().filter(|(_, host)| is_wanted(&host.role));
    hosts.filter_map(|(index, _)| u16::try_from(index).ok()).map(HostRef).collect()
}

/// Returns the proxy at which a pull is to be added: behind a proxy, the other one.
pub(super) fn proxy_for(scenario: &Scenario, pull: &PullSpec) -> Option<HostRef> {
    let proxies = hosts(scenario, |role| matches!(role, Role::Proxy(_)));
    let leads = |host: &&HostRef| {
        let name = &scenario.hosts[usize::from(host.0)].name;
        OriginUrl::parse(&pull.url).is_ok_and(|url| url.host == *name)
    };
    match proxies.iter().find(leads) {
        Some(upstream) => proxies.iter().find(|host| *host != upstream).copied(),
        None => proxies.first().copied(),
    }
}
