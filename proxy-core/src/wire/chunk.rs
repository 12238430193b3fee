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
mod tests {
    use alloc::vec;

    use super::*;

    type Outcome = (Vec<Message>, Option<ChunkError>);

    fn feed(decoder: &mut ChunkDecoder, mut piece: &[u8], outcome: &mut Outcome) {
        while outcome.1.is_none() {
            match decoder.decode(piece) {
                Ok(Decoded { used, message: Some(message) }) => {
                    outcome.0.push(message);
                    piece = &piece[used..];
                }
                Ok(Decoded { used, message: None }) => {
                    assert_eq!(used, piece.len(), "without a message all input is used");
                    return;
                }
                Err(error) => outcome.1 = Some(error),
            }
        }
    }

    fn decode_pieces<'a>(limits: ChunkLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
        let mut decoder = ChunkDecoder::new(limits);
        let mut outcome = (vec![], None);
        for piece in pieces {
            feed(&mut decoder, piece, &mut outcome);
        }
        outcome
    }

    /// Decodes `input` whole, byte by byte and in two pieces at every cut, which must not matter.
    fn check_limits(limits: ChunkLimits, input: &[u8]) -> Outcome {
        let whole = decode_pieces(limits, [input]);
        assert_eq!(decode_pieces(limits, input.chunks(1)), whole, "byte by byte");
        for cut in 0..input.len() {
            let (front, back) = input.split_at(cut);
            assert_eq!(decode_pieces(limits, [front, back]), whole, "cut at {cut}");
        }
        whole
    }

    fn check(input: &[u8]) -> Outcome {
        check_limits(ChunkLimits::ORIGIN, input)
    }

    /// What came out, as (timestamp, payload), where nothing went wrong.
    fn good(input: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let (messages, error) = check(input);
        assert_eq!(error, None);
        messages.into_iter().map(|message| (message.timestamp, message.payload.to_vec())).collect()
    }

    fn error(input: &[u8]) -> ChunkError {
        check(input).1.expect("an error")
    }

    fn message(type_id: u8, timestamp: u32, payload: &[u8]) -> Message {
        Message { type_id, timestamp, stream: 1, payload: payload.to_vec().into() }
    }

    fn encoded(chunk_stream: u32, chunk_size: u32, message: &Message) -> Vec<u8> {
        let mut out = vec![];
        encode(chunk_stream, chunk_size, message, &mut out);
        out
    }

    /// A type-0 header on `id`, message stream 1.
    fn type_0(id: u8, time: u32, len: u32, type_id: u8) -> Vec<u8> {
        let mut out = vec![id];
        out.extend_from_slice(&time.min(0xFF_FFFF).to_be_bytes()[1..]);
        out.extend_from_slice(&len.to_be_bytes()[1..]);
        out.extend_from_slice(&[type_id, 1, 0, 0, 0]);
        if time >= 0xFF_FFFF {
            out.extend_from_slice(&time.to_be_bytes());
        }
        out
    }

    /// A type-1 header on `id`.
    fn type_1(id: u8, delta: u32, len: u32, type_id: u8) -> Vec<u8> {
        let mut out = vec![0x40 | id];
        out.extend_from_slice(&delta.min(0xFF_FFFF).to_be_bytes()[1..]);
        out.extend_from_slice(&len.to_be_bytes()[1..]);
        out.push(type_id);
        if delta >= 0xFF_FFFF {
            out.extend_from_slice(&delta.to_be_bytes());
        }
        out
    }

    fn set_chunk_size(size: u32) -> Vec<u8> {
        [&type_0(2, 0, 4, 1)[..], &size.to_be_bytes()].concat()
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        for chunk_stream in [2, 63, 64, 319, 320, 65_599] {
            for chunk_size in [1, 2, 3, 128, CHUNK_SIZE_MAX] {
                for timestamp in [0, 0xFF_FFFE, 0xFF_FFFF, 0x0100_0000, u32::MAX] {
                    for len in [0, 1, 128, 129] {
                        let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
                        let message = message(9, timestamp, &payload);
                        let mut input = set_chunk_size(chunk_size);
                        encode(chunk_stream, chunk_size, &message, &mut input);
                        let (messages, error) =
                            decode_pieces(ChunkLimits::ORIGIN, [&input[..], &input[16..]]);
                        assert_eq!(error, None);
                        assert_eq!(messages[1..], [message.clone(), message], "{chunk_stream} {chunk_size}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_small_message_has_the_bytes_of_the_specification() {
        let small = message(8, 1000, &[0xAF, 1, 2]);
        assert_eq!(encoded(4, 128, &small), [4, 0, 3, 232, 0, 0, 3, 8, 1, 0, 0, 0, 0xAF, 1, 2]);
        assert_eq!(encoded(4, 2, &small)[12..], [0xAF, 1, 0xC4, 2]);
        let late = message(8, 0x0100_0000, &[7, 8]);
        assert_eq!(
            encoded(400, 1, &late),
            [
                1, 0x50, 1, 0xFF, 0xFF, 0xFF, 0, 0, 2, 8, 1, 0, 0, 0, 1, 0, 0, 0, 7, 0xC1, 0x50, 1, 1, 0, 0,
                0, 8
            ]
        );
    }

    #[test]
    fn an_empty_message_is_a_message() {
        assert_eq!(good(&[type_0(4, 5, 0, 8), vec![0xC4]].concat()), [(5, vec![]), (10, vec![])]);
    }

    #[test]
    fn long_forms_of_small_chunk_stream_ids_are_the_same_stream() {
        // 64 in two bytes, then in three (as some encoders write it).
        let input =
            [&[0x00, 0x00][..], &type_0(0, 7, 1, 8)[1..], &[1], &[0x41, 0, 0], &[0, 0, 3, 0, 0, 1, 8], &[2]];
        assert_eq!(good(&input.concat()), [(7, vec![1]), (10, vec![2])]);
    }

    #[test]
    fn headers_inherit_what_they_leave_out() {
        let input = [
            &type_0(6, 1000, 2, 9)[..],
            &[1, 2],
            &type_1(6, 40, 1, 8),
            &[3],
            &[0x86, 0, 0, 20],
            &[4],
            &[0xC6, 5],
            &[0xC6, 6],
        ];
        let (messages, error) = check(&input.concat());
        assert_eq!(error, None);
        let told: Vec<_> =
            messages.iter().map(|m| (m.type_id, m.timestamp, m.stream, m.payload[0])).collect();
        assert_eq!(
            told,
            [(9, 1000, 1, 1), (8, 1040, 1, 3), (8, 1060, 1, 4), (8, 1080, 1, 5), (8, 1100, 1, 6)]
        );
    }

    #[test]
    fn type_3_behind_type_0_repeats_its_timestamp_as_a_delta() {
        // FMLE's audio: 26, then 0xC4, meant as 52 (§5.3.1.2.4).
        assert_eq!(good(&[&type_0(4, 26, 1, 8)[..], &[1, 0xC4, 2]].concat()), [(26, vec![1]), (52, vec![2])]);
    }

    #[test]
    fn timestamps_wrap_at_2_to_the_32() {
        let input = [&type_0(4, u32::MAX, 1, 8)[..], &[1], &type_1(4, 3, 1, 8), &[2]];
        assert_eq!(good(&input.concat()), [(u32::MAX, vec![1]), (2, vec![2])]);
        // 10 ms back as a delta: rml_rtmp and GStreamer write it so.
        let input = [&type_0(4, 50, 1, 8)[..], &[1], &type_1(4, 10_u32.wrapping_neg(), 1, 8), &[2]];
        assert_eq!(good(&input.concat()), [(50, vec![1]), (40, vec![2])]);
    }

    #[test]
    fn chunk_streams_interleave() {
        let (a, b) = ([b'a'; 300], [b'b'; 200]);
        let input = [
            &type_0(6, 1, 300, 9)[..],
            &a[..128],
            &type_0(4, 2, 200, 8),
            &b[..128],
            &[0xC6],
            &a[128..256],
            &type_0(2, 0, 6, 4),
            &[0, 6, 0, 0, 0, 9],
            &[0xC4],
            &b[128..],
            &[0xC6],
            &a[256..],
        ];
        assert_eq!(good(&input.concat()), [(0, vec![0, 6, 0, 0, 0, 9]), (2, b.to_vec()), (1, a.to_vec())]);
    }

    #[test]
    fn chunk_stream_70_is_not_mistaken_for_6() {
        // 70 and the type bits make the byte that continues 6.
        let (a, b) = ([b'a'; 200], [b'b'; 200]);
        let far = [&[0, 70 - 64][..], &type_0(6, 2, 200, 8)[1..]].concat();
        let input = [
            &type_0(6, 1, 200, 9)[..],
            &a[..128],
            &far,
            &b[..128],
            &[0xC6],
            &a[128..],
            &[0xC0, 6],
            &b[128..],
        ];
        assert_eq!(good(&input.concat()), [(1, a.to_vec()), (2, b.to_vec())]);
    }

    /// A message of `payload` in chunks of `size`, with what `repeat` says behind each type-3 header.
    fn extended(time: u32, size: usize, payload: &[u8], repeat: &[u8]) -> Vec<u8> {
        let mut out = [set_chunk_size(size as u32), type_0(6, time, payload.len() as u32, 9)].concat();
        let mut chunks = payload.chunks(size);
        out.extend_from_slice(chunks.next().unwrap_or_default());
        for chunk in chunks {
            out.push(0xC6);
            out.extend_from_slice(repeat);
            out.extend_from_slice(chunk);
        }
        out
    }

    #[test]
    fn the_extended_timestamp_may_be_repeated_or_not() {
        let payload: Vec<u8> = (0..40).collect();
        for time in [0xFF_FFFF, 0x0100_0000, 0x0102_0304, u32::MAX] {
            for size in [1, 2, 3, 4, 5, 7, 39] {
                for repeat in [&time.to_be_bytes()[..], &[]] {
                    let next = encoded(4, size as u32, &message(8, 0, &[1, 2]));
                    let told = good(&[extended(time, size, &payload, repeat), next].concat());
                    assert_eq!(told[1], (time, payload.clone()), "{time:x} in chunks of {size}, {repeat:?}");
                    assert_eq!(told.len(), 3);
                }
            }
        }
    }

    #[test]
    fn payload_that_begins_like_the_timestamp_is_payload() {
        // Left out, and each chunk begins with three of the four bytes.
        let payload = [9, 9, 9, 9, 1, 0, 0, 9, 1, 0, 0, 8, 1, 0, 0];
        let told = good(&[extended(0x0100_0000, 4, &payload, &[]), set_chunk_size(9)].concat());
        assert_eq!(told[1], (0x0100_0000, payload.to_vec()));
    }

    #[test]
    fn a_repeated_field_may_be_the_delta_or_the_absolute_timestamp() {
        let delta = 0x0100_0000_u32;
        let absolute = delta + 1000;
        for repeat in [delta.to_be_bytes(), absolute.to_be_bytes()] {
            let input = [
                &type_0(6, 1000, 1, 9)[..],
                &[1],
                &type_1(6, delta, 129, 9),
                &[2; 128],
                &[0xC6],
                &repeat,
                &[3],
                // A type 3 that begins a message may repeat it too.
                &[0xC6],
                &delta.to_be_bytes(),
                &[4; 128],
                &[0xC6, 5],
            ];
            let told = good(&input.concat());
            assert_eq!(told[1], (absolute, [&[2; 128][..], &[3]].concat()));
            assert_eq!(told[2], (absolute + delta, [&[4; 128][..], &[5]].concat()));
        }
    }

    #[test]
    fn type_1_on_an_unknown_chunk_stream_is_a_delta_from_zero() {
        assert_eq!(good(&[&type_1(2, 7, 6, 4)[..], &[0, 6, 0, 0, 0, 9]].concat())[0].0, 7);
        assert_eq!(error(&[0x85, 0, 0, 0]), ChunkError::NoPreviousHeader { chunk_stream: 5 });
        assert_eq!(error(&[0xC0, 1]), ChunkError::NoPreviousHeader { chunk_stream: 65 });
    }

    #[test]
    fn a_header_inside_a_message_must_continue_it() {
        let start = [&type_0(6, 0, 200, 9)[..], &[1; 128]].concat();
        let whole = (0, [[1; 128].as_slice(), &[2; 72]].concat());
        assert_eq!(
            good(&[&start[..], &type_1(6, 5, 200, 9), &[2; 72]].concat()),
            core::slice::from_ref(&whole)
        );
        assert_eq!(good(&[&start[..], &[0x86, 0, 0, 5], &[2; 72]].concat()), [whole]);
        for inside in [type_0(6, 0, 200, 9), type_1(6, 0, 201, 9), type_1(6, 0, 200, 8)] {
            let expected = ChunkError::HeaderInsideMessage { chunk_stream: 6 };
            assert_eq!(error(&[start.clone(), inside].concat()), expected);
        }
    }

    #[test]
    fn the_chunk_size_changes_between_the_chunks_of_another_message() {
        let payload: Vec<u8> = (0..200).collect();
        let up =
            [&type_0(6, 0, 200, 9)[..], &payload[..128], &set_chunk_size(4096), &[0xC6], &payload[128..]];
        assert_eq!(good(&up.concat())[1], (0, payload.clone()));
        let down = [
            &type_0(6, 0, 200, 9)[..],
            &payload[..128],
            &set_chunk_size(0x8000_0040),
            &[0xC6],
            &payload[128..192],
            &[0xC6],
            &payload[192..],
        ];
        assert_eq!(good(&down.concat())[1], (0, payload.clone()));
        let huge = [&set_chunk_size(0x7FFF_FFFF)[..], &type_0(6, 0, 200, 9), &payload];
        assert_eq!(good(&huge.concat())[1], (0, payload));
    }

    #[test]
    fn a_chunk_size_of_zero_is_refused_and_a_short_one_ignored() {
        assert_eq!(error(&set_chunk_size(0)), ChunkError::ChunkSizeZero);
        assert_eq!(error(&set_chunk_size(0x8000_0000)), ChunkError::ChunkSizeZero);
        let input = [&type_0(2, 0, 3, 1)[..], &[0, 0, 1], &type_0(6, 0, 2, 9), &[1, 2]];
        assert_eq!(good(&input.concat())[1], (0, vec![1, 2]));
    }

    #[test]
    fn abort_drops_the_unfinished_message() {
        let abort = |id: u8| [&type_0(2, 0, 4, 2)[..], &[0, 0, 0, id]].concat();
        let start = [&type_0(6, 10, 200, 9)[..], &[1; 128]].concat();
        let next = [&type_0(6, 20, 1, 9)[..], &[7]].concat();
        let told = good(&[start.clone(), abort(6), abort(9), next].concat());
        assert_eq!(told[2..], [(20, vec![7])]);
        // Aborting another stream changes nothing.
        let told = good(&[start, abort(9), vec![0xC6], vec![2; 72]].concat());
        assert_eq!(told[1].1.len(), 200);
    }

    #[test]
    fn lengths_are_limited_by_type() {
        let too_long = |type_id, len| ChunkError::MessageTooLong { type_id, len };
        for (limits, type_id, len_max) in [
            (ChunkLimits::ORIGIN, 4, 64),
            (ChunkLimits::ORIGIN, 20, 256 * 1024),
            (ChunkLimits::ORIGIN, 18, 256 * 1024),
            (ChunkLimits::ORIGIN, 99, 256 * 1024),
            (ChunkLimits::PLAYER, 20, 64 * 1024),
        ] {
            assert_eq!(check_limits(limits, &type_0(6, 0, len_max, type_id)).1, None);
            let over = check_limits(limits, &type_0(6, 0, len_max + 1, type_id)).1;
            assert_eq!(over, Some(too_long(type_id, len_max + 1)));
        }
        assert_eq!(check(&type_0(6, 0, 0xFF_FFFF, 9)).1, None);
        for type_id in [8, 9, 22] {
            for len in [0, 1] {
                let refused = check_limits(ChunkLimits::PLAYER, &type_0(6, 0, len, type_id)).1;
                assert_eq!(refused, Some(too_long(type_id, len)));
            }
        }
    }

    #[test]
    fn chunk_streams_are_limited() {
        let mut input = vec![];
        for id in 3..3 + 64 {
            encode(id, 128, &message(20, 0, &[1]), &mut input);
        }
        assert_eq!(decode_pieces(ChunkLimits::PLAYER, [&input[..]]).1, None);
        encode(100, 128, &message(20, 0, &[1]), &mut input);
        assert_eq!(decode_pieces(ChunkLimits::PLAYER, [&input[..]]).1, Some(ChunkError::TooManyChunkStreams));
    }

    #[test]
    fn unfinished_bytes_are_limited_together() {
        let open = |id| [&type_0(id, 0, 60_000, 20)[..], &[1; 128]].concat();
        let two = [open(3), open(4)].concat();
        assert_eq!(check_limits(ChunkLimits::PLAYER, &two).1, None);
        let three = [two, open(5)].concat();
        assert_eq!(check_limits(ChunkLimits::PLAYER, &three).1, Some(ChunkError::TooManyPendingBytes));
        // What is finished or aborted gives its bytes back.
        let mut decoder = ChunkDecoder::new(ChunkLimits::PLAYER);
        let mut outcome = (vec![], None);
        for _ in 0..10 {
            feed(&mut decoder, &open(3), &mut outcome);
            feed(&mut decoder, &[&type_0(2, 0, 4, 2)[..], &[0, 0, 0, 3]].concat(), &mut outcome);
            feed(&mut decoder, &encoded(7, 128, &message(20, 0, &[3; 60_000])), &mut outcome);
        }
        assert_eq!((outcome.0.len(), outcome.1), (20, None));
        assert_eq!(decoder.pending_bytes, 0);
    }

    #[test]
    fn a_long_message_is_handed_out_in_a_buffer_of_its_size() {
        let long = message(9, 0, &vec![5; 3_000_000]);
        let input = encoded(6, 128, &long);
        let mut decoder = ChunkDecoder::new(ChunkLimits::ORIGIN);
        let mut outcome = (vec![], None);
        for piece in input.chunks(1448) {
            feed(&mut decoder, piece, &mut outcome);
            assert!(decoder.streams[0].payload.capacity() <= 3_000_000);
        }
        assert_eq!(outcome, (vec![long], None));
        assert_eq!(decoder.pending_bytes, 0);
    }
}
