//! An ear of our own on what an origin sends the proxy.

use crate::{
    raw::{
        amf0::{self, Amf},
        chunk::{ChunkReader, Continuations, RawMessage, disaggregate, kind},
        media::{self, Tag},
    },
    trace::What,
};

/// S0, S1 and S2.
const HANDSHAKE_BYTES: usize = 3073;

/// What is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A frame.
    Frame {
        /// Of which track.
        track: media::Track,
        /// It is a keyframe.
        key: bool,
    },
    /// The stream is over, by this word: a user control event, an `onStatus` or an `onPlayStatus`.
    End(&'static str),
}

impl Heard {
    /// Returns it as a record tells it.
    pub(crate) fn on(self, conn: u64) -> What {
        match self {
            Self::Frame { track, key } => What::Arrived { conn, track, key },
            Self::End(told) => What::EndArrived { conn, told: told.to_owned() },
        }
    }
}

/// The codes of an `onStatus` that end a play.
const END_CODES: [&str; 5] = [
    "NetStream.Play.UnpublishNotify",
    "NetStream.Play.Stop",
    "NetStream.Play.Complete",
    "NetStream.Play.StreamNotFound",
    "NetStream.Play.Failed",
];

/// The user control events that end a play.
const END_EVENTS: [(u8, &str); 2] = [(1, "StreamEOF"), (2, "StreamDry")];

/// Reads what an origin sends with the simulator's own codec, to know what has really arrived.
#[derive(Debug)]
pub(crate) struct Ear {
    handshake_left: usize,
    /// None once the bytes made no sense.
    reader: Option<ChunkReader>,
}

impl Ear {
    pub(crate) fn new() -> Self {
        Self { handshake_left: HANDSHAKE_BYTES, reader: Some(ChunkReader::new(Continuations::Alike)) }
    }

    /// Hears bytes, and tells of every frame and every end.
    pub(crate) fn hear(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Heard)) {
        let skipped = self.handshake_left.min(bytes.len());
        self.handshake_left -= skipped;
        bytes = &bytes[skipped..];
        let Some(reader) = &mut self.reader else { return };
        reader.push(bytes);
        loop {
            match reader.poll_message() {
                Ok(Some(message)) if message.kind == kind::AGGREGATE => {
                    for part in disaggregate(&message).unwrap_or_default() {
                        understand(&part).map(&mut tell);
                    }
                }
                Ok(Some(message)) => {
                    understand(&message).map(&mut tell);
                }
                Ok(None) => return,
                Err(_) => {
                    self.reader = None;
                    return;
                }
            }
        }
    }
}

fn understand(message: &RawMessage) -> Option<Heard> {
    let tag = match message.kind {
        kind::VIDEO => media::classify_video(&message.payload),
        kind::AUDIO => media::classify_audio(&message.payload),
        kind::COMMAND | kind::DATA => return end_by_status(&message.payload),
        kind::USER_CONTROL => return end_by_event(&message.payload),
        _ => return None,
    };
    match tag {
        Tag::Frame { track, key, .. } => Some(Heard::Frame { track, key }),
        Tag::Header(_) | Tag::Other => None,
    }
}

fn end_by_status(payload: &[u8]) -> Option<Heard> {
    let values = amf0::read_all(payload).ok()?;
    let name = values.first().and_then(Amf::as_text)?;
    let code = values.iter().find_map(|value| value.property("code")).and_then(Amf::as_text)?;
    let end = END_CODES.into_iter().find(|end| *end == code)?;
    matches!(name, "onStatus" | "onPlayStatus").then_some(Heard::End(end))
}

fn end_by_event(payload: &[u8]) -> Option<Heard> {
    let (event, _) = payload.split_first_chunk()?;
    let event = u16::from_be_bytes(*event);
    END_EVENTS.iter().find(|(end, _)| u16::from(*end) == event).map(|(_, word)| Heard::End(word))
}
