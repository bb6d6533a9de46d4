//! `Gateway::disconnect`: of the application's users, and of sessions.

use std::time::{Duration, Instant};

use serde_json::json;
use trunkline_bus::{RedisBus, RedisConfig};
use trunkline_domain::UserId;
use trunkline_gateway::{Config, Gateway, Publication};
use trunkline_session::RedisSessions;
use trunkline_testbed::Redis;

use super::{Instance, config, get, header, open};
use crate::socket::client::{End, TestSocket, ask};

/// The bound on closing the sockets of all instances.
const BOUND: Duration = Duration::from_secs(1);
/// A busy machine may delay some attempts, but not all.
const ATTEMPTS: usize = 3;

/// Reads sockets until each has ended with 4401.
async fn ends(sockets: impl IntoIterator<Item = TestSocket>) {
    for mut socket in sockets {
        assert_eq!(socket.end().await, End::Close(4401));
    }
}

#[actix_web::test]
async fn disconnect_closes_the_sockets_of_a_user_on_all_instances_within_a_second() {
    let redis = Redis::start().unwrap();
    let (one, other) = (Instance::of_shop("shop-1", &redis).await, Instance::of_shop("shop-2", &redis).await);
    let mut bob = other.open("42").await;
    bob.join("orders.42").await;
    let user: UserId = "17".parse().unwrap();
    let mut times = Vec::new();
    while times.iter().all(|time| *time > BOUND) {
        assert!(times.len() < ATTEMPTS, "{times:?}");
        let sockets = [one.open("17").await, one.open("17").await, other.open("17").await];
        let started = Instant::now();
        one.gateway.disconnect(&user).await.unwrap();
        ends(sockets).await;
        times.push(started.elapsed());
    }
    // Other users stay, and the user may come back for as long as the application knows them.
    let room = "orders.42".parse().unwrap();
    one.gateway.publish(&room, Publication::event("shipped", ())).await.unwrap();
    assert_eq!(bob.next_of("message").await["event"], "shipped");
    one.open("17").await;
}

#[actix_web::test]
async fn disconnect_ends_sessions_and_their_sockets_on_all_instances_within_a_second() {
    let redis = Redis::start().unwrap();
    // All instances need the same keys.
    let config = Config { name_login: true, ..config("shop") };
    let [one, other] = ["shop-1", "shop-2"].map(|name| {
        let config = Config { instance: name.to_owned(), ..config.clone() };
        let sessions = RedisSessions::in_redis(&redis.url(), "tl", config.lifetimes).unwrap();
        let bus = RedisBus::new(RedisConfig::new(redis.url())).unwrap();
        let gateway = Gateway::builder(bus).sessions(sessions).config(config).build().unwrap();
        Instance::start(gateway, |gateway, config| gateway.routes(config))
    });
    one.becomes_ready().await;
    other.becomes_ready().await;

    let user: UserId = "ann".parse().unwrap();
    let mut times = Vec::new();
    while times.iter().all(|time| *time > BOUND) {
        assert!(times.len() < ATTEMPTS, "{times:?}");
        let answer = ask(one.port, "POST /login", &json!({"name": "ann"}).to_string()).await;
        let cookie = header(&answer, "set-cookie").and_then(|line| line.split(';').next()).unwrap().to_owned();
        let headers = [("cookie", &*cookie)];
        let sockets =
            [open(one.port, "/ws", &headers).await.unwrap(), open(other.port, "/ws", &headers).await.unwrap()];
        let started = Instant::now();
        other.gateway.disconnect(&user).await.unwrap();
        ends(sockets).await;
        times.push(started.elapsed());
        for instance in [&one, &other] {
            let answer = get(instance.port, "/session", &headers).await;
            assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        }
    }
}
