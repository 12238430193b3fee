//! What can be done to live connections, at any moment and without a restart.

use proxy_core::time::{Duration, Instant};
use sim::{
    origin::{
        Behaviour, Csids, CutAt, CutBy, Ending, Flow, Like, ModelOrigin, Muted, OUTLET_BYTES_MAX,
        OriginOutput, PeerConn, Publisher, Shutdown, Then, Video, Which,
    },
    player::{ModelPlayer, PlayerConfig, PlayerState},
    raw::chunk::ChunkStyle,
    viewer::ViewerConfig,
};

use crate::{NAME, Pair, is_clean, small};

const MILLIS: fn(u64) -> Duration = Duration::from_millis;

/// A second of a default stream.
fn streaming(behaviour: Behaviour) -> Pair {
    let mut pair = Pair::new(behaviour);
    pair.publish(Publisher::default());
    pair.run(MILLIS(1000));
    is_clean(&pair);
    pair
}

/// Shrinks what was seen to what a wire cannot change.
fn frames(pair: &Pair) -> Vec<String> {
    pair.report().seen.iter().map(|seen| format!("{seen:?}")).collect()
}

#[test]
fn every_ending_is_told_on_a_live_play_and_followed_as_asked() {
    for ending in Ending::ALL {
        for (then, hangup, goes_on) in [
            (Then::GoOn, "", true),
            (Then::Quiet, "", false),
            (Then::Fin, "EOF", false),
            (Then::Reset, "RST", false),
        ] {
            let mut pair = streaming(Behaviour::default());
            assert_eq!(pair.origin.tell(Which::Stream(NAME), ending, then, pair.now), 1);
            let before = pair.report().frames;
            pair.run(MILLIS(90));
            assert!(pair.report().was_told(ending.code()), "{ending:?}: {:?}", pair.report().statuses);
            let hangups: Vec<&str> = pair.report().disconnects.iter().map(|(_, how)| how.as_str()).collect();
            assert_eq!(hangups.first().copied().unwrap_or(""), hangup, "{ending:?} {then:?}");
            assert_eq!(pair.report().frames > before, goes_on, "{ending:?} {then:?}");
            is_clean(&pair);
        }
    }
}

#[test]
fn words_for_endings_read_back_and_others_are_refused_with_what_is_allowed() {
    for ending in Ending::ALL {
        assert_eq!(ending.name().parse(), Ok(ending));
    }
    for then in Then::ALL {
        assert_eq!(then.name().parse(), Ok(then));
    }
    let error = "play-stopp".parse::<Ending>().expect_err("a typo").to_string();
    assert!(error.contains("\"play-stopp\"") && error.contains("play-stop,"), "{error}");
}

#[test]
fn publish_notify_brings_media_back_to_a_play_that_was_quiet() {
    let mut pair = streaming(Behaviour::default());
    pair.origin.tell(Which::All, Ending::UnpublishNotify, Then::Quiet, pair.now);
    pair.run(MILLIS(3000));
    let before = pair.report().video;
    pair.origin.tell(Which::All, Ending::PublishNotify, Then::GoOn, pair.now);
    pair.run(MILLIS(1000));
    is_clean(&pair);
    // The GOP under way and what comes then, but not what was missed.
    assert!((before + 20..before + 60).contains(&pair.report().video), "{}", pair.report().video);
    assert_eq!(pair.report().connections, 1);
}

#[test]
fn only_those_meant_are_told() {
    let mut pair = streaming(Behaviour::default());
    let now = pair.now;
    for which in [Which::Stream("live/two"), Which::Conn(PeerConn(99))] {
        assert_eq!(pair.origin.tell(which, Ending::PlayStop, Then::Fin, now), 0);
        assert_eq!(pair.origin.cut(which, CutAt::Message(1), CutBy::Fin, now), 0);
    }
    pair.run(MILLIS(500));
    assert!(pair.report().disconnects.is_empty());
    assert_eq!(pair.origin.tell(Which::Conn(PeerConn(pair.conn)), Ending::PlayStop, Then::Fin, now), 1);
}

/// Cuts every connection behind a byte; returns what was said and how the first one ended.
fn cut_behind(byte: u64, by: CutBy) -> (usize, String) {
    let mut pair = Pair::new(Behaviour { cut: Some((byte, by)), ..Behaviour::default() });
    pair.publish(Publisher::default());
    // Less than the player takes to dial again.
    pair.run(MILLIS(90));
    let how = pair.report().disconnects.first().map_or(String::new(), |(_, how)| how.clone());
    (pair.said.len(), how)
}

#[test]
fn a_connection_can_be_cut_behind_every_byte_it_says() {
    // The handshake in strides, then every byte of the commands' answers and the first frames.
    let bytes = (0..3000).step_by(97).chain(3000..4400);
    for byte in bytes {
        assert_eq!(cut_behind(byte, CutBy::Fin), (byte as usize, "EOF".to_owned()));
    }
    for byte in [0, 1, 1537, 3073, 3074, 3500] {
        assert_eq!(cut_behind(byte, CutBy::Reset), (byte as usize, "RST".to_owned()));
        assert_eq!(cut_behind(byte, CutBy::Silence), (byte as usize, String::new()));
    }
}

#[test]
fn the_next_message_can_be_cut_in_the_middle() {
    for (by, hangup) in [(CutBy::Fin, "EOF"), (CutBy::Reset, "RST"), (CutBy::Silence, "")] {
        let mut pair = streaming(Behaviour::default());
        let before = pair.said.len();
        pair.origin.cut(Which::All, CutAt::Message(30), by, pair.now);
        pair.run(MILLIS(90));
        assert_eq!(pair.said.len() - before, 30);
        let hangups: Vec<&str> = pair.report().disconnects.iter().map(|(_, how)| how.as_str()).collect();
        assert_eq!(hangups.first().copied().unwrap_or(""), hangup);
        assert_eq!(pair.origin.ledger().open, usize::from(by == CutBy::Silence));
    }
}

#[test]
fn a_connection_that_has_said_more_is_cut_at_once() {
    let mut pair = streaming(Behaviour::default());
    pair.origin.cut(Which::All, CutAt::Connection(100), CutBy::Reset, pair.now);
    pair.run(MILLIS(0));
    assert_eq!(pair.report().disconnects.len(), 1);
}

#[test]
fn a_connection_cut_into_silence_hears_nothing_either() {
    let mut pair = streaming(Behaviour::default());
    pair.origin.cut(Which::All, CutAt::Message(0), CutBy::Silence, pair.now);
    let before = pair.said.len();
    pair.origin.tell(Which::All, Ending::StreamEof, Then::Fin, pair.now);
    pair.origin.unpublish(NAME, pair.now);
    pair.publish(Publisher::default());
    pair.run(MILLIS(20_000));
    assert_eq!(pair.said.len(), before);
    assert!(pair.report().disconnects.is_empty());
    assert_eq!(pair.origin.deadline(), None);
}

#[test]
fn bytes_in_pieces_show_the_same_in_writes_of_their_own() {
    let whole = streaming(Behaviour::default());
    let flow = Flow::Pieces { len: 7, every: Duration::ZERO };
    let pieces = streaming(Behaviour { flow, ..Behaviour::default() });
    assert_eq!(frames(&pieces), frames(&whole));
    assert_eq!(pieces.said, whole.said);
    assert!(pieces.writes.iter().all(|(_, len)| *len <= 7));
}

#[test]
fn bytes_held_back_come_together_and_show_the_same() {
    let whole = streaming(Behaviour::default());
    let held = streaming(Behaviour { flow: Flow::Held { time: MILLIS(20) }, ..Behaviour::default() });
    let late = whole.report().frames - held.report().frames;
    assert!(late < 20, "{late} frames late");
    assert_eq!(frames(&held), frames(&whole)[..frames(&held).len()]);
    assert!(held.writes.len() < whole.writes.len() * 2 / 3, "{} writes", held.writes.len());
}

#[test]
fn a_live_connection_can_trickle_and_be_well_again() {
    let mut pair = streaming(Behaviour::default());
    let before = pair.writes.len();
    let flow = Flow::Pieces { len: 30, every: MILLIS(10) };
    assert_eq!(pair.origin.set_flow(Which::Stream(NAME), flow, pair.now), 1);
    pair.run(MILLIS(2000));
    let trickled = &pair.writes[before..];
    assert!((195..=205).contains(&trickled.len()), "{} writes", trickled.len());
    assert!(trickled.iter().all(|(_, len)| *len <= 30));
    let frames = pair.report().frames;
    pair.origin.set_flow(Which::All, Flow::AtOnce, pair.now);
    pair.run(MILLIS(1000));
    is_clean(&pair);
    assert!(pair.report().frames > frames + 100, "the backlog comes");
}

#[test]
fn an_origin_does_not_pile_up_without_end_for_a_trickle() {
    let mut pair = Pair::new(Behaviour::default());
    pair.publish(small(Video { bytes: (100_000, 100_000), ..Video::default() }));
    pair.run(MILLIS(1000));
    let before = pair.said.len();
    pair.origin.set_flow(Which::All, Flow::Pieces { len: 1, every: MILLIS(10) }, pair.now);
    pair.run(MILLIS(60_000));
    pair.origin.set_flow(Which::All, Flow::AtOnce, pair.now);
    assert!(pair.said.len() - before < 10_000);
    pair.run(MILLIS(0));
    let burst = pair.said.len() - before;
    assert!((OUTLET_BYTES_MAX..OUTLET_BYTES_MAX + 3_500_000).contains(&burst), "{burst} bytes");
    pair.run(MILLIS(1000));
    is_clean(&pair);
}

#[test]
fn one_track_can_stop_alone_and_video_comes_back_with_a_keyframe() {
    for (muted, track) in
        [(Muted { video: true, audio: false }, "video"), (Muted { video: false, audio: true }, "audio")]
    {
        let mut pair = streaming(Behaviour::default());
        let count = |pair: &Pair| (pair.report().video, pair.report().audio);
        pair.origin.set_behaviour(Behaviour { muted, ..Behaviour::default() });
        let (video, audio) = count(&pair);
        pair.run(MILLIS(2300));
        let (later_video, later_audio) = count(&pair);
        assert_eq!((later_video == video, later_audio == audio), (muted.video, muted.audio), "{track}");
        pair.origin.set_behaviour(Behaviour::default());
        pair.run(MILLIS(2000));
        is_clean(&pair);
        let (last_video, last_audio) = count(&pair);
        assert!(last_video > later_video + 20 && last_audio > later_audio + 60, "{track}");
    }
}

#[test]
fn frames_can_drip() {
    let mut pair = streaming(Behaviour::default());
    let before = pair.report().frames;
    pair.origin.set_behaviour(Behaviour { drip: Some(MILLIS(700)), ..Behaviour::default() });
    pair.run(MILLIS(7000));
    let dripped = pair.report().frames - before;
    assert!((9..=11).contains(&dripped), "{dripped}");
    pair.origin.set_behaviour(Behaviour::default());
    pair.run(MILLIS(2000));
    is_clean(&pair);
    assert!(pair.report().video > 40);
}

#[test]
fn a_process_told_to_end_says_what_its_software_says() {
    let said = |pair: &Pair, from: usize, words: &str| {
        pair.said[from..].windows(words.len()).any(|window| window == words.as_bytes())
    };
    for like in Like::ALL {
        let mut pair = streaming(Behaviour::like(like));
        let before = pair.said.len();
        pair.origin.shut_down(pair.now);
        pair.run(MILLIS(50));
        assert_eq!(pair.report().disconnects.len(), 1, "{like}");
        assert_eq!(said(&pair, before, "deleteStream"), like == Like::Ffmpeg, "{like}");
        assert_eq!(pair.said.len() == before, like != Like::Ffmpeg, "{like}");
        assert_eq!((pair.origin.ledger().open, pair.origin.epoch(NAME)), (0, None));
        // The process started anew takes the player in.
        let clock = sim::origin::PublisherClock { base: 5000, mask31: false, jump: None, drift: 0 };
        pair.publish(Publisher { clock, ..Publisher::default() });
        pair.run(MILLIS(1000));
        if pair.origin.behaviour().gop_cache {
            is_clean(&pair);
        }
        assert_eq!(pair.report().lives, 2, "{like}");
    }
    let shutdown = Shutdown::Told(Ending::AppShutdown);
    let mut pair =
        streaming(Behaviour { shutdown, flow: Flow::Held { time: MILLIS(20) }, ..Behaviour::default() });
    pair.origin.shut_down(pair.now);
    pair.run(MILLIS(50));
    assert!(pair.report().was_told("NetConnection.Connect.AppShutdown"));
    assert_eq!(pair.report().disconnects.len(), 1);
}

#[test]
fn a_process_told_to_end_closes_what_was_cut_into_silence() {
    let mut pair = streaming(Behaviour::default());
    pair.origin.cut(Which::All, CutAt::Message(0), CutBy::Silence, pair.now);
    pair.origin.shut_down(pair.now);
    pair.run(MILLIS(0));
    assert_eq!(pair.report().disconnects.len(), 1);
}

#[test]
fn the_chunk_style_can_change_on_a_live_connection() {
    let mut pair = streaming(Behaviour::default());
    for (chunk_size, interleave, aggregate) in
        [(64, false, false), (1, true, false), (4096, false, true), (60_000, false, false)]
    {
        let style = ChunkStyle { chunk_size, interleave, aggregate, ..ChunkStyle::default() };
        let before = pair.report().frames;
        assert_eq!(pair.origin.set_wire(Which::Stream(NAME), &style, pair.now), 1);
        pair.run(MILLIS(500));
        is_clean(&pair);
        assert!(pair.report().frames > before + 20);
    }
}

#[test]
fn the_chunk_size_can_change_inside_a_message() {
    let wire = ChunkStyle { chunk_size: 1000, ..ChunkStyle::default() };
    let mut pair = Pair::new(Behaviour { wire, ..Behaviour::default() });
    pair.publish(small(Video { bytes: (3000, 3000), ..Video::default() }));
    pair.run(MILLIS(1000));
    for size in [50, 777, 60_000, 1] {
        assert_eq!(pair.origin.resize_chunks_inside(Which::All, size, pair.now), 1);
        pair.run(MILLIS(500));
        is_clean(&pair);
    }
    assert!(pair.report().video > 70);
}

#[test]
fn media_may_go_out_on_odd_chunk_streams() {
    for csids in [Csids::SHARED, Csids::FAR, Csids { data: 3, audio: 320, video: 63 }] {
        for interleave in [false, true] {
            let wire = ChunkStyle { interleave, chunk_size: 64, ..ChunkStyle::default() };
            let mut pair = Pair::new(Behaviour { csids, wire, ..Behaviour::default() });
            pair.publish(Publisher::default());
            pair.run(MILLIS(1500));
            pair.player.on_closed("moved on", pair.now);
            pair.run(MILLIS(1500));
            is_clean(&pair);
            assert!(pair.report().video > 60);
        }
    }
}

#[test]
fn many_streams_of_one_origin_do_not_mix_or_wait_for_each_other() {
    const COUNT: usize = 60;
    let (mut origin, mut now) = (ModelOrigin::new(Behaviour::default()), Instant::from_millis(10));
    let mut players = Vec::new();
    for at in 0..COUNT {
        let name = format!("live/{at}");
        let viewer = ViewerConfig::stamped(&name);
        let (config, _) =
            PlayerConfig::from_url(&format!("rtmp://origin/{name}"), viewer).expect("a plain url");
        let mut player = ModelPlayer::new(config, now);
        assert!(player.poll_dial(now));
        player.on_connected(now);
        players.push(player);
        origin.publish(&name, Publisher::stub(), now);
        origin.on_accepted(PeerConn(at as u64), now);
        now += MILLIS(1);
    }
    let end = now + MILLIS(2000);
    loop {
        for (at, player) in players.iter_mut().enumerate() {
            while let Some(bytes) = player.poll_transmit() {
                origin.handle_bytes(PeerConn(at as u64), &bytes, now);
            }
        }
        let mut quiet = true;
        while let Some(output) = origin.poll_output() {
            let OriginOutput::Transmit { conn, bytes } = output else { panic!("{output:?}") };
            players[conn.0 as usize].handle_bytes(&bytes, now);
            quiet = false;
        }
        if quiet {
            let Some(next) = origin.deadline().filter(|next| *next <= end) else { break };
            now = next;
            origin.handle_timeout(now);
        }
    }
    for player in &players {
        assert_eq!(player.state(), PlayerState::Watching);
        assert_eq!(player.report().violations, Vec::<String>::new());
        assert!(player.report().frames > 130, "{}", player.report().frames);
    }
    let ledger = origin.ledger();
    assert_eq!((ledger.open, ledger.plays_at_once_max, ledger.plays_total as usize), (COUNT, 1, COUNT));
    assert!(ledger.plays.iter().all(|play| play.frames > 130));
}
