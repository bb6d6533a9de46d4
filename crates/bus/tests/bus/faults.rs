//! `RedisBus` while Redis restarts, loses data, fails over, refuses writes, or contains foreign data.

use std::{
    collections::BTreeSet,
    error::Error as _,
    time::{Duration, Instant},
};

use trunkline_bus::{Bus, BusError, Delivery, ErrorKind, Range, Receipt, RedisBus, RedisConfig, Subscriptions};
use trunkline_domain::{Position, Room};
use trunkline_testbed::{Redis, free_port};

use crate::redis::{Server, TEST_TIMEOUT, draft, healthy, lobby, next_delivery, state, unhealthy, until};

/// Publishes until it succeeds, as a client does.
async fn publish_with_retries(bus: &RedisBus, number: usize) -> Receipt {
    let start = Instant::now();
    loop {
        match bus.publish(&lobby(), draft(number)).await {
            Ok(receipt) => return receipt,
            Err(error) => assert!(start.elapsed() < TEST_TIMEOUT, "{error}: {:?}", error.source()),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn texts_after(bus: &RedisBus, after: Position) -> (bool, Vec<String>) {
    let page = bus.read(&lobby(), Range::After(after, 1000)).await.unwrap();
    (page.follows, page.entries.iter().map(|entry| entry.message.text().unwrap().as_str().to_owned()).collect())
}

/// An error and its source, as they are logged.
fn full_text(error: &BusError) -> String {
    format!("{error} {error:?} {:?}", error.source().map(ToString::to_string))
}

#[tokio::test]
async fn restarted_redis_continues_in_a_new_epoch() {
    let mut server = Server::durable();
    let bus = server.ready().await;
    let mut given = BTreeSet::new();
    let mut head = Position::ORIGIN;
    for run in 0..3_usize {
        for number in 0..3 {
            let pos = publish_with_retries(&bus, run * 3 + number).await.pos;
            assert!(pos > head && given.insert(pos));
            let page = bus.read(&lobby(), Range::After(head, 10)).await.unwrap();
            assert!(page.follows, "{pos} after {head}");
            assert_eq!((page.entries[0].prev, page.entries[0].message.pos), (head, pos));
            assert_eq!(pos.offset, number as u64 + 1, "one epoch per run");
            head = pos;
        }
        server.redis.kill().unwrap();
        unhealthy(&bus, "redis").await;
        let started = Instant::now();
        let error = bus.publish(&lobby(), draft(99)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            started.elapsed() < Duration::from_millis(200),
            "failed after {:?} instead of at once",
            started.elapsed()
        );
        assert_eq!(bus.read(&lobby(), Range::Latest(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
        server.redis.restart().unwrap();
        let back = Instant::now();
        healthy(&bus, "redis").await;
        assert!(back.elapsed() < Duration::from_secs(5), "back after {:?}", back.elapsed());
    }
    // Retries find the message however often Redis was restarted.
    let first = *given.first().unwrap();
    assert_eq!(bus.publish(&lobby(), draft(0)).await.unwrap(), Receipt { pos: first, repeated: true });
    let (follows, texts) = texts_after(&bus, Position::ORIGIN).await;
    assert!(follows);
    assert_eq!(texts, (0..9).map(|number| format!("text {number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn empty_redis_proves_no_continuity() {
    let mut server = Server::durable();
    let bus = server.ready().await;
    let old = publish_with_retries(&bus, 0).await.pos;
    server.redis.restart_empty().unwrap();
    let new = publish_with_retries(&bus, 1).await.pos;
    assert!(new > old && new.offset == 1);
    assert_eq!(texts_after(&bus, old).await, (false, vec![]));
    assert_eq!(texts_after(&bus, Position::ORIGIN).await, (true, vec!["text 1".to_owned()]));
}

#[tokio::test]
async fn demoted_and_promoted_redis_continues_in_a_new_epoch() {
    let server = Server::durable();
    let bus = server.ready().await;
    let before = publish_with_retries(&bus, 0).await.pos;
    // run_id stays the same; only master_replid changes.
    let unused_port = free_port().unwrap().to_string();
    server.redis.cli(&["REPLICAOF", "127.0.0.1", &unused_port]).unwrap();
    assert_eq!(bus.publish(&lobby(), draft(1)).await.unwrap_err().kind(), ErrorKind::Rejected);
    unhealthy(&bus, "redis").await;
    server.redis.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
    let after = publish_with_retries(&bus, 1).await;
    assert!(after.pos.epoch > before.epoch && !after.repeated);
    assert_eq!(texts_after(&bus, before).await, (true, vec!["text 1".to_owned()]));

    // Without a write in between, the link is replaced within one probe interval.
    server.redis.cli(&["REPLICAOF", "127.0.0.1", &unused_port]).unwrap();
    server.redis.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let again = publish_with_retries(&bus, 2).await.pos;
    assert!(again.epoch > after.pos.epoch && again.offset == 1);
    assert!(texts_after(&bus, after.pos).await.0);
}

#[tokio::test]
async fn flushed_scripts_are_loaded_again_and_the_epoch_continues() {
    let server = Server::durable();
    let bus = server.ready().await;
    let first = publish_with_retries(&bus, 0).await.pos;
    server.redis.cli(&["SCRIPT", "FLUSH"]).unwrap();
    assert_eq!(bus.publish(&lobby(), draft(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(publish_with_retries(&bus, 1).await.pos, first.next_in_epoch(), "the same run: the same epoch");
}

#[tokio::test]
async fn killed_subscription_is_replaced_and_nothing_is_missed() {
    let server = Server::durable();
    let (bus, other) = (server.ready().await, server.ready().await);
    let (subscriptions, mut deliveries) = bus.open();
    subscriptions.subscribe(&lobby());
    assert_eq!(next_delivery(&mut deliveries).await, Delivery::Subscribed(lobby()));
    healthy(&bus, "subscription").await;
    let mut head = Position::ORIGIN;
    for round in 0..3_usize {
        for number in round * 10..round * 10 + 10 {
            publish_with_retries(&other, number).await;
            if number % 10 == 5 {
                server.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
            }
        }
        let cut = Instant::now();
        // Some entries are delivered; after `Subscribed` the rest must be read.
        while let Delivery::Entry(_, entry) = next_delivery(&mut deliveries).await {
            assert_eq!(entry.prev, head);
            head = entry.message.pos;
        }
        assert!(cut.elapsed() < Duration::from_secs(2), "repaired after {:?}", cut.elapsed());
        let page = bus.read(&lobby(), Range::After(head, 100)).await.unwrap();
        assert!(page.follows);
        assert_eq!(page.head.offset, round as u64 * 10 + 10);
        head = page.head;
        healthy(&bus, "subscription").await;
        // Entries that were read may still be delivered.
        while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_millis(100), deliveries.recv()).await {
            assert!(matches!(delivery, Delivery::Entry(_, entry) if entry.message.pos <= head));
        }
    }
}

#[tokio::test]
async fn publications_take_the_connection_that_subscribes_and_survive_its_end() {
    let server = Server::durable();
    let bus = server.ready().await;
    let (subscriptions, mut deliveries) = bus.open();
    subscriptions.subscribe(&lobby());
    assert_eq!(next_delivery(&mut deliveries).await, Delivery::Subscribed(lobby()));
    let mut offsets = Vec::new();
    for _ in 0..3 {
        healthy(&bus, "subscription").await;
        let publishes = || server.redis.cli(&["CLIENT", "LIST", "TYPE", "pubsub"]).unwrap().contains(" cmd=evalsha ");
        let first = offsets.len();
        offsets.push(publish_with_retries(&bus, first).await.pos.offset);
        until("publications on the connection that subscribes", publishes).await;
        let publishing = (first + 1..first + 200).map(|number| publish_with_retries(&bus, number));
        let ending = async { server.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap() };
        let (receipts, _) = futures_util::future::join(futures_util::future::join_all(publishing), ending).await;
        offsets.extend(receipts.iter().map(|receipt| receipt.pos.offset));
    }
    offsets.sort_unstable();
    assert_eq!(offsets, (1..=600).collect::<Vec<u64>>(), "each is in the log");
    assert_eq!(bus.read(&lobby(), Range::Latest(1)).await.unwrap().head.offset, 600, "and once");
}

#[tokio::test]
async fn bus_connects_when_redis_starts_later() {
    let port = free_port().unwrap();
    let bus = RedisBus::new(RedisConfig::new(format!("redis://127.0.0.1:{port}"))).unwrap();
    let (subscriptions, mut deliveries) = bus.open();
    subscriptions.subscribe(&lobby());
    let why = {
        until("the first attempt to connect", || state(&bus, "redis").is_err_and(|why| why != "not connected yet"))
            .await;
        unhealthy(&bus, "redis").await
    };
    assert!(why.contains("refused"), "{why}");
    unhealthy(&bus, "subscription").await;
    let started = Instant::now();
    assert_eq!(bus.publish(&lobby(), draft(0)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(bus.heads(&[lobby()]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let known = [(lobby(), Position::ORIGIN)];
    assert_eq!(bus.changed_heads(&known).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(bus.refresh_expiry(&[lobby()]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(started.elapsed() < Duration::from_millis(200));
    assert!(deliveries.try_recv().is_err());

    let _redis = Redis::builder().port(port).start().unwrap();
    healthy(&bus, "redis").await;
    healthy(&bus, "subscription").await;
    assert_eq!(next_delivery(&mut deliveries).await, Delivery::Subscribed(lobby()));
    let receipt = publish_with_retries(&bus, 0).await;
    assert!(
        matches!(next_delivery(&mut deliveries).await, Delivery::Entry(_, entry) if entry.message.pos == receipt.pos)
    );
}

#[tokio::test]
async fn wrong_password_is_reported_without_showing_it() {
    let redis = Redis::builder().password("hunter2-right").start().unwrap();
    let url = format!("redis://:hunter2-wrong@127.0.0.1:{}", redis.port());
    let bus = RedisBus::new(RedisConfig::new(&url)).unwrap();
    until("a failed attempt to connect", || state(&bus, "redis").is_err_and(|why| why != "not connected yet")).await;
    let _open = bus.open();
    until("a failed attempt to connect", || state(&bus, "subscription").is_err_and(|why| why != "not subscribed yet"))
        .await;
    let error = bus.publish(&lobby(), draft(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let shown = format!("{} {bus:?} {:?} {:?}", full_text(&error), RedisConfig::new(&url), bus.health());
    assert!(shown.contains("WRONGPASS") || shown.contains("uthentication"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");

    for bad in ["redis://:hunter2@host:port", "hunter2", "http://:hunter2@host", "redis-cluster://:hunter2@host/1"] {
        let error = RedisBus::new(RedisConfig::new(bad)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn redis_without_memory_rejects_publishes_and_delivers_nothing() {
    let server = Server::durable();
    let bus = server.ready().await;
    let (subscriptions, mut deliveries) = bus.open();
    subscriptions.subscribe(&lobby());
    assert_eq!(next_delivery(&mut deliveries).await, Delivery::Subscribed(lobby()));
    let first = publish_with_retries(&bus, 0).await;
    assert!(matches!(next_delivery(&mut deliveries).await, Delivery::Entry(..)));

    server.redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).unwrap();
    let error = bus.publish(&lobby(), draft(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{}", full_text(&error));
    let elsewhere = bus.publish(&"new-room".parse().unwrap(), draft(1)).await.unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::Rejected, "{}", full_text(&elsewhere));
    assert!(tokio::time::timeout(Duration::from_millis(300), deliveries.recv()).await.is_err());
    // Reading still works, and so does the retry of a message that is in the log.
    let page = bus.read(&lobby(), Range::Latest(10)).await.unwrap();
    assert_eq!((page.entries.len(), page.head), (1, first.pos));
    assert_eq!(bus.publish(&lobby(), draft(0)).await.unwrap(), Receipt { repeated: true, ..first });
    let why = unhealthy(&bus, "writes").await;
    assert!(why.contains("OOM"), "{why}");
    assert!(state(&bus, "redis").is_ok() && state(&bus, "subscription").is_ok());

    server.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    let second = bus.publish(&lobby(), draft(1)).await.unwrap();
    assert_eq!(second, Receipt { pos: first.pos.next_in_epoch(), repeated: false });
    healthy(&bus, "writes").await;
}

#[tokio::test]
async fn publish_times_out_while_redis_is_paused_and_its_retry_appends_once() {
    let server = Server::durable();
    let bus = server.ready().await;
    let first = publish_with_retries(&bus, 0).await.pos;
    server.redis.cli(&["CLIENT", "PAUSE", "4000"]).unwrap();
    let started = Instant::now();
    let room = lobby();
    let errors = tokio::join!(bus.publish(&room, draft(1)), bus.publish(&room, draft(2)));
    assert_eq!(errors.0.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(errors.1.unwrap_err().kind(), ErrorKind::Timeout);
    assert!((1900..3000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    unhealthy(&bus, "redis").await;
    publish_with_retries(&bus, 1).await;
    publish_with_retries(&bus, 2).await;
    let (follows, mut texts) = texts_after(&bus, first).await;
    texts.sort();
    assert!(follows);
    assert_eq!(texts, ["text 1", "text 2"]);
}

#[tokio::test]
async fn foreign_entries_do_not_stop_reading_or_writing() {
    let server = Server::durable();
    let bus = server.ready().await;
    let first = publish_with_retries(&bus, 0).await.pos;
    let log = server.key(&lobby(), "log");
    // Later than the millisecond of the epoch, in which the foreign entry would get the next id of the epoch.
    tokio::time::sleep(Duration::from_millis(5)).await;
    server.redis.cli(&["XADD", &log, "*", "foo", "bar"]).unwrap();
    let page = bus.read(&lobby(), Range::After(first, 10)).await.unwrap();
    assert_eq!((page.follows, page.entries.len(), page.more, page.head), (true, 0, false, first));

    let second = publish_with_retries(&bus, 1).await.pos;
    assert!(second.epoch > first.epoch && second.offset == 1);
    let page = bus.read(&lobby(), Range::After(first, 10)).await.unwrap();
    assert_eq!((page.follows, page.entries[0].prev, page.entries[0].message.pos), (true, first, second));
    assert_eq!(bus.heads(&[lobby()]).await.unwrap(), [Some(second)]);

    // The key is not a stream.
    server.redis.cli(&["SET", &log, "x"]).unwrap();
    assert!(bus.publish(&lobby(), draft(2)).await.is_err());
    assert!(bus.read(&lobby(), Range::Latest(1)).await.is_err());
    server.redis.cli(&["DEL", &log]).unwrap();
    assert!(publish_with_retries(&bus, 2).await.pos > second, "a deleted log does not repeat a position");
}

#[tokio::test]
async fn log_that_cannot_be_read_hides_no_change_of_other_logs() {
    let server = Server::durable();
    let bus = server.ready().await;
    let head = publish_with_retries(&bus, 0).await.pos;
    let [damaged, other]: [Room; 2] = ["damaged", "other"].map(|name| name.parse().unwrap());
    server.redis.cli(&["SET", &server.key(&damaged, "log"), "x"]).unwrap();
    let known = [(damaged, head), (lobby(), Position::ORIGIN), (other, Position::ORIGIN)];
    assert_eq!(bus.changed_heads(&known).await.unwrap(), [(lobby(), head)]);
    assert_eq!(bus.changed_heads(&[(lobby(), head)]).await.unwrap(), []);
    server.redis.cli(&["FLUSHALL"]).unwrap();
    assert_eq!(bus.changed_heads(&[(lobby(), head)]).await.unwrap(), [(lobby(), Position::ORIGIN)], "emptied");
}

#[tokio::test]
async fn all_keys_of_a_room_expire() {
    let server = Server::durable();
    let config = RedisConfig { retain_for: Duration::from_secs(600), ..server.config() };
    let bus = RedisBus::new(config).unwrap();
    publish_with_retries(&bus, 0).await;
    let expiry =
        |what: &str| -> i64 { server.redis.cli(&["PTTL", &server.key(&lobby(), what)]).unwrap().parse().unwrap() };
    for what in ["log", "meta"] {
        assert!((650_000..=660_000).contains(&expiry(what)), "{what}: retention and a tenth");
        server.redis.cli(&["PEXPIRE", &server.key(&lobby(), what), "5000"]).unwrap();
    }
    bus.refresh_expiry(&[lobby()]).await.unwrap();
    for what in ["log", "meta"] {
        assert!((650_000..=660_000).contains(&expiry(what)), "{what} was refreshed");
    }
    // One of the two buckets, until the bucket after the next needs its key.
    let buckets = [expiry("ids:0"), expiry("ids:1")].into_iter().filter(|&expiry| expiry != -2).collect::<Vec<_>>();
    assert!(matches!(buckets[..], [600_000..=1_200_000]) || buckets.len() == 2, "{buckets:?}");
}

#[tokio::test]
async fn room_in_use_does_not_expire() {
    let server = Server::durable();
    let bus = RedisBus::new(RedisConfig { retain_for: Duration::from_secs(1), ..server.config() }).unwrap();
    let started = Instant::now();
    for number in 0.. {
        publish_with_retries(&bus, number).await;
        for what in ["log", "meta"] {
            let expiry: i64 = server.redis.cli(&["PTTL", &server.key(&lobby(), what)]).unwrap().parse().unwrap();
            assert!(expiry > 500, "{what} expires {expiry} ms after a message");
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
        if started.elapsed() > Duration::from_millis(1500) {
            break;
        }
    }
    assert_eq!(
        bus.heads(&[lobby()]).await.unwrap()[0].unwrap().offset,
        publish_with_retries(&bus, 999).await.pos.offset - 1
    );
}
