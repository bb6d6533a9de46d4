//! Limits over all instances, in a real Redis.

use std::time::Duration;

use trunkline_bus::{Charge, Charged, REPORT_GRACE, RedisBus, SharedLimits, SocketChange};
use trunkline_domain::{InstanceId, UserId};

use crate::redis::{LEASE, Server};

const ONE: InstanceId = InstanceId(1);
const OTHER: InstanceId = InstanceId(2);
const INTERVAL: Duration = Duration::from_secs(10);

async fn charge(bus: &RedisBus, count: u32, max_backlog: Option<Duration>) -> Charged {
    let charge = Charge { key: "name:ann".to_owned(), count, interval: INTERVAL, max_backlog };
    bus.charge(&[charge]).await.unwrap()[0]
}

fn ann() -> UserId {
    "ann".parse().unwrap()
}

fn opened(number: u64, age_secs: u64) -> SocketChange {
    SocketChange { user: ann(), number, age: Some(Duration::from_secs(age_secs)) }
}

fn closed(number: u64) -> SocketChange {
    SocketChange { user: ann(), number, age: None }
}

#[tokio::test]
async fn charges_of_all_instances_are_admitted_up_to_the_backlog() {
    let server = Server::shared();
    let (bus, other) = (server.ready().await, server.ready().await);
    let max_backlog = Some(2 * INTERVAL);
    for bus in [&bus, &other, &bus] {
        assert!(charge(bus, 1, max_backlog).await.is_admitted);
    }
    let refused = charge(&other, 1, max_backlog).await;
    assert!(!refused.is_admitted, "a refused use is not charged");
    assert!(refused.backlog > 2 * INTERVAL && refused.backlog <= 3 * INTERVAL, "{refused:?}");
    let reported = charge(&bus, 5, None).await;
    assert!(reported.is_admitted && reported.backlog > 7 * INTERVAL, "{reported:?}");
}

#[tokio::test]
async fn clock_that_was_set_back_delays_uses_no_longer_than_a_full_backlog() {
    let server = Server::shared();
    let bus = server.ready().await;
    let max_backlog = Some(2 * INTERVAL);
    // As if Redis had charged this key an hour later by its clock.
    let charge_ahead = Charge { key: "name:ann".to_owned(), count: 360, interval: INTERVAL, max_backlog: None };
    bus.charge(&[charge_ahead]).await.unwrap();
    let refused = charge(&bus, 1, max_backlog).await;
    assert!(!refused.is_admitted);
    assert_eq!(refused.backlog, 3 * INTERVAL);
    let later = charge(&bus, 1, max_backlog).await;
    assert!(!later.is_admitted && later.backlog < 3 * INTERVAL, "the backlog shrinks: {later:?}");
}

#[tokio::test]
async fn reported_uses_count_as_of_the_grace_before() {
    let server = Server::shared();
    let bus = server.ready().await;
    assert_eq!(charge(&bus, 1, None).await.backlog, INTERVAL - REPORT_GRACE);
}

#[tokio::test]
async fn many_keys_are_charged_in_order() {
    let server = Server::shared();
    let bus = server.ready().await;
    let charge = |count| Charge { key: format!("send:u{count}"), count, interval: INTERVAL, max_backlog: None };
    let charged = bus.charge(&(1..=600).map(charge).collect::<Vec<_>>()).await.unwrap();
    let expected = (1..=600).map(|count| INTERVAL * count - REPORT_GRACE);
    assert!(charged.iter().map(|charged| charged.backlog).eq(expected));
    assert_eq!(bus.charge(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn oldest_sockets_are_evicted_at_the_instance_that_has_them() {
    let server = Server::shared();
    let bus = server.ready().await;
    let first = bus.exchange_sockets(ONE, 2, &[opened(1, 30), opened(2, 10)]).await.unwrap();
    assert!(!first.was_known && first.evict.is_empty());
    // Of four sockets, the two oldest: one of each instance.
    let second = bus.exchange_sockets(OTHER, 2, &[opened(1, 20), opened(2, 0)]).await.unwrap();
    assert_eq!(second.evict, [(ann(), 1)]);
    let third = bus.exchange_sockets(ONE, 2, &[]).await.unwrap();
    assert!(third.was_known);
    assert_eq!(third.evict, [(ann(), 1)]);
    assert!(bus.exchange_sockets(ONE, 2, &[]).await.unwrap().evict.is_empty(), "once");
    // A closed socket does not count any more.
    let fourth = bus.exchange_sockets(OTHER, 2, &[closed(2), opened(3, 0)]).await.unwrap();
    assert!(fourth.evict.is_empty());
    assert!(bus.exchange_sockets(ONE, 2, &[]).await.unwrap().evict.is_empty());
}

#[tokio::test]
async fn redis_without_memory_takes_no_sockets() {
    let server = Server::durable();
    let bus = server.ready().await;
    bus.exchange_sockets(ONE, 1, &[opened(1, 9)]).await.unwrap();
    server.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    assert!(bus.exchange_sockets(OTHER, 1, &[opened(1, 0)]).await.is_err());
    server.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert!(bus.exchange_sockets(ONE, 1, &[]).await.unwrap().evict.is_empty());
    assert!(!bus.exchange_sockets(OTHER, 1, &[]).await.unwrap().was_known);
}

#[tokio::test]
async fn sockets_of_a_dead_instance_do_not_count() {
    let server = Server::shared();
    let bus = server.ready().await;
    bus.exchange_sockets(ONE, 2, &[opened(1, 9), opened(2, 8)]).await.unwrap();
    tokio::time::sleep(LEASE + Duration::from_millis(50)).await;
    let other = bus.exchange_sockets(OTHER, 2, &[opened(1, 0), opened(2, 0)]).await.unwrap();
    assert!(other.evict.is_empty());
    assert!(!bus.exchange_sockets(ONE, 2, &[]).await.unwrap().was_known, "it is to report its sockets again");
}
