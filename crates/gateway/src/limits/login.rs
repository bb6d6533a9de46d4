//! How often a client address may try to log in, and how often a name may be tried.
//!
//! Both limits allow a burst of one minute's attempts. A client that keeps trying while it is refused waits longer each
//! time: 1 s, 2 s, 4 s and so on, up to 60 s.
//!
//! Each table has a fixed number of buckets, and keys are hashed into it with a secret seed. Memory never grows,
//! nothing needs sweeping, and an attacker cannot choose a key that shares the bucket of a victim. Two keys in one
//! bucket share its limit.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::rate::{Rate, RateState};

/// Attempts per minute and name.
const ATTEMPTS_PER_NAME: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// Buckets of a table, 16 bytes each: 128 KiB per table.
const BUCKETS: usize = 8192;
const MINUTE: Duration = Duration::from_secs(60);

/// The login limits of one process.
pub(crate) struct LoginLimiter {
    started: Instant,
    tables: Option<Mutex<AttemptTables>>,
}

struct AttemptTables {
    addresses: AttemptTable,
    names: AttemptTable,
}

impl LoginLimiter {
    /// Allows `rate` attempts per minute and address, and five per minute and name. `None` switches both limits off.
    pub(crate) fn new(rate: Option<NonZeroU32>) -> Self {
        let tables =
            |rate| AttemptTables { addresses: AttemptTable::new(rate), names: AttemptTable::new(ATTEMPTS_PER_NAME) };
        Self { started: Instant::now(), tables: rate.map(|rate| Mutex::new(tables(rate))) }
    }

    /// Counts an attempt from an address.
    ///
    /// # Errors
    /// Returns the time after which an attempt is allowed, at most 60 s.
    pub(crate) fn admit_address(&self, address: IpAddr) -> Result<(), Duration> {
        self.admit(|tables, now| tables.addresses.admit(&network(address), now))
    }

    /// Counts an attempt for a name, given by its skeleton, so that names that look alike share a limit.
    ///
    /// # Errors
    /// Returns the time after which an attempt is allowed, at most 60 s.
    pub(crate) fn admit_name(&self, skeleton: &str) -> Result<(), Duration> {
        self.admit(|tables, now| tables.names.admit(skeleton, now))
    }

    fn admit(&self, admit: impl FnOnce(&mut AttemptTables, Duration) -> Result<(), Duration>) -> Result<(), Duration> {
        let Some(tables) = &self.tables else { return Ok(()) };
        // A panic while the lock is held leaves every bucket valid, so a poisoned lock is used further.
        admit(&mut tables.lock().unwrap_or_else(PoisonError::into_inner), self.started.elapsed())
    }
}

/// The part of an address that is limited: all of an IPv4 address, the first 64 bits of an IPv6 address. One IPv6 site
/// has at least 2^64 addresses (RFC 6177).
fn network(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

/// Buckets with one rate.
struct AttemptTable {
    buckets: Vec<AttemptBucket>,
    seed: RandomState,
    rate: Rate,
}

impl AttemptTable {
    fn new(per_minute: NonZeroU32) -> Self {
        Self {
            buckets: vec![AttemptBucket::default(); BUCKETS],
            seed: RandomState::new(),
            rate: Rate::new(per_minute, MINUTE, per_minute.get()),
        }
    }

    fn admit<K: Hash + ?Sized>(&mut self, key: &K, now: Duration) -> Result<(), Duration> {
        // The remainder is less than the number of buckets, so it fits a usize and is in range.
        let index = self.seed.hash_one(key) % self.buckets.len() as u64;
        self.buckets[index as usize].admit(self.rate, now)
    }
}

#[derive(Clone, Copy, Default)]
struct AttemptBucket {
    state: RateState,
    /// Refusals since the bucket was last idle.
    refusals: u32,
}

impl AttemptBucket {
    fn admit(&mut self, rate: Rate, now: Duration) -> Result<(), Duration> {
        if self.state.is_idle(now) {
            self.refusals = 0;
        }
        rate.admit(&mut self.state, now).map_err(|wait| {
            let doubled = Duration::from_secs(1 << self.refusals.min(6)).min(MINUTE);
            self.refusals = self.refusals.saturating_add(1);
            let wait = wait.max(doubled);
            rate.refuse_for(&mut self.state, now, wait);
            wait
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COST: Duration = Duration::from_secs(3);

    fn twenty_per_minute() -> Rate {
        Rate::new(NonZeroU32::new(20).unwrap(), MINUTE, 20)
    }

    #[test]
    fn burst_is_admitted_then_one_attempt_at_a_time() {
        let (mut bucket, now) = (AttemptBucket::default(), Duration::from_secs(1000));
        for _ in 0..20 {
            assert_eq!(bucket.admit(twenty_per_minute(), now), Ok(()));
        }
        assert_eq!(bucket.admit(twenty_per_minute(), now), Err(COST));
        assert_eq!(bucket.admit(twenty_per_minute(), now + COST), Ok(()));
        assert!(bucket.admit(twenty_per_minute(), now + COST).is_err());
    }

    #[test]
    fn client_that_keeps_trying_waits_longer_up_to_a_minute() {
        let (mut bucket, now) = (AttemptBucket::default(), Duration::ZERO);
        for _ in 0..20 {
            bucket.admit(twenty_per_minute(), now).unwrap();
        }
        let waits: Vec<u64> = (0..9).map(|_| bucket.admit(twenty_per_minute(), now).unwrap_err().as_secs()).collect();
        assert_eq!(waits, [3, 3, 4, 8, 16, 32, 60, 60, 60]);
        // A client that waits as told is admitted. After a pause that makes the bucket idle, the waits start at 1 s
        // again.
        assert_eq!(bucket.admit(twenty_per_minute(), now + Duration::from_secs(60)), Ok(()));
        assert_eq!(bucket.admit(twenty_per_minute(), now + Duration::from_secs(180)), Ok(()));
        assert_eq!(bucket.refusals, 0);
    }

    #[test]
    fn addresses_and_names_are_counted_separately_and_no_rate_means_no_limit() {
        let limiter = LoginLimiter::new(NonZeroU32::new(2));
        let [one, other] = ["2001:db8::1", "2001:db8:0:1::1"].map(|a| a.parse::<IpAddr>().unwrap());
        assert!(limiter.admit_address(one).is_ok() && limiter.admit_address(one).is_ok());
        let neighbour = "2001:db8::2".parse().unwrap();
        assert!(limiter.admit_address(neighbour).is_err(), "the same /64");
        assert!(limiter.admit_address(other).is_ok());
        assert!((0..5).all(|_| limiter.admit_name("ann").is_ok()));
        assert!(limiter.admit_name("ann").is_err());
        assert!(limiter.admit_name("bob").is_ok());

        let off = LoginLimiter::new(None);
        assert!((0..1000).all(|_| off.admit_address(one).is_ok() && off.admit_name("ann").is_ok()));
    }

    proptest! {
        /// In any minute a bucket admits at most its burst and what the rate adds meanwhile.
        #[test]
        fn no_minute_admits_more_than_burst_and_rate(steps in prop::collection::vec(0u64..5_000, 1..300)) {
            let (mut bucket, mut now) = (AttemptBucket::default(), 0);
            let mut admitted = Vec::new();
            for step in steps {
                now += step;
                if bucket.admit(twenty_per_minute(), Duration::from_millis(now)).is_ok() {
                    admitted.push(now);
                }
            }
            for (first, at) in admitted.iter().enumerate() {
                let within = admitted[first..].iter().filter(|&&other| other < at + 60_000).count();
                prop_assert!(within <= 40, "{within} in a minute");
            }
        }

        #[test]
        fn a_wait_is_at_most_a_minute_and_the_next_attempt_after_it_is_admitted(
            steps in prop::collection::vec(0u64..2_000, 1..200),
        ) {
            let (mut bucket, mut now) = (AttemptBucket::default(), 0);
            for step in steps {
                now += step;
                if let Err(wait) = bucket.admit(twenty_per_minute(), Duration::from_millis(now)) {
                    prop_assert!(wait <= MINUTE);
                    let after = Duration::from_millis(now) + wait;
                    prop_assert_eq!(bucket.to_owned().admit(twenty_per_minute(), after), Ok(()));
                }
            }
        }
    }
}
