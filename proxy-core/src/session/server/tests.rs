use super::*;
use crate::session::talk::{Listener, command, control, data, message, object};

fn options() -> ServerOptions {
    ServerOptions { chunk_size: 60_000, streams_max: 3, hops_max: 2, limits: ChunkLimits::PLAYER }
}

fn connect(members: &[(&str, Value)]) -> Vec<u8> {
    command(0, "connect", 1.0, &[object(members)])
}

fn play(stream: u32, name: &str) -> Vec<u8> {
    command(stream, "play", 5.0, &[Value::Null, name.into(), (-2000.0).into()])
}

/// A session and what its player hears.
struct Talk {
    session: ServerSession,
    listener: Listener,
}

impl Talk {
    fn new() -> Self {
        Self { session: ServerSession::new(options(), 3073), listener: Listener::new() }
    }

    /// Behind connect.
    fn connected() -> Self {
        let mut talk = Self::new();
        talk.say(&connect(&[("app", "live".into())]));
        talk
    }

    /// Returns what is told, then what is answered.
    #[track_caller]
    fn say(&mut self, said: &[u8]) -> (Vec<String>, Vec<String>) {
        let mut out = Vec::new();
        self.session.handle_bytes(said, &mut out).expect("nothing to hang up for");
        (self.told(), self.listener.hear(&out))
    }

    fn told(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(event) = self.session.poll_event() {
            lines.push(match event {
                ServerEvent::Connected { agent, hops, ids } if ids.is_empty() => {
                    format!("connected {agent:?} {hops}")
                }
                ServerEvent::Connected { agent, hops, ids } => {
                    format!("connected {agent:?} {hops} {ids:x?}")
                }
                ServerEvent::Play { app, stream, vhost, params } => {
                    format!("play {app} {stream} vhost={vhost} params={params}")
                }
                ServerEvent::Stopped => "stopped".into(),
            });
        }
        lines
    }

    /// Lets the owner act, returns what the player hears.
    fn act(&mut self, act: impl FnOnce(&mut ServerSession, &mut Vec<u8>)) -> Vec<String> {
        let mut out = Vec::new();
        act(&mut self.session, &mut out);
        self.listener.hear(&out)
    }
}

/// Says `said` behind connect, compares what is told and answered.
#[track_caller]
fn check(said: &[u8], events: &[&str], answers: &[&str]) {
    let (told, heard) = Talk::connected().say(said);
    assert_eq!(told, events);
    assert_eq!(heard, answers);
}

const CONNECTED: [&str; 4] = [
    "0 WindowAckSize(5000000)",
    "0 SetPeerBandwidth(5000000)",
    "0 SetChunkSize(60000)",
    "0 _result 1 {fmsVer: \"FMS/3,0,1,123\", capabilities: 31} {level: \"status\", code: \
     \"NetConnection.Connect.Success\", description: \"Connection succeeded.\", objectEncoding: 0}",
];

/// What real players said from behind the handshake on, captured while this session answered: FFmpeg 5.1 as
/// player and as publisher, rtmpdump 2.4, nginx-rtmp 1.2 pulling for a relay of its own.
#[test]
fn captured_players_are_served() {
    let flash = "connected \"LNX 9,0,124,2\" 0";
    let cases: [(&[u8], &[&str], &[&str]); 4] = [
        (
            include_bytes!("../golden/ffmpeg_play.bin"),
            &[flash, "play live cam vhost= params=token=1"],
            &["0 _result 2 null 1", "0 _result 3 null 0"],
        ),
        (
            include_bytes!("../golden/rtmpdump_play.bin"),
            // It was stopped in the end: its play is no news any more.
            &["connected \"LNX 10,0,32,18\" 0"],
            &[
                "0 _result 2 null 1",
                "0 onFCSubscribe 0 null {level: \"status\", code: \"NetStream.Play.Start\", description: \
                 \"Subscribed.\"}",
            ],
        ),
        (
            include_bytes!("../golden/nginx_pull.bin"),
            &["connected \"LNX.11,1,102,55\" 0", "play live cam vhost= params="],
            &["0 _result 2 null 1"],
        ),
        (
            include_bytes!("../golden/ffmpeg_publish.bin"),
            &["connected \"FMLE/3.0 (compatible; Lavf59.27.100)\" 0"],
            &[
                "0 _result 2 null null",
                "0 _result 3 null null",
                "0 _result 4 null 1",
                "1 onStatus 0 null {level: \"error\", code: \"NetStream.Publish.Denied\", description: \
                 \"Publishing is not served here.\"}",
            ],
        ),
    ];
    for (said, events, answers) in cases {
        let mut whole = Talk::new();
        let (told, heard) = whole.say(said);
        assert_eq!(told, events);
        assert_eq!(heard[..4], CONNECTED);
        assert_eq!(heard[4..], *answers);

        let mut pieces = Talk::new();
        let mut out = Vec::new();
        for byte in said {
            pieces.session.handle_bytes(&[*byte], &mut out).expect("it worked on the wire");
        }
        assert_eq!(pieces.told(), events);
        assert_eq!(pieces.listener.hear(&out), heard);
    }
}

#[test]
fn connect_is_answered_in_the_order_players_know() {
    let mut talk = Talk::new();
    let (told, heard) = talk.say(&connect(&[
        ("app", "live".into()),
        ("flashVer", "Player\n1".into()),
        ("objectEncoding", 3.0.into()),
        ("repullHops", 2.0.into()),
    ]));
    assert_eq!(told, ["connected \"Player 1\" 2"]);
    assert_eq!(heard[..3], CONNECTED[..3]);
    assert_eq!(heard[3], CONNECTED[3].replace("objectEncoding: 0", "objectEncoding: 3"));

    let (told, heard) = Talk::new().say(&command(0, "connect", 1.0, &[]));
    assert_eq!(told, ["connected \"\" 0"]);
    assert_eq!(heard, CONNECTED);
}

#[test]
fn a_play_is_accepted_refused_and_ended() {
    let mut talk = Talk::connected();
    assert_eq!(talk.session.play_stream(), None);
    assert_eq!(talk.act(ServerSession::accept_play), [""; 0]);
    let (told, heard) = talk.say(&play(1, "cam"));
    assert_eq!((told, heard.len()), (vec!["play live cam vhost= params=".into()], 0));
    assert_eq!(talk.session.play_stream(), Some(1));
    let ping = control(Control::PingRequest(3));
    assert_eq!(talk.say(&ping).1, ["0 PingResponse(3)"], "parked players are answered");
    let accepted = [
        "0 StreamBegin(1)",
        "1 onStatus 0 null {level: \"status\", code: \"NetStream.Play.Reset\", description: \"Playing and \
         resetting.\"}",
        "1 onStatus 0 null {level: \"status\", code: \"NetStream.Play.Start\", description: \"Started \
         playing.\"}",
    ];
    assert_eq!(talk.act(ServerSession::accept_play), accepted);
    assert_eq!(talk.act(ServerSession::accept_play), [""; 0], "once is enough");
    let ended = [
        "1 onStatus 0 null {level: \"status\", code: \"NetStream.Play.UnpublishNotify\", description: \"The \
         stream has ended.\"}",
        "0 StreamEof(1)",
    ];
    assert_eq!(talk.act(ServerSession::end_play), ended);
    assert_eq!(talk.act(ServerSession::end_play), [""; 0]);
    assert_eq!(talk.session.play_stream(), None);

    for (refusal, code) in [
        (Refusal::StreamNotFound, "StreamNotFound\", description: \"No such stream.\"}"),
        (Refusal::BadAuth, "BadAuth\", description: \"Not allowed.\"}"),
        (Refusal::TooManyPlayers, "InsufficientBW\", description: \"Too many players.\"}"),
    ] {
        talk.say(&play(2, "cam"));
        let heard = talk.act(|session, out| session.reject_play(refusal, out));
        assert_eq!(heard, [format!("2 onStatus 0 null {{level: \"error\", code: \"NetStream.Play.{code}")]);
        assert_eq!(talk.session.play_stream(), None);
    }
    assert_eq!(talk.act(|session, out| session.reject_play(Refusal::BadAuth, out)), [""; 0]);
}

#[test]
fn one_play_is_alive_at_a_time() {
    let mut talk = Talk::connected();
    let told = talk.say(&play(1, "a")).0;
    assert_eq!(told, ["play live a vhost= params="]);
    let told = talk.say(&play(1, "b")).0;
    assert_eq!(told, ["stopped", "play live b vhost= params="]);
    // On another stream, and on none: whoever never created one means the first.
    let told = talk.say(&play(2, "c")).0;
    assert_eq!((told.len(), talk.session.play_stream()), (2, Some(2)));
    let told = talk.say(&play(0, "d")).0;
    assert_eq!((told.len(), talk.session.play_stream()), (2, Some(PLAY_STREAM)));

    // What is taken back before the owner heard of it is not told: its answer would hit the next play.
    let three = [play(1, "e"), command(1, "closeStream", 0.0, &[Value::Null]), play(1, "f"), play(2, "g")];
    let told = talk.say(&three.concat()).0;
    assert_eq!(told, ["stopped", "play live g vhost= params="]);
}

#[test]
fn a_play_is_stopped_by_close_and_delete() {
    let delete = |id: &[Value]| command(0, "deleteStream", 0.0, &[&[Value::Null], id].concat());
    for (said, stops) in [
        (command(1, "closeStream", 0.0, &[Value::Null]), true),
        (command(0, "closeStream", 0.0, &[]), true),
        (command(2, "closeStream", 0.0, &[Value::Null]), false),
        (delete(&[1.0.into()]), true),
        (delete(&[]), true),
        (delete(&[2.0.into()]), false),
    ] {
        let mut talk = Talk::connected();
        talk.say(&play(1, "cam"));
        let (told, heard) = talk.say(&said);
        assert_eq!(told.len(), usize::from(stops), "{told:?}");
        assert!(heard.is_empty(), "§7.2.2.3: no answer");
        assert_eq!(talk.session.play_stream(), (!stops).then_some(1));
    }
}

#[test]
fn streams_are_numbered_from_one_and_bounded() {
    let mut talk = Talk::connected();
    let create = command(0, "createStream", 9.0, &[Value::Null]);
    for id in 1..=3 {
        assert_eq!(talk.say(&create).1, [format!("0 _result 9 null {id}")]);
    }
    let refused = "0 _error 9 null {level: \"error\", code: \"NetConnection.Call.Failed\", description: \"At most 3 \
                   streams on one connection.\"}";
    for _ in 0..1000 {
        assert_eq!(talk.say(&create).1, [refused]);
    }
    let refused = "7 onStatus 0 null {level: \"error\", code: \"NetStream.Play.Failed\", description: \"Too many \
                   streams on one connection.\"}";
    assert_eq!(talk.say(&play(7, "cam")), (vec![], vec![refused.into()]));
    talk.say(&command(0, "deleteStream", 0.0, &[Value::Null, 2.0.into()]));
    assert_eq!(talk.say(&create).1, ["0 _result 9 null 2"], "the lowest free one");
}

#[track_caller]
fn check_names(app: &str, tc_url: &str, name: &str, told: &str) {
    let mut talk = Talk::new();
    talk.say(&connect(&[("app", app.into()), ("tcUrl", tc_url.into())]));
    assert_eq!(talk.say(&play(1, name)).0, [told]);
}

#[test]
fn names_come_in_many_forms() {
    check_names("live", "", "cam", "play live cam vhost= params=");
    check_names("/live/", "", "/cam", "play live cam vhost= params=");
    check_names("live/inst", "", "mp4:dir/cam", "play live/inst dir/cam vhost= params=");
    check_names("live/_definst_", "", "flv:cam", "play live cam vhost= params=");
    check_names("live", "", "cam?vhost=v&t=1", "play live cam vhost=v params=vhost=v&t=1");
    check_names("live?vhost=v", "", "cam?t=1", "play live cam vhost=v params=t=1&vhost=v");
    check_names("live?vhost=v", "", "cam?vhost=w", "play live cam vhost=w params=vhost=w&vhost=v");
    check_names("live", "rtmp://h/live?vhost=v/cam", "cam", "play live cam vhost=v params=");
    check_names("live...vhost...v", "", "cam", "play live cam vhost=v params=vhost=v");
    check_names("live", "rtmp://h/live...vhost...v", "cam", "play live cam vhost=v params=");
    check_names("live", "", "cam...vhost...v...t...1", "play live cam vhost=v params=vhost=v&t=1");
    check_names("live", "", "cam...1", "play live cam...1 vhost= params=");
    check_names("", "", "", "play   vhost= params=");
}

#[test]
fn calls_are_answered_as_srs_answers_them() {
    let named = |name| command(0, name, 4.0, &[Value::Null, "cam".into()]);
    for name in ["_checkbw", "releaseStream", "FCPublish", "pause", "seek", "receiveVideo", "whatever"] {
        check(&named(name), &[], &["0 _result 4 null null"]);
        check(&command(0, name, 0.0, &[Value::Null]), &[], &[]);
    }
    check(&named("getStreamLength"), &[], &["0 _result 4 null 0"]);
    let publish = command(1, "publish", 5.0, &[Value::Null, "cam".into(), "live".into()]);
    let denied = "1 onStatus 0 null {level: \"error\", code: \"NetStream.Publish.Denied\", description: \"Publishing \
                  is not served here.\"}";
    check(&[publish, play(1, "cam")].concat(), &["play live cam vhost= params="], &[denied]);
}

#[test]
fn stray_and_broken_messages_are_harmless() {
    for said in [
        message(type_id::COMMAND_AMF0, 0, 0, &[]),
        message(type_id::COMMAND_AMF3, 0, 0, &[0]),
        command(0, "_result", 1.0, &[Value::Null]),
        command(0, "_error", 1.0, &[]),
        command(1, "onStatus", 0.0, &[]),
        data(1, &["@setDataFrame".into()]),
        data(1, &["@setDataFrame".into(), "onMetaData".into()]),
        message(type_id::DATA_AMF0, 1, 0, &[0xDE, 0xAD, 0xBE, 0xEF]),
        message(type_id::USER_CONTROL, 0, 0, &[0, 26, 1]),
        message(type_id::USER_CONTROL, 0, 0, &[0]),
        message(type_id::SET_PEER_BANDWIDTH, 0, 0, &[0, 0, 0, 1]),
        message(type_id::SHARED_OBJECT_AMF0, 0, 0, &[1, 2, 3]),
        message(99, 0, 0, &[1]),
        control(Control::SetBufferLength { stream: 0, millis: 300 }),
        control(Control::Acknowledgement(1)),
    ] {
        let answers = match said.as_slice() {
            [.., 0, 0, 0, 1] if said[7] == type_id::SET_PEER_BANDWIDTH => vec!["0 WindowAckSize(1)"],
            _ => vec![],
        };
        check(&said, &[], &answers);
        assert_eq!(Talk::new().say(&said).1, answers, "before connect too");
    }
}

#[track_caller]
fn check_error(mut session: ServerSession, said: &[u8], error: &SessionError) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(session.handle_bytes(said, &mut out).as_ref(), Err(error));
    out
}

#[test]
fn commands_out_of_order_end_the_session() {
    for name in ["createStream", "play", "publish", "_checkbw"] {
        let error = SessionError::Unexpected { command: name.into() };
        check_error(Talk::new().session, &command(0, name, 1.0, &[]), &error);
    }
    let error = SessionError::Unexpected { command: "connect".into() };
    check_error(Talk::connected().session, &connect(&[]), &error);
    let error = SessionError::Unexpected { command: "x".repeat(512) };
    check_error(Talk::new().session, &command(0, &"x".repeat(60_000), 1.0, &[]), &error);
    let error = SessionError::Amf0(crate::wire::amf0::Amf0Error::Truncated);
    check_error(Talk::connected().session, &message(20, 0, 0, &[2, 0, 9, b'p']), &error);
    let error = SessionError::Chunk(crate::wire::chunk::ChunkError::MessageTooLong { type_id: 9, len: 5 });
    check_error(Talk::connected().session, &message(9, 1, 0, &[0x17, 1, 0, 0, 0]), &error);
}

#[test]
fn long_chains_of_proxies_are_cut() {
    for (told, hops) in [(3.0, 3), (1e300, u32::MAX)] {
        let said = connect(&[("app", "live".into()), ("repullHops", told.into())]);
        let out = check_error(Talk::new().session, &said, &SessionError::TooManyHops { hops });
        let heard = Listener::new().hear(&out);
        assert_eq!(heard.len(), 1);
        assert!(
            heard[0]
                .starts_with("0 _error 1 null {level: \"error\", code: \"NetConnection.Connect.Rejected\"")
        );
    }
    for (told, hops) in [(2.0, 2), (-1.0, 0), (f64::NAN, 0)] {
        let said = connect(&[("repullHops", told.into())]);
        assert_eq!(Talk::new().say(&said).0, [format!("connected \"\" {hops}")]);
    }
}

#[test]
fn ids_of_proxies_are_believed_if_they_are_well_formed() {
    let texts = |texts: &[&str]| Value::StrictArray(texts.iter().map(|text| (*text).into()).collect());
    for (told, ids) in [
        (texts(&["00000000000000ff", "FFFFFFFFFFFFFFFF"]), " [ff, ffffffffffffffff]"),
        (texts(&["ff", "", "+0000000000000ff", "00000000000000ff0", "000000000000000g", "äääääääää"]), ""),
        (Value::StrictArray(vec![7.0.into(), Value::Null, "0000000000000007".into()]), " [7]"),
        (texts(&[]), ""),
        ("0000000000000007".into(), ""),
        (object(&[("0", "0000000000000007".into())]), ""),
    ] {
        let said = connect(&[("repullIds", told)]);
        assert_eq!(Talk::new().say(&said).0, [format!("connected \"\" 0{ids}")]);
    }
    let many: Vec<Value> = (0..99).map(|id| format!("{id:016x}").as_str().into()).collect();
    let heard = Talk::new().say(&connect(&[("repullIds", Value::StrictArray(many))])).0;
    assert!(heard[0].ends_with(" 1e, 1f]"), "{}", heard[0]);
}

#[test]
fn floods_end_the_session() {
    for said in [
        control(Control::PingRequest(1)),
        command(0, "x", 1.0, &[]),
        command(0, "createStream", 1.0, &[]),
        command(0, "publish", 1.0, &[]),
        message(type_id::SHARED_OBJECT_AMF0, 0, 0, &[]),
    ] {
        let count = 2 * link::FLOOD_MESSAGES_MAX as usize;
        let out = check_error(Talk::connected().session, &said.repeat(count), &SessionError::Flood);
        assert!(out.len() < 200 * count, "{} bytes of answers", out.len());

        // A player that takes media says so; its pings over days are no flood.
        let mut talk = Talk::connected();
        for total in 1..20 {
            talk.say(&said.repeat(1000));
            talk.say(&control(Control::Acknowledgement(total * 1_000_000)));
        }
    }
    // Acknowledgements alone are no offence, whatever they count.
    let mut talk = Talk::connected();
    talk.say(&control(Control::Acknowledgement(1200)).repeat(10_000));

    // A player that never acknowledges, but takes its media.
    let ping = control(Control::PingRequest(1));
    let mut talk = Talk::connected();
    for _ in 0..10_000 {
        talk.say(&ping);
        talk.session.progressed();
    }
    check_error(Talk::connected().session, &ping.repeat(10_000), &SessionError::Flood);

    let mut talk = Talk::connected();
    for _ in 0..PLAYS_MAX {
        talk.say(&play(1, "cam"));
    }
    check_error(talk.session, &play(1, "cam"), &SessionError::Flood);
}
