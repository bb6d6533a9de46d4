//! Processor time per message and per presence operation, measured with a real Redis:
//! `cargo run --release -p trunkline-bus --example cost [sends|presence|rest|load [rates [delays]]]`

mod load;
mod presence;
mod rest;
mod sends;

use std::time::Duration;

use trunkline_bus::{Bus, RedisBus, RedisConfig};
use trunkline_testbed::Redis;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let redis = Redis::start()?;
    let only = std::env::args().nth(1);
    let runs = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if runs("sends") {
        sends::measure(&redis).await?;
    }
    if runs("presence") {
        presence::measure(&redis).await?;
    }
    if runs("rest") {
        rest::measure(&redis).await?;
    }
    if runs("load") {
        let numbers = |index: usize, default: &[u64]| -> Result<Vec<u64>, Failure> {
            let Some(list) = std::env::args().nth(index) else { return Ok(default.to_vec()) };
            Ok(list.split(',').map(str::parse).collect::<Result<_, _>>()?)
        };
        load::measure(&redis, &numbers(2, &[300, 1000, 3000, 10_000])?, &numbers(3, &[0, 1, 2, 4])?)?;
    }
    Ok(())
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
        // The first number is the processor time of this thread, in nanoseconds. There is no other thread.
        let own = std::fs::read_to_string("/proc/self/schedstat")?;
        let own = own.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or_default() / 1e9;
        Ok(Self { redis: Self::redis(redis)?, own })
    }

    /// The same, with the time of all threads of this process, ended ones included.
    fn of_process(redis: &Redis) -> Result<Self, Failure> {
        // Fields 14 and 15, in hundredths of a second: see proc(5). The name in field 2 contains no space here.
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let own = stat.split(' ').skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0;
        Ok(Self { redis: Self::redis(redis)?, own })
    }

    fn redis(redis: &Redis) -> Result<f64, Failure> {
        let info = redis.cli(&["INFO", "cpu"])?;
        let field = |name: &str| -> f64 {
            info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default()
        };
        Ok(field("used_cpu_user:") + field("used_cpu_sys:"))
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
