//! What both sessions do, every state × every stimulus, as snapshots: a changed answer shows up as a changed line in
//! review. A line names the state, the stimulus, the next state (`·` if it is the same), what the owner is told, and
//! what the peer is answered.

use std::{collections::VecDeque, iter, slice::from_ref};

use bytes::Bytes;
use proxy_core::{
    config::Config,
    io::{ConnId, Output, PlayerEnd, PlayerState, StreamId},
    relay::{Relay, RelayLimits},
    session::{
        SessionError,
        client::{ClientEvent, ClientOptions, ClientSession},
        server::{Refusal, ServerEvent, ServerOptions, ServerSession},
    },
    stream::player::{Effect, Player, PlayerCx, PlayerEvent},
    time::Instant,
    url::OriginUrl,
    wire::{
        amf0::{self, Value},
        chunk::{self, CHUNK_SIZE_DEFAULT, ChunkDecoder, ChunkLimits},
        command::Command,
        flv::{FourCc, Frame, FrameClass, Medium},
        message::{Control, Message, type_id},
    },
};

const HANDSHAKE_BYTES: u64 = 3073;

/// What happens to a session.
enum Stimulus<S> {
    /// The peer says something.
    Said(Vec<u8>),
    /// The owner calls.
    Act(fn(&mut S, &mut Vec<u8>)),
}

fn encode(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    chunk::encode(3, CHUNK_SIZE_DEFAULT, message, &mut out);
    out
}

fn message(type_id: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    encode(&Message { type_id, timestamp: 0, stream, payload: Bytes::copy_from_slice(payload) })
}

fn control(control: Control) -> Vec<u8> {
    encode(&control.to_message())
}

fn command(stream: u32, name: &str, transaction: f64, object: Value, arguments: &[Value]) -> Vec<u8> {
    let command = Command { name: name.into(), transaction, object, arguments: arguments.to_vec() };
    encode(&command.to_message(stream))
}

fn call(stream: u32, name: &str, transaction: f64, arguments: &[Value]) -> Vec<u8> {
    command(stream, name, transaction, Value::Null, arguments)
}

fn object(members: &[(&str, Value)]) -> Value {
    Value::Object(members.iter().map(|(name, value)| ((*name).to_string(), value.clone())).collect())
}

fn info(level: &str, code: &str, description: &str) -> Value {
    object(&[("level", level.into()), ("code", code.into()), ("description", description.into())])
}

fn status(stream: u32, level: &str, code: &str) -> Vec<u8> {
    call(stream, "onStatus", 0.0, &[info(level, code, "")])
}

fn data(stream: u32, values: &[Value]) -> Vec<u8> {
    let mut payload = Vec::new();
    amf0::encode(values, &mut payload);
    message(type_id::DATA_AMF0, stream, &payload)
}

/// The controls of RTMP, one of each kind.
fn controls() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("SetChunkSize", control(Control::SetChunkSize(4096))),
        ("Abort", control(Control::Abort(9))),
        ("Acknowledgement", control(Control::Acknowledgement(100))),
        ("WindowAckSize", control(Control::WindowAckSize(2_500_000))),
        ("SetPeerBandwidth", control(Control::SetPeerBandwidth(1_000_000))),
        ("StreamBegin", control(Control::StreamBegin(1))),
        ("StreamEof 1", control(Control::StreamEof(1))),
        ("StreamEof 2", control(Control::StreamEof(2))),
        ("StreamDry 1", control(Control::StreamDry(1))),
        ("StreamDry 2", control(Control::StreamDry(2))),
        ("SetBufferLength", control(Control::SetBufferLength { stream: 1, millis: 3000 })),
        ("StreamIsRecorded", control(Control::StreamIsRecorded(1))),
        ("PingRequest", control(Control::PingRequest(7))),
        ("PingResponse", control(Control::PingResponse(7))),
        ("unknown control", message(type_id::USER_CONTROL, 0, &[0, 26, 0, 0, 0, 1])),
        ("short control", message(type_id::USER_CONTROL, 0, &[0])),
    ]
}

/// What carries no command.
fn media() -> Vec<(&'static str, Vec<u8>)> {
    let tag = [9, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0x17, 1, 0, 0, 0, 0, 0, 0, 16];
    let complete = [Value::from("onPlayStatus"), info("status", "NetStream.Play.Complete", "")];
    vec![
        ("audio on 1", message(type_id::AUDIO, 1, &[0xAF, 1, 1])),
        ("audio on 2", message(type_id::AUDIO, 2, &[0xAF, 1, 1])),
        ("video on 0", message(type_id::VIDEO, 0, &[0x17, 1, 0, 0, 0])),
        ("video on 1", message(type_id::VIDEO, 1, &[0x17, 1, 0, 0, 0])),
        ("video on 2", message(type_id::VIDEO, 2, &[0x17, 1, 0, 0, 0])),
        ("empty video", message(type_id::VIDEO, 1, &[])),
        ("aggregate", message(type_id::AGGREGATE, 1, &tag)),
        ("empty aggregate", message(type_id::AGGREGATE, 1, &[])),
        ("metadata", data(1, &["onMetaData".into(), object(&[("width", 16.0.into())])])),
        ("onPlayStatus Complete", data(1, &complete)),
        ("data nonsense", message(type_id::DATA_AMF0, 1, &[0xDE, 0xAD])),
        ("shared object", message(type_id::SHARED_OBJECT_AMF0, 0, &[1, 2, 3])),
        ("unknown type", message(99, 0, &[1])),
        ("command nonsense", message(type_id::COMMAND_AMF0, 0, &[0xDE, 0xAD])),
        ("empty command", message(type_id::COMMAND_AMF0, 0, &[])),
    ]
}

/// Writes down what a session said, by name.
fn heard(mut bytes: &[u8]) -> String {
    let mut decoder = ChunkDecoder::new(ChunkLimits::ORIGIN);
    let mut lines = Vec::new();
    while let decoded = decoder.decode(bytes).expect("our own chunks")
        && let Some(message) = decoded.message
    {
        bytes = &bytes[decoded.used..];
        lines.push(match message.control() {
            Some(control) => kind(&control),
            None => {
                let command = Command::parse(&message).expect("our own AMF0");
                match command.status().code {
                    code if code.is_empty() => command.name,
                    code => format!("{} {}", command.name, short(&code)),
                }
            }
        });
    }
    lines.join(", ")
}

/// The variant's name.
fn kind(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(['(', ' ', '{']).next().unwrap_or_default().to_string()
}

fn short(code: &str) -> &str {
    code.split_once('.').map_or(code, |(_, rest)| rest)
}

fn line(state: &str, name: &str, next: &str, told: &[String], answered: &[u8]) -> String {
    let next = if next == state.trim_end_matches(" again") { "·" } else { next };
    let line = format!("{state:<20} {name:<30} {next:<15} {:<40} > {}", told.join(", "), heard(answered));
    line.trim_end().trim_end_matches('>').trim_end().to_string()
}

/// Where a client's conversation begins. `again` is behind a replay: the first play was on stream 1, the other is
/// on 2.
const CLIENT_STATES: [&str; 7] = [
    "Connecting",
    "CreatingStream",
    "RequestingPlay",
    "Playing",
    "CreatingStream again",
    "RequestingPlay again",
    "Playing again",
];

fn connected() -> Vec<u8> {
    call(0, "_result", 1.0, &[info("status", "NetConnection.Connect.Success", "")])
}

fn client_at(state: &str) -> ClientSession {
    let url = OriginUrl::parse("rtmp://origin.example/live/cam?token=1").expect("a url");
    let options = ClientOptions { fc_subscribe: true, hops: 1, ids: Vec::new(), limits: ChunkLimits::ORIGIN };
    let mut out = Vec::new();
    let mut session = ClientSession::start(&url, &options, HANDSHAKE_BYTES, &mut out);
    let story: [Stimulus<ClientSession>; 6] = [
        Stimulus::Said(connected()),
        Stimulus::Said(call(0, "_result", 2.0, &[1.0.into()])),
        Stimulus::Said(status(1, "status", "NetStream.Play.Start")),
        Stimulus::Act(ClientSession::replay),
        Stimulus::Said(call(0, "_result", 5.0, &[2.0.into()])),
        Stimulus::Said(status(2, "status", "NetStream.Play.Start")),
    ];
    let steps = CLIENT_STATES.iter().position(|name| *name == state).expect("a state's name");
    for stimulus in story.into_iter().take(steps) {
        match stimulus {
            Stimulus::Said(said) => session.handle_bytes(&said, &mut out).expect("a good origin"),
            Stimulus::Act(act) => act(&mut session, &mut out),
        }
    }
    while session.poll_event().is_some() {}
    assert_eq!(format!("{:?}", session.state()), state.trim_end_matches(" again"));
    session
}

fn client_stimuli(state: &str) -> Vec<(&'static str, Stimulus<ClientSession>)> {
    // The transaction of our last call that wants an answer, and the play's message stream.
    let (awaited, stream): (f64, u32) = match state {
        "Connecting" => (1.0, 0),
        "CreatingStream" => (2.0, 0),
        // 3 was FCSubscribe.
        "RequestingPlay" | "Playing" => (4.0, 1),
        "CreatingStream again" => (5.0, 0),
        "RequestingPlay again" | "Playing again" => (6.0, 2),
        other => panic!("no state {other}"),
    };
    let rejected = info("error", "NetConnection.Connect.Rejected", "");
    let unauthorised =
        info("error", "NetConnection.Connect.Rejected", "[ code=403 need auth; authmod=adobe ]");
    let ex = object(&[("code", 302.0.into()), ("redirect2", "rtmp://b.example/live/cam".into())]);
    let redirect = object(&[("code", "NetConnection.Connect.Rejected".into()), ("ex", ex)]);
    let reconnect = object(&[
        ("level", "status".into()),
        ("code", "NetConnection.Connect.ReconnectRequest".into()),
        ("tcUrl", "rtmp://b.example/live".into()),
    ]);
    let created = if state == "CreatingStream again" { 2.0 } else { 1.0 };
    let mut said = vec![
        (
            "_result awaited",
            call(0, "_result", awaited, &[if awaited == 1.0 { Value::Null } else { created.into() }]),
        ),
        ("_result without a stream", call(0, "_result", awaited, &[Value::Null])),
        ("_result of another call", call(0, "_result", 77.0, &[3.0.into()])),
        ("_result Success, any call", {
            call(0, "_result", 77.0, &[info("status", "NetConnection.Connect.Success", "")])
        }),
        ("_error awaited", call(0, "_error", awaited, from_ref(&rejected))),
        ("_error of another call", call(0, "_error", 77.0, from_ref(&rejected))),
        ("_error 0 on the play's stream", call(stream, "_error", 0.0, &[rejected])),
        ("_error awaited, redirect", call(0, "_error", awaited, &[redirect])),
        ("_error awaited, authmod", call(0, "_error", awaited, from_ref(&unauthorised))),
        ("onStatus Play.Start", status(1, "status", "NetStream.Play.Start")),
        ("onStatus Play.Reset", status(1, "status", "NetStream.Play.Reset")),
        ("onStatus PublishNotify", status(1, "status", "NetStream.Play.PublishNotify")),
        ("onStatus UnpublishNotify on 1", status(1, "status", "NetStream.Play.UnpublishNotify")),
        ("onStatus UnpublishNotify on 2", status(2, "status", "NetStream.Play.UnpublishNotify")),
        ("onStatus Play.Stop on 1", status(1, "status", "NetStream.Play.Stop")),
        ("onStatus Play.Stop on 2", status(2, "status", "NetStream.Play.Stop")),
        ("onStatus Play.Complete on 2", status(2, "status", "NetStream.Play.Complete")),
        ("onStatus StreamNotFound", status(1, "error", "NetStream.Play.StreamNotFound")),
        ("onStatus Play.Failed", status(1, "error", "NetStream.Play.Failed")),
        ("onStatus Connect.Rejected", status(0, "error", "NetConnection.Connect.Rejected")),
        ("onStatus Connect.Closed", status(0, "status", "NetConnection.Connect.Closed")),
        ("onStatus ReconnectRequest", call(0, "onStatus", 0.0, &[reconnect])),
        ("onStatus authmod", call(0, "onStatus", 0.0, &[unauthorised])),
        ("onStatus of level error", status(1, "error", "NetStream.Surprise")),
        ("onStatus unknown", status(1, "status", "NetStream.Surprise")),
        ("onStatus without info", call(1, "onStatus", 0.0, &[])),
        ("onBWDone", call(0, "onBWDone", 3.0, &[])),
        ("_onbwcheck", call(0, "_onbwcheck", 3.0, &[])),
        ("onFCSubscribe", call(0, "onFCSubscribe", 0.0, &[])),
        ("onFCUnsubscribe", call(0, "onFCUnsubscribe", 0.0, &[])),
        ("close", call(0, "close", 0.0, &[])),
        ("unknown call", call(0, "surprise", 9.0, &[])),
        ("unknown call, no answer", call(0, "surprise", 0.0, &[])),
        ("play", call(1, "play", 9.0, &["cam".into()])),
    ];
    said.extend(media());
    said.extend(controls());
    let mut stimuli: Vec<(_, Stimulus<ClientSession>)> =
        said.into_iter().map(|(name, said)| (name, Stimulus::Said(said))).collect();
    stimuli.push(("the owner: ping", Stimulus::Act(|session, out| session.ping(7, out))));
    stimuli.push(("the owner: replay", Stimulus::Act(ClientSession::replay)));
    stimuli
}

fn client_told(event: ClientEvent) -> String {
    match event {
        ClientEvent::Asked => "Asked".into(),
        ClientEvent::Playing => "Playing".into(),
        ClientEvent::Frame(frame) => format!("Frame {:?}", frame.medium),
        ClientEvent::Pong { .. } => "Pong".into(),
        ClientEvent::Ended(ending) => format!("Ended {ending:?}"),
        ClientEvent::Status(_) => "Status".into(),
        ClientEvent::Refused(_) => "Refused".into(),
        ClientEvent::Redirect { .. } => "Redirect".into(),
    }
}

#[test]
fn the_client_session_moves_like_this() {
    let mut table = Vec::new();
    for state in CLIENT_STATES {
        for (name, stimulus) in client_stimuli(state) {
            let mut session = client_at(state);
            let mut out = Vec::new();
            let outcome = match stimulus {
                Stimulus::Said(said) => session.handle_bytes(&said, &mut out),
                Stimulus::Act(act) => {
                    act(&mut session, &mut out);
                    Ok(())
                }
            };
            let mut told: Vec<_> = iter::from_fn(|| session.poll_event()).map(client_told).collect();
            told.extend(outcome.err().map(|error| format!("error {}", kind(&error))));
            table.push(line(state, name, &format!("{:?}", session.state()), &told, &out));
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}

fn connect(members: &[(&str, Value)]) -> Vec<u8> {
    command(0, "connect", 1.0, object(members), &[])
}

fn server() -> ServerSession {
    let options =
        ServerOptions { chunk_size: 4096, streams_max: 2, hops_max: 2, limits: ChunkLimits::PLAYER };
    ServerSession::new(options, HANDSHAKE_BYTES)
}

/// The play is on stream 1.
fn server_at(state: &str) -> ServerSession {
    let states = ["AwaitingConnect", "Connected", "Parked", "Running"];
    let story: [Stimulus<ServerSession>; 3] = [
        Stimulus::Said([connect(&[("app", "live".into())]), call(0, "createStream", 2.0, &[])].concat()),
        Stimulus::Said(call(1, "play", 0.0, &["cam".into()])),
        Stimulus::Act(ServerSession::accept_play),
    ];
    let steps = states.iter().position(|name| *name == state).expect("a state's name");
    let (mut session, mut out) = (server(), Vec::new());
    for stimulus in story.into_iter().take(steps) {
        match stimulus {
            Stimulus::Said(said) => session.handle_bytes(&said, &mut out).expect("a good player"),
            Stimulus::Act(act) => act(&mut session, &mut out),
        }
    }
    while session.poll_event().is_some() {}
    assert_eq!(format!("{:?}", session.state()), state);
    session
}

fn server_stimuli() -> Vec<(&'static str, Stimulus<ServerSession>)> {
    let play = |stream| call(stream, "play", 0.0, &["cam".into()]);
    let create = || call(0, "createStream", 3.0, &[]);
    let mut said = vec![
        ("connect", connect(&[("app", "live".into())])),
        ("connect, too many hops", connect(&[("app", "live".into()), ("repullHops", 3.0.into())])),
        ("createStream", create()),
        ("createStream twice", [create(), create()].concat()),
        ("createStream, no answer", call(0, "createStream", 0.0, &[])),
        ("play on 0", play(0)),
        ("play on 1", play(1)),
        ("play on 2", play(2)),
        ("play on 2 and 3", [play(2), play(3)].concat()),
        ("play without a name", call(1, "play", 0.0, &[])),
        ("play2", call(1, "play2", 4.0, &[object(&[("streamName", "cam".into())])])),
        ("closeStream on 0", call(0, "closeStream", 0.0, &[])),
        ("closeStream on 1", call(1, "closeStream", 0.0, &[])),
        ("closeStream on 2", call(2, "closeStream", 0.0, &[])),
        ("deleteStream", call(0, "deleteStream", 0.0, &[])),
        ("deleteStream 1", call(0, "deleteStream", 0.0, &[1.0.into()])),
        ("deleteStream 2", call(0, "deleteStream", 0.0, &[2.0.into()])),
        ("getStreamLength", call(0, "getStreamLength", 4.0, &["cam".into()])),
        ("FCSubscribe", call(0, "FCSubscribe", 4.0, &["cam".into()])),
        ("FCUnsubscribe", call(0, "FCUnsubscribe", 4.0, &["cam".into()])),
        ("releaseStream", call(0, "releaseStream", 4.0, &["cam".into()])),
        ("FCPublish", call(0, "FCPublish", 4.0, &["cam".into()])),
        ("publish", call(1, "publish", 4.0, &["cam".into(), "live".into()])),
        ("pause", call(1, "pause", 0.0, &[true.into(), 0.0.into()])),
        ("seek", call(1, "seek", 0.0, &[0.0.into()])),
        ("receiveAudio", call(1, "receiveAudio", 0.0, &[false.into()])),
        ("receiveVideo", call(1, "receiveVideo", 0.0, &[false.into()])),
        ("_checkbw", call(0, "_checkbw", 4.0, &[])),
        ("unknown call", call(0, "surprise", 4.0, &[])),
        ("unknown call, no answer", call(0, "surprise", 0.0, &[])),
        ("_result", call(0, "_result", 1.0, &[])),
        ("_error", call(0, "_error", 1.0, &[])),
        ("onStatus", status(1, "status", "NetStream.Play.Start")),
    ];
    said.extend(media());
    said.extend(controls());
    let mut stimuli: Vec<(_, Stimulus<ServerSession>)> =
        said.into_iter().map(|(name, said)| (name, Stimulus::Said(said))).collect();
    stimuli.push(("the owner: accept", Stimulus::Act(ServerSession::accept_play)));
    stimuli.push((
        "the owner: reject, not found",
        Stimulus::Act(|session, out| session.reject_play(Refusal::StreamNotFound, out)),
    ));
    stimuli.push((
        "the owner: reject, not allowed",
        Stimulus::Act(|session, out| session.reject_play(Refusal::BadAuth, out)),
    ));
    stimuli.push((
        "the owner: reject, too many",
        Stimulus::Act(|session, out| session.reject_play(Refusal::TooManyPlayers, out)),
    ));
    stimuli.push(("the owner: end", Stimulus::Act(ServerSession::end_play)));
    stimuli.push(("the owner: progressed", Stimulus::Act(|session, _| session.progressed())));
    stimuli
}

fn server_told(event: ServerEvent) -> String {
    match event {
        ServerEvent::Connected { .. } => "Connected".into(),
        ServerEvent::Play { .. } => "Play".into(),
        ServerEvent::Stopped => "Stopped".into(),
    }
}

#[test]
fn the_server_session_moves_like_this() {
    let mut table = Vec::new();
    for state in ["AwaitingConnect", "Connected", "Parked", "Running"] {
        for (name, stimulus) in server_stimuli() {
            let mut session = server_at(state);
            let mut out = Vec::new();
            let outcome = match stimulus {
                Stimulus::Said(said) => session.handle_bytes(&said, &mut out),
                Stimulus::Act(act) => {
                    act(&mut session, &mut out);
                    Ok(())
                }
            };
            let mut told: Vec<_> = iter::from_fn(|| session.poll_event()).map(server_told).collect();
            told.extend(outcome.err().map(|error| format!("error {}", kind(&error))));
            table.push(line(state, name, &format!("{:?}", session.state()), &told, &out));
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}

/// A seated player and the world around it; its socket takes everything at once.
struct Seated {
    player: Player,
    config: Config,
    relay: Relay,
    now: Instant,
    ended: Option<PlayerEnd>,
}

impl Seated {
    fn new() -> Self {
        let config = Config::default();
        let (now, here) = (Instant::from_millis(1_000), "198.18.0.1:40000".parse().expect("an address"));
        let player = Player::accept(ConnId::accepted(0), here, here, &[0; 1528], &config.play, now);
        let relay = Relay::new(RelayLimits::default());
        let mut seated = Self { player, config, relay, now, ended: None };
        seated.step(PlayerEvent::HandshakeDone(HANDSHAKE_BYTES));
        seated.say(&[connect(&[("app", "live".into())]), call(1, "play", 0.0, &["cam".into()])].concat());
        let cursor = Box::new(seated.relay.join());
        seated.step(PlayerEvent::Seat { stream: StreamId(1), cursor });
        assert_eq!(seated.player.state(), Some(PlayerState::Seated));
        seated
    }

    /// Lets the player act; the socket takes what it hands over.
    fn act(&mut self, act: impl FnOnce(&mut Player, &mut Relay, &mut PlayerCx<'_>, Instant)) {
        let (mut outputs, mut effects, mut last_ask) = (VecDeque::new(), VecDeque::new(), 0);
        let mut cx = PlayerCx {
            config: &self.config.play,
            outputs: &mut outputs,
            effects: &mut effects,
            last_ask: &mut last_ask,
        };
        act(&mut self.player, &mut self.relay, &mut cx, self.now);
        for output in outputs {
            if let Output::Transmit { bytes, .. } = output {
                self.player.handle_sent(bytes.len(), self.now);
            }
        }
        for effect in effects {
            if let Effect::Ended { end, .. } = effect {
                self.ended = Some(end);
            }
        }
    }

    fn step(&mut self, event: PlayerEvent) {
        self.act(|player, _, cx, now| player.step(event, cx, now));
    }

    fn say(&mut self, said: &[u8]) {
        self.act(|player, _, cx, now| player.handle_bytes(said, cx, now));
    }

    fn send_frame(&mut self) {
        self.act(|player, relay, cx, now| {
            let payload = Bytes::from_static(&[0xAF, 1, 0]);
            let (medium, class, codec) = (Medium::Audio, FrameClass::Audio, FourCc(*b"mp4a"));
            relay.push(&Frame { medium, class, codec, track: 0, timestamp: 0, payload }, now);
            player.pump(relay, relay.end(), cx, now);
        });
    }
}

/// RTMP knows no duty to acknowledge, and many players do not.
#[test]
fn a_seated_player_pings_as_long_as_it_takes_its_media() {
    let ping = control(Control::PingRequest(7));
    let mut seated = Seated::new();
    for _ in 0..10_000 {
        seated.say(&ping);
        seated.send_frame();
    }
    assert_eq!(seated.ended, None);

    // The answers to its pings, which it takes as well, do not count.
    for _ in 0..10_000 {
        seated.say(&ping);
    }
    assert_eq!(seated.ended, Some(PlayerEnd::Session(SessionError::Flood)));
}
