//! Audio, video and data payloads, classified by their FLV tag header and never decoded
//! (FLV 10.1 §E.4, Enhanced RTMP v2), and FLV tags written.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::wire::message::Message;

/// A four-character code; legacy codecs get one too (`avc1`, `hvc1` for codec id 12, `mp4a`, `.mp3`, …).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FourCc(pub [u8; 4]);

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Medium {
    /// Message type 8.
    Audio,
    /// Message type 9.
    Video,
    /// Message types 15 and 18.
    Data,
}

/// What a frame means to a player that joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum FrameClass {
    /// `onMetaData`: the last one is replayed to joiners.
    Metadata,
    /// A sequence header (AVC, HEVC, AAC configuration, E-RTMP SequenceStart): decoding needs it first.
    SequenceHeader,
    /// What else joiners need after the sequence header: E-RTMP MultichannelConfig, video Metadata (HDR).
    Configuration,
    /// A video frame that decodes alone.
    Keyframe,
    /// A video frame that leans on earlier ones.
    Interframe,
    /// An audio frame.
    Audio,
    /// Passed through live, of no use to joiners: other data messages, end of sequence, video command frames.
    Passing,
}

/// One audio, video or data message, classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Audio, video or data.
    pub medium: Medium,
    /// What it means to a joiner.
    pub class: FrameClass,
    /// The codec; zero for data, and for what cannot be known.
    pub codec: FourCc,
    /// The track: 0 unless Enhanced RTMP multitrack names another. A many-track packet is track 0.
    pub track: u8,
    /// The timestamp as sent, in milliseconds, wrapping at 2^32.
    pub timestamp: u32,
    /// The message payload as it came.
    pub payload: Bytes,
}

/// Classifies an audio, video or data message; `None` for other types, empty payloads and what must not be
/// relayed (`|RtmpSampleAccess`, `NetStream.Data.Start`, data that is not AMF0).
///
/// `@setDataFrame` is stripped from metadata; type 15 loses its leading 0 byte.
pub fn classify(_message: &Message) -> Option<Frame> {
    todo!()
}

/// The FLV file header with both flags set and the first PreviousTagSize.
pub const FILE_HEADER: [u8; 13] = [b'F', b'L', b'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0];

/// Appends one FLV tag with its PreviousTagSize. `timestamp` in milliseconds, 32 bit.
pub fn write_tag(_medium: Medium, _timestamp: u32, _payload: &[u8], _out: &mut Vec<u8>) {
    todo!()
}

impl Medium {
    /// Returns the message type id it is sent with: 8, 9 or 18.
    pub const fn type_id(self) -> u8 {
        match self {
            Self::Audio => 8,
            Self::Video => 9,
            Self::Data => 18,
        }
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}
