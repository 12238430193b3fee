//! Audio, video and data payloads, classified by their FLV tag header and never decoded
//! (FLV 10.1 §E.4, Enhanced RTMP v2), and FLV tags written.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::wire::{
    amf0,
    message::{Message, type_id},
};

/// A four-character code; legacy codecs get one too (`avc1`, `hvc1` for codec id 12, `mp4a`, `.mp3`, …).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FourCc(pub [u8; 4]);

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Medium {
    /// Message type 8.
    Audio,
    /// Message type 9.
    Video,
    /// Message types 15 and 18.
    Data,
}

/// What a frame means to a player that joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum FrameClass {
    /// `onMetaData`: the last one is replayed to joiners.
    Metadata,
    /// A sequence header (AVC, HEVC, AAC configuration, E-RTMP SequenceStart): decoding needs it first.
    SequenceHeader,
    /// What else joiners need after the sequence header: E-RTMP MultichannelConfig, video Metadata (HDR).
    Configuration,
    /// A video frame that decodes alone.
    Keyframe,
    /// A video frame that leans on earlier ones.
    Interframe,
    /// An audio frame.
    Audio,
    /// Passed through live, of no use to joiners: other data messages, end of sequence, video command frames.
    Passing,
}

/// One audio, video or data message, classified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Audio, video or data.
    pub medium: Medium,
    /// What it means to a joiner.
    pub class: FrameClass,
    /// The codec, of the first track where there are several; zero for data, and for what cannot be known.
    pub codec: FourCc,
    /// The track: 0 unless Enhanced RTMP multitrack names another. A many-track packet is track 0.
    pub track: u8,
    /// The timestamp as sent, in milliseconds, wrapping at 2^32.
    pub timestamp: u32,
    /// The message payload as it came.
    pub payload: Bytes,
}

/// Classifies an audio, video or data message; `None` for other types, empty payloads and what must not be
/// relayed.
///
/// `@setDataFrame` is stripped from metadata; type 15 loses its leading 0 byte. Not relayed are
/// `|RtmpSampleAccess`; `onStatus` and `onPlayStatus` as data (NetStream.Data.Start makes FFmpeg show phantom
/// streams, NetStream.Play.Complete speaks of our play and would end the player's); and data that is not AMF0.
/// A payload too short for its own header is passed through live: it means nothing to a joiner.
pub fn classify(message: &Message) -> Option<Frame> {
    let Message { type_id, timestamp, ref payload, .. } = *message;
    let (medium, kind, payload) = match type_id {
        type_id::AUDIO => (Medium::Audio, audio(payload)?, payload.clone()),
        type_id::VIDEO => (Medium::Video, video(payload)?, payload.clone()),
        type_id::DATA_AMF0 => {
            let (class, payload) = data(payload.clone())?;
            (Medium::Data, Kind { class, ..Kind::PASSING }, payload)
        }
        type_id::DATA_AMF3 => {
            let amf0 = if payload.first() == Some(&0) { payload.slice(1..) } else { payload.clone() };
            let (class, payload) = data(amf0)?;
            (Medium::Data, Kind { class, ..Kind::PASSING }, payload)
        }
        _ => return None,
    };
    let Kind { class, codec, track } = kind;
    Some(Frame { medium, class, codec, track, timestamp, payload })
}

/// What a tag header says.
struct Kind {
    class: FrameClass,
    codec: FourCc,
    track: u8,
}

impl Kind {
    const PASSING: Self = Self { class: FrameClass::Passing, codec: FourCc::UNKNOWN, track: 0 };
}

/// Reads an audio tag header; `None` if there is not even a first byte.
fn audio(payload: &[u8]) -> Option<Kind> {
    let (&first, rest) = payload.split_first()?;
    let format = first >> 4;
    if format == sound_format::EX_HEADER {
        return Some(enhanced_audio(first & 0x0F, rest).unwrap_or(Kind::PASSING));
    }
    let class = match (format, rest.first()) {
        (sound_format::AAC, Some(0)) => FrameClass::SequenceHeader,
        (sound_format::AAC, Some(_)) => FrameClass::Audio,
        (sound_format::AAC, None) => FrameClass::Passing,
        (_, _) => FrameClass::Audio,
    };
    Some(Kind { class, codec: sound_format::four_cc(format), track: 0 })
}

fn enhanced_audio(packet: u8, rest: &[u8]) -> Option<Kind> {
    let (packet, rest) = skip_mod_ex(packet, rest)?;
    let Track { packet, codec, track } = track(packet, audio_packet::MULTITRACK, rest)?;
    let class = match packet {
        audio_packet::SEQUENCE_START => FrameClass::SequenceHeader,
        audio_packet::CODED_FRAMES => FrameClass::Audio,
        audio_packet::MULTICHANNEL_CONFIG => FrameClass::Configuration,
        // Sequence end, and packet types nobody has defined yet.
        _ => FrameClass::Passing,
    };
    Some(Kind { class, codec, track })
}

/// Reads a video tag header; `None` if there is not even a first byte.
fn video(payload: &[u8]) -> Option<Kind> {
    let (&first, rest) = payload.split_first()?;
    let frame_type = (first >> 4) & 0x07;
    if first & video_packet::EX_HEADER_BIT != 0 {
        return Some(enhanced_video(frame_type, first & 0x0F, rest).unwrap_or(Kind::PASSING));
    }
    let codec_id = first & 0x0F;
    let class = match (frame_type, codec_id, rest.first()) {
        (frame_type::COMMAND, _, _) => FrameClass::Passing,
        (_, codec_id::AVC | codec_id::HEVC, Some(0)) => FrameClass::SequenceHeader,
        (_, codec_id::AVC | codec_id::HEVC, Some(1)) => coded_frame(frame_type),
        // End of sequence, unknown packet types, and nothing behind the first byte.
        (_, codec_id::AVC | codec_id::HEVC, _) => FrameClass::Passing,
        (_, _, _) => coded_frame(frame_type),
    };
    Some(Kind { class, codec: codec_id::four_cc(codec_id), track: 0 })
}

fn enhanced_video(frame_type: u8, packet: u8, rest: &[u8]) -> Option<Kind> {
    let (packet, rest) = skip_mod_ex(packet, rest)?;
    if frame_type == frame_type::COMMAND && packet != video_packet::METADATA {
        return Some(Kind::PASSING);
    }
    let Track { packet, codec, track } = track(packet, video_packet::MULTITRACK, rest)?;
    let class = match packet {
        video_packet::SEQUENCE_START => FrameClass::SequenceHeader,
        video_packet::CODED_FRAMES => coded_frame(frame_type),
        video_packet::CODED_FRAMES_X => coded_frame(frame_type),
        video_packet::METADATA => FrameClass::Configuration,
        video_packet::MPEG2TS_SEQUENCE_START => FrameClass::SequenceHeader,
        // Sequence end, and packet types nobody has defined yet.
        _ => FrameClass::Passing,
    };
    Some(Kind { class, codec, track })
}

fn coded_frame(frame_type: u8) -> FrameClass {
    match frame_type {
        frame_type::KEY => FrameClass::Keyframe,
        frame_type::GENERATED_KEY => FrameClass::Keyframe,
        _ => FrameClass::Interframe,
    }
}

/// A packet type that stands in front of another one, in audio and video alike (E-RTMP v2 "ModEx").
const MOD_EX: u8 = 7;

/// Steps over ModEx prefixes (nanosecond offsets and what the future brings) to the packet type they modify.
fn skip_mod_ex(mut packet: u8, mut rest: &[u8]) -> Option<(u8, &[u8])> {
    while packet == MOD_EX {
        let mut size = usize::from(*rest.first()?) + 1;
        rest = &rest[1..];
        if size == 256 {
            size = usize::from(u16::from_be_bytes(*rest.first_chunk()?)) + 1;
            rest = &rest[2..];
        }
        let next = *rest.get(size)?;
        packet = next & 0x0F;
        rest = &rest[size + 1..];
    }
    Some((packet, rest))
}

/// What follows the packet type: a FourCC, or a multitrack header with the first track's FourCC and id.
struct Track {
    packet: u8,
    codec: FourCc,
    track: u8,
}

/// AvMultitrackType of E-RTMP v2.
mod multitrack {
    pub(super) const ONE_TRACK: u8 = 0;
    pub(super) const MANY_TRACKS: u8 = 1;
    pub(super) const MANY_TRACKS_MANY_CODECS: u8 = 2;
}

fn track(packet: u8, multitrack: u8, rest: &[u8]) -> Option<Track> {
    if packet != multitrack {
        return Some(Track { packet, codec: FourCc(*rest.first_chunk()?), track: 0 });
    }
    let (&first, rest) = rest.split_first()?;
    let codec = FourCc(*rest.first_chunk()?);
    let packet = first & 0x0F;
    if packet == multitrack {
        // Multitrack in multitrack is forbidden; what it would mean nobody knows.
        return None;
    }
    match first >> 4 {
        multitrack::ONE_TRACK => Some(Track { packet, codec, track: *rest.get(4)? }),
        // Both name their first track here; the packet as a whole is for all of them.
        multitrack::MANY_TRACKS => Some(Track { packet, codec, track: 0 }),
        multitrack::MANY_TRACKS_MANY_CODECS => Some(Track { packet, codec, track: 0 }),
        _ => None,
    }
}

/// What a publisher puts in front of data the server shall keep; FFmpeg as server sends it on to players.
const SET_DATA_FRAME: &str = "@setDataFrame";

/// Reads the name of a data message, strips `@setDataFrame`; `None` for what is not relayed.
fn data(mut payload: Bytes) -> Option<(FrameClass, Bytes)> {
    let values = amf0::decode(&payload).ok()?;
    let mut values = &values[..];
    if values.first()?.as_str()? == SET_DATA_FRAME {
        // One marker byte and the length in front of the text: two bytes, or four behind a long string's marker.
        let len_bytes = if payload.first() == Some(&0x02) { 2 } else { 4 };
        payload = payload.slice(1 + len_bytes + SET_DATA_FRAME.len()..);
        values = &values[1..];
    }
    match values.first()?.as_str()? {
        "onMetaData" => Some((FrameClass::Metadata, payload)),
        "|RtmpSampleAccess" => None,
        "onStatus" => None,
        "onPlayStatus" => None,
        _ => Some((FrameClass::Passing, payload)),
    }
}

/// The FLV file header with both flags set and the first PreviousTagSize.
pub const FILE_HEADER: [u8; 13] = [b'F', b'L', b'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0];

/// The tag header: type, length, timestamp, stream id.
const TAG_HEADER_BYTES: usize = 11;

/// Appends one FLV tag with its PreviousTagSize. `timestamp` in milliseconds, 32 bit. A payload is shorter than
/// 2^24 bytes, as RTMP messages are.
pub fn write_tag(medium: Medium, timestamp: u32, payload: &[u8], out: &mut Vec<u8>) {
    let len = payload.len();
    assert!(len <= 0xFF_FFFF, "an RTMP message carries at most 2^24 - 1 bytes");
    let [_, len_high, len_mid, len_low] = (len as u32).to_be_bytes();
    let [upper, high, mid, low] = timestamp.to_be_bytes();
    out.reserve(TAG_HEADER_BYTES + len + 4);
    out.extend_from_slice(&[medium.type_id(), len_high, len_mid, len_low, high, mid, low, upper, 0, 0, 0]);
    out.extend_from_slice(payload);
    out.extend_from_slice(&((TAG_HEADER_BYTES + len) as u32).to_be_bytes());
}

/// `SoundFormat` of FLV 10.1 §E.4.2.1 and E-RTMP v2.
mod sound_format {
    use super::FourCc;

    pub(super) const EX_HEADER: u8 = 9;
    pub(super) const AAC: u8 = 10;

    pub(super) fn four_cc(format: u8) -> FourCc {
        match format {
            0 => FourCc(*b"lpcm"),
            1 => FourCc(*b"swfa"),
            2 => FourCc(*b".mp3"),
            3 => FourCc(*b"lpcm"),
            4 => FourCc(*b"nmos"),
            5 => FourCc(*b"nmos"),
            6 => FourCc(*b"nmos"),
            7 => FourCc(*b"alaw"),
            8 => FourCc(*b"ulaw"),
            AAC => FourCc(*b"mp4a"),
            11 => FourCc(*b"spex"),
            // Not in the specification; ZLMediaKit and Chinese CDNs carry Opus so.
            13 => FourCc(*b"Opus"),
            14 => FourCc(*b".mp3"),
            _ => FourCc::UNKNOWN,
        }
    }
}

/// `CodecID` of FLV 10.1 §E.4.3.1.
mod codec_id {
    use super::FourCc;

    pub(super) const AVC: u8 = 7;
    /// Not in the specification; Chinese CDNs carry HEVC so, in AVC's layout.
    pub(super) const HEVC: u8 = 12;

    pub(super) fn four_cc(codec: u8) -> FourCc {
        match codec {
            1 => FourCc(*b"jpeg"),
            2 => FourCc(*b"FLV1"),
            3 => FourCc(*b"FSV1"),
            4 => FourCc(*b"VP6F"),
            5 => FourCc(*b"VP6A"),
            6 => FourCc(*b"FSV2"),
            AVC => FourCc(*b"avc1"),
            HEVC => FourCc(*b"hvc1"),
            _ => FourCc::UNKNOWN,
        }
    }
}

/// `FrameType` of FLV 10.1 §E.4.3.1.
mod frame_type {
    pub(super) const KEY: u8 = 1;
    pub(super) const GENERATED_KEY: u8 = 4;
    pub(super) const COMMAND: u8 = 5;
}

/// `AudioPacketType` of E-RTMP v2.
mod audio_packet {
    pub(super) const SEQUENCE_START: u8 = 0;
    pub(super) const CODED_FRAMES: u8 = 1;
    pub(super) const MULTICHANNEL_CONFIG: u8 = 4;
    pub(super) const MULTITRACK: u8 = 5;
}

/// `VideoPacketType` of E-RTMP v2.
mod video_packet {
    pub(super) const EX_HEADER_BIT: u8 = 0x80;
    pub(super) const SEQUENCE_START: u8 = 0;
    pub(super) const CODED_FRAMES: u8 = 1;
    pub(super) const CODED_FRAMES_X: u8 = 3;
    pub(super) const METADATA: u8 = 4;
    pub(super) const MPEG2TS_SEQUENCE_START: u8 = 5;
    pub(super) const MULTITRACK: u8 = 6;
}

impl FourCc {
    /// No code: data, or a codec that cannot be known.
    pub const UNKNOWN: Self = Self([0; 4]);
}

impl Medium {
    /// Returns the message type id it is sent with: 8, 9 or 18.
    pub const fn type_id(self) -> u8 {
        match self {
            Self::Audio => 8,
            Self::Video => 9,
            Self::Data => 18,
        }
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::wire::amf0::Value;

    fn message(type_id: u8, payload: &[u8]) -> Message {
        Message { type_id, timestamp: 40, stream: 1, payload: Bytes::copy_from_slice(payload) }
    }

    /// Class, codec and track of a payload; shorter cuts of it must be classified too, whatever as.
    fn check(type_id: u8, payload: &[u8]) -> (FrameClass, [u8; 4], u8) {
        for cut in 1..payload.len() {
            assert!(classify(&message(type_id, &payload[..cut])).is_some(), "media is never dropped");
        }
        let frame = classify(&message(type_id, payload)).expect("a frame");
        assert_eq!((frame.timestamp, &frame.payload[..]), (40, payload));
        assert_eq!(frame.medium.type_id(), type_id);
        (frame.class, frame.codec.0, frame.track)
    }

    #[test]
    fn legacy_audio() {
        assert_eq!(check(8, &[0xAF, 0, 0x12, 0x10]), (FrameClass::SequenceHeader, *b"mp4a", 0));
        assert_eq!(check(8, &[0xAF, 1, 0x21]), (FrameClass::Audio, *b"mp4a", 0));
        assert_eq!(check(8, &[0xAF]), (FrameClass::Passing, *b"mp4a", 0));
        assert_eq!(check(8, &[0x2F, 0xFF]), (FrameClass::Audio, *b".mp3", 0));
        assert_eq!(check(8, &[0x72, 0]), (FrameClass::Audio, *b"alaw", 0));
        assert_eq!(check(8, &[0xB6, 0]), (FrameClass::Audio, *b"spex", 0));
        assert_eq!(check(8, &[0xC0, 0]), (FrameClass::Audio, [0; 4], 0));
    }

    #[test]
    fn legacy_video() {
        assert_eq!(check(9, &[0x17, 0, 0, 0, 0, 1]), (FrameClass::SequenceHeader, *b"avc1", 0));
        assert_eq!(check(9, &[0x17, 1, 0, 0, 0, 1]), (FrameClass::Keyframe, *b"avc1", 0));
        assert_eq!(check(9, &[0x27, 1, 0, 0, 0, 1]), (FrameClass::Interframe, *b"avc1", 0));
        assert_eq!(check(9, &[0x37, 1, 0, 0, 0, 1]), (FrameClass::Interframe, *b"avc1", 0));
        assert_eq!(check(9, &[0x47, 1, 0, 0, 0, 1]), (FrameClass::Keyframe, *b"avc1", 0));
        assert_eq!(check(9, &[0x17, 2, 0, 0, 0]), (FrameClass::Passing, *b"avc1", 0));
        assert_eq!(check(9, &[0x17]), (FrameClass::Passing, *b"avc1", 0));
        assert_eq!(check(9, &[0x57, 0]), (FrameClass::Passing, *b"avc1", 0));
        assert_eq!(check(9, &[0x1C, 0, 0, 0, 0]), (FrameClass::SequenceHeader, *b"hvc1", 0));
        assert_eq!(check(9, &[0x1C, 1, 0, 0, 0]), (FrameClass::Keyframe, *b"hvc1", 0));
        assert_eq!(check(9, &[0x12, 0, 0]), (FrameClass::Keyframe, *b"FLV1", 0));
        assert_eq!(check(9, &[0x24, 0, 0]), (FrameClass::Interframe, *b"VP6F", 0));
    }

    #[test]
    fn enhanced_video() {
        assert_eq!(check(9, b"\x90hvc1\x01"), (FrameClass::SequenceHeader, *b"hvc1", 0));
        assert_eq!(check(9, b"\x91hvc1\0\0\0\x01"), (FrameClass::Keyframe, *b"hvc1", 0));
        assert_eq!(check(9, b"\xA1hvc1\0\0\0\x01"), (FrameClass::Interframe, *b"hvc1", 0));
        assert_eq!(check(9, b"\x92hvc1"), (FrameClass::Passing, *b"hvc1", 0));
        assert_eq!(check(9, b"\x93av01\x01"), (FrameClass::Keyframe, *b"av01", 0));
        assert_eq!(check(9, b"\xA3av01\x01"), (FrameClass::Interframe, *b"av01", 0));
        assert_eq!(check(9, b"\xD4hvc1\x02"), (FrameClass::Configuration, *b"hvc1", 0));
        assert_eq!(check(9, b"\x95av01\x01"), (FrameClass::SequenceHeader, *b"av01", 0));
        assert_eq!(check(9, b"\xD1\x00"), (FrameClass::Passing, [0; 4], 0));
        assert_eq!(check(9, b"\x98avc1"), (FrameClass::Passing, *b"avc1", 0));
        assert_eq!(check(9, b"\x90hv"), (FrameClass::Passing, [0; 4], 0));
    }

    #[test]
    fn enhanced_audio() {
        assert_eq!(check(8, b"\x90Opus\x01"), (FrameClass::SequenceHeader, *b"Opus", 0));
        assert_eq!(check(8, b"\x91Opus\x01"), (FrameClass::Audio, *b"Opus", 0));
        assert_eq!(check(8, b"\x92Opus"), (FrameClass::Passing, *b"Opus", 0));
        assert_eq!(check(8, b"\x94Opus\x01\x02"), (FrameClass::Configuration, *b"Opus", 0));
        assert_eq!(check(8, b"\x91ac-3\x0B"), (FrameClass::Audio, *b"ac-3", 0));
        assert_eq!(check(8, b"\x93fLaC"), (FrameClass::Passing, *b"fLaC", 0));
    }

    #[test]
    fn tracks_are_named() {
        assert_eq!(check(9, b"\x96\x00av01\x03\0"), (FrameClass::SequenceHeader, *b"av01", 3));
        assert_eq!(check(9, b"\x96\x01hvc1\x02\0"), (FrameClass::Keyframe, *b"hvc1", 2));
        assert_eq!(check(9, b"\xA6\x11hvc1\x02\0\0\x01\0"), (FrameClass::Interframe, *b"hvc1", 0));
        assert_eq!(check(9, b"\x96\x20avc1\x01\0\0\x01\0hvc1"), (FrameClass::SequenceHeader, *b"avc1", 0));
        assert_eq!(check(8, b"\x95\x00Opus\x01"), (FrameClass::SequenceHeader, *b"Opus", 1));
        assert_eq!(check(8, b"\x95\x01mp4a\x07\0"), (FrameClass::Audio, *b"mp4a", 7));
        // Multitrack in multitrack, and a kind nobody has defined.
        assert_eq!(check(9, b"\x96\x06av01\x03\0"), (FrameClass::Passing, [0; 4], 0));
        assert_eq!(check(9, b"\x96\x31av01\x03\0"), (FrameClass::Passing, [0; 4], 0));
    }

    #[test]
    fn mod_ex_prefixes_are_read_through() {
        // Nanosecond offset: 3 bytes, type 0, then coded frames.
        assert_eq!(check(9, b"\x97\x02\0\0\x09\x01avc1\0"), (FrameClass::Keyframe, *b"avc1", 0));
        assert_eq!(check(8, b"\x97\x02\0\0\x09\x01Opus"), (FrameClass::Audio, *b"Opus", 0));
        // Two of them, then one track.
        assert_eq!(
            check(9, b"\xA7\x00\xEE\x07\x00\xEE\x06\x01hvc1\x05"),
            (FrameClass::Interframe, *b"hvc1", 5)
        );
        // A size of 16 bits.
        let long = [&[0x97, 0xFF, 0x01, 0x00][..], &[7; 257], b"\x00av01"].concat();
        assert_eq!(check(9, &long), (FrameClass::SequenceHeader, *b"av01", 0));
        assert_eq!(check(9, &[0x97, 0xFF, 0xFF, 0xFF, 0]), (FrameClass::Passing, [0; 4], 0));
    }

    fn data(values: &[Value]) -> Option<(FrameClass, Vec<Value>)> {
        let mut payload = vec![];
        amf0::encode(values, &mut payload);
        let plain = classify(&message(18, &payload));
        let amf3 = classify(&message(15, &[&[0], &payload[..]].concat()));
        assert_eq!(plain, amf3, "type 15 only carries another leading byte");
        assert_eq!(classify(&message(15, &payload)), plain, "which may be missing");
        let frame = plain?;
        assert_eq!((frame.medium, frame.codec, frame.track), (Medium::Data, FourCc::UNKNOWN, 0));
        Some((frame.class, amf0::decode(&frame.payload).expect("what is relayed is AMF0")))
    }

    #[test]
    fn metadata_is_found_behind_set_data_frame() {
        let info = Value::EcmaArray(vec![("width".into(), 64.0.into())]);
        let plain = vec!["onMetaData".into(), info.clone()];
        assert_eq!(data(&plain), Some((FrameClass::Metadata, plain.clone())));
        assert_eq!(
            data(&["@setDataFrame".into(), "onMetaData".into(), info]),
            Some((FrameClass::Metadata, plain))
        );
        let long = [&b"\x0C\0\0\0\x0D@setDataFrame"[..], b"\x02\0\x0AonMetaData"].concat();
        let frame = classify(&message(18, &long)).expect("metadata");
        assert_eq!((frame.class, &frame.payload[..]), (FrameClass::Metadata, &b"\x02\0\x0AonMetaData"[..]));
    }

    #[test]
    fn other_data_passes_unless_it_speaks_of_a_play() {
        for name in ["onTextData", "onCuePoint", "onFI"] {
            let values = vec![name.into(), Value::Null];
            assert_eq!(data(&values), Some((FrameClass::Passing, values)));
        }
        let info = |code: &str| Value::Object(vec![("code".into(), code.into())]);
        assert_eq!(data(&["|RtmpSampleAccess".into(), true.into(), true.into()]), None);
        assert_eq!(data(&["onStatus".into(), info("NetStream.Data.Start")]), None);
        assert_eq!(data(&["onPlayStatus".into(), info("NetStream.Play.Complete")]), None);
        assert_eq!(data(&["@setDataFrame".into()]), None);
        assert_eq!(data(&[1.0.into()]), None);
    }

    #[test]
    fn what_is_no_data_is_not_relayed() {
        // FFmpeg's timecode (ossrs/srs#3803), real AMF3, a name with garbage behind it.
        for payload in [&[0, 0, 1, 0x2C][..], &[6, 21, b'o', b'n'], b"\x02\0\x02hi\xFF", &[], &[0]] {
            assert_eq!(classify(&message(18, payload)), None);
            assert_eq!(classify(&message(15, payload)), None);
        }
        assert_eq!(classify(&message(8, &[])), None);
        assert_eq!(classify(&message(9, &[])), None);
        assert_eq!(classify(&message(20, b"\x02\0\x04play")), None);
    }

    #[test]
    fn a_tag_has_the_bytes_of_the_specification() {
        let mut out = vec![];
        write_tag(Medium::Video, 0x0102_0304, &[0x17, 2], &mut out);
        assert_eq!(out, [9, 0, 0, 2, 2, 3, 4, 1, 0, 0, 0, 0x17, 2, 0, 0, 0, 13]);
    }
}
