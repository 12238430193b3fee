//! Tags as a publisher's encoder makes them, each frame stamped so that a viewer can tell what it sees.
//!
//! AVC and AAC are really decodable: grey pictures of DC macroblocks and skipped ones, silent audio blocks. The
//! stamp rides where decoders do not look (an SEI message, an AAC data stream element). HEVC, AV1 and Opus carry
//! the right tag and configuration headers around stamped filler: relays must not look deeper.
//!
//! The stamp is text, so it needs no emulation prevention and can be searched for in a capture:
//! `RePuLl#1` and hexadecimal fields; its last field is a sum over the whole tag, so nothing in it can change
//! unseen. A *stub* is a tag that no decoder reads, for worlds that make millions of them: the tag's own bytes, filler,
//! and at its end the same fields in binary, their sum and `RePuLl#2`.

use bytes::Bytes;

/// What begins every stamp of text.
pub const MAGIC: &[u8; 8] = b"RePuLl#1";

/// What ends every stub.
pub const STUB_MAGIC: &[u8; 8] = b"RePuLl#2";

/// The data message that follows a keyframe of a publisher with cues; its value is the GOP's number.
pub const CUE: &str = "onCuePoint";
/// What metadata calls it that a publisher sends them.
pub const CUES: &str = "cuePoints";

/// Frame type 5: a command, no picture (FLV 10.1 E.4.3.1).
const COMMAND: u8 = 5;
/// The command that ends a seek on the server's side.
const SEEK_ENDS: u8 = 1;

/// Length of what a stub ends with: seven numbers, kind, sum, magic.
const STUB_LEN: usize = 7 * 4 + 1 + 4 + 8;

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
    /// A FourCC that nobody knows.
    Unknown,
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
    /// A FourCC that nobody knows.
    Unknown,
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Track {
    /// Video.
    Video,
    /// Audio.
    Audio,
}

impl Track {
    /// Returns the other one.
    pub fn other(self) -> Self {
        match self {
            Self::Video => Self::Audio,
            Self::Audio => Self::Video,
        }
    }
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
    fn fields(&self) -> [u32; 7] {
        [self.stream, self.play, self.epoch, self.number, self.gop, self.time, self.header]
    }

    fn of([stream, play, epoch, number, gop, time, header]: [u32; 7], kind: u8) -> Option<Self> {
        let kind = match kind {
            b'0' => StampKind::Key,
            b'1' => StampKind::Inter,
            b'2' => StampKind::Audio,
            _ => return None,
        };
        Some(Self { stream, play, epoch, number, gop, time, header, kind })
    }

    fn kind_digit(&self) -> u8 {
        match self.kind {
            StampKind::Key => b'0',
            StampKind::Inter => b'1',
            StampKind::Audio => b'2',
        }
    }

    /// Returns the stamp with zeros for its sum, to be built into a tag that [`seal`] completes.
    fn text(&self) -> [u8; STAMP_LEN] {
        let mut text = [b'0'; STAMP_LEN];
        text[..MAGIC.len()].copy_from_slice(MAGIC);
        for (field, digits) in self.fields().into_iter().zip(text[MAGIC.len()..].chunks_exact_mut(8)) {
            put_hex(field, digits);
        }
        text[MAGIC.len() + FIELDS_LEN - 1] = self.kind_digit();
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
    if payload.ends_with(STUB_MAGIC) {
        return read_stub(payload).map_or(Stamped::Broken, Stamped::Whole);
    }
    match find_magic(payload) {
        Some(at) => read_text(payload, at + MAGIC.len()).map_or(Stamped::Broken, Stamped::Whole),
        None => Stamped::Absent,
    }
}

fn find_magic(payload: &[u8]) -> Option<usize> {
    let reach = payload.len().min(STAMP_REACH + MAGIC.len());
    payload[..reach].windows(MAGIC.len()).position(|window| window == MAGIC)
}

fn read_text(payload: &[u8], fields_at: usize) -> Option<Stamp> {
    let sum_at = fields_at + FIELDS_LEN;
    let sum = hex(payload.get(sum_at..sum_at + SUM_LEN)?)?;
    if sum != sum_around(payload, sum_at, SUM_LEN) {
        return None;
    }
    let mut fields = [0; 7];
    for (field, digits) in fields.iter_mut().zip(payload[fields_at..].chunks_exact(8)) {
        *field = hex(digits)?;
    }
    Stamp::of(fields, payload[sum_at - 1])
}

fn read_stub(payload: &[u8]) -> Option<Stamp> {
    let sum_at = payload.len().checked_sub(STUB_MAGIC.len() + 4)?;
    let fields = payload.get(payload.len().checked_sub(STUB_LEN)?..sum_at - 1)?;
    let word = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    if word(&payload[sum_at..]) != sum_around(payload, sum_at, 4) {
        return None;
    }
    let mut numbers = [0; 7];
    for (number, bytes) in numbers.iter_mut().zip(fields.chunks_exact(4)) {
        *number = word(bytes);
    }
    Stamp::of(numbers, payload[sum_at - 1])
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
    if first >> 4 == COMMAND {
        return Tag::Other;
    }
    match (first & 15, payload.get(1)) {
        (7 | 12, Some(0)) => Tag::Header(Track::Video),
        (7 | 12, Some(1)) => frame(key, true),
        (7 | 12, _) => Tag::Other,
        _ => frame(key, false),
    }
}

/// Makes the video command that a publisher with cues sends behind a keyframe; none in the codecs of E-RTMP, where a command
/// is another thing.
pub fn video_command(keyframe: &[u8]) -> Option<[u8; 2]> {
    let first = keyframe.first().filter(|first| **first & 0x80 == 0)?;
    Some([COMMAND << 4 | first & 15, SEEK_ENDS])
}

/// Tells whether a video tag is a command.
pub fn is_video_command(payload: &[u8]) -> bool {
    payload.first().is_some_and(|first| first >> 4 == COMMAND)
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
        VideoCodec::Unknown => {
            tag.extend_from_slice(b"\x90rplx");
            put_size(width, height, &mut tag);
        }
    }
    tag.into()
}

/// Makes a video frame of at least `len_min` bytes. `in_gop` counts from the keyframe, which is 0.
pub fn video_frame(codec: VideoCodec, size: (u32, u32), in_gop: u32, len_min: usize, stamp: &Stamp) -> Bytes {
    let mut tag = Vec::with_capacity(len_min.max(256));
    put_video_frame(codec, size, in_gop, len_min, stamp, &mut tag);
    tag.into()
}

/// Appends what [`video_frame`] makes.
pub fn put_video_frame(
    codec: VideoCodec,
    size: (u32, u32),
    in_gop: u32,
    len_min: usize,
    stamp: &Stamp,
    tag: &mut Vec<u8>,
) {
    let start = tag.len();
    put_video_opening(codec, in_gop == 0, tag);
    if codec == VideoCodec::Avc {
        let mut sei = vec![6, 5, 16 + STAMP_LEN as u8];
        sei.extend_from_slice(b"repull-sim-stamp");
        sei.extend_from_slice(&stamp.text());
        sei.push(0x80);
        put_nal(&sei, 4, tag);
        put_nal(&avc_slice(size, in_gop, stamp.gop), 4, tag);
        let len = tag.len() - start;
        if len_min > len + 6 {
            let mut filler = vec![0xFF; len_min - len - 4];
            filler[0] = 12;
            filler[len_min - len - 5] = 0x80;
            put_nal(&filler, 4, tag);
        }
    } else {
        tag.extend_from_slice(&stamp.text());
        fill(start + len_min, tag);
    }
    seal(&mut tag[start..]);
}

/// Appends a video frame of at least `len_min` bytes that is no picture.
pub fn put_video_stub(codec: VideoCodec, len_min: usize, stamp: &Stamp, tag: &mut Vec<u8>) {
    let start = tag.len();
    put_video_opening(codec, stamp.kind == StampKind::Key, tag);
    finish_stub(start, len_min, stamp, tag);
}

/// Appends an audio frame of at least `len_min` bytes that is no sound.
pub fn put_audio_stub(codec: AudioCodec, len_min: usize, stamp: &Stamp, tag: &mut Vec<u8>) {
    let start = tag.len();
    put_audio_opening(codec, tag);
    finish_stub(start, len_min, stamp, tag);
}

fn finish_stub(start: usize, len_min: usize, stamp: &Stamp, tag: &mut Vec<u8>) {
    fill((start + len_min).saturating_sub(STUB_LEN), tag);
    let mut end = [0; STUB_LEN];
    for (field, bytes) in stamp.fields().into_iter().zip(end.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&field.to_be_bytes());
    }
    end[7 * 4] = stamp.kind_digit();
    end[STUB_LEN - STUB_MAGIC.len()..].copy_from_slice(STUB_MAGIC);
    tag.extend_from_slice(&end);
    let tag = &mut tag[start..];
    let sum_at = tag.len() - STUB_MAGIC.len() - 4;
    let sum = sum_around(tag, sum_at, 4);
    tag[sum_at..sum_at + 4].copy_from_slice(&sum.to_be_bytes());
}

fn fill(len_min: usize, tag: &mut Vec<u8>) {
    if tag.len() < len_min {
        tag.resize(len_min, 0xFF);
    }
}

/// Appends what comes before a video frame's data (FLV 10.1 E.4.3, E-RTMP v2 "Enhanced Video").
fn put_video_opening(codec: VideoCodec, key: bool, tag: &mut Vec<u8>) {
    let first = |key_byte: u8, inter_byte: u8| if key { key_byte } else { inter_byte };
    match codec {
        VideoCodec::Avc => tag.extend_from_slice(&[first(0x17, 0x27), 1, 0, 0, 0]),
        VideoCodec::HevcLegacy => tag.extend_from_slice(&[first(0x1C, 0x2C), 1, 0, 0, 0]),
        VideoCodec::Hevc => {
            tag.push(first(0x91, 0xA1));
            tag.extend_from_slice(b"hvc1\0\0\0");
        }
        VideoCodec::Av1 => {
            tag.push(first(0x91, 0xA1));
            tag.extend_from_slice(b"av01");
        }
        VideoCodec::Unknown => {
            tag.push(first(0x91, 0xA1));
            tag.extend_from_slice(b"rplx");
        }
    }
}

/// Makes an audio sequence header.
pub fn audio_header(codec: AudioCodec) -> Bytes {
    match codec {
        AudioCodec::AacStereo => Bytes::from_static(b"\xAF\x00\x12\x10"),
        AudioCodec::AacMono => Bytes::from_static(b"\xAF\x00\x12\x08"),
        AudioCodec::Opus => {
            Bytes::from_static(b"\x90OpusOpusHead\x01\x02\x38\x01\x80\xBB\x00\x00\x00\x00\x00")
        }
        AudioCodec::Unknown => Bytes::from_static(b"\x90rplx\x01"),
    }
}

/// Makes an audio frame.
pub fn audio_frame(codec: AudioCodec, stamp: &Stamp) -> Bytes {
    let mut tag = Vec::with_capacity(128);
    put_audio_frame(codec, stamp, &mut tag);
    tag.into()
}

/// Appends what [`audio_frame`] makes.
pub fn put_audio_frame(codec: AudioCodec, stamp: &Stamp, tag: &mut Vec<u8>) {
    let start = tag.len();
    put_audio_opening(codec, tag);
    let silence: &[u8] = match codec {
        AudioCodec::AacStereo => &[0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80],
        AudioCodec::AacMono => &[0x00, 0xC8, 0x00, 0x80, 0x23, 0x80],
        AudioCodec::Opus => &[],
        AudioCodec::Unknown => &[],
    };
    if !silence.is_empty() {
        // A data stream element (ISO/IEC 14496-3 table 4.10): id 4, tag 0, not aligned, then its length.
        tag.extend_from_slice(&[0x80, STAMP_LEN as u8]);
    }
    tag.extend_from_slice(&stamp.text());
    tag.extend_from_slice(silence);
    seal(&mut tag[start..]);
}

/// Appends what comes before an audio frame's data (FLV 10.1 E.4.2, E-RTMP v2 "Enhanced Audio").
fn put_audio_opening(codec: AudioCodec, tag: &mut Vec<u8>) {
    match codec {
        AudioCodec::AacStereo => tag.extend_from_slice(&[0xAF, 1]),
        AudioCodec::AacMono => tag.extend_from_slice(&[0xAF, 1]),
        AudioCodec::Opus => tag.extend_from_slice(b"\x91Opus"),
        AudioCodec::Unknown => tag.extend_from_slice(b"\x91rplx"),
    }
}

/// Writes the sum into the stamp of a finished tag.
fn seal(tag: &mut [u8]) {
    let at = find_magic(tag).expect("every frame is built with a stamp");
    let sum_at = at + MAGIC.len() + FIELDS_LEN;
    let sum = sum_around(tag, sum_at, SUM_LEN);
    put_hex(sum, &mut tag[sum_at..sum_at + SUM_LEN]);
}

const FNV_BASIS: u32 = 0x811C_9DC5;

fn fnv(mut hash: u32, bytes: &[u8]) -> u32 {
    for &byte in bytes {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    hash
}

/// Sums a tag without the sum itself, eight bytes at a time: no change of a word can hide behind another.
fn sum_around(tag: &[u8], sum_at: usize, sum_len: usize) -> u32 {
    let sum = stir_all(stir_all(u64::from(FNV_BASIS), &tag[..sum_at]), &tag[sum_at + sum_len..]);
    (sum ^ sum >> 32) as u32
}

fn stir_all(mut sum: u64, bytes: &[u8]) -> u64 {
    let stir = |sum: u64, word: [u8; 8]| {
        let mixed = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ mixed >> 29
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        sum = stir(sum, *word);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = rest.len() as u8;
    stir(sum, last)
}

fn put_hex(number: u32, digits: &mut [u8]) {
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (28 - 4 * at) & 15) as usize];
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u32::from(value))
    })
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
    const VIDEO: [VideoCodec; 5] =
        [VideoCodec::Avc, VideoCodec::HevcLegacy, VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Unknown];
    const AUDIO: [AudioCodec; 4] =
        [AudioCodec::AacStereo, AudioCodec::AacMono, AudioCodec::Opus, AudioCodec::Unknown];

    fn stub(video: Option<VideoCodec>, audio: AudioCodec, len: usize, stamp: &Stamp) -> Vec<u8> {
        let mut tag = Vec::new();
        match video {
            Some(codec) => put_video_stub(codec, len, stamp, &mut tag),
            None => put_audio_stub(audio, len, stamp, &mut tag),
        }
        tag
    }

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
    fn stubs_are_as_long_as_asked_and_read_back() {
        for codec in VIDEO.map(Some).into_iter().chain([None]) {
            for audio in AUDIO {
                for (len, at_most) in [(0, 49), (64, 64), (80, 80), (3000, 3000)] {
                    let tag = stub(codec, audio, len, &STAMP);
                    assert!((len..=at_most).contains(&tag.len()), "{codec:?} {audio:?} {}", tag.len());
                    assert_eq!(read_stamp(&tag), Stamped::Whole(STAMP));
                }
            }
        }
        let key = Stamp { kind: StampKind::Key, ..STAMP };
        for codec in VIDEO {
            for (stamp, key) in [(key, true), (STAMP, false)] {
                let expected = Tag::Frame { track: Track::Video, key, needs_header: true };
                assert_eq!(classify_video(&stub(Some(codec), AudioCodec::Opus, 0, &stamp)), expected);
            }
        }
    }

    #[test]
    fn no_byte_of_a_frame_can_change_unseen() {
        let frame = video_frame(VideoCodec::Avc, (16, 16), 1, 0, &STAMP).to_vec();
        for frame in [frame, stub(Some(VideoCodec::Avc), AudioCodec::Opus, 80, &STAMP)] {
            for at in 0..frame.len() {
                for bit in [0x01, 0x20, 0x80] {
                    let mut changed = frame.clone();
                    changed[at] ^= bit;
                    assert_ne!(read_stamp(&changed), Stamped::Whole(STAMP), "byte {at}");
                }
            }
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
