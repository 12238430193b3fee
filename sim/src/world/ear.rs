//! An ear of our own on what an origin sends the proxy.

use crate::{
    origin::{Ending, Words},
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
        /// Its payload, in bytes.
        len: u32,
    },
    /// The play is over.
    End(Ending),
}

impl Heard {
    /// Returns what is recorded of it.
    pub(crate) fn into_record(self, conn: u64) -> What {
        match self {
            Self::Frame { track, key, len } => What::Arrived { conn, track, key, len },
            Self::End(ending) => What::EndArrived { conn, told: ending.code().to_owned() },
        }
    }
}

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
                    for frame in disaggregate(&message).unwrap_or_default().iter().filter_map(hear_frame) {
                        tell(frame);
                    }
                }
                Ok(Some(message)) => {
                    if let Some(heard) = hear_frame(&message).or_else(|| hear_end(&message)) {
                        tell(heard);
                    }
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

fn hear_frame(message: &RawMessage) -> Option<Heard> {
    let tag = match message.kind {
        kind::VIDEO => media::classify_video(&message.payload),
        kind::AUDIO => media::classify_audio(&message.payload),
        _ => return None,
    };
    match tag {
        Tag::Frame { track, key, .. } => {
            let len = u32::try_from(message.payload.len()).unwrap_or(u32::MAX);
            Some(Heard::Frame { track, key, len })
        }
        Tag::Header(_) | Tag::Other => None,
    }
}

fn hear_end(message: &RawMessage) -> Option<Heard> {
    let payload = &message.payload;
    let event = || payload.first_chunk().map(|event| u16::from_be_bytes(*event));
    let status = |name: &str| {
        let values = amf0::read_all(payload).ok()?;
        let is_named = values.first().and_then(Amf::as_text) == Some(name);
        let code = values.iter().find_map(|value| value.property("code")).and_then(Amf::as_text)?;
        is_named.then(|| code.to_owned())
    };
    let told = match message.kind {
        kind::USER_CONTROL => None,
        kind::COMMAND => Some(status("onStatus")?),
        kind::DATA => Some(status("onPlayStatus")?),
        _ => return None,
    };
    let is_told = |ending: &Ending| match ending.words() {
        Words::Event(number) => message.kind == kind::USER_CONTROL && event() == Some(u16::from(number)),
        Words::Stream(_, code, _) => message.kind == kind::COMMAND && told.as_deref() == Some(code),
        Words::Connection(_, code, _) => message.kind == kind::COMMAND && told.as_deref() == Some(code),
        Words::PlayStatus(code) => message.kind == kind::DATA && told.as_deref() == Some(code),
    };
    Ending::ALL.into_iter().filter(|ending| ending.ends_play()).find(is_told).map(Heard::End)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::chunk::{ChunkStyle, ChunkWriter};

    /// Returns what is heard of a message.
    fn hears(kind: u8, payload: Vec<u8>) -> Vec<Heard> {
        let mut bytes = vec![0; HANDSHAKE_BYTES];
        let message = RawMessage { kind, stream: 1, timestamp: 0, payload: payload.into() };
        ChunkWriter::new(ChunkStyle::default()).write(3, &message, &mut bytes);
        let mut heard = Vec::new();
        Ear::new().hear(&bytes, |what| heard.push(what));
        heard
    }

    #[test]
    fn an_end_is_heard_in_whatever_words() {
        let status = |name: &str, code: &str| {
            let info = Amf::Object(vec![("code".to_owned(), Amf::text(code))]);
            amf0::write_all(&[Amf::text(name), Amf::Null, info])
        };
        let event = |number: u8| vec![0, number, 0, 0, 0, 1];
        for (kind, payload, end) in [
            (4, event(1), Some(Ending::StreamEof)),
            (4, event(2), Some(Ending::StreamDry)),
            (4, event(0), None),
            (4, event(6), None),
            (20, status("onStatus", "NetStream.Play.UnpublishNotify"), Some(Ending::UnpublishNotify)),
            (20, status("onStatus", "NetStream.Play.PublishNotify"), None),
            (20, status("onStatus", "NetStream.Play.Stop"), Some(Ending::PlayStop)),
            (20, status("onStatus", "NetStream.Play.StreamNotFound"), Some(Ending::StreamNotFound)),
            (20, status("onStatus", "NetStream.Play.Failed"), Some(Ending::PlayFailed)),
            (20, status("onStatus", "NetStream.Play.InsufficientBW"), None),
            (20, status("onStatus", "NetConnection.Connect.Closed"), Some(Ending::ConnectClosed)),
            (20, status("onStatus", "NetConnection.Connect.Rejected"), Some(Ending::ConnectRejected)),
            (20, status("onStatus", "NetConnection.Connect.AppShutdown"), Some(Ending::AppShutdown)),
            (18, status("onPlayStatus", "NetStream.Play.Complete"), Some(Ending::PlayComplete)),
            (18, status("onMetaData", "NetStream.Play.Complete"), None),
        ] {
            let expected: Vec<_> = end.map(Heard::End).into_iter().collect();
            assert_eq!(hears(kind, payload), expected);
        }
    }
}
