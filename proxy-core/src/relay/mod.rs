//! Frames to many players: one log of encoded frames, cursors into it, one rising clock.
//!
//! ```text
//!              ┌ GOP position            ┌ log end
//!  log:  H K i i a i │K i a i i a i i a i│◄── push
//!                    ▲         ▲     ▲
//!                    joiner    slow  fast          (cursors)
//! ```
//! The relay knows no connections: a player is a [`Cursor`] its owner keeps. Each frame is encoded once, on
//! push for RTMP and when first wanted for FLV, and shared. Everything kept is bounded by [`RelayLimits`].
//!
//! Every player gets, however it came to its place: metadata, then the headers of a track before the track's
//! frames, video from a keyframe, in order, on a clock that never goes back on any track; and after a frame
//! of one epoch none of an older one. What makes this hold:
//!
//! - An epoch sends each header again before the first frame that needs it, so no place in the log leans on
//!   headers of an older epoch, and a place is described by the headers of its epoch before it (its prelude).
//! - A video entry names the keyframe it leans on; a cursor skips those whose keyframe lies before its start.
//! - Interframes that lean on nothing are not put into the log: after a play or an interruption, after a
//!   header that differs, and where a video track's timestamps jump without a keyframe. A jump is most often
//!   a publisher that began anew behind an origin that does not tell; what leans on the old publisher's
//!   keyframe cannot be told from what leans on the new one's, so at a mere glitch of the clock up to a GOP
//!   is given away.
//! - A GOP never outlives its epoch.

mod headers;
mod log;
mod timeline;

use alloc::collections::BTreeMap;
use core::mem;

use bytes::Bytes;

use crate::{
    relay::{
        headers::{Headers, Kept, Prelude, PreludeItem},
        log::{Item, Log, Tally},
        timeline::{Place, Timeline, TrackClock},
    },
    time::{Duration, Instant},
    wire::flv::{FourCc, Frame, FrameClass, Medium},
};

/// What a relay keeps and believes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RelayLimits {
    /// Encoded bytes kept in the log, both formats and the cost of an entry (about a hundred bytes) included;
    /// beyond it the oldest go, and cursors before them are shed.
    pub log_bytes_max: usize,
    /// Encoded bytes from the GOP position to the end; beyond it the GOP is given up and joiners wait for the
    /// next keyframe (nginx-rtmp, SRS and ZLMediaKit learned to bound it).
    pub gop_bytes_max: usize,
    /// Frames from the GOP position to the end, likewise.
    pub gop_frames_max: usize,
    /// Headers and configurations kept for joiners: tracks × kinds, each of at most 256 KiB. One more, or a
    /// longer one, is sent as it comes and joiners miss it.
    pub headers_max: usize,
    /// Our outgoing chunk size, in bytes.
    pub chunk_size: u32,
    /// A step back of a track's timestamp beyond this begins an epoch, and so do several that are more together before the
    /// track has been further than before; a smaller one is sent at the track's last time.
    pub backward_max: Duration,
    /// A step forward beyond this begins an epoch.
    pub forward_max: Duration,
}

/// Metadata goes out at zero, whatever the clock says, as nginx-rtmp and SRS send it: at any other time FFmpeg takes
/// it for the first line of a subtitle track (`flv_read_packet` in flvdec.c).
const METADATA_TIME: u64 = 0;

/// What bytes a player wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Format {
    /// RTMP chunks on message stream 1, or another one (then header bytes are patched into a copy).
    Rtmp {
        /// The message stream id.
        stream: u32,
    },
    /// FLV tags; the file header is the owner's.
    Flv,
}

/// Why an epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum EpochCause {
    /// The origin accepted a play.
    Play,
    /// A sequence header differs from the one before.
    HeaderChanged,
    /// A timestamp jumped back.
    JumpBack,
    /// A timestamp jumped forward.
    JumpForward,
}

/// What a push did, for the owner to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// A new epoch began with this frame.
    pub epoch: Option<EpochCause>,
    /// The frame was put into the log (interframes before a keyframe are not, nor is what repeats a header
    /// that players have).
    pub logged: bool,
}

/// A player's place in the log. Belongs to one relay; plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The position of the next entry.
    position: u64,
    /// What went by before it.
    passed: Tally,
    /// Where it began: video that leans on a keyframe before it is skipped.
    video_from: u64,
    /// The headers it gets before that entry.
    due: Option<Due>,
    /// Frames left out because the log let go of them, not told yet.
    shed: u64,
}

/// A prelude on its way to a player.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Due {
    prelude: Prelude,
    /// The item to be sent next.
    next: usize,
    /// Headers before this position the player has.
    since: u64,
}

/// A track as lists tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TrackView {
    /// Audio or video.
    pub medium: Medium,
    /// The codec.
    pub codec: FourCc,
    /// The track number, 0 unless multitrack.
    pub track: u8,
    /// Frames of this epoch.
    pub frames: u64,
    /// Keyframes of this epoch (video).
    pub keyframes: u64,
}

/// The live half of a stream.
#[derive(Debug)]
pub struct Relay {
    limits: RelayLimits,
    log: Log,
    timeline: Timeline,
    headers: Headers,
    /// The audio and video tracks of this play.
    tracks: BTreeMap<(Medium, u8), Track>,
    /// The video track that the GOP position follows: 0, or the first seen while 0 is not.
    main_video: Option<u8>,
    /// The main video track's last keyframe, while joiners may start there.
    gop: Option<Start>,
    epoch: u64,
    /// The next frame begins a play's epoch.
    is_play_due: bool,
}

/// A track of this play.
#[derive(Debug)]
struct Track {
    codec: FourCc,
    clock: TrackClock,
    /// The position of the last keyframe, unless what follows cannot lean on it.
    key: Option<u64>,
    /// The epoch whose headers went out before a frame of this track.
    told: u64,
    frames: u64,
    keyframes: u64,
}

/// A place in the log to start at.
#[derive(Clone, Debug)]
struct Start {
    position: u64,
    passed: Tally,
    prelude: Prelude,
}

/// The codec of what cannot be known.
const CODEC_UNKNOWN: FourCc = FourCc([0; 4]);

impl Relay {
    /// Makes an empty relay. Its first frame goes out at 0 and begins epoch 1 as after [`Relay::begin_play`].
    pub fn new(limits: RelayLimits) -> Self {
        Self {
            log: Log::new(limits.chunk_size),
            timeline: Timeline::new(limits.backward_max, limits.forward_max),
            headers: Headers::new(limits.headers_max),
            limits,
            tracks: BTreeMap::new(),
            main_video: None,
            gop: None,
            epoch: 0,
            is_play_due: true,
        }
    }

    /// The origin accepted a play: the next frame begins an epoch; its clock goes on from the last time out
    /// plus one frame. What joiners get is collected anew; headers of the life before serve only a track of
    /// the same codec whose frames come without a header of their own.
    pub fn begin_play(&mut self) {
        let is_barren = self.tracks.values().all(|track| track.told == 0);
        self.headers.begin_play(is_barren);
        self.tracks.clear();
        self.main_video = None;
        self.gop = None;
        self.is_play_due = true;
    }

    /// The pull was lost: keeps cursors, drops the GOP. Joiners wait for the next keyframe.
    pub fn interrupt(&mut self) {
        self.gop = None;
        for track in self.tracks.values_mut() {
            track.key = None;
        }
    }

    /// Drops headers, metadata and GOP; the clock goes on. For a stream context that must owe nothing to its
    /// past. The next frame begins an epoch, as after [`Relay::begin_play`]. What seated players have not
    /// read yet stays.
    pub fn rebuild(&mut self) {
        self.begin_play();
        self.headers.clear();
    }

    /// Takes a frame that came at `now`: stamps it on the stream's clock, encodes it once, appends it.
    pub fn push(&mut self, frame: &Frame, now: Instant) -> Pushed {
        let mut epoch = None;
        if self.is_play_due {
            self.is_play_due = false;
            self.begin_epoch();
            epoch = Some(EpochCause::Play);
        }
        let pushed = match frame.class {
            FrameClass::Metadata => self.push_header(frame),
            FrameClass::SequenceHeader => self.push_header(frame),
            FrameClass::Configuration => self.push_header(frame),
            FrameClass::Keyframe => self.push_media(frame, now),
            FrameClass::Interframe => self.push_media(frame, now),
            FrameClass::Audio => self.push_media(frame, now),
            FrameClass::Passing => self.push_passing(frame),
        };
        self.bound();
        Pushed { epoch: epoch.or(pushed.epoch), ..pushed }
    }

    /// Returns the place where a joiner starts: metadata and headers first, then the GOP; without a GOP,
    /// live, with video held back until a keyframe.
    pub fn join(&self) -> Cursor {
        let start = self.start(0);
        Cursor {
            position: start.position,
            passed: start.passed,
            video_from: start.position,
            due: Some(Due { prelude: start.prelude, next: 0, since: 0 }),
            shed: 0,
        }
    }

    /// Returns the next packet for a player in its format and moves the cursor; `None` at the end of the log.
    ///
    /// A cursor whose entry the log has let go is shed as by [`Relay::shed`]; [`Cursor::take_shed`] tells.
    /// Headers a joiner starts with are held back until there is a frame behind them, and encoded for it
    /// alone, since their time depends on where it starts.
    pub fn next(&mut self, cursor: &mut Cursor, format: Format) -> Option<Bytes> {
        if cursor.position < self.log.first() {
            cursor.shed += self.shed(cursor);
        }
        let epoch = self.log.get(cursor.position)?.epoch;
        if let Some(item) = cursor.due.as_mut().and_then(|due| due.take(epoch)) {
            return Some(self.log.encode(item.medium, item.time, &item.payload, format));
        }
        cursor.due = None;
        loop {
            let entry = self.log.get(cursor.position)?;
            let position = cursor.position;
            cursor.position += 1;
            cursor.passed = entry.after();
            if entry.key.is_some_and(|key| key < cursor.video_from) {
                continue;
            }
            let packet = self.log.packet(position, format);
            self.bound();
            return packet;
        }
    }

    /// Returns the encoded bytes between the cursor and the end of the log, as RTMP, in either format. A keyframe that is
    /// next does not count: nobody is too slow for that, however large it is.
    pub fn backlog(&self, cursor: &Cursor) -> usize {
        let passed = match self.log.get(cursor.position) {
            Some(entry) if entry.key == Some(cursor.position) => entry.after(),
            Some(_) | None => cursor.passed,
        };
        usize::try_from(self.log.total().bytes - passed.bytes).unwrap_or(usize::MAX)
    }

    /// Moves the cursor to the latest keyframe and returns the frames left out. Headers that changed in what was left out
    /// are sent first. A cursor that is in the group of pictures under way stays, since there is nothing newer to begin with;
    /// where none is kept it goes to the end and waits for a keyframe.
    pub fn shed(&mut self, cursor: &mut Cursor) -> u64 {
        if cursor.position >= self.end() {
            return 0;
        }
        // What is kept for joiners is kept anyway: who has fallen behind in it costs nothing more.
        if self.gop.as_ref().is_some_and(|gop| gop.position <= cursor.position) {
            return 0;
        }
        let start = self.start(cursor.position);
        let left_out = start.passed.frames - cursor.passed.frames;
        cursor.due = Some(match cursor.due.take() {
            // Who is on its way to such a place already, and has some of them, goes on with the others.
            Some(due) if due.prelude.has_those_of(&start.prelude) => Due { prelude: start.prelude, ..due },
            Some(due) => Due { prelude: start.prelude, next: 0, since: due.since },
            None => Due { prelude: start.prelude, next: 0, since: cursor.position },
        });
        cursor.position = start.position;
        cursor.passed = start.passed;
        // Where only headers were left out, the player still has what interframes lean on.
        if left_out > 0 {
            cursor.video_from = start.position;
        }
        left_out
    }

    /// Lets go of what no cursor needs: entries before both the GOP position and `oldest`, the least
    /// [`Cursor::position`] among the players, or [`Relay::end`] if there are none.
    pub fn trim(&mut self, oldest: u64) {
        let gop = self.gop.as_ref().map_or(self.end(), |gop| gop.position);
        self.log.trim(oldest.min(gop));
    }

    /// Returns the position one past the last entry.
    pub fn end(&self) -> u64 {
        self.log.end()
    }

    /// Returns the bytes kept: the log as [`RelayLimits::log_bytes_max`] counts it, and headers.
    pub fn bytes(&self) -> usize {
        self.log.bytes() + self.headers.bytes()
    }

    /// Returns the number of the epoch, 0 before the first frame.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the audio and video tracks of this epoch's play.
    pub fn tracks(&self) -> impl Iterator<Item = TrackView> {
        self.tracks.iter().map(|(&(medium, number), track)| TrackView {
            medium,
            codec: track.codec,
            track: number,
            frames: track.frames,
            keyframes: track.keyframes,
        })
    }

    /// Takes what decoding needs first.
    fn push_header(&mut self, frame: &Frame) -> Pushed {
        let kept = self.headers.keep(frame);
        let mut epoch = None;
        if frame.medium != Medium::Data {
            self.see(frame);
        }
        if frame.class == FrameClass::SequenceHeader {
            if kept != Kept::Same && frame.medium == Medium::Video {
                self.hold(frame.track);
            }
            if kept == Kept::Changed {
                self.begin_epoch();
                epoch = Some(EpochCause::HeaderChanged);
            }
            if let Some(track) = self.tracks.get_mut(&(frame.medium, frame.track)) {
                track.clock.announce();
            }
        }
        let before = self.end();
        if frame.medium != Medium::Data {
            self.send_metadata();
        }
        let time = match frame.medium {
            Medium::Audio => self.header_time(frame),
            Medium::Video => self.header_time(frame),
            Medium::Data => METADATA_TIME,
        };
        if kept == Kept::Refused {
            self.append(frame.medium, time, &frame.payload, None, true);
        }
        self.send_headers(frame.medium, frame.track, time);
        Pushed { epoch, logged: self.end() > before }
    }

    /// Takes an audio or video frame.
    fn push_media(&mut self, frame: &Frame, now: Instant) -> Pushed {
        let (medium, raw) = (frame.medium, frame.timestamp);
        let is_interframe = frame.class == FrameClass::Interframe;
        self.see(frame);
        let track = self.tracks.entry((medium, frame.track)).or_insert_with(|| Track::new(frame.codec));
        let reading = self.timeline.read(&track.clock, raw, now);
        if is_interframe && !reading.is_continuous {
            self.hold(frame.track);
        }
        let mut epoch = None;
        if let Place::Jump(cause) = reading.place {
            self.begin_epoch();
            epoch = Some(cause);
        }
        let track = self.tracks.entry((medium, frame.track)).or_insert_with(|| Track::new(frame.codec));
        if is_interframe && track.key.is_none() {
            self.timeline.skip(&mut track.clock, medium, raw, reading);
            return Pushed { epoch, logged: false };
        }
        let time = self.timeline.send(&mut track.clock, medium, raw, reading);
        track.frames += 1;
        if track.told != self.epoch {
            track.told = self.epoch;
            self.headers.inherit(medium, frame.track, frame.codec);
            self.send_metadata();
            self.send_headers(medium, frame.track, time);
        }
        if frame.class == FrameClass::Keyframe {
            self.begin_gop(frame);
        }
        let key = self.tracks.get(&(medium, frame.track)).and_then(|track| track.key);
        self.append(medium, time, &frame.payload, key, false);
        Pushed { epoch, logged: true }
    }

    /// Lets what follows lean on a keyframe about to be appended, and joiners start there if it is the main
    /// track's.
    fn begin_gop(&mut self, frame: &Frame) {
        let position = self.log.end();
        if let Some(track) = self.tracks.get_mut(&(Medium::Video, frame.track)) {
            track.key = Some(position);
            track.keyframes += 1;
        }
        if self.main_video == Some(frame.track) {
            self.gop = Some(Start { position, passed: self.log.total(), prelude: self.prelude() });
        }
    }

    /// Takes what joiners have no use for. An end of sequence or a video command before any frame it could
    /// speak of is left out.
    fn push_passing(&mut self, frame: &Frame) -> Pushed {
        let key = match (frame.medium, self.tracks.get(&(frame.medium, frame.track))) {
            (Medium::Data, _) => None,
            (Medium::Audio, Some(track)) if track.told == self.epoch => None,
            (Medium::Video, Some(track)) if track.told == self.epoch && track.key.is_some() => track.key,
            (Medium::Audio | Medium::Video, _) => return Pushed::default(),
        };
        let time = self.header_time(frame);
        self.append(frame.medium, time, &frame.payload, key, false);
        Pushed { epoch: None, logged: true }
    }

    /// Notes a track and its codec, and which video track the GOP follows.
    fn see(&mut self, frame: &Frame) {
        let (medium, number, codec) = (frame.medium, frame.track, frame.codec);
        if medium == Medium::Video && (self.main_video.is_none() || number == 0) {
            self.main_video = Some(number);
        }
        let track = self.tracks.entry((medium, number)).or_insert_with(|| Track::new(codec));
        if track.codec == codec || codec == CODEC_UNKNOWN {
            return;
        }
        let left = mem::replace(&mut track.codec, codec);
        if left == CODEC_UNKNOWN {
            return;
        }
        self.headers.forget(medium, number, left);
        if medium == Medium::Video {
            self.hold(number);
        }
    }

    /// Holds a video track back until its next keyframe.
    fn hold(&mut self, track: u8) {
        if let Some(track) = self.tracks.get_mut(&(Medium::Video, track)) {
            track.key = None;
        }
        if self.main_video == Some(track) {
            self.gop = None;
        }
    }

    fn begin_epoch(&mut self) {
        self.epoch += 1;
        self.gop = None;
        self.timeline.begin_epoch();
        for track in self.tracks.values_mut() {
            track.frames = 0;
            track.keyframes = 0;
        }
    }

    /// Sends the metadata if this epoch has not yet.
    fn send_metadata(&mut self) {
        let (epoch, position) = (self.epoch, self.log.end());
        if let Some(payload) = self.headers.take_owed(Medium::Data, 0, epoch, position, METADATA_TIME) {
            self.append(Medium::Data, METADATA_TIME, &payload, None, true);
        }
    }

    /// Sends the headers of a track that this epoch has not sent yet.
    fn send_headers(&mut self, medium: Medium, track: u8, time: u64) {
        while let Some(payload) = self.headers.take_owed(medium, track, self.epoch, self.log.end(), time) {
            self.append(medium, time, &payload, None, true);
        }
    }

    fn header_time(&mut self, frame: &Frame) -> u64 {
        match self.tracks.get_mut(&(frame.medium, frame.track)) {
            Some(track) => self.timeline.send_header(&mut track.clock),
            None => self.timeline.send_data(),
        }
    }

    fn append(&mut self, medium: Medium, time: u64, payload: &Bytes, key: Option<u64>, is_header: bool) {
        self.log.append(Item { epoch: self.epoch, key, medium, time, payload, is_header });
    }

    /// Gives up a GOP that has grown too large, then the oldest entries.
    fn bound(&mut self) {
        let RelayLimits { gop_bytes_max, gop_frames_max, log_bytes_max, .. } = self.limits;
        self.log.shrink(log_bytes_max);
        let (end, total, first) = (self.log.end(), self.log.total(), self.log.first());
        self.gop.take_if(|gop| {
            gop.position < first
                || total.bytes - gop.passed.bytes > gop_bytes_max as u64
                || end - gop.position > gop_frames_max as u64
        });
    }

    /// Returns where to start: at the GOP if it lies at `from` or later, else at the end.
    fn start(&self, from: u64) -> Start {
        match &self.gop {
            Some(gop) if gop.position >= from => gop.clone(),
            Some(_) | None => {
                Start { position: self.end(), passed: self.log.total(), prelude: self.prelude() }
            }
        }
    }

    fn prelude(&self) -> Prelude {
        self.headers.prelude(self.epoch, |medium, track| self.tracks.get(&(medium, track))?.clock.last())
    }
}

impl Track {
    fn new(codec: FourCc) -> Self {
        Self { codec, clock: TrackClock::default(), key: None, told: 0, frames: 0, keyframes: 0 }
    }
}

impl Cursor {
    /// Returns the position of the next entry.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the frames left out by [`Relay::next`] since the last call, because the log had let go of
    /// them. What [`Relay::shed`] leaves out is its own answer and not counted here.
    pub fn take_shed(&mut self) -> u64 {
        mem::take(&mut self.shed)
    }
}

impl Due {
    /// Takes the next header the player does not have; none if the log goes on with another epoch, which
    /// brings headers of its own.
    fn take(&mut self, epoch: u64) -> Option<PreludeItem> {
        if self.prelude.epoch != epoch {
            return None;
        }
        loop {
            let item = self.prelude.items.get(self.next)?;
            self.next += 1;
            if item.position >= self.since {
                return Some(item.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
