//! `RedisBus` over a Redis Cluster whose slots move and whose masters die.

mod fixture;
mod slots;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use trunkline_bus::{Bus, ErrorKind, LeaseStatus, PresenceStore, RedisBus, RedisConfig, RedisOptions};
use trunkline_domain::{InstanceId, Position, Room};
use trunkline_testbed::{RedisCluster, TlsFiles, key_slot};

pub(crate) use self::fixture::Cluster;
use self::fixture::{Reader, degraded, publish_during, publish_with_retries};
use crate::{
    network::Proxy,
    redis::{draft, healthy, until},
};

#[tokio::test]
async fn rooms_of_all_shards_are_delivered() {
    let cluster = Cluster::start();
    let (bus, other) = (cluster.ready().await, cluster.ready().await);
    let rooms = cluster.rooms(12);
    let (mut reader, _subscriptions) = Reader::start(&bus, &rooms).await;
    for number in 0..5 {
        for room in &rooms {
            publish_with_retries(&other, room, number).await;
        }
    }
    reader.until_complete(&rooms, 5).await;
    assert!(reader.announced.values().all(|&count| count == 1));
    let heads = bus.heads(&rooms).await.unwrap();
    assert_eq!(heads, rooms.iter().map(|room| Some(reader.heads[room])).collect::<Vec<_>>());
    let known: Vec<_> = rooms.iter().map(|room| (room.clone(), reader.heads[room])).collect();
    assert_eq!(bus.changed_heads(&known).await.unwrap(), []);
    let unknown: Vec<_> = rooms.iter().map(|room| (room.clone(), Position::ORIGIN)).collect();
    assert_eq!(bus.changed_heads(&unknown).await.unwrap(), known);
    for check in ["redis", "writes", "presence", "eviction", "subscription"] {
        healthy(&bus, check).await;
    }
    until("no shard is degraded", || degraded(&bus).is_empty()).await;
}

#[tokio::test]
async fn slots_that_move_lose_nothing_and_break_no_continuity() {
    let cluster = Cluster::start();
    let (bus, writer) = (cluster.ready().await, cluster.ready().await);
    // redis-cli moves the first slots of a master.
    let is_moving = |room: &Room| key_slot(&cluster.channel(room)) < 1500;
    let (moving, staying): (Vec<Room>, Vec<Room>) = cluster.rooms(200).into_iter().partition(is_moving);
    let rooms: Vec<Room> = moving.iter().take(5).chain(staying.iter().take(7)).cloned().collect();
    let (mut reader, _subscriptions) = Reader::start(&bus, &rooms).await;
    let redis = cluster.redis.clone();
    publish_during(writer, &mut reader, &rooms, move || {
        redis.reshard(1500, 0, 1).unwrap();
        redis.reshard(1500, 1, 0).unwrap();
    })
    .await;
    for room in &rooms {
        let count = reader.announced[room];
        assert_eq!(count > 1, is_moving(room), "{room} was announced {count} times");
    }
}

#[tokio::test]
async fn killed_master_stops_its_rooms_only_until_its_replica_is_promoted() {
    let cluster = Cluster::start();
    let bus = cluster.ready().await;
    let rooms: Vec<Room> = (0..3).map(|master| cluster.room_at(master)).collect();
    let (mut reader, _subscriptions) = Reader::start(&bus, &rooms).await;
    for room in &rooms {
        publish_with_retries(&bus, room, 0).await;
    }
    reader.until_complete(&rooms, 1).await;
    cluster.redis.node(0).cli(&["WAIT", "1", "5000"]).unwrap();
    let mut cluster = cluster;
    Arc::get_mut(&mut cluster.redis).unwrap().kill(0).unwrap();
    let killed = Instant::now();
    until("the failure", || !degraded(&bus).is_empty()).await;
    let why = degraded(&bus);
    let port = cluster.redis.node(0).port();
    assert!(why.iter().any(|why| why.starts_with(&format!("shard 127.0.0.1:{port}: "))), "{why:?}");
    assert!(bus.health().iter().all(|check| check.state.is_ok()), "{:?}", bus.health());
    let started = Instant::now();
    let error = bus.publish(&rooms[0], draft(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(started.elapsed() < Duration::from_millis(200), "failed after {:?}", started.elapsed());
    for room in &rooms[1..] {
        bus.publish(room, draft(1)).await.unwrap();
    }
    let heads = bus.heads(&rooms).await.unwrap();
    assert!(heads[0].is_none() && heads[1].is_some() && heads[2].is_some());
    let unknown: Vec<_> = rooms.iter().map(|room| (room.clone(), Position::ORIGIN)).collect();
    let changed = bus.changed_heads(&unknown).await.unwrap();
    assert_eq!(changed, [1, 2].map(|index| (rooms[index].clone(), heads[index].unwrap())));
    publish_with_retries(&bus, &rooms[0], 1).await;
    println!("acknowledged {:?} after the kill", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(12), "{:?}", killed.elapsed());
    reader.until_complete(&rooms, 2).await;
    assert_eq!((reader.announced[&rooms[1]], reader.announced[&rooms[2]]), (1, 1), "only rooms of the lost shard");
    assert!(reader.announced[&rooms[0]] > 1);
    until("all shards work again", || degraded(&bus).is_empty()).await;
}

#[tokio::test]
async fn leases_at_other_masters_are_checked_while_one_is_away() {
    let mut cluster = Cluster::without_replicas();
    let bus = cluster.ready().await;
    let instance = InstanceId(7);
    let rooms: Vec<Room> = (0..3).map(|master| cluster.room_at(master)).collect();
    for room in &rooms {
        bus.replace(room, instance, &["ann".parse().unwrap()]).await.unwrap();
    }
    let held = |status: &Option<LeaseStatus>| matches!(status, Some(LeaseStatus::Held(_)));
    assert!(bus.check(instance, &rooms).await.unwrap().iter().all(held));
    Arc::get_mut(&mut cluster.redis).unwrap().kill(0).unwrap();
    let statuses = bus.check(instance, &rooms).await.unwrap();
    assert!(statuses[0].is_none() && statuses[1..].iter().all(held), "{statuses:?}");
    assert!(bus.check(instance, &rooms[..1]).await.is_err(), "nothing is known");
    assert!(bus.expire(instance, &rooms).await.is_err());
    assert_eq!(bus.check(instance, &rooms).await.unwrap()[1..], [Some(LeaseStatus::Lost); 2], "expired all the same");
}

#[tokio::test]
async fn silent_subscription_of_one_shard_is_replaced_and_the_others_are_kept() {
    let cluster = Cluster::without_replicas();
    let proxy = Proxy::start(cluster.redis.node(0).port()).await;
    let port = proxy.port.to_string();
    cluster.redis.node(0).cli(&["CONFIG", "SET", "cluster-announce-port", &port]).unwrap();
    let announces = |node| cluster.redis.node(node).cli(&["CLUSTER", "SHARDS"]).unwrap().contains(&port);
    until("all nodes name the proxy", || (0..3).all(announces)).await;
    let bus = cluster.ready().await;
    let rooms: Vec<Room> = (0..3).map(|master| cluster.room_at(master)).collect();
    let (mut reader, _subscriptions) = Reader::start(&bus, &rooms).await;
    healthy(&bus, "subscription").await;
    proxy.stall(true);
    let stalled = Instant::now();
    for room in &rooms {
        publish_with_retries(&bus, room, 0).await;
    }
    reader.until_complete(&rooms, 1).await;
    println!("delivered {:?} after the subscription fell silent", stalled.elapsed());
    assert!(stalled.elapsed() < Duration::from_secs(9), "{:?}", stalled.elapsed());
    assert_eq!(rooms.iter().map(|room| reader.announced[room]).collect::<Vec<_>>(), [2, 1, 1]);
    until("all shards work", || degraded(&bus).is_empty()).await;
}

#[tokio::test]
async fn planned_failover_keeps_every_message() {
    let cluster = Cluster::of(RedisCluster::builder(3).password("secret").start().unwrap());
    let bus = cluster.ready().await;
    let rooms: Vec<Room> = (0..3).map(|master| cluster.room_at(master)).collect();
    let (mut reader, _subscriptions) = Reader::start(&bus, &rooms).await;
    let redis = cluster.redis.clone();
    publish_during(bus.clone(), &mut reader, &rooms, move || {
        redis.fail_over(0).unwrap();
    })
    .await;
    assert!(reader.announced[&rooms[0]] > 1);
    assert_eq!((reader.announced[&rooms[1]], reader.announced[&rooms[2]]), (1, 1));
    until("all shards work", || degraded(&bus).is_empty()).await;
}

#[tokio::test]
async fn cluster_is_used_over_tls() {
    let files = TlsFiles::create().unwrap();
    let cluster = Cluster::of(RedisCluster::builder(3).replicas(0).tls(&files).start().unwrap());
    let options = RedisOptions { ca_file: Some(files.ca()), ..RedisOptions::default() };
    let config = RedisConfig { options, prefix: cluster.prefix.clone(), ..RedisConfig::new(cluster.redis.url()) };
    let bus = RedisBus::new(config).unwrap();
    let rooms = cluster.rooms(6);
    let (mut reader, _subscriptions) = Reader::start(&bus, &rooms).await;
    for room in &rooms {
        publish_with_retries(&bus, room, 0).await;
    }
    reader.until_complete(&rooms, 1).await;
    until("all shards work", || degraded(&bus).is_empty()).await;
}

#[tokio::test]
async fn wrong_kind_of_url_is_named() {
    let cluster = Cluster::of(RedisCluster::builder(3).replicas(0).start().unwrap());
    let port = cluster.redis.node(0).port();
    let single = RedisBus::new(RedisConfig::new(format!("redis://127.0.0.1:{port}"))).unwrap();
    let names = |bus: &RedisBus, scheme: &str| {
        bus.health().iter().any(|check| check.state.as_ref().is_err_and(|why| why.contains(scheme)))
    };
    until("the reason", || names(&single, "use redis-cluster://")).await;
    let redis = trunkline_testbed::Redis::builder().start().unwrap();
    let cluster = RedisBus::new(RedisConfig::new(format!("redis-cluster://127.0.0.1:{}", redis.port()))).unwrap();
    until("the reason", || names(&cluster, "use redis://")).await;
}

#[tokio::test]
async fn full_coverage_is_named_as_degraded() {
    let cluster = Cluster::of(
        RedisCluster::builder(3).replicas(0).config("cluster-require-full-coverage", "yes").start().unwrap(),
    );
    let bus = cluster.connect();
    healthy(&bus, "redis").await;
    until("the warning", || degraded(&bus).iter().any(|why| why.contains("cluster-require-full-coverage"))).await;
}
