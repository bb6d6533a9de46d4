//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// Full jitter: a random time below a bound that doubles with every failure, so that gateways which lost one Redis do
/// not come back in step.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    /// Small: a gateway is back within moments of its Redis, and one attempt a second costs Redis nothing.
    const MOST: Duration = Duration::from_secs(1);

    /// The wait after one more failure; `random` is from 0 to 1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let bound = Self::FIRST.saturating_mul(1 << self.failures.min(10)).min(Self::MOST);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(random.clamp(0.0, 1.0))
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_second_and_starts_over() {
        let mut backoff = Backoff::default();
        let bounds: Vec<_> = (0..40).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(bounds[..6], [50, 100, 200, 400, 800, 1000]);
        assert!(bounds[6..].iter().all(|&bound| bound == 1000));
        backoff.reset();
        assert_eq!(backoff.next(0.5).as_millis(), 25);
    }
}
