//! The generic cell rate algorithm (ITU-T I.371, Annex A), for one key and for a table of keys. Pure: the caller passes
//! the time.
//!
//! `governor` implements the same algorithm. It is not used because the limits here need two things that it does not
//! offer: a refused key can be given a longer wait than the rate asks for (see [`Rate::refuse_for`]), and a state can
//! live inside another object without a table. Measured with 100,000 keys of 8 bytes (governor 0.10): 22 bytes per key,
//! as here, and five more crates.

use std::{collections::HashMap, hash::Hash, num::NonZeroU32, time::Duration};

/// Entries below which a [`RateTable`] is not swept.
const MIN_SWEEP_ENTRIES: usize = 1024;

/// A rate with a burst. It needs one number of state per key and no timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Time between two arrivals at the rate.
    interval: Duration,
    /// Maximum time by which an arrival may be ahead of the rate: (burst - 1) intervals.
    tolerance: Duration,
}

/// State of one key: the theoretical arrival time of its next arrival, in nanoseconds since the caller's time 0. 584
/// years fit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RateState(u64);

impl RateState {
    fn set(&mut self, time: Duration) {
        self.0 = time.as_nanos().try_into().unwrap_or(u64::MAX);
    }

    fn time(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// Returns whether the whole burst is available at `now`.
    pub(crate) fn is_idle(self, now: Duration) -> bool {
        self.time() <= now
    }
}

impl Rate {
    /// Allows `count` arrivals per `period`, and `burst` of them at once after a pause.
    pub(crate) fn new(count: NonZeroU32, period: Duration, burst: u32) -> Self {
        let interval = period / count.get();
        Self { interval, tolerance: interval * burst.saturating_sub(1) }
    }

    /// Returns the time between two arrivals at the rate.
    pub(crate) fn interval(self) -> Duration {
        self.interval
    }

    /// Returns how far ahead of the rate an arrival may be.
    pub(crate) fn tolerance(self) -> Duration {
        self.tolerance
    }

    /// Counts one arrival at `now`.
    ///
    /// # Errors
    /// Returns the time until an arrival is allowed. A refused arrival does not count.
    pub(crate) fn admit(self, state: &mut RateState, now: Duration) -> Result<(), Duration> {
        let due = state.time().max(now);
        let wait = due.saturating_sub(now + self.tolerance);
        if wait.is_zero() {
            state.set(due + self.interval);
            Ok(())
        } else {
            Err(wait)
        }
    }

    /// Refuses every arrival until `now + wait`, then allows one, and more at the rate.
    pub(crate) fn refuse_for(self, state: &mut RateState, now: Duration, wait: Duration) {
        state.set(now + wait + self.tolerance);
    }
}

/// One rate for many keys. The table drops idle keys each time it has doubled since the last sweep.
#[derive(Debug)]
pub(crate) struct RateTable<K> {
    rate: Rate,
    /// Added to the wait that a refused caller is given.
    extra_wait: Duration,
    states: HashMap<K, RateState>,
    sweep_at: usize,
}

impl<K: Hash + Eq + Clone> RateTable<K> {
    /// An empty table. The wait given with a refusal lasts until `batch` arrivals are allowed at once: a client with
    /// many messages to send that came back for one at a time would be refused as often as served.
    pub(crate) fn new(rate: Rate, batch: NonZeroU32) -> Self {
        let extra_wait = rate.interval * (batch.get() - 1);
        Self { rate, extra_wait, states: HashMap::new(), sweep_at: MIN_SWEEP_ENTRIES }
    }

    /// Counts one arrival of `key` at `now`.
    ///
    /// # Errors
    /// Returns the time to wait. A caller that comes back earlier is admitted as soon as the rate allows one arrival.
    pub(crate) fn admit(&mut self, key: &K, now: Duration) -> Result<(), Duration> {
        self.count(key, now).map_err(|wait| wait + self.extra_wait)
    }

    /// Sets the theoretical arrival time of `key` to `time` if it is earlier.
    pub(crate) fn raise(&mut self, key: &K, time: Duration) {
        if let Some(state) = self.states.get_mut(key) {
            state.set(state.time().max(time));
        } else {
            let mut state = RateState::default();
            state.set(time);
            self.states.insert(key.clone(), state);
        }
    }

    fn count(&mut self, key: &K, now: Duration) -> Result<(), Duration> {
        if let Some(state) = self.states.get_mut(key) {
            return self.rate.admit(state, now);
        }
        if self.states.len() >= self.sweep_at {
            self.states.retain(|_, state| !state.is_idle(now));
            self.sweep_at = (2 * self.states.len()).max(MIN_SWEEP_ENTRIES);
        }
        let mut state = RateState::default();
        let verdict = self.rate.admit(&mut state, now);
        self.states.insert(key.clone(), state);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ten_per_second() -> Rate {
        Rate::new(NonZeroU32::new(10).unwrap(), SECOND, 30)
    }

    #[test]
    fn burst_is_admitted_then_the_rate_holds_and_the_wait_is_exact() {
        let mut state = RateState::default();
        let admitted = (0..100).filter(|_| ten_per_second().admit(&mut state, SECOND).is_ok()).count();
        assert_eq!(admitted, 30);
        let wait = ten_per_second().admit(&mut state, SECOND).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(ten_per_second().admit(&mut state, SECOND + wait), Ok(()));
    }

    #[test]
    fn client_that_waits_as_told_is_refused_once_per_batch() {
        let mut table = RateTable::new(ten_per_second(), NonZeroU32::new(10).unwrap());
        let (mut now, mut refused) = (SECOND, 0);
        for _ in 0..130 {
            while let Err(wait) = table.admit(&"ann", now) {
                now += wait;
                refused += 1;
            }
        }
        assert_eq!((refused, now), (10, 11 * SECOND));
    }

    #[test]
    fn idle_keys_are_dropped() {
        let mut table = RateTable::new(ten_per_second(), NonZeroU32::MIN);
        for key in 0..5000 {
            table.admit(&key, SECOND * key).unwrap();
        }
        assert!(table.states.len() <= MIN_SWEEP_ENTRIES);
    }

    proptest! {
        #[test]
        fn no_window_admits_more_than_burst_and_rate(gaps in vec(0_u64..300, 1..200)) {
            let (mut state, mut now, mut admitted) = (RateState::default(), Duration::from_secs(5), Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                if ten_per_second().admit(&mut state, now).is_ok() {
                    admitted.push(now);
                }
            }
            for (i, start) in admitted.iter().enumerate() {
                for (j, end) in admitted.iter().enumerate().skip(i) {
                    let most = 30.0 + (*end - *start).as_secs_f64() * 10.0;
                    prop_assert!((j - i + 1) as f64 <= most + 1e-6);
                }
            }
        }
    }
}
