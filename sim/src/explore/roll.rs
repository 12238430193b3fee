//! What a generator asks dice for.

use proxy_core::time::Duration;

use crate::dice::Dice;

/// A millisecond, in nanoseconds.
pub(super) const MILLI: u64 = 1_000_000;

/// Dice that choose.
pub(super) trait Roll {
    /// Returns one of several.
    fn one<T: Clone>(&mut self, of: &[T]) -> T;

    /// Returns whether something happens that happens so often in a hundred.
    fn chance(&mut self, percent: u32) -> bool;

    /// Returns a number, both ends included.
    fn between(&mut self, min: u64, max: u64) -> u64;

    /// Returns whole milliseconds, both ends included.
    fn millis(&mut self, min: u64, max: u64) -> Duration;

    /// Returns whole milliseconds, small ones as likely as large ones.
    fn wide_millis(&mut self, min: u64, max: u64) -> Duration;
}

impl Roll for Dice {
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        let at = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        of[at].clone()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.chance_ppm(percent * 10_000)
    }

    fn between(&mut self, min: u64, max: u64) -> u64 {
        min + self.below(max.saturating_sub(min) + 1)
    }

    fn millis(&mut self, min: u64, max: u64) -> Duration {
        Duration::from_millis(self.between(min, max))
    }

    fn wide_millis(&mut self, min: u64, max: u64) -> Duration {
        let (low, high) = (min.max(1), max.max(1));
        // From each doubling as often.
        let doublings = u64::from(high.ilog2() - low.ilog2()) + 1;
        let from = (low << self.below(doublings)).min(high);
        self.millis(from, (from * 2).min(max))
    }
}
