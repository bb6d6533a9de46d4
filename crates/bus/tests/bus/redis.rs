//! A real Redis for a test.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant, SystemTime},
};

use trunkline_bus::{Bus, Delivery, RedisBus, RedisConfig, contract::RETAIN};
use trunkline_domain::{Draft, Room};
use trunkline_testbed::{AppendFsync, Redis};

/// Maximum time for any step, on a busy machine.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Lease of the buses under test.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// A Redis, and a prefix that no other test uses.
pub(crate) struct Server {
    pub(crate) redis: Redis,
    prefix: String,
}

impl Server {
    fn new(redis: Redis) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let prefix = format!("test-{}-{}-{time}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self { redis, prefix }
    }

    /// A Redis that the test does not disturb.
    pub(crate) fn shared() -> Self {
        Self::new(Redis::start().unwrap())
    }

    /// A Redis that the test may disturb. It writes every command to disk before it replies.
    pub(crate) fn durable() -> Self {
        Self::new(Redis::builder().append_only(AppendFsync::Always).start().unwrap())
    }

    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig { prefix: self.prefix.clone(), retain: RETAIN, lease: LEASE, ..RedisConfig::new(self.redis.url()) }
    }

    pub(crate) fn connect(&self) -> RedisBus {
        RedisBus::new(self.config()).unwrap()
    }

    /// A bus that is connected.
    pub(crate) async fn ready(&self) -> RedisBus {
        let bus = self.connect();
        healthy(&bus, "redis").await;
        bus
    }

    /// A key of a room; `what` is `log`, `meta`, `ids:0` or `ids:1`.
    pub(crate) fn key(&self, room: &Room, what: &str) -> String {
        format!("{}:{{{room}}}:{what}", self.prefix)
    }
}

pub(crate) fn state(bus: &RedisBus, check: &str) -> Result<(), String> {
    bus.health().into_iter().find(|health| health.check == check).unwrap().state
}

/// Waits until the check is `Ok`.
pub(crate) async fn healthy(bus: &RedisBus, check: &str) {
    until(check, || state(bus, check).is_ok()).await;
}

/// Waits until the check fails, and returns the reason.
pub(crate) async fn unhealthy(bus: &RedisBus, check: &str) -> String {
    until(check, || state(bus, check).is_err()).await;
    state(bus, check).unwrap_err()
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < TEST_TIMEOUT, "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn lobby() -> Room {
    "lobby".parse().unwrap()
}

pub(crate) fn draft(number: usize) -> Draft {
    let text = format!("text {number}");
    Draft::text(format!("m{number}").parse().unwrap(), "ann".parse().unwrap(), text.parse().unwrap())
}

/// The next delivery.
pub(crate) async fn next_delivery(deliveries: &mut tokio::sync::mpsc::Receiver<Delivery>) -> Delivery {
    tokio::time::timeout(TEST_TIMEOUT, deliveries.recv())
        .await
        .expect("a delivery within 20 s")
        .expect("the subscription is open")
}
