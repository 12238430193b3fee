//! The tap: what every packet went through, for traces and packet captures. Without one it costs nothing.

use std::collections::VecDeque;

use proxy_core::time::Instant;

use super::router::{DropReason, HostId};

/// What happened to a packet at a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The host sent it.
    Sent,
    /// The host received it.
    Delivered,
    /// It ended here.
    Dropped(DropReason),
    /// NAT changed it here; these are the bytes that go on.
    Rewritten,
}

/// A packet at a place and a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapRecord {
    /// When it was known. A packet that will be lost on its way is told when it is sent.
    pub at: Instant,
    /// Where.
    pub host: HostId,
    /// What happened to it.
    pub seen: Seen,
    /// The packet. Its checksums are not computed.
    pub packet: Vec<u8>,
}

/// Records that wait to be taken.
#[derive(Debug, Default)]
pub(crate) struct Tap(Option<VecDeque<TapRecord>>);

impl Tap {
    pub(crate) fn open(&mut self) {
        self.0.get_or_insert_default();
    }

    pub(crate) fn close(&mut self) {
        self.0 = None;
    }

    pub(crate) fn note(&mut self, at: Instant, host: HostId, seen: Seen, packet: &[u8]) {
        if let Some(records) = &mut self.0 {
            records.push_back(TapRecord { at, host, seen, packet: packet.to_vec() });
        }
    }

    pub(crate) fn poll(&mut self) -> Option<TapRecord> {
        self.0.as_mut()?.pop_front()
    }
}
