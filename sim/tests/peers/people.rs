//! Players that come, go and read as they like, and software by its name.

use proxy_core::time::{Duration, Instant};
use sim::{
    origin::{Behaviour, Like, MetadataStyle, Publisher},
    player::{Leave, ModelPlayer, PlayerConfig, PlayerState, Reading},
    viewer::ViewerConfig,
};

use crate::{Pair, is_clean};

const MILLIS: fn(u64) -> Duration = Duration::from_millis;

fn streaming() -> Pair {
    let mut pair = Pair::new(Behaviour::default());
    pair.publish(Publisher::default());
    pair.run(MILLIS(1000));
    pair
}

#[test]
fn a_player_that_leaves_stays_away_until_it_joins() {
    for how in [Leave::InOrder, Leave::Fin, Leave::Reset] {
        let mut pair = streaming();
        pair.player.leave(how);
        assert!(pair.player.wants_close());
        assert_eq!(pair.player.wants_reset(), how == Leave::Reset);
        let before = pair.report().frames;
        pair.run(MILLIS(2000));
        assert_eq!(pair.player.state(), PlayerState::Waiting);
        assert_eq!((pair.report().frames, pair.report().disconnects.len()), (before, 0), "{how:?}");
        assert_eq!(pair.origin.ledger().open, 0);
        pair.player.join(pair.now);
        pair.run(MILLIS(1000));
        is_clean(&pair);
        assert!(pair.report().frames > before + 50, "{how:?}");
        assert_eq!(pair.report().connections, 2);
    }
}

#[test]
fn an_orderly_end_says_so() {
    let mut pair = streaming();
    pair.player.leave(Leave::InOrder);
    let said: Vec<u8> = std::iter::from_fn(|| pair.player.poll_transmit()).flatten().collect();
    for words in ["closeStream", "deleteStream"] {
        assert!(said.windows(words.len()).any(|window| window == words.as_bytes()), "{words}");
    }
}

#[test]
fn a_player_can_leave_at_any_moment() {
    let (config, _) =
        PlayerConfig::from_url("rtmp://origin/live/one", ViewerConfig::plain()).expect("a plain url");
    let config = PlayerConfig { redial: Some(MILLIS(100)), ..config };
    let start = Instant::ZERO;
    let check = |prepare: &dyn Fn(&mut ModelPlayer), wants_close: bool| {
        let mut player = ModelPlayer::new(config.clone(), start);
        prepare(&mut player);
        player.leave(Leave::InOrder);
        assert_eq!(player.wants_close(), wants_close);
        player.on_closed("left", start);
        assert_eq!(player.deadline(start), None);
        assert!(player.report().disconnects.is_empty());
        player.join(start + MILLIS(5));
        assert!(!player.poll_dial(start) && player.poll_dial(start + MILLIS(5)));
    };
    check(&|_| {}, false);
    check(&|player| assert!(player.poll_dial(start)), true);
    check(
        &|player| {
            assert!(player.poll_dial(start));
            player.on_connected(start);
        },
        true,
    );
}

#[test]
fn a_limited_reader_takes_what_its_rate_allows() {
    let (config, _) = PlayerConfig::from_url("http://h/x.flv", ViewerConfig::plain()).expect("a plain url");
    let mut player = ModelPlayer::new(
        PlayerConfig { reading: Reading::Rate { bytes_per_second: 1000 }, ..config },
        Instant::ZERO,
    );
    assert!(player.poll_dial(Instant::ZERO));
    player.on_connected(Instant::ZERO);
    assert_eq!(player.read_budget(Instant::ZERO), 16 * 1024);
    player.handle_bytes(&[b'H'; 16 * 1024], Instant::ZERO);
    assert_eq!(player.read_budget(Instant::ZERO), 0);
    assert!(player.deadline(Instant::ZERO).is_some());
    assert_eq!(player.read_budget(Instant::from_millis(2000)), 2000);
}

#[test]
fn reading_can_be_changed_while_it_goes_on() {
    let (config, _) = PlayerConfig::from_url("http://h/x.flv", ViewerConfig::plain()).expect("a plain url");
    let mut player = ModelPlayer::new(config, Instant::ZERO);
    assert!(player.poll_dial(Instant::ZERO));
    player.on_connected(Instant::ZERO);
    player.handle_bytes(&[b'H'; 50_000], Instant::ZERO);
    let now = Instant::from_millis(10_000);
    for (reading, budget) in [
        (Reading::Full, usize::MAX),
        (Reading::Until { bytes: 0 }, 0),
        (Reading::Rate { bytes_per_second: 1000 }, 16 * 1024),
        (Reading::Full, usize::MAX),
    ] {
        player.set_reading(reading, now);
        assert_eq!(player.read_budget(now), budget, "{reading:?}");
    }
    // What was not read before is not made up for.
    player.set_reading(Reading::Rate { bytes_per_second: 1000 }, now);
    assert_eq!(player.read_budget(now + MILLIS(1000)), 16 * 1024 + 1000);
}

#[test]
fn a_joiner_without_metadata_is_noticed() {
    for (metadata, words) in
        [(MetadataStyle::Absent, "begins before any metadata"), (MetadataStyle::Ecma, "")]
    {
        let viewer = ViewerConfig { needs_metadata: true, ..ViewerConfig::stamped(crate::NAME) };
        let mut pair = Pair::with(Behaviour { metadata, ..Behaviour::default() }, viewer);
        pair.publish(Publisher::default());
        pair.run(MILLIS(500));
        let violations = &pair.report().violations;
        assert_eq!(violations.len(), usize::from(!words.is_empty()), "{violations:?}");
        assert!(violations.iter().all(|violation| violation.contains(words)));
    }
}

#[test]
fn software_is_known_by_name_and_version() {
    for like in Like::ALL {
        assert_eq!(like.name().parse(), Ok(like));
        assert!(like.summary().ends_with('.'));
    }
    let error = "srs-5".parse::<Like>().expect_err("another version").to_string();
    assert!(error.contains("\"srs-5\"") && error.contains("srs-6, nginx-rtmp-1.1.4"), "{error}");
}
