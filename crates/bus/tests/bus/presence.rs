//! Presence while the subscription is cut, while Redis is down, and after it lost its data.

use std::time::Duration;

use trunkline_bus::{Bus, Delivery, InstanceRegistry, Lease, LeaseStatus, PresenceStore, RedisBus, Subscriptions};
use trunkline_domain::{InstanceId, Member, Room, Roster};

use crate::redis::{LEASE, Server, TEST_TIMEOUT, healthy, lobby, next_delivery, unhealthy};

const ONE: InstanceId = InstanceId(1);
const OTHER: InstanceId = InstanceId(2);

fn names<const N: usize>(users: [&str; N]) -> Vec<Member> {
    users.into_iter().map(|user| user.parse().unwrap()).collect()
}

/// Retries until Redis replies.
async fn with_retries<T, E>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let trying = async {
        loop {
            if let Ok(done) = attempt().await {
                return done;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, trying).await.unwrap()
}

async fn replace(bus: &RedisBus, instance: InstanceId, users: &[Member]) {
    with_retries(async || bus.replace(&lobby(), instance, users).await).await;
}

async fn count(bus: &RedisBus) -> usize {
    let mut roster = Roster::default();
    roster.replace(with_retries(async || bus.snapshot(&lobby()).await).await);
    roster.count()
}

#[tokio::test]
async fn snapshot_contains_the_changes_missed_by_a_cut_subscription() {
    let server = Server::durable();
    let (bus, quiet) = (server.ready().await, server.ready().await);
    let (subscriptions, mut deliveries) = bus.open();
    subscriptions.subscribe(&lobby());
    assert_eq!(next_delivery(&mut deliveries).await, Delivery::Subscribed(lobby()));
    replace(&quiet, ONE, &names(["ann"])).await;
    assert!(matches!(next_delivery(&mut deliveries).await, Delivery::Presence(..)));
    server.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    let lease = quiet.update(&lobby(), ONE, &names(["bob"]), &[]).await.unwrap();
    assert_eq!(lease, Lease::Held);
    while next_delivery(&mut deliveries).await != Delivery::Subscribed(lobby()) {}
    assert_eq!(count(&bus).await, 2);
}

#[tokio::test]
async fn lost_leases_are_reported_after_redis_lost_its_data() {
    let mut server = Server::durable();
    let bus = server.ready().await;
    replace(&bus, ONE, &names(["ann"])).await;
    let before = with_retries(async || bus.snapshot(&lobby()).await).await.version;
    server.redis.restart_empty().unwrap();
    assert_eq!(with_retries(async || bus.check(ONE, &[lobby()]).await).await, [Some(LeaseStatus::Lost)]);
    assert_eq!(count(&bus).await, 0);
    replace(&bus, ONE, &names(["ann"])).await;
    assert_eq!(count(&bus).await, 1);
    assert!(with_retries(async || bus.snapshot(&lobby()).await).await.version > before, "versions grow all the same");
}

#[tokio::test]
async fn outage_of_redis_ends_no_lease() {
    let mut server = Server::durable();
    let (bus, other) = (server.ready().await, server.ready().await);
    for (bus, instance, user) in [(&bus, ONE, "ann"), (&other, OTHER, "bob")] {
        with_retries(async || bus.heartbeat(instance).await).await;
        replace(bus, instance, &names([user])).await;
    }
    server.redis.kill().unwrap();
    unhealthy(&bus, "redis").await;
    assert!(bus.heartbeat(ONE).await.is_err());
    tokio::time::sleep(LEASE).await;
    server.redis.restart().unwrap();
    healthy(&bus, "redis").await;
    assert_eq!(with_retries(async || bus.heartbeat(ONE).await).await, [ONE]);
    for (bus, instance) in [(&bus, ONE), (&other, OTHER)] {
        assert!(matches!(
            with_retries(async || bus.check(instance, &[lobby()]).await).await[..],
            [Some(LeaseStatus::Held(_))]
        ));
    }
    assert_eq!(count(&bus).await, 2);
}

#[tokio::test]
async fn check_renews_leases_before_they_expire_and_skips_those_that_it_cannot_read() {
    let server = Server::durable();
    let bus = server.ready().await;
    let [damaged, lost]: [Room; 2] = ["damaged", "lost"].map(|name| name.parse().unwrap());
    replace(&bus, ONE, &names(["ann"])).await;
    server.redis.cli(&["SET", &server.key(&damaged, "holders"), "x"]).unwrap();
    server.redis.cli(&["SADD", &server.key(&damaged, &format!("holders:{ONE}")), "ann"]).unwrap();
    let keys = ["holders".to_owned(), "turn".to_owned(), format!("holders:{ONE}")];
    for key in &keys {
        server.redis.cli(&["PEXPIRE", &server.key(&lobby(), key), "1700000"]).unwrap();
    }
    let statuses = with_retries(async || bus.check(ONE, &[damaged.clone(), lobby(), lost.clone()]).await).await;
    assert!(matches!(statuses[..], [None, Some(LeaseStatus::Held(_)), Some(LeaseStatus::Lost)]), "{statuses:?}");
    for key in &keys {
        let expiry: u64 = server.redis.cli(&["PTTL", &server.key(&lobby(), key)]).unwrap().parse().unwrap();
        assert!((3_500_000..=3_600_000).contains(&expiry), "{key} expires in {expiry} ms");
    }
}

#[tokio::test]
async fn counts_are_written_again_after_a_lost_lease_shows_that_redis_was_emptied() {
    let server = Server::durable();
    let bus = server.ready().await;
    let counts = [(lobby(), 1)];
    with_retries(async || bus.heartbeat(ONE).await).await;
    replace(&bus, ONE, &names(["ann"])).await;
    for _ in 0..2 {
        bus.set_room_counts(&counts).await.unwrap();
    }
    server.redis.cli(&["FLUSHALL"]).unwrap();
    bus.set_room_counts(&counts).await.unwrap();
    assert_eq!(bus.room_counts().await.unwrap(), [], "the counts did not change, so they were not written");
    assert_eq!(bus.check(ONE, &[lobby()]).await.unwrap(), [Some(LeaseStatus::Lost)]);
    bus.set_room_counts(&counts).await.unwrap();
    assert_eq!(bus.room_counts().await.unwrap(), counts);
}

#[tokio::test]
async fn room_counts_set_before_the_first_heartbeat_remain_visible() {
    let server = Server::shared();
    let bus = server.ready().await;
    let counts = [(lobby(), 1)];
    bus.set_room_counts(&counts).await.unwrap();
    bus.heartbeat(ONE).await.unwrap();
    for _ in 0..5 {
        bus.set_room_counts(&counts).await.unwrap();
        tokio::time::sleep(LEASE / 4).await;
        bus.heartbeat(ONE).await.unwrap();
    }
    assert_eq!(bus.room_counts().await.unwrap(), counts);
}

#[tokio::test]
async fn redis_without_memory_changes_no_presence() {
    let server = Server::durable();
    let bus = server.ready().await;
    replace(&bus, ONE, &names(["ann"])).await;
    let before = bus.snapshot(&lobby()).await.unwrap();
    server.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    assert!(bus.update(&lobby(), ONE, &names(["bob"]), &names(["ann"])).await.is_err());
    assert!(bus.replace(&lobby(), OTHER, &names(["cai"])).await.is_err());
    assert!(bus.expire(ONE, &[lobby()]).await.is_err());
    assert!(bus.heartbeat(ONE).await.is_err());
    server.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert_eq!(bus.snapshot(&lobby()).await.unwrap(), before);
}
