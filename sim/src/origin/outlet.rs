//! Where a connection's bytes leave: at once, in pieces, held back, and up to a cut.

use std::collections::VecDeque;

use bytes::Bytes;
use proxy_core::time::{Duration, Instant};

use super::{OriginOutput, PeerConn};

/// Media waits while more than this is waiting to leave, in bytes: a socket's buffer is full one day.
pub const OUTLET_BYTES_MAX: usize = 1 << 20;

/// How bytes leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// As soon as they are there, what is there together.
    AtOnce,
    /// In pieces, each a write of its own.
    Pieces {
        /// Bytes of a piece, at least 1.
        len: usize,
        /// Time between pieces; zero sends all of them at once, still as writes of their own.
        every: Duration,
    },
    /// Held back for so long after the first byte, then together.
    Held {
        /// How long.
        time: Duration,
    },
}

/// How a connection ends at a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CutBy {
    /// FIN.
    Fin,
    /// RST.
    Reset,
    /// Nothing more is said or heard; the connection stays.
    Silence,
}

/// Where a cut is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutAt {
    /// Behind so many bytes of the connection, handshake and all. One that has said more already is cut at once.
    Connection(u64),
    /// So many bytes into the next message: 1 is in the middle of its header.
    Message(u64),
}

/// A connection's way out.
#[derive(Debug)]
pub(super) struct Outlet {
    /// What waits to leave. Writers append.
    pub(super) bytes: Vec<u8>,
    flow: Flow,
    /// Goes before `flow` until all is out: a slow handshake.
    slow: Option<(usize, Duration)>,
    /// When the next bytes may leave, if something waits for that.
    next_at: Option<Instant>,
    /// Bytes that have left.
    pub(super) left: u64,
    cut: Option<(u64, CutBy)>,
}

impl Outlet {
    pub(super) fn new(flow: Flow, cut: Option<(u64, CutBy)>) -> Self {
        Self { bytes: Vec::new(), flow, slow: None, next_at: None, left: 0, cut }
    }

    pub(super) fn set_flow(&mut self, flow: Flow) {
        self.flow = flow;
        self.next_at = None;
    }

    pub(super) fn go_slowly(&mut self, len: usize, every: Duration) {
        self.slow = Some((len, every));
    }

    pub(super) fn cut(&mut self, at: CutAt, by: CutBy) {
        let at = match at {
            CutAt::Connection(byte) => byte,
            CutAt::Message(byte) => self.left + self.bytes.len() as u64 + byte,
        };
        self.cut = Some((at, by));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() > OUTLET_BYTES_MAX
    }

    /// Returns when bytes may leave that have to wait.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next_at.filter(|_| !self.bytes.is_empty())
    }

    /// Lets out what may leave; returns how the connection ends if its cut is reached.
    pub(super) fn drain(
        &mut self,
        conn: PeerConn,
        now: Instant,
        outputs: &mut VecDeque<OriginOutput>,
    ) -> Option<CutBy> {
        let reached = self.cut.filter(|(at, _)| *at <= self.left + self.bytes.len() as u64);
        if let Some((at, _)) = reached {
            let keep = usize::try_from(at.saturating_sub(self.left)).unwrap_or(usize::MAX);
            self.bytes.truncate(keep);
        }
        let flow = self.slow.map_or(self.flow, |(len, every)| Flow::Pieces { len, every });
        match flow {
            Flow::AtOnce => self.let_out(usize::MAX, conn, outputs),
            Flow::Pieces { len, every: Duration::ZERO } => {
                let pieces = self.bytes.chunks(len.max(1));
                outputs.extend(pieces.map(|piece| transmit(conn, piece)));
                self.left += self.bytes.len() as u64;
                self.bytes.clear();
            }
            Flow::Pieces { len, every } => {
                while !self.bytes.is_empty() && *self.next_at.get_or_insert(now) <= now {
                    self.let_out(len.max(1), conn, outputs);
                    self.next_at = self.next_at.map(|at| at + every);
                }
                // A pause earns nothing: what comes after it does not leave in a burst.
                if self.bytes.is_empty() {
                    self.next_at = self.next_at.filter(|at| *at > now);
                }
            }
            Flow::Held { time } => {
                if !self.bytes.is_empty() && *self.next_at.get_or_insert(now + time) <= now {
                    self.let_out(usize::MAX, conn, outputs);
                    self.next_at = None;
                }
            }
        }
        if self.bytes.is_empty() && self.slow.take().is_some() {
            self.next_at = None;
        }
        let (_, by) = reached.filter(|_| self.bytes.is_empty())?;
        Some(by)
    }

    fn let_out(&mut self, len: usize, conn: PeerConn, outputs: &mut VecDeque<OriginOutput>) {
        let len = len.min(self.bytes.len());
        if len == 0 {
            return;
        }
        outputs.push_back(transmit(conn, &self.bytes[..len]));
        self.bytes.drain(..len);
        self.left += len as u64;
    }
}

/// Copies: the outlet's buffer stays, so that its next use costs no allocation.
fn transmit(conn: PeerConn, bytes: &[u8]) -> OriginOutput {
    OriginOutput::Transmit { conn, bytes: Bytes::copy_from_slice(bytes) }
}
