//! Messages into one room and into 1,000 rooms, at full speed and at 1,000 per second; and the memory that they take in
//! Redis.

use std::time::Duration;

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use trunkline_bus::{Bus, BusError, RedisBus};
use trunkline_domain::{Draft, Room};
use trunkline_testbed::Redis;

use super::{Cpu, Failure, connect};

/// Number of messages sent at full speed.
const FAST: usize = 50_000;
/// Number of messages sent at 1,000 per second.
const PACED: usize = 10_000;
/// Number of calls under way.
const UNDER_WAY: usize = 200;

pub(super) async fn measure(redis: &Redis) -> Result<(), Failure> {
    for bytes in [100, 4000] {
        println!("sends of {bytes} bytes");
        let prefix = format!("sends-{bytes}");
        let bus = connect(redis, prefix.clone()).await?;
        for rooms in [1, 1000] {
            let before = Cpu::now(redis)?;
            send(&bus, FAST, rooms, bytes, Duration::ZERO).await?;
            before.print(redis, FAST, &format!("at full speed into {rooms} rooms")).await?;
        }
        let before = Cpu::now(redis)?;
        send(&bus, PACED, 1000, bytes, Duration::from_millis(1)).await?;
        before.print(redis, PACED, "at 1,000 per second into 1000 rooms").await?;
        let each = |what: &str, length: &str| -> Result<f64, Failure> {
            let key = format!("{prefix}:{{room-0}}:{what}");
            let ask =
                |command: &[&str]| redis.cli(command).map(|answer| answer.trim().parse::<f64>().unwrap_or_default());
            Ok(ask(&["MEMORY", "USAGE", &key, "SAMPLES", "0"])? / ask(&[length, &key])?.max(1.0))
        };
        let (entry, id) = (each("log", "XLEN")?, each("ids:0", "HLEN")?.max(each("ids:1", "HLEN")?));
        println!("  memory: {entry:.0} bytes per message in the log, {id:.0} bytes per remembered id");
    }
    Ok(())
}

/// Sends `count` messages, one per `pace`.
async fn send(bus: &RedisBus, count: usize, rooms: usize, bytes: usize, pace: Duration) -> Result<(), Failure> {
    let mut calls: JoinSet<Result<(), BusError>> = JoinSet::new();
    let mut due = Instant::now();
    for number in 0..count {
        if !pace.is_zero() {
            due += pace;
            sleep_until(due).await;
        }
        if calls.len() >= UNDER_WAY
            && let Some(sent) = calls.join_next().await
        {
            sent??;
        }
        let room: Room = format!("room-{}", number % rooms).parse()?;
        let (user, id) =
            (format!("user{}", number % 100).parse()?, format!("{rooms}-{pace:?}-{number}").replace('.', "-"));
        let draft = Draft::text(id.parse()?, user, "x".repeat(bytes).parse()?);
        let bus = bus.clone();
        calls.spawn(async move { bus.publish(&room, draft).await.map(drop) });
    }
    while let Some(sent) = calls.join_next().await {
        sent??;
    }
    Ok(())
}
