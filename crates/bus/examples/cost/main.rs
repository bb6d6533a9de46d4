//! Processor time per message and per presence operation, measured with a real Redis:
//! `cargo run --release -p trunkline-bus --example cost`

mod presence;
mod sends;

use std::time::Duration;

use trunkline_bus::{Bus, RedisBus, RedisConfig};
use trunkline_testbed::Redis;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let redis = Redis::start()?;
    sends::measure(&redis).await?;
    presence::measure(&redis).await
}

/// A bus that is connected.
async fn connect(redis: &Redis, prefix: String) -> Result<RedisBus, Failure> {
    let bus = RedisBus::new(RedisConfig { prefix, ..RedisConfig::new(redis.url()) })?;
    while bus.health().iter().any(|health| health.check == "redis" && health.state.is_err()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(bus)
}

/// Processor time used so far by Redis and by this process, in seconds.
struct Cpu {
    redis: f64,
    own: f64,
}

impl Cpu {
    fn now(redis: &Redis) -> Result<Self, Failure> {
        let info = redis.cli(&["INFO", "cpu"])?;
        let field = |name: &str| -> f64 {
            info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default()
        };
        // The first number is the processor time of this thread, in nanoseconds. There is no other thread.
        let own = std::fs::read_to_string("/proc/self/schedstat")?;
        let own = own.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or_default() / 1e9;
        Ok(Self { redis: field("used_cpu_user:") + field("used_cpu_sys:"), own })
    }

    /// Prints the processor time per event since `self`, after 0.5 s in which all subscribers have received the events.
    async fn print(self, redis: &Redis, events: usize, what: &str) -> Result<(), Failure> {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = Self::now(redis)?;
        let per_event = |seconds: f64| seconds / events as f64 * 1e6;
        let (redis, own) = (per_event(now.redis - self.redis), per_event(now.own - self.own));
        println!("  {what}: {redis:.1} µs in Redis, {own:.1} µs in this process");
        Ok(())
    }
}
