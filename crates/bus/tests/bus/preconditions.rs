//! What `RedisBus` requires of its Redis, and that `health` names what is missing.

use std::time::Duration;

use tokio::{net::TcpListener, time::timeout};
use trunkline_bus::{Bus, Delivery, RedisBus, RedisConfig, Subscriptions};
use trunkline_testbed::Redis;

use crate::redis::{Server, draft, healthy, lobby, next_delivery, state, unhealthy, until};

/// The commands that `RedisBus` needs, as `deploy/redis/users.acl` grants them.
const COMMANDS: [&str; 29] = [
    "info",
    "script|load",
    "evalsha",
    "time",
    "get",
    "set",
    "del",
    "incr",
    "hget",
    "hmget",
    "hset",
    "hdel",
    "sadd",
    "srem",
    "scard",
    "sismember",
    "smembers",
    "zadd",
    "zrem",
    "zremrangebyscore",
    "zrange",
    "zrangebyscore",
    "pexpire",
    "pttl",
    "xadd",
    "xrange",
    "xrevrange",
    "publish",
    "subscribe",
];
/// Commands that are needed only from time to time: `pexpireat` when a bucket of ids starts, `unsubscribe` for rooms.
const RARE_COMMANDS: [&str; 2] = ["pexpireat", "unsubscribe"];

const CHECKS: [&str; 5] = ["redis", "writes", "presence", "eviction", "subscription"];

/// A user with these rights, and a bus that logs in as this user.
fn bus_of_user(redis: &Redis, name: &str, rights: &[String]) -> RedisBus {
    let mut command = vec!["ACL", "SETUSER", name, "reset", "on", ">secret"];
    command.extend(rights.iter().map(String::as_str));
    assert_eq!(redis.cli(&command).unwrap().trim(), "OK");
    RedisBus::new(RedisConfig::new(format!("redis://{name}:secret@127.0.0.1:{}", redis.port()))).unwrap()
}

fn rights(without: &str, keys: &str, channels: &str) -> Vec<String> {
    let commands = COMMANDS.iter().chain(&RARE_COMMANDS).filter(|command| **command != without);
    [keys.to_owned(), channels.to_owned(), "-@all".to_owned()]
        .into_iter()
        .chain(commands.map(|command| format!("+{command}")))
        .collect()
}

#[tokio::test]
async fn documented_rights_suffice() {
    let redis = Redis::builder().start().unwrap();
    let bus = bus_of_user(&redis, "all", &rights("", "~tl:*", "&tl:*"));
    let (subscriptions, mut deliveries) = bus.open();
    for check in CHECKS {
        healthy(&bus, check).await;
    }
    subscriptions.subscribe(&lobby());
    assert_eq!(next_delivery(&mut deliveries).await, Delivery::Subscribed(lobby()));
    bus.publish(&lobby(), draft(0)).await.unwrap();
    assert!(matches!(next_delivery(&mut deliveries).await, Delivery::Entry(..)));
}

#[tokio::test]
async fn every_missing_right_is_named() {
    let redis = Redis::builder().start().unwrap();
    let cases = COMMANDS.iter().chain(&RARE_COMMANDS).map(|command| (*command, rights(command, "~tl:*", "&tl:*")));
    let cases = cases.chain([("key", rights("", "~other:*", "&tl:*")), ("channel", rights("", "~tl:*", "&other:*"))]);
    for (number, (missing, rights)) in cases.enumerate() {
        let bus = bus_of_user(&redis, &format!("user{number}"), &rights);
        let _open = bus.open();
        let word = missing.split('|').next().unwrap();
        let names_it = |check: &str| state(&bus, check).is_err_and(|why| why.contains(word));
        until(missing, || CHECKS.iter().any(|check| names_it(check))).await;
    }
}

#[tokio::test]
async fn right_that_is_revoked_later_is_named_until_it_is_granted_again() {
    let redis = Redis::builder().start().unwrap();
    let bus = bus_of_user(&redis, "some", &rights("", "~tl:*", "&tl:*"));
    healthy(&bus, "writes").await;
    redis.cli(&["ACL", "SETUSER", "some", "-xadd"]).unwrap();
    let why = unhealthy(&bus, "writes").await;
    assert!(why.contains("xadd"), "{why}");
    redis.cli(&["ACL", "SETUSER", "some", "+xadd"]).unwrap();
    healthy(&bus, "writes").await;
}

#[tokio::test]
async fn databases_of_one_server_do_not_share_deliveries() {
    let redis = Redis::builder().start().unwrap();
    let connect = |database: u32| {
        RedisBus::new(RedisConfig::new(format!("redis://127.0.0.1:{}/{database}", redis.port()))).unwrap()
    };
    let (zero, one) = (connect(0), connect(1));
    let (zero_subscriptions, mut from_zero) = zero.open();
    let (one_subscriptions, mut from_one) = one.open();
    zero_subscriptions.subscribe(&lobby());
    one_subscriptions.subscribe(&lobby());
    assert_eq!(next_delivery(&mut from_zero).await, Delivery::Subscribed(lobby()));
    assert_eq!(next_delivery(&mut from_one).await, Delivery::Subscribed(lobby()));
    for bus in [&zero, &one] {
        healthy(bus, "subscription").await;
        healthy(bus, "writes").await;
    }
    let sent = one.publish(&lobby(), draft(1)).await.unwrap();
    one.publish_ephemeral(&lobby(), "typing".into()).await.unwrap();
    assert!(matches!(next_delivery(&mut from_one).await, Delivery::Entry(_, entry) if entry.message.pos == sent.pos));
    assert!(matches!(next_delivery(&mut from_one).await, Delivery::Ephemeral(..)));
    assert!(timeout(Duration::from_millis(300), from_zero.recv()).await.is_err(), "database 0 received it");
    zero.publish(&lobby(), draft(1)).await.unwrap();
    assert!(matches!(next_delivery(&mut from_zero).await, Delivery::Entry(..)));
    assert!(timeout(Duration::from_millis(300), from_one.recv()).await.is_err(), "database 1 received it");
}

#[tokio::test]
async fn replica_is_named() {
    let master = Redis::builder().start().unwrap();
    let replica = Redis::builder().replica_of(&master).start().unwrap();
    let bus = RedisBus::new(RedisConfig::new(replica.url())).unwrap();
    until("the reason", || state(&bus, "redis").is_err_and(|why| why.contains("replica"))).await;
}

#[tokio::test]
async fn eviction_policy_is_named_while_memory_is_limited() {
    let server = Server::durable();
    let bus = server.ready().await;
    healthy(&bus, "eviction").await;
    server.redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).unwrap();
    server.redis.cli(&["CONFIG", "SET", "maxmemory", "100mb"]).unwrap();
    let why = unhealthy(&bus, "eviction").await;
    assert!(why.contains("allkeys-lru"), "{why}");
    server.redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).unwrap();
    healthy(&bus, "eviction").await;
}

#[tokio::test]
async fn server_that_accepts_connections_and_never_replies_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut connections = Vec::new();
        loop {
            connections.push(listener.accept().await.unwrap());
        }
    });
    let bus = RedisBus::new(RedisConfig::new(format!("redis://user:secret@{address}"))).unwrap();
    let _open = bus.open();
    for check in ["redis", "subscription"] {
        until(check, || state(&bus, check).is_err_and(|why| why.contains("no answer within 2 s"))).await;
        let why = state(&bus, check).unwrap_err();
        assert!(why.contains("AUTH") && why.contains(&address) && !why.contains("secret"), "{why}");
    }
}

#[tokio::test]
async fn host_that_cannot_be_looked_up_is_named() {
    let bus = RedisBus::new(RedisConfig::new("redis://redis.invalid:6379")).unwrap();
    until("the reason", || state(&bus, "redis").is_err_and(|why| why.contains("look-up of redis.invalid"))).await;
}
