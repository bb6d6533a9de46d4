//! One instance with many quiet rooms: processor time of what a gateway does for each of them again and again.

use std::{future::Future, time::Instant};

use trunkline_bus::{Bus, BusError, InstanceRegistry, PresenceStore};
use trunkline_domain::{Draft, InstanceId, Room};
use trunkline_testbed::Redis;

use super::{Cpu, Failure, connect};

/// Number of rooms.
const ROOMS: usize = 20_000;
/// Rooms per call, as in one tick of a gateway.
const ROOMS_PER_CALL: usize = 200;

pub(super) async fn measure(redis: &Redis) -> Result<(), Failure> {
    println!("{ROOMS} quiet rooms; per room and call");
    let bus = connect(redis, "rest".to_owned()).await?;
    let rooms: Vec<Room> = (0..ROOMS).map(|room| format!("room-{room}").parse()).collect::<Result<_, _>>()?;
    let instance = InstanceId(1);
    bus.heartbeat(instance).await?;
    let users = ["ann".parse()?];
    let mut heads = Vec::with_capacity(ROOMS);
    for room in &rooms {
        let draft = Draft::text("id".parse()?, "ann".parse()?, "x".repeat(100).parse()?);
        heads.push((room.clone(), bus.publish(room, draft).await?.pos));
        bus.replace(room, instance, &users).await?;
    }
    let counts: Vec<(Room, usize)> = rooms.iter().map(|room| (room.clone(), 1)).collect();
    each(redis, "head compared", &heads, |heads| async { bus.changed_heads(heads).await.map(drop) }).await?;
    each(redis, "lease checked", &rooms, |rooms| async { bus.check(instance, rooms).await.map(drop) }).await?;
    for round in ["first", "again"] {
        let refresh = |rooms| bus.refresh_expiry(rooms);
        each(redis, &format!("expiry refreshed, {round}"), &rooms, refresh).await?;
        let set = |counts| bus.set_room_counts(counts);
        each(redis, &format!("count set, {round}"), &counts, set).await?;
    }
    Ok(())
}

async fn each<'a, T, F: Future<Output = Result<(), BusError>>>(
    redis: &Redis,
    what: &str,
    rooms: &'a [T],
    call: impl Fn(&'a [T]) -> F,
) -> Result<(), Failure> {
    let (before, started) = (Cpu::now(redis)?, Instant::now());
    for rooms in rooms.chunks(ROOMS_PER_CALL) {
        call(rooms).await?;
    }
    let elapsed = started.elapsed();
    before.print(redis, rooms.len(), &format!("{what} ({elapsed:.1?} in all)")).await
}
