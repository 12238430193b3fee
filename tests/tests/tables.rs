//! The transition tables of the machines, every state × every stimulus, as snapshots: a changed transition shows up
//! as a changed line in review.

use std::{
    collections::VecDeque,
    fmt::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use proxy_core::{
    config::Config,
    dice::PullDice,
    io::{
        AskId, ConnId, ConnectError, Hangup, Output, PlayerEnd, PullFailure, PullOptions, ResolveError,
        StreamEnd, StreamId,
    },
    relay::{Relay, RelayLimits},
    session::{SessionError, client::Ending, server::Refusal},
    stream::{
        player::{Player, PlayerCx, PlayerEvent},
        pull::{Pull, PullEvent, Wish},
        routes::{PullCx, Routes},
    },
    time::{Duration, Instant},
    url::{OriginUrl, StreamKey},
    wire::{
        command::Status,
        flv::{FourCc, Frame, FrameClass, Medium},
    },
};

const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), 40_000);
const ORIGIN: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));

fn key() -> StreamKey {
    StreamKey::new("", "live", "x").expect("a key")
}

fn frame() -> Frame {
    let payload = Bytes::from_static(&[0x17, 1, 0, 0, 0, 0]);
    Frame {
        medium: Medium::Video,
        class: FrameClass::Keyframe,
        codec: FourCc(*b"avc1"),
        track: 0,
        timestamp: 0,
        payload,
    }
}

/// A pull with the world around it.
struct PullBench {
    pull: Pull,
    config: Config,
    routes: Routes,
    now: Instant,
}

impl PullBench {
    fn new() -> Self {
        let config = Config::default();
        let url = OriginUrl::parse("rtmp://origin.example/live/x").expect("a url");
        let wish = Wish { paths: vec![url], options: PullOptions { force: true, ..PullOptions::default() } };
        let now = Instant::from_millis(1_000);
        let pull = Pull::new(wish, PullDice::new(7, &key()), &config.pull, now);
        Self { pull, config, routes: Routes::default(), now }
    }

    /// Takes a step; returns the outputs by name.
    fn step(&mut self, event: PullEvent) -> String {
        let (mut outputs, mut effects) = (VecDeque::new(), VecDeque::new());
        let key = key();
        let mut cx = PullCx {
            stream: StreamId(1),
            key: &key,
            watched: true,
            ids: Vec::new(),
            hops: 1,
            config: &self.config,
            routes: &mut self.routes,
            outputs: &mut outputs,
            effects: &mut effects,
        };
        self.pull.step(event, &mut cx, self.now);
        let told: Vec<&str> = outputs.iter().map(name_of).collect();
        told.join(" ")
    }

    /// Returns a pull in a state; `Asking` is `Queued` while the name is looked up again.
    fn at(state: &str) -> Self {
        if state == "Asking" {
            let mut bench = Self::at("Queued");
            bench.step(PullEvent::Deadline);
            return bench;
        }
        let path: &[PullEvent] = &[
            PullEvent::Wake,
            PullEvent::Resolved(vec![ORIGIN]),
            PullEvent::Granted,
            PullEvent::Connected(HERE),
            PullEvent::HandshakeDone(3073),
            PullEvent::Playing,
            PullEvent::Frame(frame()),
            PullEvent::Pong,
            PullEvent::Ended(Ending::StreamEof),
        ];
        let mut bench = Self::new();
        if state == "Stopped" {
            bench.step(PullEvent::Stop);
        }
        let mut path = path.iter();
        while format!("{:?}", bench.pull.state()) != state {
            bench.now += Duration::from_millis(1);
            bench.step(path.next().expect("the story passes through every state").clone());
        }
        bench
    }
}

fn name_of(output: &Output) -> &'static str {
    match output {
        Output::Resolve { .. } => "Resolve",
        Output::Connect { .. } => "Connect",
        Output::Transmit { .. } => "Transmit",
        Output::Close { .. } => "Close",
        Output::Abort { .. } => "Abort",
        Output::Reply { .. } => "Reply",
        Output::Ask { .. } => "Ask",
        Output::PlayAnswer { .. } => "PlayAnswer",
        Output::Event(_) => "Event",
    }
}

fn pull_events() -> Vec<(&'static str, PullEvent)> {
    let refused = Status::new("error", "NetStream.Play.StreamNotFound", "");
    vec![
        ("Wake", PullEvent::Wake),
        ("Watched", PullEvent::Watched),
        ("Resolved", PullEvent::Resolved(vec![ORIGIN])),
        ("Resolved elsewhere", PullEvent::Resolved(vec![IpAddr::V4(Ipv4Addr::new(198, 18, 0, 9))])),
        ("ResolveFailed", PullEvent::ResolveFailed(ResolveError::NotFound)),
        ("Granted", PullEvent::Granted),
        ("Connected", PullEvent::Connected(HERE)),
        ("ConnectFailed", PullEvent::ConnectFailed(ConnectError::Refused)),
        ("HandshakeDone", PullEvent::HandshakeDone(3073)),
        ("ProtocolFailed", PullEvent::ProtocolFailed(PullFailure::Session(SessionError::Flood))),
        ("Asked", PullEvent::Asked),
        ("Playing", PullEvent::Playing),
        ("Frame", PullEvent::Frame(frame())),
        ("Pong", PullEvent::Pong),
        ("Ended", PullEvent::Ended(Ending::StreamEof)),
        ("Refused", PullEvent::Refused(refused)),
        ("Redirected", PullEvent::Redirected("rtmp://198.18.0.3/live/x".into())),
        ("Closed", PullEvent::Closed(Hangup::Eof)),
        ("Deadline", PullEvent::Deadline),
        ("Restart", PullEvent::Restart),
        ("Stop", PullEvent::Stop),
    ]
}

#[test]
fn the_pull_machine_moves_like_this() {
    let states = [
        "BackingOff",
        "Resolving",
        "Queued",
        "Asking",
        "Connecting",
        "Handshaking",
        "Requesting",
        "AwaitingMedia",
        "Streaming",
        "Replaying",
        "Stopped",
    ];
    let mut table = String::new();
    for state in states {
        for (name, event) in pull_events() {
            let mut bench = PullBench::at(state);
            if name == "Deadline" {
                bench.now = bench.now.max(bench.pull.deadline().unwrap_or(bench.now));
            }
            let before = bench.pull.state();
            let outputs = bench.step(event);
            let next = bench.pull.state();
            let next = if next == before { "·".into() } else { format!("{next:?}") };
            writeln!(table, "{state:<14} {name:<19} {next:<14} {outputs}").expect("a string takes it");
        }
    }
    let table: Vec<&str> = table.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(table.join("\n"));
}

/// Each deadline of a waiting state, with the time until it.
#[test]
fn every_state_that_waits_names_its_deadline() {
    let states = [
        "Resolving",
        "Asking",
        "Connecting",
        "Handshaking",
        "Requesting",
        "AwaitingMedia",
        "Streaming",
        "Replaying",
    ];
    let deadlines: Vec<String> = states
        .iter()
        .map(|state| {
            let bench = PullBench::at(state);
            format!("{state} {:?}", bench.pull.deadline().map(|at| at.since(bench.now)))
        })
        .collect();
    insta::assert_snapshot!(deadlines.join("\n"));
}

/// A player with the world around it.
struct PlayerBench {
    player: Player,
    config: Config,
    relay: Relay,
    last_ask: u64,
    now: Instant,
}

impl PlayerBench {
    fn new() -> Self {
        let config = Config::default();
        let now = Instant::from_millis(1_000);
        let player = Player::accept(ConnId::accepted(0), HERE, HERE, &[0; 1528], &config.play, now);
        Self { player, config, relay: Relay::new(RelayLimits::default()), last_ask: 0, now }
    }

    fn step(&mut self, event: PlayerEvent) -> String {
        let (mut outputs, mut effects) = (VecDeque::new(), VecDeque::new());
        let mut cx = PlayerCx {
            config: &self.config.play,
            outputs: &mut outputs,
            effects: &mut effects,
            last_ask: &mut self.last_ask,
        };
        self.player.step(event, &mut cx, self.now);
        let told: Vec<&str> = outputs.iter().map(name_of).collect();
        told.join(" ")
    }

    fn seat(&self) -> PlayerEvent {
        PlayerEvent::Seat { stream: StreamId(1), cursor: Box::new(self.relay.join()) }
    }

    fn state(&self) -> String {
        self.player.state().map_or("Left".into(), |state| format!("{state:?}"))
    }

    fn at(state: &str) -> Self {
        let mut bench = Self::new();
        let asked = PlayerEvent::Asked { ask: AskId(1), key: Some(key()), params: String::new() };
        let mut path = [
            PlayerEvent::HandshakeDone(3073),
            asked,
            PlayerEvent::Park(bench.now),
            bench.seat(),
            PlayerEvent::Kick,
        ]
        .into_iter();
        while bench.state() != state {
            bench.step(path.next().expect("the story passes through every state"));
        }
        bench
    }

    fn events(&self) -> Vec<(&'static str, PlayerEvent)> {
        let flood = PlayerEnd::Session(SessionError::Flood);
        vec![
            ("HandshakeDone", PlayerEvent::HandshakeDone(3073)),
            ("ProtocolFailed", PlayerEvent::ProtocolFailed(flood)),
            ("Introduced", PlayerEvent::Introduced { agent: "x".into(), hops: 0, ids: Vec::new() }),
            ("Asked", PlayerEvent::Asked { ask: AskId(9), key: Some(key()), params: String::new() }),
            ("Asked nonsense", PlayerEvent::Asked { ask: AskId(9), key: None, params: String::new() }),
            ("Park", PlayerEvent::Park(self.now)),
            ("Seat", self.seat()),
            ("Refuse", PlayerEvent::Refuse(Refusal::BadAuth, PlayerEnd::Denied)),
            ("Stopped", PlayerEvent::Stopped),
            ("StreamEnded", PlayerEvent::StreamEnded(StreamEnd::Deleted)),
            ("HoldExpired", PlayerEvent::HoldExpired),
            ("Kick", PlayerEvent::Kick),
            ("HungUp", PlayerEvent::HungUp(Hangup::Reset)),
            ("Deadline", PlayerEvent::Deadline),
        ]
    }
}

#[test]
fn the_player_machine_moves_like_this() {
    let mut table = Vec::new();
    for state in ["Handshaking", "Idle", "Asking", "Parked", "Seated", "Left"] {
        for (name, event) in PlayerBench::at(state).events() {
            let mut bench = PlayerBench::at(state);
            let outputs = bench.step(event);
            let next = bench.state();
            let next = if next == state { "·".into() } else { next };
            table.push(format!("{state:<12} {name:<15} {next:<12} {outputs}").trim_end().to_string());
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}
