//! HTTP-FLV players: response bodies fed by the driver.
//!
//! ```text
//!   driver ── push, finish, abort ──►  queue  ──► FlvBody ──► hyper ──► socket
//!          ◄── taken, gone ──────────
//! ```
//!
//! The queue holds what the core has handed over and hyper has not taken: the core's own credit bounds it
//! (`send_bytes_max` and one packet), since credit comes back only for what hyper took.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use proxy_core::session::server::Refusal;

/// Frames that wait together are handed over as one up to this size: each costs hyper a chunk of its own.
const MERGE_BYTES_MAX: usize = 16 * 1024;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlayRefused {
    /// The core says no.
    Refused(Refusal),
    /// The driver is gone, or hung up before it answered: the process is ending or sheds load.
    Gone,
}

/// The body of an HTTP-FLV response. Dropping it hangs up.
pub struct FlvBody {
    shared: Arc<Mutex<Shared>>,
}

/// The driver's end.
pub(crate) struct FlvPipe {
    shared: Arc<Mutex<Shared>>,
}

/// What hyper did since the driver last looked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes it took.
    pub(crate) taken: usize,
    /// The body is over: hung up, or finished and taken entirely.
    pub(crate) gone: bool,
}

/// The body ended although the driver did not finish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted;

struct Shared {
    queue: VecDeque<Bytes>,
    end: End,
    taken: usize,
    gone: bool,
    /// Waits for bytes.
    body: Option<Waker>,
    /// Waits for progress.
    driver: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Finished,
    Aborted,
}

/// Makes a body and its driver's end.
pub(crate) fn pipe() -> (FlvBody, FlvPipe) {
    let shared = Arc::new(Mutex::new(Shared {
        queue: VecDeque::new(),
        end: End::Open,
        taken: 0,
        gone: false,
        body: None,
        driver: None,
    }));
    (FlvBody { shared: Arc::clone(&shared) }, FlvPipe { shared })
}

impl FlvPipe {
    /// Hands bytes over.
    pub(crate) fn push(&self, bytes: Bytes) {
        let mut shared = lock(&self.shared);
        if !shared.gone && !bytes.is_empty() {
            shared.queue.push_back(bytes);
            shared.wake_body();
        }
    }

    /// Ends the body after all bytes.
    pub(crate) fn finish(&self) {
        let mut shared = lock(&self.shared);
        if shared.end == End::Open {
            shared.end = End::Finished;
            shared.wake_body();
        }
    }

    /// Returns what happened since it was last asked; `waker` hears of the next progress.
    pub(crate) fn progress(&self, waker: &Waker) -> Progress {
        let mut shared = lock(&self.shared);
        if !shared.driver.as_ref().is_some_and(|old| old.will_wake(waker)) {
            shared.driver = Some(waker.clone());
        }
        Progress { taken: std::mem::take(&mut shared.taken), gone: shared.gone }
    }
}

impl Drop for FlvPipe {
    /// Ends the body at once and visibly broken, unless it was finished.
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.driver = None;
        if shared.end == End::Open {
            shared.end = End::Aborted;
            shared.queue.clear();
            shared.wake_body();
        }
    }
}

impl Body for FlvBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let mut shared = lock(&self.shared);
        if let Some(bytes) = shared.take() {
            shared.taken += bytes.len();
            shared.wake_driver();
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match shared.end {
            End::Open => {
                shared.body = Some(cx.waker().clone());
                Poll::Pending
            }
            End::Finished => {
                shared.gone = true;
                shared.wake_driver();
                Poll::Ready(None)
            }
            End::Aborted => Poll::Ready(Some(Err(Aborted))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for FlvBody {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.gone = true;
        shared.queue.clear();
        shared.wake_driver();
    }
}

impl fmt::Debug for FlvBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = lock(&self.shared);
        f.debug_struct("FlvBody").field("queued", &shared.queue.len()).field("end", &shared.end).finish()
    }
}

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream was cut off")
    }
}

impl std::error::Error for Aborted {}

impl Shared {
    /// Takes the first bytes, small neighbours merged.
    fn take(&mut self) -> Option<Bytes> {
        let first = self.queue.pop_front()?;
        let mut fitting = 0;
        let mut len = first.len();
        for next in &self.queue {
            if len + next.len() > MERGE_BYTES_MAX {
                break;
            }
            len += next.len();
            fitting += 1;
        }
        if fitting == 0 {
            return Some(first);
        }
        let mut merged = BytesMut::with_capacity(len);
        merged.extend_from_slice(&first);
        for next in self.queue.drain(..fitting) {
            merged.extend_from_slice(&next);
        }
        Some(merged.freeze())
    }

    fn wake_body(&mut self) {
        if let Some(waker) = self.body.take() {
            waker.wake();
        }
    }

    fn wake_driver(&mut self) {
        if let Some(waker) = &self.driver {
            waker.wake_by_ref();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one poll of the body gives: `None` while it waits.
    fn poll(body: &mut FlvBody) -> Option<Option<Result<Bytes, Aborted>>> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(body).poll_frame(&mut cx) {
            Poll::Pending => None,
            Poll::Ready(frame) => {
                Some(frame.map(|frame| frame.map(|frame| frame.into_data().expect("no trailers"))))
            }
        }
    }

    fn progress(pipe: &FlvPipe) -> (usize, bool) {
        let Progress { taken, gone } = pipe.progress(Waker::noop());
        (taken, gone)
    }

    #[test]
    fn bytes_come_in_order_small_ones_together_and_credit_when_they_are_taken() {
        let (mut body, pipe) = pipe();
        assert_eq!(poll(&mut body), None);
        pipe.push(Bytes::from_static(b"FLV"));
        pipe.push(Bytes::from_static(b"tag"));
        let big = Bytes::from(vec![7; MERGE_BYTES_MAX]);
        pipe.push(big.clone());
        pipe.push(Bytes::from_static(b"end"));
        assert_eq!(progress(&pipe), (0, false));
        assert_eq!(poll(&mut body), Some(Some(Ok(Bytes::from_static(b"FLVtag")))));
        assert_eq!(progress(&pipe), (6, false));
        assert_eq!(poll(&mut body), Some(Some(Ok(big))));
        assert_eq!(poll(&mut body), Some(Some(Ok(Bytes::from_static(b"end")))));
        assert_eq!(progress(&pipe), (MERGE_BYTES_MAX + 3, false));
        assert_eq!(poll(&mut body), None);
    }

    #[test]
    fn finish_ends_after_all_bytes_and_says_so() {
        let (mut body, pipe) = pipe();
        pipe.push(Bytes::from_static(b"last"));
        pipe.finish();
        assert_eq!(progress(&pipe), (0, false));
        assert_eq!(poll(&mut body), Some(Some(Ok(Bytes::from_static(b"last")))));
        assert_eq!(poll(&mut body), Some(None));
        assert_eq!(progress(&pipe), (4, true));
    }

    #[test]
    fn a_finished_body_survives_its_driver() {
        let (mut body, pipe) = pipe();
        pipe.push(Bytes::from_static(b"last"));
        pipe.finish();
        drop(pipe);
        assert_eq!(poll(&mut body), Some(Some(Ok(Bytes::from_static(b"last")))));
        assert_eq!(poll(&mut body), Some(None));
    }

    #[test]
    fn abort_drops_what_waits_and_breaks_the_body() {
        let (mut body, pipe) = pipe();
        pipe.push(Bytes::from_static(b"late"));
        drop(pipe);
        assert_eq!(poll(&mut body), Some(Some(Err(Aborted))));
    }

    #[test]
    fn dropping_the_body_hangs_up() {
        let (body, pipe) = pipe();
        drop(body);
        assert_eq!(progress(&pipe), (0, true));
        pipe.push(Bytes::from_static(b"nobody"));
        assert!(lock(&pipe.shared).queue.is_empty());
    }
}
