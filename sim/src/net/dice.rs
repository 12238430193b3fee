//! Dice: numbers from one seed, a die of its own for every purpose and place.
//!
//! Each pair of hosts, each host and each table rolls dice of its own, so that removing one fault does not shift what
//! the others do.

use proxy_core::time::Duration;

/// What a die is for. The number is part of every run: never renumber, only add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// How long packets take.
    Latency = 1,
    /// Which packets are lost.
    Loss = 2,
    /// Which packets arrive twice.
    Duplicate = 3,
    /// Which packets are overtaken.
    Reorder = 4,
    /// Where ephemeral ports start.
    Ports = 5,
    /// Initial sequence numbers.
    Sequence = 6,
    /// How long a neighbour is searched for.
    Neighbour = 7,
    /// Ports that masquerading picks.
    Masquerade = 8,
    /// The order of several addresses in an answer.
    Resolver = 9,
}

/// A generator of numbers (SplitMix64): one word of state, good enough spread, the same on every machine.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Makes the die that `seed` gives to one purpose at one place.
    pub fn new(seed: u64, purpose: Purpose, place: u64) -> Self {
        let mut dice = Self(seed ^ (purpose as u64).wrapping_mul(0xA24B_AED4_963E_E407));
        dice.0 = dice.roll() ^ place.wrapping_mul(0x9FB2_1C65_1E98_DF25);
        dice.roll();
        dice
    }

    /// Returns the next number.
    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`, zero if `end` is zero.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.roll()) * u128::from(end);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Says yes in `per_million` of a million cases; a certain answer costs no roll.
    pub fn chance(&mut self, per_million: u32) -> bool {
        match per_million {
            0 => false,
            1_000_000.. => true,
            _ => self.below(1_000_000) < u64::from(per_million),
        }
    }

    /// Returns a time from `min` to `max`, both included, `min` if `max` is smaller.
    pub fn between(&mut self, min: Duration, max: Duration) -> Duration {
        let spread = u64::try_from(max.saturating_sub(min).as_nanos()).unwrap_or(u64::MAX - 1);
        if spread == 0 {
            return min;
        }
        min + Duration::from_nanos(self.below(spread + 1))
    }
}
