//! Chunks (RTMP 1.0 §5.3): a decoder that believes nothing and a stateless encoder.

use alloc::vec::Vec;

use crate::wire::message::Message;

/// What the decoder believes of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Chunk streams per connection; one more is an error.
    pub chunk_streams_max: usize,
    /// Bytes of a protocol or user control message (types 1–6).
    pub control_bytes_max: u32,
    /// Bytes of a command, data or shared-object message.
    pub command_bytes_max: u32,
    /// Bytes of an audio, video or aggregate message; 0 refuses them all.
    pub media_bytes_max: u32,
    /// Bytes of all unfinished messages together.
    pub pending_bytes_max: usize,
}

impl ChunkLimits {
    /// What an origin may send: 64 chunk streams, media of 16 MiB, 16 MiB unfinished.
    pub const ORIGIN: Self = Self {
        chunk_streams_max: 64,
        control_bytes_max: 64,
        command_bytes_max: 256 * 1024,
        media_bytes_max: 16 * 1024 * 1024,
        pending_bytes_max: 16 * 1024 * 1024,
    };
    /// What a player may send: no media at all, commands of 64 KiB, 128 KiB unfinished.
    pub const PLAYER: Self = Self {
        chunk_streams_max: 64,
        control_bytes_max: 64,
        command_bytes_max: 64 * 1024,
        media_bytes_max: 0,
        pending_bytes_max: 128 * 1024,
    };
}

/// Why a byte stream is not chunks we accept. The connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ChunkError {
    /// A type 2 or 3 header on a chunk stream without a previous header.
    NoPreviousHeader {
        /// The chunk stream id.
        chunk_stream: u32,
    },
    /// A header inside an unfinished message that does not continue it.
    HeaderInsideMessage {
        /// The chunk stream id.
        chunk_stream: u32,
    },
    /// A message longer than its type allows.
    MessageTooLong {
        /// The message type id.
        type_id: u8,
        /// The declared length in bytes.
        len: u32,
    },
    /// More chunk streams than allowed.
    TooManyChunkStreams,
    /// More unfinished bytes than allowed.
    TooManyPendingBytes,
    /// Set Chunk Size of 0.
    ChunkSizeZero,
}

/// The chunk size before any Set Chunk Size (§5.4.1).
pub const CHUNK_SIZE_DEFAULT: u32 = 128;

/// What one call consumed, and the message it finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input used; the caller passes the rest again.
    pub used: usize,
    /// A message, if one was completed. `None` means that all input was used.
    pub message: Option<Message>,
}

/// Turns bytes into messages, cut anywhere. Obeys Set Chunk Size and Abort itself, so nobody can forget, and
/// hands those messages out too.
#[derive(Debug)]
pub struct ChunkDecoder {
    _limits: ChunkLimits,
}

impl ChunkDecoder {
    /// Makes a decoder at chunk size 128.
    pub fn new(limits: ChunkLimits) -> Self {
        Self { _limits: limits }
    }

    /// Reads bytes until a message is complete or the input is used up.
    ///
    /// # Errors
    /// Errors are final: the decoder must be dropped.
    pub fn decode(&mut self, _input: &[u8]) -> Result<Decoded, ChunkError> {
        todo!()
    }
}

/// Appends `message` as chunks that lean on nothing sent before: a type-0 header, then type-3 continuations.
///
/// `chunk_stream` is 2–65599, `chunk_size` 1–16777215. The extended timestamp is repeated in continuations.
pub fn encode(_chunk_stream: u32, _chunk_size: u32, _message: &Message, _out: &mut Vec<u8>) {
    todo!()
}
