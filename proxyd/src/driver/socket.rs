//! A TCP connection as the driver holds it: what waits to be written, and what the system's errors mean.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use proxy_core::io::{ConnId, ConnectError, Hangup};
use tokio::io::AsyncWrite;

/// Slices in one vectored write. Linux takes 1024; more than this gains nothing and fills the stack.
pub const SLICES_MAX: usize = 64;

/// An emptied queue that once held more entries than this gives its memory back.
const QUEUE_KEEP: usize = 64;

/// A TCP connection.
pub(super) struct Open<S> {
    pub(super) conn: ConnId,
    pub(super) stream: S,
    /// What the core handed over and the socket has not taken.
    pub(super) queue: VecDeque<Bytes>,
    pub(super) is_dirty: bool,
    /// `Close` was asked for.
    pub(super) is_closing: bool,
    /// The peer has closed its direction; seen only while closing.
    pub(super) is_eof: bool,
}

impl<S: AsyncWrite + Unpin> Open<S> {
    /// Writes as much of the queue as one call takes.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // One packet is the common case: a plain send costs the kernel less than a vectored write of one slice.
        let written = if let ([bytes], []) = self.queue.as_slices() {
            Pin::new(&mut self.stream).poll_write(cx, bytes)
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count])
        };
        if let Poll::Ready(Ok(len)) = written {
            self.take_written(len);
        }
        written
    }

    fn take_written(&mut self, mut len: usize) {
        while let Some(first) = self.queue.front_mut() {
            if first.len() > len {
                first.advance(len);
                return;
            }
            len -= first.len();
            self.queue.pop_front();
        }
        if self.queue.capacity() > QUEUE_KEEP {
            self.queue = VecDeque::new();
        }
    }
}

/// Returns why a dial failed, by the system's error.
pub(super) fn connect_error(kind: io::ErrorKind) -> ConnectError {
    match kind {
        io::ErrorKind::ConnectionRefused => ConnectError::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            ConnectError::Unreachable
        }
        io::ErrorKind::TimedOut => ConnectError::TimedOut,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected
        | io::ErrorKind::BrokenPipe => ConnectError::Reset,
        _ => ConnectError::Other,
    }
}

/// Returns how a connection ended, by the system's error.
pub(super) fn hangup(kind: io::ErrorKind) -> Hangup {
    match kind {
        io::ErrorKind::UnexpectedEof => Hangup::Eof,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected
        | io::ErrorKind::BrokenPipe => Hangup::Reset,
        _ => Hangup::Error,
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A socket that takes at most so many bytes per call, across slices.
    struct Narrow {
        width: usize,
        taken: Vec<u8>,
        calls: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let before = self.taken.len();
            for slice in slices {
                let room = self.width - (self.taken.len() - before);
                self.taken.extend_from_slice(&slice[..room.min(slice.len())]);
            }
            self.calls += 1;
            Poll::Ready(Ok(self.taken.len() - before))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Writes packets of these lengths; returns how many calls that took.
    fn write_all(packets: &[usize], width: usize) -> usize {
        let queue: VecDeque<Bytes> =
            packets.iter().zip(0..).map(|(&len, fill)| Bytes::from(vec![fill; len])).collect();
        let wanted: Vec<u8> = queue.iter().flatten().copied().collect();
        let mut open = Open {
            conn: ConnId::accepted(0),
            stream: Narrow { width, taken: Vec::new(), calls: 0 },
            queue,
            is_dirty: false,
            is_closing: false,
            is_eof: false,
        };
        while !open.queue.is_empty() {
            let written = open.poll_write(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(written, Poll::Ready(Ok(1..))), "{written:?}");
        }
        assert_eq!(open.stream.taken, wanted);
        open.stream.calls
    }

    #[test]
    fn what_has_gathered_leaves_in_one_write() {
        assert_eq!(write_all(&[100; SLICES_MAX], usize::MAX), 1);
        assert_eq!(write_all(&[100; SLICES_MAX + 1], usize::MAX), 2);
    }

    #[test]
    fn writes_cut_anywhere_lose_and_repeat_nothing() {
        for width in 1..=40 {
            assert_eq!(write_all(&[1, 5, 0, 17, 3, 12], width), 38_usize.div_ceil(width));
        }
    }
}
