//! What both sessions share: chunks in and out, acknowledgements, pings, and a meter against floods.

use alloc::{string::String, vec::Vec};

use crate::{
    session::SessionError,
    wire::{
        amf0::Value,
        chunk::{self, CHUNK_SIZE_DEFAULT, ChunkDecoder, ChunkLimits},
        command::{Command, Status},
        message::{Control, Message},
    },
};

/// Chunk stream of protocol and user control messages (RTMP 1.0 §5.4 wants 2).
pub(super) const CHUNK_STREAM_CONTROL: u32 = 2;

/// Chunk stream of NetConnection commands and their results.
pub(super) const CHUNK_STREAM_COMMAND: u32 = 3;

/// Chunk stream of onStatus; nginx-rtmp and SRS use 5.
pub(super) const CHUNK_STREAM_STATUS: u32 = 5;

/// Chunk stream of NetStream commands; FFmpeg and librtmp use 8.
pub(super) const CHUNK_STREAM_PLAY: u32 = 8;

/// Smallest acknowledgement window that is obeyed, in bytes. Below it a peer would make us talk more than it does
/// (ZLMediaKit#1839 ended in a recursion).
const WINDOW_MIN: u32 = 32 * 1024;

/// Largest acknowledgement window that is obeyed, and the one before the peer names any, in bytes. Some servers
/// take a silent player for dead long before a window of their own size has passed.
const WINDOW_MAX: u32 = 1280 * 1024;

/// Useless or answered messages in a row that are believed without any media in between.
pub(super) const FLOOD_MESSAGES_MAX: u32 = 4096;

/// Longest text of a peer that is handed on, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// The two directions of one connection after the handshake.
#[derive(Debug)]
pub(super) struct Link {
    decoder: ChunkDecoder,
    /// Our outgoing chunk size.
    chunk_size: u32,
    /// Bytes the peer has sent since the connection began, handshake included.
    received: u64,
    /// The bytes told in our last acknowledgement.
    acknowledged: u64,
    /// The window the peer wants acknowledged, clamped.
    window: u32,
    /// The window we have announced.
    announced: u32,
    /// Messages that may still come before they are a flood.
    credit: u32,
}

impl Link {
    pub(super) fn new(limits: ChunkLimits, received: u64) -> Self {
        Self {
            decoder: ChunkDecoder::new(limits),
            chunk_size: CHUNK_SIZE_DEFAULT,
            received,
            acknowledged: 0,
            window: WINDOW_MAX,
            announced: 0,
            credit: FLOOD_MESSAGES_MAX,
        }
    }

    /// Takes bytes off `input` up to the end of the next message; `None` when all are used up. An empty `input` may
    /// still hold one: the decoder looks ahead.
    pub(super) fn read(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Message>, SessionError> {
        let decoded = self.decoder.decode(input).map_err(SessionError::Chunk)?;
        *input = &input[decoded.used..];
        self.received += decoded.used as u64;
        self.acknowledge(out);
        Ok(decoded.message)
    }

    /// Acknowledges at every half window, cumulative modulo 2^32 (§5.4.3), in the middle of a message too: a peer
    /// may wait for it. The numbers told are the marks passed, so they do not depend on how the bytes were cut.
    fn acknowledge(&mut self, out: &mut Vec<u8>) {
        let step = u64::from(self.window / 2);
        while self.received - self.acknowledged >= step {
            self.acknowledged += step;
            // The total wraps on the wire.
            self.control(Control::Acknowledgement(self.acknowledged as u32), out);
        }
    }

    /// Obeys and answers what both roles treat alike.
    pub(super) fn on_control(&mut self, control: Control, out: &mut Vec<u8>) {
        match control {
            Control::WindowAckSize(bytes) => {
                self.window = bytes.clamp(WINDOW_MIN, WINDOW_MAX);
                self.acknowledge(out);
            }
            Control::SetPeerBandwidth(bytes) if bytes != self.announced && bytes > 0 => {
                self.announce_window(bytes, out);
            }
            Control::SetPeerBandwidth(_) => {}
            Control::PingRequest(number) => self.control(Control::PingResponse(number), out),
            // The decoder has obeyed these two.
            Control::SetChunkSize(_) => {}
            Control::Abort(_) => {}
            // Acknowledgements are advice; nobody is cut off for their lack.
            Control::Acknowledgement(_) => {}
            Control::StreamBegin(_) => {}
            Control::StreamEof(_) => {}
            Control::StreamDry(_) => {}
            Control::SetBufferLength { .. } => {}
            Control::StreamIsRecorded(_) => {}
            Control::PingResponse(_) => {}
            Control::Ignored => {}
        }
    }

    /// Appends Window Acknowledgement Size.
    pub(super) fn announce_window(&mut self, bytes: u32, out: &mut Vec<u8>) {
        self.announced = bytes;
        self.control(Control::WindowAckSize(bytes), out);
    }

    /// Appends Set Chunk Size and obeys it from the next message on.
    pub(super) fn announce_chunk_size(&mut self, bytes: u32, out: &mut Vec<u8>) {
        self.control(Control::SetChunkSize(bytes), out);
        self.chunk_size = bytes;
    }

    /// Appends a control message.
    pub(super) fn control(&self, control: Control, out: &mut Vec<u8>) {
        chunk::encode(CHUNK_STREAM_CONTROL, self.chunk_size, &control.to_message(), out);
    }

    /// Appends a command on message stream `stream`.
    pub(super) fn command(&self, chunk_stream: u32, stream: u32, command: &Command, out: &mut Vec<u8>) {
        chunk::encode(chunk_stream, self.chunk_size, &command.to_message(stream), out);
    }

    /// Pays for a message that is useless or wants an answer.
    pub(super) fn charge(&mut self) -> Result<(), SessionError> {
        self.credit = self.credit.checked_sub(1).ok_or(SessionError::Flood)?;
        Ok(())
    }

    /// Gives `messages` back: something useful came, or time has passed.
    pub(super) fn refund(&mut self, messages: u32) {
        self.credit = self.credit.saturating_add(messages).min(FLOOD_MESSAGES_MAX);
    }
}

/// Makes a command whose object is null.
pub(super) fn call(name: &str, transaction: f64, arguments: Vec<Value>) -> Command {
    Command { name: name.into(), transaction, object: Value::Null, arguments }
}

/// Makes the information object of `status`.
pub(super) fn info(status: &Status) -> Vec<(String, Value)> {
    [("level", &status.level), ("code", &status.code), ("description", &status.description)]
        .map(|(name, text)| (name.into(), Value::String(text.clone())))
        .into()
}

/// Returns a peer's text as it may be handed on and printed: not too long, without control characters.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if shown.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        shown.push(c);
    }
    shown
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::session::talk::{self, Listener};

    #[test]
    fn acknowledgements_wrap_at_32_bits() {
        let mark = (1 << 32) - 100;
        let mut link = Link { received: mark, acknowledged: mark, ..Link::new(ChunkLimits::ORIGIN, 0) };
        let mut out = Vec::new();
        let long = talk::message(8, 1, 0, &vec![0; 1_000_000]);
        assert!(matches!(link.read(&mut long.as_slice(), &mut out), Ok(Some(_))));
        assert_eq!(Listener::new().hear(&out), ["0 Acknowledgement(655260)"]);
    }

    #[test]
    fn texts_of_peers_become_printable() {
        assert_eq!(printable("a\r\n\u{1b}[31mb"), "a   [31mb");
        assert_eq!(printable(&"ä".repeat(300)), "ä".repeat(256));
        assert_eq!(printable(&["x", &"ä".repeat(300)].concat()).len(), 511);
    }
}
