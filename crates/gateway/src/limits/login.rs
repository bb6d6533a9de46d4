//! How often a client address may try to log in, and how often a name may be tried, at all instances together.
//!
//! Both limits allow a burst of one minute's attempts. A client that keeps trying while it is refused waits longer each
//! time: 1 s, 2 s, 4 s and so on, up to 60 s.
//!
//! Each table has a fixed number of buckets, and keys are hashed into it with a secret seed. Memory never grows,
//! nothing needs sweeping, and an attacker cannot choose a key that shares the bucket of a victim. Two keys in one
//! bucket share its limit.
//!
//! An attempt that these tables admit is then charged in the store that all instances share, which admits exactly the
//! rate and the burst. A refusal by it is noted here, so that a refused client causes no calls while it waits. If the
//! store does not answer within [`STORE_TIMEOUT`], the tables decide alone.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use trunkline_bus::{Charge, Charged, SharedLimits};

use super::rate::{Rate, RateState};

/// Attempts per minute and name.
const ATTEMPTS_PER_NAME: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// Buckets of a table, 16 bytes each: 128 KiB per table.
const BUCKETS: usize = 8192;
const MINUTE: Duration = Duration::from_secs(60);
/// Maximum time that an attempt waits for the shared store.
const STORE_TIMEOUT: Duration = Duration::from_millis(250);

/// The login limits of one process.
pub(crate) struct LoginLimiter {
    started: Instant,
    tables: Option<Mutex<AttemptTables>>,
    /// `None` if no other instance shares the limits.
    store: Option<Box<dyn AttemptStore>>,
}

/// The store in which all instances charge attempts. Erases the type of the bus.
trait AttemptStore: Send + Sync {
    /// Charges an attempt. `None` if the store does not answer.
    fn charge_attempt(&self, charge: Charge) -> Pin<Box<dyn Future<Output = Option<Charged>> + '_>>;
}

impl<B: SharedLimits> AttemptStore for B {
    fn charge_attempt(&self, charge: Charge) -> Pin<Box<dyn Future<Output = Option<Charged>> + '_>> {
        Box::pin(async move {
            match tokio::time::timeout(STORE_TIMEOUT, self.charge(&[charge])).await.ok()? {
                Ok(charged) => charged.first().copied(),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "charging a login attempt failed; the limits of this instance decide");
                    None
                }
            }
        })
    }
}

struct AttemptTables {
    addresses: AttemptTable,
    names: AttemptTable,
}

impl LoginLimiter {
    /// Allows `rate` attempts per minute and address, and five per minute and name. `None` switches both limits off.
    pub(crate) fn new(rate: Option<NonZeroU32>, bus: &impl SharedLimits) -> Self {
        let tables =
            |rate| AttemptTables { addresses: AttemptTable::new(rate), names: AttemptTable::new(ATTEMPTS_PER_NAME) };
        let store = bus.is_shared().then(|| Box::new(bus.clone()) as Box<dyn AttemptStore>);
        Self { started: Instant::now(), tables: rate.map(|rate| Mutex::new(tables(rate))), store }
    }

    /// Counts an attempt from an address.
    ///
    /// # Errors
    /// Returns the time after which an attempt is allowed, at most 60 s.
    pub(crate) async fn admit_address(&self, address: IpAddr) -> Result<(), Duration> {
        let network = network(address);
        self.admit(|tables| &mut tables.addresses, &network, || format!("address:{network:x}")).await
    }

    /// Counts an attempt for a name, given by its skeleton, so that names that look alike share a limit.
    ///
    /// # Errors
    /// Returns the time after which an attempt is allowed, at most 60 s.
    pub(crate) async fn admit_name(&self, skeleton: &str) -> Result<(), Duration> {
        self.admit(|tables| &mut tables.names, skeleton, || format!("name:{skeleton}")).await
    }

    async fn admit<K: Hash + ?Sized>(
        &self,
        table: fn(&mut AttemptTables) -> &mut AttemptTable,
        key: &K,
        shared_key: impl FnOnce() -> String,
    ) -> Result<(), Duration> {
        let Some(tables) = &self.tables else { return Ok(()) };
        let rate = {
            let mut tables = lock(tables);
            let table = table(&mut tables);
            let rate = table.rate;
            table.bucket(key).admit(rate, self.started.elapsed())?;
            rate
        };
        let Some(store) = &self.store else { return Ok(()) };
        let charge =
            Charge { key: shared_key(), count: 1, interval: rate.interval(), max_backlog: Some(rate.tolerance()) };
        match store.charge_attempt(charge).await {
            Some(Charged { is_admitted: false, backlog }) => {
                let wait = backlog.saturating_sub(rate.tolerance()).min(MINUTE);
                Err(table(&mut lock(tables)).bucket(key).refuse(rate, self.started.elapsed(), wait))
            }
            Some(Charged { is_admitted: true, .. }) | None => Ok(()),
        }
    }
}

/// A panic while the lock is held leaves every bucket valid, so a poisoned lock is used further.
fn lock(tables: &Mutex<AttemptTables>) -> MutexGuard<'_, AttemptTables> {
    tables.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn bucket<K: Hash + ?Sized>(&mut self, key: &K) -> &mut AttemptBucket {
        // The remainder is less than the number of buckets, so it fits a usize and is in range.
        let index = self.seed.hash_one(key) % self.buckets.len() as u64;
        &mut self.buckets[index as usize]
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
        rate.admit(&mut self.state, now).map_err(|wait| self.refuse(rate, now, wait))
    }

    /// Refuses attempts for `wait`, or longer if attempts were refused before. Returns the time.
    fn refuse(&mut self, rate: Rate, now: Duration, wait: Duration) -> Duration {
        let doubled = Duration::from_secs(1 << self.refusals.min(6)).min(MINUTE);
        self.refusals = self.refusals.saturating_add(1);
        let wait = wait.max(doubled);
        rate.refuse_for(&mut self.state, now, wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trunkline_bus::{LocalBus, LocalConfig};

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
        // A client that waits for that long is admitted. After a pause that makes the bucket idle, the waits start at 1 s
        // again.
        assert_eq!(bucket.admit(twenty_per_minute(), now + Duration::from_secs(60)), Ok(()));
        assert_eq!(bucket.admit(twenty_per_minute(), now + Duration::from_secs(180)), Ok(()));
        assert_eq!(bucket.refusals, 0);
    }

    #[tokio::test]
    async fn addresses_and_names_are_counted_separately_and_no_rate_means_no_limit() {
        let bus = LocalBus::new(LocalConfig::default());
        let limiter = LoginLimiter::new(NonZeroU32::new(2), &bus);
        let [one, other] = ["2001:db8::1", "2001:db8:0:1::1"].map(|a| a.parse::<IpAddr>().unwrap());
        assert!(limiter.admit_address(one).await.is_ok() && limiter.admit_address(one).await.is_ok());
        let neighbour = "2001:db8::2".parse().unwrap();
        assert!(limiter.admit_address(neighbour).await.is_err(), "the same /64");
        assert!(limiter.admit_address(other).await.is_ok());
        for _ in 0..5 {
            assert!(limiter.admit_name("ann").await.is_ok());
        }
        assert!(limiter.admit_name("ann").await.is_err());
        assert!(limiter.admit_name("bob").await.is_ok());

        let off = LoginLimiter::new(None, &bus);
        for _ in 0..1000 {
            assert!(off.admit_address(one).await.is_ok() && off.admit_name("ann").await.is_ok());
        }
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
