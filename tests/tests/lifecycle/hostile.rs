//! Peers that lie, operators that hurry, news that comes late.

use std::net::SocketAddr;

use proxy_core::{
    Config,
    io::{
        Answer, EventKind, Input, Output, PlayAnswer, PullFailure, PullOptions, PullState, Question, Reply,
        Request,
    },
    session::server::Refusal,
    time::Duration,
    wire::message::type_id,
};

use crate::{
    ELSEWHERE, NAME, ORIGIN, URL, serving, streaming,
    world::{Dial, Serve, World, message, redirect},
};

/// The name leads to both origins.
fn two_addresses() -> World {
    let mut world = serving();
    world.dial.insert(ELSEWHERE, Dial::Accept);
    world.names.insert("origin.example".into(), Ok(vec![ORIGIN.ip(), ELSEWHERE.ip()]));
    world
}

fn dials_in(world: &mut World, millis: u64) -> usize {
    world.dials.clear();
    world.run(millis);
    world.dials.len()
}

#[test]
fn an_origin_that_redirects_everybody_is_followed_after_an_outage_of_any_length() {
    let mut world = serving();
    world.serve_at.insert(ORIGIN, Serve::Redirect("rtmp://198.18.0.3/live/x"));
    world.add_forced("x", URL);
    world.run(60_000);
    world.dial.insert(ELSEWHERE, Dial::Accept);
    world.run(2_500);
    assert_eq!(world.connected_to(), [ELSEWHERE]);
    assert_eq!(world.state("x"), Some(PullState::Streaming));
}

#[test]
fn redirects_in_a_circle_are_followed_three_times_then_wait_by_the_law() {
    let mut world = serving();
    world.serve = Serve::Redirect("rtmp://198.18.0.2/live/x");
    world.add_forced("x", URL);
    world.run(5_000);
    let dials = dials_in(&mut world, 60_000);
    assert!((4 * 55..=4 * 76).contains(&dials), "four dials an attempt, an attempt a second: {dials}");
    let told = world.told(|kind| {
        matches!(kind, EventKind::PullEntered { failure: Some(PullFailure::TooManyRedirects), .. })
    });
    assert!(told >= 55, "{told}");
}

#[test]
fn a_redirect_to_ourselves_fails_the_attempt_and_never_removes_a_forced_stream() {
    let mut world = serving();
    let own: SocketAddr = "198.18.0.1:1935".parse().expect("an address");
    world.input(Input::Listening { addrs: vec![own] });
    world.serve = Serve::Redirect("rtmp://198.18.0.1/live/x");
    let add = world.add_forced("x", URL);
    world.run(10_000);
    assert_eq!(world.replies.get(&add), Some(&Reply::Added { state: PullState::BackingOff }));
    assert_eq!(world.view("x").expect("listed").last_failure, Some(PullFailure::OwnUrl));
    world.serve = Serve::Media;
    world.run(2_000);
    assert_eq!(world.state("x"), Some(PullState::Streaming));
}

#[test]
fn a_re_add_or_update_that_leads_to_ourselves_is_refused_and_the_wish_kept() {
    for streams_first in [false, true] {
        let mut world = serving();
        let own: SocketAddr = "198.18.0.1:1935".parse().expect("an address");
        world.dial.insert(own, Dial::Accept);
        world.names.insert("own.example".into(), Ok(vec![own.ip()]));
        world.input(Input::Listening { addrs: vec![own] });
        if !streams_first {
            world.dial.insert(ORIGIN, Dial::Refuse);
        }
        world.add_forced("x", URL);
        world.run(2_000);
        world.dial.insert(ORIGIN, Dial::Refuse);
        world.reset_origins();
        let url = "rtmp://198.18.0.1/live/x";
        let update =
            Request::Update { key: World::key("x"), url: Some(url.into()), options: None, now: true };
        let update = world.request(update);
        let add = world.add("x", url, PullOptions::default());
        assert_eq!(world.replies.get(&update), Some(&Reply::OwnUrl));
        assert_eq!(world.replies.get(&add), Some(&Reply::OwnUrl));
        assert_eq!(world.view("x").expect("still listed").url, URL);
        // A name shows only later where it leads: the new wish counts, and fails.
        let add = world.add("x", "rtmp://own.example/live/x", PullOptions::default());
        let failed = Reply::AddFailed { failure: PullFailure::OwnUrl, state: Some(PullState::BackingOff) };
        assert_eq!(world.replies.get(&add), Some(&failed));
        assert!(world.view("x").is_some());
    }
}

#[test]
fn a_play_accepted_and_refused_in_one_breath_waits_by_the_law() {
    let mut world = serving();
    world.serve = Serve::AcceptThenRefuse;
    world.add_forced("x", URL);
    world.run(5_000);
    let dials = dials_in(&mut world, 20_000);
    assert!((19..=26).contains(&dials), "{dials} dials in 20 s");
}

#[test]
fn streams_accepted_and_refused_by_turns_do_not_wake_each_other() {
    let mut world = serving();
    world.serve = Serve::AcceptThenRefuse;
    for n in 0..3 {
        world.add_forced(&format!("s{n}"), &format!("rtmp://198.18.0.2/live/s{n}"));
    }
    world.run(5_000);
    let dials = dials_in(&mut world, 20_000);
    assert!((3 * 19..=3 * 26).contains(&dials), "{dials} dials in 20 s");
}

#[test]
fn streams_an_origin_does_not_have_keep_their_law_while_others_come_and_go() {
    let mut world = serving();
    for n in 0..5 {
        world.missing.insert(format!("missing{n}"));
        world.add_forced(&format!("missing{n}"), &format!("rtmp://198.18.0.2/live/missing{n}"));
        world.add_forced(&format!("s{n}"), &format!("rtmp://198.18.0.2/live/s{n}"));
    }
    world.run(10_000);
    world.dials.clear();
    for _ in 0..250 {
        world.reset_one();
        world.run(100);
    }
    // 25 s: 1.25 attempts a second for each that is missing, and one for each drop.
    assert!(world.dials.len() <= 5 * 33 + 250, "{} dials", world.dials.len());
}

#[test]
fn a_silent_address_is_not_waited_on_for_ever_while_the_name_has_others() {
    let mut world = two_addresses();
    world.serve = Serve::Nothing;
    world.add_forced("x", NAME);
    world.run(50_000);
    // A publisher comes to the first of two that do not know each other.
    for (at, serve) in [(ORIGIN, Serve::Media), (ELSEWHERE, Serve::Nothing)] {
        world.serve_at.insert(at, serve);
    }
    world.run(21_000);
    assert_eq!(world.state("x"), Some(PullState::Streaming));
}

#[test]
fn each_address_gets_both_kinds_of_handshake() {
    let mut world = two_addresses();
    world.serve_at.insert(ORIGIN, Serve::SimpleOnly);
    world.serve_at.insert(ELSEWHERE, Serve::Frozen);
    world.add_forced("x", NAME);
    world.run(10_000);
    assert_eq!((world.state("x"), world.connected_to()), (Some(PullState::AwaitingMedia), vec![ORIGIN]));
}

#[test]
fn a_long_keyframe_on_a_slow_line_is_no_dead_transport() {
    let mut world = streaming();
    let mut bytes = Vec::new();
    let mut payload = vec![0x17, 1, 0, 0, 0];
    payload.resize(400_000, 9);
    message(type_id::VIDEO, 6_000, &payload, &mut bytes);
    world.serve = Serve::Frozen;
    let conn = world.origin_conns()[0];
    for piece in bytes.chunks(bytes.len() / 40) {
        world.run(100);
        world.input(Input::Received { conn, bytes: piece });
    }
    assert_eq!(world.state("x"), Some(PullState::Streaming));
    assert_eq!(world.dials.len(), 1);
    // Bytes that never become a frame are no media.
    let drip = world.now;
    message(type_id::VIDEO, 6_040, &payload, &mut bytes);
    for piece in bytes.chunks(10) {
        world.run(100);
        if world.state("x") != Some(PullState::Streaming) {
            break;
        }
        world.input(Input::Received { conn, bytes: piece });
    }
    assert!(world.now.since(drip) <= Duration::from_millis(5_100), "{:?}", world.now.since(drip));
}

#[test]
fn metadata_alone_is_no_stream_to_sit_at() {
    let mut world = serving();
    world.serve = Serve::MetadataOnly;
    world.add_forced("x", URL);
    world.run(1_000);
    let player = world.play_http("x");
    world.run(15_100);
    assert_eq!(world.play_answers.get(&player), Some(&PlayAnswer::Refused(Refusal::StreamNotFound)));
}

#[test]
fn questions_end_with_the_player_they_are_about() {
    let mut world = serving();
    world.asks = Some(Vec::new());
    for _ in 0..100 {
        let player = world.play_http("x");
        world.hang_up(player);
        let player = world.play_http("x");
        let (ask, _) = world.asks.as_mut().and_then(Vec::pop).expect("may it play?");
        world.input(Input::Answered { ask, answer: Answer::Allow });
        let asked = world.asks.as_mut().and_then(Vec::pop);
        let Some((_, Question::StreamNotFound { conn, .. })) = asked else { panic!("{asked:?}") };
        assert_eq!(conn, player);
        world.hang_up(player);
        assert_eq!(world.proxy.counts().asks, 0);
    }
}

#[test]
fn players_of_a_hold_of_zero_are_told_at_once_also_if_they_come_in_the_gap() {
    let mut config = Config::default();
    config.pull.player_hold = Duration::ZERO;
    let mut world = World::new(config);
    world.dial.insert(ORIGIN, Dial::Accept);
    world.add("x", URL, PullOptions::default());
    world.run(6_000);
    let player = world.play_http("x");
    world.dial.insert(ORIGIN, Dial::Refuse);
    world.reset_origins();
    world.run(1);
    assert!(world.closed.contains(&player));
    let late = world.play_http("x");
    world.run(1);
    assert!(world.closed.contains(&late));
}

#[test]
fn a_flood_of_tiny_frames_is_handed_out_by_the_thousand_and_arrives_whole() {
    let mut world = streaming();
    let players: Vec<_> = (0..20).map(|_| world.play_http("x")).collect();
    let conn = world.origin_conns()[0];
    let mut bytes = Vec::new();
    message(type_id::AUDIO, 6_000, &[0xAF, 1, 7], &mut bytes);
    for _ in 1..10_000 {
        bytes.extend_from_slice(&[0xC6, 0xAF, 1, 7]);
    }
    let before = world.received[&players[0]].len();
    world.proxy.handle_input(Input::Received { conn, bytes: &bytes }, world.now);
    let mut packets = 0;
    let mut waiting = Vec::new();
    while let Some(output) = world.proxy.poll_output() {
        if let Output::Transmit { conn, bytes } = output {
            packets += 1;
            waiting.push((conn, bytes.len()));
        }
    }
    assert!(packets <= 20 * 1024, "{packets} packets wait");
    for (conn, len) in &waiting {
        world.input(Input::Sent { conn: *conn, len: *len });
    }
    let first: usize = waiting.iter().filter(|(conn, _)| *conn == players[0]).map(|(_, len)| len).sum();
    // A tag has 15 bytes around its payload.
    assert_eq!(first + world.received[&players[0]].len() - before, 10_000 * 18);
}

#[test]
fn frames_of_the_breath_in_which_a_stream_ends_reach_its_players() {
    let mut world = serving();
    world.add("x", URL, PullOptions { retry_count: 0, ..PullOptions::default() });
    world.run(6_000);
    let player = world.play_http("x");
    let conn = world.origin_conns()[0];
    let before = world.received[&player].len();
    let mut bytes = Vec::new();
    message(type_id::AUDIO, 6_000, &[0xAF, 1, 7], &mut bytes);
    redirect("rtmps://198.18.0.3/live/x", &mut bytes);
    world.input(Input::Received { conn, bytes: &bytes });
    assert_eq!(world.view("x"), None);
    assert_eq!(world.received[&player].len() - before, 18);
}
