//! What presence costs, measured: a room of 10,000 users, and 1,000 rooms of 10, on three processes' worth of holders
//! over a real Redis. `cargo run --release -p trunkline-bus --example presence`

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::Receiver;
use trunkline_bus::{Bus, Delivery, Interest, Presence, RedisBus, RedisConfig, RedisInterest};
use trunkline_domain::{Announcer, Holder, Room, Roster, UserName};
use trunkline_testbed::Redis;

/// Holders, each with a bus and a roster of every room.
const HOLDERS: usize = 3;
/// Changes that are measured: one user comes, and one goes.
const CHANGES: usize = 6000;
/// How often all leases are renewed.
const BEATS: usize = 20;
/// How often a roster is read anew.
const READS: usize = 60;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let redis = Redis::start()?;
    for (rooms, users) in [(1, 10_000), (1000, 10)] {
        println!("{rooms} rooms of {users} users on {HOLDERS} processes");
        measure(&redis, rooms, users).await?;
    }
    Ok(())
}

async fn measure(redis: &Redis, rooms: usize, users: usize) -> Result<(), Failure> {
    let rooms: Vec<Room> = (0..rooms).map(|n| format!("room-{n}").parse()).collect::<Result<_, _>>()?;
    let mut processes = Vec::new();
    for number in 1..=HOLDERS {
        processes.push((connect(redis, &rooms).await?, Holder(number as u128)));
    }

    let before = Cpu::now(redis)?;
    for room in &rooms {
        for (index, ((bus, _), holder)) in processes.iter().enumerate() {
            let here: Vec<UserName> = (index..users).step_by(HOLDERS).map(user).collect::<Result<_, _>>()?;
            bus.enter(room, *holder, &here).await?;
        }
    }
    before.print(redis, rooms.len() * HOLDERS, "a process enters a room").await?;

    // Each holder's users of a room come and go in turn, so that the rooms keep their size.
    let before = Cpu::now(redis)?;
    for change in 0..CHANGES {
        let ((bus, _), holder) = &processes[change % HOLDERS];
        let room = &rooms[change / HOLDERS % rooms.len()];
        let round = change / HOLDERS / rooms.len();
        let went = if round == 0 { change % HOLDERS } else { users + (round - 1) * HOLDERS + change % HOLDERS };
        bus.shift(room, *holder, &[user(users + round * HOLDERS + change % HOLDERS)?], &[user(went)?]).await?;
    }
    before.print(redis, CHANGES, "a change, heard by all").await?;

    let before = Cpu::now(redis)?;
    for _ in 0..BEATS {
        for ((bus, _), holder) in &processes {
            bus.beat(*holder, &rooms).await?;
        }
    }
    before.print(redis, BEATS * HOLDERS * rooms.len(), "a lease renewed").await?;

    let before = Cpu::now(redis)?;
    for read in 0..READS {
        processes[0].0.0.present(&rooms[read % rooms.len()]).await?;
    }
    before.print(redis, READS, "a roster read anew").await?;
    Ok(())
}

fn user(number: usize) -> Result<UserName, trunkline_domain::InvalidName> {
    format!("user{number}").parse()
}

/// A bus that hears all of these rooms, and what keeps it listening.
async fn connect(redis: &Redis, rooms: &[Room]) -> Result<(RedisBus, RedisInterest), Failure> {
    let prefix = format!("cost-{}", rooms.len());
    let bus = RedisBus::new(RedisConfig { prefix, ..RedisConfig::new(redis.url()) })?;
    while bus.present(&rooms[0]).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (interest, mut deliveries) = bus.open();
    rooms.iter().for_each(|room| interest.want(room));
    for _ in rooms {
        deliveries.recv().await;
    }
    tokio::spawn(listen(bus.clone(), deliveries));
    Ok((bus, interest))
}

/// What a gateway does with what it hears, but for writing to sockets.
async fn listen(bus: RedisBus, mut deliveries: Receiver<Delivery>) {
    let mut rooms = HashMap::<Room, (Roster, Announcer)>::new();
    let started = Instant::now();
    while let Some(delivery) = deliveries.recv().await {
        let Delivery::Presence(room, turn) = delivery else { continue };
        let (roster, announcer) = rooms.entry(room.clone()).or_default();
        announcer.moved(roster.hear(turn), started.elapsed());
        if roster.must_read()
            && let Ok(snapshot) = bus.present(&room).await
        {
            announcer.moved(roster.replace(snapshot), started.elapsed());
        }
        announcer.due(started.elapsed());
    }
}

/// Processor time used so far, by Redis and by this process, in seconds.
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
        // The first number is this thread's time on a processor, in nanoseconds; there is no other thread.
        let own = std::fs::read_to_string("/proc/self/schedstat")?;
        let own = own.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or_default() / 1e9;
        Ok(Self { redis: field("used_cpu_user:") + field("used_cpu_sys:"), own })
    }

    /// Prints what each of so many events has cost since, once everybody has heard.
    async fn print(self, redis: &Redis, events: usize, what: &str) -> Result<(), Failure> {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = Self::now(redis)?;
        let each = |seconds: f64| seconds / events as f64 * 1e6;
        let (theirs, own) = (each(now.redis - self.redis), each(now.own - self.own));
        println!("  {what}: {theirs:.1} µs of Redis, {own:.1} µs of all {HOLDERS} processes");
        Ok(())
    }
}
