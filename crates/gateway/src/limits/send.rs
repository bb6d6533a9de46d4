//! How many messages per second a user may send, over all sockets of the user on all instances. Pure: the caller passes
//! the time and carries the reports.
//!
//! An instance admits a message by what it knows, and reports it afterwards. The store charges the reports of all
//! instances to one state per user, and its answer raises the state here. With N instances of which each has the answer to
//! a report at most L after the message, a user sends in any time t at most
//! `rate × t + N × (burst + rate × L) + rate × REPORT_GRACE` messages: each instance can admit one burst, and what the
//! rate adds meanwhile, before it learns of the others. What exceeds the rate is a debt that the user waits for. A user
//! who keeps the rate and the burst is never refused, as long as reports arrive within `REPORT_GRACE`.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use trunkline_bus::{Charge, Charged};
use trunkline_domain::UserId;

use super::rate::{Rate, RateTable};

/// Messages that a user may send at once after a pause, as a multiple of the messages per second.
const BURST_FACTOR: u32 = 3;
/// Maximum number of users with messages to report. The messages of further users are limited by this instance alone until
/// the next report.
const MAX_REPORTED_USERS: usize = 8192;
/// Maximum time for which the store's answer can make a user wait, even if its clock was changed.
const MAX_BACKLOG: Duration = Duration::from_secs(60);

/// The send limit of each user.
#[derive(Debug)]
pub(crate) struct SendLimiter {
    rate: Rate,
    states: RateTable<UserId>,
    /// Number of admitted messages per user that are not reported yet.
    unreported: HashMap<UserId, u32>,
}

impl SendLimiter {
    /// Allows each user `per_second` messages, and three times as many at once after a pause.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let burst = per_second.get().saturating_mul(BURST_FACTOR);
        let rate = Rate::new(per_second, Duration::from_secs(1), burst);
        Self { rate, states: RateTable::new(rate, per_second), unreported: HashMap::new() }
    }

    /// Counts a message of `user`.
    ///
    /// # Errors
    /// Returns the time to wait. After it, a second's worth of messages may come at once.
    pub(crate) fn admit(&mut self, user: &UserId, now: Duration) -> Result<(), Duration> {
        self.states.admit(user, now)
    }

    /// Adds an admitted message to the next report. Returns whether it is the first one, for which a report is to be sent.
    pub(crate) fn report(&mut self, user: &UserId) -> bool {
        if let Some(count) = self.unreported.get_mut(user) {
            *count = count.saturating_add(1);
        } else if self.unreported.len() < MAX_REPORTED_USERS {
            self.unreported.insert(user.clone(), 1);
            return self.unreported.len() == 1;
        }
        false
    }

    /// Takes the report: the users and their charges, in the same order.
    pub(crate) fn take_report(&mut self) -> (Vec<UserId>, Vec<Charge>) {
        let charge = |(user, count): (UserId, u32)| {
            let key = format!("send:{user}");
            (user, Charge { key, count, interval: self.rate.interval(), max_backlog: None })
        };
        std::mem::take(&mut self.unreported).into_iter().map(charge).unzip()
    }

    /// Applies the answer to a report that was taken at `taken`. Messages admitted since then come on top of it.
    pub(crate) fn apply(&mut self, users: &[UserId], charged: &[Charged], taken: Duration) {
        for (user, charged) in users.iter().zip(charged) {
            let since = self.unreported.get(user).copied().unwrap_or(0);
            self.states.raise(user, taken + charged.backlog.min(MAX_BACKLOG) + self.rate.interval() * since);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trunkline_bus::REPORT_GRACE;

    use super::*;

    const INSTANCES: usize = 3;
    const RATE: NonZeroU32 = NonZeroU32::new(10).unwrap();
    const BURST: u32 = 30;
    const EXCHANGE_INTERVAL_MS: u64 = 250;

    /// The state of the only user in the store: what charge.lua does.
    #[derive(Default)]
    struct Store(i64);

    impl Store {
        fn charge(&mut self, charge: &Charge, now: i64) -> Charged {
            self.0 = self.0.max(now - REPORT_GRACE.as_micros() as i64)
                + i64::from(charge.count) * charge.interval.as_micros() as i64;
            let backlog = Duration::from_micros(u64::try_from(self.0 - now).unwrap_or(0));
            Charged { is_admitted: true, backlog }
        }
    }

    enum Exchange {
        Idle,
        Due(u64),
        Sent { at: u64, taken: u64, report: (Vec<UserId>, Vec<Charge>) },
        Answered { at: u64, taken: u64, users: Vec<UserId>, charged: Vec<Charged> },
    }

    /// Three instances and a store. Each way between them takes `latency`.
    struct Cluster {
        now: u64,
        latency: u64,
        store: Store,
        instances: Vec<(SendLimiter, Exchange)>,
        user: UserId,
    }

    impl Cluster {
        fn new(latency: u64) -> Self {
            let instances = (0..INSTANCES).map(|_| (SendLimiter::new(RATE), Exchange::Idle)).collect();
            Self { now: 10_000, latency, store: Store::default(), instances, user: "ann".parse().unwrap() }
        }

        fn now(&self) -> Duration {
            Duration::from_millis(self.now)
        }

        fn send(&mut self, instance: usize) -> bool {
            let now = self.now();
            let (limiter, exchange) = &mut self.instances[instance];
            let is_admitted = limiter.admit(&self.user, now).is_ok();
            if is_admitted && limiter.report(&self.user) && matches!(exchange, Exchange::Idle) {
                *exchange = Exchange::Due(self.now + EXCHANGE_INTERVAL_MS);
            }
            is_admitted
        }

        fn advance(&mut self, millis: u64) {
            for _ in 0..millis {
                self.now += 1;
                for (limiter, exchange) in &mut self.instances {
                    *exchange = match std::mem::replace(exchange, Exchange::Idle) {
                        Exchange::Due(at) if at <= self.now => {
                            let report = limiter.take_report();
                            Exchange::Sent { at: self.now + self.latency, taken: self.now, report }
                        }
                        Exchange::Sent { at, taken, report: (users, charges) } if at <= self.now => {
                            let now = self.now as i64 * 1000;
                            let charged = charges.iter().map(|charge| self.store.charge(charge, now)).collect();
                            Exchange::Answered { at: self.now + self.latency, taken, users, charged }
                        }
                        Exchange::Answered { at, taken, users, charged } if at <= self.now => {
                            limiter.apply(&users, &charged, Duration::from_millis(taken));
                            let has_more = !limiter.unreported.is_empty();
                            if has_more { Exchange::Due(self.now + EXCHANGE_INTERVAL_MS) } else { Exchange::Idle }
                        }
                        other => other,
                    };
                }
            }
        }
    }

    #[test]
    fn user_who_sends_at_all_instances_gets_the_rate_of_one_in_the_long_run() {
        let mut cluster = Cluster::new(5);
        let mut admitted = 0;
        for _ in 0..60_000 {
            admitted += (0..INSTANCES).filter(|&instance| cluster.send(instance)).count();
            cluster.advance(1);
        }
        // 600 at the rate. Without the exchange it were 1,890.
        assert!((600..=708).contains(&admitted), "{admitted}");
    }

    #[test]
    fn users_above_the_bound_of_a_report_are_not_reported() {
        let mut limiter = SendLimiter::new(RATE);
        for number in 0..MAX_REPORTED_USERS + 10 {
            let user: UserId = format!("user{number}").parse().unwrap();
            assert_eq!(limiter.admit(&user, Duration::from_secs(1)), Ok(()));
            assert_eq!(limiter.report(&user), number == 0);
        }
        assert_eq!(limiter.take_report().0.len(), MAX_REPORTED_USERS);
        assert!(limiter.unreported.is_empty());
    }

    proptest! {
        #[test]
        fn instances_together_admit_at_most_the_bound(
            latency in 0_u64..100,
            steps in prop::collection::vec((0_u64..400, 0..INSTANCES, 1_usize..40), 1..100),
        ) {
            let mut cluster = Cluster::new(latency);
            let mut admitted = Vec::new();
            for (pause, instance, attempts) in steps {
                cluster.advance(pause);
                for _ in 0..attempts {
                    if cluster.send(instance) {
                        admitted.push(cluster.now());
                    }
                }
            }
            // A message waits for the report under way, and then for its own.
            let lag = Duration::from_millis(2 * (EXCHANGE_INTERVAL_MS + 2 * latency + 3)).as_secs_f64();
            let rate = f64::from(RATE.get());
            let fixed = INSTANCES as f64 * (f64::from(BURST) + rate * lag) + rate * REPORT_GRACE.as_secs_f64();
            for (first, start) in admitted.iter().enumerate() {
                for (last, end) in admitted.iter().enumerate().skip(first) {
                    prop_assert!((last - first + 1) as f64 <= (*end - *start).as_secs_f64() * rate + fixed);
                }
            }
        }

        #[test]
        fn user_within_the_rate_is_never_refused(
            latency in 0_u64..100,
            steps in prop::collection::vec((0_u64..400, 0..INSTANCES, 1_usize..40), 1..100),
        ) {
            let mut cluster = Cluster::new(latency);
            let rate = Rate::new(RATE, Duration::from_secs(1), BURST);
            let mut state = super::super::RateState::default();
            for (pause, instance, attempts) in steps {
                cluster.advance(pause);
                for attempt in 0..attempts {
                    if rate.admit(&mut state, cluster.now()).is_ok() {
                        prop_assert!(cluster.send((instance + attempt) % INSTANCES), "at {} ms", cluster.now);
                    }
                }
            }
        }
    }
}
