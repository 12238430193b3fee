//! What an origin remembers of its clients.

use std::collections::VecDeque;

use proxy_core::time::Instant;

use super::PeerConn;

/// Complaints kept.
pub const COMPLAINTS_MAX: usize = 64;

/// Plays kept in the ledger.
pub const PLAYS_MAX: usize = 4096;

/// An accepted play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlayRecord {
    /// Counts from 1 over the origin's life, behind [`super::Behaviour::numbers_from`], as in
    /// [`crate::raw::media::Stamp::play`].
    pub number: u32,
    /// On which connection.
    pub conn: PeerConn,
    /// `app/stream`.
    pub name: String,
    /// When.
    pub at: Instant,
    /// Frames sent so far.
    pub frames: u64,
}

/// What clients did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open.
    pub open: usize,
    /// The most that were open at a time.
    pub open_max: usize,
    /// Plays accepted in all.
    pub plays_total: u32,
    /// Plays that other origins of the same world have accepted so far: the next one is numbered behind them.
    pub(super) plays_elsewhere: u32,
    /// The last [`PLAYS_MAX`] plays accepted, in order.
    pub plays: VecDeque<PlayRecord>,
    /// The most plays of one stream that were under way at a time.
    pub plays_at_once_max: usize,
    /// Pings answered.
    pub pings: u64,
    /// What a well-behaved client does not do; the first [`COMPLAINTS_MAX`].
    pub complaints: Vec<String>,
}

impl Ledger {
    pub(super) fn complain(&mut self, conn: PeerConn, what: &str) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(format!("connection {}: {what}", conn.0));
        }
    }

    /// Writes a play down; returns its number, and its turn here, counted from 1.
    pub(super) fn note_play(
        &mut self,
        numbers_from: u32,
        conn: PeerConn,
        name: &str,
        at: Instant,
    ) -> (u32, u32) {
        self.plays_total += 1;
        if self.plays.len() >= PLAYS_MAX {
            self.plays.pop_front();
        }
        let number = numbers_from + self.plays_elsewhere + self.plays_total;
        self.plays.push_back(PlayRecord { number, conn, name: name.to_owned(), at, frames: 0 });
        (number, self.plays_total)
    }

    /// Notes how many frames the play of this turn has sent.
    pub(super) fn note_frames(&mut self, turn: u32, frames: u64) {
        // Turns have no gaps: the place follows from the number.
        let behind = self.plays_total.saturating_sub(turn) as usize;
        let record = self.plays.len().checked_sub(behind + 1).and_then(|at| self.plays.get_mut(at));
        if let Some(record) = record {
            record.frames = frames;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plays_are_numbered_behind_those_of_other_origins() {
        let mut ledger = Ledger::default();
        let mut check = |elsewhere| {
            ledger.plays_elsewhere = elsewhere;
            ledger.note_play(0, PeerConn(1), "live/a", Instant::ZERO)
        };
        assert_eq!(check(0), (1, 1));
        assert_eq!(check(3), (5, 2));
    }
}
