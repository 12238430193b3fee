//! A publisher's life: every frame is a pure function of its number and of what was changed on the way, so no frame
//! is stored.

use bytes::Bytes;
use proxy_core::time::{Duration, Instant};

use super::config::{Audio, Payload, Publisher, PublisherClock};
use crate::raw::media::{self, AudioCodec, Stamp, StampKind, Track, VideoCodec};

/// A change in a publisher's running life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Video goes on in this codec and size from the next keyframe on.
    Video {
        /// The codec.
        codec: VideoCodec,
        /// Width and height in pixels.
        size: (u32, u32),
    },
    /// Video ends.
    VideoEnds,
    /// Audio goes on in this codec.
    AudioCodec(AudioCodec),
    /// Audio begins where there is none. If there was some before, its period stays.
    AudioBegins(Audio),
    /// Audio ends.
    AudioEnds,
    /// All timestamps move by so many ms.
    ClockJump(i64),
    /// Timestamps start over from here, in ms.
    ClockRestart(u32),
}

/// How video looks from a media time on.
#[derive(Clone, Debug)]
struct Look {
    /// In nanoseconds; the first keyframe at or after it is the first to look so.
    from: u64,
    codec: VideoCodec,
    size: (u32, u32),
    header: Bytes,
    hash: u32,
}

/// How audio sounds from a media time on, in nanoseconds.
#[derive(Clone, Debug)]
struct Sound {
    from: u64,
    codec: AudioCodec,
    header: Bytes,
    hash: u32,
}

/// A publisher on the air.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) publisher: Publisher,
    pub(super) epoch: u32,
    stream: u32,
    start: Instant,
    looks: Vec<Look>,
    sounds: Vec<Sound>,
    /// From a media time in nanoseconds on, by so many ms.
    jumps: Vec<(u64, i64)>,
    video_period: u64,
    gop: u64,
}

/// The next frame of each track, in one play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) video: u64,
    pub(super) audio: u64,
}

/// Names a sequence header within a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderNo(usize);

/// A frame to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct DueFrame {
    pub(super) track: Track,
    pub(super) timestamp: u32,
    /// The sequence header it needs.
    pub(super) header: HeaderNo,
    pub(super) stamp: Stamp,
    in_gop: u32,
}

impl DueFrame {
    /// Returns what an encoder sends that makes no keyframes: in the place of one another frame, so that who has the
    /// picture keeps it.
    pub(super) fn without_key(mut self) -> Self {
        if self.stamp.kind == StampKind::Key {
            self.stamp.kind = StampKind::Inter;
            self.in_gop = 1;
        }
        self
    }
}

impl Life {
    pub(super) fn new(name: &str, publisher: Publisher, epoch: u32, start: Instant) -> Self {
        let mut life = Self {
            epoch,
            stream: media::stream_hash(name),
            start,
            looks: Vec::new(),
            sounds: Vec::new(),
            jumps: publisher.clock.jump.map(|(from, by)| (nanos(from), by)).into_iter().collect(),
            video_period: 1_000_000_000,
            gop: 1,
            publisher,
        };
        if let Some(video) = life.publisher.video.clone() {
            life.video_period = 1_000_000_000 / u64::from(video.fps.clamp(1, 1000));
            life.gop = u64::from(video.gop.max(1));
            life.look(0, video.codec, video.size);
            if let Some((from, size)) = video.resize {
                life.look(nanos(from), video.codec, size);
            }
        }
        if let Some(codec) = life.publisher.audio.as_ref().map(|audio| audio.codec) {
            life.sound(0, codec);
        }
        life
    }

    /// Changes what is to come.
    pub(super) fn change(&mut self, change: &Change, now: Instant) {
        let from = nanos(now.since(self.start));
        let until = Some(Duration::from_nanos(from));
        match change {
            Change::Video { codec, size } => self.look(from, *codec, *size),
            Change::VideoEnds => {
                if let Some(video) = &mut self.publisher.video {
                    video.until = until;
                }
            }
            Change::AudioCodec(codec) => self.sound(from, *codec),
            Change::AudioBegins(audio) => {
                self.sound(from, audio.codec);
                let period = self.publisher.audio.as_ref().map_or(audio.period, |before| before.period);
                let begins = Duration::from_nanos(from) + audio.from;
                self.publisher.audio = Some(Audio { period, from: begins, until: None, ..audio.clone() });
            }
            Change::AudioEnds => {
                if let Some(audio) = &mut self.publisher.audio {
                    audio.until = until;
                }
            }
            Change::ClockJump(by) => self.jumps.push((from, *by)),
            Change::ClockRestart(base) => {
                let reads = self.millis(from);
                self.jumps.push((from, i64::from(*base) - reads));
            }
        }
    }

    /// Returns where a joiner starts: with the GOP under way, or with whatever comes next.
    pub(super) fn join(&self, gop_cache: bool, now: Instant) -> Position {
        let elapsed = nanos(now.since(self.start));
        let video = self.publisher.video.as_ref().map_or(0, |_| {
            let current = elapsed / self.video_period;
            if gop_cache { current - current % self.gop } else { current + 1 }
        });
        let audio = self.publisher.audio.as_ref().map_or(0, |audio| {
            let period = period(audio);
            if gop_cache && self.publisher.video.is_some() {
                (video * self.video_period).div_ceil(period)
            } else {
                elapsed / period + 1
            }
        });
        Position { video: video.max(self.video_first()), audio: audio.max(self.audio_first()) }
    }

    /// Returns the very first frames, for players that waited for the publisher.
    pub(super) fn beginning(&self) -> Position {
        Position { video: self.video_first(), audio: self.audio_first() }
    }

    /// Returns when it began.
    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// Returns the timestamp of the next frame at a position, for what is sent ahead of it.
    pub(super) fn timestamp_at(&self, position: Position) -> u32 {
        self.timestamp(self.next_track(position).map_or(0, |(_, at)| at))
    }

    /// Returns when the next frame is due.
    pub(super) fn due(&self, position: Position) -> Option<Instant> {
        let (_, at) = self.next_track(position)?;
        Some(self.moment(at))
    }

    /// Takes the next frame if it is due and moves the position.
    pub(super) fn take(&self, position: &mut Position, play: u32, now: Instant) -> Option<DueFrame> {
        let (track, at) = self.next_track(*position)?;
        if self.moment(at) > now {
            return None;
        }
        match track {
            Track::Video => {
                position.video += 1;
                Some(self.video_frame(position.video - 1, at, play))
            }
            Track::Audio => {
                // Audio that begins again has left numbers out.
                let number = position.audio.max(self.audio_first());
                position.audio = number + 1;
                Some(self.audio_frame(number, at, play))
            }
        }
    }

    /// Returns the sequence header a track needs at a position.
    pub(super) fn header_at(&self, track: Track, position: Position) -> Option<HeaderNo> {
        match track {
            Track::Video => {
                self.publisher.video.as_ref()?;
                Some(self.look_of(position.video))
            }
            Track::Audio => {
                let audio = self.publisher.audio.as_ref()?;
                Some(self.sound_at(position.audio.max(self.audio_first()) * period(audio)))
            }
        }
    }

    /// Returns a sequence header; empty if the codec has none.
    pub(super) fn header(&self, track: Track, number: HeaderNo) -> &Bytes {
        match track {
            Track::Video => &self.looks[number.0].header,
            Track::Audio => &self.sounds[number.0].header,
        }
    }

    /// Returns whether a track has frames at a position.
    pub(super) fn is_running(&self, track: Track, position: Position) -> bool {
        match track {
            Track::Video => self.video_at(position).is_some(),
            Track::Audio => {
                position.audio > self.audio_first()
                    || self.publisher.audio.as_ref().is_some_and(|audio| audio.from == Duration::ZERO)
            }
        }
    }

    /// Returns the picture size at a position, for metadata.
    pub(super) fn size(&self, position: Position) -> (u32, u32) {
        self.looks.get(self.look_of(position.video).0).map_or((0, 0), |look| look.size)
    }

    /// Appends the payload of a frame.
    pub(super) fn put_payload(&self, frame: &DueFrame, out: &mut Vec<u8>) {
        let len = match (frame.track, &self.publisher.video, &self.publisher.audio) {
            (Track::Video, Some(video), _) if frame.in_gop == 0 => video.bytes.0,
            (Track::Video, Some(video), _) => video.bytes.1,
            (Track::Audio, _, Some(audio)) => audio.bytes,
            (Track::Video | Track::Audio, _, _) => 0,
        };
        match (frame.track, self.publisher.payload) {
            (Track::Video, Payload::Decodable) => {
                let look = &self.looks[frame.header.0];
                media::put_video_frame(look.codec, look.size, frame.in_gop, len, &frame.stamp, out);
            }
            (Track::Audio, Payload::Decodable) => {
                media::put_audio_frame(self.sounds[frame.header.0].codec, &frame.stamp, out);
            }
            (Track::Video, Payload::Stub) => {
                media::put_video_stub(self.looks[frame.header.0].codec, len, &frame.stamp, out);
            }
            (Track::Audio, Payload::Stub) => {
                media::put_audio_stub(self.sounds[frame.header.0].codec, len, &frame.stamp, out);
            }
        }
    }

    fn moment(&self, at: u64) -> Instant {
        Instant::from_nanos(self.start.as_nanos().saturating_add(at))
    }

    fn look(&mut self, from: u64, codec: VideoCodec, size: (u32, u32)) {
        let header = media::video_header(codec, size.0, size.1);
        let hash = media::header_hash(&header);
        self.looks.push(Look { from, codec, size, header, hash });
    }

    fn sound(&mut self, from: u64, codec: AudioCodec) {
        let header = media::audio_header(codec);
        let hash = media::header_hash(&header);
        self.sounds.push(Sound { from, codec, header, hash });
    }

    /// A GOP looks as its keyframe does.
    fn look_of(&self, number: u64) -> HeaderNo {
        let at = (number - number % self.gop) * self.video_period;
        HeaderNo(self.looks.iter().rposition(|look| look.from <= at).unwrap_or(0))
    }

    fn sound_at(&self, at: u64) -> HeaderNo {
        HeaderNo(self.sounds.iter().rposition(|sound| sound.from <= at).unwrap_or(0))
    }

    fn next_track(&self, position: Position) -> Option<(Track, u64)> {
        match (self.video_at(position), self.audio_at(position)) {
            (Some(video), Some(audio)) if audio < video => Some((Track::Audio, audio)),
            (Some(video), _) => Some((Track::Video, video)),
            (None, Some(audio)) => Some((Track::Audio, audio)),
            (None, None) => None,
        }
    }

    fn video_at(&self, position: Position) -> Option<u64> {
        let video = self.publisher.video.as_ref()?;
        let at = position.video * self.video_period;
        (video.until.is_none_or(|until| at < nanos(until))).then_some(at)
    }

    fn audio_at(&self, position: Position) -> Option<u64> {
        let audio = self.publisher.audio.as_ref()?;
        let at = position.audio.max(self.audio_first()) * period(audio);
        (audio.until.is_none_or(|until| at < nanos(until))).then_some(at)
    }

    fn video_first(&self) -> u64 {
        self.publisher.video.as_ref().map_or(0, |video| u64::from(video.skip))
    }

    fn audio_first(&self) -> u64 {
        match &self.publisher.audio {
            Some(audio) if audio.from > Duration::ZERO => nanos(audio.from).div_ceil(period(audio)),
            Some(_) | None => 0,
        }
    }

    fn video_frame(&self, number: u64, at: u64, play: u32) -> DueFrame {
        let in_gop = number % self.gop;
        let header = self.look_of(number);
        let kind = if in_gop == 0 { StampKind::Key } else { StampKind::Inter };
        let stamp = self.stamp(kind, number, number / self.gop, at, play, self.looks[header.0].hash);
        DueFrame { track: Track::Video, timestamp: stamp.time, header, stamp, in_gop: in_gop as u32 }
    }

    fn audio_frame(&self, number: u64, at: u64, play: u32) -> DueFrame {
        let gop = if self.publisher.video.is_some() { at / (self.video_period * self.gop) } else { 0 };
        let header = self.sound_at(at);
        let stamp = self.stamp(StampKind::Audio, number, gop, at, play, self.sounds[header.0].hash);
        DueFrame { track: Track::Audio, timestamp: stamp.time, header, stamp, in_gop: 0 }
    }

    fn stamp(&self, kind: StampKind, number: u64, gop: u64, at: u64, play: u32, header: u32) -> Stamp {
        Stamp {
            stream: self.stream,
            play,
            epoch: self.epoch,
            number: number as u32,
            gop: gop as u32,
            time: self.timestamp(at),
            header,
            kind,
        }
    }

    fn timestamp(&self, at: u64) -> u32 {
        let mask = if self.publisher.clock.mask31 { 0x7FFF_FFFF } else { 0xFFFF_FFFF };
        (self.millis(at) & mask) as u32
    }

    /// What the publisher's clock reads at a media time, in ms, before it is cut to what the wire carries.
    fn millis(&self, at: u64) -> i64 {
        let PublisherClock { base, drift, .. } = self.publisher.clock;
        let gained = (i128::from(at) * i128::from(drift) / 1_000_000_000) as i64;
        let base = i64::from(base) + (at / 1_000_000) as i64 + gained;
        self.jumps
            .iter()
            .filter(|(from, _)| *from <= at)
            .fold(base, |millis, (_, by)| millis.wrapping_add(*by))
    }
}

fn period(audio: &Audio) -> u64 {
    nanos(audio.period).max(1)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
