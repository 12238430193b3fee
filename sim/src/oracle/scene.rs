//! What is so, as far as the records of a run tell: shared by all oracles, so that each fact is kept once.

use std::{collections::BTreeMap, net::SocketAddr};

use proxy_core::{
    config::Config,
    io::{EventKind, PlayOutput, PullFailure, PullState},
    time::{Duration, Instant},
    url::StreamKey,
};
use proxyd::config::Settings;

use crate::{
    scenario::model::{Act, Event, HostRef, Role, Scenario},
    trace::{ActorId, Call, Cast, Inward, Moment, Outward, Phase, Record, Sample, What},
};

/// What is so.
#[derive(Debug, Default)]
pub struct Scene {
    /// The phase of the run.
    pub phase: Option<Phase>,
    /// When it began.
    pub phase_at: Instant,
    /// The settings of each proxy.
    pub settings: BTreeMap<ActorId, Settings>,
    /// The timeline.
    pub events: Vec<Event>,
    /// The host of each actor.
    pub hosts: Vec<HostRef>,
    /// The names of hosts.
    pub host_names: Vec<String>,
    /// Streams registered, by proxy and id.
    pub streams: BTreeMap<(ActorId, u64), StreamNow>,
    /// The id of each key registered.
    pub keys: BTreeMap<(ActorId, StreamKey), u64>,
    /// Connections a proxy has dialled or accepted and not been told the end of.
    pub conns: BTreeMap<(ActorId, u64), ConnNow>,
    /// Dials whose stream the next step of a pull will tell.
    unassigned: Vec<(ActorId, u64)>,
    /// Every seat there ever was.
    pub players: Vec<PlayerNow>,
    /// The seat of a proxy's connection, by the player's own address.
    addresses: BTreeMap<SocketAddr, usize>,
    /// Every origin.
    pub origins: BTreeMap<ActorId, OriginNow>,
    /// Faults in force, by event.
    pub faults: BTreeMap<u16, Instant>,
    /// When the last fault was lifted; zero if none was.
    pub last_lifted: Instant,
    /// Calls without an answer.
    pub calls: BTreeMap<u32, CallNow>,
    /// What is alive in each proxy.
    pub samples: BTreeMap<ActorId, Sample>,
    /// The longest time from keyframe to keyframe of any publisher.
    pub gop_max: Duration,
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
    /// Consecutive failures.
    pub failures: u32,
    /// Why the last attempt failed.
    pub failure: Option<PullFailure>,
    /// When the next attempt begins, while it backs off.
    pub next_attempt: Option<Instant>,
    /// Its upstream connection, dialled or open, that has not been given up.
    pub upstream: Option<u64>,
    /// When its last frame arrived at the proxy's socket.
    pub arrived_at: Option<Instant>,
    /// It has streamed at least once.
    pub has_streamed: bool,
    /// When the present outage began; `None` while it streams.
    pub outage_since: Option<Instant>,
    /// Arguments of the call that registered it or last changed its wish.
    pub args: BTreeMap<String, String>,
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
    /// `app/stream` of what it publishes when it serves.
    pub streams: Vec<String>,
    /// It listens, every stream is published.
    pub serves: bool,
    /// Since when.
    pub since: Instant,
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
}

impl Scene {
    pub(super) fn new(scenario: &Scenario, cast: &Cast) -> Self {
        let mut scene = Self {
            events: scenario.events.clone(),
            hosts: cast.members.iter().map(|member| HostRef(member.host)).collect(),
            host_names: scenario.hosts.iter().map(|host| host.name.clone()).collect(),
            ..Self::default()
        };
        for (index, member) in cast.members.iter().enumerate() {
            let actor = ActorId(u16::try_from(index).unwrap_or(u16::MAX));
            match &scenario.hosts[usize::from(member.host)].role {
                Role::Proxy(settings) => {
                    scene.settings.insert(actor, (**settings).clone());
                }
                Role::Origin(model) => {
                    let origin =
                        OriginNow { streams: model.streams.clone(), serves: false, since: Instant::ZERO };
                    scene.origins.insert(actor, origin);
                    scene.gop_max = scene.gop_max.max(gop_of(&model.publisher));
                }
                Role::Player(_) => {}
            }
        }
        for event in &scenario.events {
            if let Act::Publish { publisher: Some(publisher), .. } = &event.act {
                scene.gop_max = scene.gop_max.max(gop_of(publisher));
            }
        }
        scene
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
        let (app, stream) = name.rsplit_once('/')?;
        let key = StreamKey::new(proxy_core::url::DEFAULT_VHOST, app, stream).ok()?;
        let id = *self.keys.get(&(proxy, key))?;
        Some((id, self.streams.get(&(proxy, id))?))
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

    /// Returns how long the calm phase may last: longer than any bound that is judged in it.
    pub fn calm_max(&self) -> Duration {
        Duration::from_secs(180)
    }

    pub(super) fn on_record(&mut self, record: &Record) {
        let (actor, at) = (record.actor, record.at);
        match &record.what {
            What::Phase(phase) => (self.phase, self.phase_at) = (Some(*phase), at),
            What::Began { event } => {
                if self.fault_host(*event).is_some() {
                    self.faults.insert(*event, at);
                }
            }
            What::Lifted { event } => {
                self.faults.remove(event);
                self.last_lifted = at;
            }
            What::Moment(moment) => self.on_moment(actor, *moment, at),
            What::Asked(call) => {
                self.calls.insert(call.call, CallNow { proxy: actor, call: call.clone(), at });
            }
            What::Answered { call, .. } => {
                self.calls.remove(call);
            }
            What::In(inward) => self.on_in(actor, inward, at),
            What::Out(outward) => self.on_out(actor, outward, at),
            What::Event(event) => self.on_event(actor, event, at),
            What::Sample(sample) => {
                self.samples.insert(actor, *sample);
            }
            What::Arrived { conn, .. } => {
                let stream = self.conns.get(&(actor, *conn)).and_then(|conn| conn.stream);
                if let Some(stream) = stream.and_then(|stream| self.streams.get_mut(&(actor, stream))) {
                    stream.arrived_at = Some(at);
                }
            }
            What::PlayerJoins { output, stream, from, redials, .. } => self.players.push(PlayerNow {
                actor,
                output: *output,
                stream: stream.clone(),
                from: *from,
                redials: *redials,
                joined_at: at,
                is_connected: false,
                is_seated: false,
                seated_at: at,
                last_frame: None,
                frames: 0,
                is_gone: false,
            }),
            What::PlayerLeaves { seat } => self.with_player(seat.0, |player| player.is_gone = true),
            What::PlayerConnected { seat, local } => {
                self.addresses.insert(*local, seat.0 as usize);
                self.with_player(seat.0, |player| player.is_connected = true);
            }
            What::Saw { seat, saw } => self.with_player(seat.0, |player| {
                if saw.seated {
                    (player.is_seated, player.seated_at) = (true, at);
                }
                if saw.frames > 0 {
                    player.last_frame = Some(at);
                    player.frames += u64::from(saw.frames);
                }
            }),
            What::PlayerLost { seat, .. } => self.with_player(seat.0, |player| {
                (player.is_connected, player.is_seated) = (false, false);
            }),
            What::OriginAccepted
            | What::OriginPlays { .. }
            | What::OriginComplains(_)
            | What::PlayerTold { .. }
            | What::PlayerViolation { .. }
            | What::Packet(_) => {}
        }
    }

    fn with_player(&mut self, seat: u32, act: impl FnOnce(&mut PlayerNow)) {
        if let Some(player) = self.players.get_mut(seat as usize) {
            act(player);
        }
    }

    fn on_moment(&mut self, actor: ActorId, moment: Moment, at: Instant) {
        match moment {
            Moment::Listening | Moment::Watching => {}
            Moment::Serving | Moment::Silent => {
                if let Some(origin) = self.origins.get_mut(&actor) {
                    (origin.serves, origin.since) = (moment == Moment::Serving, at);
                }
            }
        }
        // A proxy that listens has begun a new life: nothing of the old one is so.
        if moment == Moment::Listening && self.settings.contains_key(&actor) {
            self.streams.retain(|(proxy, _), _| *proxy != actor);
            self.keys.retain(|(proxy, _), _| *proxy != actor);
            self.conns.retain(|(proxy, _), _| *proxy != actor);
            self.samples.remove(&actor);
        }
    }

    fn on_in(&mut self, actor: ActorId, inward: &Inward, at: Instant) {
        match inward {
            Inward::Connected { conn, failed } => {
                if failed.is_some() {
                    self.forget_conn(actor, *conn);
                } else if let Some(conn) = self.conns.get_mut(&(actor, *conn)) {
                    conn.is_open = true;
                }
            }
            Inward::Accepted { conn, peer } | Inward::PlayHttp { conn, peer } => {
                let seat = self.addresses.get(peer).copied();
                let now =
                    ConnNow { stream: None, seat, addr: *peer, since: at, is_open: true, is_closing: false };
                self.conns.insert((actor, *conn), now);
            }
            Inward::Closed { conn, .. } => self.forget_conn(actor, *conn),
            Inward::Timeout
            | Inward::Listening
            | Inward::Resolved { .. }
            | Inward::Received { .. }
            | Inward::Sent { .. }
            | Inward::Request { .. }
            | Inward::Answered { .. } => {}
        }
    }

    fn on_out(&mut self, actor: ActorId, outward: &Outward, at: Instant) {
        match outward {
            Outward::Connect { conn, addr } => {
                self.unassigned.push((actor, *conn));
                let now = ConnNow {
                    stream: None,
                    seat: None,
                    addr: *addr,
                    since: at,
                    is_open: false,
                    is_closing: false,
                };
                self.conns.insert((actor, *conn), now);
            }
            Outward::Close { conn } => {
                let mut stream = None;
                if let Some(conn) = self.conns.get_mut(&(actor, *conn)) {
                    conn.is_closing = true;
                    stream = conn.stream;
                }
                self.give_up(actor, stream, *conn);
            }
            Outward::Abort { conn } => self.forget_conn(actor, *conn),
            Outward::PlayAnswer { conn, streams: false } => self.forget_conn(actor, *conn),
            Outward::PlayAnswer { streams: true, .. }
            | Outward::Resolve { .. }
            | Outward::Transmit { .. }
            | Outward::Reply { .. }
            | Outward::Ask { .. } => {}
        }
    }

    fn forget_conn(&mut self, actor: ActorId, conn: u64) {
        if let Some(now) = self.conns.remove(&(actor, conn)) {
            self.give_up(actor, now.stream, conn);
        }
    }

    fn give_up(&mut self, actor: ActorId, stream: Option<u64>, conn: u64) {
        if let Some(stream) = stream.and_then(|stream| self.streams.get_mut(&(actor, stream)))
            && stream.upstream == Some(conn)
        {
            stream.upstream = None;
        }
    }

    fn on_event(&mut self, actor: ActorId, event: &proxy_core::io::Event, at: Instant) {
        let Some(id) = event.stream.map(|stream| stream.0) else { return };
        match &event.kind {
            EventKind::Registered { key } => {
                let args = self.args_of(actor, key);
                self.keys.insert((actor, key.clone()), id);
                let stream = StreamNow {
                    key: key.clone(),
                    registered_at: at,
                    events: event.number,
                    state: PullState::BackingOff,
                    entered_at: at,
                    failures: 0,
                    failure: None,
                    next_attempt: None,
                    upstream: None,
                    arrived_at: None,
                    has_streamed: false,
                    outage_since: Some(at),
                    args,
                };
                self.streams.insert((actor, id), stream);
            }
            EventKind::Unregistered { key, .. } => {
                self.keys.remove(&(actor, key.clone()));
                self.streams.remove(&(actor, id));
            }
            EventKind::PullStepped { next, .. } => {
                if *next == PullState::Connecting {
                    for (proxy, conn) in std::mem::take(&mut self.unassigned) {
                        if let Some(now) = self.conns.get_mut(&(proxy, conn)) {
                            now.stream = Some(id);
                        }
                        if let Some(stream) = self.streams.get_mut(&(proxy, id)) {
                            stream.upstream = Some(conn);
                        }
                    }
                }
            }
            EventKind::PullEntered { state, failure, failures, next_attempt } => {
                if let Some(stream) = self.streams.get_mut(&(actor, id)) {
                    (stream.state, stream.entered_at) = (*state, at);
                    stream.failures = *failures;
                    stream.next_attempt = *next_attempt;
                    if failure.is_some() {
                        stream.failure.clone_from(failure);
                    }
                    if *state == PullState::Streaming {
                        stream.has_streamed = true;
                        stream.outage_since = None;
                    } else if stream.outage_since.is_none() {
                        stream.outage_since = Some(at);
                    }
                }
            }
            EventKind::OriginStatus(_)
            | EventKind::Epoch { .. }
            | EventKind::Rebuilt
            | EventKind::TrackGone(_)
            | EventKind::PlayerConnected { .. }
            | EventKind::PlayerParked { .. }
            | EventKind::PlayerSeated { .. }
            | EventKind::PlayerShed { .. }
            | EventKind::PlayerLeft { .. }
            | EventKind::NoneReader => {}
        }
        if let Some(stream) = self.streams.get_mut(&(actor, id)) {
            stream.events = event.number;
        }
    }

    /// The arguments of the call under way that wants this key; none for a stream of the configuration.
    fn args_of(&self, proxy: ActorId, key: &StreamKey) -> BTreeMap<String, String> {
        let name = format!("{}/{}", key.app, key.stream);
        let asks = |call: &&CallNow| call.proxy == proxy && call.call.stream.as_deref() == Some(&name);
        let call = self.calls.values().rev().find(asks);
        call.map(|call| call.call.args.iter().cloned().collect()).unwrap_or_default()
    }
}

/// Returns the time from keyframe to keyframe.
fn gop_of(publisher: &crate::origin::Publisher) -> Duration {
    publisher.video.as_ref().map_or(Duration::ZERO, |video| {
        Duration::from_nanos(1_000_000_000 * u64::from(video.gop.max(1)) / u64::from(video.fps.max(1)))
    })
}
