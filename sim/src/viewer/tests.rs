use super::*;
use crate::raw::media::{AudioCodec, VideoCodec};

const NAME: &str = "live/one";
const SIZE: (u32, u32) = (16, 16);
const GOP: u32 = 5;

/// A viewer fed by hand.
struct Feed {
    viewer: Viewer,
    life: u32,
    offset: u32,
    now: Instant,
}

impl Feed {
    fn new() -> Self {
        let viewer = Viewer::new(ViewerConfig::stamped(NAME));
        let mut feed = Self { viewer, life: 1, offset: 0, now: Instant::ZERO };
        feed.viewer.on_connected();
        feed
    }

    fn header(&mut self, track: Track, number: u32) {
        let (kind, header) = header(track);
        self.viewer.on_tag(kind, (number * 40).wrapping_add(self.offset), &header, self.now);
    }

    fn frames(&mut self, track: Track, play: u32, numbers: std::ops::Range<u32>) {
        self.frames_of(track, play, numbers, None);
    }

    /// Each GOP begins with a keyframe, but for one that may be without.
    fn frames_of(&mut self, track: Track, play: u32, numbers: std::ops::Range<u32>, keyless: Option<u32>) {
        for number in numbers {
            let (kind, header) = header(track);
            let key = number % GOP == 0 && keyless != Some(number / GOP);
            let stamp = Stamp {
                stream: media::stream_hash(NAME),
                play,
                epoch: self.life,
                number,
                gop: number / GOP,
                time: number * 40,
                header: media::header_hash(&header),
                kind: match (track, key) {
                    (Track::Video, true) => StampKind::Key,
                    (Track::Video, false) => StampKind::Inter,
                    (Track::Audio, _) => StampKind::Audio,
                },
            };
            let payload = match track {
                Track::Video => {
                    let in_gop = (number % GOP).max(u32::from(!key));
                    media::video_frame(VideoCodec::Avc, SIZE, in_gop, 0, &stamp)
                }
                Track::Audio => media::audio_frame(AudioCodec::AacStereo, &stamp),
            };
            self.viewer.on_tag(kind, (number * 40).wrapping_add(self.offset), &payload, self.now);
        }
    }

    fn check(self, words: &str) {
        let violations = &self.viewer.report().violations;
        match words {
            "" => assert_eq!(*violations, Vec::<String>::new()),
            words => {
                assert!(violations.len() == 1 && violations[0].contains(words), "{words}: {violations:?}")
            }
        }
    }
}

fn header(track: Track) -> (u8, Bytes) {
    match track {
        Track::Video => (kind::VIDEO, media::video_header(VideoCodec::Avc, SIZE.0, SIZE.1)),
        Track::Audio => (kind::AUDIO, media::audio_header(AudioCodec::AacStereo)),
    }
}

/// Twelve frames of one play, then another play from `number` on.
fn repull(number: u32, again: bool, play: u32) -> Feed {
    let mut feed = Feed::new();
    feed.header(Track::Video, 0);
    feed.frames(Track::Video, 1, 0..12);
    feed.offset = 400;
    if again {
        feed.header(Track::Video, number);
    }
    feed.frames(Track::Video, play, number..20);
    feed
}

#[test]
fn one_gop_may_repeat_across_a_repull_and_no_more() {
    let one = repull(10, true, 2);
    assert_eq!(one.viewer.report().repeated, 2);
    one.check("");
    repull(5, true, 2).check("goes back from GOP 2 to 1");
}

/// An encoder makes no keyframe where a GOP would begin: what a relay keeps begins at the one before.
#[test]
fn a_gop_without_keyframe_is_none_to_go_back_to() {
    let judge = |keyless: u32, words: &str| {
        let mut feed = Feed::new();
        feed.header(Track::Video, 0);
        feed.frames_of(Track::Video, 1, 0..12, Some(keyless));
        feed.offset = 480;
        feed.header(Track::Video, 5);
        feed.frames(Track::Video, 2, 5..20);
        feed.check(words);
    };
    judge(2, "");
    judge(1, "Video goes back from GOP 2 to 1");
}

/// A publisher goes on with sound alone: what a relay keeps of it begins at the last picture.
#[test]
fn sound_may_go_back_to_the_picture_seen_last_and_no_further() {
    let judge = |pictures: u32, words: &str| {
        let mut feed = Feed::new();
        feed.header(Track::Video, 0);
        feed.header(Track::Audio, 0);
        feed.frames(Track::Video, 1, 0..pictures);
        feed.frames(Track::Audio, 1, 0..12);
        feed.offset = 480;
        feed.header(Track::Video, 0);
        feed.header(Track::Audio, 0);
        feed.frames(Track::Audio, 2, 3..20);
        feed.check(words);
    };
    judge(1, "");
    judge(12, "Audio goes back from GOP 2 to 0");
}

/// However the tags come in reads: what is behind the last frame of a play belongs to the next one.
#[test]
fn an_opening_is_what_comes_before_a_picture() {
    let mut feed = Feed::new();
    feed.header(Track::Video, 0);
    feed.frames(Track::Video, 1, 0..12);
    let first = (feed.viewer.report().openings, feed.viewer.report().opening);
    assert_eq!(first, (1, Opening { headers: 1, metadata: 0 }));
    // One that brought nothing but its header, and the one that has the picture.
    feed.header(Track::Video, 12);
    feed.header(Track::Video, 15);
    feed.frames(Track::Video, 3, 15..20);
    let second = (feed.viewer.report().openings, feed.viewer.report().opening);
    assert_eq!(second, (2, Opening { headers: 2, metadata: 0 }));
    feed.check("");
}

/// Behind a second proxy a re-pull shows by what comes again; of several origins no GOP is compared.
#[test]
fn what_cannot_be_compared_is_not() {
    let judge = |config: ViewerConfig, play: u32, from: u32, words: &str| {
        let mut feed = Feed { viewer: Viewer::new(config), life: 1, offset: 0, now: Instant::ZERO };
        feed.viewer.on_connected();
        feed.header(Track::Video, 0);
        feed.frames(Track::Video, 1, 0..12);
        feed.header(Track::Video, 12);
        feed.offset = 40 * (12 - from);
        feed.frames(Track::Video, play, from..20);
        feed.check(words);
    };
    let chained = ViewerConfig { headers_again: false, ..ViewerConfig::stamped(NAME) };
    judge(chained.clone(), 1, 10, "");
    judge(chained, 1, 5, "goes back from GOP 2 to 1");
    let several = ViewerConfig { one_origin: false, ..ViewerConfig::stamped(NAME) };
    judge(several.clone(), 2, 5, "");
    judge(ViewerConfig { one_origin: true, ..several }, 2, 5, "goes back from GOP 2 to 1");
}

#[test]
fn headers_must_come_again_after_a_repull() {
    repull(15, false, 2).check("no Video sequence header between play 1 and 2");
}

#[test]
fn video_goes_on_with_a_keyframe_after_a_repull() {
    repull(12, true, 2).check("goes on without a keyframe");
}

#[test]
fn an_older_play_may_not_speak_after_a_newer() {
    let mut feed = repull(15, true, 2);
    feed.frames(Track::Video, 1, 19..20);
    feed.check("of life 1 play 1 after life 1 play 2");
}

#[test]
fn who_dials_again_gets_nothing_older_than_it_has_seen() {
    for (play, words) in [(2, ""), (1, "stale Video frame 10 of life 1 play 1")] {
        let mut feed = repull(15, true, 2);
        feed.viewer.on_connected();
        feed.header(Track::Video, 10);
        feed.frames(Track::Video, play, 10..14);
        feed.check(words);
    }
    // Behind a second proxy that may be gone round an older play may be pulled again.
    let mut feed = repull(15, true, 2);
    feed.viewer.config.plays_rise = false;
    feed.viewer.on_connected();
    feed.header(Track::Video, 10);
    feed.frames(Track::Video, 1, 10..14);
    feed.check("");
}

#[test]
fn tracks_that_drift_apart_are_noticed_once() {
    let mut feed = Feed::new();
    feed.header(Track::Video, 0);
    feed.header(Track::Audio, 0);
    for number in 0..40 {
        feed.offset = 0;
        feed.frames(Track::Video, 1, number..number + 1);
        feed.offset = 300;
        feed.frames(Track::Audio, 1, number..number + 1);
    }
    feed.check("audio and video are 300 ms apart");
}

#[test]
fn a_track_that_ended_before_the_clock_jumped_is_no_measure() {
    let judge = |first: u32, words: &str| {
        let mut feed = Feed::new();
        feed.header(Track::Audio, 0);
        feed.frames(Track::Audio, 1, 0..4);
        feed.offset = 200_u32.wrapping_sub(first * 40);
        feed.header(Track::Video, first);
        feed.frames(Track::Video, 1, first..first + 40);
        feed.check(words);
    };
    judge(400, "");
    judge(50, "audio and video are 1800 ms apart");
}

#[test]
fn a_track_of_which_one_frame_has_come_is_no_measure() {
    let judge = |pictures: u32, words: &str| {
        let mut feed = Feed::new();
        feed.header(Track::Audio, 0);
        feed.header(Track::Video, 0);
        // Half a second older than the sound it begins with, and sent no earlier than that.
        feed.offset = 500;
        feed.frames(Track::Video, 1, 0..pictures);
        feed.offset = 0;
        feed.frames(Track::Audio, 1, 13..60);
        feed.check(words);
    };
    judge(1, "");
    judge(3, "audio and video are 500 ms apart");
}

#[test]
fn a_track_that_ended_before_the_other_was_moved_is_no_measure() {
    let judge = |sound: std::ops::Range<u32>, words: &str| {
        let mut feed = Feed::new();
        feed.header(Track::Audio, 0);
        feed.header(Track::Video, 0);
        feed.frames(Track::Audio, 1, 0..10);
        feed.frames(Track::Video, 1, 0..10);
        // A proxy in between has made a pause of it.
        feed.offset = 300;
        feed.header(Track::Video, 10);
        feed.frames(Track::Video, 1, 10..40);
        feed.offset = 0;
        feed.frames(Track::Audio, 1, sound);
        feed.check(words);
    };
    judge(10..10, "");
    judge(10..40, "audio and video are 300 ms apart");
}

#[test]
fn a_track_that_ended_before_the_clock_turned_over_is_in_step() {
    let mut feed = Feed::new();
    feed.header(Track::Audio, 0);
    feed.frames(Track::Audio, 1, 0..4);
    // What SRS counts anew at 2^31 goes on.
    feed.offset = 1 << 31;
    feed.header(Track::Video, 0);
    feed.frames(Track::Video, 1, 0..40);
    feed.check("");
}

#[test]
fn a_keyframe_without_what_goes_with_it_is_noticed_if_there_is_any() {
    let data = |values: &[Amf]| amf0::write_all(values);
    let cues = Amf::Object(vec![(media::CUES.to_owned(), Amf::Bool(true))]);
    let time = 2 * GOP * 40;
    for (has_cues, cue, command, words) in [
        (false, None, false, ""),
        (true, Some((2.0, time)), true, ""),
        (true, None, true, "no cue point with the keyframe of GOP 2"),
        (true, Some((1.0, time)), true, "no cue point with the keyframe of GOP 2"),
        (true, Some((2.0, time)), false, "no video command with the keyframe of GOP 2"),
        (true, Some((2.0, time - 1)), true, "data at 399 behind a frame at 400"),
    ] {
        let mut feed = Feed::new();
        let told = if has_cues { cues.clone() } else { Amf::Object(Vec::new()) };
        feed.viewer.on_tag(kind::DATA, 0, &data(&[Amf::text("onMetaData"), told]), feed.now);
        feed.header(Track::Video, 2 * GOP);
        feed.frames(Track::Video, 1, 2 * GOP..2 * GOP + 1);
        if let Some((gop, time)) = cue {
            let cue = data(&[Amf::text(media::CUE), Amf::Number(gop)]);
            feed.viewer.on_tag(kind::DATA, time, &cue, feed.now);
        }
        if command {
            feed.viewer.on_tag(kind::VIDEO, 0, &[0x57, 1], feed.now);
        }
        feed.frames(Track::Video, 1, 2 * GOP + 1..2 * GOP + 3);
        feed.check(words);
    }
}

#[test]
fn another_play_need_not_have_what_the_last_one_said_goes_with_keyframes() {
    let cues = Amf::Object(vec![(media::CUES.to_owned(), Amf::Bool(true))]);
    let metadata = amf0::write_all(&[Amf::text("onMetaData"), cues]);
    for (says_so, words) in [(false, ""), (true, "no cue point with the keyframe of GOP 4")] {
        let mut feed = Feed::new();
        feed.viewer.on_tag(kind::DATA, 0, &metadata, feed.now);
        feed.header(Track::Video, 2 * GOP);
        feed.frames(Track::Video, 1, 2 * GOP..2 * GOP + 1);
        if says_so {
            feed.viewer.on_tag(kind::DATA, 0, &metadata, feed.now);
        }
        feed.header(Track::Video, 4 * GOP);
        feed.frames(Track::Video, 2, 4 * GOP..4 * GOP + 2);
        feed.check(words);
    }
}

/// Frames of one play whose clock goes so many ms from frame to frame, while the origin's goes 40.
fn paced(steps: &[u32]) -> Feed {
    paced_in(1, steps)
}

fn paced_in(life: u32, steps: &[u32]) -> Feed {
    let mut feed = Feed::new();
    feed.life = life;
    feed.header(Track::Video, 0);
    let mut time = 0;
    for (number, step) in (0..).zip(steps) {
        time += step;
        feed.offset = u32::wrapping_sub(time, number * 40);
        feed.frames(Track::Video, 1, number..number + 1);
    }
    feed
}

#[test]
fn a_clock_that_goes_as_the_origins_is_fine() {
    paced(&[40; 60]).check("");
    paced(&[39, 41, 40, 38, 42].repeat(20)).check("");
}

#[test]
fn a_clock_that_stands_still_for_long_is_noticed() {
    paced(&[&[40; 5][..], &[0; 24], &[40; 5]].concat()).check("");
    paced(&[&[40; 5][..], &[0; 27], &[40; 5]].concat()).check("stand still at 200");
}

#[test]
fn a_clock_that_stands_still_while_the_origins_goes_back_and_on_is_noticed() {
    let check = |lives: u32, words: &str| {
        let mut feed = Feed::new();
        feed.header(Track::Video, 0);
        feed.frames(Track::Video, 1, 0..15);
        for life in 1..=lives {
            (feed.life, feed.offset) = (1 + life, 0);
            feed.header(Track::Video, 14);
            for number in 0..15 {
                // Every frame at the time of the first life's last one.
                feed.offset = u32::wrapping_sub(14 * 40, number * 40);
                feed.frames(Track::Video, 1, number..number + 1);
            }
        }
        feed.check(words);
    };
    check(1, "");
    check(2, "stand still at 560, the origin's have gone 1040 ms meanwhile");
}

#[test]
fn a_clock_that_catches_up_by_standing_need_not_go_whole_steps() {
    paced(&[&[40; 5][..], &[0, 10, 40], &[40; 30]].concat()).check("");
}

#[test]
fn a_clock_that_crawls_or_runs_away_is_noticed() {
    paced(&[20; 13]).check("have gone -220 ms more than the origin's");
    paced(&[60; 12]).check("have gone 220 ms more than the origin's");
    // The first frame of a life may have gone on the clock of the life before, which who joins there has not seen.
    paced_in(2, &[0, 300, 40, 40]).check("");
    paced_in(2, &[0, 40, 300, 40]).check("have gone 260 ms more");
    paced(&[0, 300, 40, 40]).check("have gone 260 ms more");
    // A first frame that is older than its play's beginning stands there, and the next is nearer to it.
    paced(&[0, 5, 5, 40, 40]).check("");
    paced(&[&[40; 5][..], &[2_000], &[40; 3]].concat()).check("have gone 1960 ms more");
}

#[test]
fn a_new_play_begins_where_the_last_one_ended() {
    for (silence, pause, words) in
        [(500, 100, ""), (3_000, 3_000, "leaps from"), (500, 1_200, "leaps from"), (60_000, 3_000, "")]
    {
        let mut feed = Feed::new();
        feed.header(Track::Video, 0);
        feed.frames(Track::Video, 1, 0..12);
        feed.now = Instant::from_millis(silence);
        feed.offset = pause;
        feed.header(Track::Video, 15);
        feed.frames(Track::Video, 2, 15..20);
        feed.check(words);
    }
}

#[test]
fn frames_no_model_sent_are_noticed() {
    let mut feed = Feed::new();
    feed.header(Track::Audio, 0);
    feed.viewer.on_tag(kind::AUDIO, 0, b"\xAF\x01silence", Instant::ZERO);
    feed.check("that no model origin sent");
}

#[test]
fn gaps_are_told_with_their_length() {
    let mut viewer = Viewer::new(ViewerConfig::plain());
    viewer.on_connected();
    for millis in [0, 500, 2500, 2600] {
        viewer.on_tag(
            kind::AUDIO,
            millis,
            &Bytes::from_static(b"\x2Fmp3"),
            Instant::from_millis(millis.into()),
        );
    }
    let gaps: Vec<Duration> = viewer.report().gaps.iter().map(Gap::duration).collect();
    assert_eq!(gaps, [Duration::from_secs(2)]);
    assert_eq!(viewer.report().gap_worst, Duration::from_secs(2));
    assert_eq!(viewer.report().silence(Instant::from_millis(3000)), Duration::from_millis(400));
}

/// Plays tags at their times in milliseconds; returns what was complained of.
fn outage(tags: &[(u64, &'static [u8])]) -> Vec<String> {
    let mut viewer = Viewer::new(ViewerConfig::plain());
    viewer.on_connected();
    for (millis, tag) in tags {
        let kind = if tag[0] & 0xF0 == 0xA0 { kind::AUDIO } else { kind::VIDEO };
        let timestamp = u32::try_from(*millis).expect("a short story").min(5_000);
        viewer.on_tag(kind, timestamp, &Bytes::from_static(tag), Instant::from_millis(*millis));
    }
    viewer.report().violations.clone()
}

#[test]
fn an_outage_must_end_with_headers_and_a_keyframe() {
    const HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1];
    const KEY: &[u8] = &[0x17, 1, 0, 0, 0, 1];
    const INTER: &[u8] = &[0x27, 1, 0, 0, 0, 1];
    const AUDIO_HEADER: &[u8] = &[0xAF, 0, 0x12, 0x10];
    const AUDIO: &[u8] = &[0xAF, 1, 7];
    let begin = [(0, HEADER), (0, KEY), (0, AUDIO_HEADER), (0, AUDIO), (40, INTER)];
    let with = |rest: &[(u64, &'static [u8])]| outage(&[&begin, rest].concat());

    let good = [(9_000, HEADER), (9_001, AUDIO_HEADER), (9_002, AUDIO), (9_003, KEY)];
    assert_eq!(with(&good), [""; 0]);
    assert_eq!(with(&[(3_000, AUDIO), (3_001, INTER)]), [""; 0], "a hiccup is no outage");
    assert!(with(&[(9_000, KEY)])[0].contains("without its sequence header"));
    assert!(with(&[(9_000, HEADER), (9_001, INTER)])[0].contains("without a keyframe"));
    assert!(with(&[(9_000, HEADER), (9_001, KEY), (9_002, AUDIO)])[0].contains("Audio goes on"));
}
