//! The randomness of back-off delays.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Source of the random factors of back-off delays. An input of the state machine, so that every run can be replayed.
#[derive(Debug)]
pub struct JitterSource(Source);

#[derive(Debug)]
enum Source {
    Seeded(Box<StdRng>),
    Constant(f64),
}

impl JitterSource {
    /// Pseudo-random factors. The same seed yields the same factors.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(Source::Seeded(Box::new(StdRng::seed_from_u64(seed))))
    }

    /// The same `factor` (0 to 1) for every delay. Meant for tests that expect certain delays.
    #[must_use]
    pub fn constant(factor: f64) -> Self {
        Self(Source::Constant(factor))
    }

    /// The next factor: at least 0, below 1 if seeded.
    pub(super) fn next_factor(&mut self) -> f64 {
        match &mut self.0 {
            Source::Seeded(rng) => rng.random(),
            Source::Constant(factor) => *factor,
        }
    }
}
