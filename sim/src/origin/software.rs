//! Software in the field, by name and version, as far as a pull can tell it apart.

use std::{fmt, str::FromStr};

use proxy_core::time::Duration;

use super::{
    config::{
        Behaviour, Csids, Handshake, MetadataStyle, Missing, Muted, OnCall, OnConnect, SecondPlay, Shutdown,
        StartStyle, Unpublish, Withhold,
    },
    outlet::Flow,
};
use crate::raw::chunk::{ChunkStyle, Headers};

/// Software an origin can behave like, as far as a pull can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Like {
    /// SRS 6: a missing stream is waited for in silence, an unpublish is not told, GOP cache on.
    Srs6,
    /// nginx-rtmp 1.1.4: the same silence, StreamEOF at unpublish, no GOP cache, a second play is refused.
    NginxRtmp,
    /// ZLMediaKit: a missing stream is parked 15 s and refused, an unpublish is StreamEOF and hang-up.
    ZlMediaKit,
    /// FFmpeg with `-listen 1`: one stream, `@setDataFrame` to players, hangs up at the end.
    Ffmpeg,
}

impl Like {
    /// Every software there is a model of.
    pub const ALL: [Self; 4] = [Self::Srs6, Self::NginxRtmp, Self::ZlMediaKit, Self::Ffmpeg];

    /// Returns the name scenarios use: software and version.
    pub fn name(self) -> &'static str {
        match self {
            Self::Srs6 => "srs-6",
            Self::NginxRtmp => "nginx-rtmp-1.1.4",
            Self::ZlMediaKit => "zlmediakit-2026",
            Self::Ffmpeg => "ffmpeg-listen",
        }
    }

    /// Returns what sets it apart, a sentence.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Srs6 => {
                "SRS 6: a missing stream is waited for in silence, an unpublish is not told, joiners get the GOP \
                 under way."
            }
            Self::NginxRtmp => {
                "nginx-rtmp 1.1.4: a missing stream is waited for in silence, an unpublish is StreamEOF, joiners \
                 begin in the middle of a GOP, a second play is refused, clients are pinged."
            }
            Self::ZlMediaKit => {
                "ZLMediaKit of 2026: a missing stream is parked for 15 s and refused, an unpublish is StreamEOF and \
                 a hang-up."
            }
            Self::Ffmpeg => {
                "FFmpeg with -listen 1: one stream, hangs up when it is missing or over, says @setDataFrame to \
                 players and deleteStream when told to end."
            }
        }
    }
}

impl fmt::Display for Like {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no software.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSoftware {
    /// The word.
    pub word: String,
}

impl fmt::Display for UnknownSoftware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no software there is a model of; allowed: ", self.word)?;
        f.write_str(&Like::ALL.map(Like::name).join(", "))
    }
}

impl std::error::Error for UnknownSoftware {}

impl FromStr for Like {
    type Err = UnknownSoftware;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|like| like.name() == word);
        found.ok_or_else(|| UnknownSoftware { word: word.to_owned() })
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::like(Like::Srs6)
    }
}

impl Behaviour {
    /// Returns the behaviour of known software.
    pub fn like(like: Like) -> Self {
        let wire = ChunkStyle { chunk_size: 60_000, ..ChunkStyle::default() };
        let srs = Self {
            handshake: Handshake::Simple,
            connect: OnConnect::Accept,
            create_stream: OnCall::Answer,
            play: OnCall::Answer,
            missing: Missing::Wait,
            unpublish: Unpublish::Silent,
            second_play: SecondPlay::Serve,
            withhold: Withhold::Nothing,
            muted: Muted { video: false, audio: false },
            keyless: false,
            drip: None,
            command_delay: Duration::ZERO,
            pings_answered: true,
            ping_every: None,
            gop_cache: true,
            media_before_start: false,
            start: StartStyle { begin: true, reset: true, sample_access: true },
            metadata: MetadataStyle::Ecma,
            end: None,
            reconnect_request: None,
            message_stream: 1,
            numbers_from: 0,
            media_stream: None,
            window: 2_500_000,
            stops_unacknowledged: false,
            wire,
            csids: Csids::USUAL,
            flow: Flow::AtOnce,
            cut: None,
            shutdown: Shutdown::Hangup,
            defect: None,
        };
        match like {
            Like::Srs6 => srs,
            Like::NginxRtmp => Self {
                unpublish: Unpublish::StreamEof,
                second_play: SecondPlay::AlreadyJoined,
                ping_every: Some(Duration::from_secs(60)),
                gop_cache: false,
                start: StartStyle { begin: true, reset: false, sample_access: true },
                metadata: MetadataStyle::Object,
                window: 5_000_000,
                wire: ChunkStyle { chunk_size: 4096, ..ChunkStyle::default() },
                ..srs
            },
            Like::ZlMediaKit => Self {
                missing: Missing::NotFound { after: Duration::from_secs(15), close: true },
                unpublish: Unpublish::EofAndClose,
                second_play: SecondPlay::Ignore,
                start: StartStyle { begin: true, reset: true, sample_access: false },
                window: 5_000_000,
                ..srs
            },
            Like::Ffmpeg => Self {
                missing: Missing::Close,
                unpublish: Unpublish::Close,
                second_play: SecondPlay::Close,
                shutdown: Shutdown::AsPublisher,
                start: StartStyle { begin: true, reset: false, sample_access: false },
                metadata: MetadataStyle::SetDataFrame,
                wire: ChunkStyle { chunk_size: 4096, headers: Headers::Short, ..ChunkStyle::default() },
                ..srs
            },
        }
    }
}
