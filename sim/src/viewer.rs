//! What a viewer sees, and whether it may be seen: the checks every model player makes of every tag.
//!
//! | check | what breaks it |
//! |---|---|
//! | headers come before the frames that need them, and again after each change of play or life | a relay that forgets |
//! | a connection begins with one header for each track | a relay that does not forget |
//! | video begins with a keyframe, at the start and after each gap, change of play, change of life | broken pictures |
//! | frames are those the origin sent, byte for byte, of this stream | mixed or damaged frames |
//! | nothing of an older play or life after a newer one | late news acting on a newer life |
//! | within a play nothing repeats or turns round; across a re-pull at most one GOP repeats | lost order |
//! | timestamps of a track never decrease, never leap forward, and both tracks move by one offset | lost clocks |
//! | within a play a track's clock goes as the origin's does | clocks that stand, crawl or run away |
//! | a new play begins where the last one ended, not where the wall clock is | players that wait out a gap |
//! | what goes with a keyframe comes behind it, no earlier than what came before | relays that drop what they do not know |
//! | metadata comes before the first frame, where the origin sends some | joiners who lack it |
//! | who dials again gets nothing older than it has seen | a stale GOP |
//!
//! All of it is judged per connection: who dials again begins again, but never with something older.

mod clocks;
mod order;
mod report;

use std::{collections::BTreeSet, mem};

use bytes::Bytes;
use proxy_core::time::{Duration, Instant};

pub use self::report::{Gap, NOTES_MAX, Opening, Report, Seen, VIOLATIONS_MAX};
use self::{clocks::Pace, order::Order};
use crate::raw::{
    RawError,
    amf0::{self, Amf},
    chunk::kind,
    media::{self, Stamp, StampKind, Stamped, Tag, Track},
};

/// The tracks may disagree on the offset for so many frames, as they do around a jump of the origin's clock.
pub const SKEW_FRAMES_MAX: u32 = 25;

/// How the violation ends that tells of a joiner with two headers of one track.
pub const TWO_HEADERS: &str = "begins with two different sequence headers";

/// What the violation says that tells of a clock's step forward.
pub const LEAPS: &str = "timestamp leaps";

/// What is said of a clock that went further than the origin's.
pub const GOES_FURTHER: &str = "ms more than the origin's";

/// What a viewer expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewerConfig {
    /// `app/stream` at the model origin whose stamped frames are expected; `None` for frames of other software,
    /// which are checked as far as that goes without stamps.
    pub stream: Option<String>,
    /// Time without a frame that is noted as a gap.
    pub gap_min: Duration,
    /// The largest step forward of a clock where no frame is missing.
    pub forward_max: Option<Duration>,
    /// The largest step forward of the clock from the last frame of one play to the first of the next. After a long
    /// silence it may be up to half of that: plays that brought nothing but headers move the clock a frame each.
    pub restart_max: Option<Duration>,
    /// How far the offsets of the tracks may differ.
    pub skew_max: Duration,
    /// How far a track's clock may get off the origin's within one play.
    pub drift_max: Duration,
    /// How much of the origin's time a track's clock may stand still for within one play: frames older than what its
    /// play began with are told at the beginning's time.
    pub hold_max: Duration,
    /// Headers must come again after each change of play or life. Not behind a second proxy: stamps count the plays at
    /// the origin, and while the proxy before goes on with one play, the next drops the same header as a repetition.
    pub headers_again: bool,
    /// Who dials again gets no older play. Not behind a second proxy that may be gone round: the play that the first one still
    /// has is then pulled again.
    pub plays_rise: bool,
    /// One origin alone serves the stream: its GOPs and lives are numbered through all plays. Those of several origins are
    /// not to be compared; plays are, the world numbers them all together.
    pub one_origin: bool,
    /// After a silence of this length, which no proxy lets pass for a hiccup, each track must begin with its sequence
    /// header and video with a keyframe. For frames without stamps, where a change of play cannot be seen.
    pub outage_min: Option<Duration>,
    /// Each connection must bring metadata before its first frame: the origin sends some.
    pub needs_metadata: bool,
    /// Tags kept in [`Report::seen`].
    pub seen_max: usize,
}

impl ViewerConfig {
    /// Expects the frames of a model origin.
    pub fn stamped(stream: &str) -> Self {
        Self { stream: Some(stream.to_owned()), outage_min: None, ..Self::plain() }
    }

    /// Expects frames of any software.
    pub fn plain() -> Self {
        Self {
            stream: None,
            gap_min: Duration::from_secs(1),
            forward_max: Some(Duration::from_secs(10)),
            restart_max: Some(Duration::from_secs(1)),
            skew_max: Duration::from_millis(200),
            drift_max: Duration::from_millis(200),
            hold_max: Duration::from_secs(1),
            headers_again: true,
            plays_rise: true,
            one_origin: true,
            outage_min: Some(Duration::from_secs(4)),
            needs_metadata: false,
            seen_max: 0,
        }
    }
}

#[derive(Debug, Default)]
struct TrackState {
    header: Option<u32>,
    header_since_frame: bool,
    /// The last header of this track has come since the last outage.
    header_since_outage: bool,
    /// No frame of this track has come since the last outage.
    resumes: bool,
    last_time: Option<u32>,
    last: Option<Stamp>,
    /// The life and GOP of its last keyframe: an encoder may make none where a GOP would begin.
    key: Option<(u32, u32)>,
    /// Time out minus the origin's time, of the last frame.
    offset: Option<u32>,
    /// The number of the last frame, counted over both tracks.
    number: u64,
    /// The offset it has about kept since, and the number of the frame that moved it there; 0 where it began.
    kept: Option<(u32, u64)>,
    /// The last frame's time out.
    out: Option<u32>,
    /// What the origin's clock has gone forward since that time has moved, in ms, whatever it has gone back.
    stands: i64,
    pace: Pace,
}

/// What is judged per connection.
#[derive(Debug, Default)]
struct Sitting {
    video: TrackState,
    audio: TrackState,
    play: u32,
    epoch: u32,
    /// The last frame of either track.
    last: Option<Stamp>,
    /// The life it is of, if that began on the clock of the one before, within one play.
    unseen: Option<u32>,
    /// What was the oldest allowed when it began.
    floor: Floor,
    /// Something older came, and was told.
    stale: bool,
    /// Metadata has come.
    metadata: bool,
    /// Metadata says that each keyframe is followed by a cue point.
    has_cues: bool,
    /// The GOP of the last cue point.
    cue: Option<u32>,
    /// A video command is due behind the last keyframe.
    is_command_due: bool,
    /// What has come since the last frame.
    opening: Opening,
    /// No picture has come yet, of this connection or of another play.
    opens: bool,
    /// A frame has come.
    begun: bool,
    video_begun: bool,
    /// Frames of both tracks.
    frames: u64,
    /// The first header behind an outage has come, no frame yet.
    in_outage: bool,
    skewed: u32,
}

impl Sitting {
    fn track(&mut self, track: Track) -> &mut TrackState {
        match track {
            Track::Video => &mut self.video,
            Track::Audio => &mut self.audio,
        }
    }
}

/// The oldest that may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Floor {
    /// The play, as [`Stamp::play`] numbers them.
    play: u32,
    /// The life of the publisher, as [`Stamp::epoch`] numbers them.
    epoch: u32,
}

/// A viewer.
#[derive(Debug)]
pub struct Viewer {
    config: ViewerConfig,
    /// The stream expected, as stamps name it.
    stream: Option<u32>,
    /// The newest seen on any connection.
    newest: Floor,
    sitting: Sitting,
    plays: BTreeSet<u32>,
    epochs: BTreeSet<u32>,
    report: Report,
}

impl Viewer {
    /// Makes a viewer that has seen nothing.
    pub fn new(config: ViewerConfig) -> Self {
        Self {
            stream: config.stream.as_deref().map(media::stream_hash),
            config,
            newest: Floor::default(),
            sitting: Sitting::default(),
            plays: BTreeSet::new(),
            epochs: BTreeSet::new(),
            report: Report::default(),
        }
    }

    /// Returns what it has seen.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// A connection begins: so do the checks.
    pub fn on_connected(&mut self) {
        let newest_epoch = if self.config.one_origin { self.newest.epoch } else { 0 };
        let newest_play = if self.config.plays_rise { self.newest.play } else { 0 };
        let floor = Floor { play: newest_play, epoch: newest_epoch };
        self.sitting = Sitting { floor, opens: true, ..Sitting::default() };
        self.report.connections += 1;
    }

    /// A connection ended.
    pub fn on_disconnected(&mut self, cause: &str, now: Instant) {
        note(&mut self.report.disconnects, cause, now);
    }

    /// The server told something.
    pub fn on_status(&mut self, status: &str, now: Instant) {
        note(&mut self.report.statuses, status, now);
    }

    /// Notes a broken promise.
    pub fn violation(&mut self, what: &str, now: Instant) {
        self.report.violations_total += 1;
        if self.report.violations.len() < VIOLATIONS_MAX {
            self.report.violations.push(format!("{now}: {what}"));
        }
    }

    /// Takes a tag: message or FLV tag type, timestamp in ms, payload.
    pub fn on_tag(&mut self, tag_kind: u8, timestamp: u32, payload: &[u8], now: Instant) {
        let tag = match tag_kind {
            kind::VIDEO => media::classify_video(payload),
            kind::AUDIO => media::classify_audio(payload),
            kind::DATA => return self.on_data(timestamp, payload, now),
            _ => return,
        };
        match tag {
            Tag::Header(track) => self.on_header(track, timestamp, payload, now),
            Tag::Frame { track, key, needs_header } => {
                self.on_frame(track, key, needs_header, timestamp, payload, now);
            }
            Tag::Other => {
                let is_command = tag_kind == kind::VIDEO && media::is_video_command(payload);
                self.sitting.is_command_due &= !is_command;
            }
        }
    }

    fn on_data(&mut self, timestamp: u32, payload: &[u8], now: Instant) {
        match amf0::read_all(payload) {
            Ok(values) if values.first().and_then(Amf::as_text) == Some("onMetaData") => {
                self.report.metadata += 1;
                self.sitting.opening.metadata += 1;
                self.sitting.metadata = true;
                self.sitting.has_cues = values.iter().any(|value| value.property(media::CUES).is_some());
                self.keep(|| Seen::Metadata(values));
            }
            Ok(values) if values.first().and_then(Amf::as_text) == Some("@setDataFrame") => {
                // Only publishers say so (FFmpeg does to players as well): a relay must strip it.
                if self.config.stream.is_some() {
                    self.on_status("@setDataFrame", now);
                }
                self.report.metadata += 1;
                self.sitting.opening.metadata += 1;
                self.sitting.metadata = true;
            }
            Ok(values) if values.first().and_then(Amf::as_text) == Some(media::CUE) => {
                self.sitting.cue = values.get(1).and_then(Amf::as_number).map(|gop| gop as u32);
                self.check_data(timestamp, now);
            }
            // FMS tells the end of a play so.
            Ok(values) if values.first().and_then(Amf::as_text) == Some("onPlayStatus") => {
                let code = values.iter().find_map(|value| value.property("code")).and_then(Amf::as_text);
                self.on_status(code.unwrap_or("onPlayStatus"), now);
            }
            Ok(_) => {}
            // Dates, typed objects and the like: relays pass them as they are, models do not read them.
            Err(RawError::AmfMarker { .. }) => {}
            Err(error) => self.violation(&format!("unreadable data message: {error}"), now),
        }
    }

    fn on_header(&mut self, track: Track, timestamp: u32, payload: &[u8], now: Instant) {
        self.check_rising(track, timestamp, now);
        self.note_outage(now);
        self.report.headers += 1;
        self.sitting.opening.headers += 1;
        let hash = media::header_hash(payload);
        // A joiner is told what its first frame needs: another header before that is one that its stream has left.
        let has_begun = self.sitting.begun;
        let state = self.sitting.track(track);
        let is_second = !has_begun && state.header.is_some_and(|before| before != hash);
        state.header = Some(hash);
        state.header_since_frame = true;
        state.header_since_outage = true;
        self.keep(|| Seen::Header { track, timestamp, payload: Bytes::copy_from_slice(payload) });
        if is_second {
            self.violation(&format!("{track:?} {TWO_HEADERS}"), now);
        }
    }

    fn on_frame(
        &mut self,
        track: Track,
        key: bool,
        needs_header: bool,
        timestamp: u32,
        payload: &[u8],
        now: Instant,
    ) {
        self.note_outage(now);
        self.check_resumed(track, key, needs_header, now);
        let silence = self.report.last_frame.map_or(Duration::ZERO, |last| now.since(last));
        self.count(track, key, now);
        let stamp = self.check_stamp(track, key, payload, now);
        self.note_opening(track, key, stamp);
        self.keep(|| Seen::Frame { track, key, timestamp, stamp });
        if needs_header && self.sitting.track(track).header.is_none() {
            self.violation(&format!("{track:?} frame before any sequence header"), now);
        }
        if !mem::replace(&mut self.sitting.begun, true)
            && self.config.needs_metadata
            && !self.sitting.metadata
        {
            self.violation(&format!("{track:?} begins before any metadata"), now);
        }
        if track == Track::Video && !self.sitting.video_begun {
            self.sitting.video_begun = true;
            if !key {
                self.violation("video begins without a keyframe", now);
            }
        }
        let before = self.sitting.track(track).last;
        let order = match stamp {
            Some(stamp) => self.check_order(track, &stamp, now),
            None => Order::Next,
        };
        let is_new_play = stamp.zip(before).is_some_and(|(stamp, before)| stamp.play != before.play);
        // Two origins of one stream may number their plays alike: what begins anew has its header again.
        let goes_on = !is_new_play && !self.sitting.track(track).header_since_frame;
        let restart_max = self.config.restart_max.map(|restart_max| restart_max.max(silence / 2));
        let step_max = if is_new_play { restart_max } else { self.config.forward_max };
        // One that stands has no place of its own yet: another beginning there is none for a relay.
        let stands = self.sitting.track(track).out == Some(timestamp);
        self.check_forward(track, timestamp, (order, stamp), step_max, now);
        self.check_rising(track, timestamp, now);
        self.check_pace(track, timestamp, (stamp, before), (goes_on, order), now);
        if let Some(stamp) = stamp.filter(|_| order != Order::Back) {
            self.check_header(
                track,
                &stamp,
                before.filter(|last| !stands || last.play != stamp.play),
                needs_header,
                now,
            );
            self.check_skew(track, timestamp, &stamp, now);
            self.check_cue(&stamp, before, now);
            if stamp.kind == StampKind::Key {
                self.sitting.is_command_due =
                    self.sitting.has_cues && media::video_command(payload).is_some();
            }
            let state = self.sitting.track(track);
            state.last = Some(stamp);
            if stamp.kind == StampKind::Key {
                state.key = Some((stamp.epoch, stamp.gop));
            }
        }
        self.sitting.track(track).header_since_frame = false;
    }

    /// Between a keyframe and the frame behind it comes the keyframe's cue point, if its publisher sends any, and a video
    /// command if its codec has them.
    fn check_cue(&mut self, stamp: &Stamp, before: Option<Stamp>, now: Instant) {
        let is_behind = |before: &Stamp| {
            before.kind == StampKind::Key
                && stamp.kind == StampKind::Inter
                && (stamp.play, stamp.gop) == (before.play, before.gop)
                && stamp.number == before.number.wrapping_add(1)
        };
        if !self.sitting.has_cues || !before.as_ref().is_some_and(is_behind) {
            return;
        }
        if self.sitting.cue != Some(stamp.gop) {
            self.violation(&format!("no cue point with the keyframe of GOP {}", stamp.gop), now);
        } else if self.sitting.is_command_due {
            self.violation(&format!("no video command with the keyframe of GOP {}", stamp.gop), now);
        }
    }

    /// A frame ends what came before it; a picture, or sound where there are no pictures, completes an opening.
    fn note_opening(&mut self, track: Track, key: bool, stamp: Option<Stamp>) {
        let sitting = &mut self.sitting;
        sitting.opens |= stamp.is_some_and(|stamp| stamp.play != sitting.play);
        let has_video = self.report.video > 0 || sitting.video.header.is_some();
        let is_picture = if has_video { track == Track::Video && key } else { true };
        if sitting.opens && is_picture {
            sitting.opens = false;
            self.report.openings += 1;
            self.report.opening = mem::take(&mut sitting.opening);
        } else if !sitting.opens {
            sitting.opening = Opening::default();
        }
    }

    /// An outage is over with the first header or frame behind it.
    fn note_outage(&mut self, now: Instant) {
        let Some(outage_min) = self.config.outage_min else { return };
        let is_outage = self.report.last_frame.is_some_and(|last| now.since(last) >= outage_min);
        if is_outage && !self.sitting.in_outage {
            for track in [Track::Video, Track::Audio] {
                let state = self.sitting.track(track);
                state.header_since_outage = false;
                state.resumes = true;
            }
        }
        self.sitting.in_outage = is_outage;
    }

    fn check_resumed(&mut self, track: Track, key: bool, needs_header: bool, now: Instant) {
        self.sitting.in_outage = false;
        let state = self.sitting.track(track);
        if !mem::take(&mut state.resumes) {
            return;
        }
        let has_header = state.header_since_outage;
        if needs_header && !has_header {
            self.violation(&format!("{track:?} goes on after an outage without its sequence header"), now);
        }
        if track == Track::Video && !key {
            self.violation("video goes on after an outage without a keyframe", now);
        }
    }

    fn count(&mut self, track: Track, key: bool, now: Instant) {
        if let Some(from) = self.report.last_frame {
            let gap = Gap { from, to: now };
            self.report.gap_worst = self.report.gap_worst.max(gap.duration());
            if gap.duration() >= self.config.gap_min && self.report.gaps.len() < NOTES_MAX {
                self.report.gaps.push(gap);
            }
        }
        self.report.first_frame.get_or_insert(now);
        self.report.last_frame = Some(now);
        self.report.frames += 1;
        match track {
            Track::Video => self.report.video += 1,
            Track::Audio => self.report.audio += 1,
        }
        self.report.keyframes += u64::from(key);
    }

    /// Reads the stamp and checks that the frame is one the origin sent, of this stream.
    fn check_stamp(&mut self, track: Track, key: bool, payload: &[u8], now: Instant) -> Option<Stamp> {
        let stream = self.stream?;
        let stamp = match media::read_stamp(payload) {
            Stamped::Whole(stamp) => stamp,
            Stamped::Broken => {
                self.violation(&format!("{track:?} frame is not as the origin sent it"), now);
                return None;
            }
            Stamped::Absent => {
                self.violation(&format!("{track:?} frame that no model origin sent"), now);
                return None;
            }
        };
        if stamp.stream != stream {
            self.violation(&format!("{track:?} frame {} of another stream", stamp.number), now);
            return None;
        }
        let kind = match (track, key) {
            (Track::Video, true) => StampKind::Key,
            (Track::Video, false) => StampKind::Inter,
            (Track::Audio, _) => StampKind::Audio,
        };
        if stamp.kind != kind {
            self.violation(&format!("a {:?} frame travels as {kind:?}", stamp.kind), now);
        }
        if (stamp.epoch, stamp.play) != (self.sitting.epoch, self.sitting.play) {
            // Another play need not be of the origin that said so.
            self.sitting.has_cues &= self.sitting.play == stamp.play || self.sitting.opening.metadata > 0;
            self.report.plays += u64::from(self.plays.insert(stamp.play));
            self.report.lives += u64::from(self.epochs.insert(stamp.epoch));
            self.check_stale(track, &stamp, now);
        }
        Some(stamp)
    }

    fn keep(&mut self, seen: impl FnOnce() -> Seen) {
        if self.report.seen.len() < self.config.seen_max {
            self.report.seen.push(seen());
        }
    }
}

fn note(notes: &mut Vec<(Instant, String)>, what: &str, now: Instant) {
    if notes.len() < NOTES_MAX {
        notes.push((now, what.to_owned()));
    }
}

#[cfg(test)]
mod tests;
