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

mod log;
mod timeline;

use bytes::Bytes;

use crate::{
    time::Duration,
    wire::flv::{FourCc, Frame},
};

/// What a relay keeps and believes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RelayLimits {
    /// Encoded bytes kept in the log; beyond it the oldest go, and cursors before them are shed.
    pub log_bytes_max: usize,
    /// Encoded bytes from the GOP position to the end; beyond it the GOP is given up and joiners wait for the
    /// next keyframe (nginx-rtmp, SRS and ZLMediaKit learned to bound it).
    pub gop_bytes_max: usize,
    /// Frames from the GOP position to the end, likewise.
    pub gop_frames_max: usize,
    /// Headers and configurations kept for joiners: tracks × kinds.
    pub headers_max: usize,
    /// Our outgoing chunk size, in bytes.
    pub chunk_size: u32,
    /// A step back of a track's timestamp beyond this begins an epoch; a smaller one is sent at the track's
    /// last time.
    pub backward_max: Duration,
    /// A step forward beyond this begins an epoch.
    pub forward_max: Duration,
}

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
pub struct Cursor {}

/// A track as lists tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TrackView {
    /// Audio or video.
    pub medium: crate::wire::flv::Medium,
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
pub struct Relay {}

impl Relay {
    /// Makes an empty relay.
    pub fn new(_limits: RelayLimits) -> Self {
        todo!()
    }

    /// The origin accepted a play: the next frame begins an epoch; its clock goes on from the last time out
    /// plus one frame. What joiners get is collected anew; headers of the life before serve only a track of the
    /// same codec whose frames come without a header of their own.
    pub fn begin_play(&mut self) {
        todo!()
    }

    /// The pull was lost: keeps cursors, drops the GOP. Joiners wait for the next keyframe.
    pub fn interrupt(&mut self) {
        todo!()
    }

    /// Drops headers, metadata and GOP; the clock goes on. For a stream context that must owe nothing to its past.
    pub fn rebuild(&mut self) {
        todo!()
    }

    /// Takes a frame: stamps it on the stream's clock, encodes it once, appends it.
    pub fn push(&mut self, _frame: &Frame) -> Pushed {
        todo!()
    }

    /// Returns the place where a joiner starts: metadata and headers first, then the GOP; without a GOP, live,
    /// with video held back until a keyframe.
    pub fn join(&self) -> Cursor {
        todo!()
    }

    /// Returns the next packet for a player in its format and moves the cursor; `None` at the end of the log.
    pub fn next(&mut self, _cursor: &mut Cursor, _format: Format) -> Option<Bytes> {
        todo!()
    }

    /// Returns the encoded bytes between the cursor and the end of the log.
    pub fn backlog(&self, _cursor: &Cursor) -> usize {
        todo!()
    }

    /// Moves the cursor to the latest keyframe (or, without one, to the end, waiting for one) and returns the
    /// frames left out. Headers that changed in what was left out are sent first.
    pub fn shed(&mut self, _cursor: &mut Cursor) -> u64 {
        todo!()
    }

    /// Lets go of what no cursor needs: entries before both the GOP position and `oldest`, the least
    /// [`Cursor::position`] among the players.
    pub fn trim(&mut self, _oldest: u64) {
        todo!()
    }

    /// Returns the position one past the last entry.
    pub fn end(&self) -> u64 {
        todo!()
    }

    /// Returns the bytes kept.
    pub fn bytes(&self) -> usize {
        todo!()
    }

    /// Returns the number of the epoch, 0 before the first frame.
    pub fn epoch(&self) -> u64 {
        todo!()
    }

    /// Returns the audio and video tracks of this epoch's play.
    pub fn tracks(&self) -> impl Iterator<Item = TrackView> {
        core::iter::empty()
    }
}

impl Cursor {
    /// Returns the position of the next entry.
    pub fn position(&self) -> u64 {
        todo!()
    }
}
