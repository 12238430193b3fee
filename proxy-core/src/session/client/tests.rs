use super::*;
use crate::session::talk::{Listener, command, control, data, info, message, object, status};

const URL: &str = "rtmp://user:pw@h:1936/live/cam?token=secret";

/// How far a conversation has come before a case begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Connecting,
    CreatingStream,
    RequestingPlay,
    Playing,
    /// createStream of a replay is sent.
    Replaying,
    /// play of a replay is sent; the old play was on stream 1, this one is on 2.
    ReplayRequested,
}

const STAGES: [Stage; 6] = [
    Stage::Connecting,
    Stage::CreatingStream,
    Stage::RequestingPlay,
    Stage::Playing,
    Stage::Replaying,
    Stage::ReplayRequested,
];

fn connect_result() -> Vec<u8> {
    let info = info("status", "NetConnection.Connect.Success", "");
    command(0, "_result", 1.0, &[Value::Null, info])
}

fn stream_result(transaction: f64, stream: f64) -> Vec<u8> {
    command(0, "_result", transaction, &[Value::Null, stream.into()])
}

fn start(fc_subscribe: bool) -> (ClientSession, Vec<u8>) {
    let url = OriginUrl::parse(URL).expect("a good url");
    let options = ClientOptions { fc_subscribe, hops: 2, ids: Vec::new(), limits: ChunkLimits::ORIGIN };
    let mut out = Vec::new();
    (ClientSession::start(&url, &options, 3073, &mut out), out)
}

/// Brings a session to `stage`; events and answers on the way are dropped.
fn at(stage: Stage) -> ClientSession {
    let (mut session, mut out) = start(false);
    let mut hear = |session: &mut ClientSession, said: &[u8]| {
        session.handle_bytes(said, &mut out).expect("a good origin");
    };
    if stage != Stage::Connecting {
        hear(&mut session, &connect_result());
    }
    if !matches!(stage, Stage::Connecting | Stage::CreatingStream) {
        hear(&mut session, &stream_result(2.0, 1.0));
    }
    if matches!(stage, Stage::Playing | Stage::Replaying | Stage::ReplayRequested) {
        hear(&mut session, &status(1, "status", "NetStream.Play.Start"));
    }
    if matches!(stage, Stage::Replaying | Stage::ReplayRequested) {
        session.replay(&mut Vec::new());
    }
    if stage == Stage::ReplayRequested {
        session.handle_bytes(&stream_result(4.0, 2.0), &mut Vec::new()).expect("a good origin");
    }
    while session.poll_event().is_some() {}
    session
}

fn told(session: &mut ClientSession) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(event) = session.poll_event() {
        lines.push(match event {
            ClientEvent::Asked => "asked".into(),
            ClientEvent::Playing => "playing".into(),
            ClientEvent::Frame(frame) => {
                format!("{:?} {:?} {}", frame.medium, frame.class, frame.timestamp)
            }
            ClientEvent::Pong { timestamp } => format!("pong {timestamp}"),
            ClientEvent::Ended(ending) => format!("ended {ending:?}"),
            ClientEvent::Status(status) => format!("status {}", status.code),
            ClientEvent::Refused(status) => {
                format!("refused {} {} {}", status.level, status.code, status.description)
            }
            ClientEvent::Redirect { url } => format!("redirect {url}"),
        });
    }
    lines
}

/// Feeds `said` at `stage`, compares what is told and answered.
#[track_caller]
fn check(stage: Stage, said: &[u8], events: &[&str], answers: &[&str]) {
    let mut session = at(stage);
    let mut out = Vec::new();
    session.handle_bytes(said, &mut out).expect("nothing to hang up for");
    assert_eq!(told(&mut session), events, "told at {stage:?}");
    assert_eq!(Listener::new().hear(&out), answers, "answered at {stage:?}");
}

fn frame(stream: u32, timestamp: u32) -> Vec<u8> {
    message(type_id::VIDEO, stream, timestamp, &[0x17, 1, 0, 0, 0])
}

#[test]
fn the_opening_is_what_servers_expect() {
    let (mut session, mut out) = start(true);
    session.handle_bytes(&connect_result(), &mut out).expect("a good origin");
    session.handle_bytes(&stream_result(2.0, 5.0), &mut out).expect("a good origin");
    let version = env!("CARGO_PKG_VERSION");
    let connect = format!(
        "0 connect 1 {{app: \"live\", flashVer: \"LNX 9,0,124,2 (Repull/{version})\", \
         tcUrl: \"rtmp://h:1936/live\", fpad: false, capabilities: 15, audioCodecs: 4071, videoCodecs: 252, \
         videoFunction: 1, fourCcList: [\"*\"], videoFourCcInfoMap: {{*: 4}}, audioFourCcInfoMap: {{*: 4}}, \
         capsEx: 15, repullHops: 2}}"
    );
    assert_eq!(
        Listener::new().hear(&out),
        [
            connect.as_str(),
            "0 WindowAckSize(2500000)",
            "0 createStream 2 null",
            "0 FCSubscribe 3 null \"cam?token=secret\"",
            "5 play 4 null \"cam?token=secret\" -2000",
            "0 SetBufferLength { stream: 5, millis: 3000 }",
        ]
    );
    assert!(FLASH_VERSION.len() < 32, "nginx-rtmp cuts it there");
}

#[test]
fn ids_of_proxies_are_told_as_texts() {
    for (ids, last) in [(vec![], None), (vec![1, u64::MAX], Some(u64::MAX)), ((0..99).collect(), Some(31))] {
        let url = OriginUrl::parse(URL).expect("a good url");
        let options = ClientOptions { fc_subscribe: false, hops: 0, ids, limits: ChunkLimits::ORIGIN };
        let mut out = Vec::new();
        ClientSession::start(&url, &options, 3073, &mut out);
        let heard = Listener::new().hear(&out);
        let told = heard[0].split_once("repullIds: ").map(|(_, ids)| ids);
        assert_eq!(told.is_some(), last.is_some());
        if let (Some(told), Some(last)) = (told, last) {
            assert!(told.ends_with(&format!(", \"{last:016x}\"]}}")), "{told}");
        }
    }
}

/// What real origins said, from behind the handshake on, to a client that asked as we do. Captured from
/// nginx-rtmp 1.2 (also with `publish_notify` and `play_restart`, its publisher leaving at the end) and from
/// FFmpeg 5.1 as server (`-listen 1`), which sends its media on message stream 0.
#[test]
fn captured_origins_are_understood() {
    let cases: [(&[u8], &[&str], &str); 3] = [
        (
            include_bytes!("../golden/nginx_origin.bin"),
            &[
                "asked",
                "status NetStream.Play.Start",
                "playing",
                "Data Metadata 0",
                "Audio SequenceHeader 1207",
                "Audio Audio 1230",
            ],
            "Audio Audio 1277",
        ),
        (
            include_bytes!("../golden/nginx_notify_origin.bin"),
            &[
                "asked",
                "status NetStream.Play.Start",
                "playing",
                "status NetStream.Play.PublishNotify",
                "Data Metadata 0",
                "Video SequenceHeader 1800",
                "Video Keyframe 2000",
            ],
            "ended UnpublishNotify",
        ),
        (
            include_bytes!("../golden/ffmpeg_origin.bin"),
            &[
                "asked",
                "status NetStream.Play.Start",
                "playing",
                "Data Metadata 0",
                "Video SequenceHeader 0",
                "Video Keyframe 0",
            ],
            "Video Interframe 600",
        ),
    ];
    for (said, first, last) in cases {
        let mut whole = start(false).0;
        whole.handle_bytes(said, &mut Vec::new()).expect("it worked on the wire");
        let mut whole = told(&mut whole);
        assert_eq!(whole[..first.len()], *first);

        let mut session = start(false).0;
        for byte in said {
            session.handle_bytes(&[*byte], &mut Vec::new()).expect("it worked on the wire");
        }
        assert_eq!(told(&mut session), whole);

        whole.retain(|line| !line.starts_with("pong"));
        assert_eq!(whole.last().map(String::as_str), Some(last));
    }
}

#[test]
fn each_play_is_told_once_when_it_is_sent() {
    check(
        Stage::Replaying,
        &stream_result(4.0, 2.0),
        &["asked"],
        &["2 play 5 null \"cam?token=secret\" -2000", "0 SetBufferLength { stream: 2, millis: 3000 }"],
    );
    for stage in [Stage::RequestingPlay, Stage::Playing, Stage::ReplayRequested] {
        check(stage, &[stream_result(2.0, 1.0), stream_result(4.0, 2.0)].concat(), &[], &[]);
    }
    // A play that was given up before the owner heard of it.
    let mut session = at(Stage::CreatingStream);
    session.handle_bytes(&stream_result(2.0, 1.0), &mut Vec::new()).expect("a good origin");
    session.replay(&mut Vec::new());
    assert_eq!(told(&mut session), [""; 0]);
}

#[test]
fn play_is_accepted_by_its_status_or_by_media() {
    let accepted = ["status NetStream.Play.Start", "playing"];
    let start = || status(1, "status", "NetStream.Play.Start");
    check(Stage::RequestingPlay, &start(), &accepted, &[]);
    check(Stage::RequestingPlay, &status(0, "status", "NetStream.Play.Start"), &accepted, &[]);
    let both = [frame(1, 7), start(), frame(1, 8)].concat();
    let events = ["playing", "Video Keyframe 7", "status NetStream.Play.Start", "Video Keyframe 8"];
    check(Stage::RequestingPlay, &both, &events, &[]);
    // A second one is harmless (rml_rtmp hangs up), one before its time too.
    check(Stage::Playing, &start(), &accepted[..1], &[]);
    check(Stage::Connecting, &start(), &accepted[..1], &[]);
    check(Stage::CreatingStream, &start(), &accepted[..1], &[]);
    for code in ["NetStream.Play.Reset", "NetStream.Play.PublishNotify", "NetStream.Data.Start"] {
        check(Stage::RequestingPlay, &status(1, "status", code), &[&format!("status {code}")], &[]);
    }
}

#[test]
fn media_is_taken_on_any_stream_and_in_any_wrapping() {
    for stream in [0, 1, 7] {
        check(Stage::Playing, &frame(stream, 9), &["Video Keyframe 9"], &[]);
    }
    check(Stage::Connecting, &frame(1, 9), &[], &[]);
    check(Stage::CreatingStream, &frame(1, 9), &[], &[]);
    let tag = |type_id: u8, time: u8, body: &[u8]| {
        let mut tag = vec![type_id, 0, 0, body.len() as u8, 0, 0, time, 0, 0, 0, 0];
        tag.extend_from_slice(body);
        tag.extend_from_slice(&[0, 0, 0, 11 + body.len() as u8]);
        tag
    };
    let tags = [tag(8, 3, &[0xAF, 1, 1]), tag(9, 13, &[0x27, 1, 0, 0, 0])].concat();
    let aggregate = message(type_id::AGGREGATE, 1, 500, &tags);
    check(Stage::Playing, &aggregate, &["Audio Audio 500", "Video Interframe 510"], &[]);
    let metadata = data(1, &["@setDataFrame".into(), "onMetaData".into(), object(&[])]);
    check(Stage::Playing, &metadata, &["Data Metadata 0"], &[]);
    let mut amf3 = vec![0, 2, 0, 10];
    amf3.extend_from_slice(b"onMetaData\x03\0\0\x09");
    let amf3 = message(type_id::DATA_AMF3, 1, 4, &amf3);
    check(Stage::Playing, &amf3, &["Data Metadata 4"], &[]);
}

#[test]
fn a_replay_hears_nothing_of_the_play_it_left() {
    let mut session = at(Stage::Playing);
    let mut out = Vec::new();
    let tail = [frame(1, 1), control(Control::StreamEof(1)), control(Control::PingResponse(5))].concat();
    session.handle_bytes(&tail, &mut out).expect("a good origin");
    session.replay(&mut out);
    assert_eq!(told(&mut session), ["pong 5"], "what was not polled yet is no news any more");
    assert_eq!(
        Listener::new().hear(&out),
        ["1 closeStream 0 null", "0 deleteStream 0 null 1", "0 createStream 4 null"]
    );

    let ends = || {
        [
            control(Control::StreamEof(1)),
            control(Control::StreamDry(1)),
            status(1, "status", "NetStream.Play.Stop"),
            status(1, "status", "NetStream.Play.UnpublishNotify"),
        ]
        .concat()
    };
    let statuses = ["status NetStream.Play.Stop", "status NetStream.Play.UnpublishNotify"];
    check(Stage::Replaying, &ends(), &statuses, &[]);
    check(Stage::Replaying, &[frame(1, 2), frame(2, 3)].concat(), &[], &[]);
    check(
        Stage::Replaying,
        &status(1, "status", "NetStream.Play.Start"),
        &["status NetStream.Play.Start"],
        &[],
    );
    check(Stage::ReplayRequested, &ends(), &statuses, &[]);
    // The old stream id is the old play's; any other may be the server's habit.
    check(Stage::ReplayRequested, &frame(1, 2), &[], &[]);
    check(Stage::ReplayRequested, &frame(2, 2), &["playing", "Video Keyframe 2"], &[]);
    check(Stage::ReplayRequested, &frame(0, 2), &["playing", "Video Keyframe 2"], &[]);

    let mut session = at(Stage::ReplayRequested);
    let late = [
        status(2, "status", "NetStream.Play.Start"),
        control(Control::StreamEof(1)),
        control(Control::StreamEof(2)),
    ];
    session.handle_bytes(&late.concat(), &mut Vec::new()).expect("a good origin");
    assert_eq!(told(&mut session), ["status NetStream.Play.Start", "playing", "ended StreamEof"]);
}

#[test]
fn a_replay_asks_once_and_only_for_a_play_that_was_asked_for() {
    for stage in STAGES {
        let mut session = at(stage);
        let mut out = Vec::new();
        session.replay(&mut out);
        let said = Listener::new().hear(&out).len();
        match stage {
            Stage::Connecting => assert_eq!(said, 0),
            Stage::CreatingStream => assert_eq!(said, 0),
            Stage::RequestingPlay => assert_eq!(said, 3),
            Stage::Playing => assert_eq!(said, 3),
            Stage::Replaying => assert_eq!(said, 0),
            Stage::ReplayRequested => assert_eq!(said, 3),
        }
        out.clear();
        session.replay(&mut out);
        assert!(out.is_empty(), "never two subscriptions at once");
    }
}

#[test]
fn endings_are_told_while_a_play_is_active() {
    let cases = [
        (control(Control::StreamEof(1)), vec!["ended StreamEof"]),
        (control(Control::StreamEof(0)), vec!["ended StreamEof"]),
        (control(Control::StreamDry(1)), vec!["ended StreamDry"]),
        (
            status(1, "status", "NetStream.Play.UnpublishNotify"),
            vec!["status NetStream.Play.UnpublishNotify", "ended UnpublishNotify"],
        ),
        (status(0, "status", "NetStream.Play.Stop"), vec!["status NetStream.Play.Stop", "ended PlayStop"]),
        (
            data(1, &["onPlayStatus".into(), info("status", "NetStream.Play.Complete", "")]),
            vec!["status NetStream.Play.Complete", "ended PlayStop"],
        ),
        (command(0, "onFCUnsubscribe", 0.0, &[Value::Null]), vec!["ended PlayStop"]),
    ];
    for (said, events) in cases {
        check(Stage::Playing, &said, &events, &[]);
        check(Stage::RequestingPlay, &said, &events, &[]);
        let statuses: Vec<_> = events.iter().copied().filter(|event| event.starts_with("status")).collect();
        check(Stage::CreatingStream, &said, &statuses, &[]);
    }
}

#[test]
fn refusals_carry_level_and_description() {
    let not_found = info("error", "NetStream.Play.StreamNotFound", "No such stream.");
    check(
        Stage::RequestingPlay,
        &command(1, "onStatus", 0.0, &[Value::Null, not_found]),
        &[
            "status NetStream.Play.StreamNotFound",
            "refused error NetStream.Play.StreamNotFound No such stream.",
        ],
        &[],
    );
    for code in ["NetStream.Play.StreamNotFound", "NetStream.Play.Failed", "NetConnection.Connect.Closed"] {
        let events = [format!("status {code}"), format!("refused status {code} ")];
        check(Stage::Playing, &status(1, "status", code), &[&events[0], &events[1]], &[]);
    }
    let shutdown = status(0, "error", "NetConnection.Connect.AppShutdown");
    let events =
        ["status NetConnection.Connect.AppShutdown", "refused error NetConnection.Connect.AppShutdown "];
    for stage in STAGES {
        check(stage, &shutdown, &events, &[]);
    }
    let warning = status(1, "warning", "NetStream.Play.InsufficientBW");
    check(Stage::Playing, &warning, &["status NetStream.Play.InsufficientBW"], &[]);

    let error = |transaction| command(0, "_error", transaction, &[info("error", "x", "why")]);
    check(Stage::Connecting, &error(1.0), &["refused error x why"], &[]);
    check(Stage::CreatingStream, &error(2.0), &["refused error x why"], &[]);
    check(Stage::RequestingPlay, &error(3.0), &["refused error x why"], &[]);
    check(Stage::Playing, &error(3.0), &["refused error x why"], &[]);
    let on_stream = command(1, "_error", 0.0, &[info("error", "x", "why")]);
    check(Stage::RequestingPlay, &on_stream, &["refused error x why"], &[]);
    check(Stage::CreatingStream, &on_stream, &[], &[]);
    for stage in STAGES.into_iter().skip(1) {
        check(stage, &error(99.0), &[], &[]);
    }
    let close = command(0, "close", 0.0, &[Value::Null]);
    check(
        Stage::Playing,
        &close,
        &["refused error NetConnection.Connect.Closed the server called close"],
        &[],
    );
}

#[test]
fn the_query_is_hidden_in_what_servers_repeat() {
    let said = info("error", "NetStream.Play.Failed", "no cam?token=secret\n here");
    let events = ["status NetStream.Play.Failed", "refused error NetStream.Play.Failed no cam?***  here"];
    check(Stage::Playing, &command(1, "onStatus", 0.0, &[Value::Null, said]), &events, &[]);
}

#[test]
fn redirects_name_the_whole_url() {
    let refusal = |ex: &[(&str, Value)]| {
        let mut members = vec![
            ("level", "error".into()),
            ("code", "NetConnection.Connect.Rejected".into()),
            ("description", "RTMP 302 Redirect".into()),
        ];
        members.push(("ex", object(ex)));
        object(&members)
    };
    let redirect = ("redirect", "rtmp://b/other".into());
    let redirect2 = ("redirect2", "rtmp://b:1937/other/cam2?x=y".into());
    let code = ("code", 302.0.into());
    let both = refusal(&[code.clone(), redirect.clone(), redirect2]);
    let one = refusal(&[code, redirect]);
    let error = |info: &Value| command(0, "_error", 1.0, &[Value::Null, info.clone()]);
    check(Stage::Connecting, &error(&both), &["redirect rtmp://b:1937/other/cam2?x=y"], &[]);
    check(Stage::Connecting, &error(&one), &["redirect rtmp://b/other/cam?token=secret"], &[]);
    let said = command(0, "onStatus", 0.0, &[Value::Null, one]);
    let events = ["status NetConnection.Connect.Rejected", "redirect rtmp://b/other/cam?token=secret"];
    check(Stage::RequestingPlay, &said, &events, &[]);
    let other = refusal(&[("code", 301.0.into()), ("redirect", "rtmp://b/other".into())]);
    let refused = ["refused error NetConnection.Connect.Rejected RTMP 302 Redirect"];
    check(Stage::Connecting, &error(&other), &refused, &[]);

    for (tc_url, url) in [
        (Some("rtmp://b:2/app"), "redirect rtmp://b:2/app/cam?token=secret"),
        (Some("//b/app"), "redirect rtmp://b/app/cam?token=secret"),
        (Some("/app"), "redirect rtmp://h:1936/app/cam?token=secret"),
        (Some("rtmps://b/app"), "redirect rtmps://b/app"),
        (None, "redirect rtmp://user:pw@h:1936/live/cam?token=secret"),
    ] {
        let mut members =
            vec![("level", "status".into()), ("code", "NetConnection.Connect.ReconnectRequest".into())];
        members.extend(tc_url.map(|tc_url| ("tcUrl", tc_url.into())));
        let said = command(0, "onStatus", 0.0, &[Value::Null, object(&members)]);
        check(Stage::Playing, &said, &["status NetConnection.Connect.ReconnectRequest", url], &[]);
    }
}

#[track_caller]
fn check_error(stage: Stage, said: &[u8], error: &SessionError) {
    assert_eq!(at(stage).handle_bytes(said, &mut Vec::new()).as_ref(), Err(error));
}

#[test]
fn wishes_for_credentials_are_named() {
    for (description, scheme) in [
        ("[ code=403 need auth; authmod=adobe ] ", "authmod=adobe"),
        ("[ AccessManager.Reject ] : [ authmod=llnw ] : ?reason=needauth&user=x", "authmod=llnw"),
        ("?reason=needauth", "needauth"),
    ] {
        let info = info("error", "NetConnection.Connect.Rejected", description);
        let error = SessionError::AuthRequired { scheme: scheme.into() };
        check_error(Stage::Connecting, &command(0, "_error", 1.0, &[Value::Null, info]), &error);
    }
    let info = object(&[("code", "NetConnection.Connect.Success".into()), ("secureToken", "0011".into())]);
    let error = SessionError::AuthRequired { scheme: "secureToken".into() };
    check_error(Stage::Connecting, &command(0, "_result", 1.0, &[Value::Null, info]), &error);
}

#[test]
fn stream_ids_are_whole_numbers() {
    for id in [f64::NAN, -1.0, 1.5, 4_294_967_296.0, f64::INFINITY] {
        check_error(Stage::CreatingStream, &stream_result(2.0, id), &SessionError::StreamId);
    }
    check_error(Stage::CreatingStream, &command(0, "_result", 2.0, &[Value::Null]), &SessionError::StreamId);
    let play = [
        "4294967295 play 3 null \"cam?token=secret\" -2000",
        "0 SetBufferLength { stream: 4294967295, millis: 3000 }",
    ];
    check(Stage::CreatingStream, &stream_result(2.0, 4_294_967_295.0), &["asked"], &play);
    let bare = command(0, "_result", 2.0, &[1.0.into()]);
    check(
        Stage::CreatingStream,
        &bare,
        &["asked"],
        &["1 play 3 null \"cam?token=secret\" -2000", "0 SetBufferLength { stream: 1, millis: 3000 }"],
    );
}

#[test]
fn stray_and_broken_messages_are_harmless_at_every_stage() {
    let long_bye = "x".repeat(60_000);
    let date = b"\x02\0\x05onBye\0\0\0\0\0\0\0\0\0\x0B\0\0\0\0\0\0\0\0\0\0".as_slice();
    for said in [
        message(type_id::COMMAND_AMF0, 0, 0, &[]),
        message(type_id::COMMAND_AMF3, 0, 0, &[0]),
        message(type_id::COMMAND_AMF0, 0, 0, date),
        message(type_id::USER_CONTROL, 0, 0, &[0, 26, 1]),
        message(type_id::USER_CONTROL, 0, 0, &[0]),
        message(type_id::USER_CONTROL, 0, 0, &[]),
        message(type_id::SET_PEER_BANDWIDTH, 0, 0, &[0, 0]),
        message(type_id::WINDOW_ACK_SIZE, 0, 0, &[]),
        message(type_id::ACKNOWLEDGEMENT, 0, 0, &[1]),
        message(type_id::SHARED_OBJECT_AMF0, 0, 0, &[1, 2, 3]),
        message(type_id::AGGREGATE, 1, 0, &[8, 0, 0, 200, 0]),
        message(type_id::VIDEO, 1, 0, &[]),
        message(99, 1, 0, &[1, 2, 3]),
        data(1, &["@setDataFrame".into()]),
        data(1, &["|RtmpSampleAccess".into(), true.into(), true.into()]),
        message(type_id::DATA_AMF0, 1, 0, &[0xDE, 0xAD, 0xBE, 0xEF]),
        command(0, "_result", 77.0, &[]),
        command(0, "onBWDone", 3.0, &[Value::Null, 8192.0.into()]),
        command(0, "onFCSubscribe", 0.0, &[Value::Null, info("status", "x", "")]),
        command(0, "onBye", 0.0, &[long_bye.as_str().into()]),
    ] {
        for stage in STAGES {
            check(stage, &said, &[], &[]);
        }
    }
    for said in [command(1, "onStatus", 0.0, &[]), data(1, &["onStatus".into()])] {
        check(Stage::Playing, &said, &["status "], &[]);
    }
}

#[test]
fn calls_and_pings_are_answered() {
    check(Stage::Playing, &control(Control::PingRequest(9)), &[], &["0 PingResponse(9)"]);
    check(Stage::Connecting, &command(0, "_onbwcheck", 7.0, &[Value::Null]), &[], &["0 _result 7 null null"]);
    check(Stage::Playing, &command(0, "surprise", f64::NAN, &[]), &[], &[]);
    check(Stage::Playing, &control(Control::SetPeerBandwidth(2_500_000)), &[], &[]);
    let twice = [control(Control::SetPeerBandwidth(99)), control(Control::SetPeerBandwidth(99))].concat();
    check(Stage::Playing, &twice, &[], &["0 WindowAckSize(99)"]);
}

#[test]
fn acknowledgements_count_everything() {
    for (received, window, fed, told) in [
        (3073, 65_536, 100_000, vec![32_768, 65_536, 98_304]),
        // Below 32 KiB and above 1.25 MiB a window is not believed.
        (0, 1, 40_000, vec![16_384, 32_768]),
        (0, u32::MAX, 700_000, vec![655_360]),
    ] {
        let url = OriginUrl::parse(URL).expect("a good url");
        let options =
            ClientOptions { fc_subscribe: false, hops: 0, ids: Vec::new(), limits: ChunkLimits::ORIGIN };
        let mut session = ClientSession::start(&url, &options, received, &mut Vec::new());
        let mut out = Vec::new();
        session.handle_bytes(&control(Control::WindowAckSize(window)), &mut out).expect("a window");
        // The middle of one long message: whoever waits for us there must not wait for ever.
        let long = message(type_id::AUDIO, 1, 0, &vec![0; 1_000_000]);
        session.handle_bytes(&long[..fed], &mut out).expect("part of a message");
        let lines: Vec<_> = told.iter().map(|total| format!("0 Acknowledgement({total})")).collect();
        assert_eq!(Listener::new().hear(&out), lines);
    }
}

#[test]
fn a_flood_without_media_ends_the_session() {
    let floods = [
        control(Control::PingRequest(1)),
        control(Control::PingResponse(1)),
        control(Control::StreamEof(1)),
        status(1, "status", "NetStream.Play.Reset"),
        command(0, "_onbwcheck", 1.0, &[]),
        message(type_id::AGGREGATE, 1, 0, &[]),
        message(type_id::VIDEO, 1, 0, &[]),
    ];
    for said in floods {
        let mut session = at(Stage::Playing);
        let mut out = Vec::new();
        let count = 2 * link::FLOOD_MESSAGES_MAX as usize;
        assert_eq!(session.handle_bytes(&said.repeat(count), &mut out), Err(SessionError::Flood));
        assert!(out.len() < 60 * count, "{} bytes of answers", out.len());
        assert!(session.events.len() <= count, "{} events", session.events.len());

        // Media, or time passing between our pings, makes the same traffic harmless.
        let mut session = at(Stage::Playing);
        let some = said.repeat(200);
        for round in 0..100 {
            out.clear();
            session.handle_bytes(&some, &mut out).expect("spread over minutes");
            session.ping(round, &mut out);
            while session.poll_event().is_some() {}
        }
        let with_media = [said.repeat(2000), frame(1, 0)].concat().repeat(10);
        assert_eq!(session.handle_bytes(&with_media, &mut out), Ok(()));
    }
}
