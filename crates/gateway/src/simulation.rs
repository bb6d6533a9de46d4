//! Runs property tests of simulated systems so that a failure can be replayed.

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngSeed, TestCaseError, TestRunner},
};

/// Runs `test` with `cases` random values of `strategy`.
///
/// # Panics
/// If a case fails, with the smallest failing value and the seed. With `PROPTEST_RNG_SEED` set to that seed, which proptest
/// reads, the next run generates the same values.
pub(crate) fn simulate<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let mut config = Config { cases, failure_persistence: None, ..Config::default() };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => rand::random(),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    if let Err(failure) = TestRunner::new(config).run(strategy, test) {
        panic!("{failure}\nreplay with PROPTEST_RNG_SEED={seed}");
    }
}
