//! What is so, as far as the records of a run tell: shared by all oracles, so that each fact is kept once.

mod follow;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use proxy_core::{
    config::Config,
    io::{BackoffLaw, PlayOutput, PullFailure, PullOptions, PullState},
    time::{Duration, Instant},
    url::{DEFAULT_VHOST, OriginUrl, StreamKey},
};
use proxyd::config::Settings;

pub(super) use self::follow::begins_attempt;
use super::bounds::{self, Policy};
use crate::{
    net::packet::host_address,
    origin::{Audio, OnConnect, Publisher, Withhold},
    raw::media::Track,
    scenario::model::{Act, AddressTaken, Ending, Event, Fault, FaultEvent, HostRef, Role, Scenario},
    trace::{ActorId, Call, Cast, Inward, Phase, Sample},
};

/// How long an answer is on its way out of a process, at most.
const VAGUE: Duration = Duration::from_millis(250);

/// What is so.
#[derive(Debug, Default)]
pub struct Scene {
    /// A daemon's clock goes by ticks, and may begin somewhat later than the world's.
    pub is_coarse: bool,
    /// How much later than they should timers and clocks of this plane may be.
    pub grain: Duration,
    /// Of what enters and leaves a core only its events are seen: the process is watched from outside.
    pub is_outside: bool,
    /// How much later than promised things may come: clocks of a machine's processes are read one after the other.
    pub tolerance: Duration,
    /// The phase of the run.
    pub phase: Option<Phase>,
    /// When it began.
    pub phase_at: Instant,
    /// The settings of each proxy.
    pub settings: BTreeMap<ActorId, Settings>,
    /// The life of each proxy.
    pub proxies: BTreeMap<ActorId, ProxyNow>,
    /// The timeline.
    pub events: Vec<Event>,
    /// The host of each actor.
    pub hosts: Vec<HostRef>,
    /// The names of hosts.
    pub host_names: Vec<String>,
    /// Streams registered, by proxy and id.
    pub streams: BTreeMap<(ActorId, u64), StreamNow>,
    /// The stream that was removed last, as it was then.
    pub removed: Option<StreamNow>,
    /// How many streams each proxy has registered, by the address in their urls.
    pub counts: BTreeMap<(ActorId, Option<SocketAddr>), u32>,
    /// The id of each key registered.
    pub keys: BTreeMap<(ActorId, StreamKey), u64>,
    /// Connections a proxy has dialled or accepted and not been told the end of.
    pub conns: BTreeMap<(ActorId, u64), ConnNow>,
    /// Where players of a proxy are counted, by connection.
    pub places: BTreeMap<(ActorId, u64), PlaceNow>,
    /// Players that wait for a stream, by key.
    pub parked: BTreeMap<(ActorId, StreamKey), BTreeSet<u64>>,
    /// Dials whose stream the next step of a pull will tell.
    unassigned: Vec<(ActorId, u64)>,
    /// Every seat there ever was.
    pub players: Vec<PlayerNow>,
    /// The seat of a proxy's connection, by the player's own address.
    addresses: BTreeMap<SocketAddr, usize>,
    /// Every origin.
    pub origins: BTreeMap<ActorId, OriginNow>,
    /// Who has which address.
    pub owners: BTreeMap<Ipv4Addr, HostRef>,
    /// Addresses of the machine itself, where ports are published.
    gateways: BTreeSet<Ipv4Addr>,
    /// Ports published on the machine, and whose.
    published: BTreeMap<u16, HostRef>,
    /// Hosts of each name.
    names: BTreeMap<String, Vec<HostRef>>,
    /// Faults in force, by event.
    pub faults: BTreeMap<u16, Instant>,
    /// When the last fault was lifted; zero if none was.
    pub last_lifted: Instant,
    /// Faults in force that let names be answered late or never, and when the last one was lifted.
    slow_names: (u32, Option<Instant>),
    /// When a name last led elsewhere than before.
    names_moved: Option<Instant>,
    /// Hosts that no fault and nothing of the timeline has ever touched are absent.
    touched: BTreeSet<HostRef>,
    /// Something happened that may touch everybody.
    all_touched: bool,
    /// An origin leaves out frames of its own accord.
    pub drips: bool,
    /// An origin's clock jumps.
    pub jumps: bool,
    /// An origin sends pulls elsewhere.
    pub redirects: bool,
    /// An origin pings who pulls from it.
    pub origins_ping: bool,
    /// Another server takes an address that an origin has left.
    pub strangers: bool,
    /// Calls without an answer.
    pub calls: BTreeMap<u32, CallNow>,
    /// Requests to the core without a reply.
    pub requests: BTreeMap<(ActorId, u64), RequestNow>,
    /// The calls without an answer, by their records: what they ask for may come after other calls.
    asked: BTreeMap<u64, u32>,
    /// What entered a core last.
    pub inward: Option<Entered>,
    /// The call that was answered last; `None` if nobody had asked it, or its answer was not awaited any more.
    pub answered: Option<CallNow>,
    /// Proxies that have forgotten everything.
    forgotten: Vec<ActorId>,
    /// What is alive in each proxy.
    pub samples: BTreeMap<ActorId, Sample>,
    /// The longest time from keyframe to keyframe of any publisher.
    pub gop_max: Duration,
    /// A publisher's audio begins later than its video, or a track of it ends: what is given out before a picture depends on
    /// when one comes.
    pub tracks_come_and_go: bool,
    /// The longest time between frames of any publisher.
    pub frame_max: Duration,
    /// The bytes that [`bounds::BURST`] frames in a row of any publisher become at most.
    pub burst_max: usize,
    /// The longest time an origin takes to be back.
    comeback_max: Duration,
    /// The most addresses a name has.
    addresses_max: u32,
    /// The longest an answer of the DNS may be old.
    pub ttl_max: Duration,
}

/// The life of a proxy.
#[derive(Clone, Debug, Default)]
pub struct ProxyNow {
    /// It runs.
    pub is_up: bool,
    /// Freezes in force, as the scenario's events are numbered.
    pub frozen: BTreeSet<u16>,
    /// When it last ran again after a freeze, or began its life.
    pub ran_at: Instant,
    /// When it began its life.
    pub began_at: Instant,
}

/// What entered a core.
#[derive(Clone, Copy, Debug)]
pub struct Entered {
    /// The record.
    pub step: u64,
    /// Which core.
    pub proxy: ActorId,
    /// What.
    pub what: Inward,
}

/// A stream as its events tell it.
#[derive(Clone, Debug)]
pub struct StreamNow {
    /// Its key.
    pub key: StreamKey,
    /// When it was registered.
    pub registered_at: Instant,
    /// The number of its last event.
    pub events: u64,
    /// The state of its pull.
    pub state: PullState,
    /// Since when.
    pub entered_at: Instant,
    /// When the attempt under way, or the last one, began.
    pub attempt_at: Instant,
    /// Attempts begun.
    pub attempts: u64,
    /// Plays its origins have accepted.
    pub plays: u64,
    /// Consecutive failures as told.
    pub failures: u32,
    /// Why the last attempt failed.
    pub failure: Option<PullFailure>,
    /// When the next attempt begins, while it backs off.
    pub next_attempt: Option<Instant>,
    /// Its upstream connection, dialled or open, that has not been given up.
    pub upstream: Option<u64>,
    /// The one it still had when it dialled that.
    pub other: Option<u64>,
    /// The address dialled last.
    pub addr: Option<SocketAddr>,
    /// The origin has answered a ping on the upstream connection.
    pub ponged: bool,
    /// When its last bytes arrived on the upstream connection.
    pub heard_at: Option<Instant>,
    /// When its last frame arrived at the proxy's socket.
    pub arrived_at: Option<Instant>,
    /// When the last frame of audio arrived in this stretch of media.
    pub audio_at: Option<Instant>,
    /// When the last frame of video arrived in this stretch of media.
    pub video_at: Option<Instant>,
    /// The play under way was asked for anew on the same connection.
    pub replayed: bool,
    /// It has streamed at least once.
    pub has_streamed: bool,
    /// When the present outage began; `None` while it streams.
    pub outage_since: Option<Instant>,
    /// How often media was lost.
    pub repulls: u32,
    /// Its players with a seat.
    pub seats: BTreeSet<u64>,
    /// Since when nobody watches or waits; `None` while somebody does.
    pub unwatched_since: Option<Instant>,
    /// The url it pulls.
    pub url: String,
    /// The address in it, if it needs no lookup.
    pub literal: Option<SocketAddr>,
    /// The options in force.
    pub options: PullOptions,
    /// The numbers in force.
    pub policy: Policy,
}

/// A connection of a proxy.
#[derive(Clone, Debug)]
pub struct ConnNow {
    /// The stream it pulls, if it was dialled.
    pub stream: Option<u64>,
    /// The seat that plays on it, if it was accepted from a model player.
    pub seat: Option<usize>,
    /// The address dialled, or the player's.
    pub addr: SocketAddr,
    /// When it was dialled or accepted.
    pub since: Instant,
    /// The dial has succeeded.
    pub is_open: bool,
    /// The core has hung up and waits for the end.
    pub is_closing: bool,
}

/// Where a player is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceNow {
    /// It waits for a stream.
    Parked {
        /// Which.
        key: StreamKey,
        /// Since when.
        since: Instant,
    },
    /// It has a seat.
    Seated {
        /// At which stream.
        stream: u64,
        /// Since when.
        since: Instant,
    },
}

/// One player at one output.
#[derive(Clone, Debug)]
pub struct PlayerNow {
    /// Who.
    pub actor: ActorId,
    /// What it takes.
    pub output: PlayOutput,
    /// `app/stream`.
    pub stream: String,
    /// From whom.
    pub from: ActorId,
    /// It dials again.
    pub redials: bool,
    /// When it was made to play.
    pub joined_at: Instant,
    /// It is connected.
    pub is_connected: bool,
    /// Since when.
    pub connected_at: Instant,
    /// The proxy's end of its connection is gone, whether it has heard of that or not.
    pub is_let_go: bool,
    /// It has its stream, or waits in its seat.
    pub is_seated: bool,
    /// Since when.
    pub seated_at: Instant,
    /// When its last frame came.
    pub last_frame: Option<Instant>,
    /// Frames in all.
    pub frames: u64,
    /// It was made to leave.
    pub is_gone: bool,
}

/// An origin.
#[derive(Clone, Debug)]
pub struct OriginNow {
    /// Its host.
    pub host: HostRef,
    /// `app/stream` of what it publishes when it serves.
    pub streams: Vec<String>,
    /// It listens, every stream is published.
    pub serves: bool,
    /// Since when.
    pub since: Instant,
    /// It has served.
    pub has_served: bool,
    /// It is gone for good.
    pub never: bool,
    /// It behaves as an origin should: what it does not send is a fault's doing, not its model's.
    pub is_sound: bool,
}

/// A call without an answer.
#[derive(Clone, Debug)]
pub struct CallNow {
    /// At which proxy.
    pub proxy: ActorId,
    /// What.
    pub call: Call,
    /// When.
    pub at: Instant,
    /// The record.
    pub step: u64,
    /// The key it is about was registered when it was asked, and its stream's state.
    pub was: Option<PullState>,
}

/// A request to the core without a reply.
#[derive(Clone, Copy, Debug)]
pub struct RequestNow {
    /// The call behind it.
    pub call: Option<u32>,
    /// When.
    pub at: Instant,
    /// The record.
    pub step: u64,
}

/// Packets held back for so long by their link keep nothing running smoothly.
const LATE: Duration = Duration::from_millis(100);
/// Who has nothing to say pings each second, or says something in the next one.
const FORGETFUL: Duration = Duration::from_secs(2);

impl Scene {
    pub(super) fn new(scenario: &Scenario, cast: &Cast) -> Self {
        let mut scene = Self {
            events: scenario.events.clone(),
            hosts: cast.members.iter().map(|member| HostRef(member.host)).collect(),
            host_names: scenario.hosts.iter().map(|host| host.name.clone()).collect(),
            gateways: scenario.nets.iter().map(|net| net.gateway).collect(),
            addresses_max: 1,
            ..Self::default()
        };
        scene.note_hosts(scenario);
        for (index, member) in cast.members.iter().enumerate() {
            let actor = ActorId(u16::try_from(index).unwrap_or(u16::MAX));
            let host = HostRef(member.host);
            // Whoever takes over an address is of the cast, and no host of the scenario.
            let Some(spec) = scenario.hosts.get(usize::from(member.host)) else { continue };
            match &spec.role {
                Role::Proxy(settings) => {
                    scene.settings.insert(actor, (**settings).clone());
                    scene.proxies.insert(actor, ProxyNow::default());
                }
                Role::Origin(model) => {
                    let is_sound = bounds::is_sound(&model.behaviour, &model.publisher)
                        && !later_publishers(scenario, host).any(bounds::falls_silent);
                    let origin = OriginNow {
                        host,
                        streams: model.streams.clone(),
                        serves: false,
                        since: Instant::ZERO,
                        has_served: false,
                        never: false,
                        is_sound,
                    };
                    scene.origins.insert(actor, origin);
                }
                Role::Player(_) => {}
            }
        }
        scene.note_publishers(scenario);
        scene
    }

    fn note_hosts(&mut self, scenario: &Scenario) {
        // So is a NAT that forgets who is silent for as long as a living connection may be. It is the machine's.
        self.all_touched |=
            scenario.nets.iter().any(|net| net.conntrack_timeout.is_some_and(|timeout| timeout < FORGETFUL));
        let addresses = |host: HostRef| {
            let net = scenario.hosts.get(usize::from(host.0)).map_or(0, |host| usize::from(host.net));
            1 + u32::from(scenario.nets.get(net).is_some_and(|net| net.ipv6))
        };
        for (index, host) in scenario.hosts.iter().enumerate() {
            let of = HostRef(u16::try_from(index).unwrap_or(u16::MAX));
            if let Some(ip) = host.ip {
                self.owners.insert(ip, of);
            }
            if let Some(publish) = host.publish {
                self.published.insert(publish.port, of);
            }
            self.names.insert(host.name.clone(), vec![of]);
            self.addresses_max = self.addresses_max.max(addresses(of));
            let link = scenario.nets[usize::from(host.net)].link;
            // A link that loses, squeezes or holds back is a fault that never ends.
            let is_late = link.latency_max >= LATE;
            if link.loss_ppm > 0 || link.reorder_ppm > 0 || link.bandwidth.is_some() || is_late {
                self.touched.insert(of);
            }
            if let Role::Player(player) = &host.role
                && player.read_rate.is_some()
            {
                self.touched.insert(of);
            }
            if let Role::Origin(model) = &host.role {
                let is_there = model.up && model.published;
                if !is_there || !bounds::is_sound(&model.behaviour, &model.publisher) {
                    self.touched.insert(of);
                }
                self.comeback_max = self.comeback_max.max(model.boot).max(model.first_frame);
            }
        }
        for name in &scenario.names {
            let own: u32 = name.hosts.iter().map(|host| addresses(*host)).sum();
            let count = u32::try_from(name.ips.len()).unwrap_or(u32::MAX).saturating_add(own);
            self.addresses_max = self.addresses_max.max(count);
            self.ttl_max = self.ttl_max.max(name.ttl);
            self.names.insert(name.name.clone(), name.hosts.clone());
        }
    }

    fn note_publishers(&mut self, scenario: &Scenario) {
        self.origins_ping |= scenario.hosts.iter().any(|host| match &host.role {
            Role::Origin(model) => model.behaviour.ping_every.is_some(),
            Role::Proxy(_) | Role::Player(_) => false,
        });
        let models = scenario.hosts.iter().filter_map(|host| match &host.role {
            Role::Origin(model) => Some(&model.publisher),
            Role::Proxy(_) | Role::Player(_) => None,
        });
        let changed = scenario.events.iter().filter_map(|event| match &event.act {
            Act::Publish { publisher, .. } => publisher.as_deref(),
            Act::Fault(fault) => {
                if let Fault::PublisherAway { back, .. } = &fault.fault {
                    back.as_deref()
                } else {
                    None
                }
            }
            Act::Call(_) | Act::Repair { .. } | Act::Play { .. } | Act::Leave { .. } | Act::Start { .. } => {
                None
            }
        });
        for publisher in models.chain(changed) {
            self.gop_max = self.gop_max.max(bounds::gop(publisher));
            let partial = |audio: &Audio| !audio.from.is_zero() || audio.until.is_some();
            self.tracks_come_and_go |= publisher.audio.as_ref().is_some_and(partial)
                || publisher.video.as_ref().is_some_and(|video| video.until.is_some());
            self.frame_max = self.frame_max.max(bounds::frame(publisher));
            self.burst_max = self.burst_max.max(bounds::burst(publisher, bounds::BURST));
        }
        for event in &scenario.events {
            if let Act::Fault(FaultEvent { fault, .. }) = &event.act {
                self.jumps |= matches!(fault, Fault::TimestampJump { .. });
                self.drips |= matches!(fault, Fault::Drip { .. } | Fault::NoMedia { .. })
                    || matches!(fault, Fault::End { ending: Ending::InsufficientBw, .. })
                    || matches!(fault, Fault::Behave(to) if to.behaviour.withhold != Withhold::Nothing);
                self.strangers |=
                    matches!(fault, Fault::MoveAddress { taken: AddressTaken::OtherServer, .. });
                self.origins_ping |= matches!(fault, Fault::Behave(to) if to.behaviour.ping_every.is_some());
                self.redirects |= matches!(fault, Fault::ReconnectRequest { .. })
                    || matches!(fault, Fault::Behave(to) if matches!(to.behaviour.connect, OnConnect::Redirect { .. }));
            }
            if let Act::Fault(fault) = &event.act
                && let Fault::Term(back) | Fault::Kill(back) | Fault::Vanish(back) = &fault.fault
            {
                self.strangers |= back.taken == AddressTaken::OtherServer;
                let back = back.boot.unwrap_or_default().max(back.first_frame.unwrap_or_default());
                self.comeback_max = self.comeback_max.max(back);
            }
        }
    }

    /// Takes the proxies that have forgotten everything since.
    pub(super) fn take_forgotten(&mut self) -> Vec<ActorId> {
        std::mem::take(&mut self.forgotten)
    }

    /// Returns dials that belong to no stream so far.
    pub fn unassigned(&self) -> &[(ActorId, u64)] {
        &self.unassigned
    }

    /// Returns the name of a stream, whether it is registered or not.
    pub fn name_of_stream(&self, proxy: ActorId, stream: u64) -> String {
        match self.streams.get(&(proxy, stream)) {
            Some(stream) => name_of(&stream.key),
            None => format!("stream {stream}"),
        }
    }

    /// Returns the numbers a proxy decides by.
    ///
    /// # Panics
    /// If there is no such proxy.
    pub fn config(&self, proxy: ActorId) -> &Config {
        &self.settings.get(&proxy).expect("records come from the cast").core
    }

    /// Returns a stream by `app/stream`.
    pub fn stream_named(&self, proxy: ActorId, name: &str) -> Option<(u64, &StreamNow)> {
        let id = *self.keys.get(&(proxy, key_named(name)?))?;
        Some((id, self.streams.get(&(proxy, id))?))
    }

    /// Returns the host of an actor.
    pub fn host_of(&self, actor: ActorId) -> Option<HostRef> {
        let host = self.hosts.get(usize::from(actor.0)).copied()?;
        (usize::from(host.0) < self.host_names.len()).then_some(host)
    }

    /// Returns the host behind an address: who has it, or whose port is published there.
    pub fn host_at(&self, addr: SocketAddr) -> Option<HostRef> {
        let ip = host_address(addr.ip())?;
        if self.gateways.contains(&ip) {
            // Ports are published to IPv4.
            if addr.is_ipv6() {
                return None;
            }
            return self.published.get(&addr.port()).copied();
        }
        self.owners.get(&ip).copied()
    }

    /// Returns whether an address is where a proxy itself takes players.
    pub fn is_home(&self, proxy: ActorId, addr: SocketAddr) -> bool {
        let is_its_port = self.settings.get(&proxy).is_some_and(|settings| settings.rtmp.port == addr.port());
        is_its_port
            && self.host_of(proxy).is_some_and(|host| {
                host_address(addr.ip()).and_then(|ip| self.owners.get(&ip)) == Some(&host)
            })
    }

    /// Returns the hosts an url leads to.
    pub fn hosts_of_url(&self, url: &str) -> Vec<HostRef> {
        let Ok(url) = OriginUrl::parse(url) else { return Vec::new() };
        match url.host.parse::<IpAddr>() {
            Ok(ip) => self.host_at(SocketAddr::new(ip, url.port)).into_iter().collect(),
            Err(_) => self.names.get(&url.host).cloned().unwrap_or_default(),
        }
    }

    /// Returns an origin that serves what an url names, if one does.
    pub fn origin_of_url(&self, url: &str) -> Option<(ActorId, &OriginNow)> {
        let name = name_in_url(url)?;
        let hosts = self.hosts_of_url(url);
        let is_it = |origin: &OriginNow| hosts.contains(&origin.host) && origin.streams.contains(&name);
        let serving = |origin: &&OriginNow| origin.serves && origin.is_sound;
        let all = || self.origins.iter().filter(|(_, origin)| is_it(origin));
        all()
            .find(|(_, origin)| serving(origin))
            .or_else(|| all().next())
            .map(|(actor, origin)| (*actor, origin))
    }

    /// Returns the host an event's fault is on.
    pub fn fault_host(&self, event: u16) -> Option<HostRef> {
        match &self.events.get(usize::from(event))?.act {
            Act::Fault(fault) => Some(fault.on),
            Act::Call(_)
            | Act::Repair { .. }
            | Act::Play { .. }
            | Act::Leave { .. }
            | Act::Publish { .. }
            | Act::Start { .. } => None,
        }
    }

    /// Returns whether a fault has ever had its hand in what names lead to.
    pub fn lies_about_names(&self) -> bool {
        self.all_touched
    }

    /// Returns whether a fault, or the timeline itself, has ever touched a host.
    pub fn is_touched(&self, host: HostRef) -> bool {
        self.all_touched || self.touched.contains(&host)
    }

    /// Returns whether the timeline pulls a host's wire: what it sends meanwhile is sent again, ever less often.
    pub fn pulls_wire_of(&self, host: HostRef) -> bool {
        let pulls = |event: &Event| match &event.act {
            Act::Fault(FaultEvent { on, fault, .. }) => {
                *on == host
                    && matches!(fault, Fault::Disconnect { .. } | Fault::VethRecreate | Fault::LinkDown)
            }
            Act::Call(_)
            | Act::Repair { .. }
            | Act::Play { .. }
            | Act::Leave { .. }
            | Act::Publish { .. }
            | Act::Start { .. } => false,
        };
        self.events.iter().any(pulls)
    }

    /// Returns whether anything has touched the way of a stream: its proxy, or any origin its url leads to.
    pub fn is_stream_touched(&self, proxy: ActorId, stream: &StreamNow) -> bool {
        let hosts = self.hosts_of_url(&stream.url);
        let proxy = self.host_of(proxy).is_none_or(|host| self.is_touched(host));
        let is_origin = |host: &HostRef| self.origins.values().any(|origin| origin.host == *host);
        let is_sick = |host: &HostRef| self.is_touched(*host) || !is_origin(host);
        self.all_touched || proxy || hosts.is_empty() || hosts.iter().any(is_sick)
    }

    /// Returns whether an operator's request may be behind what a core tells: the one that entered last is, or, seen from
    /// outside, any that waits for its answer.
    pub fn may_be_asked(&self, proxy: ActorId) -> bool {
        if self.is_outside {
            return self.calls.values().any(|call| call.proxy == proxy);
        }
        self.inward
            .is_some_and(|inward| inward.proxy == proxy && matches!(inward.what, Inward::Request { .. }))
    }

    /// Returns whether a process that is watched from outside may have known otherwise when it answered: what it told
    /// last, it told about then.
    pub fn is_vague(&self, told_at: Instant, at: Instant) -> bool {
        self.is_outside && at.since(told_at) < VAGUE
    }

    /// Returns whether other calls about a key wait for their answers: seen from outside, nobody knows which was first.
    pub fn is_contested(&self, proxy: ActorId, key: &StreamKey) -> bool {
        let is_about =
            |call: &CallNow| call.proxy == proxy && self.key_of_call(&call.call).as_ref() == Some(key);
        self.calls.values().any(is_about)
    }

    /// Returns whether a proxy can act at the moment.
    pub fn is_running(&self, proxy: ActorId) -> bool {
        self.proxies.get(&proxy).is_some_and(|proxy| proxy.is_up && proxy.frozen.is_empty())
    }

    /// Returns when a proxy must have met a deadline: one that passed while it was frozen, when it ran again.
    pub fn due(&self, proxy: ActorId, deadline: Instant) -> Instant {
        self.proxies.get(&proxy).map_or(deadline, |proxy| deadline.max(proxy.ran_at))
    }

    /// Returns when names were last answered late or never, if they ever were.
    pub fn names_were_slow(&self, now: Instant) -> Option<Instant> {
        let (in_force, lifted) = self.slow_names;
        if in_force > 0 { Some(now) } else { lifted }
    }

    /// Returns until when a proxy may still dial where a name led before it moved the last time: an answer may be as old as
    /// its time to live, and the next one takes its time.
    pub fn names_are_old_until(&self, proxy: ActorId) -> Option<Instant> {
        let pull = &self.config(proxy).pull;
        Some(self.names_moved? + self.ttl_max.max(pull.resolve_ttl) + pull.resolve_timeout)
    }

    /// Returns the stream whose player a connection is, and since when it has its seat.
    pub fn seat_of(&self, proxy: ActorId, conn: u64) -> Option<(u64, Instant)> {
        match self.places.get(&(proxy, conn))? {
            PlaceNow::Seated { stream, since } => Some((*stream, *since)),
            PlaceNow::Parked { .. } => None,
        }
    }

    /// Returns whether somebody watches a stream or waits for it.
    pub fn is_watched(&self, proxy: ActorId, stream: &StreamNow) -> bool {
        !stream.seats.is_empty()
            || self.parked.get(&(proxy, stream.key.clone())).is_some_and(|parked| !parked.is_empty())
    }

    /// Returns since when somebody watches a stream or waits for it: of those who do so now, who came first.
    pub fn watched_since(&self, proxy: ActorId, stream: &StreamNow) -> Option<Instant> {
        let parked = self.parked.get(&(proxy, stream.key.clone()));
        let all = stream.seats.iter().chain(parked.into_iter().flatten());
        let since = |conn: &u64| match self.places.get(&(proxy, *conn))? {
            PlaceNow::Parked { since, .. } | PlaceNow::Seated { since, .. } => Some(*since),
        };
        all.filter_map(since).min()
    }

    /// Returns how many of a proxy's streams may dial an address, as far as their urls tell; all of them, if it is unknown.
    pub fn rivals(&self, proxy: ActorId, addr: Option<SocketAddr>) -> u32 {
        let may = |literal: &Option<SocketAddr>| addr.is_none() || literal.is_none() || *literal == addr;
        let mine = self.counts.range((proxy, None)..).take_while(|((of, _), _)| *of == proxy);
        mine.filter(|((_, literal), _)| may(literal)).map(|(_, count)| count).sum()
    }

    /// Returns what the world's own answers cost: addresses of a name, the age of an answer, streams that dial.
    pub fn circumstances(&self, proxy: ActorId) -> bounds::Circumstances {
        bounds::Circumstances {
            addresses: self.addresses_max,
            ttl: self.ttl_max,
            streams: self.rivals(proxy, None),
            gop: self.gop_max,
            strangers: self.strangers,
        }
    }

    /// Returns how long the calm phase may last: longer than any bound that is judged in it.
    pub fn calm_max(&self) -> Duration {
        let longest = |(proxy, settings): (&ActorId, &Settings)| {
            let law = settings.core.pull.law.unwrap_or(BackoffLaw::ZlMediaKit);
            let policy = Policy { law, ..Policy::of(&PullOptions::default(), &settings.core.pull) };
            let around = self.circumstances(*proxy);
            let of = |standing| bounds::recovery(&settings.core, &policy, &around, &standing);
            of(bounds::Standing::WORST).max(of(bounds::Standing::PATIENT))
        };
        let recovery = self.settings.iter().map(longest).max().unwrap_or_default();
        Duration::from_secs(180).max(self.comeback_max + recovery + Duration::from_secs(30))
    }
}

impl StreamNow {
    /// Returns when the last frame of a track arrived in this stretch of media.
    pub const fn track_at(&self, track: Track) -> Option<Instant> {
        match track {
            Track::Video => self.video_at,
            Track::Audio => self.audio_at,
        }
    }
}

/// Returns whether a pull in this state dials, or has a connection.
pub(super) const fn has_connection(state: PullState) -> bool {
    match state {
        PullState::Connecting
        | PullState::Handshaking
        | PullState::Requesting
        | PullState::AwaitingMedia
        | PullState::Streaming
        | PullState::Replaying => true,
        PullState::Resolving | PullState::Queued | PullState::BackingOff | PullState::Stopped => false,
    }
}

/// Returns the key of `app/stream`.
pub(super) fn key_named(name: &str) -> Option<StreamKey> {
    let (app, stream) = name.rsplit_once('/')?;
    StreamKey::new(DEFAULT_VHOST, app, stream).ok()
}

/// Returns `app/stream` of a key.
pub(super) fn name_of(key: &StreamKey) -> String {
    format!("{}/{}", key.app, key.stream)
}

/// Returns the address in an url that needs no lookup.
pub(super) fn literal(url: &str) -> Option<SocketAddr> {
    let url = OriginUrl::parse(url).ok()?;
    Some(SocketAddr::new(url.host.parse().ok()?, url.port))
}

/// Returns the `app/stream` an url asks for.
fn name_in_url(url: &str) -> Option<String> {
    let key = OriginUrl::parse(url).ok()?.key_in(DEFAULT_VHOST)?;
    Some(name_of(&key))
}

/// Returns what an origin's publishers send that come later.
fn later_publishers(scenario: &Scenario, origin: HostRef) -> impl Iterator<Item = &Publisher> {
    scenario.events.iter().filter_map(move |event| match &event.act {
        Act::Publish { origin: of, publisher, .. } if *of == origin => publisher.as_deref(),
        Act::Fault(FaultEvent { on, fault: Fault::PublisherAway { back, .. }, .. }) if *on == origin => {
            back.as_deref()
        }
        _ => None,
    })
}
