//! Decides how long a batch of commands waits for further calls. Pure.

use std::time::Duration;

/// Length of the window over which calls are counted. A larger value reacts later to a change of load.
const WINDOW: Duration = Duration::from_millis(100);
/// Number of calls that must be expected within the maximum delay for a batch to wait at all. Fewer are not worth the
/// wait.
const MIN_EXPECTED_CALLS: f64 = 2.0;
/// Number of calls that a batch waits for. A larger value saves little processor time, because the work per batch is then
/// small against the work per call.
const TARGET_CALLS: f64 = 16.0;

/// The delay of a batch, as a function of the rate of calls in the last 100 ms to 200 ms.
///
/// The delay is zero while calls are few, grows with their rate up to the maximum, and falls again when so many calls arrive
/// that a shorter delay gathers enough of them. The rate of calls does not depend on how they are batched, so the delay does
/// not oscillate.
#[derive(Debug)]
pub(super) struct BatchPolicy {
    delay_max: Duration,
    /// Times are given as the time since some fixed moment.
    window_start: Duration,
    /// Calls in the window that started at `window_start`.
    current: u32,
    /// Calls in the window before it.
    previous: u32,
}

impl BatchPolicy {
    /// A policy whose delays are at most `delay_max`.
    pub(super) fn new(delay_max: Duration) -> Self {
        Self { delay_max, window_start: Duration::ZERO, current: 0, previous: 0 }
    }

    /// Records that `calls` were sent in a batch at `now`.
    pub(super) fn sent(&mut self, calls: usize, now: Duration) {
        self.advance(now);
        self.current = self.current.saturating_add(u32::try_from(calls).unwrap_or(u32::MAX));
    }

    /// How long a batch whose first call arrived at `now` waits for others.
    pub(super) fn delay(&mut self, now: Duration) -> Duration {
        self.advance(now);
        let expected = self.calls_per_second(now) * self.delay_max.as_secs_f64();
        if expected < MIN_EXPECTED_CALLS {
            return Duration::ZERO;
        }
        let rising = (expected - MIN_EXPECTED_CALLS) / MIN_EXPECTED_CALLS;
        self.delay_max.mul_f64(rising.min(TARGET_CALLS / expected).min(1.0))
    }

    /// The rate over the current window and as much of the previous one as makes up one window.
    fn calls_per_second(&self, now: Duration) -> f64 {
        let elapsed = now.saturating_sub(self.window_start).as_secs_f64() / WINDOW.as_secs_f64();
        let calls = f64::from(self.current) + f64::from(self.previous) * (1.0 - elapsed).max(0.0);
        calls / WINDOW.as_secs_f64()
    }

    fn advance(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.window_start);
        if elapsed < WINDOW {
            return;
        }
        self.previous = if elapsed < 2 * WINDOW { self.current } else { 0 };
        self.current = 0;
        self.window_start = if elapsed < 2 * WINDOW { self.window_start + WINDOW } else { now };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DELAY_MAX: Duration = Duration::from_millis(4);

    /// How long each call waits whose arrivals are `gaps` apart, if a batch is sent when its delay is over.
    fn simulate(gaps: impl IntoIterator<Item = Duration>) -> Vec<Duration> {
        let mut now = Duration::from_secs(1);
        let mut policy = BatchPolicy::new(DELAY_MAX);
        let (mut waits, mut batch, mut due) = (Vec::new(), Vec::<Duration>::new(), now);
        for gap in gaps {
            now += gap;
            if due <= now && !batch.is_empty() {
                policy.sent(batch.len(), due);
                waits.extend(batch.drain(..).map(|arrived| due - arrived));
            }
            if batch.is_empty() {
                due = now + policy.delay(now);
            }
            batch.push(now);
        }
        waits.extend(batch.into_iter().map(|arrived| due - arrived));
        waits
    }

    #[test]
    fn calls_do_not_wait_at_low_load() {
        let gap = DELAY_MAX.div_f64(MIN_EXPECTED_CALLS) + Duration::from_micros(100);
        assert_eq!(simulate(vec![gap; 1000]), vec![Duration::ZERO; 1000]);
    }

    #[test]
    fn calls_wait_under_load_and_no_longer_after_a_pause() {
        let gap = DELAY_MAX / 8;
        let waits = simulate(vec![gap; 2000]);
        let waiting = waits[1000..].iter().filter(|wait| !wait.is_zero()).count();
        assert!(waiting > 700, "{waiting} of 1000 calls waited");
        let pause = Duration::from_millis(200);
        let after_pause = simulate(vec![gap; 2000].into_iter().chain([pause, gap]));
        assert_eq!(after_pause[2000..], [Duration::ZERO; 2]);
    }

    #[test]
    fn calls_wait_less_when_more_of_them_arrive() {
        let longest = |gap: Duration| simulate(vec![gap; 20_000])[10_000..].iter().copied().max();
        assert!(longest(DELAY_MAX / 200) < longest(DELAY_MAX / 10));
    }

    proptest! {
        #[test]
        fn no_call_waits_longer_than_the_maximum(gaps in prop::collection::vec(0_u64..8000, 1..500)) {
            let waits = simulate(gaps.into_iter().map(Duration::from_micros));
            prop_assert!(waits.into_iter().all(|wait| wait <= DELAY_MAX));
        }

        /// Up to two calls per 100 ms, however close to each other, are too few to wait.
        #[test]
        fn isolated_bursts_do_not_wait(gaps in prop::collection::vec((0_u64..1000, 200_000_u64..400_000), 1..50)) {
            let gaps = gaps.into_iter().flat_map(|(short, long)| [long, short]).map(Duration::from_micros);
            prop_assert!(simulate(gaps).into_iter().all(|wait| wait.is_zero()));
        }

        /// Arrivals at random around an average of two per maximum delay or fewer: almost no call waits.
        #[test]
        fn random_arrivals_at_low_load_rarely_wait(seed in prop::collection::vec(0.001_f64..1.0, 2000)) {
            let gap = DELAY_MAX.mul_f64(1.0);
            let waits = simulate(seed.into_iter().map(|uniform| gap.mul_f64(-uniform.ln())));
            let waited: Duration = waits.iter().sum();
            prop_assert!(waited < 2000 * DELAY_MAX / 50, "{waited:?} in all");
        }
    }
}
