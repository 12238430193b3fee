//! An ear of our own on what an origin sends the proxy.

use crate::raw::{
    chunk::{ChunkReader, Continuations, RawMessage, disaggregate, kind},
    media::{self, Tag},
};

/// S0, S1 and S2.
const HANDSHAKE_BYTES: usize = 3073;

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

    /// Hears bytes, and tells the track of every frame and whether it is a keyframe.
    pub(crate) fn hear(&mut self, mut bytes: &[u8], mut tell: impl FnMut(media::Track, bool)) {
        let skipped = self.handshake_left.min(bytes.len());
        self.handshake_left -= skipped;
        bytes = &bytes[skipped..];
        let Some(reader) = &mut self.reader else { return };
        reader.push(bytes);
        loop {
            match reader.poll_message() {
                Ok(Some(message)) if message.kind == kind::AGGREGATE => {
                    for part in disaggregate(&message).unwrap_or_default() {
                        tell_frame(&part, &mut tell);
                    }
                }
                Ok(Some(message)) => tell_frame(&message, &mut tell),
                Ok(None) => return,
                Err(_) => {
                    self.reader = None;
                    return;
                }
            }
        }
    }
}

fn tell_frame(message: &RawMessage, tell: &mut impl FnMut(media::Track, bool)) {
    let tag = match message.kind {
        kind::VIDEO => media::classify_video(&message.payload),
        kind::AUDIO => media::classify_audio(&message.payload),
        _ => return,
    };
    if let Tag::Frame { track, key, .. } = tag {
        tell(track, key);
    }
}
