//! Presence over a Redis that is cut off, stands still, or forgets.

use std::time::Duration;

use trunkline_bus::{Bus, Delivery, InstanceRegistry, Lease, LeaseStatus, PresenceStore, RedisBus, Subscriptions};
use trunkline_domain::{InstanceId, Roster, UserName};

use crate::redis::{LEASE, PATIENCE, Server, healthy, hear, lobby, unhealthy};

const ONE: InstanceId = InstanceId(1);
const OTHER: InstanceId = InstanceId(2);

fn names<const N: usize>(users: [&str; N]) -> Vec<UserName> {
    users.into_iter().map(|user| user.parse().unwrap()).collect()
}

/// Tries until Redis is back.
async fn insist<T, E>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let trying = async {
        loop {
            if let Ok(done) = attempt().await {
                return done;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.unwrap()
}

async fn replace(bus: &RedisBus, instance: InstanceId, users: &[UserName]) {
    insist(async || bus.replace(&lobby(), instance, users).await).await;
}

async fn count(bus: &RedisBus) -> usize {
    let mut roster = Roster::default();
    roster.replace(insist(async || bus.snapshot(&lobby()).await).await);
    roster.count()
}

#[tokio::test]
async fn a_cut_subscription_says_so_and_the_snapshot_has_what_was_missed() {
    let server = Server::durable();
    let (bus, quiet) = (server.ready().await, server.ready().await);
    let (interest, mut deliveries) = bus.open();
    interest.subscribe(&lobby());
    assert_eq!(hear(&mut deliveries).await, Delivery::Subscribed(lobby()));
    replace(&quiet, ONE, &names(["ann"])).await;
    assert!(matches!(hear(&mut deliveries).await, Delivery::Presence(..)));
    server.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    let shifted = quiet.update(&lobby(), ONE, &names(["bob"]), &[]).await.unwrap();
    assert_eq!(shifted, Lease::Held);
    while hear(&mut deliveries).await != Delivery::Subscribed(lobby()) {}
    assert_eq!(count(&bus).await, 2);
}

#[tokio::test]
async fn forgotten_by_redis_everybody_enters_again() {
    let mut server = Server::durable();
    let bus = server.ready().await;
    replace(&bus, ONE, &names(["ann"])).await;
    let before = insist(async || bus.snapshot(&lobby()).await).await.version;
    server.redis.restart_empty().unwrap();
    assert_eq!(insist(async || bus.check(ONE, &[lobby()]).await).await, [LeaseStatus::Lost]);
    assert_eq!(count(&bus).await, 0);
    replace(&bus, ONE, &names(["ann"])).await;
    assert_eq!(count(&bus).await, 1);
    assert!(insist(async || bus.snapshot(&lobby()).await).await.version > before, "numbers grow all the same");
}

#[tokio::test]
async fn an_outage_ends_no_lease() {
    let mut server = Server::durable();
    let (bus, other) = (server.ready().await, server.ready().await);
    for (bus, instance, user) in [(&bus, ONE, "ann"), (&other, OTHER, "bob")] {
        insist(async || bus.heartbeat(instance).await).await;
        replace(bus, instance, &names([user])).await;
    }
    server.redis.kill().unwrap();
    unhealthy(&bus, "redis").await;
    assert!(bus.heartbeat(ONE).await.is_err());
    tokio::time::sleep(LEASE).await;
    server.redis.restart().unwrap();
    healthy(&bus, "redis").await;
    assert_eq!(insist(async || bus.heartbeat(ONE).await).await, [ONE]);
    for (bus, instance) in [(&bus, ONE), (&other, OTHER)] {
        assert!(matches!(insist(async || bus.check(instance, &[lobby()]).await).await[..], [LeaseStatus::Held(_)]));
    }
    assert_eq!(count(&bus).await, 2);
}

#[tokio::test]
async fn without_memory_nothing_is_changed_and_nobody_told() {
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
