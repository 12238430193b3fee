//! FLV tags (FLV 10.1, annex E), as an HTTP-FLV player reads them.

use super::{RawError, chunk::MESSAGE_BYTES_MAX};

/// One tag, still in its reader's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlvTag<'a> {
    /// 8 audio, 9 video, 18 data.
    pub kind: u8,
    /// Milliseconds, 32 bits.
    pub timestamp: u32,
    /// The payload.
    pub payload: &'a [u8],
}

/// FLV bytes to tags; strict.
#[derive(Clone, Debug, Default)]
pub struct FlvReader {
    buffer: Vec<u8>,
    start: usize,
    flags: Option<u8>,
    previous: u32,
}

impl FlvReader {
    /// Makes a reader that expects a file header.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the type flags of the file header once it has come: bit 2 audio, bit 0 video.
    pub fn flags(&self) -> Option<u8> {
        self.flags
    }

    /// Returns the next complete tag.
    pub fn poll_tag(&mut self) -> Result<Option<FlvTag<'_>>, RawError> {
        if self.flags.is_none() {
            let Some(header) = self.buffer.get(..9) else { return Ok(None) };
            if header[..4] != *b"FLV\x01" || header[5..] != [0, 0, 0, 9] {
                return Err(RawError::FlvSignature);
            }
            self.flags = Some(header[4]);
            self.start = 9;
        }
        let input = &self.buffer[self.start..];
        let Some(head) = input.get(..15) else { return Ok(None) };
        let found = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        if found != self.previous {
            return Err(RawError::FlvBackPointer { found, expected: self.previous });
        }
        let kind = head[4];
        if !matches!(kind, 8 | 9 | 18) {
            return Err(RawError::FlvType { kind });
        }
        let len = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if len > MESSAGE_BYTES_MAX {
            return Err(RawError::MessageTooLong { len });
        }
        let timestamp = u32::from_be_bytes([head[11], head[8], head[9], head[10]]);
        let Some(payload) = input.get(15..15 + len) else { return Ok(None) };
        self.start += 15 + len;
        self.previous = 11 + len as u32;
        Ok(Some(FlvTag { kind, timestamp, payload }))
    }
}

/// Appends a tag and its back pointer.
pub fn write_tag(kind: u8, timestamp: u32, payload: &[u8], out: &mut Vec<u8>) {
    let time = timestamp.to_be_bytes();
    out.push(kind);
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[time[1], time[2], time[3], time[0], 0, 0, 0]);
    out.extend_from_slice(payload);
    out.extend_from_slice(&(payload.len() as u32 + 11).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 13] = *b"FLV\x01\x05\0\0\0\x09\0\0\0\0";

    #[test]
    fn tags_read_back_however_they_are_cut() {
        let mut bytes = HEADER.to_vec();
        write_tag(9, 0x1234_5678, b"video", &mut bytes);
        write_tag(8, 5, b"", &mut bytes);
        for step in [1, 4, bytes.len()] {
            let (mut reader, mut tags) = (FlvReader::new(), Vec::new());
            for piece in bytes.chunks(step) {
                reader.push(piece);
                while let Some(tag) = reader.poll_tag().expect("our own writing") {
                    tags.push((tag.kind, tag.timestamp, tag.payload.to_vec()));
                }
            }
            assert_eq!(tags, [(9, 0x1234_5678, b"video".to_vec()), (8, 5, Vec::new())]);
            assert_eq!(reader.flags(), Some(5));
        }
    }

    #[test]
    fn a_wrong_back_pointer_is_told() {
        let mut bytes = HEADER.to_vec();
        write_tag(9, 0, b"video", &mut bytes);
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        write_tag(9, 0, b"video", &mut bytes);
        let mut reader = FlvReader::new();
        reader.push(&bytes);
        assert!(reader.poll_tag().is_ok());
        assert_eq!(reader.poll_tag(), Err(RawError::FlvBackPointer { found: 17, expected: 16 }));
    }
}
