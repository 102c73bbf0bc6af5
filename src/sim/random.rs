//! The simulator's random numbers: one small generator, so that a run is repeated exactly by its seed.
//!
//! Not for secrets. The algorithm is `SplitMix64`, which is short enough to be read and good enough for identifiers,
//! jitter and choices.

use std::time::Duration;

/// A seeded generator of random numbers; equal seeds give equal sequences.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that starts at `seed`; any seed is as good as another.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number from 0 up to but not including `limit`; 0 when `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(limit);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// An index into something of `length` elements; 0 when it has none.
    pub fn index(&mut self, length: usize) -> usize {
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(limit)).unwrap_or(0)
    }

    /// A fraction from 0 up to but not including 1.
    pub fn fraction(&mut self) -> f64 {
        unit(self.bits())
    }

    /// True with the given probability; never for 0 or less, always for 1 or more.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// A duration between the two, both included, in whole milliseconds above the lower.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = u64::try_from(high.saturating_sub(low).as_millis()).unwrap_or(u64::MAX);
        low.saturating_add(Duration::from_millis(self.below(span.saturating_add(1))))
    }

    /// A text of `length` letters drawn from `alphabet`; empty when the alphabet is.
    pub fn text(&mut self, alphabet: &str, length: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        (0..length)
            .filter_map(|_| letters.get(self.index(letters.len())))
            .collect()
    }
}

/// One well mixed word from another; the finishing step of `SplitMix64`, also used as a hash.
pub(super) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The upper 53 bits as a fraction from 0 up to but not including 1.
pub(super) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// A hash of a text that is the same in every run, unlike the standard library's.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        mix(hash ^ u64::from(byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_sequences() {
        let mut one = Random::new(7);
        let mut other = Random::new(7);
        let sequence: Vec<u64> = (0..5).map(|_| one.bits()).collect();
        assert_eq!(sequence, (0..5).map(|_| other.bits()).collect::<Vec<_>>());
        assert_ne!(sequence[0], Random::new(8).bits());
    }

    #[test]
    fn numbers_stay_inside_their_bounds() {
        let mut random = Random::new(1);
        let (low, high) = (Duration::from_secs(6), Duration::from_secs(9));
        for _ in 0..1_000 {
            assert!(random.below(3) < 3);
            assert!((0.0..1.0).contains(&random.fraction()));
            assert!((low..=high).contains(&random.between(low, high)));
        }
        assert_eq!(random.below(0), 0);
        assert_eq!(random.between(high, low), high);
        assert!(!random.chance(0.0));
        assert!(random.chance(1.0));
        assert_eq!(random.text("", 3), "");
        assert_eq!(random.text("a", 3), "aaa");
    }
}
