//! Chunks ↔ messages (§5.3), with the liberties real software takes as knobs of the writer.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::RawError;

/// The longest message a model peer accepts, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 0xFF_FFFF;

/// Message type ids (§5.4, §6.2, §7.1).
pub mod kind {
    /// Set Chunk Size.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort.
    pub const ABORT: u8 = 2;
    /// Acknowledgement.
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User control.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size.
    pub const WINDOW: u8 = 5;
    /// Set Peer Bandwidth.
    pub const PEER_BANDWIDTH: u8 = 6;
    /// Audio.
    pub const AUDIO: u8 = 8;
    /// Video.
    pub const VIDEO: u8 = 9;
    /// Data, AMF0.
    pub const DATA: u8 = 18;
    /// Command, AMF0.
    pub const COMMAND: u8 = 20;
    /// Aggregate.
    pub const AGGREGATE: u8 = 22;
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// Message type id, see [`kind`].
    pub kind: u8,
    /// Message stream id; 0 is the connection.
    pub stream: u32,
    /// Milliseconds, 32 bits, wraps.
    pub timestamp: u32,
    /// The payload.
    pub payload: Bytes,
}

/// A message still in its reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMessageRef<'a> {
    /// Message type id, see [`kind`].
    pub kind: u8,
    /// Message stream id; 0 is the connection.
    pub stream: u32,
    /// Milliseconds, 32 bits, wraps.
    pub timestamp: u32,
    /// The payload.
    pub payload: &'a [u8],
}

impl RawMessageRef<'_> {
    /// Copies it out of the buffer.
    pub fn to_message(self) -> RawMessage {
        RawMessage {
            kind: self.kind,
            stream: self.stream,
            timestamp: self.timestamp,
            payload: Bytes::copy_from_slice(self.payload),
        }
    }
}

/// How chunk headers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// Every message begins with format 0.
    Full,
    /// The shortest of formats 0–3. Format 3 is never the first after a format 0, since peers disagree on
    /// what its delta then is (§5.3.1.2.4 against nginx-rtmp).
    Short,
}

/// The writer's liberties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkStyle {
    /// Announced by SetChunkSize and used, in bytes, at least 1.
    pub chunk_size: usize,
    /// How headers are written.
    pub headers: Headers,
    /// Repeat the extended timestamp in format 3 chunks, as §5.3.1.3 demands; some software leaves it out.
    pub extended_in_continuations: bool,
    /// Mix the chunks of messages that are due together.
    pub interleave: bool,
    /// Pack audio and video due together into aggregates (FMS, Wowza).
    pub aggregate: bool,
}

impl Default for ChunkStyle {
    fn default() -> Self {
        Self {
            chunk_size: 4096,
            headers: Headers::Short,
            extended_in_continuations: true,
            interleave: false,
            aggregate: false,
        }
    }
}

/// What a chunk stream's headers have said last.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    timestamp: u32,
    delta: u32,
    len: usize,
    kind: u8,
    stream: u32,
    /// The field of the extended timestamp, if it has one.
    extended: Option<u32>,
}

#[derive(Clone, Debug, Default)]
struct Inbound {
    head: Head,
    /// Kept from message to message: the next one finds room.
    payload: Vec<u8>,
    /// All of the message is there; the next chunk begins another.
    done: bool,
}

impl Inbound {
    fn message(&self) -> RawMessageRef<'_> {
        let Head { kind, stream, timestamp, .. } = self.head;
        RawMessageRef { kind, stream, timestamp, payload: &self.payload }
    }
}

/// Whether chunks of format 3 carry an extended timestamp again, as §5.3.1.3 has it since 2012 and old senders do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuations {
    /// They do.
    Extended,
    /// They do not.
    Bare,
    /// Those do that begin with the same four bytes again: how whoever knows nothing of the sender tells them apart.
    Alike,
}

/// Chunks to messages; strict.
#[derive(Clone, Debug)]
pub struct ChunkReader {
    chunk_size: usize,
    continuations: Continuations,
    streams: BTreeMap<u32, Inbound>,
    buffer: Vec<u8>,
    start: usize,
}

impl ChunkReader {
    /// Makes a reader for the 128-byte chunks every connection begins with (§5.4.1).
    pub fn new(continuations: Continuations) -> Self {
        Self { chunk_size: 128, continuations, streams: BTreeMap::new(), buffer: Vec::new(), start: 0 }
    }

    /// Takes bytes; messages come out of [`Self::poll_message`].
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete message. Set Chunk Size and Abort take effect here and are returned as well.
    pub fn poll_message(&mut self) -> Result<Option<RawMessage>, RawError> {
        Ok(self.poll_ref()?.map(RawMessageRef::to_message))
    }

    /// Returns the next complete message as [`Self::poll_message`] does, without a copy of it.
    pub fn poll_ref(&mut self) -> Result<Option<RawMessageRef<'_>>, RawError> {
        while let Some((csid, used)) = self.read_chunk()? {
            self.start += used;
            let Some(inbound) = self.streams.get_mut(&csid) else { break };
            if inbound.payload.len() < inbound.head.len {
                continue;
            }
            inbound.done = true;
            if matches!(inbound.head.kind, kind::SET_CHUNK_SIZE | kind::ABORT) {
                self.obey(csid)?;
            }
            return Ok(self.streams.get(&csid).map(Inbound::message));
        }
        Ok(None)
    }

    /// Reads one whole chunk into its stream; returns the stream and the bytes used.
    fn read_chunk(&mut self) -> Result<Option<(u32, usize)>, RawError> {
        let input = &self.buffer[self.start..];
        let Some((fmt, csid, mut at)) = basic_header(input) else { return Ok(None) };
        let header_len = [11, 7, 3, 0][usize::from(fmt)];
        let Some(header) = input.get(at..at + header_len) else { return Ok(None) };
        at += header_len;

        let known = self.streams.get(&csid);
        if fmt > 0 && known.is_none() {
            return Err(RawError::ChunkOrphan { csid, fmt });
        }
        let (mut next, have) = known.map_or((Head::default(), 0), |inbound| {
            (inbound.head, if inbound.done { 0 } else { inbound.payload.len() })
        });
        let continues = have > 0;
        if continues && fmt != 3 {
            return Err(RawError::ChunkMidMessage { csid, fmt });
        }

        let mut time = if fmt == 3 { 0 } else { u24(header) };
        if fmt <= 1 {
            next.len = u24(&header[3..]) as usize;
            next.kind = header[6];
        }
        if fmt == 0 {
            next.stream = u32::from_le_bytes([header[7], header[8], header[9], header[10]]);
        }
        let has_field = match next.extended {
            _ if fmt < 3 => time == 0xFF_FFFF,
            None => false,
            Some(before) => match self.continuations {
                Continuations::Extended => true,
                Continuations::Bare => false,
                Continuations::Alike => {
                    let there = &input[at..input.len().min(at + 4)];
                    before.to_be_bytes().starts_with(there)
                }
            },
        };
        if fmt < 3 {
            next.extended = None;
        }
        if has_field {
            let Some(field) = input.get(at..at + 4) else { return Ok(None) };
            time = u32::from_be_bytes([field[0], field[1], field[2], field[3]]);
            next.extended = Some(time);
            at += 4;
        }
        if !continues {
            match fmt {
                0 => (next.timestamp, next.delta) = (time, time),
                1 | 2 => {
                    next.delta = time;
                    next.timestamp = next.timestamp.wrapping_add(time);
                }
                _ => next.timestamp = next.timestamp.wrapping_add(next.delta),
            }
        }
        if next.len > MESSAGE_BYTES_MAX {
            return Err(RawError::MessageTooLong { len: next.len });
        }

        let take = (next.len - have.min(next.len)).min(self.chunk_size);
        let Some(body) = input.get(at..at + take) else { return Ok(None) };
        let inbound = self.streams.entry(csid).or_default();
        inbound.head = next;
        if std::mem::take(&mut inbound.done) {
            inbound.payload.clear();
        }
        inbound.payload.extend_from_slice(body);
        Ok(Some((csid, at + take)))
    }

    /// Does what a control message on a chunk stream asks for.
    fn obey(&mut self, csid: u32) -> Result<(), RawError> {
        let Some(inbound) = self.streams.get(&csid) else { return Ok(()) };
        let field = inbound.payload.first_chunk::<4>().map(|field| u32::from_be_bytes(*field));
        match (inbound.head.kind, field) {
            (kind::SET_CHUNK_SIZE, Some(field)) => {
                let size = field & 0x7FFF_FFFF;
                if size == 0 {
                    return Err(RawError::ChunkSize);
                }
                self.chunk_size = size as usize;
            }
            (kind::SET_CHUNK_SIZE, None) => return Err(RawError::ChunkSize),
            (kind::ABORT, Some(aborted)) if aborted != csid => {
                if let Some(inbound) = self.streams.get_mut(&aborted) {
                    inbound.payload.clear();
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
struct Outbound {
    timestamp: u32,
    /// `None` after a format 0.
    delta: Option<u32>,
    len: usize,
    kind: u8,
    stream: u32,
}

/// Messages to chunks.
#[derive(Clone, Debug)]
pub struct ChunkWriter {
    style: ChunkStyle,
    chunk_size: usize,
    streams: BTreeMap<u32, Outbound>,
    /// Announced and used inside the next message that has more than one chunk.
    resize: Option<usize>,
}

impl ChunkWriter {
    /// Makes a writer; it uses 128-byte chunks until [`Self::announce`].
    pub fn new(style: ChunkStyle) -> Self {
        Self { style, chunk_size: 128, streams: BTreeMap::new(), resize: None }
    }

    /// Appends SetChunkSize with the style's size and uses that from here on.
    pub fn announce(&mut self, out: &mut Vec<u8>) {
        self.set_chunk_size(self.style.chunk_size, out);
    }

    /// Writes in another style from here on; another chunk size is announced.
    pub fn set_style(&mut self, style: ChunkStyle, out: &mut Vec<u8>) {
        self.style = style;
        if self.style.chunk_size != self.chunk_size {
            self.announce(out);
        }
    }

    /// Announces and uses another chunk size inside the next message that has more than one chunk, as §5.4.1 lets it.
    pub fn resize_inside(&mut self, chunk_size: usize) {
        self.resize = Some(chunk_size);
    }

    /// Returns whether messages that are due together may as well be written one by one.
    pub fn is_plain(&self) -> bool {
        !self.style.aggregate && !self.style.interleave
    }

    fn set_chunk_size(&mut self, size: usize, out: &mut Vec<u8>) {
        let size = size.clamp(1, 0x7FFF_FFFF);
        let field = (size as u32).to_be_bytes();
        let message = RawMessageRef { kind: kind::SET_CHUNK_SIZE, stream: 0, timestamp: 0, payload: &field };
        self.write_ref(2, message, out);
        self.chunk_size = size;
    }

    /// Appends one message on a chunk stream (2–65,599).
    pub fn write(&mut self, csid: u32, message: &RawMessage, out: &mut Vec<u8>) {
        let RawMessage { kind, stream, timestamp, payload } = message;
        let (kind, stream, timestamp) = (*kind, *stream, *timestamp);
        self.write_ref(csid, RawMessageRef { kind, stream, timestamp, payload }, out);
    }

    /// Appends one message as [`Self::write`] does.
    pub fn write_ref(&mut self, csid: u32, message: RawMessageRef<'_>, out: &mut Vec<u8>) {
        self.write_marking(csid, message, out, |_| {});
    }

    /// Appends messages that are due together, on chunk streams of their own: mixed, packed or one after the
    /// other, as the style says.
    pub fn write_together(&mut self, messages: &[(u32, RawMessage)], out: &mut Vec<u8>) {
        let packable = |(_, message): &&(u32, RawMessage)| matches!(message.kind, kind::AUDIO | kind::VIDEO);
        if self.style.aggregate
            && messages.len() > 1
            && messages.iter().filter(packable).count() == messages.len()
        {
            let parts: Vec<&RawMessage> = messages.iter().map(|(_, message)| message).collect();
            self.write(messages[0].0, &aggregate(&parts), out);
        } else if self.style.interleave && messages.len() > 1 {
            self.interleave(messages, out);
        } else {
            for (csid, message) in messages {
                self.write(*csid, message, out);
            }
        }
    }

    /// Takes a chunk of each message in turn. Messages sharing a chunk stream keep their order.
    fn interleave(&mut self, messages: &[(u32, RawMessage)], out: &mut Vec<u8>) {
        let mut lanes: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
        for (csid, message) in messages {
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            let RawMessage { kind, stream, timestamp, ref payload } = *message;
            let message = RawMessageRef { kind, stream, timestamp, payload };
            self.write_marking(*csid, message, &mut bytes, |end| ends.push(end));
            let lane = lanes.entry(*csid).or_default();
            let mut start = 0;
            for end in ends {
                lane.push(bytes[start..end].to_vec());
                start = end;
            }
        }
        let rounds = lanes.values().map(Vec::len).max().unwrap_or(0);
        for round in 0..rounds {
            for lane in lanes.values() {
                if let Some(chunk) = lane.get(round) {
                    out.extend_from_slice(chunk);
                }
            }
        }
    }

    /// Appends one message and tells where each of its chunks ends.
    fn write_marking(
        &mut self,
        csid: u32,
        message: RawMessageRef<'_>,
        out: &mut Vec<u8>,
        mut mark: impl FnMut(usize),
    ) {
        let (fmt, time) = self.choose(csid, message);
        out.reserve(message.payload.len() + 18);
        put_basic_header(fmt, csid, out);
        let field = time.min(0xFF_FFFF).to_be_bytes();
        if fmt < 3 {
            out.extend_from_slice(&field[1..]);
        }
        if fmt < 2 {
            out.extend_from_slice(&(message.payload.len() as u32).to_be_bytes()[1..]);
            out.push(message.kind);
        }
        if fmt == 0 {
            out.extend_from_slice(&message.stream.to_le_bytes());
        }
        let extended = time >= 0xFF_FFFF;
        if extended && (fmt < 3 || self.style.extended_in_continuations) {
            out.extend_from_slice(&time.to_be_bytes());
        }
        let (piece, mut rest) = message.payload.split_at(message.payload.len().min(self.chunk_size));
        out.extend_from_slice(piece);
        if !rest.is_empty()
            && let Some(size) = self.resize.take()
        {
            self.set_chunk_size(size, out);
        }
        mark(out.len());
        while !rest.is_empty() {
            put_basic_header(3, csid, out);
            if extended && self.style.extended_in_continuations {
                out.extend_from_slice(&time.to_be_bytes());
            }
            let piece;
            (piece, rest) = rest.split_at(rest.len().min(self.chunk_size));
            out.extend_from_slice(piece);
            mark(out.len());
        }
    }

    /// Picks the header format and the number in its time field, and remembers both.
    fn choose(&mut self, csid: u32, message: RawMessageRef<'_>) -> (u8, u32) {
        let last = self.streams.get(&csid).copied();
        let delta = last.map(|last| message.timestamp.wrapping_sub(last.timestamp));
        let (fmt, time, delta) = match (self.style.headers, last, delta) {
            (Headers::Full, _, _) | (_, None, _) | (_, _, None) => (0, message.timestamp, None),
            (Headers::Short, Some(last), Some(delta)) => {
                if last.stream != message.stream || delta > 0x7FFF_FFFF {
                    (0, message.timestamp, None)
                } else if last.len != message.payload.len() || last.kind != message.kind {
                    (1, delta, Some(delta))
                } else if last.delta != Some(delta) {
                    (2, delta, Some(delta))
                } else {
                    (3, delta, Some(delta))
                }
            }
        };
        let next = Outbound {
            timestamp: message.timestamp,
            delta,
            len: message.payload.len(),
            kind: message.kind,
            stream: message.stream,
        };
        self.streams.insert(csid, next);
        (fmt, time)
    }
}

/// Packs messages into an aggregate (§7.1.6): FLV tags with their back pointers.
pub fn aggregate(parts: &[&RawMessage]) -> RawMessage {
    let mut payload = Vec::new();
    for part in parts {
        super::flv::write_tag(part.kind, part.timestamp, &part.payload, &mut payload);
    }
    RawMessage {
        kind: kind::AGGREGATE,
        stream: parts.first().map_or(0, |part| part.stream),
        timestamp: parts.first().map_or(0, |part| part.timestamp),
        payload: Bytes::from(payload),
    }
}

/// Takes an aggregate apart; the parts' times are moved so that the first is the aggregate's (§7.1.6).
pub fn disaggregate(message: &RawMessage) -> Result<Vec<RawMessage>, RawError> {
    let (mut parts, mut at, mut first) = (Vec::new(), 0, None);
    while at < message.payload.len() {
        let header = message.payload.get(at..at + 11).ok_or(RawError::Aggregate)?;
        let len = u24(&header[1..]) as usize;
        let time = u24(&header[4..]) | u32::from(header[7]) << 24;
        let body = at + 11;
        if message.payload.len() < body + len + 4 {
            return Err(RawError::Aggregate);
        }
        let base = *first.get_or_insert(time);
        parts.push(RawMessage {
            kind: header[0],
            stream: message.stream,
            timestamp: message.timestamp.wrapping_add(time.wrapping_sub(base)),
            payload: message.payload.slice(body..body + len),
        });
        at = body + len + 4;
    }
    Ok(parts)
}

fn basic_header(input: &[u8]) -> Option<(u8, u32, usize)> {
    let first = *input.first()?;
    match first & 63 {
        0 => Some((first >> 6, 64 + u32::from(*input.get(1)?), 2)),
        1 => Some((first >> 6, 64 + u32::from(*input.get(1)?) + 256 * u32::from(*input.get(2)?), 3)),
        csid => Some((first >> 6, u32::from(csid), 1)),
    }
}

fn put_basic_header(fmt: u8, csid: u32, out: &mut Vec<u8>) {
    match csid {
        0..=63 => out.push(fmt << 6 | csid as u8),
        64..=319 => out.extend_from_slice(&[fmt << 6, (csid - 64) as u8]),
        _ => out.extend_from_slice(&[fmt << 6 | 1, ((csid - 64) & 0xFF) as u8, ((csid - 64) >> 8) as u8]),
    }
}

fn u24(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, timestamp: u32, len: usize) -> RawMessage {
        let payload: Vec<u8> = (0..len).map(|at| (at as u8) ^ (timestamp as u8)).collect();
        RawMessage { kind, stream: 1, timestamp, payload: payload.into() }
    }

    fn read_all(bytes: &[u8], step: usize, continuations: Continuations) -> Vec<RawMessage> {
        let mut reader = ChunkReader::new(continuations);
        let mut messages = Vec::new();
        for piece in bytes.chunks(step) {
            reader.push(piece);
            while let Some(message) = reader.poll_message().expect("our own writing") {
                messages.push(message);
            }
        }
        messages
    }

    fn story() -> Vec<(u32, RawMessage)> {
        let mut story = Vec::new();
        for (at, time) in [0, 40, 80, 120, 0xFF_FFFE, 0xFF_FFFF, 0x100_0100, 0x7FFF_FFFF, 0xFFFF_FFF0, 5]
            .into_iter()
            .enumerate()
        {
            story.push((7, message(kind::VIDEO, time, 300 + 100 * (at / 3))));
            story.push((6, message(kind::AUDIO, time, 40)));
            story.push((70, message(kind::DATA, time, at)));
            story.push((1000, message(kind::DATA, time, 3)));
        }
        story
    }

    #[test]
    fn every_style_reads_back_however_it_is_cut() {
        for headers in [Headers::Full, Headers::Short] {
            for extended in [true, false] {
                for chunk_size in [1, 128, 60_000] {
                    let style = ChunkStyle {
                        chunk_size,
                        headers,
                        extended_in_continuations: extended,
                        interleave: false,
                        aggregate: false,
                    };
                    let mut writer = ChunkWriter::new(style);
                    let mut bytes = Vec::new();
                    writer.announce(&mut bytes);
                    for (csid, message) in story() {
                        writer.write(csid, &message, &mut bytes);
                    }
                    let told = if extended { Continuations::Extended } else { Continuations::Bare };
                    for (step, continuations) in [1, 13, bytes.len()]
                        .map(|step| [(step, told), (step, Continuations::Alike)])
                        .as_flattened()
                    {
                        let read = read_all(&bytes, *step, *continuations);
                        assert_eq!(read.len(), 1 + story().len());
                        for (found, (_, sent)) in read[1..].iter().zip(story()) {
                            assert_eq!(*found, sent);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn interleaved_messages_come_out_whole() {
        let style = ChunkStyle { interleave: true, chunk_size: 100, ..ChunkStyle::default() };
        let mut writer = ChunkWriter::new(style);
        let mut bytes = Vec::new();
        writer.announce(&mut bytes);
        let pair = [(7, message(kind::VIDEO, 10, 950)), (6, message(kind::AUDIO, 10, 250))];
        writer.write_together(&pair, &mut bytes);
        let read = read_all(&bytes, 5, Continuations::Extended);
        // The shorter one ends first.
        assert_eq!(read[1..], [pair[1].1.clone(), pair[0].1.clone()]);
    }

    #[test]
    fn aggregates_come_apart() {
        let style = ChunkStyle { aggregate: true, ..ChunkStyle::default() };
        let mut writer = ChunkWriter::new(style);
        let mut bytes = Vec::new();
        let pair = [(7, message(kind::VIDEO, 0x12_345678, 90)), (6, message(kind::AUDIO, 0x12_345680, 20))];
        writer.write_together(&pair, &mut bytes);
        let read = read_all(&bytes, bytes.len(), Continuations::Extended);
        assert_eq!(read.len(), 1);
        assert_eq!(disaggregate(&read[0]), Ok(vec![pair[0].1.clone(), pair[1].1.clone()]));
    }

    #[test]
    fn the_specifications_example_reads_as_printed() {
        // §5.3.2.1: message stream 12345, audio, 1000 ms, then three deltas of 20 ms as formats 0, 2, 3, 3.
        let mut bytes = vec![0x03, 0, 3, 0xE8, 0, 0, 1, 8, 0x39, 0x30, 0, 0, 0xAA];
        bytes.extend_from_slice(&[0x83, 0, 0, 20, 0xBB, 0xC3, 0xCC, 0xC3, 0xDD]);
        let read = read_all(&bytes, 3, Continuations::Extended);
        let times: Vec<u32> = read.iter().map(|message| message.timestamp).collect();
        assert_eq!(times, [1000, 1020, 1040, 1060]);
        assert!(read.iter().all(|message| message.stream == 12_345));
    }

    #[test]
    fn what_no_writer_may_send_is_told() {
        let check = |bytes: &[u8], expected: RawError| {
            let mut reader = ChunkReader::new(Continuations::Extended);
            reader.push(bytes);
            assert_eq!(reader.poll_message(), Err(expected));
        };
        check(&[0xC5, 0, 0], RawError::ChunkOrphan { csid: 5, fmt: 3 });
        check(&[0x02, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0], RawError::ChunkSize);
        let mut cut = vec![0x05, 0, 0, 0, 0, 1, 0, 9, 1, 0, 0, 0];
        cut.extend_from_slice(&[0; 128]);
        cut.extend_from_slice(&[0x05, 0, 0, 0, 0, 1, 0, 9, 1, 0, 0, 0]);
        check(&cut, RawError::ChunkMidMessage { csid: 5, fmt: 0 });
    }
}
