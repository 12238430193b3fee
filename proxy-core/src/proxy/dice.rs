//! The only dice in the house: SplitMix64 (Steele, Lea, Flood 2014), small, seedable and good enough for jitter,
//! shuffles and handshake filler. Nothing here is a secret.

/// A stream of numbers that a seed decides.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Puts `items` into a random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.roll() % (last as u64 + 1)).unwrap_or(0);
            items.swap(last, other);
        }
    }
}

/// Fills `out` with numbers that `seed` decides.
pub(crate) fn fill(out: &mut [u8], seed: u64) {
    let mut dice = Dice::new(seed);
    for chunk in out.chunks_mut(8) {
        chunk.copy_from_slice(&dice.roll().to_le_bytes()[..chunk.len()]);
    }
}
