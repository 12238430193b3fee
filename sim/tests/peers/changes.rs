//! What a publisher can do to its content, in a running life and with the next one.

use proxy_core::time::Duration;
use sim::{
    origin::{Audio, Behaviour, Change, Like, Payload, Publisher, PublisherClock, Video},
    raw::media::{AudioCodec, VideoCodec},
    viewer::ViewerConfig,
};

use crate::{NAME, Pair, is_clean, small};

const MILLIS: fn(u64) -> Duration = Duration::from_millis;

/// A second and a half of a stream, a change, and two seconds more.
fn changed(publisher: Publisher, change: &Change) -> Pair {
    let mut pair = Pair::new(Behaviour::default());
    pair.publish(publisher);
    pair.run(MILLIS(1500));
    assert!(pair.origin.change(NAME, change, pair.now));
    pair.run(MILLIS(2000));
    pair
}

#[test]
fn content_changes_in_a_running_life_with_the_headers_it_needs() {
    let check = |publisher: Publisher, change: Change, headers: u64, video: bool, audio: bool| {
        let mut pair = changed(publisher, &change);
        is_clean(&pair);
        assert_eq!((pair.report().headers, pair.report().lives), (headers, 1), "{change:?}");
        let (seen_video, seen_audio) = (pair.report().video, pair.report().audio);
        pair.run(MILLIS(500));
        let more = (pair.report().video > seen_video, pair.report().audio > seen_audio);
        assert_eq!(more, (video, audio), "{change:?}");
    };
    let all = Publisher::default;
    let codec = |codec| Change::Video { codec, size: (64, 48) };
    check(all(), Change::Video { codec: VideoCodec::Avc, size: (128, 96) }, 3, true, true);
    check(all(), codec(VideoCodec::HevcLegacy), 3, true, true);
    check(all(), codec(VideoCodec::Hevc), 3, true, true);
    check(all(), codec(VideoCodec::Av1), 3, true, true);
    check(all(), codec(VideoCodec::Unknown), 3, true, true);
    check(all(), Change::AudioCodec(AudioCodec::AacMono), 3, true, true);
    check(all(), Change::AudioCodec(AudioCodec::Unknown), 3, true, true);
    check(all(), Change::AudioEnds, 2, true, false);
    check(all(), Change::VideoEnds, 2, false, true);
    let silent = || Publisher { audio: None, ..all() };
    check(silent(), Change::AudioBegins(Audio::default()), 2, true, true);
    check(silent(), Change::AudioBegins(Audio { from: MILLIS(700), ..Audio::default() }), 2, true, true);
}

#[test]
fn audio_that_ended_can_begin_again_in_another_codec() {
    let mut pair = changed(Publisher::default(), &Change::AudioEnds);
    let audio = pair.report().audio;
    let again = Audio { codec: AudioCodec::Opus, period: MILLIS(20), ..Audio::default() };
    pair.origin.change(NAME, &Change::AudioBegins(again), pair.now);
    pair.run(MILLIS(1000));
    is_clean(&pair);
    // As many as there is time for: nothing is made up for.
    assert!((audio + 35..audio + 55).contains(&pair.report().audio), "{}", pair.report().audio);
    assert_eq!(pair.report().headers, 3);
}

#[test]
fn another_picture_comes_with_the_next_keyframe() {
    let pair = changed(Publisher::default(), &Change::Video { codec: VideoCodec::Avc, size: (128, 96) });
    let header = pair.report().seen.iter().filter_map(|seen| match seen {
        sim::viewer::Seen::Header { track: sim::raw::media::Track::Video, timestamp, .. } => Some(*timestamp),
        _ => None,
    });
    assert_eq!(header.collect::<Vec<_>>(), [0, 2000]);
}

#[test]
fn a_change_without_a_publisher_is_told_to_have_hit_nothing() {
    let mut pair = Pair::new(Behaviour::default());
    assert!(!pair.origin.change(NAME, &Change::AudioEnds, pair.now));
}

#[test]
fn clocks_that_leap_or_start_over_on_the_way_are_noticed() {
    let far = || Publisher { clock: clock(10_000_000), ..Publisher::default() };
    for (change, words) in [
        (Change::ClockJump(3_600_000), "leaps from"),
        (Change::ClockJump(-3_600_000), "after"),
        (Change::ClockRestart(0), "timestamp 9 after"),
    ] {
        let pair = changed(far(), &change);
        let first = pair.report().violations.first().cloned().unwrap_or_default();
        assert!(first.contains(words), "{change:?}: {first}");
    }
}

fn clock(base: u32) -> PublisherClock {
    PublisherClock { base, mask31: false, jump: None, drift: 0 }
}

#[test]
fn clocks_may_wrap_anywhere() {
    for base in [0xFF_FFFF - 500, 0x7FFF_FFFF - 500, 0xFFFF_FFFF - 500] {
        let mut pair = Pair::new(Behaviour::default());
        pair.publish(Publisher { clock: clock(base), ..Publisher::default() });
        pair.run(MILLIS(2000));
        is_clean(&pair);
        assert!(pair.report().video >= 50);
    }
}

#[test]
fn the_next_life_may_bring_anything_on_the_same_connection() {
    let next = |video: Video| Publisher { clock: clock(60_000), ..small(video) };
    for (publisher, headers) in [
        (next(Video { codec: VideoCodec::Hevc, ..Video::default() }), 4),
        (next(Video { codec: VideoCodec::HevcLegacy, size: (128, 96), ..Video::default() }), 4),
        (Publisher { audio: None, ..next(Video::default()) }, 3),
        (Publisher { video: None, ..next(Video::default()) }, 3),
        (Publisher { payload: Payload::Stub, ..next(Video::default()) }, 4),
    ] {
        // No relay is between that would keep one clock over both lives.
        let viewer = ViewerConfig { forward_max: None, seen_max: 100_000, ..ViewerConfig::stamped(NAME) };
        let mut pair = Pair::with(Behaviour::like(Like::Srs6), viewer);
        pair.publish(Publisher::default());
        pair.run(MILLIS(1500));
        pair.publish(publisher);
        pair.run(MILLIS(1500));
        is_clean(&pair);
        let report = pair.report();
        assert_eq!((report.headers, report.lives, report.connections), (headers, 2, 1));
    }
}

#[test]
fn a_life_may_begin_without_a_keyframe() {
    let mut pair = Pair::new(Behaviour::default());
    pair.run(MILLIS(100));
    pair.publish(small(Video { skip: 3, ..Video::default() }));
    pair.run(MILLIS(2000));
    let violations = &pair.report().violations;
    assert!(violations.len() == 1 && violations[0].contains("begins without a keyframe"), "{violations:?}");
    assert_eq!(pair.report().keyframes, 2);
}

#[test]
fn a_gop_may_be_longer_than_any_cache() {
    let mut pair = Pair::new(Behaviour::default());
    pair.publish(small(Video { gop: 100_000, ..Video::default() }));
    pair.run(MILLIS(4000));
    is_clean(&pair);
    assert_eq!(pair.report().keyframes, 1);
}

#[test]
fn stubs_pass_every_check_in_every_codec() {
    for video in
        [VideoCodec::Avc, VideoCodec::HevcLegacy, VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Unknown]
    {
        for audio in [AudioCodec::AacStereo, AudioCodec::AacMono, AudioCodec::Opus, AudioCodec::Unknown] {
            let mut pair = Pair::new(Behaviour::default());
            pair.publish(Publisher {
                audio: Some(Audio { codec: audio, bytes: 60, ..Audio::default() }),
                payload: Payload::Stub,
                ..small(Video { codec: video, bytes: (80, 60), ..Video::default() })
            });
            pair.run(MILLIS(2000));
            is_clean(&pair);
            assert!(pair.report().video >= 50 && pair.report().audio >= 80);
        }
    }
}
