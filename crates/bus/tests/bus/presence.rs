//! Presence over a Redis that is cut off, stands still, or forgets.

use std::time::Duration;

use trunkline_bus::{Bus, Delivery, Interest, Lease, Presence, RedisBus, Standing};
use trunkline_domain::{Holder, Roster, UserName};

use crate::redis::{LEASE, PATIENCE, Server, healthy, hear, lobby, unhealthy};

const ONE: Holder = Holder(1);
const OTHER: Holder = Holder(2);

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

async fn enter(bus: &RedisBus, holder: Holder, users: &[UserName]) {
    insist(async || bus.enter(&lobby(), holder, users).await).await;
}

async fn count(bus: &RedisBus) -> usize {
    let mut roster = Roster::default();
    roster.replace(insist(async || bus.present(&lobby()).await).await);
    roster.count()
}

#[tokio::test]
async fn a_cut_subscription_says_so_and_the_snapshot_has_what_was_missed() {
    let server = Server::durable();
    let (bus, quiet) = (server.ready().await, server.ready().await);
    let (interest, mut deliveries) = bus.open();
    interest.want(&lobby());
    assert_eq!(hear(&mut deliveries).await, Delivery::Subscribed(lobby()));
    enter(&quiet, ONE, &names(["ann"])).await;
    assert!(matches!(hear(&mut deliveries).await, Delivery::Presence(..)));
    server.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    let shifted = quiet.shift(&lobby(), ONE, &names(["bob"]), &[]).await.unwrap();
    assert_eq!(shifted, Lease::Held);
    while hear(&mut deliveries).await != Delivery::Subscribed(lobby()) {}
    assert_eq!(count(&bus).await, 2);
}

#[tokio::test]
async fn forgotten_by_redis_everybody_enters_again() {
    let mut server = Server::durable();
    let bus = server.ready().await;
    enter(&bus, ONE, &names(["ann"])).await;
    let before = insist(async || bus.present(&lobby()).await).await.number;
    server.redis.restart_empty().unwrap();
    assert_eq!(insist(async || bus.check(ONE, &[lobby()]).await).await, [Standing::Lost]);
    assert_eq!(count(&bus).await, 0);
    enter(&bus, ONE, &names(["ann"])).await;
    assert_eq!(count(&bus).await, 1);
    assert!(insist(async || bus.present(&lobby()).await).await.number > before, "numbers grow all the same");
}

#[tokio::test]
async fn an_outage_ends_no_lease() {
    let mut server = Server::durable();
    let (bus, other) = (server.ready().await, server.ready().await);
    for (bus, holder, user) in [(&bus, ONE, "ann"), (&other, OTHER, "bob")] {
        insist(async || bus.beat(holder).await).await;
        enter(bus, holder, &names([user])).await;
    }
    server.redis.kill().unwrap();
    unhealthy(&bus, "redis").await;
    assert!(bus.beat(ONE).await.is_err());
    tokio::time::sleep(LEASE).await;
    server.redis.restart().unwrap();
    healthy(&bus, "redis").await;
    assert_eq!(insist(async || bus.beat(ONE).await).await, [ONE]);
    for (bus, holder) in [(&bus, ONE), (&other, OTHER)] {
        assert!(matches!(insist(async || bus.check(holder, &[lobby()]).await).await[..], [Standing::Held(_)]));
    }
    assert_eq!(count(&bus).await, 2);
}

#[tokio::test]
async fn without_memory_nothing_is_changed_and_nobody_told() {
    let server = Server::durable();
    let bus = server.ready().await;
    enter(&bus, ONE, &names(["ann"])).await;
    let before = bus.present(&lobby()).await.unwrap();
    server.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    assert!(bus.shift(&lobby(), ONE, &names(["bob"]), &names(["ann"])).await.is_err());
    assert!(bus.enter(&lobby(), OTHER, &names(["cai"])).await.is_err());
    assert!(bus.end(ONE, &[lobby()]).await.is_err());
    assert!(bus.beat(ONE).await.is_err());
    server.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert_eq!(bus.present(&lobby()).await.unwrap(), before);
}
