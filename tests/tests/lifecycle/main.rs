//! What operators, players and origins can do to a stream, in every state, on virtual time.

mod hostile;
mod world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proxy_core::{
    Config, Proxy,
    io::{
        BackoffLaw, ConnectError, EventKind, Input, Output, PlayAnswer, PlayerEnd, PullFailure, PullOptions,
        PullState, Reply, Request, StreamEnd, StreamFilter,
    },
    session::server::Refusal,
    time::{Duration, Instant},
    url::UrlError,
    wire::flv::Medium,
};
use world::{Dial, Serve, World};

const ORIGIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)), 1935);
const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 0, 3)), 1935);
const URL: &str = "rtmp://198.18.0.2/live/x";
const NAME: &str = "rtmp://origin.example/live/x";

fn world() -> World {
    World::new(Config::default())
}

fn serving() -> World {
    let mut world = world();
    world.dial.insert(ORIGIN, Dial::Accept);
    world
}

/// A world with `x` streaming for six seconds.
fn streaming() -> World {
    let mut world = serving();
    world.add("x", URL, PullOptions::default());
    world.run(6_000);
    assert_eq!(world.state("x"), Some(PullState::Streaming));
    world
}

/// Brings `x` into a state and keeps it there.
fn at(state: PullState) -> World {
    let mut world = world();
    world.names.insert("origin.example".into(), Ok(vec![ORIGIN.ip()]));
    world.resolver_answers = state != PullState::Resolving;
    let dial = match state {
        PullState::BackingOff => Dial::Refuse,
        PullState::Connecting => Dial::Silent,
        _ => Dial::Accept,
    };
    world.dial.insert(ORIGIN, dial);
    world.serve = match state {
        PullState::Handshaking => Serve::Frozen,
        PullState::AwaitingMedia => Serve::Nothing,
        _ => Serve::Media,
    };
    world.add_forced("x", NAME);
    world.run_to("x", state);
    let stall = Config::default().pull.stall_timeout;
    assert_eq!(world.is_fed("x", stall), state == PullState::Streaming);
    world
}

const STATES: [PullState; 6] = [
    PullState::Resolving,
    PullState::Connecting,
    PullState::Handshaking,
    PullState::AwaitingMedia,
    PullState::Streaming,
    PullState::BackingOff,
];

#[test]
fn a_first_add_is_answered_at_the_first_frame() {
    let mut world = serving();
    let add = world.add("x", URL, PullOptions::default());
    assert_eq!(world.replies.get(&add), None);
    world.run(1_000);
    assert_eq!(world.replies.get(&add), Some(&Reply::Added { state: PullState::Streaming }));
}

#[test]
fn a_first_add_that_fails_leaves_nothing() {
    let mut world = world();
    let add = world.add("x", URL, PullOptions::default());
    let failure = PullFailure::Connect(ConnectError::Refused);
    assert_eq!(world.replies.get(&add), Some(&Reply::AddFailed { failure, state: None }));
    world.run(60_000);
    assert_eq!(world.dials.len(), 1);
    assert_eq!(world.proxy.counts(), proxy_core::proxy::Counts::default());
}

#[test]
fn a_forced_add_that_fails_stays_and_keeps_trying() {
    let mut world = world();
    let add = world.add_forced("x", URL);
    assert_eq!(world.replies.get(&add), Some(&Reply::Added { state: PullState::BackingOff }));
    world.run(5_000);
    world.dial.insert(ORIGIN, Dial::Accept);
    world.run(1_200);
    assert_eq!(world.state("x"), Some(PullState::Streaming));
}

#[test]
fn a_silent_origin_costs_the_first_add_its_reply_timeout_and_no_more() {
    let mut world = serving();
    world.serve = Serve::Nothing;
    let add = world.add("x", URL, PullOptions::default());
    world.run(9_999);
    assert_eq!(world.replies.get(&add), None);
    world.run(1);
    assert_eq!(world.replies.get(&add), Some(&Reply::AddTimedOut { state: None }));
    assert_eq!(world.view("x"), None);
    assert_eq!(world.origin_connections(), 0);
}

#[test]
fn adding_what_streams_is_refused_and_touches_nothing() {
    let mut world = streaming();
    let dials = world.dials.len();
    let add = world.add("x", "rtmp://198.18.0.3/live/other", PullOptions::default());
    assert_eq!(world.replies.get(&add), Some(&Reply::Exists { state: PullState::Streaming }));
    world.run(2_000);
    assert_eq!((world.dials.len(), world.view("x").expect("listed").url), (dials, URL.into()));
}

#[test]
fn the_same_add_in_an_outage_starts_an_attempt_now_and_gets_its_result() {
    let mut world = streaming();
    world.dial.insert(ORIGIN, Dial::Refuse);
    world.reset_origins();
    world.run(30_000);
    world.dial.insert(ORIGIN, Dial::Accept);
    let add = world.add("x", URL, PullOptions::default());
    world.run(200);
    assert_eq!(world.replies.get(&add), Some(&Reply::Added { state: PullState::Streaming }));
}

#[test]
fn a_failing_re_add_never_unregisters() {
    let mut world = streaming();
    let player = world.play_http("x");
    world.dial.insert(ORIGIN, Dial::Refuse);
    world.reset_origins();
    world.run(30_000);
    let add = world.add("x", URL, PullOptions::default());
    let failure = PullFailure::Connect(ConnectError::Refused);
    assert_eq!(
        world.replies.get(&add),
        Some(&Reply::AddFailed { failure, state: Some(PullState::BackingOff) })
    );
    let add = world.add("x", "rtmps://198.18.0.2/live/x", PullOptions::default());
    assert!(matches!(world.replies.get(&add), Some(Reply::BadUrl(_))));
    world.run(1_000);
    assert_eq!(world.view("x").expect("still listed").url, URL);
    assert!(!world.closed.contains(&player));
}

#[test]
fn another_add_in_an_outage_takes_over_and_tells_the_first() {
    let mut world = at(PullState::Connecting);
    world.dial.insert(ELSEWHERE, Dial::Accept);
    let first = world.add_forced("x", NAME);
    let second = world.add("x", "rtmp://198.18.0.3/live/x", PullOptions::default());
    assert_eq!(world.replies.get(&first), Some(&Reply::Superseded));
    world.run(1_000);
    assert_eq!(world.replies.get(&second), Some(&Reply::Added { state: PullState::Streaming }));
    assert_eq!(world.connected_to(), [ELSEWHERE]);
    assert_eq!(world.origin_connections(), 1);
}

#[test]
fn del_and_close_work_in_every_state_and_leave_nothing() {
    for state in STATES {
        for close in [false, true] {
            let mut world = at(state);
            let waiting = (state != PullState::Streaming).then(|| world.add_forced("x", NAME));
            let request = if close {
                world.request(Request::Close { filter: StreamFilter::default(), force: false })
            } else {
                world.request(Request::Del { key: World::key("x") })
            };
            let done = if close { Reply::Closed { hit: 1, closed: 1 } } else { Reply::Deleted };
            assert_eq!(world.replies.get(&request), Some(&done), "{state:?}");
            if let Some(waiting) = waiting
                && state != PullState::BackingOff
            {
                assert_eq!(world.replies.get(&waiting), Some(&Reply::Cancelled), "{state:?}");
            }
            let (dials, lookups) = (world.dials.len(), world.lookups.len());
            world.run(120_000);
            assert_eq!((world.dials.len(), world.lookups.len()), (dials, lookups), "{state:?}");
            assert_eq!(world.proxy.counts(), proxy_core::proxy::Counts::default(), "{state:?}");
            assert_eq!(world.origin_connections(), 0, "{state:?}");
            // The key is free, and the new life owes nothing to the old one.
            world.resolver_answers = true;
            world.dial.insert(ORIGIN, Dial::Accept);
            world.serve = Serve::Media;
            let add = world.add("x", NAME, PullOptions::default());
            world.run(1_000);
            assert_eq!(
                world.replies.get(&add),
                Some(&Reply::Added { state: PullState::Streaming }),
                "{state:?}"
            );
        }
    }
}

#[test]
fn verbs_on_what_is_not_there_say_so() {
    let mut world = world();
    let del = world.request(Request::Del { key: World::key("x") });
    let update = world.request(Request::Update { key: World::key("x"), url: None, options: None, now: true });
    let close = world.request(Request::Close { filter: StreamFilter::default(), force: true });
    assert_eq!(world.replies.get(&del), Some(&Reply::NotFound));
    assert_eq!(world.replies.get(&update), Some(&Reply::NotFound));
    assert_eq!(world.replies.get(&close), Some(&Reply::Closed { hit: 0, closed: 0 }));
}

#[test]
fn close_spares_streams_with_readers_unless_forced_and_a_held_player_is_no_reader() {
    let mut world = streaming();
    let player = world.play_http("x");
    let filter = StreamFilter { app: Some("live".into()), ..StreamFilter::default() };
    let close = world.request(Request::Close { filter: filter.clone(), force: false });
    assert_eq!(world.replies.get(&close), Some(&Reply::Closed { hit: 1, closed: 0 }));
    world.dial.insert(ORIGIN, Dial::Refuse);
    world.reset_origins();
    let close = world.request(Request::Close { filter, force: false });
    assert_eq!(world.replies.get(&close), Some(&Reply::Closed { hit: 1, closed: 1 }));
    assert!(world.closed.contains(&player));
}

#[test]
fn update_counts_from_the_next_attempt_or_now() {
    let mut world = streaming();
    world.dial.insert(ELSEWHERE, Dial::Accept);
    let url = Some("rtmp://198.18.0.3/live/x".into());
    let later = Request::Update { key: World::key("x"), url, options: None, now: false };
    let update = world.request(later);
    assert_eq!(world.replies.get(&update), Some(&Reply::Updated { state: PullState::Streaming }));
    world.run(3_000);
    assert_eq!(world.connected_to(), [ORIGIN]);
    world.request(Request::Update { key: World::key("x"), url: None, options: None, now: true });
    world.run(1_000);
    assert_eq!(world.connected_to(), [ELSEWHERE]);
    assert_eq!(world.state("x"), Some(PullState::Streaming));
}

#[test]
fn an_url_is_cut_where_the_operator_says() {
    let url = "rtmp://198.18.0.2/a/b/c/d";
    let options = |play_path: &str| PullOptions {
        force: true,
        play_path: Some(play_path.into()),
        ..PullOptions::default()
    };
    let mut world = serving();
    // How the url is cut unless somebody says otherwise.
    world.missing.insert("c/d".into());
    world.add_forced("x", url);
    world.run(1_000);
    assert_eq!(world.state("x"), Some(PullState::BackingOff));
    let update =
        Request::Update { key: World::key("x"), url: None, options: Some(options("b/c/d")), now: true };
    world.request(update);
    world.run(1_000);
    assert_eq!(world.state("x"), Some(PullState::Streaming), "an update cuts the old url anew");

    world.add("y", url, options("b/c/d"));
    world.run(1_000);
    assert_eq!(world.state("y"), Some(PullState::Streaming));
    let add = world.add("z", url, options("c"));
    assert_eq!(world.replies.get(&add), Some(&Reply::BadUrl(UrlError::PlayPath)));
    let update = Request::Update { key: World::key("y"), url: None, options: Some(options("e")), now: true };
    let update = world.request(update);
    assert_eq!(world.replies.get(&update), Some(&Reply::BadUrl(UrlError::PlayPath)));
    assert_eq!(world.state("y"), Some(PullState::Streaming), "and the wish is kept");
}

#[test]
fn a_drop_is_followed_by_a_redial_at_once_and_players_stay() {
    let mut world = streaming();
    let player = world.play_http("x");
    assert_eq!(world.play_answers.get(&player), Some(&PlayAnswer::Stream));
    let before = world.received[&player].len();
    world.reset_origins();
    world.run(200);
    assert_eq!(world.state("x"), Some(PullState::Streaming));
    assert!(world.received[&player].len() > before);
    assert!(!world.closed.contains(&player));
    assert_eq!(world.view("x").expect("listed").repulls, 1);
}

#[test]
fn a_frozen_origin_is_noticed_by_ping_and_left() {
    let mut world = streaming();
    world.serve = Serve::Frozen;
    world.run(3_200);
    let view = world.view("x").expect("listed");
    assert_ne!(view.state, PullState::Streaming, "silence of 1 s, then a ping unanswered for 2 s");
    let causes = world
        .told(|kind| matches!(kind, EventKind::PullEntered { failure: Some(PullFailure::PingTimeout), .. }));
    assert_eq!(causes, 1);
    assert!(world.origin_connections() <= 1);
}

#[test]
fn a_silent_publisher_is_asked_anew_on_the_same_connection() {
    let mut world = streaming();
    let dials = world.dials.len();
    world.serve = Serve::Nothing;
    world.run(60_000);
    assert_eq!(world.state("x"), Some(PullState::AwaitingMedia));
    world.serve = Serve::Media;
    world.run(50);
    assert_eq!(world.state("x"), Some(PullState::Streaming));
    assert_eq!(world.dials.len(), dials, "no redial was needed");
    let replays =
        world.told(|kind| matches!(kind, EventKind::PullEntered { state: PullState::Replaying, .. }));
    assert_eq!(replays, 1);
}

#[test]
fn a_dead_audio_track_is_asked_for_by_a_replay_then_a_redial_then_accepted_as_gone() {
    let mut world = streaming();
    world.serve = Serve::VideoOnly;
    world.run(60_000);
    assert_eq!(world.state("x"), Some(PullState::Streaming));
    assert_eq!(world.dials.len(), 2);
    assert_eq!(world.told(|kind| *kind == EventKind::TrackGone(Medium::Audio)), 1);
    world.serve = Serve::Media;
    world.run(20_000);
    world.serve = Serve::VideoOnly;
    world.run(60_000);
    assert_eq!(
        world.told(|kind| *kind == EventKind::TrackGone(Medium::Audio)),
        2,
        "seen again, it counts again"
    );
}

#[test]
fn a_name_that_leads_elsewhere_is_followed_while_nothing_flows() {
    let mut world = at(PullState::AwaitingMedia);
    world.dial.insert(ELSEWHERE, Dial::Accept);
    world.names.insert("origin.example".into(), Ok(vec![ELSEWHERE.ip()]));
    world.serve = Serve::Media;
    world.reset_origins();
    world.serve = Serve::Nothing;
    world.run(500);
    assert_eq!(world.connected_to(), [ELSEWHERE]);
    world.names.insert("origin.example".into(), Ok(vec![ORIGIN.ip()]));
    world.run(2_500);
    assert_eq!(world.connected_to(), [ORIGIN], "a fresh lookup every 2 s");
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    let mut world = world();
    world.dial.insert(ELSEWHERE, Dial::Accept);
    world.names.insert("origin.example".into(), Ok(vec![ORIGIN.ip(), ELSEWHERE.ip()]));
    let add = world.add("x", NAME, PullOptions::default());
    world.run(500);
    assert_eq!(world.replies.get(&add), Some(&Reply::Added { state: PullState::Streaming }));
}

#[test]
fn every_lookup_is_fresh_unless_a_ttl_is_set() {
    for (ttl, lookups) in [(0, 8..=20), (60, 1..=1)] {
        let mut config = Config::default();
        config.pull.resolve_ttl = Duration::from_secs(ttl);
        let mut world = World::new(config);
        world.names.insert("origin.example".into(), Ok(vec![ORIGIN.ip()]));
        world.add_forced("x", NAME);
        world.run(10_000);
        assert!(lookups.contains(&world.lookups.len()), "{} lookups", world.lookups.len());
    }
}

/// The name's second address is gone when its turn to be dialled has come, and the first has been tried: the attempt fails in that
/// instant, and what it leaves due is not left to a timer, which the world would find in the past.
#[test]
fn an_attempt_that_fails_in_its_turn_is_followed_at_once() {
    let mut config = Config::default();
    config.dial.per_address = 1;
    config.pull.lookup_interval = Duration::from_millis(100);
    config.pull.resolve_ttl = Duration::from_millis(300);
    let mut world = World::new(config);
    world.dial.insert(ELSEWHERE, Dial::Refuse);
    world.add_forced("before", "rtmp://198.18.0.3/live/before");
    world.names.insert("origin.example".into(), Ok(vec![ORIGIN.ip(), ELSEWHERE.ip()]));
    world.add_forced("x", NAME);
    world.run(900);
    assert_eq!(world.state("x"), Some(PullState::Queued));
    world.names.insert("origin.example".into(), Ok(vec![ORIGIN.ip()]));
    world.add_forced("y", "rtmp://origin.example/live/y");
    // Nothing but the timer brings the core to what is due.
    world.dial.extend([(ORIGIN, Dial::Silent), (ELSEWHERE, Dial::Silent)]);
    let lookups = world.lookups.len();
    world.run(250);
    assert_eq!(world.lookups.len(), lookups, "the answer was known");
    let failed =
        |kind: &EventKind| matches!(kind, EventKind::PullEntered { state: PullState::BackingOff, .. });
    assert!(world.told(failed) >= 2, "{:?}", world.events);
    assert_eq!(world.state("x"), Some(PullState::Queued), "at the address that is left");
}

#[test]
fn retries_follow_our_law_from_start_to_start() {
    let mut world = world();
    world.dial.insert(ORIGIN, Dial::Silent);
    world.add_forced("x", URL);
    world.run(20_000);
    let gaps: Vec<Duration> = world.dials.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
    assert!(
        gaps.iter().all(|gap| *gap == Duration::from_secs(2)),
        "a dial of 2 s is followed at once: {gaps:?}"
    );
}

#[test]
fn a_finite_count_follows_zlmediakits_law_and_then_removes_the_stream() {
    let mut world = serving();
    world.add("x", URL, PullOptions { retry_count: 3, ..PullOptions::default() });
    world.run(6_000);
    world.dial.insert(ORIGIN, Dial::Refuse);
    world.dials.clear();
    let lost = world.now;
    world.reset_origins();
    world.run(60_000);
    let at: Vec<u64> = world.dials.iter().map(|(at, _)| at.since(lost).as_secs()).collect();
    assert_eq!(at, [2, 5, 11]);
    assert_eq!(world.view("x"), None);
    let why =
        |kind: &EventKind| matches!(kind, EventKind::Unregistered { reason: StreamEnd::RetriesUsedUp, .. });
    assert_eq!(world.told(why), 1);
}

#[test]
fn nobody_watching_a_long_outage_slows_the_retries_and_a_player_snaps_them_back() {
    let mut world = world();
    world.add_forced("x", URL);
    world.run(300_000);
    world.dials.clear();
    world.run(60_000);
    assert!((4..=6).contains(&world.dials.len()), "{} dials a minute", world.dials.len());
    world.play_http("x");
    world.dials.clear();
    world.run(10_000);
    assert!((9..=13).contains(&world.dials.len()), "{} dials in 10 s", world.dials.len());
}

#[test]
fn five_hundred_pulls_of_one_dead_address_dial_at_its_budget_and_grow_nothing() {
    for dial in [Dial::Refuse, Dial::Silent] {
        let mut world = world();
        world.dial.insert(ORIGIN, dial);
        for n in 0..500 {
            world.add_forced(&format!("s{n}"), &format!("rtmp://198.18.0.2/live/s{n}"));
        }
        world.run(60_000);
        let (counts, dials) = (world.proxy.counts(), world.dials.len());
        assert!(dials <= 60 * 21, "{dials} dials in a minute");
        world.events.clear();
        world.outputs.clear();
        world.run(240_000);
        let later = world.proxy.counts();
        assert!(world.dials.len() - dials <= 240 * 21);
        assert!(later.timers <= counts.timers + 25 && later.origins <= 45, "{counts:?} {later:?}");
        for second in 0..300 {
            let from = Instant::from_millis(1_000 + second * 1_000);
            let n = world
                .dials
                .iter()
                .filter(|(at, _)| *at >= from && *at < from + Duration::from_secs(1))
                .count();
            assert!(n <= 22, "{n} dials in second {second}");
        }
    }
}

#[test]
fn the_first_success_wakes_every_sibling_in_no_order_of_theirs() {
    let mut world = serving();
    for n in 0..100 {
        world.add_forced(&format!("s{n}"), &format!("rtmp://198.18.0.2/live/s{n}"));
    }
    world.run(10_000);
    world.dial.insert(ORIGIN, Dial::Refuse);
    world.reset_origins();
    world.run(30_000);
    world.dial.insert(ORIGIN, Dial::Accept);
    let open_at = world.now;
    world.run(2_500);
    let back = (0..100).filter(|n| world.state(&format!("s{n}")) == Some(PullState::Streaming)).count();
    assert_eq!(back, 100, "after {:?}", world.now.since(open_at));
}

#[test]
fn a_player_of_a_missing_stream_waits_and_is_then_told() {
    let mut world = serving();
    let early = world.play_http("x");
    world.run(5_000);
    assert_eq!(world.play_answers.get(&early), None);
    world.add("x", URL, PullOptions::default());
    world.run(1_000);
    assert_eq!(world.play_answers.get(&early), Some(&PlayAnswer::Stream));
    let lost = world.play_http("y");
    world.run(15_100);
    assert_eq!(world.play_answers.get(&lost), Some(&PlayAnswer::Refused(Refusal::StreamNotFound)));
    world.hang_up(early);
    world.run(100);
    assert_eq!(world.proxy.counts().players, 0);
}

#[test]
fn players_are_held_for_player_hold_and_then_told() {
    let mut config = Config::default();
    config.pull.player_hold = Duration::from_secs(20);
    let mut world = World::new(config);
    world.dial.insert(ORIGIN, Dial::Accept);
    world.add("x", URL, PullOptions::default());
    world.run(6_000);
    let player = world.play_http("x");
    world.dial.insert(ORIGIN, Dial::Refuse);
    world.reset_origins();
    world.run(10_000);
    let late = world.play_http("x");
    world.run(9_900);
    assert!(!world.closed.contains(&player));
    world.run(200);
    assert!(world.closed.contains(&player) && !world.closed.contains(&late));
    world.run(10_000);
    assert!(world.closed.contains(&late), "a seat taken in the outage is held as long, from then on");
    let expired =
        world.told(|kind| matches!(kind, EventKind::PlayerLeft { reason: PlayerEnd::HoldExpired, .. }));
    assert_eq!(expired, 2);
    assert_eq!(world.state("x"), Some(PullState::BackingOff), "the pull goes on");
}

#[test]
fn an_unwatched_stream_is_told_once_and_closed_if_asked_however_often_it_flaps() {
    let mut world = serving();
    world.add("x", URL, PullOptions::default());
    world.add("y", URL, PullOptions { auto_close: Some(true), ..PullOptions::default() });
    for _ in 0..6 {
        world.run(9_000);
        world.reset_origins();
    }
    assert_eq!(world.told(|kind| *kind == EventKind::NoneReader), 2);
    assert_eq!((world.view("x").is_some(), world.view("y").is_some()), (true, false));
}

#[test]
fn an_url_that_leads_back_to_its_own_key_is_refused() {
    for (listen, url) in [
        ("198.18.0.1:1935", "rtmp://198.18.0.1/live/x?token=1"),
        ("0.0.0.0:1935", "rtmp://127.0.0.1/live/x"),
        ("0.0.0.0:1935", "rtmp://198.18.0.1/live/x"),
    ] {
        let mut world = world();
        world.dial.insert("198.18.0.1:1935".parse().expect("an address"), Dial::Accept);
        world.input(Input::Listening { addrs: vec![listen.parse().expect("an address")] });
        let add = world.add_forced("x", url);
        assert_eq!(world.replies.get(&add), Some(&Reply::OwnUrl), "{url}");
        assert_eq!(world.view("x"), None);
        let other = world.add_forced("other", url);
        assert_ne!(
            world.replies.get(&other),
            Some(&Reply::OwnUrl),
            "another key may be pulled from ourselves"
        );
    }
}

#[test]
fn shutdown_tells_everybody_and_answers_when_all_is_quiet() {
    let mut world = streaming();
    let player = world.play_http("x");
    let parked = world.play_http("y");
    let down = world.request(Request::Shutdown);
    assert_eq!(world.replies.get(&down), Some(&Reply::Down));
    assert!(world.closed.contains(&player));
    assert_eq!(world.play_answers.get(&parked), Some(&PlayAnswer::Refused(Refusal::StreamNotFound)));
    let add = world.add("x", URL, PullOptions::default());
    assert_eq!(world.replies.get(&add), Some(&Reply::ShuttingDown));
    assert_eq!(world.origin_connections(), 0);
}

#[test]
fn failures_are_forgiven_after_stable_media_not_at_connect() {
    let mut world = serving();
    world.add_forced("x", URL);
    world.run(1_000);
    for _ in 0..20 {
        world.reset_origins();
        world.run(1_100);
    }
    assert!(
        world.view("x").expect("listed").failures >= 15,
        "an origin that hangs up each second is not forgiven"
    );
    world.run(6_000);
    assert_eq!(world.view("x").expect("listed").failures, 0);
}

#[test]
fn a_law_can_be_asked_for() {
    let mut world = world();
    let options = PullOptions { force: true, law: Some(BackoffLaw::ZlMediaKit), ..PullOptions::default() };
    world.add("x", URL, options);
    world.run(21_000);
    let at: Vec<u64> = world.dials.iter().map(|(at, _)| at.as_millis() / 1000 - 1).collect();
    assert_eq!(at, [0, 2, 5, 11, 20]);
}

#[test]
fn events_of_a_stream_are_numbered_without_gaps() {
    let mut world = streaming();
    world.play_http("x");
    world.reset_origins();
    world.run(5_000);
    world.request(Request::Del { key: World::key("x") });
    let mut numbers = std::collections::BTreeMap::new();
    for (_, event) in &world.events {
        if let Some(stream) = event.stream {
            let last = numbers.insert(stream, event.number).unwrap_or(0);
            assert_eq!(event.number, last + 1, "{:?}", event.kind);
        }
    }
    assert_eq!(numbers.len(), 1);
}

#[test]
fn recorded_inputs_replay_bit_for_bit() {
    let mut world = serving();
    world.recording = Some(Vec::new());
    world.names.insert("origin.example".into(), Ok(vec![ORIGIN.ip()]));
    world.add_forced("x", NAME);
    world.run(4_000);
    world.play_http("x");
    world.reset_origins();
    world.run(4_000);
    world.request(Request::Del { key: World::key("x") });
    world.run(1_000);
    let recording = world.recording.take().expect("it was on");
    let mut proxy = Proxy::new(Config::default(), 7);
    let mut outputs = Vec::new();
    for bytes in &recording {
        let (now, input): (Instant, Input<'_>) = postcard::from_bytes(bytes).expect("it was written so");
        proxy.handle_input(input, now);
        while let Some(output) = proxy.poll_output() {
            if !matches!(output, Output::Event(_)) {
                outputs.push(format!("{now} {output:?}"));
            }
        }
    }
    let mut expected = world.outputs.clone();
    expected.sort();
    outputs.sort();
    assert!(recording.len() > 100 && outputs == expected);
}

/// A world that listens at 198.18.0.1, with `x` pulled from the origin and `y` pulled from `x` by way of ourselves.
fn chained() -> World {
    let mut world = streaming();
    let own: SocketAddr = "198.18.0.1:1935".parse().expect("an address");
    world.dial.insert(own, Dial::Accept);
    world.input(Input::Listening { addrs: vec![own] });
    let add = world.add("y", "rtmp://198.18.0.1/live/x", PullOptions::default());
    world.run(1_000);
    assert_eq!(world.replies.get(&add), Some(&Reply::Added { state: PullState::Streaming }));
    world
}

#[test]
fn an_own_url_leaves_what_was_asked_for_before() {
    let mut world = chained();
    let own = "rtmp://198.18.0.1/live/x";
    let update = Request::Update { key: World::key("x"), url: Some(own.into()), options: None, now: true };
    let update = world.request(update);
    assert_eq!(world.replies.get(&update), Some(&Reply::OwnUrl));
    assert_eq!(world.state("x"), Some(PullState::Streaming));

    world.names.insert("we.example".into(), Ok(vec!["198.18.0.1".parse().expect("an address")]));
    world.dial.insert(ORIGIN, Dial::Refuse);
    world.add_forced("z", "rtmp://198.18.0.2/live/z");
    world.run(500);
    let add = world.add("z", "rtmp://we.example/live/z", PullOptions::default());
    assert!(matches!(
        world.replies.get(&add),
        Some(Reply::AddFailed { failure: PullFailure::OwnUrl, state: Some(_) })
    ));
    assert_eq!(world.view("z").expect("a failing re-add never unregisters").url, "rtmp://198.18.0.2/live/z");
}

#[test]
fn a_ring_of_our_own_streams_is_refused_where_it_would_close() {
    let mut world = chained();
    let ring = "rtmp://198.18.0.1/live/y";
    let update = Request::Update { key: World::key("x"), url: Some(ring.into()), options: None, now: true };
    let update = world.request(update);
    assert_eq!(world.replies.get(&update), Some(&Reply::OwnUrl));
    let elsewhere = Request::Update { key: World::key("y"), url: Some(URL.into()), options: None, now: true };
    world.request(elsewhere);
    world.run(1_000);
    let update = Request::Update { key: World::key("x"), url: Some(ring.into()), options: None, now: true };
    let update = world.request(update);
    assert!(matches!(world.replies.get(&update), Some(Reply::Updated { .. })), "it is no ring any more");
}

#[test]
fn a_patient_add_is_not_cut_short_by_one_that_joined() {
    let mut world = serving();
    world.serve = Serve::Nothing;
    let patient = world.add("x", URL, PullOptions { retry_count: -1, ..PullOptions::default() });
    world.run(5_000);
    let joined = world.add("x", URL, PullOptions::default());
    world.run(5_000);
    assert_eq!(
        world.replies.get(&patient),
        Some(&Reply::AddTimedOut { state: Some(PullState::AwaitingMedia) })
    );
    assert_eq!(world.replies.get(&joined), None);
    world.run(5_000);
    assert_eq!(world.replies.get(&joined), Some(&Reply::AddTimedOut { state: None }));
    assert_eq!(world.view("x"), None);
}

#[test]
fn an_origin_that_holds_a_request_is_waited_for_while_it_answers_pings() {
    let mut world = serving();
    world.serve = Serve::Held;
    let add = world.add("x", URL, PullOptions::default());
    world.run(9_000);
    assert_eq!((world.state("x"), world.dials.len()), (Some(PullState::Requesting), 1));
    world.serve = Serve::Media;
    world.run(100);
    assert_eq!(world.replies.get(&add), Some(&Reply::Added { state: PullState::Streaming }));

    let mut world = serving();
    world.serve = Serve::Held;
    world.add_forced("x", URL);
    world.run(9_000);
    world.serve = Serve::Frozen;
    world.run(3_100);
    assert_ne!(world.state("x"), Some(PullState::Requesting), "it does not answer pings any more");

    let mut world = serving();
    world.serve = Serve::Held;
    world.add_forced("x", URL);
    world.run(21_000);
    assert_eq!(world.dials.len(), 2, "nobody is waited for for ever");
}
