//! Tags as a publisher's encoder makes them, each frame stamped so that a viewer can tell what it sees.
//!
//! AVC and AAC are really decodable: grey pictures of DC macroblocks and skipped ones, silent audio blocks. The
//! stamp rides where decoders do not look (an SEI message, an AAC data stream element). HEVC, AV1 and Opus carry
//! the right tag and configuration headers around stamped filler: relays must not look deeper.
//!
//! The stamp is text, so it needs no emulation prevention and can be searched for in a capture:
//! `RePuLl#1` and hexadecimal fields; its last field is a sum over the whole tag, so nothing in it can change
//! unseen.

use bytes::Bytes;

/// What begins every stamp.
pub const MAGIC: &[u8; 8] = b"RePuLl#1";

/// How far into a tag a stamp may begin, in bytes.
const STAMP_REACH: usize = 96;
/// Seven numbers of eight digits, one digit of kind.
const FIELDS_LEN: usize = 7 * 8 + 1;
const SUM_LEN: usize = 8;
/// Length of a stamp with its magic, in bytes.
pub const STAMP_LEN: usize = MAGIC.len() + FIELDS_LEN + SUM_LEN;

/// Video codecs a model publisher can claim to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoCodec {
    /// H.264, codec id 7; decodable.
    Avc,
    /// H.265 as codec id 12, which Chinese CDNs use.
    HevcLegacy,
    /// H.265 as `hvc1` (E-RTMP).
    Hevc,
    /// AV1 as `av01` (E-RTMP).
    Av1,
}

/// Audio codecs a model publisher can claim to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioCodec {
    /// AAC-LC 44.1 kHz with two channels; decodable.
    AacStereo,
    /// AAC-LC 44.1 kHz with one channel; decodable.
    AacMono,
    /// Opus (E-RTMP).
    Opus,
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Track {
    /// Video.
    Video,
    /// Audio.
    Audio,
}

/// What a stamped frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StampKind {
    /// A video keyframe.
    Key,
    /// Any other video frame.
    Inter,
    /// An audio frame.
    Audio,
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// [`stream_hash`] of the stream's name.
    pub stream: u32,
    /// Which accepted play of this origin it was sent for; counts from 1 over the origin's life.
    pub play: u32,
    /// Which life of the publisher; counts from 1.
    pub epoch: u32,
    /// Counts the track's frames in this life from 0.
    pub number: u32,
    /// Counts the GOPs in this life from 0; for audio, the GOP under way.
    pub gop: u32,
    /// The timestamp it was sent with, in ms.
    pub time: u32,
    /// [`header_hash`] of the sequence header it needs.
    pub header: u32,
    /// What it is.
    pub kind: StampKind,
}

impl Stamp {
    /// Returns the stamp with zeros for its sum, to be built into a tag that [`seal`] completes.
    fn text(&self) -> Vec<u8> {
        let kind = match self.kind {
            StampKind::Key => 0,
            StampKind::Inter => 1,
            StampKind::Audio => 2,
        };
        let mut text = MAGIC.to_vec();
        for field in [self.stream, self.play, self.epoch, self.number, self.gop, self.time, self.header] {
            put_hex(field, &mut text);
        }
        text.push(b'0' + kind);
        text.extend_from_slice(&[b'0'; SUM_LEN]);
        text
    }
}

/// What a tag's stamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamped {
    /// None there: not from a model publisher.
    Absent,
    /// The tag is not what was sent.
    Broken,
    /// Whole.
    Whole(Stamp),
}

/// Reads a tag's stamp.
pub fn read_stamp(payload: &[u8]) -> Stamped {
    let reach = payload.len().min(STAMP_REACH + MAGIC.len());
    let Some(at) = payload[..reach].windows(MAGIC.len()).position(|window| window == MAGIC) else {
        return Stamped::Absent;
    };
    let fields_at = at + MAGIC.len();
    let sum_at = fields_at + FIELDS_LEN;
    let Some(sum) = payload.get(sum_at..sum_at + SUM_LEN).and_then(hex) else { return Stamped::Broken };
    if sum != sum_around(payload, sum_at) {
        return Stamped::Broken;
    }
    let mut fields = [0; 7];
    for (field, digits) in fields.iter_mut().zip(payload[fields_at..].chunks(8)) {
        let Some(number) = hex(digits) else { return Stamped::Broken };
        *field = number;
    }
    let kind = match payload[sum_at - 1] {
        b'0' => StampKind::Key,
        b'1' => StampKind::Inter,
        b'2' => StampKind::Audio,
        _ => return Stamped::Broken,
    };
    let [stream, play, epoch, number, gop, time, header] = fields;
    Stamped::Whole(Stamp { stream, play, epoch, number, gop, time, header, kind })
}

/// What a tag is, as far as a viewer's checks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A sequence header.
    Header(Track),
    /// A frame.
    Frame {
        /// Of which track.
        track: Track,
        /// A video keyframe.
        key: bool,
        /// Cannot be decoded without a sequence header.
        needs_header: bool,
    },
    /// Neither: end of sequence, HDR metadata, multichannel configuration, commands, an empty tag.
    Other,
}

/// Tells what a video tag is (FLV 10.1 E.4.3, E-RTMP v2 "Enhanced Video").
pub fn classify_video(payload: &[u8]) -> Tag {
    let Some(&first) = payload.first() else { return Tag::Other };
    let frame = |key, needs_header| Tag::Frame { track: Track::Video, key, needs_header };
    if first & 0x80 != 0 {
        let key = first >> 4 & 7 == 1;
        return match first & 15 {
            0 => Tag::Header(Track::Video),
            1 | 3 => frame(key, true),
            _ => Tag::Other,
        };
    }
    let key = first >> 4 == 1;
    if first >> 4 == 5 {
        return Tag::Other;
    }
    match (first & 15, payload.get(1)) {
        (7 | 12, Some(0)) => Tag::Header(Track::Video),
        (7 | 12, Some(1)) => frame(key, true),
        (7 | 12, _) => Tag::Other,
        _ => frame(key, false),
    }
}

/// Tells what an audio tag is (FLV 10.1 E.4.2, E-RTMP v2 "Enhanced Audio").
pub fn classify_audio(payload: &[u8]) -> Tag {
    let Some(&first) = payload.first() else { return Tag::Other };
    let frame = |needs_header| Tag::Frame { track: Track::Audio, key: false, needs_header };
    match (first >> 4, first & 15, payload.get(1)) {
        (9, 0, _) => Tag::Header(Track::Audio),
        (9, 1, _) => frame(true),
        (9, _, _) => Tag::Other,
        (10, _, Some(0)) => Tag::Header(Track::Audio),
        (10, _, Some(_)) => frame(true),
        (10, _, None) => Tag::Other,
        _ => frame(false),
    }
}

/// Names a stream in stamps.
pub fn stream_hash(name: &str) -> u32 {
    fnv(FNV_BASIS, name.as_bytes())
}

/// Names a sequence header in stamps: a hash of its whole tag.
pub fn header_hash(payload: &[u8]) -> u32 {
    fnv(FNV_BASIS, payload)
}

/// Makes a video sequence header for pictures of this size, in pixels (each at least 2).
pub fn video_header(codec: VideoCodec, width: u32, height: u32) -> Bytes {
    let mut tag = Vec::new();
    match codec {
        VideoCodec::Avc => {
            let (sps, pps) = (avc_sps(width, height), avc_pps());
            tag.extend_from_slice(&[0x17, 0, 0, 0, 0, 1, sps[1], sps[2], sps[3], 0xFF, 0xE1]);
            put_nal(&sps, 2, &mut tag);
            tag.push(1);
            put_nal(&pps, 2, &mut tag);
        }
        VideoCodec::HevcLegacy => {
            tag.extend_from_slice(&[0x1C, 0, 0, 0, 0]);
            tag.extend_from_slice(&hevc_configuration(width, height));
        }
        VideoCodec::Hevc => {
            tag.extend_from_slice(b"\x90hvc1");
            tag.extend_from_slice(&hevc_configuration(width, height));
        }
        VideoCodec::Av1 => {
            tag.extend_from_slice(b"\x90av01\x81\x04\x0C\x00");
            put_size(width, height, &mut tag);
        }
    }
    tag.into()
}

/// Makes a video frame of at least `len_min` bytes. `in_gop` counts from the keyframe, which is 0.
pub fn video_frame(codec: VideoCodec, size: (u32, u32), in_gop: u32, len_min: usize, stamp: &Stamp) -> Bytes {
    let key = in_gop == 0;
    let mut tag = Vec::with_capacity(len_min.max(256));
    match codec {
        VideoCodec::Avc => {
            tag.extend_from_slice(&[if key { 0x17 } else { 0x27 }, 1, 0, 0, 0]);
            let mut sei = vec![6, 5, 16 + STAMP_LEN as u8];
            sei.extend_from_slice(b"repull-sim-stamp");
            sei.extend_from_slice(&stamp.text());
            sei.push(0x80);
            put_nal(&sei, 4, &mut tag);
            put_nal(&avc_slice(size, in_gop, stamp.gop), 4, &mut tag);
            if len_min > tag.len() + 6 {
                let mut filler = vec![0xFF; len_min - tag.len() - 4];
                filler[0] = 12;
                filler[len_min - tag.len() - 5] = 0x80;
                put_nal(&filler, 4, &mut tag);
            }
        }
        VideoCodec::HevcLegacy => {
            tag.extend_from_slice(&[if key { 0x1C } else { 0x2C }, 1, 0, 0, 0]);
            tag.extend_from_slice(&stamp.text());
        }
        VideoCodec::Hevc => {
            tag.push(if key { 0x91 } else { 0xA1 });
            tag.extend_from_slice(b"hvc1\0\0\0");
            tag.extend_from_slice(&stamp.text());
        }
        VideoCodec::Av1 => {
            tag.push(if key { 0x91 } else { 0xA1 });
            tag.extend_from_slice(b"av01");
            tag.extend_from_slice(&stamp.text());
        }
    }
    if codec != VideoCodec::Avc && tag.len() < len_min {
        tag.resize(len_min, 0xFF);
    }
    seal(tag)
}

/// Makes an audio sequence header.
pub fn audio_header(codec: AudioCodec) -> Bytes {
    match codec {
        AudioCodec::AacStereo => Bytes::from_static(b"\xAF\x00\x12\x10"),
        AudioCodec::AacMono => Bytes::from_static(b"\xAF\x00\x12\x08"),
        AudioCodec::Opus => {
            Bytes::from_static(b"\x90OpusOpusHead\x01\x02\x38\x01\x80\xBB\x00\x00\x00\x00\x00")
        }
    }
}

/// Makes an audio frame.
pub fn audio_frame(codec: AudioCodec, stamp: &Stamp) -> Bytes {
    let mut tag = Vec::with_capacity(128);
    let aac = |silence: &[u8], tag: &mut Vec<u8>| {
        // A data stream element (ISO/IEC 14496-3 table 4.10): id 4, tag 0, not aligned, then its length.
        tag.extend_from_slice(&[0xAF, 1, 0x80, STAMP_LEN as u8]);
        tag.extend_from_slice(&stamp.text());
        tag.extend_from_slice(silence);
    };
    match codec {
        AudioCodec::AacStereo => aac(&[0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80], &mut tag),
        AudioCodec::AacMono => aac(&[0x00, 0xC8, 0x00, 0x80, 0x23, 0x80], &mut tag),
        AudioCodec::Opus => {
            tag.extend_from_slice(b"\x91Opus");
            tag.extend_from_slice(&stamp.text());
        }
    }
    seal(tag)
}

/// Writes the sum into the stamp of a finished tag.
fn seal(mut tag: Vec<u8>) -> Bytes {
    let at = tag
        .windows(MAGIC.len())
        .position(|window| window == MAGIC)
        .expect("every frame is built with a stamp");
    let sum_at = at + MAGIC.len() + FIELDS_LEN;
    let mut digits = Vec::new();
    put_hex(sum_around(&tag, sum_at), &mut digits);
    tag[sum_at..sum_at + SUM_LEN].copy_from_slice(&digits);
    tag.into()
}

const FNV_BASIS: u32 = 0x811C_9DC5;

fn fnv(mut hash: u32, bytes: &[u8]) -> u32 {
    for &byte in bytes {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    hash
}

/// Sums a tag without the sum's own digits.
fn sum_around(tag: &[u8], sum_at: usize) -> u32 {
    fnv(fnv(FNV_BASIS, &tag[..sum_at]), &tag[sum_at + SUM_LEN..])
}

fn put_hex(number: u32, out: &mut Vec<u8>) {
    for shift in (0..8).rev() {
        out.push(b"0123456789abcdef"[(number >> (4 * shift) & 15) as usize]);
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn put_size(width: u32, height: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&(width as u16).to_be_bytes());
    out.extend_from_slice(&(height as u16).to_be_bytes());
}

/// An HEVCDecoderConfigurationRecord without parameter sets; the picture size follows it, so that another size is
/// another header.
fn hevc_configuration(width: u32, height: u32) -> Vec<u8> {
    let mut record =
        vec![1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93, 0xF0, 0, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0, 0x0F, 0];
    put_size(width, height, &mut record);
    record
}

fn put_nal(nal: &[u8], length_bytes: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(nal.len() as u32).to_be_bytes()[4 - length_bytes..]);
    out.extend_from_slice(nal);
}

/// A bit string under construction (ISO/IEC 14496-10 §7.2, §9.1).
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn fixed(&mut self, count: u32, value: u32) {
        for bit in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let last = self.bytes.len() - 1;
            self.bytes[last] |= ((value >> bit & 1) as u8) << (7 - self.used);
            self.used = (self.used + 1) % 8;
        }
    }

    /// Exp-Golomb; signed zero is the same bit.
    fn golomb(&mut self, value: u32) {
        let width = 32 - (value + 1).leading_zeros();
        self.fixed(width - 1, 0);
        self.fixed(width, value + 1);
    }

    /// Ends a NAL unit: stop bit, alignment, header in front, emulation prevention.
    fn into_nal(mut self, header: u8) -> Vec<u8> {
        self.fixed(1, 1);
        let (mut nal, mut zeros) = (vec![header], 0);
        for byte in self.bytes {
            if zeros == 2 && byte <= 3 {
                nal.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            nal.push(byte);
        }
        nal
    }
}

fn macroblocks(size: (u32, u32)) -> (u32, u32) {
    (size.0.max(2).div_ceil(16), size.1.max(2).div_ceil(16))
}

fn avc_sps(width: u32, height: u32) -> Vec<u8> {
    let (columns, rows) = macroblocks((width, height));
    let mut bits = Bits::default();
    // Constrained baseline, level 3.1.
    bits.fixed(8, 66);
    bits.fixed(8, 0xC0);
    bits.fixed(8, 31);
    bits.golomb(0);
    // log2_max_frame_num 16, picture order as decoded, one reference frame.
    bits.golomb(12);
    bits.golomb(2);
    bits.golomb(1);
    bits.fixed(1, 0);
    bits.golomb(columns - 1);
    bits.golomb(rows - 1);
    bits.fixed(2, 0b11);
    let (right, bottom) = ((columns * 16 - width.max(2)) / 2, (rows * 16 - height.max(2)) / 2);
    if right + bottom > 0 {
        bits.fixed(1, 1);
        for crop in [0, right, 0, bottom] {
            bits.golomb(crop);
        }
    } else {
        bits.fixed(1, 0);
    }
    bits.fixed(1, 0);
    bits.into_nal(0x67)
}

fn avc_pps() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.golomb(0);
    bits.golomb(0);
    bits.fixed(2, 0);
    for _ in 0..3 {
        bits.golomb(0);
    }
    bits.fixed(3, 0);
    for _ in 0..3 {
        bits.golomb(0);
    }
    bits.fixed(3, 0);
    bits.into_nal(0x68)
}

/// A grey IDR picture, or one that repeats the picture before.
fn avc_slice(size: (u32, u32), in_gop: u32, gop: u32) -> Vec<u8> {
    let (columns, rows) = macroblocks(size);
    let mut bits = Bits::default();
    bits.golomb(0);
    if in_gop == 0 {
        bits.golomb(7);
        bits.golomb(0);
        bits.fixed(16, 0);
        bits.golomb(gop & 1);
        bits.fixed(2, 0);
        bits.golomb(0);
        for _ in 0..columns * rows {
            // I_16x16 with DC prediction and nothing left over: mb_type 3, chroma mode 0, no quantiser
            // change, no coefficients.
            bits.fixed(8, 0b0010_0111);
        }
        return bits.into_nal(0x65);
    }
    bits.golomb(5);
    bits.golomb(0);
    bits.fixed(16, in_gop & 0xFFFF);
    bits.fixed(3, 0);
    bits.golomb(0);
    bits.golomb(columns * rows);
    bits.into_nal(0x41)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        stream: 1,
        play: 2,
        epoch: 3,
        number: 0xFFFF_FFFF,
        gop: 5,
        time: 6,
        header: 7,
        kind: StampKind::Inter,
    };
    const VIDEO: [VideoCodec; 4] =
        [VideoCodec::Avc, VideoCodec::HevcLegacy, VideoCodec::Hevc, VideoCodec::Av1];
    const AUDIO: [AudioCodec; 3] = [AudioCodec::AacStereo, AudioCodec::AacMono, AudioCodec::Opus];

    #[test]
    fn stamps_read_back_from_every_codec() {
        for codec in VIDEO {
            for (in_gop, len) in [(0, 0), (1, 0), (1, 3000)] {
                let frame = video_frame(codec, (64, 48), in_gop, len, &STAMP);
                assert!(frame.len() >= len);
                assert_eq!(read_stamp(&frame), Stamped::Whole(STAMP));
            }
        }
        for codec in AUDIO {
            assert_eq!(read_stamp(&audio_frame(codec, &STAMP)), Stamped::Whole(STAMP));
        }
    }

    #[test]
    fn no_byte_of_a_frame_can_change_unseen() {
        let frame = video_frame(VideoCodec::Avc, (16, 16), 1, 0, &STAMP);
        for at in 0..frame.len() {
            let mut changed = frame.to_vec();
            changed[at] ^= 0x20;
            assert_ne!(read_stamp(&changed), Stamped::Whole(STAMP), "byte {at}");
        }
    }

    #[test]
    fn tags_are_told_apart() {
        for codec in VIDEO {
            assert_eq!(classify_video(&video_header(codec, 64, 48)), Tag::Header(Track::Video));
            for in_gop in [0, 1] {
                let frame = video_frame(codec, (64, 48), in_gop, 0, &STAMP);
                let expected = Tag::Frame { track: Track::Video, key: in_gop == 0, needs_header: true };
                assert_eq!(classify_video(&frame), expected);
            }
        }
        for codec in AUDIO {
            assert_eq!(classify_audio(&audio_header(codec)), Tag::Header(Track::Audio));
            let expected = Tag::Frame { track: Track::Audio, key: false, needs_header: true };
            assert_eq!(classify_audio(&audio_frame(codec, &STAMP)), expected);
        }
        assert_eq!(classify_video(&[]), Tag::Other);
        assert_eq!(classify_video(&[0x17, 2]), Tag::Other);
        assert_eq!(classify_audio(&[0x94]), Tag::Other);
    }

    #[test]
    fn another_size_is_another_header() {
        for codec in VIDEO {
            assert_ne!(video_header(codec, 64, 48), video_header(codec, 128, 96));
        }
    }

    #[test]
    fn the_parameter_sets_are_those_written_by_hand() {
        // 64x48 is 4x3 macroblocks: 0x42C01F, then ue 0, 12, 2, 1, flag 0, ue 3, 2, flags 11, 0, 0, stop.
        assert_eq!(avc_sps(64, 48), [0x67, 0x42, 0xC0, 0x1F, 0x8D, 0x68, 0x47, 0x90]);
        assert_eq!(avc_pps(), [0x68, 0xCE, 0x38, 0x80]);
    }
}
