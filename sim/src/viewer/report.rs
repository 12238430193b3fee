//! What a viewer keeps of what it saw.

use bytes::Bytes;
use proxy_core::time::{Duration, Instant};

use crate::raw::{
    amf0::Amf,
    media::{Stamp, Track},
};

/// Violations kept; all are counted.
pub const VIOLATIONS_MAX: usize = 64;
/// Gaps, statuses and disconnects kept, of each.
pub const NOTES_MAX: usize = 1024;

/// One tag as seen.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Metadata.
    Metadata(Vec<Amf>),
    /// A sequence header.
    Header {
        /// Of which track.
        track: Track,
        /// As sent.
        timestamp: u32,
        /// The whole tag.
        payload: Bytes,
    },
    /// A frame.
    Frame {
        /// Of which track.
        track: Track,
        /// It is a keyframe of video.
        key: bool,
        /// As sent.
        timestamp: u32,
        /// What it says of itself.
        stamp: Option<Stamp>,
    },
}

/// Time without a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last frame before.
    pub from: Instant,
    /// The first frame after.
    pub to: Instant,
}

impl Gap {
    /// Returns how long it was.
    pub fn duration(&self) -> Duration {
        self.to.since(self.from)
    }
}

/// What comes before a picture: from the connection's beginning, or from behind the last frame of another play.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// Sequence headers.
    pub headers: u32,
    /// Metadata.
    pub metadata: u32,
}

/// What a viewer has seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Frames, audio and video.
    pub frames: u64,
    /// Video frames.
    pub video: u64,
    /// Video keyframes.
    pub keyframes: u64,
    /// Audio frames.
    pub audio: u64,
    /// Sequence headers.
    pub headers: u64,
    /// Metadata messages.
    pub metadata: u64,
    /// Frames of a play that did not come, between others that did.
    pub lost: u64,
    /// How often some did not come on a track whose clock runs on.
    pub leaps: u64,
    /// Frames that came again across a re-pull.
    pub repeated: u64,
    /// Plays of the origin seen.
    pub plays: u64,
    /// Lives of the publisher seen.
    pub lives: u64,
    /// Openings completed, on all connections.
    pub openings: u64,
    /// What the last one held.
    pub opening: Opening,
    /// When the first frame came.
    pub first_frame: Option<Instant>,
    /// When the last frame came.
    pub last_frame: Option<Instant>,
    /// Gaps that ended.
    pub gaps: Vec<Gap>,
    /// The longest of all gaps that ended.
    pub gap_worst: Duration,
    /// Connections made.
    pub connections: u64,
    /// Connections lost, and how.
    pub disconnects: Vec<(Instant, String)>,
    /// What the server told: onStatus codes, StreamEOF and its kin, HTTP statuses.
    pub statuses: Vec<(Instant, String)>,
    /// Broken promises; the first [`VIOLATIONS_MAX`].
    pub violations: Vec<String>,
    /// Broken promises in all.
    pub violations_total: u64,
    /// The first tags of all, up to [`super::ViewerConfig::seen_max`].
    pub seen: Vec<Seen>,
}

impl Report {
    /// Returns the time without a frame up to `now`, once there has been one.
    pub fn silence(&self, now: Instant) -> Duration {
        self.last_frame.map_or(Duration::ZERO, |last| now.since(last))
    }

    /// Returns whether the server said this.
    pub fn was_told(&self, code: &str) -> bool {
        self.statuses.iter().any(|(_, status)| status == code)
    }
}
