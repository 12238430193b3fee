//! When the next attempt begins. Integers only; the dice are handed in.

use crate::{
    config::PullConfig,
    io::BackoffLaw,
    time::{Duration, Instant},
};

/// Jitter reaches from this share of the delay, in thousandths, to all of it.
const JITTER_MIN: u32 = 800;

/// Counts consecutive failures and turns them into waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    law: BackoffLaw,
    retry_count: i32,
    failures: u32,
}

impl Backoff {
    /// Makes a counter at zero. `retry_count` below zero never gives up.
    pub const fn new(law: BackoffLaw, retry_count: i32) -> Self {
        Self { law, retry_count, failures: 0 }
    }

    /// Returns the consecutive failures so far.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns the law in force.
    pub const fn law(&self) -> BackoffLaw {
        self.law
    }

    /// Changes law and limit, keeping the count.
    pub const fn rule(&mut self, law: BackoffLaw, retry_count: i32) {
        self.law = law;
        self.retry_count = retry_count;
    }

    /// Counts a failure; returns when the next attempt begins, `None` if the retries are used up.
    ///
    /// `started` is when the failed attempt began, `cap` the longest delay of law `Repull` at this moment.
    pub fn fail(
        &mut self,
        config: &PullConfig,
        started: Instant,
        cap: Duration,
        dice: u64,
        now: Instant,
    ) -> Option<Instant> {
        let before = self.failures;
        if let Ok(limit) = u32::try_from(self.retry_count)
            && before >= limit
        {
            return None;
        }
        self.failures = before.saturating_add(1);
        Some(match self.law {
            BackoffLaw::Repull => (started + self.delay(config, before, cap, dice)).max(now),
            BackoffLaw::ZlMediaKit => now + Duration::from_secs((3 * u64::from(before)).clamp(2, 60)),
        })
    }

    /// Forgets all failures.
    pub const fn forgive(&mut self) {
        self.failures = 0;
    }

    fn delay(&self, config: &PullConfig, before: u32, cap: Duration, dice: u64) -> Duration {
        let doubled = config.backoff_min.saturating_mul(1_u32.checked_shl(before.min(20)).unwrap_or(1));
        let share = JITTER_MIN + u32::try_from(dice % u64::from(1001 - JITTER_MIN)).unwrap_or(0);
        doubled.min(cap) / 1000 * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(law: BackoffLaw, retry_count: i32, dice: u64, n: usize) -> alloc::vec::Vec<Option<u64>> {
        let config = PullConfig::default();
        let mut backoff = Backoff::new(law, retry_count);
        (0..n)
            .map(|_| {
                backoff
                    .fail(&config, Instant::ZERO, config.backoff_max, dice, Instant::ZERO)
                    .map(Instant::as_millis)
            })
            .collect()
    }

    #[test]
    fn zlmediakits_law_is_2_3_6_9_up_to_60_seconds() {
        let waits = waits(BackoffLaw::ZlMediaKit, -1, 77, 23);
        let seconds: alloc::vec::Vec<u64> =
            waits.into_iter().map(|wait| wait.expect("for ever") / 1000).collect();
        assert_eq!(
            seconds,
            [2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 45, 48, 51, 54, 57, 60, 60, 60]
        );
    }

    #[test]
    fn our_law_doubles_to_its_cap_with_jitter_below() {
        assert_eq!(waits(BackoffLaw::Repull, -1, 200, 5), [100, 200, 400, 800, 1000].map(Some));
        assert_eq!(waits(BackoffLaw::Repull, -1, 0, 5), [80, 160, 320, 640, 800].map(Some));
    }

    #[test]
    fn a_finite_count_gives_up_after_that_many_retries() {
        assert_eq!(waits(BackoffLaw::ZlMediaKit, 2, 0, 3), [Some(2000), Some(3000), None]);
        assert_eq!(waits(BackoffLaw::Repull, 0, 0, 1), [None]);
    }

    #[test]
    fn a_long_attempt_is_followed_at_once() {
        let config = PullConfig::default();
        let now = Instant::from_millis(60_000);
        let next =
            Backoff::new(BackoffLaw::Repull, -1).fail(&config, Instant::ZERO, config.backoff_max, 0, now);
        assert_eq!(next, Some(now));
    }
}
