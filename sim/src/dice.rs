//! Dice, split by purpose: removing one fault must not shift what the others roll.

/// A stream of numbers that a seed and a purpose decide: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Makes the dice of one purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut state = seed ^ 0x6A09_E667_F3BC_C909;
        for byte in purpose.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        Self(mix(state))
    }

    /// Makes the dice of one of several alike.
    pub fn nth(seed: u64, purpose: &str, n: u64) -> Self {
        Self(mix(Self::new(seed, purpose).0 ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    /// Returns the seed of a proxy's own dice, the same on every plane: `place` counts proxies, `life` its processes.
    /// Never 0, which a configuration takes for none.
    pub fn seed_of_proxy(seed: u64, place: usize, life: u64) -> u32 {
        Self::nth(seed, "proxy", life << 16 | place as u64).roll() as u32 | 1
    }

    /// Returns the next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Returns a number from `0` to `end - 1`; 0 if there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.roll() % end }
    }

    /// Returns whether something that happens so many times in a million happens. Rolls even where it never does, so
    /// that a rate can be changed without shifting what comes after.
    pub fn chance_ppm(&mut self, ppm: u32) -> bool {
        self.roll() % 1_000_000 < u64::from(ppm)
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_do_not_share_numbers() {
        let first = |purpose| Dice::new(1, purpose).roll();
        assert_ne!(first("loss"), first("latency"));
        assert_ne!(Dice::nth(1, "link", 0).roll(), Dice::nth(1, "link", 1).roll());
        assert_eq!(first("loss"), first("loss"));
        assert_ne!(Dice::new(2, "loss").roll(), first("loss"));
    }
}
