//! The log: entries at positions that are never used twice, encoded once, shared by all.

use alloc::{collections::VecDeque, vec::Vec};

use bytes::Bytes;

use crate::{
    relay::Format,
    wire::{
        chunk,
        flv::{self, Medium},
        message::Message,
    },
};

/// Encoded frames in order.
#[derive(Debug)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    chunk_size: u32,
    /// The position of the oldest entry kept.
    first: u64,
    /// All entries ever appended.
    total: Tally,
    /// The bytes of the entries kept: both encodings, and what an entry costs however small its frame.
    bytes: usize,
}

/// One encoded frame.
#[derive(Debug)]
pub(super) struct Entry {
    /// The epoch it belongs to.
    pub(super) epoch: u64,
    /// For video, the position of the keyframe it leans on, its own for a keyframe.
    pub(super) key: Option<u64>,
    /// What was appended before it.
    pub(super) before: Tally,
    medium: Medium,
    time: u64,
    rtmp: Bytes,
    flv: Option<Bytes>,
    is_header: bool,
}

/// What is to be appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    pub(super) epoch: u64,
    pub(super) key: Option<u64>,
    pub(super) medium: Medium,
    /// In milliseconds.
    pub(super) time: u64,
    pub(super) payload: &'a Bytes,
    /// A header, metadata or configuration: no frame that could be missed.
    pub(super) is_header: bool,
}

/// How much has gone by at a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// RTMP bytes.
    pub(super) bytes: u64,
    /// Frames, headers not counted.
    pub(super) frames: u64,
}

/// The message stream id that encoded bytes carry; another is patched into a copy.
const MESSAGE_STREAM: u32 = 1;
/// Where a type 0 chunk header has its message stream id, after a basic header of one byte (RTMP 1.0
/// §5.3.1.2.1).
const MESSAGE_STREAM_AT: usize = 8;
/// A basic header of one byte and a type 0 message header.
const HEADER_LEN: usize = 12;
/// From here on the timestamp is extended (RTMP 1.0 §5.3.1.3).
const EXTENDED_FROM: u32 = 0xFF_FFFF;

/// What an entry costs beside its bytes, so that a flood of tiny frames is bounded too.
pub(super) const ENTRY_COST: usize = size_of::<Entry>();

impl Log {
    pub(super) fn new(chunk_size: u32) -> Self {
        Self {
            entries: VecDeque::new(),
            // The encoder's range; 0 would never end.
            chunk_size: chunk_size.clamp(1, 0xFF_FFFF),
            first: 0,
            total: Tally::default(),
            bytes: 0,
        }
    }

    /// Returns the position of the oldest entry kept.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Returns the position one past the last entry.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Returns what was ever appended.
    pub(super) fn total(&self) -> Tally {
        self.total
    }

    /// Returns the bytes kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, position: u64) -> Option<&Entry> {
        self.entries.get(self.index(position)?)
    }

    /// Encodes and appends one frame and returns its position.
    pub(super) fn append(&mut self, item: Item<'_>) -> u64 {
        let position = self.end();
        let rtmp = self.encode_rtmp(item.medium, item.time, item.payload);
        let before = self.total;
        self.total.bytes += rtmp.len() as u64;
        self.total.frames += u64::from(!item.is_header);
        self.bytes += ENTRY_COST + rtmp.len();
        self.entries.push_back(Entry {
            epoch: item.epoch,
            key: item.key,
            before,
            medium: item.medium,
            time: item.time,
            rtmp,
            flv: None,
            is_header: item.is_header,
        });
        position
    }

    /// Returns an entry's bytes in a player's format; FLV is encoded when first wanted and kept.
    pub(super) fn packet(&mut self, position: u64, format: Format) -> Option<Bytes> {
        let index = self.index(position)?;
        let entry = self.entries.get_mut(index)?;
        match format {
            Format::Rtmp { stream } => Some(with_stream(&entry.rtmp, stream)),
            Format::Flv => {
                if entry.flv.is_none() {
                    let flv = entry.encode_flv(self.chunk_size);
                    self.bytes += flv.len();
                    entry.flv = Some(flv);
                }
                entry.flv.clone()
            }
        }
    }

    /// Returns the bytes of what is not in the log.
    pub(super) fn encode(&self, medium: Medium, time: u64, payload: &Bytes, format: Format) -> Bytes {
        match format {
            Format::Rtmp { stream } => with_stream(&self.encode_rtmp(medium, time, payload), stream),
            Format::Flv => encode_flv(medium, time, payload),
        }
    }

    /// Lets go of the entries before `position`.
    pub(super) fn trim(&mut self, position: u64) {
        while self.first < position && self.evict() {}
    }

    /// Lets go of the oldest entries until at most `bytes_max` are kept.
    pub(super) fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max && self.evict() {}
    }

    fn evict(&mut self) -> bool {
        let Some(entry) = self.entries.pop_front() else { return false };
        self.bytes -= entry.cost();
        self.first += 1;
        true
    }

    fn index(&self, position: u64) -> Option<usize> {
        usize::try_from(position.checked_sub(self.first)?).ok()
    }

    fn encode_rtmp(&self, medium: Medium, time: u64, payload: &Bytes) -> Bytes {
        let message = Message {
            type_id: medium.type_id(),
            timestamp: wire_time(time),
            stream: MESSAGE_STREAM,
            payload: payload.clone(),
        };
        let mut out = Vec::new();
        chunk::encode(chunk_stream(medium), self.chunk_size, &message, &mut out);
        out.into()
    }
}

impl Entry {
    /// Returns what came up to and with this entry.
    pub(super) fn after(&self) -> Tally {
        Tally {
            bytes: self.before.bytes + self.rtmp.len() as u64,
            frames: self.before.frames + u64::from(!self.is_header),
        }
    }

    fn cost(&self) -> usize {
        ENTRY_COST + self.rtmp.len() + self.flv.as_ref().map_or(0, Bytes::len)
    }

    /// Encodes the FLV tag out of the RTMP chunks: keeping the payload too would double what the log holds.
    fn encode_flv(&self, chunk_size: u32) -> Bytes {
        let chunk_size = chunk_size as usize;
        let extended = extended_len(self.time);
        let body = self.rtmp.get(HEADER_LEN + extended..).unwrap_or_default();
        if body.len() <= chunk_size {
            return encode_flv(self.medium, self.time, body);
        }
        let (head, mut rest) = body.split_at(chunk_size);
        let mut payload = Vec::with_capacity(body.len());
        payload.extend_from_slice(head);
        while let Some(next) = rest.get(1 + extended..) {
            let (piece, behind) = next.split_at(next.len().min(chunk_size));
            payload.extend_from_slice(piece);
            rest = behind;
        }
        encode_flv(self.medium, self.time, &payload)
    }
}

fn encode_flv(medium: Medium, time: u64, payload: &[u8]) -> Bytes {
    let mut out = Vec::new();
    flv::write_tag(medium, wire_time(time), payload, &mut out);
    out.into()
}

fn with_stream(rtmp: &Bytes, stream: u32) -> Bytes {
    if stream == MESSAGE_STREAM {
        return rtmp.clone();
    }
    let mut copy = rtmp.to_vec();
    // Little-endian, alone among RTMP's numbers (§5.3.1.2.1).
    copy[MESSAGE_STREAM_AT..HEADER_LEN].copy_from_slice(&stream.to_le_bytes());
    copy.into()
}

/// Returns the chunk stream a medium is sent on. Audio 4 and video 6 as FFmpeg has them.
const fn chunk_stream(medium: Medium) -> u32 {
    match medium {
        Medium::Audio => 4,
        Medium::Data => 5,
        Medium::Video => 6,
    }
}

/// Returns the stream's time as 32 bits carry it: it wraps after 49.7 days.
const fn wire_time(time: u64) -> u32 {
    (time & 0xFFFF_FFFF) as u32
}

const fn extended_len(time: u64) -> usize {
    if wire_time(time) >= EXTENDED_FROM { 4 } else { 0 }
}
