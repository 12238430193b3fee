//! A publisher's life: every frame is a pure function of its number, so nothing is stored.

use bytes::Bytes;
use proxy_core::time::{Duration, Instant};

use super::config::Publisher;
use crate::raw::media::{self, Stamp, StampKind, Track};

/// A publisher on the air.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) publisher: Publisher,
    pub(super) epoch: u32,
    stream: u32,
    start: Instant,
}

/// The next frame of each track, in one play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) video: u64,
    pub(super) audio: u64,
}

/// A frame to send.
#[derive(Clone, Debug)]
pub(super) struct DueFrame {
    pub(super) track: Track,
    pub(super) timestamp: u32,
    pub(super) header: Bytes,
    pub(super) stamp: Stamp,
    in_gop: u32,
    size: (u32, u32),
}

impl Life {
    pub(super) fn new(name: &str, publisher: Publisher, epoch: u32, start: Instant) -> Self {
        Self { publisher, epoch, stream: media::stream_hash(name), start }
    }

    /// Returns where a joiner starts: with the GOP under way, or with whatever comes next.
    pub(super) fn join(&self, gop_cache: bool, now: Instant) -> Position {
        let passed = |time: u64, period: u64| time / period;
        let elapsed = nanos(now.since(self.start));
        let video = self.publisher.video.as_ref().map_or(0, |video| {
            let current = passed(elapsed, self.video_period());
            if gop_cache { current - current % u64::from(video.gop.max(1)) } else { current + 1 }
        });
        let audio = self.publisher.audio.as_ref().map_or(0, |audio| {
            let period = nanos(audio.period).max(1);
            if gop_cache && self.publisher.video.is_some() {
                (video * self.video_period()).div_ceil(period)
            } else {
                passed(elapsed, period) + 1
            }
        });
        Position { video, audio: audio.max(self.audio_first()) }
    }

    /// Returns the very first frames, for players that waited for the publisher.
    pub(super) fn beginning(&self) -> Position {
        Position { video: 0, audio: self.audio_first() }
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
        Some(self.start + Duration::from_nanos(at))
    }

    /// Takes the next frame if it is due and moves the position.
    pub(super) fn take(&self, position: &mut Position, play: u32, now: Instant) -> Option<DueFrame> {
        let (track, at) = self.next_track(*position)?;
        if self.start + Duration::from_nanos(at) > now {
            return None;
        }
        let frame = self.frame(track, *position, at, play);
        match track {
            Track::Video => position.video += 1,
            Track::Audio => position.audio += 1,
        }
        Some(frame)
    }

    /// Returns a track's sequence header at a position.
    pub(super) fn header(&self, track: Track, position: Position) -> Option<Bytes> {
        match track {
            Track::Video => {
                let video = self.publisher.video.as_ref()?;
                let number = position.video - position.video % u64::from(video.gop.max(1));
                let (width, height) = self.size_at(number * self.video_period());
                Some(media::video_header(video.codec, width, height))
            }
            Track::Audio => Some(media::audio_header(self.publisher.audio.as_ref()?.codec)),
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

    /// Returns the picture size at the beginning, for metadata.
    pub(super) fn size(&self, position: Position) -> (u32, u32) {
        self.size_at(position.video * self.video_period())
    }

    /// Returns the payload of a frame.
    pub(super) fn payload(&self, frame: &DueFrame) -> Bytes {
        match (frame.track, &self.publisher.video, &self.publisher.audio) {
            (Track::Video, Some(video), _) => {
                let len = if frame.in_gop == 0 { video.bytes.0 } else { video.bytes.1 };
                media::video_frame(video.codec, frame.size, frame.in_gop, len, &frame.stamp)
            }
            (Track::Audio, _, Some(audio)) => media::audio_frame(audio.codec, &frame.stamp),
            (Track::Video | Track::Audio, _, _) => Bytes::new(),
        }
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
        let at = position.video * self.video_period();
        (video.until.is_none_or(|until| at < nanos(until))).then_some(at)
    }

    fn audio_at(&self, position: Position) -> Option<u64> {
        let audio = self.publisher.audio.as_ref()?;
        let at = position.audio * nanos(audio.period);
        (audio.until.is_none_or(|until| at < nanos(until))).then_some(at)
    }

    fn audio_first(&self) -> u64 {
        let audio = self.publisher.audio.as_ref();
        audio.map_or(0, |audio| nanos(audio.from).div_ceil(nanos(audio.period).max(1)))
    }

    fn video_period(&self) -> u64 {
        let fps = self.publisher.video.as_ref().map_or(1, |video| video.fps.clamp(1, 1000));
        1_000_000_000 / u64::from(fps)
    }

    fn size_at(&self, at: u64) -> (u32, u32) {
        let Some(video) = &self.publisher.video else { return (0, 0) };
        match video.resize {
            Some((from, size)) if at >= nanos(from) => size,
            _ => video.size,
        }
    }

    fn frame(&self, track: Track, position: Position, at: u64, play: u32) -> DueFrame {
        let gop_len = u64::from(self.publisher.video.as_ref().map_or(1, |video| video.gop.max(1)));
        let gop = if self.publisher.video.is_some() { at / (self.video_period() * gop_len) } else { 0 };
        let header = self.header(track, position).unwrap_or_default();
        let timestamp = self.timestamp(at);
        let (number, in_gop, kind) = match track {
            Track::Video if position.video.is_multiple_of(gop_len) => (position.video, 0, StampKind::Key),
            Track::Video => (position.video, position.video % gop_len, StampKind::Inter),
            Track::Audio => (position.audio, 0, StampKind::Audio),
        };
        let gop_start = position.video - position.video % gop_len;
        DueFrame {
            track,
            timestamp,
            stamp: Stamp {
                stream: self.stream,
                play,
                epoch: self.epoch,
                number: number as u32,
                gop: gop as u32,
                time: timestamp,
                header: media::header_hash(&header),
                kind,
            },
            header,
            in_gop: in_gop as u32,
            size: self.size_at(gop_start * self.video_period()),
        }
    }

    fn timestamp(&self, at: u64) -> u32 {
        let clock = &self.publisher.clock;
        let mut millis = u64::from(clock.base) + at / 1_000_000;
        if let Some((from, by)) = clock.jump
            && at >= nanos(from)
        {
            millis = millis.wrapping_add_signed(by);
        }
        let mask = if clock.mask31 { 0x7FFF_FFFF } else { 0xFFFF_FFFF };
        (millis & mask) as u32
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
