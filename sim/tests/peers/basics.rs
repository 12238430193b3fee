//! Presets, wire styles, codecs and misdeeds from the first connection on.

use proxy_core::time::{Duration, Instant};
use sim::{
    origin::{
        Audio, Behaviour, CutBy, Defect, EndBy, Handshake, Like, MetadataStyle, Missing, ModelOrigin, OnCall,
        OnConnect, PeerConn, PlayEnd, Publisher, PublisherClock, Reconnect, SecondPlay, StartStyle,
        Unpublish, Video, Withhold,
    },
    player::PlayerState,
    raw::{
        chunk::{ChunkStyle, Headers},
        media::{AudioCodec, StampKind, VideoCodec},
    },
    viewer::Seen,
};

use crate::{Hand, NAME, Pair, is_clean, small};

#[test]
fn every_preset_shows_a_viewer_a_clean_stream() {
    for like in [Like::Srs6, Like::NginxRtmp, Like::ZlMediaKit, Like::Ffmpeg] {
        // The player comes first where the origin lets it wait: then even one without GOP cache begins well.
        let behaviour = Behaviour::like(like);
        let waits = behaviour.missing != Missing::Close;
        let mut pair = Pair::new(behaviour);
        if waits {
            pair.run(Duration::from_millis(500));
        }
        pair.publish(Publisher::default());
        pair.run(Duration::from_secs(10));
        is_clean(&pair);
        let report = pair.report();
        assert!((240..=251).contains(&report.video), "{like:?}: {} video frames", report.video);
        assert!((420..=432).contains(&report.audio), "{like:?}: {} audio frames", report.audio);
        assert_eq!((report.metadata, report.headers, report.plays), (1, 2, 1), "{like:?}");
        assert_eq!(pair.player.state(), PlayerState::Watching);
    }
}

#[test]
fn every_wire_style_shows_the_same() {
    let mut shows = Vec::new();
    for chunk_size in [1, 128, 60_000] {
        for headers in [Headers::Full, Headers::Short] {
            for aggregate in [false, true] {
                let wire = ChunkStyle {
                    chunk_size,
                    headers,
                    aggregate,
                    interleave: false,
                    extended_in_continuations: true,
                };
                let mut pair = Pair::new(Behaviour { wire, ..Behaviour::default() });
                pair.piece = 1 + chunk_size / 3;
                let clock = PublisherClock { base: 0xFF_FF00, mask31: false, jump: None, drift: 0 };
                pair.publish(Publisher { clock, ..Publisher::default() });
                pair.run(Duration::from_secs(3));
                is_clean(&pair);
                shows.push(pair.report().seen.clone());
            }
        }
    }
    assert!(shows[0].len() > 150);
    assert!(shows.iter().all(|show| *show == shows[0]));
}

#[test]
fn interleaving_breaks_nothing() {
    let wire = ChunkStyle { interleave: true, chunk_size: 64, ..ChunkStyle::default() };
    let mut pair = Pair::new(Behaviour { wire, ..Behaviour::default() });
    pair.publish(small(Video { bytes: (3000, 1000), ..Video::default() }));
    pair.run(Duration::from_millis(700));
    // A joiner gets the GOP in one go: there are messages to mix.
    pair.player.on_closed("moved on", pair.now);
    pair.run(Duration::from_secs(2));
    is_clean(&pair);
    assert!(pair.report().video > 60);
}

#[test]
fn every_codec_passes_the_checks() {
    for codec in [VideoCodec::Avc, VideoCodec::HevcLegacy, VideoCodec::Hevc, VideoCodec::Av1] {
        for audio in [AudioCodec::AacStereo, AudioCodec::AacMono, AudioCodec::Opus] {
            let mut pair = Pair::new(Behaviour::default());
            let audio = Audio { codec: audio, ..Audio::default() };
            pair.publish(Publisher { audio: Some(audio), ..small(Video { codec, ..Video::default() }) });
            pair.run(Duration::from_secs(2));
            is_clean(&pair);
            assert!(pair.report().video >= 50 && pair.report().audio >= 80);
        }
    }
}

#[test]
fn a_joiner_with_gop_cache_begins_with_the_keyframe_under_way() {
    let mut pair = Pair::new(Behaviour::default());
    pair.publish(Publisher::default());
    pair.now += Duration::from_millis(2700);
    pair.run(Duration::from_millis(10));
    is_clean(&pair);
    let numbers: Vec<u32> = pair
        .report()
        .seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Frame { stamp: Some(stamp), .. } if stamp.kind != StampKind::Audio => Some(stamp.number),
            Seen::Frame { .. } | Seen::Header { .. } | Seen::Metadata(_) => None,
        })
        .collect();
    let first = numbers.first().copied();
    assert!(first == Some(50), "{first:?}");
    assert!(numbers.len() > 15);
}

#[test]
fn an_origin_restart_shows_as_a_gap_and_no_more() {
    let mut pair = Pair::new(Behaviour::default());
    pair.publish(Publisher::default());
    pair.run(Duration::from_secs(3));
    pair.origin.restart();
    pair.player.on_closed("RST", pair.now);
    pair.run(Duration::from_secs(2));
    pair.publish(small(Video { size: (128, 96), ..Video::default() }));
    pair.run(Duration::from_secs(3));
    is_clean(&pair);
    let report = pair.report();
    assert_eq!((report.lives, report.gaps.len(), report.disconnects.len()), (2, 1, 1));
    assert!(
        report.gap_worst >= Duration::from_millis(1900) && report.gap_worst < Duration::from_millis(2200)
    );
    assert_eq!(pair.origin.ledger().plays_total, 2);
}

#[test]
fn unpublish_is_told_as_configured() {
    let check = |unpublish, told: &str, closed: bool| {
        let mut pair = Pair::new(Behaviour { unpublish, ..Behaviour::default() });
        pair.publish(Publisher::default());
        pair.run(Duration::from_secs(1));
        pair.origin.unpublish(NAME, pair.now);
        pair.run(Duration::from_millis(50));
        assert!(
            told.is_empty() || pair.report().was_told(told),
            "{unpublish:?}: {:?}",
            pair.report().statuses
        );
        assert_eq!(!pair.report().disconnects.is_empty(), closed, "{unpublish:?}");
        is_clean(&pair);
    };
    check(Unpublish::Silent, "", false);
    check(Unpublish::StreamEof, "StreamEOF", false);
    check(Unpublish::StreamDry, "StreamDry", false);
    check(Unpublish::Notify, "NetStream.Play.UnpublishNotify", false);
    check(Unpublish::Stop, "NetStream.Play.Stop", false);
    check(Unpublish::Close, "", true);
    check(Unpublish::EofAndClose, "StreamEOF", true);
}

#[test]
fn a_publisher_that_comes_back_on_a_silent_origin_begins_a_life() {
    let mut pair = Pair::new(Behaviour::default());
    pair.publish(Publisher::default());
    pair.run(Duration::from_secs(2));
    pair.origin.unpublish(NAME, pair.now);
    pair.run(Duration::from_secs(1));
    let clock = PublisherClock { base: 5000, mask31: false, jump: None, drift: 0 };
    pair.publish(Publisher { clock, ..Publisher::default() });
    pair.run(Duration::from_secs(2));
    is_clean(&pair);
    assert_eq!((pair.report().lives, pair.report().connections, pair.report().headers), (2, 1, 4));
}

#[test]
fn a_clock_that_starts_over_is_noticed() {
    let mut pair = Pair::new(Behaviour::default());
    pair.publish(Publisher::default());
    pair.run(Duration::from_secs(2));
    pair.publish(Publisher::default());
    pair.run(Duration::from_secs(1));
    assert!(pair.report().violations[0].contains("timestamp 0 after"), "{:?}", pair.report().violations);
}

#[test]
fn each_wrong_breaks_its_promise() {
    let check = |defect, words: &str| {
        let mut pair = Pair::new(Behaviour { defect: Some(defect), ..Behaviour::default() });
        pair.publish(Publisher::default());
        pair.run(Duration::from_secs(3));
        let first = pair.report().violations.first().cloned().unwrap_or_default();
        assert!(first.contains(words), "{defect:?}: {first:?}");
    };
    check(Defect::NoHeaders, "before any sequence header");
    check(Defect::WrongHeader, "under another sequence header");
    check(Defect::Swapped, "within one play");
    check(Defect::Repeated, "within one play");
    check(Defect::Foreign, "of another stream");
    check(Defect::OldLife, "of life 0 play 1 after life 1 play 1");
    check(Defect::Corrupt, "is not as the origin sent it");
    check(Defect::TimeBack, "timestamp");
    check(Defect::TimeForward, "timestamp leaps");
    check(Defect::Lost, "goes on without a keyframe");
}

#[test]
fn an_origin_without_gop_cache_begins_with_whatever_comes() {
    let mut pair = Pair::new(Behaviour { gop_cache: false, ..Behaviour::default() });
    pair.publish(Publisher::default());
    pair.now += Duration::from_millis(1300);
    pair.run(Duration::from_secs(1));
    assert!(pair.report().violations[0].contains("begins without a keyframe"));
}

#[test]
fn what_is_withheld_does_not_come() {
    let check = |withhold, metadata, headers| {
        let mut pair = Pair::new(Behaviour { withhold, ..Behaviour::default() });
        pair.publish(Publisher::default());
        pair.run(Duration::from_secs(1));
        let report = pair.report();
        assert_eq!((report.metadata, report.headers, report.frames), (metadata, headers, 0), "{withhold:?}");
        assert!(report.was_told("NetStream.Play.Start"));
    };
    check(Withhold::Frames, 1, 2);
    check(Withhold::HeadersAndFrames, 1, 0);
    check(Withhold::Everything, 0, 0);
}

#[test]
fn a_play_ends_as_configured() {
    let check = |by, cause: &str| {
        let mut pair = Pair::new(Behaviour { end: Some(PlayEnd { frames: 10, by }), ..Behaviour::default() });
        pair.publish(Publisher::default());
        pair.run(Duration::from_millis(80));
        pair.run(Duration::from_millis(80));
        let causes: Vec<&str> = pair.report().disconnects.iter().map(|(_, cause)| cause.as_str()).collect();
        assert_eq!(causes.first().copied().unwrap_or(""), cause, "{by:?}");
        assert!(pair.report().frames >= 9);
    };
    check(EndBy::Close, "EOF");
    check(EndBy::Reset, "RST");
    check(EndBy::Cut, "EOF");
    check(EndBy::Silence, "");
}

#[test]
fn a_greeting_that_is_cut_leads_nowhere() {
    let check = |by, state, disconnects: bool| {
        let mut pair = Pair::new(Behaviour { cut: Some((1_600, by)), ..Behaviour::default() });
        pair.publish(Publisher::default());
        pair.run(Duration::from_millis(90));
        assert_eq!(pair.player.state(), state, "{by:?}");
        assert_eq!(!pair.report().disconnects.is_empty(), disconnects, "{by:?}");
    };
    check(CutBy::Silence, PlayerState::Greeting, false);
    check(CutBy::Fin, PlayerState::Waiting, true);
    check(CutBy::Reset, PlayerState::Waiting, true);
}

#[test]
fn bad_greetings_lead_nowhere() {
    let check = |handshake: Handshake, state, disconnects: bool| {
        let mut pair = Pair::new(Behaviour { handshake: handshake.clone(), ..Behaviour::default() });
        pair.publish(Publisher::default());
        pair.run(Duration::from_millis(90));
        assert_eq!(pair.player.state(), state, "{handshake:?}");
        assert_eq!(!pair.report().disconnects.is_empty(), disconnects, "{handshake:?}");
    };
    check(Handshake::Silent, PlayerState::Greeting, false);
    check(Handshake::Slow { len: 100, every: Duration::from_millis(10) }, PlayerState::Greeting, false);
    check(Handshake::Strict, PlayerState::Watching, false);
    check(Handshake::Slow { len: 400, every: Duration::from_millis(10) }, PlayerState::Watching, false);
    check(Handshake::Close, PlayerState::Waiting, true);
    check(Handshake::Reset, PlayerState::Waiting, true);
    check(Handshake::Version(6), PlayerState::Waiting, true);
    check(Handshake::Http, PlayerState::Waiting, true);
}

#[test]
fn a_c2_of_noise_is_complained_of_or_hung_up_on() {
    for (handshake, closed) in [(Handshake::Simple, false), (Handshake::Strict, true)] {
        let mut origin = ModelOrigin::new(Behaviour { handshake, ..Behaviour::default() });
        origin.on_accepted(PeerConn(1), Instant::ZERO);
        let mut noise = vec![9; 1 + 2 * 1536];
        noise[0] = 3;
        origin.handle_bytes(PeerConn(1), &noise, Instant::ZERO);
        assert!(origin.ledger().complaints[0].contains("echo"), "{:?}", origin.ledger().complaints);
        assert_eq!(origin.ledger().open, usize::from(!closed));
    }
}

#[test]
fn bad_answers_lead_nowhere() {
    let check = |behaviour: Behaviour, state, told: &str| {
        let mut pair = Pair::new(behaviour);
        pair.publish(Publisher::default());
        pair.run(Duration::from_millis(90));
        assert_eq!(pair.player.state(), state);
        assert!(told.is_empty() || pair.report().was_told(told), "{:?}", pair.report().statuses);
        assert_eq!(pair.report().frames, 0);
    };
    let base = Behaviour::default;
    let (greeting, requesting, refused, waiting) =
        (PlayerState::Greeting, PlayerState::Requesting, PlayerState::Refused, PlayerState::Waiting);
    check(Behaviour { connect: OnConnect::Never, ..base() }, greeting, "");
    check(Behaviour { connect: OnConnect::Close, ..base() }, waiting, "");
    let refuse = OnConnect::Refuse { description: "[ code=403 need auth; authmod=adobe ]".into() };
    check(Behaviour { connect: refuse, ..base() }, refused, "_error NetConnection.Connect.Rejected");
    let redirect = OnConnect::Redirect { tc_url: "rtmp://b/live".into(), url: "rtmp://b/live/one".into() };
    check(Behaviour { connect: redirect, ..base() }, refused, "_error NetConnection.Connect.Rejected");
    check(Behaviour { create_stream: OnCall::Never, ..base() }, requesting, "");
    check(Behaviour { create_stream: OnCall::Error, ..base() }, refused, "_error NetConnection.Call.Failed");
    check(Behaviour { play: OnCall::Never, ..base() }, requesting, "");
    check(Behaviour { play: OnCall::Error, ..base() }, refused, "NetStream.Play.Failed");
    check(Behaviour { play: OnCall::Close, ..base() }, waiting, "");
    check(Behaviour { command_delay: Duration::from_millis(50), ..base() }, requesting, "");
}

#[test]
fn a_missing_stream_is_treated_as_configured() {
    let check = |missing, state, told: &str| {
        let mut pair = Pair::new(Behaviour { missing, ..Behaviour::default() });
        pair.run(Duration::from_millis(90));
        assert_eq!(pair.player.state(), state, "{missing:?}");
        assert_eq!(pair.report().was_told(told), !told.is_empty(), "{missing:?}");
    };
    let not_found = |millis, close| Missing::NotFound { after: Duration::from_millis(millis), close };
    check(Missing::Wait, PlayerState::Watching, "NetStream.Play.Start");
    check(Missing::Never, PlayerState::Requesting, "");
    check(Missing::Close, PlayerState::Waiting, "");
    check(not_found(20, false), PlayerState::Refused, "NetStream.Play.StreamNotFound");
    check(not_found(20, true), PlayerState::Waiting, "NetStream.Play.StreamNotFound");
    check(not_found(200, true), PlayerState::Requesting, "");
}

#[test]
fn a_publisher_in_time_saves_a_parked_player() {
    let missing = Missing::NotFound { after: Duration::from_secs(15), close: true };
    let mut pair = Pair::new(Behaviour { missing, ..Behaviour::default() });
    pair.run(Duration::from_secs(10));
    pair.publish(Publisher::default());
    pair.run(Duration::from_secs(10));
    is_clean(&pair);
    assert!(pair.report().video >= 250 && pair.report().disconnects.is_empty());
}

#[test]
fn odd_but_legal_origins_show_a_clean_stream() {
    let check = |behaviour: Behaviour, publisher: Publisher| {
        let mut pair = Pair::new(behaviour);
        pair.publish(publisher);
        pair.run(Duration::from_secs(4));
        is_clean(&pair);
        assert!(pair.report().frames > 100);
    };
    let (base, publisher) = (Behaviour::default, Publisher::default);
    check(Behaviour { media_before_start: true, ..base() }, publisher());
    check(Behaviour { message_stream: 77, ..base() }, publisher());
    check(Behaviour { ping_every: Some(Duration::from_millis(300)), ..base() }, publisher());
    check(Behaviour { window: 4000, stops_unacknowledged: true, ..base() }, publisher());
    check(Behaviour { metadata: MetadataStyle::Absent, ..base() }, publisher());
    let start = StartStyle { begin: false, reset: false, sample_access: false };
    check(Behaviour { start, ..base() }, publisher());
    check(base(), Publisher { audio: None, ..publisher() });
    check(base(), Publisher { video: None, ..publisher() });
    let resize = Some((Duration::from_secs(2), (128, 96)));
    check(base(), small(Video { resize, until: Some(Duration::from_secs(3)), ..Video::default() }));
    let audio =
        Audio { from: Duration::from_secs(1), until: Some(Duration::from_secs(3)), ..Audio::default() };
    check(base(), Publisher { audio: Some(audio), ..publisher() });
    let clock = |base, mask31| PublisherClock { base, mask31, jump: None, drift: 0 };
    check(base(), Publisher { clock: clock(0xFFFF_FF00, false), ..publisher() });
}

#[test]
fn clocks_that_leap_are_noticed() {
    let check = |clock, words: &str| {
        let mut pair = Pair::new(Behaviour::default());
        pair.publish(Publisher { clock, ..Publisher::default() });
        pair.run(Duration::from_secs(3));
        assert!(pair.report().violations[0].contains(words), "{:?}", pair.report().violations);
    };
    let jump = |by| PublisherClock {
        base: 10_000_000,
        mask31: false,
        jump: Some((Duration::from_secs(1), by)),
        drift: 0,
    };
    check(jump(3_600_000), "leaps from");
    check(jump(-3_600_000), "after");
    check(PublisherClock { base: 0x7FFF_FF00, mask31: true, jump: None, drift: 0 }, "after");
}

#[test]
fn requests_to_reconnect_arrive() {
    let request = Reconnect { after: Duration::from_secs(1), tc_url: Some("rtmp://b/live".into()) };
    let mut pair = Pair::new(Behaviour { reconnect_request: Some(request), ..Behaviour::default() });
    pair.publish(Publisher::default());
    pair.run(Duration::from_secs(2));
    is_clean(&pair);
    assert!(pair.report().was_told("NetConnection.Connect.ReconnectRequest"));
}

#[test]
fn a_blocked_player_gets_the_gop_under_way_afterwards() {
    let mut pair = Pair::new(Behaviour::default());
    pair.publish(Publisher::default());
    pair.run(Duration::from_secs(1));
    let conn = PeerConn(pair.conn);
    pair.origin.set_writable(conn, false, pair.now);
    pair.run(Duration::from_secs(20));
    let before = pair.report().video;
    pair.origin.set_writable(conn, true, pair.now);
    pair.run(Duration::from_secs(1));
    is_clean(&pair);
    assert!(pair.report().lost > 300, "{} lost", pair.report().lost);
    assert!(pair.report().video - before < 60);
}

#[test]
fn equal_inputs_give_equal_reports() {
    let run = || {
        let mut pair =
            Pair::new(Behaviour { ping_every: Some(Duration::from_millis(700)), ..Behaviour::default() });
        pair.publish(Publisher::default());
        pair.run(Duration::from_secs(5));
        pair.origin.restart();
        pair.player.on_closed("RST", pair.now);
        pair.publish(Publisher::default());
        pair.run(Duration::from_secs(5));
        pair.report().clone()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_second_play_is_answered_as_configured() {
    // The model player plays once; the words are the origin's, spoken to by hand.
    for (second_play, words) in [
        (SecondPlay::Serve, "NetStream.Play.Start"),
        (SecondPlay::AlreadyJoined, "Already joined."),
        (SecondPlay::Ignore, ""),
        (SecondPlay::Close, ""),
    ] {
        let mut hand = Hand::new(Behaviour { second_play, ..Behaviour::default() });
        hand.play(1);
        hand.call(0, &["closeStream"]);
        let before = hand.said.len();
        hand.play(1);
        let said = String::from_utf8_lossy(&hand.said[before..]).into_owned();
        assert!(said.contains(words), "{second_play:?}: {said}");
        assert_eq!(hand.closed, second_play == SecondPlay::Close);
        assert_eq!(said.is_empty(), words.is_empty(), "{second_play:?}: {said}");
    }
}

#[test]
fn pings_are_answered_or_not() {
    for pings_answered in [true, false] {
        let mut hand = Hand::new(Behaviour { pings_answered, ..Behaviour::default() });
        let before = hand.said.len();
        hand.control(4, &[0, 6, 1, 2, 3, 4]);
        assert_eq!(hand.said[before..].windows(6).any(|said| said == [0, 7, 1, 2, 3, 4]), pings_answered);
        assert_eq!(hand.origin.ledger().pings, u64::from(pings_answered));
    }
}

#[test]
fn clients_that_misbehave_are_complained_of() {
    let check = |act: &dyn Fn(&mut Hand), words: &str| {
        let mut hand = Hand::new(Behaviour::default());
        act(&mut hand);
        let complaints = &hand.origin.ledger().complaints;
        assert!(complaints.iter().any(|complaint| complaint.contains(words)), "{words}: {complaints:?}");
    };
    check(&|hand| hand.play(9), "play on message stream 9");
    check(
        &|hand| {
            hand.play(1);
            hand.play(1);
        },
        "play while a play is under way",
    );
    check(&|hand| hand.control(3, &[0x7F, 0, 0, 0]), "bytes acknowledged");
    check(&|hand| hand.control(4, &[0, 6]), "without its four bytes");
    check(&|hand| hand.control(9, &[0x17, 1]), "sent media");
}

#[test]
fn a_play_that_was_closed_is_under_way_no_more() {
    let mut hand = Hand::new(Behaviour::default());
    hand.play(1);
    hand.call(0, &["closeStream"]);
    hand.call(1, &["play", "two"]);
    let mut other = Hand::on(hand.origin, PeerConn(2));
    other.play(1);
    let ledger = other.origin.ledger();
    assert_eq!((ledger.plays_total, ledger.plays_at_once_max, ledger.open), (3, 1, 2));
}
