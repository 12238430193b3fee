//! Model peers on real sockets: the room that owns a clock, and nothing else does.
//!
//! | carrier | carries |
//! |---|---|
//! | [`RealOrigin`] | a [`crate::origin::ModelOrigin`] on a listener, with the faults a process or a cable can have |
//! | [`RealPlayer`] | a [`crate::player::ModelPlayer`] on a connection |
//! | [`RealProxy`] | the proxy itself, by its own production driver |
//!
//! Carriers stay on the runtime they were started on and end when their handle is dropped.

mod origin;
mod player;
mod proxy;

use proxy_core::time::Instant;

pub use self::{
    origin::{OriginStatus, RealOrigin},
    player::{PlayerView, RealPlayer},
    proxy::{RealProxy, SECRET, key},
};

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Turns the runtime's clock into numbers.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: tokio::time::Instant,
}

impl Clock {
    /// Makes a clock that reads zero.
    pub fn start() -> Self {
        Self { zero: tokio::time::Instant::now() }
    }

    /// Makes a clock whose zero is so long after 1970, so that several processes of one machine count alike. Until then it
    /// reads zero.
    #[expect(clippy::disallowed_methods, reason = "clocks of several processes are laid side by side")]
    pub fn since_1970(zero: std::time::Duration) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        let (since, now) = (since.unwrap_or_default(), tokio::time::Instant::now());
        let ahead = zero.saturating_sub(since);
        Self { zero: now.checked_sub(since.saturating_sub(zero)).unwrap_or(now) + ahead }
    }

    /// Returns the time.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Returns when the runtime's clock reads `at` first; zero it reads already.
    pub fn at(&self, at: Instant) -> tokio::time::Instant {
        match at {
            Instant::ZERO => self.zero.min(tokio::time::Instant::now()),
            at => self.zero + std::time::Duration::from_nanos(at.as_nanos()),
        }
    }

    /// Returns how long it will read zero yet.
    pub fn until_zero(&self) -> std::time::Duration {
        self.zero.saturating_duration_since(tokio::time::Instant::now())
    }
}
