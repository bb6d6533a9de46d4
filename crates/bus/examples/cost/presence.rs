//! One room of 10,000 users, and 1,000 rooms of 10 users, on three instances.

use std::collections::HashMap;

use tokio::sync::mpsc::Receiver;
use trunkline_bus::{Bus, Delivery, InstanceRegistry, PresenceStore, RedisBus, RedisSubscriptions, Subscriptions};
use trunkline_domain::{InstanceId, Member, Room, Roster};
use trunkline_testbed::Redis;

use super::{Cpu, Failure, connect};

/// Number of instances, each with a bus and a roster of every room.
const INSTANCES: usize = 3;
/// Number of measured changes: one user joins and one leaves.
const CHANGES: usize = 6000;
/// Number of checks of all leases.
const CHECKS: usize = 20;
/// Number of heartbeats per instance.
const HEARTBEATS: usize = 2000;
/// Number of snapshots.
const SNAPSHOTS: usize = 60;

pub(super) async fn measure(redis: &Redis) -> Result<(), Failure> {
    for (rooms, users) in [(1, 10_000), (1000, 10)] {
        println!("presence, {rooms} rooms of {users} users on {INSTANCES} instances, which share this process");
        measure_rooms(redis, rooms, users).await?;
    }
    Ok(())
}

async fn measure_rooms(redis: &Redis, rooms: usize, users: usize) -> Result<(), Failure> {
    let rooms: Vec<Room> = (0..rooms).map(|n| format!("room-{n}").parse()).collect::<Result<_, _>>()?;
    let mut instances = Vec::new();
    for number in 1..=INSTANCES {
        instances.push((subscribe(redis, &rooms).await?, InstanceId(number as u128)));
    }

    let before = Cpu::now(redis)?;
    for room in &rooms {
        for (index, ((bus, _), instance)) in instances.iter().enumerate() {
            let here: Vec<Member> = (index..users).step_by(INSTANCES).map(user).collect::<Result<_, _>>()?;
            bus.replace(room, *instance, &here).await?;
        }
    }
    before.print(redis, rooms.len() * INSTANCES, "an instance sets its users of a room").await?;

    // Each change replaces one user, so that the rooms keep their size.
    let before = Cpu::now(redis)?;
    for change in 0..CHANGES {
        let ((bus, _), instance) = &instances[change % INSTANCES];
        let room = &rooms[change / INSTANCES % rooms.len()];
        let round = change / INSTANCES / rooms.len();
        let left = if round == 0 { change % INSTANCES } else { users + (round - 1) * INSTANCES + change % INSTANCES };
        bus.update(room, *instance, &[user(users + round * INSTANCES + change % INSTANCES)?], &[user(left)?]).await?;
    }
    before.print(redis, CHANGES, "a change, received by all").await?;

    let before = Cpu::now(redis)?;
    for _ in 0..CHECKS {
        for ((bus, _), instance) in &instances {
            bus.check(*instance, &rooms).await?;
        }
    }
    before.print(redis, CHECKS * INSTANCES * rooms.len(), "a lease checked").await?;

    let before = Cpu::now(redis)?;
    for _ in 0..HEARTBEATS {
        for ((bus, _), instance) in &instances {
            bus.heartbeat(*instance).await?;
        }
    }
    before.print(redis, HEARTBEATS * INSTANCES, "a heartbeat").await?;

    let before = Cpu::now(redis)?;
    for read in 0..SNAPSHOTS {
        instances[0].0.0.snapshot(&rooms[read % rooms.len()]).await?;
    }
    before.print(redis, SNAPSHOTS, "a snapshot").await?;
    Ok(())
}

fn user(number: usize) -> Result<Member, trunkline_domain::InvalidMember> {
    format!("user{number}").parse()
}

/// A bus that is subscribed to all of these rooms, and the handle that keeps it subscribed.
async fn subscribe(redis: &Redis, rooms: &[Room]) -> Result<(RedisBus, RedisSubscriptions), Failure> {
    let bus = connect(redis, format!("presence-{}", rooms.len())).await?;
    let (subscriptions, mut deliveries) = bus.open();
    rooms.iter().for_each(|room| subscriptions.subscribe(room));
    for _ in rooms {
        deliveries.recv().await;
    }
    tokio::spawn(consume(bus.clone(), deliveries));
    Ok((bus, subscriptions))
}

/// Keeps rosters from presence changes, as a gateway does.
async fn consume(bus: RedisBus, mut deliveries: Receiver<Delivery>) {
    let mut rooms = HashMap::<Room, Roster>::new();
    while let Some(delivery) = deliveries.recv().await {
        let Delivery::Presence(room, change) = delivery else { continue };
        let roster = rooms.entry(room.clone()).or_default();
        roster.apply(change);
        if roster.needs_snapshot()
            && let Ok(snapshot) = bus.snapshot(&room).await
        {
            roster.replace(snapshot);
        }
    }
}
