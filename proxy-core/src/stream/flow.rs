//! Whether the origin is alive and every track flows: pings, silence, and what counts as missing.

use crate::{
    config::PullConfig,
    time::Instant,
    wire::flv::{Frame, FrameClass, Medium},
};

/// Pings of ours and their answers, on one connection. By default one is due at once.
#[derive(Clone, Debug, Default)]
pub struct Pinger {
    last: Option<Instant>,
    unanswered: Option<Instant>,
    answered: bool,
    /// When the last bytes came: a frame on its way is life, though no media yet, and a pong may queue behind it.
    heard: Option<Instant>,
}

impl Pinger {
    /// The origin has shown that it answers pings.
    pub const fn is_answered(&self) -> bool {
        self.answered
    }

    /// Takes an answer.
    pub const fn handle_pong(&mut self) {
        self.answered = true;
        self.unanswered = None;
    }

    /// Notes that bytes came.
    pub const fn hear(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// Notes a ping sent.
    pub const fn sent(&mut self, now: Instant) {
        self.last = Some(now);
        if self.unanswered.is_none() {
            self.unanswered = Some(now);
        }
    }

    /// Returns when the next ping is due. `media` is when the last media frame came, if any did: pings are
    /// frequent only while it is silent.
    pub fn next_at(&self, config: &PullConfig, media: Option<Instant>) -> Instant {
        let Some(last) = self.last else { return Instant::ZERO };
        match media {
            Some(media) => (last + config.ping_interval)
                .min((media + config.ping_interval_silent).max(last + config.ping_interval_silent)),
            None => last + config.ping_interval_silent,
        }
    }

    /// Returns when the transport counts as dead: only where the origin has shown that it answers.
    pub fn dead_at(&self, config: &PullConfig) -> Option<Instant> {
        let since = self.unanswered?;
        self.answered.then(|| since.max(self.heard.unwrap_or(since)) + config.ping_timeout)
    }
}

/// What became of a track that fell silent while the other flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// It is not missing.
    #[default]
    No,
    /// A replay has been tried.
    Replayed,
    /// A redial has been tried.
    Redialled,
    /// Accepted as gone until seen again.
    Gone,
}

/// Missing tracks of a pull: survives replay and redial, because they are how a track is asked for again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MissingTracks {
    audio: Missing,
    video: Missing,
}

impl MissingTracks {
    /// Returns what became of a track.
    pub const fn of(&self, track: AvTrack) -> Missing {
        match track {
            AvTrack::Audio => self.audio,
            AvTrack::Video => self.video,
        }
    }

    /// Notes what became of a track.
    pub const fn note(&mut self, track: AvTrack, missing: Missing) {
        match track {
            AvTrack::Audio => self.audio = missing,
            AvTrack::Video => self.video = missing,
        }
    }
}

/// The two media a stall is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AvTrack {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

impl AvTrack {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Audio, Self::Video];

    /// Returns the track a frame is media of: headers, metadata and data prove nothing.
    pub const fn of(frame: &Frame) -> Option<Self> {
        match frame.class {
            FrameClass::Audio => Some(Self::Audio),
            FrameClass::Keyframe => Some(Self::Video),
            FrameClass::Interframe => Some(Self::Video),
            FrameClass::Metadata => None,
            FrameClass::SequenceHeader => None,
            FrameClass::Configuration => None,
            FrameClass::Passing => None,
        }
    }

    /// Returns the medium.
    pub const fn medium(self) -> Medium {
        match self {
            Self::Audio => Medium::Audio,
            Self::Video => Medium::Video,
        }
    }
}

/// When frames came, on one play.
#[derive(Clone, Debug)]
pub struct Flow {
    /// When the first one came.
    pub since: Instant,
    /// When the last one came.
    pub last: Instant,
    audio: Option<Instant>,
    video: Option<Instant>,
}

impl Flow {
    /// Begins with a first frame.
    pub fn new(track: AvTrack, now: Instant) -> Self {
        let mut flow = Self { since: now, last: now, audio: None, video: None };
        flow.note(track, now);
        flow
    }

    /// Notes a frame.
    pub const fn note(&mut self, track: AvTrack, now: Instant) {
        self.last = now;
        match track {
            AvTrack::Audio => self.audio = Some(now),
            AvTrack::Video => self.video = Some(now),
        }
    }

    /// Returns when a track counts as stalled: one that flowed in this play, or that a replay or redial was
    /// meant to bring back.
    pub fn track_stalled_at(
        &self,
        config: &PullConfig,
        missing: &MissingTracks,
        track: AvTrack,
    ) -> Option<Instant> {
        let last = match track {
            AvTrack::Audio => self.audio,
            AvTrack::Video => self.video,
        };
        let from = match missing.of(track) {
            Missing::No => last,
            Missing::Replayed => Some(last.unwrap_or(self.since)),
            Missing::Redialled => Some(last.unwrap_or(self.since)),
            Missing::Gone => None,
        };
        from.map(|from| from + config.track_stall_timeout)
    }
}
