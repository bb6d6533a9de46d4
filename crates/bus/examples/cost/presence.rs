//! A room of 10,000 users, and 1,000 rooms of 10, on three processes' worth of instances.

use std::{collections::HashMap, time::Instant};

use tokio::sync::mpsc::Receiver;
use trunkline_bus::{Bus, Delivery, InstanceRegistry, PresenceStore, RedisBus, RedisSubscriptions, Subscriptions};
use trunkline_domain::{InstanceId, PresenceDebouncer, Room, Roster, UserName};
use trunkline_testbed::Redis;

use super::{Cpu, Failure, connect};

/// Holders, each with a bus and a roster of every room.
const HOLDERS: usize = 3;
/// Changes that are measured: one user comes, and one goes.
const CHANGES: usize = 6000;
/// How often all leases are looked at.
const CHECKS: usize = 20;
/// How often each process says that it lives.
const BEATS: usize = 2000;
/// How often a roster is read anew.
const READS: usize = 60;

pub(super) async fn measure(redis: &Redis) -> Result<(), Failure> {
    for (rooms, users) in [(1, 10_000), (1000, 10)] {
        println!("presence, {rooms} rooms of {users} users on {HOLDERS} processes; the processes' time is that of all");
        measure_rooms(redis, rooms, users).await?;
    }
    Ok(())
}

async fn measure_rooms(redis: &Redis, rooms: usize, users: usize) -> Result<(), Failure> {
    let rooms: Vec<Room> = (0..rooms).map(|n| format!("room-{n}").parse()).collect::<Result<_, _>>()?;
    let mut processes = Vec::new();
    for number in 1..=HOLDERS {
        processes.push((listening(redis, &rooms).await?, InstanceId(number as u128)));
    }

    let before = Cpu::now(redis)?;
    for room in &rooms {
        for (index, ((bus, _), instance)) in processes.iter().enumerate() {
            let here: Vec<UserName> = (index..users).step_by(HOLDERS).map(user).collect::<Result<_, _>>()?;
            bus.replace(room, *instance, &here).await?;
        }
    }
    before.print(redis, rooms.len() * HOLDERS, "a process enters a room").await?;

    // Each instance's users of a room come and go in change, so that the rooms keep their size.
    let before = Cpu::now(redis)?;
    for change in 0..CHANGES {
        let ((bus, _), instance) = &processes[change % HOLDERS];
        let room = &rooms[change / HOLDERS % rooms.len()];
        let round = change / HOLDERS / rooms.len();
        let left = if round == 0 { change % HOLDERS } else { users + (round - 1) * HOLDERS + change % HOLDERS };
        bus.update(room, *instance, &[user(users + round * HOLDERS + change % HOLDERS)?], &[user(left)?]).await?;
    }
    before.print(redis, CHANGES, "a change, heard by all").await?;

    let before = Cpu::now(redis)?;
    for _ in 0..CHECKS {
        for ((bus, _), instance) in &processes {
            bus.check(*instance, &rooms).await?;
        }
    }
    before.print(redis, CHECKS * HOLDERS * rooms.len(), "a lease looked at").await?;

    let before = Cpu::now(redis)?;
    for _ in 0..BEATS {
        for ((bus, _), instance) in &processes {
            bus.heartbeat(*instance).await?;
        }
    }
    before.print(redis, BEATS * HOLDERS, "a process's beat").await?;

    let before = Cpu::now(redis)?;
    for read in 0..READS {
        processes[0].0.0.snapshot(&rooms[read % rooms.len()]).await?;
    }
    before.print(redis, READS, "a roster read anew").await?;
    Ok(())
}

fn user(number: usize) -> Result<UserName, trunkline_domain::InvalidName> {
    format!("user{number}").parse()
}

/// A bus that hears all of these rooms, and what keeps it listening.
async fn listening(redis: &Redis, rooms: &[Room]) -> Result<(RedisBus, RedisSubscriptions), Failure> {
    let bus = connect(redis, format!("presence-{}", rooms.len())).await?;
    let (interest, mut deliveries) = bus.open();
    rooms.iter().for_each(|room| interest.subscribe(room));
    for _ in rooms {
        deliveries.recv().await;
    }
    tokio::spawn(listen(bus.clone(), deliveries));
    Ok((bus, interest))
}

/// What a gateway does with what it hears, but for writing to sockets.
async fn listen(bus: RedisBus, mut deliveries: Receiver<Delivery>) {
    let mut rooms = HashMap::<Room, (Roster, PresenceDebouncer)>::new();
    let started = Instant::now();
    while let Some(delivery) = deliveries.recv().await {
        let Delivery::Presence(room, change) = delivery else { continue };
        let (roster, announcer) = rooms.entry(room.clone()).or_default();
        announcer.moved(roster.hear(change), started.elapsed());
        if roster.must_read()
            && let Ok(snapshot) = bus.snapshot(&room).await
        {
            announcer.moved(roster.replace(snapshot), started.elapsed());
        }
        announcer.due(started.elapsed());
    }
}
