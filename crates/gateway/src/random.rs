//! The pseudo-random numbers of the state machines. They are an input, as time is: a machine that gets the same seed, times
//! and inputs makes the same decisions, so a failed simulation can be replayed.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014). It spreads timers and
/// must not be used for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Creates a generator. Equal seeds give equal numbers.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a second generator whose numbers are independent of this one's.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// Returns a number from 0 (inclusive) to 1 (exclusive).
    pub(crate) fn fraction(&mut self) -> f64 {
        // 53 bits fit into an f64 exactly.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a time from `least` × `interval` to `interval`, so that timers that were set together drift apart.
    pub(crate) fn jitter(&mut self, interval: Duration, least: f64) -> Duration {
        interval.mul_f64(least + (1.0 - least) * self.fraction())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_match_the_reference_implementation() {
        // The first outputs of Vigna's splitmix64.c for the seed 1234567.
        let mut random = Random::new(1_234_567);
        let numbers = [random.next(), random.next(), random.next()];
        assert_eq!(numbers, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn jitter_stays_in_its_range() {
        let mut random = Random::new(7);
        let second = Duration::from_secs(1);
        assert!((0..1000).map(|_| random.jitter(second, 0.8)).all(|time| (second * 8 / 10..=second).contains(&time)));
    }
}
