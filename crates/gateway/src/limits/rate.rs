//! Rate limits. Pure: time is an argument.

use std::{collections::HashMap, hash::Hash, num::NonZeroU32, time::Duration};

/// A number of events per period, with bursts: the generic cell rate algorithm (ITU-T I.371 Annex A). It stores one number
/// per client and needs no timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Time per event.
    interval: Duration,
    /// How far a client may be ahead of its rate.
    tolerance: Duration,
}

/// How much of a rate one client has used: the time at which its next event would be exactly in time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RateUsage(Duration);

impl Rate {
    /// Creates a rate of `count` events per `period`, of which `burst` may come at once after a pause.
    pub(crate) fn new(count: NonZeroU32, period: Duration, burst: u32) -> Self {
        let interval = period / count.get();
        Self { interval, tolerance: interval * burst.saturating_sub(1) }
    }

    /// Counts one event at `now`.
    ///
    /// # Errors
    /// The time to wait, if the event comes too early. Then it is not counted.
    pub(crate) fn admit(self, usage: &mut RateUsage, now: Duration) -> Result<(), Duration> {
        let due = usage.0.max(now);
        let wait = due.saturating_sub(now + self.tolerance);
        if wait.is_zero() {
            usage.0 = due + self.interval;
            Ok(())
        } else {
            Err(wait)
        }
    }
}

/// One rate for many clients. Clients that have used nothing are removed whenever the table has doubled.
#[derive(Debug)]
pub(crate) struct RateTable<K> {
    rate: Rate,
    /// Time that a refused client is asked to wait beyond the wait for one event.
    extra_wait: Duration,
    clients: HashMap<K, RateUsage>,
    sweep_at: usize,
}

/// Size below which the table is not swept.
const MIN_SWEEP_LEN: usize = 1024;

impl<K: Hash + Eq + Clone> RateTable<K> {
    /// Creates an empty table. A refused client is asked to wait until `batch` events may come at once: a client with many
    /// messages that returned for one at a time would be refused as often as served.
    pub(crate) fn new(rate: Rate, batch: NonZeroU32) -> Self {
        let extra_wait = rate.interval * (batch.get() - 1);
        Self { rate, extra_wait, clients: HashMap::new(), sweep_at: MIN_SWEEP_LEN }
    }

    /// Counts one event of `client` at `now`.
    ///
    /// # Errors
    /// The time to wait, if the event comes too early. A client that returns sooner is admitted as soon as the rate allows
    /// one event.
    pub(crate) fn admit(&mut self, client: &K, now: Duration) -> Result<(), Duration> {
        self.count(client, now).map_err(|wait| wait + self.extra_wait)
    }

    fn count(&mut self, client: &K, now: Duration) -> Result<(), Duration> {
        if let Some(usage) = self.clients.get_mut(client) {
            return self.rate.admit(usage, now);
        }
        if self.clients.len() >= self.sweep_at {
            self.clients.retain(|_, usage| usage.0 > now);
            self.sweep_at = (2 * self.clients.len()).max(MIN_SWEEP_LEN);
        }
        let mut usage = RateUsage::default();
        let verdict = self.rate.admit(&mut usage, now);
        self.clients.insert(client.clone(), usage);
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
    fn after_a_burst_the_rate_applies_and_the_error_has_the_wait() {
        let mut usage = RateUsage::default();
        let passed = (0..100).filter(|_| ten_per_second().admit(&mut usage, SECOND).is_ok()).count();
        assert_eq!(passed, 30);
        let wait = ten_per_second().admit(&mut usage, SECOND).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(ten_per_second().admit(&mut usage, SECOND + wait), Ok(()));
    }

    #[test]
    fn a_client_that_waits_as_asked_is_refused_once_per_batch() {
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
    fn clients_that_have_used_nothing_are_removed() {
        let mut table = RateTable::new(ten_per_second(), NonZeroU32::MIN);
        for client in 0..5000 {
            table.admit(&client, SECOND * client).unwrap();
        }
        assert!(table.clients.len() <= 1024);
    }

    proptest! {
        #[test]
        fn no_interval_admits_more_than_the_burst_and_the_rate(gaps in vec(0_u64..300, 1..200)) {
            let (mut usage, mut now, mut passed) = (RateUsage::default(), Duration::from_secs(5), Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                if ten_per_second().admit(&mut usage, now).is_ok() {
                    passed.push(now);
                }
            }
            for (i, start) in passed.iter().enumerate() {
                for (j, end) in passed.iter().enumerate().skip(i) {
                    let most = 30.0 + (*end - *start).as_secs_f64() * 10.0;
                    prop_assert!((j - i + 1) as f64 <= most + 1e-6);
                }
            }
        }
    }
}
