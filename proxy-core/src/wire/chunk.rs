//! Chunks (RTMP 1.0 §5.3): a decoder that believes nothing and a stateless encoder.

use alloc::vec::Vec;

use crate::wire::message::{Control, Message, type_id};

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
    /// Bytes reserved for all unfinished messages together: what has come of each, rounded up to a power of two
    /// of at least 256 KiB, but never more than it declares.
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
    /// A header inside an unfinished message that does not continue it: type 0, or another length or type.
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
    /// More bytes reserved for unfinished messages than allowed.
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
///
/// ```text
///          ┌──────────── message or chunk complete ────────────┐
///          ▼                                                   │
///        Header ── basic + message header + extended ──►  Payload { left }
///          │                                                   │
///          └ carry: bytes that do not yet make a header        └ straight from input into the message
/// ```
///
/// A type-3 header behind an extended timestamp may or may not repeat it: the specification (§5.3.1.3) and FFmpeg
/// say it does, older encoders and some servers leave it out. The four bytes are taken if they equal the last
/// extended field or the absolute timestamp, else they are payload (SRS and GStreamer look too). The first byte
/// that differs decides, so that the end of a message waits for more only if it looks like the field so far. What
/// was looked at may be payload and even the next header: the carry is read as if it stood before the input.
#[derive(Debug)]
pub struct ChunkDecoder {
    limits: ChunkLimits,
    /// The peer's chunk size, 1–[`CHUNK_SIZE_MAX`].
    chunk_size: u32,
    /// At most [`ChunkLimits::chunk_streams_max`], in order of appearance: few, and mostly the same one.
    streams: Vec<ChunkStream>,
    /// Bytes reserved for all unfinished messages.
    pending_bytes: usize,
    part: Part,
    /// Bytes taken but not used yet: they stand before the input.
    carry: [u8; HEADER_BYTES_MAX],
    carry_len: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum Part {
    Header,
    Payload {
        /// Into `streams`.
        index: usize,
        /// Payload bytes until the next header, at least 1.
        left: usize,
    },
}

/// What is remembered of a chunk stream, and the message that is being put together on it.
#[derive(Debug)]
struct ChunkStream {
    id: u32,
    timestamp: u32,
    /// What a type-3 header that begins a message adds; after type 0 the timestamp itself (§5.3.1.2.4).
    delta: u32,
    /// The extended field of the last header of type 0–2, if it had one.
    extended: Option<u32>,
    len: u32,
    type_id: u8,
    message_stream: u32,
    /// A header has been read whose message is not complete.
    is_open: bool,
    payload: Vec<u8>,
}

/// What is reserved for a message at first; it grows with what really comes.
const RESERVE_FIRST_MAX: usize = 256 * 1024;

impl ChunkDecoder {
    /// Makes a decoder at chunk size 128.
    pub fn new(limits: ChunkLimits) -> Self {
        Self {
            limits,
            chunk_size: CHUNK_SIZE_DEFAULT,
            streams: Vec::new(),
            pending_bytes: 0,
            part: Part::Header,
            carry: [0; HEADER_BYTES_MAX],
            carry_len: 0,
        }
    }

    /// Reads bytes until a message is complete or the input is used up. Callers repeat it with the rest of the
    /// input, empty or not, until `message` is `None`.
    ///
    /// # Errors
    /// Errors are final: the decoder must be dropped.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, ChunkError> {
        let mut rest = input;
        loop {
            let finished = match self.part {
                Part::Header => match self.take_header(&mut rest)? {
                    Some(header) => self.on_header(header)?,
                    None => return Ok(Decoded { used: input.len(), message: None }),
                },
                Part::Payload { index, left } => match left - self.take_payload(index, left, &mut rest)? {
                    0 if self.streams[index].is_complete() => {
                        self.part = Part::Header;
                        Some(index)
                    }
                    0 => {
                        self.part = self.next_part(index, &mut rest);
                        None
                    }
                    left => {
                        self.part = Part::Payload { index, left };
                        return Ok(Decoded { used: input.len(), message: None });
                    }
                },
            };
            if let Some(index) = finished {
                let message = self.finish(index)?;
                return Ok(Decoded { used: input.len() - rest.len(), message: Some(message) });
            }
        }
    }

    /// Takes the header that nearly always follows a chunk of an unfinished message: one byte that says "go on".
    /// Everything else is left to [`Self::take_header`]. With small chunks this is most of the work.
    fn next_part(&self, index: usize, rest: &mut &[u8]) -> Part {
        let stream = &self.streams[index];
        match rest.split_first() {
            Some((&first, behind))
                if stream.id <= CHUNK_STREAM_SHORT_MAX
                    && u32::from(first) == (TYPE_3 | stream.id)
                    && stream.extended.is_none()
                    && self.carry_len == 0 =>
            {
                *rest = behind;
                Part::Payload { index, left: stream.missing().min(self.chunk_size as usize) }
            }
            _ => Part::Header,
        }
    }

    /// Takes one chunk header from carry and input; if they do not hold one, takes everything into the carry.
    fn take_header(&mut self, rest: &mut &[u8]) -> Result<Option<Header>, ChunkError> {
        if self.carry_len == 0
            && let Some(header) = self.parse_header(rest)?
        {
            *rest = &rest[header.bytes..];
            return Ok(Some(header));
        }
        let from_input = rest.len().min(HEADER_BYTES_MAX - self.carry_len);
        let joined_len = self.carry_len + from_input;
        let mut joined = self.carry;
        joined[self.carry_len..joined_len].copy_from_slice(&rest[..from_input]);
        let Some(header) = self.parse_header(&joined[..joined_len])? else {
            debug_assert_eq!(from_input, rest.len(), "no header is longer than the carry");
            self.carry = joined;
            self.carry_len = joined_len;
            *rest = &[];
            return Ok(None);
        };
        let from_carry = header.bytes.min(self.carry_len);
        self.drop_carry(from_carry);
        *rest = &rest[header.bytes - from_carry..];
        Ok(Some(header))
    }

    /// Reads a header at the front of `bytes`; `None` if more are needed. Changes nothing, so it can be asked
    /// again with more bytes.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<Header>, ChunkError> {
        let Some((format, id, basic_len)) = parse_basic_header(bytes) else { return Ok(None) };
        let index = self.streams.iter().position(|stream| stream.id == id);
        let known = match index {
            Some(index) => Some(&self.streams[index]),
            // librtmp's pings start with type 1: a delta from 0. Types 2 and 3 have no length to inherit.
            None if format <= 1 => None,
            None => return Err(ChunkError::NoPreviousHeader { chunk_stream: id }),
        };
        let mut header = Header {
            format,
            id,
            index,
            time: 0,
            extended: None,
            len: known.map_or(0, |stream| stream.len),
            type_id: known.map_or(0, |stream| stream.type_id),
            message_stream: known.map_or(0, |stream| stream.message_stream),
            bytes: basic_len + FIELD_BYTES[usize::from(format)],
        };
        let Some(fields) = bytes.get(basic_len..header.bytes) else { return Ok(None) };
        let behind = &bytes[header.bytes..];
        if let Some(&[t0, t1, t2]) = fields.first_chunk() {
            header.time = u32::from_be_bytes([0, t0, t1, t2]);
            if header.time == TIMESTAMP_EXTENDED {
                let Some(field) = behind.first_chunk() else { return Ok(None) };
                header.time = u32::from_be_bytes(*field);
                header.extended = Some(header.time);
                header.bytes += EXTENDED_BYTES;
            }
        } else if let Some(stream) = known
            && let Some(extended) = stream.extended
        {
            match stream.is_repeated(extended, behind) {
                Some(true) => header.bytes += EXTENDED_BYTES,
                Some(false) => {}
                None => return Ok(None),
            }
        }
        if let Some(&[_, _, _, l0, l1, l2, type_id]) = fields.first_chunk() {
            header.len = u32::from_be_bytes([0, l0, l1, l2]);
            header.type_id = type_id;
        }
        if let Some(&[_, _, _, _, _, _, _, s0, s1, s2, s3]) = fields.first_chunk() {
            header.message_stream = u32::from_le_bytes([s0, s1, s2, s3]);
        }
        Ok(Some(header))
    }

    /// Begins or continues a message; returns its index if it is empty and so complete.
    fn on_header(&mut self, header: Header) -> Result<Option<usize>, ChunkError> {
        let index = match header.index {
            Some(index) => index,
            None if self.streams.len() >= self.limits.chunk_streams_max => {
                return Err(ChunkError::TooManyChunkStreams);
            }
            None => {
                self.streams.push(ChunkStream::new(header.id));
                self.streams.len() - 1
            }
        };
        let stream = &mut self.streams[index];
        if stream.is_open {
            stream.on_continuation(&header)?;
        } else {
            self.limits.check(header.type_id, header.len)?;
            stream.on_begin(&header);
        }
        if stream.is_complete() {
            return Ok(Some(index));
        }
        let left = stream.missing().min(self.chunk_size as usize);
        self.part = Part::Payload { index, left };
        Ok(None)
    }

    /// Moves up to `left` bytes from carry and input into a message; returns how many.
    fn take_payload(&mut self, index: usize, left: usize, rest: &mut &[u8]) -> Result<usize, ChunkError> {
        let from_carry = left.min(self.carry_len);
        if from_carry > 0 {
            let carry = self.carry;
            self.append(index, &carry[..from_carry])?;
            self.drop_carry(from_carry);
        }
        let from_input = (left - from_carry).min(rest.len());
        let (bytes, behind) = rest.split_at(from_input);
        self.append(index, bytes)?;
        *rest = behind;
        Ok(from_carry + from_input)
    }

    fn append(&mut self, index: usize, bytes: &[u8]) -> Result<(), ChunkError> {
        let payload = &mut self.streams[index].payload;
        if payload.capacity() - payload.len() < bytes.len() {
            self.reserve(index, bytes.len())?;
        }
        self.streams[index].payload.extend_from_slice(bytes);
        Ok(())
    }

    /// Makes room for `more` bytes of a message, if all unfinished messages stay within their limit.
    fn reserve(&mut self, index: usize, more: usize) -> Result<(), ChunkError> {
        let stream = &mut self.streams[index];
        let before = stream.reserved(stream.payload.len());
        let after = stream.reserved(stream.payload.len() + more);
        let pending_bytes = self.pending_bytes - before + after;
        if pending_bytes > self.limits.pending_bytes_max {
            return Err(ChunkError::TooManyPendingBytes);
        }
        self.pending_bytes = pending_bytes;
        stream.payload.reserve_exact(after - stream.payload.len());
        Ok(())
    }

    /// Hands out a complete message and obeys it where it is meant for us.
    fn finish(&mut self, index: usize) -> Result<Message, ChunkError> {
        let payload = self.close(index);
        let stream = &self.streams[index];
        let message = Message {
            type_id: stream.type_id,
            timestamp: stream.timestamp,
            stream: stream.message_stream,
            payload: payload.into(),
        };
        match message.type_id {
            type_id::SET_CHUNK_SIZE | type_id::ABORT => self.obey(&message)?,
            _ => {}
        }
        Ok(message)
    }

    fn obey(&mut self, message: &Message) -> Result<(), ChunkError> {
        match message.control() {
            Some(Control::SetChunkSize(0)) => return Err(ChunkError::ChunkSizeZero),
            // SRS refuses sizes below 128; the specification allows any from 1 (§5.4.1).
            Some(Control::SetChunkSize(size)) => self.chunk_size = size.min(CHUNK_SIZE_MAX),
            Some(Control::Abort(id)) => {
                if let Some(index) = self.streams.iter().position(|stream| stream.id == id) {
                    self.close(index);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the message on a chunk stream, if one is open, and returns what has come of it.
    fn close(&mut self, index: usize) -> Vec<u8> {
        let stream = &mut self.streams[index];
        self.pending_bytes -= stream.reserved(stream.payload.len());
        stream.is_open = false;
        core::mem::take(&mut stream.payload)
    }

    fn drop_carry(&mut self, count: usize) {
        self.carry.copy_within(count..self.carry_len, 0);
        self.carry_len -= count;
    }
}

impl ChunkStream {
    fn new(id: u32) -> Self {
        Self {
            id,
            timestamp: 0,
            delta: 0,
            extended: None,
            len: 0,
            type_id: 0,
            message_stream: 0,
            is_open: false,
            payload: Vec::new(),
        }
    }

    fn on_begin(&mut self, header: &Header) {
        match header.format {
            0 => {
                self.timestamp = header.time;
                self.delta = header.time;
                self.extended = header.extended;
            }
            1 | 2 => {
                self.timestamp = self.timestamp.wrapping_add(header.time);
                self.delta = header.time;
                self.extended = header.extended;
            }
            // nginx-rtmp reads a delta of 0 behind type 0; the specification, SRS, FFmpeg and GStreamer read this.
            _ => self.timestamp = self.timestamp.wrapping_add(self.delta),
        }
        self.len = header.len;
        self.type_id = header.type_id;
        self.message_stream = header.message_stream;
        self.is_open = true;
    }

    /// Takes a header inside a message. SRS tolerates a repeated type 1 or 2 too; its time says nothing anew.
    fn on_continuation(&mut self, header: &Header) -> Result<(), ChunkError> {
        match header.format {
            1 | 2 if header.len == self.len && header.type_id == self.type_id => {
                self.extended = header.extended
            }
            0..=2 => return Err(ChunkError::HeaderInsideMessage { chunk_stream: self.id }),
            _ => {}
        }
        Ok(())
    }

    /// Tells whether `behind` a type-3 header the extended timestamp is repeated; `None` if more bytes decide.
    ///
    /// Peers repeat the field as it was, the absolute timestamp where the field was a delta, or, where the header
    /// begins a message, the timestamp that message gets.
    fn is_repeated(&self, extended: u32, behind: &[u8]) -> Option<bool> {
        let next = if self.is_open { self.timestamp } else { self.timestamp.wrapping_add(self.delta) };
        let seen = &behind[..behind.len().min(EXTENDED_BYTES)];
        let is_like =
            [extended, self.timestamp, next].iter().any(|field| field.to_be_bytes().starts_with(seen));
        match (is_like, seen.len()) {
            (true, EXTENDED_BYTES) => Some(true),
            (true, _) => None,
            (false, _) => Some(false),
        }
    }

    fn is_complete(&self) -> bool {
        self.missing() == 0
    }

    /// Returns the payload bytes still to come.
    fn missing(&self) -> usize {
        self.len as usize - self.payload.len()
    }

    /// Returns what is reserved once `received` bytes have come: it depends on nothing else, so it does not
    /// matter how the input was cut.
    fn reserved(&self, received: usize) -> usize {
        match received {
            0 => 0,
            _ => received.next_power_of_two().max(RESERVE_FIRST_MAX).min(self.len as usize),
        }
    }
}

impl ChunkLimits {
    /// Checks a declared length against what its type may have.
    fn check(&self, type_id: u8, len: u32) -> Result<(), ChunkError> {
        let len_max = match type_id {
            type_id::SET_CHUNK_SIZE..=type_id::SET_PEER_BANDWIDTH => self.control_bytes_max,
            type_id::AUDIO | type_id::VIDEO | type_id::AGGREGATE if self.media_bytes_max == 0 => {
                return Err(ChunkError::MessageTooLong { type_id, len });
            }
            type_id::AUDIO | type_id::VIDEO | type_id::AGGREGATE => self.media_bytes_max,
            _ => self.command_bytes_max,
        };
        if len > len_max { Err(ChunkError::MessageTooLong { type_id, len }) } else { Ok(()) }
    }
}

/// One chunk header, with what it inherits from the one before filled in.
#[derive(Clone, Copy, Debug)]
struct Header {
    /// The type, 0–3 (§5.3.1.2).
    format: u8,
    id: u32,
    /// Into the table of chunk streams, if it is known there.
    index: Option<usize>,
    /// The timestamp or delta; 0 in type 3.
    time: u32,
    extended: Option<u32>,
    len: u32,
    type_id: u8,
    message_stream: u32,
    /// Its own length.
    bytes: usize,
}

/// The last chunk stream id that fits into one byte; 0 and 1 in its place announce longer forms (§5.3.1.1).
const CHUNK_STREAM_SHORT_MAX: u32 = 63;

/// The type bits of a type-3 basic header.
const TYPE_3: u32 = 0xC0;

/// Bytes of the message header by type (§5.3.1.2).
const FIELD_BYTES: [usize; 4] = [11, 7, 3, 0];

/// Bytes of the extended timestamp (§5.3.1.3).
const EXTENDED_BYTES: usize = 4;

/// Reads type, chunk stream id and length of a basic header (§5.3.1.1); `None` if more bytes are needed.
fn parse_basic_header(bytes: &[u8]) -> Option<(u8, u32, usize)> {
    let first = *bytes.first()?;
    let format = first >> 6;
    match first & 0x3F {
        0 => Some((format, 64 + u32::from(*bytes.get(1)?), 2)),
        1 => Some((format, 64 + u32::from(*bytes.get(1)?) + 256 * u32::from(*bytes.get(2)?), 3)),
        id => Some((format, u32::from(id), 1)),
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
        2..=CHUNK_STREAM_SHORT_MAX => out.push(format | chunk_stream as u8),
        64..=319 => out.extend_from_slice(&[format, (chunk_stream - 64) as u8]),
        _ => {
            let [low, high, ..] = (chunk_stream - 64).to_le_bytes();
            out.extend_from_slice(&[format | 1, low, high]);
        }
    }
}

#[cfg(test)]
mod tests;
