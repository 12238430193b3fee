//! Connections that have had our FIN: what their peers still send is read and thrown away for a while.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, ReadBuf};

use super::{Driver, READS_PER_TURN, Slot, Work};
use crate::env::Env;

/// After our FIN, how long the peer's last bytes are read and thrown away: a socket closed with unread bytes sends a
/// reset, which destroys what the peer has not read yet.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections in that state; the oldest has to go.
const FAREWELLS_MAX: usize = 4096;

impl<E: Env> Driver<E> {
    /// Waits for the peer's end of a connection that has had our FIN.
    pub(super) fn begin_farewell(&mut self, stream: E::Stream) {
        if self.farewells.len() >= FAREWELLS_MAX {
            self.end_farewell();
        }
        self.farewells_made += 1;
        let number = self.farewells_made;
        let index = self.install(Work::Farewell { stream, number });
        let until = tokio::time::Instant::now() + FAREWELL_TIMEOUT;
        self.farewells.push_back((until, index, number));
    }

    /// Reads and throws away.
    pub(super) fn visit_farewell(&mut self, index: usize) {
        for _ in 0..READS_PER_TURN {
            let Slot { work: Work::Farewell { stream, .. }, waker, .. } = &mut self.slots[index] else {
                return;
            };
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match Pin::new(stream).poll_read(&mut Context::from_waker(waker), &mut buffer) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(Ok(()) | Err(_)) => {
                    drop(self.release(index));
                    return;
                }
            }
        }
        self.again.push(index);
    }

    /// Ends those whose time is up.
    pub(super) fn end_farewells(&mut self) {
        // Those that ended by themselves leave without being waited for.
        while let Some(&(until, index, number)) = self.farewells.front() {
            if self.is_farewell(index, number) && until > tokio::time::Instant::now() {
                return;
            }
            self.end_farewell();
        }
    }

    fn end_farewell(&mut self) {
        let Some((_, index, number)) = self.farewells.pop_front() else { return };
        if self.is_farewell(index, number) {
            drop(self.release(index));
        }
    }

    fn is_farewell(&self, index: usize, number: u64) -> bool {
        matches!(&self.slots[index].work, Work::Farewell { number: owner, .. } if *owner == number)
    }
}
