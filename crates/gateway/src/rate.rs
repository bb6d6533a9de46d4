//! How often something may happen. Pure: time comes from outside.

use std::{collections::HashMap, hash::Hash, num::NonZeroU32, time::Duration};

/// So many a period, and so many at once: the generic cell rate algorithm (ITU-T I.371 Annex A), which keeps one number
/// for each payer and needs no timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    every: Duration,
    burst: Duration,
}

/// What one payer has used up: the time at which the next arrival would be exactly in time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used(Duration);

impl Rate {
    /// `count` each `period`, `burst` of them at once after a pause.
    pub(crate) fn new(count: NonZeroU32, period: Duration, burst: u32) -> Self {
        let every = period / count.get();
        Self { every, burst: every * burst.saturating_sub(1) }
    }

    /// Counts one arrival.
    ///
    /// # Errors
    /// How long to wait, if it came too early; then it does not count.
    pub(crate) fn admit(self, used: &mut Used, now: Duration) -> Result<(), Duration> {
        let due = used.0.max(now);
        let wait = due.saturating_sub(now + self.burst);
        if wait.is_zero() {
            used.0 = due + self.every;
            Ok(())
        } else {
            Err(wait)
        }
    }
}

/// One rate for many payers. Payers that have nothing used up are forgotten whenever the table has doubled.
#[derive(Debug)]
pub(crate) struct RateTable<K> {
    rate: Rate,
    /// Whoever is refused is told to wait so much longer than for one arrival.
    respite: Duration,
    payers: HashMap<K, Used>,
    sweep_at: usize,
}

impl<K: Hash + Eq + Clone> RateTable<K> {
    /// Nobody has used anything. Whoever is refused is told to wait until `together` may come at once: a payer with much to
    /// bring, who came back for one at a time, would be refused as often as served.
    pub(crate) fn new(rate: Rate, together: NonZeroU32) -> Self {
        let respite = rate.every * (together.get() - 1);
        Self { rate, respite, payers: HashMap::new(), sweep_at: 1024 }
    }

    /// Counts one arrival of `payer`.
    ///
    /// # Errors
    /// How long to wait, if it came too early. Who comes sooner is let through as soon as the rate allows one.
    pub(crate) fn admit(&mut self, payer: &K, now: Duration) -> Result<(), Duration> {
        self.count(payer, now).map_err(|wait| wait + self.respite)
    }

    fn count(&mut self, payer: &K, now: Duration) -> Result<(), Duration> {
        if let Some(used) = self.payers.get_mut(payer) {
            return self.rate.admit(used, now);
        }
        if self.payers.len() >= self.sweep_at {
            self.payers.retain(|_, used| used.0 > now);
            self.sweep_at = (2 * self.payers.len()).max(1024);
        }
        let mut used = Used::default();
        let verdict = self.rate.admit(&mut used, now);
        self.payers.insert(payer.clone(), used);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ten_a_second() -> Rate {
        Rate::new(NonZeroU32::new(10).unwrap(), SECOND, 30)
    }

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_the_wait_is_told() {
        let mut used = Used::default();
        let passed = (0..100).filter(|_| ten_a_second().admit(&mut used, SECOND).is_ok()).count();
        assert_eq!(passed, 30);
        let wait = ten_a_second().admit(&mut used, SECOND).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(ten_a_second().admit(&mut used, SECOND + wait), Ok(()));
    }

    #[test]
    fn who_waits_as_told_is_refused_once_for_as_many_as_come_together() {
        let mut table = RateTable::new(ten_a_second(), NonZeroU32::new(10).unwrap());
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
    fn payers_who_owe_nothing_are_forgotten() {
        let mut table = RateTable::new(ten_a_second(), NonZeroU32::MIN);
        for payer in 0..5000 {
            table.admit(&payer, SECOND * payer).unwrap();
        }
        assert!(table.payers.len() <= 1024);
    }

    proptest! {
        #[test]
        fn in_no_window_more_than_burst_and_rate_pass(gaps in vec(0_u64..300, 1..200)) {
            let (mut used, mut now, mut passed) = (Used::default(), Duration::from_secs(5), Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                if ten_a_second().admit(&mut used, now).is_ok() {
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
