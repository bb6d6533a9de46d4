//! How often people may try to log in.
//!
//! Two limits, each a row of token buckets kept as times (the "generic cell rate algorithm"): one by client address, one by
//! what the name looks like. Whoever is refused and goes on trying waits longer each time, up to a minute.
//!
//! The rows have a fixed length and keys are hashed into them with a secret seed: memory never grows, nothing has to be
//! swept, and an attacker cannot aim at somebody's bucket. Two keys that meet in one share its limit.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use trunkline_domain::millis;

/// Attempts a minute and name.
const A_NAME: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// Buckets of a row, 16 bytes each.
const BUCKETS: usize = 8192;
const MINUTE: Duration = Duration::from_secs(60);

/// The limits of one process.
pub(super) struct LoginLimit {
    started: Instant,
    rows: Option<Mutex<Rows>>,
}

struct Rows {
    addresses: Row,
    names: Row,
}

impl LoginLimit {
    /// `rate` attempts a minute and address. `None`: no limits.
    pub(super) fn new(rate: Option<NonZeroU32>) -> Self {
        let rows = rate.map(|rate| Mutex::new(Rows { addresses: Row::new(rate), names: Row::new(A_NAME) }));
        Self { started: Instant::now(), rows }
    }

    /// Counts an attempt from an address.
    ///
    /// # Errors
    /// The time after which an attempt may succeed.
    pub(super) fn address(&self, address: IpAddr) -> Result<(), Duration> {
        self.admit(|rows, now| rows.addresses.admit(&network(address), now))
    }

    /// Counts an attempt for a name, given by its skeleton.
    ///
    /// # Errors
    /// The time after which an attempt may succeed.
    pub(super) fn name(&self, skeleton: &str) -> Result<(), Duration> {
        self.admit(|rows, now| rows.names.admit(skeleton, now))
    }

    fn admit(&self, judge: impl FnOnce(&mut Rows, Duration) -> Result<(), Duration>) -> Result<(), Duration> {
        let Some(rows) = &self.rows else { return Ok(()) };
        // A bucket is whole at any time, so a panic elsewhere while locked spoils nothing.
        judge(&mut rows.lock().unwrap_or_else(PoisonError::into_inner), self.started.elapsed())
    }
}

/// What counts as one address: an IPv6 host has at least 2^64 of them (RFC 6177).
fn network(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

/// Buckets with one rate.
struct Row {
    buckets: Vec<Bucket>,
    seed: RandomState,
    /// Time that one attempt costs.
    cost: Duration,
}

impl Row {
    fn new(a_minute: NonZeroU32) -> Self {
        Self { buckets: vec![Bucket::default(); BUCKETS], seed: RandomState::new(), cost: MINUTE / a_minute.get() }
    }

    fn admit<K: Hash + ?Sized>(&mut self, key: &K, now: Duration) -> Result<(), Duration> {
        // The remainder is below the length, so it fits and is in range.
        let index = self.seed.hash_one(key) % self.buckets.len() as u64;
        self.buckets[index as usize].admit(self.cost, now)
    }
}

/// One bucket. It holds a minute's worth of attempts.
#[derive(Clone, Copy, Default)]
struct Bucket {
    /// When it is full again, in milliseconds.
    full_at: u64,
    /// Refusals since it was last full.
    refused: u32,
}

impl Bucket {
    fn admit(&mut self, cost: Duration, now: Duration) -> Result<(), Duration> {
        let full_at = Duration::from_millis(self.full_at);
        if full_at <= now {
            self.refused = 0;
        }
        let after = full_at.max(now) + cost;
        let wait = after.saturating_sub(now + MINUTE);
        if wait.is_zero() {
            self.full_at = millis(after);
            return Ok(());
        }
        // 1 s, 2 s, 4 s … where that is longer.
        let grown = Duration::from_secs(1 << self.refused.min(6)).min(MINUTE);
        self.refused = self.refused.saturating_add(1);
        let wait = wait.max(grown);
        self.full_at = millis(now + wait + MINUTE - cost);
        Err(wait)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COST: Duration = Duration::from_secs(3); // 20 a minute

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let (mut bucket, now) = (Bucket::default(), Duration::from_secs(1000));
        for _ in 0..20 {
            assert_eq!(bucket.admit(COST, now), Ok(()));
        }
        assert_eq!(bucket.admit(COST, now), Err(COST));
        assert_eq!(bucket.admit(COST, now + COST), Ok(()));
        assert!(bucket.admit(COST, now + COST).is_err());
    }

    #[test]
    fn who_goes_on_trying_waits_longer_up_to_a_minute() {
        let (mut bucket, now) = (Bucket::default(), Duration::ZERO);
        for _ in 0..20 {
            bucket.admit(COST, now).unwrap();
        }
        let waits: Vec<u64> = (0..9).map(|_| bucket.admit(COST, now).unwrap_err().as_secs()).collect();
        assert_eq!(waits, [3, 3, 4, 8, 16, 32, 60, 60, 60]);
        // Who waits as told gets in, and who stays away long enough starts anew.
        assert_eq!(bucket.admit(COST, now + Duration::from_secs(60)), Ok(()));
        assert_eq!(bucket.admit(COST, now + Duration::from_secs(180)), Ok(()));
        assert_eq!(bucket.refused, 0);
    }

    #[test]
    fn addresses_and_names_are_counted_apart_and_zero_is_off() {
        let limit = LoginLimit::new(NonZeroU32::new(2));
        let [one, other] = ["2001:db8::1", "2001:db8:0:1::1"].map(|a| a.parse::<IpAddr>().unwrap());
        assert!(limit.address(one).is_ok() && limit.address(one).is_ok());
        let neighbour = "2001:db8::2".parse().unwrap();
        assert!(limit.address(neighbour).is_err(), "the same /64");
        assert!(limit.address(other).is_ok());
        assert!((0..5).all(|_| limit.name("ann").is_ok()));
        assert!(limit.name("ann").is_err());
        assert!(limit.name("bob").is_ok());

        let off = LoginLimit::new(None);
        assert!((0..1000).all(|_| off.address(one).is_ok() && off.name("ann").is_ok()));
    }

    proptest! {
        /// In no minute does a bucket admit more than its burst and what flows in meanwhile.
        #[test]
        fn never_more_than_the_rate(steps in prop::collection::vec(0u64..5_000, 1..300)) {
            let (mut bucket, mut now) = (Bucket::default(), 0);
            let mut admitted = Vec::new();
            for step in steps {
                now += step;
                if bucket.admit(COST, Duration::from_millis(now)).is_ok() {
                    admitted.push(now);
                }
            }
            for (first, at) in admitted.iter().enumerate() {
                let within = admitted[first..].iter().filter(|&&other| other < at + 60_000).count();
                prop_assert!(within <= 40, "{within} in a minute");
            }
        }

        #[test]
        fn a_told_wait_is_never_over_a_minute_and_is_kept(steps in prop::collection::vec(0u64..2_000, 1..200)) {
            let (mut bucket, mut now) = (Bucket::default(), 0);
            for step in steps {
                now += step;
                if let Err(wait) = bucket.admit(COST, Duration::from_millis(now)) {
                    prop_assert!(wait <= MINUTE);
                    prop_assert_eq!(bucket.to_owned().admit(COST, Duration::from_millis(now) + wait), Ok(()));
                }
            }
        }
    }
}
