//! A publisher that comes back as somebody else: other pictures, another codec, a track less, another clock.

use proxy_core::time::Duration;
use sim::{
    origin::{Audio, Behaviour, Like, Publisher, PublisherClock, SecondPlay, Unpublish, Video},
    raw::{
        chunk::{ChunkStyle, Headers},
        media::{AudioCodec, VideoCodec},
    },
};

use crate::{HOME, NAME, ROUND_TRIPS, streaming};

/// How a publisher leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// With its origin, which is back after a second.
    Restart,
    /// It is replaced without a pause.
    Replaced,
    /// Its origin tells players so, and has somebody else after half a second.
    Told(Unpublish),
}

/// Far from zero, so that a clock that starts again goes back.
const BASE: u32 = 3_436_000;

fn first() -> Publisher {
    Publisher { clock: at(BASE), ..Publisher::default() }
}

fn at(base: u32) -> PublisherClock {
    PublisherClock { base, mask31: false, jump: None, drift: 0 }
}

fn clocked(clock: PublisherClock) -> Publisher {
    Publisher { clock, ..Publisher::default() }
}

fn video(video: Video) -> Publisher {
    Publisher { video: Some(video), ..first() }
}

fn audio(audio: Option<Audio>) -> Publisher {
    Publisher { audio, ..first() }
}

fn second_lives() -> Vec<(&'static str, Publisher)> {
    let codec = |codec| video(Video { codec, ..Video::default() });
    let jump = |by| clocked(PublisherClock { jump: Some((Duration::from_secs(4), by)), ..at(BASE) });
    vec![
        ("the same", first()),
        ("another resolution", video(Video { size: (128, 96), ..Video::default() })),
        (
            "a resolution that changes",
            video(Video { resize: Some((Duration::from_secs(3), (128, 96))), ..Video::default() }),
        ),
        ("hevc by codec id", codec(VideoCodec::HevcLegacy)),
        ("hevc by FourCC", codec(VideoCodec::Hevc)),
        ("av1", codec(VideoCodec::Av1)),
        (
            "opus",
            audio(Some(Audio {
                codec: AudioCodec::Opus,
                period: Duration::from_millis(20),
                ..Audio::default()
            })),
        ),
        ("mono", audio(Some(Audio { codec: AudioCodec::AacMono, ..Audio::default() }))),
        ("without audio", audio(None)),
        ("audio later", audio(Some(Audio { from: Duration::from_secs(3), ..Audio::default() }))),
        ("a clock from zero", clocked(at(0))),
        ("a clock far ahead", clocked(at(BASE + 100_000_000))),
        ("a clock near 2^32", clocked(at(0u32.wrapping_sub(4_000)))),
        (
            "a clock near 2^31, of 31 bits",
            clocked(PublisherClock { mask31: true, ..at(0x7FFF_FFFF - 4_000) }),
        ),
        ("a clock near 2^24", clocked(at(0xFF_FFFF - 4_000))),
        ("a clock that jumps ahead", jump(3_600_000)),
        ("a clock that jumps back", jump(-30_000)),
    ]
}

#[test]
fn players_of_a_publisher_that_comes_back_as_another_see_one_stream() {
    for leaving in [
        Leaving::Restart,
        Leaving::Replaced,
        Leaving::Told(Unpublish::Silent),
        Leaving::Told(Unpublish::StreamEof),
        Leaving::Told(Unpublish::StreamDry),
        Leaving::Told(Unpublish::Notify),
        Leaving::Told(Unpublish::Stop),
        Leaving::Told(Unpublish::Close),
        Leaving::Told(Unpublish::EofAndClose),
    ] {
        for (what, publisher) in second_lives() {
            let behaviour = match leaving {
                Leaving::Told(unpublish) => Behaviour { unpublish, ..Behaviour::default() },
                Leaving::Restart | Leaving::Replaced => Behaviour::default(),
            };
            check(leaving, what, publisher, behaviour);
        }
    }
}

#[test]
fn so_do_players_of_an_origin_that_refuses_a_second_play() {
    for second_play in [SecondPlay::AlreadyJoined, SecondPlay::Ignore, SecondPlay::Close] {
        for (what, publisher) in second_lives() {
            let behaviour = Behaviour { second_play, ..Behaviour::like(Like::NginxRtmp) };
            // No GOP cache: its first keyframe may be a GOP away.
            check(Leaving::Told(Unpublish::StreamEof), what, publisher, behaviour);
        }
    }
}

#[test]
fn so_do_players_of_origins_with_liberties_of_their_own_on_the_wire() {
    for extended_in_continuations in [true, false] {
        for (interleave, aggregate) in [(false, false), (true, false), (false, true)] {
            let wire = ChunkStyle {
                chunk_size: 97,
                headers: Headers::Short,
                extended_in_continuations,
                interleave,
                aggregate,
            };
            for (what, publisher) in second_lives() {
                let behaviour = Behaviour { wire: wire.clone(), ..Behaviour::default() };
                check(Leaving::Restart, &format!("{what}, {wire:?}"), publisher, behaviour);
            }
        }
    }
}

fn check(leaving: Leaving, what: &str, publisher: Publisher, behaviour: Behaviour) {
    let story = format!("{leaving:?}, back with {what}, then {:?}", behaviour.second_play);
    let replay = if behaviour.second_play == SecondPlay::Ignore { 2_000 } else { 0 };
    let gop = if behaviour.gop_cache { 0 } else { 1_000 };
    let (mut town, mut audience) = streaming(behaviour, first());
    match leaving {
        Leaving::Restart => {
            town.kill(HOME);
            town.run(1_000);
        }
        Leaving::Replaced => {}
        Leaving::Told(_) => {
            town.unpublish(HOME, NAME);
            town.run(500);
        }
    }
    audience.mark(&town);
    let has_audio = publisher.audio.is_some();
    town.publish(HOME, NAME, publisher);
    let bound = Duration::from_millis(replay + gop) + ROUND_TRIPS;
    let back = town.run_till(bound, |town| audience.is_served(town));
    assert!(back.is_some(), "{story}: {:?} after {bound:?}", town.state(NAME));
    println!("measured: {story}: media back after {back:?}");
    town.run(12_000);
    audience.is_content(&town, &story);
    for seat in audience.seats {
        let report = town.report(seat);
        assert_eq!(report.lives, 2, "{story}");
        assert!(
            report.last_frame.is_some_and(|at| town.now.since(at) < Duration::from_millis(100)),
            "{story}"
        );
    }
    // A track that did not come back is asked for, then left in peace.
    if !has_audio {
        let dials = town.dials.len();
        town.run(60_000);
        audience.is_content(&town, &story);
        assert!(town.dials.len() <= dials + 1, "{story}: {} dials for a track", town.dials.len() - dials);
    }
    assert_eq!(town.complaints(HOME), Vec::<String>::new(), "{story}");
}
