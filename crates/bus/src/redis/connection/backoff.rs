//! Time to wait before the next attempt to connect.

use std::time::Duration;

/// Exponential back-off with full jitter: the wait is a random time below a bound that doubles with every failure, so
/// gateways that lost the same Redis do not reconnect at the same moment.
#[derive(Debug, Default)]
pub(in super::super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Bound of the first wait.
    const FIRST: Duration = Duration::from_millis(50);
    /// Largest bound. One second is short: one attempt per second costs Redis nothing, and the gateway delivers nothing until
    /// it is connected.
    const MAX: Duration = Duration::from_secs(1);

    /// The wait after one more failure. `random` is a uniform random number from 0 to 1.
    pub(in super::super) fn next_wait(&mut self, random: f64) -> Duration {
        let bound = Self::FIRST.saturating_mul(1 << self.failures.min(10)).min(Self::MAX);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(random.clamp(0.0, 1.0))
    }

    /// An attempt succeeded: the next wait is short again.
    pub(in super::super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_doubles_up_to_one_second_and_is_short_after_a_success() {
        let mut backoff = Backoff::default();
        let bounds: Vec<_> = (0..40).map(|_| backoff.next_wait(1.0).as_millis()).collect();
        assert_eq!(bounds[..6], [50, 100, 200, 400, 800, 1000]);
        assert!(bounds[6..].iter().all(|&bound| bound == 1000));
        backoff.reset();
        assert_eq!(backoff.next_wait(0.5).as_millis(), 25);
    }
}
