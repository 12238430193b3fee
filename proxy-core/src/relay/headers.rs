//! What decoding needs first: metadata, sequence headers and configurations, the last of each kind and track.

use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};

use bytes::Bytes;

use crate::wire::flv::{FourCc, Frame, FrameClass, Medium};

/// The headers of this play, and of the life before until this play has its own.
#[derive(Debug)]
pub(super) struct Headers {
    headers: BTreeMap<Key, Header>,
    headers_max: usize,
    /// Counts plays; a header of another one is of the life before.
    play: u64,
    bytes: usize,
}

/// Medium, track, kind: in the order in which a track's headers are sent.
type Key = (Medium, u8, FrameClass);

#[derive(Debug)]
struct Header {
    codec: FourCc,
    payload: Bytes,
    play: u64,
    sent: Option<Sent>,
}

/// Where a header went into the log last.
#[derive(Clone, Copy, Debug)]
struct Sent {
    epoch: u64,
    position: u64,
    time: u64,
}

/// What a header is to the one kept before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The first of its kind and track in this play.
    First,
    /// The same bytes again.
    Same,
    /// Other bytes.
    Changed,
    /// Not kept: too long, or too many are kept. It is sent as it comes, and joiners miss it.
    Refused,
}

/// What a player gets before it begins at a place in the log: the headers of the epoch that lie before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prelude {
    pub(super) epoch: u64,
    pub(super) items: Arc<[PreludeItem]>,
}

impl Prelude {
    /// Returns whether the headers are the same as another's, at whatever time.
    pub(super) fn has_those_of(&self, other: &Self) -> bool {
        let places = |prelude: &Self| prelude.items.iter().map(|item| item.position).collect::<Vec<_>>();
        self.epoch == other.epoch && places(self) == places(other)
    }
}

/// One header of a prelude.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PreludeItem {
    pub(super) medium: Medium,
    /// In milliseconds: its track's last time out, which nothing after it goes below.
    pub(super) time: u64,
    pub(super) payload: Bytes,
    /// Where it lies in the log.
    pub(super) position: u64,
}

/// The longest header that is kept for joiners. Sequence headers are tens to hundreds of bytes; metadata may
/// carry cue points and is bounded by what a data message may have.
pub(super) const HEADER_BYTES_MAX: usize = 256 * 1024;

impl Headers {
    pub(super) fn new(headers_max: usize) -> Self {
        Self { headers: BTreeMap::new(), headers_max, play: 0, bytes: 0 }
    }

    /// Makes what is kept the life before. `is_barren` tells that the play that ends brought no frame: then
    /// the life before is still the one before that.
    pub(super) fn begin_play(&mut self, is_barren: bool) {
        let play = self.play;
        self.retain(|key, header| key.2 != FrameClass::Metadata && (is_barren || header.play == play));
        self.play += 1;
    }

    pub(super) fn clear(&mut self) {
        self.headers.clear();
        self.bytes = 0;
    }

    /// Returns the bytes kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a header, to be sent unless players have it.
    pub(super) fn keep(&mut self, frame: &Frame) -> Kept {
        let key = (frame.medium, frame.track, frame.class);
        let before = self.headers.get(&key).filter(|header| header.play == self.play);
        let kept = match before {
            None => Kept::First,
            Some(header) if header.payload == frame.payload => return Kept::Same,
            Some(_) => Kept::Changed,
        };
        if frame.class == FrameClass::SequenceHeader {
            // A configuration belongs to the header it came after.
            self.remove((frame.medium, frame.track, FrameClass::Configuration));
        }
        self.remove(key);
        if frame.payload.len() > HEADER_BYTES_MAX || !self.has_room() {
            return Kept::Refused;
        }
        self.bytes += frame.payload.len();
        // A copy of its own: as a slice it would keep the whole read buffer it came in.
        let payload = Bytes::copy_from_slice(&frame.payload);
        self.headers.insert(key, Header { codec: frame.codec, payload, play: self.play, sent: None });
        kept
    }

    /// Drops the headers of a track that are of this codec, which it has left.
    pub(super) fn forget(&mut self, medium: Medium, track: u8, codec: FourCc) {
        self.retain(|key, header| (key.0, key.1) != (medium, track) || header.codec != codec);
    }

    /// Takes over the last life's header for a track whose frames come without one in this play.
    pub(super) fn inherit(&mut self, medium: Medium, track: u8, codec: FourCc) {
        let Some(header) = self.headers.get(&(medium, track, FrameClass::SequenceHeader)) else { return };
        if header.play == self.play {
            return;
        }
        let play = self.play;
        for header in self.of_track_mut(medium, track).filter(|header| header.codec == codec) {
            header.play = play;
            header.sent = None;
        }
    }

    /// Returns the first header of a track that the epoch has not sent, and marks it as sent.
    pub(super) fn take_owed(
        &mut self,
        medium: Medium,
        track: u8,
        epoch: u64,
        position: u64,
        time: u64,
    ) -> Option<Bytes> {
        let play = self.play;
        let header = self
            .of_track_mut(medium, track)
            .find(|header| header.play == play && header.sent.is_none_or(|sent| sent.epoch != epoch))?;
        header.sent = Some(Sent { epoch, position, time });
        Some(header.payload.clone())
    }

    /// Returns what a player gets that begins at the end of the log. `last` tells a track's last time out.
    pub(super) fn prelude(&self, epoch: u64, last: impl Fn(Medium, u8) -> Option<u64>) -> Prelude {
        let sent = |(key, header): (&Key, &Header)| {
            let sent = header.sent.filter(|sent| header.play == self.play && sent.epoch == epoch)?;
            let time = last(key.0, key.1).map_or(sent.time, |last| last.max(sent.time));
            Some(PreludeItem {
                medium: key.0,
                time,
                payload: header.payload.clone(),
                position: sent.position,
            })
        };
        let data_from = (Medium::Data, 0, FrameClass::Metadata);
        let mut items: Vec<_> = self.headers.range(data_from..).filter_map(sent).collect();
        let data = items.len();
        items.extend(self.headers.range(..data_from).filter_map(sent));
        // A track may have fallen silent long ago: the clock rises here too.
        items[data..].sort_by_key(|item| item.time);
        Prelude { epoch, items: items.into() }
    }

    fn of_track_mut(&mut self, medium: Medium, track: u8) -> impl Iterator<Item = &mut Header> {
        let all = (medium, track, FrameClass::Metadata)..=(medium, track, FrameClass::Passing);
        self.headers.range_mut(all).map(|(_, header)| header)
    }

    /// Makes room for one, at the cost of the life before if need be.
    fn has_room(&mut self) -> bool {
        if self.headers.len() >= self.headers_max {
            let old = self.headers.iter().find(|(_, header)| header.play != self.play).map(|(key, _)| *key);
            if let Some(key) = old {
                self.remove(key);
            }
        }
        self.headers.len() < self.headers_max
    }

    fn remove(&mut self, key: Key) {
        if let Some(header) = self.headers.remove(&key) {
            self.bytes -= header.payload.len();
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(&Key, &Header) -> bool) {
        self.headers.retain(|key, header| keep(key, header));
        self.bytes = self.headers.values().map(|header| header.payload.len()).sum();
    }
}
