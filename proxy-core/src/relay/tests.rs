//! Stories told in one line, and a random one that knows what every player must see.
//!
//! A story is a list of words: `play`, `interrupt`, `rebuild`, `join`, `read`, `shed`, `+` with the milliseconds that
//! go by, or a frame, which is a letter, a number and perhaps a track (`.1`):
//!
//! | letter | frame | number |
//! |---|---|---|
//! | `M` | metadata | version |
//! | `V` `A` | video, audio sequence header | version |
//! | `C` | video configuration | version |
//! | `O` | Opus sequence header | version |
//! | `k` `i` | keyframe, interframe | timestamp |
//! | `a` `o` | audio, Opus audio | timestamp |
//! | `d` `e` | data in passing, video in passing | timestamp |
//!
//! Players get what they get as `word@time`.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::*;
use crate::wire::{
    chunk::{ChunkDecoder, ChunkLimits},
    message::{Control, Message},
};

const LIMITS: RelayLimits = RelayLimits {
    log_bytes_max: 1 << 20,
    gop_bytes_max: 1 << 18,
    gop_frames_max: 100,
    headers_max: 8,
    chunk_size: 60_000,
    backward_max: Duration::from_secs(1),
    forward_max: Duration::from_secs(10),
};

const RTMP: Format = Format::Rtmp { stream: 1 };

/// A story as far as it is told.
struct Story {
    relay: Relay,
    now: Instant,
    players: Vec<(Cursor, Vec<String>)>,
    /// What each push did.
    pushed: Vec<(String, Pushed)>,
}

fn tell(limits: RelayLimits, words: &str) -> Story {
    let mut story =
        Story { relay: Relay::new(limits), now: Instant::ZERO, players: Vec::new(), pushed: Vec::new() };
    story.go_on(words);
    story
}

/// Returns what each player of a story got.
fn check(words: &str) -> Vec<String> {
    tell(LIMITS, words).read()
}

/// Returns what the one player seated from the beginning of a story got.
fn seated(words: &str) -> String {
    check(&format!("join {words}")).remove(0)
}

/// Returns the epochs a story's frames began, as `word:cause`.
fn epochs(words: &str) -> String {
    let began = |(word, pushed): &(String, Pushed)| Some(format!("{word}:{:?}", pushed.epoch?));
    tell(LIMITS, words).pushed.iter().filter_map(began).collect::<Vec<_>>().join(" ")
}

impl Relay {
    /// Returns the last time out, in milliseconds of the stream's clock.
    fn last_time(&self) -> u64 {
        self.timeline.last()
    }

    /// Tells whether a joiner starts with a keyframe at once.
    fn has_gop(&self) -> bool {
        self.gop.is_some()
    }
}

impl Story {
    fn go_on(&mut self, words: &str) {
        for word in words.split_whitespace() {
            match word {
                "play" => self.relay.begin_play(),
                "interrupt" => self.relay.interrupt(),
                "rebuild" => self.relay.rebuild(),
                "join" => self.players.push((self.relay.join(), Vec::new())),
                "read" => drop(self.read()),
                "shed" => drop(self.players.iter_mut().map(|player| self.relay.shed(&mut player.0)).max()),
                _ if let Some(millis) = word.strip_prefix('+') => {
                    self.now += Duration::from_millis(millis.parse().expect("a number follows"));
                }
                _ => {
                    let pushed = self.relay.push(&frame(word), self.now);
                    self.pushed.push((word.to_string(), pushed));
                }
            }
        }
    }

    fn read(&mut self) -> Vec<String> {
        for (cursor, got) in &mut self.players {
            while let Some(packet) = self.relay.next(cursor, RTMP) {
                got.push(show(&decode(&packet, 128)));
            }
        }
        self.players.iter().map(|player| player.1.join(" ")).collect()
    }
}

fn frame(word: &str) -> Frame {
    let (name, track) = word.split_once('.').unwrap_or((word, "0"));
    let number = name[1..].parse().expect("a word is a letter and a number");
    let (medium, class, codec) = match word.as_bytes()[0] {
        b'M' => (Medium::Data, FrameClass::Metadata, [0; 4]),
        b'd' => (Medium::Data, FrameClass::Passing, [0; 4]),
        b'V' => (Medium::Video, FrameClass::SequenceHeader, *b"avc1"),
        b'C' => (Medium::Video, FrameClass::Configuration, *b"avc1"),
        b'k' => (Medium::Video, FrameClass::Keyframe, *b"avc1"),
        b'i' => (Medium::Video, FrameClass::Interframe, *b"avc1"),
        b'e' => (Medium::Video, FrameClass::Passing, *b"avc1"),
        b'A' => (Medium::Audio, FrameClass::SequenceHeader, *b"mp4a"),
        b'a' => (Medium::Audio, FrameClass::Audio, *b"mp4a"),
        b'O' => (Medium::Audio, FrameClass::SequenceHeader, *b"Opus"),
        b'o' => (Medium::Audio, FrameClass::Audio, *b"Opus"),
        other => panic!("no frame begins with {other}"),
    };
    Frame {
        medium,
        class,
        codec: FourCc(codec),
        track: track.parse().expect("a track is a number"),
        timestamp: number,
        payload: Bytes::copy_from_slice(word.as_bytes()),
    }
}

fn decode(packet: &[u8], chunk_size: u32) -> Message {
    let mut decoder = ChunkDecoder::new(ChunkLimits::ORIGIN);
    let mut control = Vec::new();
    crate::wire::chunk::encode(2, 128, &Control::SetChunkSize(chunk_size).to_message(), &mut control);
    decoder.decode(&control).expect("our own control message");
    let decoded = decoder.decode(packet).expect("our own chunks");
    assert_eq!(decoded.used, packet.len(), "a packet is one message");
    decoded.message.expect("a packet is a whole message")
}

fn show(message: &Message) -> String {
    format!("{}@{}", String::from_utf8_lossy(&message.payload), message.timestamp)
}

#[test]
fn the_first_frame_goes_out_at_zero_wherever_its_origin_began() {
    assert_eq!(seated("M1 V1 A1 k5000 a5010 i5040"), "M1@0 V1@0 A1@0 k5000@0 a5010@10 i5040@40");
}

#[test]
fn the_clock_goes_on_one_frame_after_the_last_time_out_when_a_play_begins() {
    assert_eq!(
        seated("V1 A1 k0 a5 i25 a26 i50 interrupt play V1 A1 k900000 a900010 i900025"),
        "V1@0 A1@0 k0@0 a5@5 i25@25 a26@26 i50@50 V1@75 A1@75 k900000@75 a900010@85 i900025@100"
    );
}

#[test]
fn the_tenth_play_is_like_the_first_but_for_the_clock() {
    let play = "M1 V1 A1 k700 a690 i740 a730 d740 i780 k820 ";
    let got = seated(&format!("{play}play ").repeat(10));
    let got: Vec<(&str, u64)> = got
        .split(' ')
        .map(|packet| packet.split_once('@').expect("a packet has a time"))
        .map(|(word, time)| (word, time.parse().expect("a time is a number")))
        .collect();
    let first: Vec<_> = got[..10].to_vec();
    for (k, play) in got.chunks(10).enumerate() {
        // Metadata goes out at zero; the clock is read off the header behind it.
        let base = play[1].1;
        assert_eq!(base, k as u64 * 160, "play {k}");
        let relative = |&(word, time): &(_, u64)| (word, if word == "M1" { time } else { time - base });
        let play: Vec<_> = play.iter().map(relative).collect();
        assert_eq!(play, first, "play {k}");
    }
}

#[test]
fn a_gap_on_the_wall_is_no_gap_on_the_clock() {
    assert_eq!(seated("k0 i40 interrupt play k3600000"), "k0@0 i40@40 k3600000@80");
}

#[test]
fn one_frame_is_the_distance_of_the_last_two_but_at_most_100_ms() {
    for (words, base) in [("a0 a23", 46), ("k0 i500", 600), ("k0", 40), ("k0 a0 a23 i33", 66), ("k0 i1", 2)] {
        let got = seated(&format!("{words} play k7"));
        assert!(got.ends_with(&format!(" k7@{base}")), "{words}: {got}");
    }
}

#[test]
fn wraps_at_31_and_32_bits_are_continuity() {
    let top = 2_147_483_648_u64;
    for wrap in [top, 2 * top] {
        let words = format!("k{} a{} i10 a20 a{} i50", wrap - 30, wrap - 20, wrap - 5);
        assert_eq!(epochs(&words), format!("k{}:Play", wrap - 30));
        let got = seated(&words);
        assert!(got.ends_with(&format!("i10@40 a20@50 a{}@50 i50@80", wrap - 5)), "{got}");
    }
}

#[test]
fn the_clock_of_the_stream_itself_wraps_at_32_bits() {
    let mut story = tell(RelayLimits { forward_max: Duration::from_secs(1 << 22), ..LIMITS }, "join k0");
    for step in 1..=5_u64 {
        story.go_on(&format!("k{}", (step * 1_000_000_000) & 0xFFFF_FFFF));
    }
    assert_eq!(story.relay.last_time(), 5_000_000_000);
    let got = story.read().remove(0);
    assert!(got.ends_with(&format!("@{}", 5_000_000_000_u64 - (1 << 32))), "{got}");
}

#[test]
fn a_small_step_back_is_sent_at_the_tracks_last_time() {
    assert_eq!(
        seated("k1000 a1000 i1040 i1020 a1010 i1080"),
        "k1000@0 a1000@0 i1040@40 i1020@40 a1010@10 i1080@80"
    );
}

#[test]
fn steps_back_that_are_none_by_themselves_are_a_jump_together() {
    // A publisher begins anew every second, and the clock would stand for ever.
    let words = "k0 a0 i500 a500 k1000 a1000 k0 a0 i500 a500 k1000 a1000 k0 a0 i500 a500";
    assert_eq!(epochs(words), "k0:Play k0:JumpBack");
    assert_eq!(
        seated(words),
        "k0@0 a0@0 i500@500 a500@500 k1000@1000 a1000@1000 k0@1000 a0@1000 i500@1000 a500@1000 k1000@1000 a1000@1000 \
         k0@1100 a0@1100 i500@1600 a500@1600"
    );
    // Sound goes back by as much as is no jump, and its picture, silent meanwhile, with the next life's sound.
    let words = "V1 k0 a0 k2000 a2000 a1000 V1 k0 a0 i500 a500";
    assert_eq!(epochs(words), "V1:Play k0:JumpBack");
    assert_eq!(
        seated(words),
        "V1@0 k0@0 a0@0 k2000@2000 a2000@2000 a1000@2000 V1@2100 k0@2100 a0@2100 i500@2600 a500@2600"
    );
    // Frames out of order are no steps back, and a clock that waits keeps its picture.
    let words = "V1 A1 k0 a0 i500 a500 i900 a900 k0 a0 i120 i40 i80 i240 i160 i200";
    assert_eq!(epochs(words), "V1:Play");
    assert!(seated(words).ends_with("i240@900 i160@900 i200@900"), "{}", seated(words));
    // Nor is a header that comes again with each keyframe a reason to leave the clock a track has gone on with.
    assert_eq!(
        seated("V1 A1 k100000 a100000 i100500 a100500 a97000 i101000 a97500 V1 k101500 a98000"),
        "V1@0 A1@0 k100000@0 a100000@0 i100500@500 a100500@500 A1@600 a97000@600 V1@1000 i101000@1000 a97500@1100 \
         k101500@1500 a98000@1600"
    );
    // Small ones that the clock recovers from are none.
    let words = "k0 i900 i400 i1000 i500 i1100 i600 i1200 i700 i1300";
    assert_eq!(epochs(words), "k0:Play");
}

#[test]
fn a_jump_of_both_tracks_is_one_epoch() {
    let back = "V1 A1 k90000 a90000 a90020 V1 A1 k0 a90040 a90060 a10 i40";
    assert_eq!(epochs(back), "V1:Play k0:JumpBack");
    assert_eq!(
        seated(back),
        "V1@0 A1@0 k90000@0 a90000@0 a90020@20 V1@40 k0@40 A1@40 a90040@40 a90060@60 a10@60 i40@80"
    );
    assert_eq!(epochs("k0 a0 k20000 a20010 a20030 i20040"), "k0:Play k20000:JumpForward");
}

#[test]
fn a_track_that_pauses_begins_no_epoch_while_the_other_goes_on() {
    assert_eq!(epochs("k0 a0 a9000 a18000 k18010 a27000 i27001"), "k0:Play");
    assert_eq!(seated("k0 a0 a9000 a18000 k18010"), "k0@0 a0@0 a9000@9000 a18000@18000 k18010@18010");
}

#[test]
fn tracks_on_clocks_far_apart_settle_after_one_epoch() {
    assert_eq!(epochs("a0 k3600000 a20 i3600040 a40 i3600080 a60"), "a0:Play k3600000:JumpForward");
    assert_eq!(
        seated("a0 k3600000 a20 i3600040 a40 i3600080"),
        "a0@0 k3600000@40 a20@40 i3600040@80 a40@40 i3600080@120"
    );
}

#[test]
fn a_step_back_that_is_no_jump_goes_with_the_others_jump() {
    // The sound's step is the shorter one, and comes second; then the picture's, and comes first.
    assert_eq!(
        seated("k0 a0 a900 i1200 k0 a10 i40"),
        "k0@0 a0@0 a900@900 i1200@1200 k0@1300 a10@1310 i40@1340"
    );
    assert_eq!(
        seated("k0 a0 k1000 a1000 a1091 k0 a0 a23 i200"),
        "k0@0 a0@0 k1000@1000 a1000@1000 a1091@1091 k0@1000 a0@1191 a23@1214 i200@1391"
    );
    // Nor does it stay behind if its next frame comes when its old clock would have caught up.
    assert_eq!(
        seated("k0 a0 k1000 a1000 a1091 k0 a0 +1000 k1000 a1023 i1200"),
        "k0@0 a0@0 k1000@1000 a1000@1000 a1091@1091 k0@1000 a0@1191 k1000@2191 a1023@2214 i1200@2391"
    );
    // Sound of before that had hardly gone back stays before.
    assert_eq!(
        seated("k0 a0 a90000 k90000 a90040 a90020 k0 a90060 a10 i40"),
        "k0@0 a0@0 a90000@40 k90000@40 a90040@80 a90020@80 k0@120 a90060@120 a10@130 i40@160"
    );
    // So does sound on its way that had gone back, and its clock would have to be ahead of time.
    let words = "k0 a0 k4000 a4000 a3800 a3900 k0 a4000 a0 i40";
    assert_eq!(epochs(words), "k0:Play k0:JumpBack");
    assert_eq!(
        seated(words),
        "k0@0 a0@0 k4000@4000 a4000@4000 a3800@4000 a3900@4000 k0@4100 a4000@4100 a0@4100 i40@4140"
    );
    let words = "k0 a0 i500 a500 k1000 a1000 k0 a0 i500 a500 k1000 k0 a1000 a0 i500 a500";
    assert_eq!(
        seated(words),
        "k0@0 a0@0 i500@500 a500@500 k1000@1000 a1000@1000 k0@1000 a0@1000 i500@1000 a500@1000 k1000@1000 k0@1100 \
         a1000@1100 a0@1100 i500@1600 a500@1600"
    );
}

#[test]
fn sound_announced_again_goes_with_the_picture_however_late_its_first_frame_comes() {
    // A publisher begins anew, and its first two seconds of sound are lost: what comes then could be old sound.
    assert_eq!(
        seated("V1 A1 k0 a0 k1000 a1000 V2 A1 k0 i1000 a1904 i2000"),
        "V1@0 A1@0 k0@0 a0@0 k1000@1000 a1000@1000 V2@1100 A1@1100 k0@1100 i1000@2100 a1904@3004 i2000@3100"
    );
}

#[test]
fn a_picture_that_nobody_has_seen_yet_goes_with_the_sound_that_begins_anew() {
    // It begins in the middle of a GOP both times, and the second time where it was: its clock would run on.
    assert_eq!(
        seated("V1 A1 i200 a500 i400 a1000 i1400 a1500 i1600 V1 A1 a0 a500 a1000 i1600 k1800 a1500"),
        "V1@0 A1@0 a500@0 a1000@500 a1500@1000 A1@1100 a0@1100 a500@1600 a1000@2100 V1@2900 k1800@2900 a1500@2600"
    );
}

#[test]
fn a_track_that_is_new_and_far_behind_holds_nobody_back() {
    // A publisher begins anew with sound it did not have, and that comes first.
    let words = "V1 k0 i4000 i8000 A1 a0 a20 k40 a60 i80";
    assert_eq!(epochs(words), "V1:Play k40:JumpBack");
    assert_eq!(
        seated(words),
        "V1@0 k0@0 i4000@4000 i8000@8000 A1@8000 a0@8000 a20@8000 V1@8100 k40@8100 A1@8120 a60@8120 i80@8140"
    );
    // An origin kept a GOP of the one track, and the other comes live.
    let words = "a8000 k2000 i2040 a8020 i5000 i7900 a8040 i8040 i8080";
    assert_eq!(epochs(words), "a8000:Play");
    assert_eq!(seated(words), "a8000@0 k2000@0 i2040@0 a8020@20 i5000@0 i7900@0 a8040@40 i8040@40 i8080@80");
}

#[test]
fn a_track_far_behind_that_comes_no_faster_than_time_goes_begins_an_epoch() {
    // A publisher begins anew and leaves out the sound it had: nothing but the picture is there to tell.
    let words = "A1 a8000 V1 k0 +200 i200 +250 i400 +150 i600 +200 i800 +200 i1000 +200 i1200";
    assert_eq!(epochs(words), "A1:Play i1000:JumpBack");
    assert_eq!(seated(words), "A1@0 a8000@0 V1@0 k0@0 i200@0 i400@0 i600@0 i800@0 V1@40 i1000@40 i1200@240");
    for words in [
        // In the middle of a group of pictures, over a clock that turns over, and written together by threes.
        "A1 a8000 V1 i200 +300 i500 +300 i800 +300 i1100 +300 i1400 +300 k1700",
        "a8000 k4294967000 +400 i104 +400 i504 +400 i904",
        "a8000 k0 i100 i200 +350 i300 i400 i500 +350 i600 i700 i800 +350 i900 i1000 i1100",
        // Two at once.
        "a8000 k0 k50.1 +400 i400 i450.1 +400 i800 i850.1 +400 i1200 i1250.1",
    ] {
        assert!(epochs(words).ends_with(":JumpBack"), "{words}: {}", epochs(words));
    }
}

#[test]
fn what_an_origin_kept_of_a_track_begins_no_epoch_however_it_comes() {
    for words in [
        // With pauses within it, over a line that is not much faster than the stream, beside sound that is sparse.
        "a8000 k2000 +3000 i3000 i4000 +3000 i5000 i6000 i7000 i8000",
        "a8000 k2000 +400 i2200 i2400 +400 i2600 +1 i2800 +1 i3000",
        "a8000 k2000 +400 i2200 +25 i2400 +25 i2600 +25 i2800 +25 i3000",
        "a8000 k2000 +400 i3000 +400 i4000 +400 i5000 +400 i6000 +400 i7000",
        "a8000 k2000 +300 i2300 +300 a8600 i2600 +300 i2900 +300 a9200 i3200 +300 i3500",
        // It lags behind for good, but does not stand: sound may pause.
        "a8000 k5000 a16000 i13000 +500 i13500 +500 i14000 +500 i14500 +500 i14900",
    ] {
        assert_eq!(epochs(words), "a8000:Play", "{words}");
    }
}

#[test]
fn sound_that_was_not_gone_goes_with_the_picture_that_was_taken_to_be_live() {
    // It goes ahead of the picture as its origin had it.
    assert_eq!(
        seated("a8000 k0 +400 i400 +400 i800 +400 i1200 +20 a9200 i1220 a9220"),
        "a8000@0 k0@0 i400@0 i800@0 i1200@40 a9200@8040 i1220@60 a9220@8060"
    );
    // A publisher's that begins anew later goes with it too.
    assert_eq!(
        seated("a8000 k0 +400 i400 +400 i800 +400 i1200 +20 i1220 a1225"),
        "a8000@0 k0@0 i400@0 i800@0 i1200@40 i1220@60 a1225@65"
    );
}

#[test]
fn what_is_left_out_before_an_epoch_has_begun_does_not_pull_the_tracks_apart() {
    // An origin begins in the middle of a GOP, and then says nothing for a while.
    assert_eq!(
        seated("V1 A1 i200 a1500 a2000 k2000 a2500 i2200"),
        "V1@0 A1@0 a1500@0 a2000@500 k2000@500 a2500@1000 i2200@700"
    );
}

#[test]
fn a_picture_that_begins_anew_where_a_clock_turns_over_goes_with_the_sound() {
    // Its first timestamp follows its last one over SRS's turn; sound that has come further jumps back.
    let words = "k2147479552 a2147479552 k2147482052 a2147484552 k0 a0 i500 a500 k1000";
    assert_eq!(epochs(words), "k2147479552:Play a0:JumpBack");
    assert_eq!(
        seated(words),
        "k2147479552@0 a2147479552@0 k2147482052@2500 a2147484552@5000 k0@4096 a0@5100 i500@5600 a500@5600 k1000@6100"
    );
}

#[test]
fn a_beginning_far_behind_the_others_is_one() {
    // Sound that ended long ago comes again with its headers, by no more than a step back from where it was.
    let words = "V1 A1 k0 a0 k900 a900 +3100 i4000 +4000 i8000 A1 a100 a150 k120 k1120 a1100";
    assert_eq!(
        seated(words),
        "V1@0 A1@0 k0@0 a0@0 k900@900 a900@900 i4000@4000 i8000@8000 A1@8100 a100@8100 a150@8150 V1@8120 k120@8120 k1120@9120 a1100@9100"
    );
    // Without headers it is not told from sound that was held back.
    let words = "k0 a0 k900 a900 +3100 i4000 +4000 i8000 a100 a150";
    assert_eq!(seated(words), "k0@0 a0@0 k900@900 a900@900 i4000@4000 i8000@8000 a100@900 a150@900");
    // A picture that always comes a second behind its sound, with its headers each time, begins nothing.
    let words = "V1 A1 k0 a0 +1000 a1000 +1200 a2000 a2100 a2200 V1 k1000 a2300 +900 a3200 V1 k2000 a3300";
    assert_eq!(epochs(words), "V1:Play");
    // What goes on where it was is late, whatever headers come with it.
    let words = "A1 k0 a0 k900 a900 +3100 i4000 +4000 i8000 A1 a1000";
    assert!(!epochs(words).contains("a1000"), "{}", epochs(words));
}

#[test]
fn a_track_that_is_live_is_so_where_it_has_come_near_as_well() {
    let words = "V1 k0 i3104 +10 A1 a1000 +517 a1517 +517 a2034 +517 a2551 +517 a3068";
    assert_eq!(epochs(words), "V1:Play a2551:JumpBack");
}

#[test]
fn a_track_that_does_not_go_on_goes_with_the_others_jump() {
    // Its old clock would do as well, a second away.
    let words = "k0 a0 k200 +3000 a3000 +200 k980 a1980 a2020 +200 a3180 i3200";
    assert_eq!(
        seated(words),
        "k0@0 a0@0 k200@200 a3000@3000 k980@980 a1980@3100 a2020@3140 a3180@4300 i3200@4320"
    );
    // What is left of an old clock is further than the new one can have come.
    let words = "k0 a0 k5000 a5000 k200 i300 a6500 a220";
    assert_eq!(seated(words), "k0@0 a0@0 k5000@5000 a5000@5000 k200@5100 i300@5200 a6500@6500 a220@6500");
}

#[test]
fn of_an_epoch_that_has_sent_nothing_everybody_is_at_the_beginning() {
    let words = "k0 a0 k900 a900 i20000 a2200 k2300 i2400 a2400";
    assert_eq!(seated(words), "k0@0 a0@0 k900@900 a900@900 a2200@1000 k2300@1100 i2400@1200 a2400@1200");
    // Sound that goes on does so while its picture is left out.
    let words = "k0 a0 k900 a900 i20000 a923 a946";
    assert_eq!(seated(words), "k0@0 a0@0 k900@900 a900@900 a923@1000 a946@1000");
}

#[test]
fn a_glitch_of_one_timestamp_leaves_the_tracks_in_step() {
    let words = "k0 a0 i40 a40 a9999999 a80 i80 a120 i120";
    assert_eq!(epochs(words), "k0:Play a9999999:JumpForward a80:JumpBack");
    assert_eq!(seated(words), "k0@0 a0@0 i40@40 a40@40 a9999999@80 a80@120 i80@120 a120@160 i120@160");
}

#[test]
fn a_jump_at_an_interframe_holds_video_until_a_keyframe() {
    let words = "V1 k90000 a90000 i90040 i0 a10 i40 k80 i120";
    assert_eq!(epochs(words), "V1:Play i0:JumpBack");
    assert_eq!(seated(words), "V1@0 k90000@0 a90000@0 i90040@40 a10@80 V1@150 k80@150 i120@190");
    // The other track may jump first.
    assert_eq!(seated("k90000 a90000 a10 i40 k80 i120"), "k90000@0 a90000@0 a10@40 k80@110 i120@150");
}

#[test]
fn an_epoch_sends_every_header_again_before_the_frames_that_need_it() {
    assert_eq!(
        seated("M1 V1 A1 k0 a0 k90000 a90000 i90040"),
        "M1@0 V1@0 A1@0 k0@0 a0@0 M1@0 V1@40 k90000@40 A1@40 a90000@40 i90040@80"
    );
}

#[test]
fn a_header_repeated_is_not_sent_again() {
    let story = tell(LIMITS, "V1 k0 V1 M1 i40 M1 k80");
    let logged: Vec<_> = story.pushed.iter().map(|(_, pushed)| pushed.logged).collect();
    assert_eq!(logged, [true, true, false, true, true, false, true]);
    assert_eq!(seated("V1 k0 V1 M1 i40 M1 k80"), "V1@0 k0@0 M1@0 i40@40 k80@80");
}

#[test]
fn a_changed_video_header_begins_an_epoch_and_video_waits_for_a_keyframe() {
    let words = "M1 V1 A1 k0 a0 i40 V2 i80 a80 k120 a120 i160";
    assert_eq!(epochs(words), "M1:Play V2:HeaderChanged");
    assert_eq!(
        seated(words),
        "M1@0 V1@0 A1@0 k0@0 a0@0 i40@40 M1@0 V2@80 A1@80 a80@80 k120@120 a120@120 i160@160"
    );
}

#[test]
fn a_changed_audio_header_begins_an_epoch_and_video_goes_on() {
    let words = "V1 A1 k0 a0 i40 A2 i80 a80";
    assert_eq!(epochs(words), "V1:Play A2:HeaderChanged");
    assert_eq!(seated(words), "V1@0 A1@0 k0@0 a0@0 i40@40 A2@80 V1@80 i80@80 a80@80");
}

#[test]
fn a_header_that_comes_late_makes_video_wait_for_a_keyframe() {
    let mut story = tell(LIMITS, "join k0 i40 V1 i80 join k120");
    assert_eq!(story.read(), ["k0@0 i40@40 V1@40 k120@120", "V1@40 k120@120"]);
}

#[test]
fn a_changed_configuration_is_sent_and_begins_no_epoch() {
    let words = "V1 C1 k0 C2 i40 C2 V2 k80";
    assert_eq!(epochs(words), "V1:Play V2:HeaderChanged");
    // It belongs to the header before it.
    assert_eq!(seated(words), "V1@0 C1@0 k0@0 C2@0 i40@40 V2@80 k80@80");
    assert_eq!(seated("V1 C1 k0 k90000"), "V1@0 C1@0 k0@0 V1@40 C1@40 k90000@40");
}

#[test]
fn after_a_play_audio_resumes_at_once_and_video_at_a_keyframe() {
    assert_eq!(
        seated("V1 A1 k0 a0 i40 interrupt play V1 A1 i500 a500 i540 k580 a580"),
        "V1@0 A1@0 k0@0 a0@0 i40@40 V1@80 A1@80 a500@80 k580@160 a580@160"
    );
    // A play may begin in the middle of a GOP too.
    assert_eq!(seated("i0 a0 i40 k80"), "a0@0 k80@80");
}

#[test]
fn an_interruption_without_a_play_holds_video_too() {
    assert_eq!(seated("V1 A1 k0 i40 interrupt i80 a80 k120"), "V1@0 A1@0 k0@0 i40@40 a80@80 k120@120");
}

#[test]
fn the_last_lifes_header_serves_a_track_that_has_none_of_its_own() {
    assert_eq!(
        seated("M1 V1 A1 k0 a0 interrupt play A2 k500 a500"),
        "M1@0 V1@0 A1@0 k0@0 a0@0 A2@40 V1@40 k500@40 a500@40"
    );
    // Through a play that brought nothing, too.
    assert_eq!(seated("V1 k0 play M2 play k500"), "V1@0 k0@0 M2@0 V1@40 k500@40");
    // Another codec has no use for it, a rebuilt context does not know it.
    assert_eq!(seated("A1 a0 play o500"), "A1@0 a0@0 o500@40");
    assert_eq!(seated("V1 k0 rebuild play k500"), "V1@0 k0@0 k500@40");
    // Nor does it outlive the life after its own.
    assert_eq!(seated("A1 V1 a0 play k0 play a500"), "A1@0 V1@0 a0@0 V1@40 k0@40 a500@80");
}

#[test]
fn a_silence_that_an_epoch_closes_is_closed_for_both_tracks() {
    // Picture and sound were silent for two seconds; other sound begins an epoch where they were, and the picture that goes on
    // with it stays beside it.
    let words = "V1 A1 k0 a0 i40 a40 +2000 O1 o2040 k2040 i2080 o2063";
    let from = "V1@0 A1@0 k0@0 a0@0 i40@40 a40@40 O1@80 o2040@80 V1@80 k2040@80 i2080@120 o2063@103";
    assert_eq!(seated(words), from);
    // A clock of sound that alone has gone back takes no picture with it.
    let words = "V1 A1 k5000 a5000 i5040 a5020 +40 O1 o0 i5080 o23";
    let from = "V1@0 A1@0 k5000@0 a5000@0 i5040@40 a5020@20 O1@80 o0@80 V1@80 i5080@80 o23@103";
    assert_eq!(seated(words), from);
}

#[test]
fn a_track_that_changes_its_codec_leaves_its_headers() {
    assert_eq!(check("A1 a0 o20 k40 join").remove(0), "k40@40");
    assert_eq!(epochs("A1 a0 O1 o20"), "A1:Play O1:HeaderChanged");
}

#[test]
fn a_joiner_gets_metadata_then_headers_then_the_gop_from_its_keyframe() {
    assert_eq!(
        check("M1 V1 A1 k0 a0 k40 a45 i80 join M2 i120"),
        ["M1@0 A1@0 V1@40 k40@40 a45@45 i80@80 M2@0 i120@120"]
    );
}

#[test]
fn metadata_goes_out_at_zero_to_those_who_sit_and_to_those_who_join() {
    assert_eq!(
        check("M1 V1 k0 join k5000 M2 k10000 join k15000"),
        [
            "M1@0 V1@0 k0@0 k5000@5000 M2@0 k10000@10000 k15000@15000",
            "M2@0 V1@10000 k10000@10000 k15000@15000"
        ]
    );
}

#[test]
fn a_joiner_gets_headers_as_of_the_start_of_the_gop() {
    assert_eq!(check("M1 V1 C1 k0 C2 M2 i40 join"), ["M1@0 V1@0 C1@0 k0@0 C2@0 M2@0 i40@40"]);
}

#[test]
fn a_joiner_without_a_gop_starts_live_with_headers_and_waits_for_a_keyframe() {
    assert_eq!(check("M1 A1 a0 a20 join a40"), ["M1@0 A1@20 a40@40"]);
    assert_eq!(
        check("M1 V1 A1 k0 a0 interrupt join a20 i40 k60 i80"),
        ["M1@0 A1@0 V1@0 a20@20 k60@60 i80@80"]
    );
}

#[test]
fn headers_wait_for_a_frame_behind_them() {
    assert_eq!(check("M1 V1 A1 a0 join"), [""]);
}

#[test]
fn a_joiner_in_an_outage_gets_nothing_of_the_life_before() {
    for outage in ["interrupt join play", "interrupt play join", "play join", "interrupt join rebuild play"] {
        assert_eq!(
            check(&format!("M1 V1 A1 k0 a0 i40 {outage} A2 a7 i8 V2 k9")),
            ["A2@80 a7@80 V2@80 k9@82"],
            "{outage}"
        );
    }
}

#[test]
fn a_joiner_after_a_jump_gets_nothing_of_the_epoch_before() {
    assert_eq!(check("V1 A1 k90000 a90000 i0 join a10 k40"), ["A1@40 a10@40 V1@70 k40@70"]);
    assert_eq!(check("V1 A1 k0 a0 A2 join i40 a40 k80"), ["A2@40 V1@40 a40@40 k80@80"]);
}

#[test]
fn a_seated_player_reads_on_through_everything() {
    let words = "M1 V1 A1 k0 a0 i40 interrupt play M1 V1 A1 k0 a0 i40 V2 k80 a80";
    assert_eq!(check(&format!("join {words}")), check(&format!("join {}", words.replace(' ', " read "))));
}

#[test]
fn interframes_of_another_track_wait_for_their_own_keyframe() {
    let got = check("V1 V1.1 k0 k0.1 k40 i40.1 join i80 i80.1 k120.1 i160.1");
    assert_eq!(got, ["V1.1@0 V1@40 k40@40 i80@80 k120.1@120 i160.1@160"]);
}

#[test]
fn the_gop_follows_video_track_0_or_the_first_seen() {
    assert_eq!(check("k0.1 k40.2 join").remove(0), "k0.1@0 k40.2@40");
    assert_eq!(check("k0.1 k40 k80.1 join").remove(0), "k40@40 k80.1@80");
}

#[test]
fn what_passes_is_sent_live_and_never_to_a_joiner_before_its_keyframe() {
    assert_eq!(seated("d0 e0 k0 e0 d0 a40 e40"), "d0@0 k0@0 e0@0 d0@0 a40@40 e40@0");
    assert_eq!(check("k0 e0 interrupt join e40 d40 k80 e80"), ["d40@0 k80@80 e80@80"]);
}

#[test]
fn shedding_moves_to_the_latest_keyframe_and_sends_changed_headers_first() {
    assert_eq!(check("M1 V1 k0 join read i40 k80 i120 shed"), ["M1@0 V1@0 k0@0 k80@80 i120@120"]);
    assert_eq!(check("M1 V1 k0 join read i40 M2 k80 shed"), ["M1@0 V1@0 k0@0 M2@0 k80@80"]);
    // A joiner that has read nothing still gets all of them.
    assert_eq!(check("M1 V1 k0 join i40 M2 k80 shed"), ["M2@0 V1@80 k80@80"]);
}

/// It has got metadata and a sequence header before one keyframe when it is too slow for that as well.
#[test]
fn shedding_again_sends_no_header_twice() {
    let mut story = tell(LIMITS, "M1 V1 k0 join read i40 play M2 V2 k80 shed");
    let read = |story: &mut Story| {
        let (cursor, _) = &mut story.players[0];
        show(&decode(&story.relay.next(cursor, RTMP).expect("something is due"), 128))
    };
    assert_eq!([read(&mut story), read(&mut story)], ["M2@0", "V2@80"]);
    story.go_on("i120 k160 shed");
    assert_eq!(read(&mut story), "k160@160");
}

#[test]
fn shedding_never_goes_back_to_a_keyframe_already_sent() {
    let stays = "V1@0 k0@0 a0@0 i40@40 a40@40 a80@80 i80@80 k120@120";
    assert_eq!(check("V1 k0 a0 join read i40 a40 shed a80 i80 k120"), [stays]);
    assert_eq!(check("V1 k0 join read shed i40"), ["V1@0 k0@0 i40@40"]);
    // Where the group is not kept, the next keyframe is waited for.
    let few = RelayLimits { gop_frames_max: 2, ..LIMITS };
    let mut story = tell(few, "V1 k0 a0 join read i40 a40 shed a80 i80 k120");
    assert_eq!(story.read(), ["V1@0 k0@0 a0@0 a80@80 k120@120"]);
}

#[test]
fn a_keyframe_that_is_next_is_no_backlog() {
    for (gop_bytes_max, is_kept) in [(LIMITS.gop_bytes_max, true), (20, false)] {
        let limits = RelayLimits { gop_bytes_max, ..LIMITS };
        let mut story = tell(limits, "V1 k0 join read k40 i80");
        assert_eq!(story.relay.backlog(&story.players[0].0), 12 + "i80".len());
        story.go_on("shed");
        let stays = story.players[0].0.position() < story.relay.end();
        assert_eq!(stays, is_kept, "where it is not kept there is nothing to stay for");
    }
}

#[test]
fn shedding_that_leaves_out_no_frame_leaves_video_alone() {
    assert_eq!(check("V1 C1 k0 join read C2 shed i40"), ["V1@0 C1@0 k0@0 C2@0 i40@40"]);
}

#[test]
fn a_play_keeps_the_headers_of_the_life_before_and_nothing_else() {
    let mut story = tell(LIMITS, "M1 V1 C1 A1 k0 a0 play");
    let end = story.relay.end();
    story.relay.trim(end);
    assert_eq!(story.relay.bytes(), "V1C1A1".len());
    story.relay.rebuild();
    assert_eq!(story.relay.bytes(), 0);
}

#[test]
fn shedding_tells_the_frames_left_out_and_the_backlog_shrinks() {
    let mut story = tell(LIMITS, "V1 k0 join read V1 i40 a40 d40 C1 k80 i120");
    let before = story.relay.backlog(&story.players[0].0);
    assert_eq!(story.relay.shed(&mut story.players[0].0), 3);
    let after = story.relay.backlog(&story.players[0].0);
    let gone = ["i40", "a40", "d40", "C1", "k80"];
    assert_eq!(before - after, gone.iter().map(|word| 12 + word.len()).sum::<usize>());
    // Nothing newer is there to begin with.
    assert_eq!(
        (story.relay.shed(&mut story.players[0].0), story.relay.backlog(&story.players[0].0)),
        (0, after)
    );
}

#[test]
fn a_cursor_whose_place_is_gone_is_shed_by_itself_and_told() {
    let mut story = tell(LIMITS, "V1 k0 join read i40 i80 V2 k120 a120 i160");
    let end = story.relay.end();
    story.relay.trim(end);
    assert_eq!(story.read(), ["V1@0 k0@0 V2@120 k120@120 a120@120 i160@160"]);
    assert_eq!(story.players[0].0.take_shed(), 2);
    assert_eq!(story.players[0].0.take_shed(), 0);
}

#[test]
fn without_players_the_log_is_the_gop() {
    let mut relay = Relay::new(LIMITS);
    for time in 0..10_000 {
        let letter = if time % 50 == 0 { 'k' } else { 'i' };
        relay.push(&frame(&format!("{letter}{}", time * 40)), Instant::ZERO);
        relay.trim(relay.end());
        assert!(relay.bytes() <= 50 * (log::ENTRY_COST + 20), "{} bytes at frame {time}", relay.bytes());
    }
    assert_eq!(relay.end(), 10_000);
}

#[test]
fn trim_keeps_what_the_slowest_player_has_not_read() {
    let mut story = tell(LIMITS, "V1 k0 join i40 k80 i120 join");
    let oldest = story.players.iter().map(|player| player.0.position()).min();
    story.relay.trim(oldest.expect("two players joined"));
    assert_eq!(story.read(), ["V1@0 k0@0 i40@40 k80@80 i120@120", "V1@80 k80@80 i120@120"]);
    let end = story.relay.end();
    story.relay.trim(end + 7);
    assert!(story.relay.has_gop(), "trim leaves the GOP alone");
}

#[test]
fn a_gop_with_too_many_frames_or_bytes_is_given_up_until_the_next_keyframe() {
    for limits in [RelayLimits { gop_frames_max: 3, ..LIMITS }, RelayLimits { gop_bytes_max: 45, ..LIMITS }] {
        let mut story = tell(limits, "k0 i1 i2");
        assert!(story.relay.has_gop());
        story.go_on("i3 join i4 k5 join");
        assert_eq!(story.read(), ["k5@5", "k5@5"]);
    }
}

#[test]
fn the_log_never_exceeds_its_bound_whatever_players_do() {
    let limits = RelayLimits { log_bytes_max: 10 * log::ENTRY_COST, ..LIMITS };
    let mut story = tell(limits, "V1 k0 join");
    for time in 1..1000 {
        story.go_on(&format!("i{time}"));
        assert!(story.relay.bytes() <= 10 * log::ENTRY_COST + 2);
    }
    assert!(!story.relay.has_gop(), "its keyframe is gone");
    story.go_on("k1000 i1001");
    assert_eq!(story.read(), ["V1@1000 k1000@1000 i1001@1001"]);
    assert_eq!(story.players[0].0.take_shed(), 1000);
    // FLV encodings count too.
    let mut cursor = story.relay.join();
    let before = story.relay.bytes();
    while story.relay.next(&mut cursor, Format::Flv).is_some() {}
    assert!(story.relay.bytes() <= 10 * log::ENTRY_COST + 2);
    assert!(story.relay.bytes() != before);
}

#[test]
fn headers_beyond_their_bounds_are_sent_but_not_kept() {
    let mut story =
        tell(RelayLimits { headers_max: 2, ..LIMITS }, "join V1 V1.1 V1.2 k0 k0.1 k0.2 V1.2 k40 join");
    assert_eq!(story.read(), ["V1@0 V1.1@0 V1.2@0 k0@0 k0.1@0 k0.2@0 V1.2@0 k40@40", "V1.1@0 V1@40 k40@40"]);
    // Those of the life before make room.
    story.go_on("play A1 V1 k0 a0 join");
    assert_eq!(story.read()[2], "A1@80 V1@80 k0@80 a0@80");

    let mut long = frame("M1");
    long.payload = vec![b'M'; headers::HEADER_BYTES_MAX + 1].into();
    let mut relay = Relay::new(LIMITS);
    assert!(relay.push(&long, Instant::ZERO).logged);
    assert!(relay.push(&long, Instant::ZERO).logged, "what is not kept cannot be known to be repeated");
    relay.trim(relay.end());
    assert_eq!(relay.bytes(), 0);
}

#[test]
fn lists_tell_the_tracks_of_this_play_and_the_frames_of_this_epoch() {
    let list = |words: &str| -> String {
        let story = tell(LIMITS, words);
        let show = |view: TrackView| {
            format!("{:?} {:?} {} {}/{}", view.medium, view.codec, view.track, view.keyframes, view.frames)
        };
        story.relay.tracks().map(show).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(list("M1 V1 A1 k0 a0 i40 k80"), "Audio mp4a 0 0/1, Video avc1 0 2/3");
    assert_eq!(list("V1 i0 k40.1"), "Video avc1 0 0/0, Video avc1 1 1/1");
    assert_eq!(list("V1 A1 k0 a0 i40 k90000"), "Audio mp4a 0 0/0, Video avc1 0 1/1");
    assert_eq!(list("V1 A1 k0 a0 play"), "");
    assert_eq!(list("V1 A1 k0 a0 play M1 o0"), "Audio Opus 0 0/1");
}

#[test]
fn the_epoch_counts_from_1_and_nothing_counts_before_the_first_frame() {
    let relay = Relay::new(LIMITS);
    assert_eq!(
        (relay.epoch(), relay.end(), relay.bytes(), relay.last_time(), relay.has_gop()),
        (0, 0, 0, 0, false)
    );
    assert_eq!(tell(LIMITS, "k0").relay.epoch(), 1);
    assert_eq!(tell(LIMITS, "k0 play play").relay.epoch(), 1);
    assert_eq!(tell(LIMITS, "k0 play V1 V2 k0 k90000").relay.epoch(), 4);
}

#[test]
fn a_frame_is_encoded_once_and_shared() {
    let mut relay = Relay::new(LIMITS);
    relay.push(&frame("k0"), Instant::ZERO);
    for format in [RTMP, Format::Flv] {
        let (mut one, mut two) = (relay.join(), relay.join());
        let one = relay.next(&mut one, format).expect("a GOP");
        let two = relay.next(&mut two, format).expect("a GOP");
        assert_eq!(one.as_ptr(), two.as_ptr(), "{format:?}");
    }
}

#[test]
fn chunks_are_of_type_0_on_the_mediums_chunk_stream_and_the_players_message_stream() {
    let mut relay = Relay::new(LIMITS);
    let mut cursor = relay.join();
    for (word, chunk_stream) in [("d7", 5), ("a7", 4), ("k7", 6)] {
        relay.push(&frame(word), Instant::ZERO);
        let mut again = cursor.clone();
        let packet = relay.next(&mut cursor, RTMP).expect("just pushed");
        assert_eq!(packet[0], chunk_stream, "{word}");
        assert_eq!(decode(&packet, 128).stream, 1, "{word}");
        let patched =
            decode(&relay.next(&mut again, Format::Rtmp { stream: 0x0102_0304 }).expect("just pushed"), 128);
        assert_eq!(patched, Message { stream: 0x0102_0304, ..decode(&packet, 128) }, "{word}");
    }
}

#[test]
fn rtmp_and_flv_carry_the_same_frame_at_every_length_and_time() {
    for (last, chunk_size) in
        [(0, 128), (0xFF_FFFE, 128), (0xFF_FFFF, 128), (0xFFFF_FFFE, 60_000), (1 << 24, 1)]
    {
        for len in [1, 127, 128, 129, 255, 256, 257, 60_000, 60_001, 120_001] {
            let mut relay = Relay::new(RelayLimits {
                chunk_size,
                gop_bytes_max: 1 << 24,
                log_bytes_max: 1 << 24,
                forward_max: Duration::from_secs(1 << 24),
                ..LIMITS
            });
            let mut frame = frame("k0");
            relay.push(&frame, Instant::ZERO);
            frame.timestamp = last;
            frame.payload = (0..len).map(|at: u32| (at * 7 % 251) as u8).collect::<Vec<_>>().into();
            relay.push(&frame, Instant::ZERO);
            let mut cursor = relay.join();
            let mut again = cursor.clone();
            let message = decode(&relay.next(&mut cursor, RTMP).expect("a GOP"), chunk_size);
            assert_eq!((message.timestamp, &message.payload), (last, &frame.payload));
            let mut tag = Vec::new();
            crate::wire::flv::write_tag(Medium::Video, last, &frame.payload, &mut tag);
            assert_eq!(relay.next(&mut again, Format::Flv).expect("a GOP"), tag, "{len} bytes at {last}");
        }
    }
}

/// Numbers from a seed, as Knuth's MMIX makes them.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }
}

/// What a frame says of itself: enough to judge a player by what it got, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    kind: char,
    track: u8,
    /// Counts frames; for a header its version.
    serial: u64,
    /// The epoch, metadata, header and configuration it belongs to; 0 for none.
    epoch: u64,
    metadata: u64,
    header: u64,
    configuration: u64,
    /// Which GOP, and the number in it; 0 is the keyframe.
    gop: u64,
    place: u64,
}

impl Note {
    fn write(&self) -> Bytes {
        let Self { kind, track, serial, epoch, metadata, header, configuration, gop, place } = self;
        format!("{kind} {track} {serial} {epoch} {metadata} {header} {configuration} {gop} {place}").into()
    }

    fn read(bytes: &[u8]) -> Self {
        let text = core::str::from_utf8(bytes).expect("our own text");
        let (kind, numbers) = text.split_once(' ').expect("a kind");
        let numbers: Vec<u64> = numbers.split(' ').map(|word| word.parse().expect("a number")).collect();
        let [track, serial, epoch, metadata, header, configuration, gop, place] = numbers[..] else {
            panic!("eight numbers");
        };
        let kind = kind.chars().next().expect("a letter");
        Self { kind, track: track as u8, serial, epoch, metadata, header, configuration, gop, place }
    }

    /// Returns the track as the checks tell tracks apart.
    fn lane(&self) -> (bool, u8) {
        ("HKIC".contains(self.kind), self.track)
    }
}

/// One track of the model origin.
#[derive(Default)]
struct Lane {
    /// Versions in effect: this play's, and the life's before.
    header: u64,
    configuration: u64,
    header_before: u64,
    configuration_before: u64,
    gop: u64,
    place: u64,
    /// The header that the GOP was made with.
    gop_header: u64,
    /// Milliseconds its clock differs from the model's.
    offset: u64,
    /// Frames until it steps over to the model's clock.
    lag: u64,
    /// Frames in this play.
    frames: u64,
    /// What was logged, in order.
    logged: Vec<u64>,
}

/// What a player has seen, and what it must see next.
struct Watcher {
    cursor: Cursor,
    format: Format,
    epoch: u64,
    /// The epoch when it joined: nothing older may come.
    epoch_joined: u64,
    /// The main keyframe it starts with, if the relay had promised one.
    keyframe: Option<(u8, u64)>,
    time_max: u64,
    metadata: (u64, bool),
    lanes: BTreeMap<(bool, u8), Seen>,
}

#[derive(Default)]
struct Seen {
    time: u64,
    /// Version, and whether it came after the last frame of an older epoch.
    header: (u64, bool),
    configuration: (u64, bool),
    last: Option<Note>,
    was_shed: bool,
}

impl Watcher {
    fn skip(&mut self) {
        for seen in self.lanes.values_mut() {
            seen.was_shed = true;
        }
        self.keyframe = None;
    }

    fn see(&mut self, bytes: &[u8], lanes: &BTreeMap<(bool, u8), Lane>) {
        let (time, payload) = match self.format {
            Format::Rtmp { .. } => {
                let message = decode(bytes, 60_000);
                (u64::from(message.timestamp), message.payload)
            }
            Format::Flv => {
                let time = u32::from_be_bytes([bytes[7], bytes[4], bytes[5], bytes[6]]);
                (u64::from(time), Bytes::copy_from_slice(&bytes[11..bytes.len() - 4]))
            }
        };
        let note = Note::read(&payload);
        match note.kind {
            'M' => self.metadata = (note.serial, true),
            'H' | 'h' => self.lanes.entry(note.lane()).or_default().header = (note.serial, true),
            'C' => self.lanes.entry(note.lane()).or_default().configuration = (note.serial, true),
            _ => {
                self.see_frame(note, time, lanes);
                self.time_max = self.time_max.max(time);
            }
        }
        let seen = self.lanes.entry(note.lane()).or_default();
        if note.kind != 'M' {
            assert!(time >= seen.time, "{note:?} goes back from {} to {time}", seen.time);
            seen.time = time;
        }
    }

    fn see_frame(&mut self, note: Note, time: u64, lanes: &BTreeMap<(bool, u8), Lane>) {
        assert!(
            note.epoch >= self.epoch.max(self.epoch_joined),
            "{note:?} is of an epoch before {}",
            self.epoch
        );
        if note.epoch > self.epoch {
            assert!(
                time >= self.time_max || self.epoch == 0,
                "{note:?} at {time} is before the last epoch's end"
            );
            assert!(
                note.metadata == 0 || self.metadata.1,
                "{note:?}: the epoch did not send the metadata again"
            );
            self.epoch = note.epoch;
        }
        self.metadata.1 = false;
        let seen = self.lanes.entry(note.lane()).or_default();
        assert!(note.metadata == 0 || self.metadata.0 == note.metadata, "{note:?} comes before its metadata");
        assert!(note.header == 0 || seen.header.0 == note.header, "{note:?} comes before its header");
        assert!(
            note.configuration == 0 || seen.configuration.0 == note.configuration,
            "{note:?} comes before its configuration"
        );
        if seen.last.is_some_and(|last| last.epoch < note.epoch) {
            assert!(note.header == 0 || seen.header.1, "{note:?}: the epoch did not send the header again");
            assert!(note.configuration == 0 || seen.configuration.1, "{note:?}: nor the configuration");
        }
        // What comes before this epoch's next frame has to come again for the next epoch.
        seen.header.1 = false;
        seen.configuration.1 = false;

        let logged = &lanes[&note.lane()].logged;
        match seen.last {
            Some(last) if seen.was_shed => {
                assert!(note.serial > last.serial, "{note:?} is not after {last:?}")
            }
            Some(last) => {
                let next = logged.iter().find(|&&serial| serial > last.serial);
                assert_eq!(next, Some(&note.serial), "something is missing before {note:?}");
            }
            None => {}
        }
        if note.kind == 'K'
            && let Some(keyframe) = self.keyframe.take_if(|keyframe| keyframe.0 == note.track)
        {
            assert_eq!(note.serial, keyframe.1, "a joiner starts with the GOP");
        }
        if note.kind == 'I' {
            let last = seen.last.expect("video starts with a keyframe");
            assert_eq!(
                (last.gop, last.place + 1),
                (note.gop, note.place),
                "{note:?} leans on what is not there"
            );
        }
        seen.last = Some(note);
        seen.was_shed = false;
    }
}

#[derive(Default)]
struct Tellings {
    epochs: BTreeMap<EpochCause, u64>,
    gops_joined: u64,
    waits_joined: u64,
    sheds: u64,
    shed_by_itself: u64,
    received: u64,
}

fn random_life(seed: u64, tellings: &mut Tellings) {
    let mut dice = Dice(seed);
    dice.roll(1);
    let limits = RelayLimits {
        log_bytes_max: 100 * (log::ENTRY_COST + 60),
        gop_bytes_max: 60 * 60,
        gop_frames_max: 50,
        ..LIMITS
    };
    let bytes_max = limits.log_bytes_max + limits.headers_max * 60;
    let mut relay = Relay::new(limits);
    let keys: &[(bool, u8)] =
        if dice.one_in(2) { &[(false, 0), (true, 0)] } else { &[(false, 0), (true, 0), (true, 1)] };
    let mut lanes: BTreeMap<(bool, u8), Lane> = keys.iter().map(|&key| (key, Lane::default())).collect();
    let mut watchers: Vec<Watcher> = Vec::new();
    let (mut clock, mut offset, mut serial, mut version, mut epoch) = (0, dice.roll(1 << 33), 0, 0, 0);
    let mut metadata = 0;
    let mut is_play_due = true;
    // A jump of the model's clock that no frame has shown yet, and whether it must begin an epoch when one
    // does.
    let mut jump: Option<bool> = None;
    // The track the GOP follows, and its last keyframe.
    let mut main: Option<u8> = None;
    let mut main_keyframe: Option<(u8, u64)> = None;
    // No frame has gone out since the epoch began: its clock is still open.
    let mut is_fresh = true;

    for _ in 0..3_000 {
        let &key = &keys[dice.roll(keys.len() as u64) as usize];
        let (medium, track) = (if key.0 { Medium::Video } else { Medium::Audio }, key.1);
        let codec = if key.0 { *b"avc1" } else { *b"mp4a" };
        let now = clock;
        let push = |relay: &mut Relay, class, note: Note, timestamp: u64| {
            let medium = if class == FrameClass::Metadata { Medium::Data } else { medium };
            relay.push(
                &Frame {
                    medium,
                    class,
                    codec: FourCc(if medium == Medium::Data { [0; 4] } else { codec }),
                    track: note.track,
                    timestamp: timestamp as u32,
                    payload: note.write(),
                },
                Instant::from_millis(now),
            )
        };
        let blank = Note {
            kind: 'M',
            track,
            serial: 0,
            epoch: 0,
            metadata: 0,
            header: 0,
            configuration: 0,
            gop: 0,
            place: 0,
        };
        let mut begin = |epoch: &mut u64, told: Option<EpochCause>, due: Option<EpochCause>| {
            assert_eq!(told, due, "an epoch begins when one is due");
            if let Some(cause) = told {
                *epoch += 1;
                is_fresh = true;
                *tellings.epochs.entry(cause).or_default() += 1;
            }
        };
        let play = is_play_due.then_some(EpochCause::Play);
        match dice.roll(1000) {
            // Frames.
            0..=799 => {
                main = if key.0 && (track == 0 || main.is_none()) { Some(track) } else { main };
                clock += 5 + dice.roll(15);
                let lane = lanes.get_mut(&key).expect("a lane for each key");
                if lane.lag > 0 {
                    lane.lag -= 1;
                    if lane.lag == 0 && lane.offset != offset {
                        lane.offset = offset;
                        // A publisher that began anew; most do so with a keyframe.
                        (lane.gop, lane.place) = (serial + 1, u64::from(dice.one_in(3)));
                    }
                }
                let stepped = lane.offset == offset && jump.is_some();
                let timestamp = clock + lane.offset;
                let (header, configuration) = if lane.header == 0 {
                    (lane.header_before, lane.configuration_before)
                } else {
                    (lane.header, lane.configuration)
                };
                serial += 1;
                if key.0 && (dice.one_in(15) || lane.place == 0) {
                    (lane.gop, lane.place, lane.gop_header) = (serial, 0, header);
                }
                let (kind, class) = match (key.0, lane.place) {
                    (false, _) => ('a', FrameClass::Audio),
                    (true, 0) => ('K', FrameClass::Keyframe),
                    (true, _) => ('I', FrameClass::Interframe),
                };
                let jumps = play.is_none() && stepped && jump == Some(true);
                let note = Note {
                    kind,
                    serial,
                    epoch: epoch + u64::from(jumps || play.is_some()),
                    metadata,
                    header: if key.0 { lane.gop_header } else { header },
                    configuration,
                    gop: lane.gop,
                    place: lane.place,
                    ..blank
                };
                let pushed = push(&mut relay, class, note, timestamp);
                if jumps {
                    assert!(matches!(pushed.epoch, Some(EpochCause::JumpBack | EpochCause::JumpForward)));
                    begin(&mut epoch, pushed.epoch, pushed.epoch);
                    main_keyframe = None;
                } else {
                    begin(&mut epoch, pushed.epoch, play);
                }
                if stepped || play.is_some() {
                    jump = None;
                }
                is_play_due = false;
                lane.place += 1;
                if pushed.logged {
                    lane.frames += 1;
                    (lane.header, lane.configuration) = (header, configuration);
                    lane.logged.push(serial);
                    is_fresh = false;
                    if kind == 'K' && main == Some(track) {
                        main_keyframe = Some((track, serial));
                    }
                }
                assert!(pushed.logged || kind == 'I', "only interframes are left out");
                assert_eq!(relay.epoch(), epoch);
            }
            // Headers: the first, the same again, another one.
            800..=839 => {
                let is_stepping = jump.is_some() || lanes.values().any(|lane| lane.lag > 0);
                let lane = lanes.get_mut(&key).expect("a lane for each key");
                let is_changed = lane.header == 0 || dice.one_in(3);
                // A jump and a change at once may begin one epoch or two; the model tells of one at a time.
                if is_changed && is_stepping {
                    continue;
                }
                main = if key.0 && (track == 0 || main.is_none()) { Some(track) } else { main };
                let due = (lane.header != 0 && is_changed).then_some(EpochCause::HeaderChanged);
                if is_changed {
                    version += 1;
                    (lane.header, lane.configuration) = (version, 0);
                    if key.0 && main == Some(track) {
                        main_keyframe = None;
                    }
                }
                let kind = if key.0 { 'H' } else { 'h' };
                let pushed = push(
                    &mut relay,
                    FrameClass::SequenceHeader,
                    Note { kind, serial: lane.header, ..blank },
                    0,
                );
                begin(&mut epoch, pushed.epoch, play.or(due));
                is_play_due = false;
                if due.is_some() {
                    main_keyframe = None;
                }
            }
            840..=849 => {
                let lane = lanes.get_mut(&key).expect("a lane for each key");
                if lane.header == 0 || !key.0 {
                    continue;
                }
                version += 1;
                lane.configuration = version;
                let pushed = push(
                    &mut relay,
                    FrameClass::Configuration,
                    Note { kind: 'C', serial: version, ..blank },
                    0,
                );
                begin(&mut epoch, pushed.epoch, play);
                is_play_due = false;
            }
            850..=859 => {
                version += 1;
                metadata = version;
                let pushed =
                    push(&mut relay, FrameClass::Metadata, Note { serial: version, track: 0, ..blank }, 0);
                begin(&mut epoch, pushed.epoch, play);
                is_play_due = false;
            }
            // The origin's clock jumps, and its tracks with it, one after the other.
            860..=864 => {
                if is_fresh || jump.is_some() || lanes.values().any(|lane| lane.lag > 0 || lane.frames < 2) {
                    continue;
                }
                let far = 20_000 + dice.roll(3_600_000);
                offset = if dice.one_in(2) { offset + far } else { offset + (1 << 32) - far };
                jump = Some(true);
                for lane in lanes.values_mut() {
                    lane.lag = 1 + dice.roll(4);
                }
            }
            // Outages.
            865..=869 => {
                relay.interrupt();
                main_keyframe = None;
            }
            870..=876 => {
                let is_rebuilt = dice.one_in(3);
                let is_barren = lanes.values().all(|lane| lane.frames == 0);
                if is_rebuilt {
                    relay.rebuild();
                }
                relay.begin_play();
                offset = dice.roll(1 << 33);
                jump = None;
                metadata = 0;
                is_play_due = true;
                (main, main_keyframe) = (None, None);
                for lane in lanes.values_mut() {
                    if is_rebuilt {
                        (lane.header, lane.header_before, lane.configuration_before) = (0, 0, 0);
                    } else if lane.header != 0 || !is_barren {
                        (lane.header_before, lane.configuration_before) = (lane.header, lane.configuration);
                    }
                    (lane.header, lane.configuration, lane.frames, lane.lag) = (0, 0, 0, 0);
                    lane.offset = offset;
                    // Many origins begin in the middle of a GOP.
                    (lane.gop, lane.place, lane.gop_header) = (serial + 1, dice.roll(2), 0);
                }
            }
            // Players.
            877..=899 => {
                if watchers.len() > 4 {
                    watchers.remove(dice.roll(5) as usize);
                }
                let format = match dice.roll(3) {
                    0 => Format::Flv,
                    1 => Format::Rtmp { stream: 5 },
                    _ => RTMP,
                };
                let has_gop = relay.has_gop();
                assert!(main_keyframe.is_some() || !has_gop, "a GOP without a keyframe of this epoch");
                *(if has_gop { &mut tellings.gops_joined } else { &mut tellings.waits_joined }) += 1;
                watchers.push(Watcher {
                    cursor: relay.join(),
                    format,
                    epoch: 0,
                    epoch_joined: epoch,
                    keyframe: main_keyframe.filter(|_| has_gop),
                    time_max: 0,
                    metadata: (0, false),
                    lanes: BTreeMap::new(),
                });
            }
            900..=949 => {
                let share = 1 + dice.roll(100);
                for watcher in &mut watchers {
                    if dice.one_in(4) {
                        read(&mut relay, watcher, share, &lanes, tellings);
                    }
                }
            }
            950..=955 => {
                if let Some(watcher) = watchers.first_mut() {
                    let place = watcher.cursor.position();
                    relay.shed(&mut watcher.cursor);
                    assert!(watcher.cursor.position() >= place, "shedding goes forward");
                    if watcher.cursor.position() > place {
                        watcher.skip();
                        tellings.sheds += 1;
                    }
                }
            }
            _ => {
                let oldest = watchers.iter().map(|watcher| watcher.cursor.position()).min();
                relay.trim(oldest.unwrap_or(relay.end()));
            }
        }
        assert!(relay.bytes() <= bytes_max, "{} bytes kept", relay.bytes());
    }
    for watcher in &mut watchers {
        read(&mut relay, watcher, u64::MAX, &lanes, tellings);
        assert_eq!((watcher.cursor.position(), relay.backlog(&watcher.cursor)), (relay.end(), 0));
        for (key, seen) in &watcher.lanes {
            let last = seen.last.filter(|_| !seen.was_shed);
            assert!(
                last.is_none_or(|last| lanes[key].logged.last() == Some(&last.serial)),
                "the end is missing"
            );
        }
    }
}

fn read(
    relay: &mut Relay,
    watcher: &mut Watcher,
    share: u64,
    lanes: &BTreeMap<(bool, u8), Lane>,
    tellings: &mut Tellings,
) {
    for _ in 0..share {
        let packet = relay.next(&mut watcher.cursor, watcher.format);
        if watcher.cursor.take_shed() > 0 {
            tellings.shed_by_itself += 1;
            watcher.skip();
        }
        let Some(packet) = packet else { break };
        watcher.see(&packet, lanes);
        tellings.received += 1;
    }
}

#[test]
fn every_player_of_a_random_life_can_decode_what_it_gets() {
    let mut tellings = Tellings::default();
    for seed in 0..60 {
        random_life(seed, &mut tellings);
    }
    let Tellings { epochs, gops_joined, waits_joined, sheds, shed_by_itself, received } = tellings;
    assert_eq!(epochs.len(), 4, "every cause has occurred: {epochs:?}");
    let told = [gops_joined, waits_joined, sheds, shed_by_itself, received / 100];
    assert!(told.iter().all(|&count| count >= 100), "too little has happened: {told:?}");
}
