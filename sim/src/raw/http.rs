//! Just enough of an HTTP/1.1 response to reach the FLV body.

use super::RawError;

/// The longest response head accepted, in bytes.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    UntilClose,
    ChunkSize,
    Chunk { left: usize },
    ChunkEnd { left: usize },
    Done,
}

/// A response as it comes in.
#[derive(Clone, Debug, Default)]
pub struct HttpReader {
    buffer: Vec<u8>,
    head: Option<(u16, Body)>,
}

impl HttpReader {
    /// Makes a reader that expects a status line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the status once the head is complete.
    pub fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|(status, _)| *status)
    }

    /// Returns whether a chunked body has come to its end.
    pub fn is_done(&self) -> bool {
        matches!(self.head, Some((_, Body::Done)))
    }

    /// Takes bytes, appends body bytes to `out`.
    pub fn handle_bytes(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), RawError> {
        self.buffer.extend_from_slice(bytes);
        if self.head.is_none() {
            let Some(end) = find(&self.buffer, b"\r\n\r\n") else {
                return if self.buffer.len() > HEAD_BYTES_MAX { Err(RawError::Http) } else { Ok(()) };
            };
            let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
            self.buffer.drain(..end + 4);
            let status =
                head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(RawError::Http)?;
            let chunked =
                head.lines().any(|line| line.starts_with("transfer-encoding:") && line.contains("chunked"));
            self.head = Some((status, if chunked { Body::ChunkSize } else { Body::UntilClose }));
        }
        let Some((_, body)) = &mut self.head else { return Ok(()) };
        advance(&mut self.buffer, body, out)
    }
}

fn advance(buffer: &mut Vec<u8>, body: &mut Body, out: &mut Vec<u8>) -> Result<(), RawError> {
    loop {
        match body {
            Body::UntilClose => {
                out.append(buffer);
                return Ok(());
            }
            Body::ChunkSize => {
                let Some(end) = find(buffer, b"\r\n") else { return Ok(()) };
                let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
                let size = line.split(';').next().unwrap_or("").trim();
                let left = usize::from_str_radix(size, 16).map_err(|_| RawError::Http)?;
                buffer.drain(..end + 2);
                *body = if left == 0 { Body::Done } else { Body::Chunk { left } };
            }
            Body::Chunk { left } => {
                let take = (*left).min(buffer.len());
                out.extend(buffer.drain(..take));
                *left -= take;
                if *left > 0 {
                    return Ok(());
                }
                *body = Body::ChunkEnd { left: 2 };
            }
            Body::ChunkEnd { left } => {
                let take = (*left).min(buffer.len());
                buffer.drain(..take);
                *left -= take;
                if *left > 0 {
                    return Ok(());
                }
                *body = Body::ChunkSize;
            }
            Body::Done => return Ok(()),
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(response: &[u8], status: u16, body: &[u8], done: bool) {
        for step in [1, 3, response.len()] {
            let (mut reader, mut out) = (HttpReader::new(), Vec::new());
            for piece in response.chunks(step) {
                reader.handle_bytes(piece, &mut out).expect("a plain response");
            }
            assert_eq!((reader.status(), out.as_slice(), reader.is_done()), (Some(status), body, done));
        }
    }

    #[test]
    fn bodies_come_out_whole() {
        check(b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\n\r\nFLVbody", 200, b"FLVbody", false);
        check(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nFLV\r\n2;x\r\nab\r\n",
            200,
            b"FLVab",
            false,
        );
        check(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nF\r\n0\r\n\r\n", 200, b"F", true);
        check(b"HTTP/1.1 404 Not Found\r\n\r\n", 404, b"", false);
    }
}
