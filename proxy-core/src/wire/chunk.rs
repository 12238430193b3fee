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

/// The largest chunk size: no message is longer (§5.4.1). Larger ones are announced in the field and believed
/// as this one.
pub const CHUNK_SIZE_MAX: u32 = 0xFF_FFFF;

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

/// The basic header, the message header and the extended timestamp at their longest (§5.3.1).
const HEADER_BYTES_MAX: usize = 3 + 11 + 4;

/// The timestamp field that says "look behind the header" (§5.3.1.3).
const TIMESTAMP_EXTENDED: u32 = 0xFF_FFFF;

/// Appends `message` as chunks that lean on nothing sent before: a type-0 header, then type-3 continuations.
///
/// `chunk_stream` is 2–65599, `chunk_size` 1–16777215, the payload shorter than 2^24 bytes. The extended
/// timestamp is repeated in continuations.
pub fn encode(chunk_stream: u32, chunk_size: u32, message: &Message, out: &mut Vec<u8>) {
    assert!((2..=65_599).contains(&chunk_stream), "chunk stream {chunk_stream} cannot be said");
    assert!((1..=CHUNK_SIZE_MAX).contains(&chunk_size), "chunk size {chunk_size} cannot be said");
    let Message { type_id, timestamp, stream, ref payload } = *message;
    let chunk_size = chunk_size as usize;
    let len = payload.len();
    assert!(len <= 0xFF_FFFF, "an RTMP message carries at most 2^24 - 1 bytes");

    let extended = timestamp >= TIMESTAMP_EXTENDED;
    let per_chunk = if extended { 3 + 4 } else { 3 };
    out.reserve(HEADER_BYTES_MAX + len + (len / chunk_size) * per_chunk);

    basic_header(0, chunk_stream, out);
    out.extend_from_slice(&timestamp.min(TIMESTAMP_EXTENDED).to_be_bytes()[1..]);
    out.extend_from_slice(&(len as u32).to_be_bytes()[1..]);
    out.push(type_id);
    // The one little-endian number in RTMP (§5.3.1.2.1).
    out.extend_from_slice(&stream.to_le_bytes());
    if extended {
        out.extend_from_slice(&timestamp.to_be_bytes());
    }
    let mut chunks = payload.chunks(chunk_size);
    out.extend_from_slice(chunks.next().unwrap_or_default());
    for chunk in chunks {
        basic_header(3, chunk_stream, out);
        if extended {
            out.extend_from_slice(&timestamp.to_be_bytes());
        }
        out.extend_from_slice(chunk);
    }
}

/// Appends the basic header in its shortest form (§5.3.1.1).
fn basic_header(format: u8, chunk_stream: u32, out: &mut Vec<u8>) {
    let format = format << 6;
    match chunk_stream {
        2..=63 => out.push(format | chunk_stream as u8),
        64..=319 => out.extend_from_slice(&[format, (chunk_stream - 64) as u8]),
        _ => {
            let [low, high, ..] = (chunk_stream - 64).to_le_bytes();
            out.extend_from_slice(&[format | 1, low, high]);
        }
    }
}
