//! Origins that are there and do not serve: they never answer, answer too little, refuse, or hang up. Players keep
//! their seats, the pull says why it fails and dials by its law, and the stream is back when the origin is.

use proxy_core::{
    config::PullConfig,
    io::{Hangup, PullFailure, PullState, Reply},
    time::{Duration, Instant},
};
use sim::origin::{
    Behaviour, CutBy, EndBy, Handshake, Missing, OnCall, OnConnect, PlayEnd, Publisher, Withhold,
};

use crate::{
    Audience, HOME, HOST, NAME, ROUND_TRIPS, URL, streaming,
    town::{Door, Town},
};

/// How long an origin is no origin.
const SICK: u64 = 60_000;

/// Keeps an origin sick for a minute, with players seated; returns the failures told and the times of the dials.
fn sick(what: &str, behaviour: Behaviour, healed_within: Duration) -> (Vec<PullFailure>, Vec<Instant>) {
    let (mut town, mut audience) = streaming(Behaviour::default(), Publisher::default());
    town.events.clear();
    town.dials.clear();
    town.behave(HOME, behaviour);
    town.kill(HOME);
    town.publish(HOME, NAME, Publisher::default());
    town.run(SICK);
    audience.is_content(&town, what);
    audience.mark(&town);
    let (failures, dials) = (town.failures(), town.dials.iter().map(|(at, _)| *at).collect());
    // Healed without a sign: the attempt under way is not answered any more than before.
    town.behave(HOME, Behaviour::default());
    let back = town.run_till(healed_within + ROUND_TRIPS, |town| audience.is_served(town));
    assert!(back.is_some(), "{what}: {:?} though the origin is healed", town.state(NAME));
    println!("measured: {what}: media back after {back:?}");
    town.run(5_000);
    audience.is_content(&town, what);
    assert_eq!(town.complaints(HOME), Vec::<String>::new(), "{what}");
    (failures, dials)
}

/// Every dial but the first follows the one before by at least `gap_min`, and none is missing.
#[track_caller]
fn are_dialled_by_the_law(what: &str, dials: &[Instant], attempt: Duration) {
    let pull = PullConfig::default();
    // From start to start: the cap less its jitter, or as long as an attempt lasts, if that is longer.
    let gap_min = attempt.max(pull.backoff_max * 8 / 10);
    let gap_max = attempt.max(pull.backoff_max) + ROUND_TRIPS;
    // Until the cap is reached there are a few more; attempts longer than the cap are even from the second on.
    let uneven = if attempt > pull.backoff_max * 10 { 1 } else { 6 };
    let settled: Vec<Duration> = dials.windows(2).map(|pair| pair[1].since(pair[0])).skip(uneven).collect();
    let expected = u128::from(SICK) / gap_max.as_millis();
    let is_enough = dials.len() as u128 >= expected && !settled.is_empty();
    assert!(is_enough, "{what}: {} dials", dials.len());
    for gap in &settled {
        assert!(
            (gap_min..=gap_max).contains(gap),
            "{what}: {gap:?} between dials, not {gap_min:?}–{gap_max:?}"
        );
    }
}

#[test]
fn an_origin_that_never_answers_is_left_and_tried_again() {
    let pull = PullConfig::default();
    let base = Behaviour::default;
    let requesting = PullFailure::Timeout(PullState::Requesting);
    let handshaking = PullFailure::Timeout(PullState::Handshaking);
    for (what, behaviour, failure, timeout) in [
        (
            "silent at once",
            Behaviour { handshake: Handshake::Silent, ..base() },
            &handshaking,
            pull.handshake_timeout,
        ),
        (
            "silent in S1",
            Behaviour { cut: Some((700, CutBy::Silence)), ..base() },
            &handshaking,
            pull.handshake_timeout,
        ),
        (
            "silent before S2",
            Behaviour { cut: Some((1537, CutBy::Silence)), ..base() },
            &handshaking,
            pull.handshake_timeout,
        ),
        (
            "connect unanswered",
            Behaviour { connect: OnConnect::Never, ..base() },
            &requesting,
            pull.request_timeout,
        ),
        (
            "createStream unanswered",
            Behaviour { create_stream: OnCall::Never, ..base() },
            &requesting,
            pull.request_timeout,
        ),
        // It answers pings: that may be an origin that holds a request until somebody publishes.
        (
            "play unanswered",
            Behaviour { play: OnCall::Never, ..base() },
            &requesting,
            pull.first_media_timeout,
        ),
    ] {
        let (failures, dials) = sick(what, behaviour, timeout + pull.backoff_max);
        let lost = PullFailure::Lost(Hangup::Reset);
        assert!(failures.iter().all(|told| told == failure || *told == lost), "{what}: {failures:?}");
        let attempts = u128::from(SICK) / (timeout + pull.backoff_max).as_millis();
        let timed_out = failures.iter().filter(|told| *told == failure).count();
        assert!(timed_out as u128 > attempts * 2 / 3, "{what}: {failures:?}");
        are_dialled_by_the_law(what, &dials, timeout);
    }
}

#[test]
fn an_origin_that_refuses_or_hangs_up_is_tried_again_by_the_law() {
    let pull = PullConfig::default();
    let base = Behaviour::default;
    for (what, behaviour) in [
        ("closed at once", Behaviour { handshake: Handshake::Close, ..base() }),
        ("reset at the first byte", Behaviour { handshake: Handshake::Reset, ..base() }),
        ("no RTMP", Behaviour { handshake: Handshake::Http, ..base() }),
        ("another version", Behaviour { handshake: Handshake::Version(6), ..base() }),
        ("closed at connect", Behaviour { connect: OnConnect::Close, ..base() }),
        ("connect refused", Behaviour { connect: OnConnect::Refuse { description: "no".into() }, ..base() }),
        ("createStream refused", Behaviour { create_stream: OnCall::Error, ..base() }),
        ("closed at createStream", Behaviour { create_stream: OnCall::Close, ..base() }),
        ("play refused", Behaviour { play: OnCall::Error, ..base() }),
        ("closed at play", Behaviour { play: OnCall::Close, ..base() }),
    ] {
        let (failures, dials) = sick(what, behaviour, pull.backoff_max);
        are_dialled_by_the_law(what, &dials, Duration::ZERO);
        assert!(failures.len() + 2 >= dials.len(), "{what}: {} dials, {failures:?}", dials.len());
    }
}

#[test]
fn an_origin_that_accepts_and_sends_nothing_is_waited_on_while_it_answers_pings() {
    for (what, withhold, pings_answered, dials) in [
        ("nothing", Withhold::Everything, true, 1..=1),
        ("metadata alone", Withhold::HeadersAndFrames, true, 1..=1),
        ("headers alone", Withhold::Frames, true, 1..=1),
        // Pings at Play.Start and a second later, then two seconds of patience with the one unanswered.
        ("nothing, not even pongs", Withhold::Everything, false, 2..=30),
    ] {
        let behaviour = Behaviour { withhold, pings_answered, ..Behaviour::default() };
        let (failures, dialled) = sick(what, behaviour, PullConfig::default().dial_timeout * 2);
        assert!(dials.contains(&dialled.len()), "{what}: {} dials, {failures:?}", dialled.len());
    }
}

#[test]
fn an_origin_that_gives_a_frame_and_hangs_up_is_dialled_ever_more_slowly() {
    let pull = PullConfig::default();
    for by in [EndBy::Close, EndBy::Reset, EndBy::Cut] {
        for frames in [1, 2, 20] {
            let what = format!("{frames} frames, then {by:?}");
            let behaviour = Behaviour { end: Some(PlayEnd { frames, by }), ..Behaviour::default() };
            let (_, dials) = sick(&what, behaviour, pull.backoff_max);
            let gaps: Vec<Duration> = dials.windows(2).map(|pair| pair[1].since(pair[0])).collect();
            // Doubling from start to start, less jitter; the kill was the first failure. An attempt lasts as long as
            // its frames do, though.
            let attempt = Duration::from_millis(15) * u32::try_from(frames).expect("few") + ROUND_TRIPS;
            for (n, gap) in gaps.iter().take(6).enumerate() {
                let delay = (pull.backoff_min * (2 << n)).min(pull.backoff_max);
                assert!((delay * 8 / 10..=delay.max(attempt)).contains(gap), "{what}: gap {n} of {gaps:?}");
            }
            are_dialled_by_the_law(&what, &dials, Duration::ZERO);
        }
    }
}

#[test]
fn nobody_watching_an_origin_that_hangs_up_makes_it_dialled_seldom() {
    let pull = PullConfig::default();
    let mut town = Town::new(proxy_core::Config::default());
    town.found(HOME, Behaviour { handshake: Handshake::Close, ..Behaviour::default() });
    town.names.insert(HOST.into(), vec![HOME.ip()]);
    town.add(NAME, URL);
    town.run(600_000);
    let gaps: Vec<Duration> = town.dials.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
    let slow = pull.backoff_idle_max * 8 / 10..=pull.backoff_idle_max + ROUND_TRIPS;
    assert!(gaps.iter().rev().take(10).all(|gap| slow.contains(gap)), "{gaps:?}");
    // Somebody wants to watch: the cap for those who do counts at once.
    town.dials.clear();
    let _parked = Audience::sit(&mut town);
    town.run(10_000);
    assert!((9..=15).contains(&town.dials.len()), "{} dials", town.dials.len());
}

#[test]
fn a_first_add_to_a_silent_origin_is_answered_in_time() {
    let pull = PullConfig::default();
    for (handshake, missing) in [
        (Handshake::Silent, Missing::Wait),
        (Handshake::Simple, Missing::Wait),
        (Handshake::Simple, Missing::Never),
    ] {
        let mut town = Town::new(proxy_core::Config::default());
        town.found(HOME, Behaviour { handshake, missing, ..Behaviour::default() });
        town.names.insert(HOST.into(), vec![HOME.ip()]);
        let add = town.add(NAME, URL);
        let replied = town.run_till(pull.reply_timeout + ROUND_TRIPS, |town| town.replies.contains_key(&add));
        assert!(replied.is_some(), "{missing:?}");
        let reply = &town.replies[&add];
        assert!(
            matches!(
                reply,
                Reply::Added { .. }
                    | Reply::AddTimedOut { state: Some(_) }
                    | Reply::AddFailed { state: Some(_), .. }
            ),
            "{missing:?}: {reply:?}"
        );
        // Forced, it stays and is there when the origin is.
        town.behave(HOME, Behaviour::default());
        town.publish(HOME, NAME, Publisher::default());
        let back = town.run_till(pull.first_media_timeout + pull.backoff_max + ROUND_TRIPS, |town| {
            town.state(NAME) == PullState::Streaming
        });
        assert!(back.is_some(), "{:?}", town.state(NAME));
    }
}

#[test]
fn an_origin_behind_a_dark_door_costs_nobody_a_seat() {
    let (mut town, mut audience) = streaming(Behaviour::default(), Publisher::default());
    town.door(HOME, Door::Dark);
    town.run(200_000);
    town.kill(HOME);
    town.door(HOME, Door::Open);
    town.publish(HOME, NAME, Publisher::default());
    audience.mark(&town);
    let back =
        town.run_till(PullConfig::default().dial_timeout + ROUND_TRIPS, |town| audience.is_served(town));
    assert!(back.is_some(), "{:?}", town.state(NAME));
    town.run(5_000);
    audience.is_content(&town, "dark for 200 s");
}
