//! RTMP messages: what chunks carry (RTMP 1.0 §5.4, §6, §7.1).

use bytes::Bytes;

/// One whole RTMP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message type id (RTMP 1.0 §5.4, §7.1).
    pub type_id: u8,
    /// The absolute timestamp in milliseconds, wrapping at 2^32.
    pub timestamp: u32,
    /// The message stream id; 0 is the NetConnection.
    pub stream: u32,
    /// The payload.
    pub payload: Bytes,
}

/// Message type ids.
pub mod type_id {
    /// Set Chunk Size (§5.4.1).
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message (§5.4.2).
    pub const ABORT: u8 = 2;
    /// Acknowledgement (§5.4.3).
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// User Control (§6.2).
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size (§5.4.4).
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth (§5.4.5).
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio (§7.1.4).
    pub const AUDIO: u8 = 8;
    /// Video (§7.1.5).
    pub const VIDEO: u8 = 9;
    /// Data in AMF3 (§7.1.2).
    pub const DATA_AMF3: u8 = 15;
    /// Shared object in AMF3 (§7.1.3).
    pub const SHARED_OBJECT_AMF3: u8 = 16;
    /// Command in AMF3 (§7.1.1).
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0 (§7.1.2).
    pub const DATA_AMF0: u8 = 18;
    /// Shared object in AMF0 (§7.1.3).
    pub const SHARED_OBJECT_AMF0: u8 = 19;
    /// Command in AMF0 (§7.1.1).
    pub const COMMAND_AMF0: u8 = 20;
    /// Aggregate (§7.1.6).
    pub const AGGREGATE: u8 = 22;
}

/// A protocol control or user control message, parsed (§5.4, §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The peer's outgoing chunk size from the next chunk on, bit 31 cleared; the decoder has obeyed it already.
    SetChunkSize(u32),
    /// The partial message on this chunk stream is dropped; the decoder has obeyed it already.
    Abort(u32),
    /// Bytes the peer has received since the connection began.
    Acknowledgement(u32),
    /// The window after which the peer expects an acknowledgement, in bytes.
    WindowAckSize(u32),
    /// The window the peer wants us to announce, in bytes. The limit type is not told: most peers treat all
    /// three alike; we send 2 (dynamic), as FMS, SRS and nginx-rtmp do.
    SetPeerBandwidth(u32),
    /// A stream has become useful (user control 0).
    StreamBegin(u32),
    /// Playback of a stream is over (user control 1).
    StreamEof(u32),
    /// No more data on a stream for the moment (user control 2).
    StreamDry(u32),
    /// The player's buffer in milliseconds (user control 3).
    SetBufferLength {
        /// The message stream id.
        stream: u32,
        /// The length in milliseconds.
        millis: u32,
    },
    /// A recorded stream (user control 4).
    StreamIsRecorded(u32),
    /// To be answered with the same number (user control 6).
    PingRequest(u32),
    /// The answer to a ping (user control 7).
    PingResponse(u32),
    /// A user control event we have no use for (5, 8, 26, 27, 31, 32, 33 occur), or a body too short for its
    /// type: ignored, never fatal.
    Ignored,
}

/// User control event types (§7.1.7).
mod event {
    pub(super) const STREAM_BEGIN: u16 = 0;
    pub(super) const STREAM_EOF: u16 = 1;
    pub(super) const STREAM_DRY: u16 = 2;
    pub(super) const SET_BUFFER_LENGTH: u16 = 3;
    pub(super) const STREAM_IS_RECORDED: u16 = 4;
    pub(super) const PING_REQUEST: u16 = 6;
    pub(super) const PING_RESPONSE: u16 = 7;
}

/// Limit type "dynamic" of Set Peer Bandwidth (§5.4.5).
const LIMIT_DYNAMIC: u8 = 2;

/// Bit 31 of Set Chunk Size must be zero (§5.4.1); peers that set it are believed without it.
const CHUNK_SIZE_MASK: u32 = 0x7FFF_FFFF;

impl Message {
    /// Parses a protocol or user control message; `None` if this is another kind of message.
    pub fn control(&self) -> Option<Control> {
        let body = &self.payload[..];
        let parsed = match self.type_id {
            type_id::SET_CHUNK_SIZE => {
                u32_at(body, 0).map(|size| Control::SetChunkSize(size & CHUNK_SIZE_MASK))
            }
            type_id::ABORT => u32_at(body, 0).map(Control::Abort),
            type_id::ACKNOWLEDGEMENT => u32_at(body, 0).map(Control::Acknowledgement),
            type_id::USER_CONTROL => user_control(body),
            type_id::WINDOW_ACK_SIZE => u32_at(body, 0).map(Control::WindowAckSize),
            // The limit type behind the window may be missing: some servers send 4 bytes.
            type_id::SET_PEER_BANDWIDTH => u32_at(body, 0).map(Control::SetPeerBandwidth),
            _ => return None,
        };
        Some(parsed.unwrap_or(Control::Ignored))
    }
}

impl Control {
    /// Builds the message, on message stream 0 with timestamp 0. `Ignored` cannot be sent: debug builds panic.
    pub fn to_message(self) -> Message {
        match self {
            Self::SetChunkSize(size) => {
                plain(type_id::SET_CHUNK_SIZE, &(size & CHUNK_SIZE_MASK).to_be_bytes())
            }
            Self::Abort(chunk_stream) => plain(type_id::ABORT, &chunk_stream.to_be_bytes()),
            Self::Acknowledgement(total) => plain(type_id::ACKNOWLEDGEMENT, &total.to_be_bytes()),
            Self::WindowAckSize(window) => plain(type_id::WINDOW_ACK_SIZE, &window.to_be_bytes()),
            Self::SetPeerBandwidth(window) => {
                let [a, b, c, d] = window.to_be_bytes();
                plain(type_id::SET_PEER_BANDWIDTH, &[a, b, c, d, LIMIT_DYNAMIC])
            }
            Self::StreamBegin(stream) => user(event::STREAM_BEGIN, stream),
            Self::StreamEof(stream) => user(event::STREAM_EOF, stream),
            Self::StreamDry(stream) => user(event::STREAM_DRY, stream),
            Self::SetBufferLength { stream, millis } => {
                let mut body = [0; 10];
                body[..2].copy_from_slice(&event::SET_BUFFER_LENGTH.to_be_bytes());
                body[2..6].copy_from_slice(&stream.to_be_bytes());
                body[6..].copy_from_slice(&millis.to_be_bytes());
                plain(type_id::USER_CONTROL, &body)
            }
            Self::StreamIsRecorded(stream) => user(event::STREAM_IS_RECORDED, stream),
            Self::PingRequest(number) => user(event::PING_REQUEST, number),
            Self::PingResponse(number) => user(event::PING_RESPONSE, number),
            Self::Ignored => {
                debug_assert!(false, "Control::Ignored has no bytes to send");
                plain(type_id::USER_CONTROL, &[])
            }
        }
    }
}

fn user_control(body: &[u8]) -> Option<Control> {
    let event = u16::from_be_bytes([*body.first()?, *body.get(1)?]);
    let number = u32_at(body, 2)?;
    match event {
        event::STREAM_BEGIN => Some(Control::StreamBegin(number)),
        event::STREAM_EOF => Some(Control::StreamEof(number)),
        event::STREAM_DRY => Some(Control::StreamDry(number)),
        event::SET_BUFFER_LENGTH => {
            u32_at(body, 6).map(|millis| Control::SetBufferLength { stream: number, millis })
        }
        event::STREAM_IS_RECORDED => Some(Control::StreamIsRecorded(number)),
        event::PING_REQUEST => Some(Control::PingRequest(number)),
        event::PING_RESPONSE => Some(Control::PingResponse(number)),
        _ => None,
    }
}

fn user(event: u16, number: u32) -> Message {
    let mut body = [0; 6];
    body[..2].copy_from_slice(&event.to_be_bytes());
    body[2..].copy_from_slice(&number.to_be_bytes());
    plain(type_id::USER_CONTROL, &body)
}

fn plain(type_id: u8, body: &[u8]) -> Message {
    Message { type_id, timestamp: 0, stream: 0, payload: Bytes::copy_from_slice(body) }
}

fn u32_at(body: &[u8], at: usize) -> Option<u32> {
    let bytes = body.get(at..at + 4)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// An FLV tag header: type, length, timestamp, its upper byte, stream id.
const TAG_HEADER_BYTES: usize = 11;

/// The back pointer behind each sub-message.
const BACK_POINTER_BYTES: usize = 4;

/// Splits an aggregate message (§7.1.6) into its messages, without copying payloads.
///
/// Timestamps become `message.timestamp + (sub.timestamp - first.timestamp)`; the message stream id is the
/// aggregate's. A sub-message that overruns the payload ends the split: what came before it is kept. Only audio,
/// video and data come out: a control message or another aggregate inside would have been missed by the decoder
/// or nest without bound. A message of another type has nothing to split.
pub fn split_aggregate(message: &Message) -> impl Iterator<Item = Message> + use<> {
    let Message { type_id, timestamp, stream, ref payload } = *message;
    let mut rest = if type_id == type_id::AGGREGATE { payload.clone() } else { Bytes::new() };
    let mut first = None;
    core::iter::from_fn(move || {
        loop {
            let header = rest.get(..TAG_HEADER_BYTES)?;
            let sub_type = header[0];
            let len = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
            // FLV keeps the upper byte of the timestamp behind the lower three.
            let sub_timestamp = u32::from_be_bytes([header[7], header[4], header[5], header[6]]);
            if rest.len() - TAG_HEADER_BYTES < len {
                return None;
            }
            let mut tag = rest.split_to(TAG_HEADER_BYTES + len);
            // The last back pointer is left out by some servers.
            let _back_pointer = rest.split_to(BACK_POINTER_BYTES.min(rest.len()));
            let first = *first.get_or_insert(sub_timestamp);
            let timestamp = timestamp.wrapping_add(sub_timestamp.wrapping_sub(first));
            match sub_type {
                type_id::AUDIO | type_id::VIDEO | type_id::DATA_AMF3 | type_id::DATA_AMF0 => {
                    let payload = tag.split_off(TAG_HEADER_BYTES);
                    return Some(Message { type_id: sub_type, timestamp, stream, payload });
                }
                _ => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::*;

    fn message(type_id: u8, body: &[u8]) -> Message {
        Message { type_id, timestamp: 0, stream: 0, payload: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn every_control_message_survives_the_round_trip() {
        for control in [
            Control::SetChunkSize(60_000),
            Control::Abort(7),
            Control::Acknowledgement(u32::MAX),
            Control::WindowAckSize(2_500_000),
            Control::SetPeerBandwidth(5_000_000),
            Control::StreamBegin(1),
            Control::StreamEof(2),
            Control::StreamDry(3),
            Control::SetBufferLength { stream: 1, millis: 3000 },
            Control::StreamIsRecorded(1),
            Control::PingRequest(0xDEAD_BEEF),
            Control::PingResponse(0xDEAD_BEEF),
        ] {
            let message = control.to_message();
            assert_eq!(message.control(), Some(control));
            assert_eq!((message.timestamp, message.stream), (0, 0));
        }
    }

    #[test]
    fn control_bytes_are_those_of_the_specification() {
        assert_eq!(&Control::SetPeerBandwidth(1).to_message().payload[..], [0, 0, 0, 1, 2]);
        assert_eq!(
            &Control::SetBufferLength { stream: 1, millis: 3000 }.to_message().payload[..],
            [0, 3, 0, 0, 0, 1, 0, 0, 11, 184]
        );
        assert_eq!(&Control::PingResponse(0x0102_0304).to_message().payload[..], [0, 7, 1, 2, 3, 4]);
    }

    #[test]
    fn short_and_unknown_control_messages_are_ignored() {
        for (type_id, body) in [
            (1, &[0, 0, 1][..]),
            (2, &[]),
            (3, &[1]),
            (4, &[]),
            (4, &[0]),
            (4, &[0, 0]),
            (4, &[0, 0, 1]),
            (4, &[0, 3, 0, 0, 0, 1, 0, 0]),
            (4, &[0, 26, 1]),
            (4, &[0, 31, 0, 0, 0, 1]),
            (4, &[0, 8, 0, 0, 0, 1]),
            (5, &[0, 0, 0]),
            (6, &[0, 0, 0]),
        ] {
            assert_eq!(message(type_id, body).control(), Some(Control::Ignored), "{type_id} {body:?}");
        }
        assert_eq!(message(6, &[0, 0, 0, 9]).control(), Some(Control::SetPeerBandwidth(9)));
        assert_eq!(message(1, &[0x80, 0, 0, 9]).control(), Some(Control::SetChunkSize(9)));
        assert_eq!(message(20, &[0, 0, 0, 9]).control(), None);
    }

    fn sub(type_id: u8, timestamp: u32, body: &[u8]) -> Vec<u8> {
        let len = body.len() as u32;
        let [upper, low @ ..] = timestamp.to_be_bytes();
        let mut tag = vec![type_id];
        tag.extend_from_slice(&len.to_be_bytes()[1..]);
        tag.extend_from_slice(&low);
        tag.extend_from_slice(&[upper, 0, 0, 0]);
        tag.extend_from_slice(body);
        tag.extend_from_slice(&(len + 11).to_be_bytes());
        tag
    }

    fn split(timestamp: u32, payload: Vec<u8>) -> Vec<(u8, u32, u32, Vec<u8>)> {
        let whole = Message { type_id: 22, timestamp, stream: 5, payload: payload.into() };
        split_aggregate(&whole).map(|m| (m.type_id, m.timestamp, m.stream, m.payload.to_vec())).collect()
    }

    #[test]
    fn an_aggregate_is_rebased_on_its_own_timestamp() {
        let payload =
            [sub(8, 0x0100_0000, &[1]), sub(9, 0x0100_000A, &[2, 3]), sub(8, 0x00FF_FFFF, &[])].concat();
        let parts = split(1000, payload);
        assert_eq!(parts, [(8, 1000, 5, vec![1]), (9, 1010, 5, vec![2, 3]), (8, 999, 5, vec![])]);
    }

    #[test]
    fn a_broken_aggregate_keeps_what_came_before() {
        let good = [sub(8, 0, &[1]), sub(9, 5, &[2])].concat();
        let whole = [good.clone(), sub(9, 9, &[3; 40])].concat();
        for cut in good.len()..good.len() + 11 + 40 {
            assert_eq!(split(0, whole[..cut].to_vec()).len(), 2, "{cut}");
        }
        // Without the last back pointer the last message still counts.
        assert_eq!(split(0, whole[..good.len() + 11 + 40].to_vec()).len(), 3);
        assert_eq!(split(0, vec![]), []);
    }

    #[test]
    fn control_and_aggregates_inside_an_aggregate_are_left_out() {
        let payload = [sub(1, 0, &[0, 0, 0, 1]), sub(22, 0, &sub(8, 0, &[7])), sub(8, 0, &[9])].concat();
        assert_eq!(split(0, payload), [(8, 0, 5, vec![9])]);
        assert_eq!(split_aggregate(&message(9, &sub(8, 0, &[1]))).count(), 0);
    }

    #[test]
    fn splitting_copies_nothing() {
        let whole = message(22, &sub(9, 0, &[1, 2, 3]));
        let part = split_aggregate(&whole).next().expect("one sub-message");
        assert_eq!(part.payload.as_ptr(), whole.payload[11..].as_ptr());
    }
}
