//! Three instances that send and receive at a given rate: processor time and latency by the maximum batch delay.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use trunkline_bus::{Bus, Delivery, RedisBus, RedisConfig, Subscriptions};
use trunkline_domain::{Draft, Room};
use trunkline_testbed::Redis;

use super::{Cpu, Failure};

const INSTANCES: usize = 3;
const ROOMS: usize = 1000;
const SECONDS: u64 = 5;

/// Measures each combination of rate (messages per second in all) and maximum delay (in ms).
pub(super) fn measure(redis: &Redis, rates: &[u64], delays: &[u64]) -> Result<(), Failure> {
    println!("{INSTANCES} instances, {ROOMS} rooms, every message received by all instances");
    println!("messages/s  delay max  Redis CPU  instances' CPU  publish p50   p99      batches/s");
    for &rate in rates {
        for &delay in delays {
            run(redis, rate, Duration::from_millis(delay))?;
        }
    }
    Ok(())
}

fn run(redis: &Redis, rate: u64, delay: Duration) -> Result<(), Failure> {
    let prefix = format!("load-{rate}-{}", delay.as_millis());
    let config = RedisConfig { prefix, batch_delay_max: delay, ..RedisConfig::new(redis.url()) };
    let received = Arc::new(AtomicU64::new(0));
    let reads = || -> Result<u64, Failure> {
        let info = redis.cli(&["INFO", "stats"])?;
        Ok(info.lines().find_map(|line| line.strip_prefix("total_reads_processed:")?.trim().parse().ok()).unwrap_or(0))
    };
    let start_barrier = Arc::new(std::sync::Barrier::new(INSTANCES + 1));
    let threads: Vec<_> = (0..INSTANCES)
        .map(|number| {
            let (config, barrier, received) = (config.clone(), start_barrier.clone(), received.clone());
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(instance(config, number, rate / INSTANCES as u64, &barrier, received))
            })
        })
        .collect();
    start_barrier.wait();
    let (before, reads_before) = (Cpu::of_process(redis)?, reads()?);
    let mut latencies = Vec::new();
    for thread in threads {
        latencies.extend(thread.join().map_err(|_| "an instance panicked")?.map_err(|error| error.to_string())?);
    }
    let (after, reads_after) = (Cpu::of_process(redis)?, reads()?);
    latencies.sort_unstable();
    let percentile = |part: usize| latencies[latencies.len() * part / 100].as_secs_f64() * 1e3;
    let share = |seconds: f64| seconds / SECONDS as f64 * 100.0;
    println!(
        "{rate:>10}  {:>6} ms  {:>7.1} %  {:>12.1} %  {:>8.2} ms {:>7.2} ms  {:>8}",
        delay.as_millis(),
        share(after.redis - before.redis),
        share(after.own - before.own),
        percentile(50),
        percentile(99),
        (reads_after - reads_before) / SECONDS,
    );
    Ok(())
}

type ThreadError = Box<dyn std::error::Error + Send + Sync>;

/// Sends `rate` messages per second at pseudo-random intervals, and returns how long each publish took.
async fn instance(
    config: RedisConfig,
    number: usize,
    rate: u64,
    barrier: &std::sync::Barrier,
    received: Arc<AtomicU64>,
) -> Result<Vec<Duration>, ThreadError> {
    let bus = RedisBus::new(config)?;
    let (subscriptions, mut deliveries) = bus.open();
    let rooms: Vec<Room> = (0..ROOMS).map(|room| format!("room-{room}").parse()).collect::<Result<_, _>>()?;
    rooms.iter().for_each(|room| subscriptions.subscribe(room));
    for _ in &rooms {
        deliveries.recv().await;
    }
    tokio::spawn(async move {
        while let Some(delivery) = deliveries.recv().await {
            if let Delivery::Entry(..) = delivery {
                received.fetch_add(1, Relaxed);
            }
        }
    });
    while bus.heads(&rooms[..1]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    barrier.wait();
    let mut calls = tokio::task::JoinSet::new();
    let started = Instant::now();
    // A linear congruential generator: the same arrivals in every run, and exponential gaps between them.
    let mut state = number as u64 + 1;
    let mut due = Duration::ZERO;
    for message in 0.. {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let uniform = ((state >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        due += Duration::from_secs_f64(-uniform.ln() / rate as f64);
        if due.as_secs() >= SECONDS {
            break;
        }
        if let Some(wait) = due.checked_sub(started.elapsed()) {
            tokio::time::sleep(wait).await;
        }
        let room = rooms[(state >> 33) as usize % ROOMS].clone();
        let id = format!("{number}-{message}").parse()?;
        let draft = Draft::text(id, format!("user{}", message % 100).parse()?, "x".repeat(100).parse()?);
        let bus = bus.clone();
        calls.spawn(async move {
            let asked = Instant::now();
            bus.publish(&room, draft).await.map(|_| asked.elapsed())
        });
    }
    let mut latencies = Vec::new();
    while let Some(call) = calls.join_next().await {
        latencies.push(call??);
    }
    Ok(latencies)
}
