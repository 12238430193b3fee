//! RTMP messages: what chunks carry (RTMP 1.0 §5.4, §6, §7.1).

use bytes::Bytes;

/// One whole RTMP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message type id (RTMP 1.0 §5.4, §7.1).
    pub type_id: u8,
    /// The absolute timestamp in milliseconds, wrapping at 2^32.
    pub timestamp: u32,
    /// The message stream id; 0 is the NetConnection.
    pub stream: u32,
    /// The payload.
    pub payload: Bytes,
}

/// Message type ids.
pub mod type_id {
    /// Set Chunk Size (§5.4.1).
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message (§5.4.2).
    pub const ABORT: u8 = 2;
    /// Acknowledgement (§5.4.3).
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User Control (§6.2).
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size (§5.4.4).
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth (§5.4.5).
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio (§7.1.4).
    pub const AUDIO: u8 = 8;
    /// Video (§7.1.5).
    pub const VIDEO: u8 = 9;
    /// Data in AMF3 (§7.1.2).
    pub const DATA_AMF3: u8 = 15;
    /// Shared object in AMF3 (§7.1.3).
    pub const SHARED_OBJECT_AMF3: u8 = 16;
    /// Command in AMF3 (§7.1.1).
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0 (§7.1.2).
    pub const DATA_AMF0: u8 = 18;
    /// Shared object in AMF0 (§7.1.3).
    pub const SHARED_OBJECT_AMF0: u8 = 19;
    /// Command in AMF0 (§7.1.1).
    pub const COMMAND_AMF0: u8 = 20;
    /// Aggregate (§7.1.6).
    pub const AGGREGATE: u8 = 22;
}

/// A protocol control or user control message, parsed (§5.4, §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The peer's outgoing chunk size from the next chunk on; the decoder has obeyed it already.
    SetChunkSize(u32),
    /// The partial message on this chunk stream is dropped; the decoder has obeyed it already.
    Abort(u32),
    /// Bytes the peer has received since the connection began.
    Acknowledgement(u32),
    /// The window after which the peer expects an acknowledgement, in bytes.
    WindowAckSize(u32),
    /// The window the peer wants us to announce, in bytes.
    SetPeerBandwidth(u32),
    /// A stream has become useful (user control 0).
    StreamBegin(u32),
    /// Playback of a stream is over (user control 1).
    StreamEof(u32),
    /// No more data on a stream for the moment (user control 2).
    StreamDry(u32),
    /// The player's buffer in milliseconds (user control 3).
    SetBufferLength {
        /// The message stream id.
        stream: u32,
        /// The length in milliseconds.
        millis: u32,
    },
    /// A recorded stream (user control 4).
    StreamIsRecorded(u32),
    /// To be answered with the same number (user control 6).
    PingRequest(u32),
    /// The answer to a ping (user control 7).
    PingResponse(u32),
    /// A user control event we have no use for (5, 8, 26, 27, 31, 32, 33 occur), or a body too short for its
    /// type: ignored, never fatal.
    Ignored,
}

impl Message {
    /// Parses a protocol or user control message; `None` if this is another kind of message.
    pub fn control(&self) -> Option<Control> {
        todo!()
    }
}

impl Control {
    /// Builds the message, on message stream 0 with timestamp 0. `Ignored` cannot be sent: debug builds panic.
    pub fn to_message(self) -> Message {
        todo!()
    }
}

/// Splits an aggregate message (§7.1.6) into its messages, without copying payloads.
///
/// Timestamps become `message.timestamp + (sub.timestamp - first.timestamp)`; the message stream id is the
/// aggregate's. A sub-message that overruns the payload ends the split: what came before it is kept.
pub fn split_aggregate(_message: &Message) -> impl Iterator<Item = Message> {
    core::iter::empty()
}
