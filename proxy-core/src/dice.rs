//! The only dice in the house: SplitMix64 (Steele, Lea, Flood 2014), small, seedable and good enough for jitter,
//! shuffles and handshake filler. Nothing here is a secret.
//!
//! Each purpose has dice of its own, so that what one stream rolls does not depend on what happens to another, nor its
//! waits on how many connections it had: a run with one fault less is the same run but for that fault.

use crate::url::StreamKey;

/// The dice of one pull.
#[derive(Debug)]
pub struct PullDice {
    waits: Dice,
    handshakes: Dice,
}

impl PullDice {
    /// Makes them: the proxy's seed and the key decide every roll.
    pub fn new(seed: u64, key: &StreamKey) -> Self {
        // FNV-1a, with what no part of a key may hold between the parts.
        let hash =
            [&key.vhost, &key.app, &key.stream].into_iter().fold(0xCBF2_9CE4_8422_2325, |hash, part| {
                part.bytes().chain([0]).fold(hash, |hash: u64, byte| {
                    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
                })
            });
        let mut dice = Dice::new(seed ^ hash);
        Self { waits: Dice::new(dice.roll()), handshakes: Dice::new(dice.roll()) }
    }

    /// Rolls for the wait after a failure.
    pub const fn wait(&mut self) -> u64 {
        self.waits.roll()
    }

    /// Fills a handshake.
    pub fn handshake(&mut self, out: &mut [u8]) {
        fill(out, self.handshakes.roll());
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(seed: u64, stream: &str, handshakes: usize) -> [u64; 3] {
        let key = StreamKey::new("v", "live", stream).expect("a key");
        let mut dice = PullDice::new(seed, &key);
        (0..handshakes).for_each(|_| dice.handshake(&mut [0; 16]));
        [(); 3].map(|()| dice.wait())
    }

    #[test]
    fn seed_and_key_decide_the_waits_and_handshakes_do_not() {
        assert_eq!(waits(1, "a", 0), waits(1, "a", 5));
        assert_ne!(waits(1, "a", 0), waits(2, "a", 0));
        assert_ne!(waits(1, "a", 0), waits(1, "b", 0));
    }
}
