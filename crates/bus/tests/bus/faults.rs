//! What happens when Redis does not do what it should.

use std::{
    collections::BTreeSet,
    error::Error as _,
    time::{Duration, Instant},
};

use trunkline_bus::{Bus, BusError, Delivery, ErrorKind, Range, Receipt, RedisBus, RedisConfig, Subscriptions};
use trunkline_domain::Position;
use trunkline_testbed::{Redis, free_port};

use crate::redis::{PATIENCE, Server, draft, healthy, hear, lobby, state, unhealthy, until};

/// Publishes until it works, as a client does; the number of attempts does not matter.
async fn insist(bus: &RedisBus, number: usize) -> Receipt {
    let start = Instant::now();
    loop {
        match bus.publish(&lobby(), draft(number)).await {
            Ok(receipt) => return receipt,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}: {:?}", error.source()),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn texts_after(bus: &RedisBus, after: Position) -> (bool, Vec<String>) {
    let page = bus.read(&lobby(), Range::After(after, 1000)).await.unwrap();
    (page.follows, page.entries.iter().map(|entry| entry.message.text.as_str().to_owned()).collect())
}

/// An error and all its sources, as they would be logged.
fn whole(error: &BusError) -> String {
    format!("{error} {error:?} {:?}", error.source().map(ToString::to_string))
}

#[tokio::test]
async fn killed_and_restarted_it_goes_on_in_a_new_epoch() {
    let mut server = Server::durable();
    let bus = server.ready().await;
    let mut given = BTreeSet::new();
    let mut head = Position::ORIGIN;
    for run in 0..3_usize {
        for number in 0..3 {
            let pos = insist(&bus, run * 3 + number).await.pos;
            assert!(pos > head && given.insert(pos));
            let page = bus.read(&lobby(), Range::After(head, 10)).await.unwrap();
            assert!(page.follows, "{pos} after {head}");
            assert_eq!((page.entries[0].prev, page.entries[0].message.pos), (head, pos));
            assert_eq!(pos.offset, number as u64 + 1, "an epoch a run");
            head = pos;
        }
        server.redis.kill().unwrap();
        unhealthy(&bus, "redis").await;
        let asked = Instant::now();
        let error = bus.publish(&lobby(), draft(99)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(asked.elapsed() < Duration::from_millis(200), "refused at once, not after {:?}", asked.elapsed());
        assert_eq!(bus.read(&lobby(), Range::Latest(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
        server.redis.restart().unwrap();
        let back = Instant::now();
        healthy(&bus, "redis").await;
        assert!(back.elapsed() < Duration::from_secs(5), "back after {:?}", back.elapsed());
    }
    // Retries of what stood already find it, however often Redis was restarted.
    let first = *given.first().unwrap();
    assert_eq!(bus.publish(&lobby(), draft(0)).await.unwrap(), Receipt { pos: first, repeated: true });
    let (follows, texts) = texts_after(&bus, Position::ORIGIN).await;
    assert!(follows);
    assert_eq!(texts, (0..9).map(|number| format!("text {number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn restarted_empty_it_proves_nothing() {
    let mut server = Server::durable();
    let bus = server.ready().await;
    let old = insist(&bus, 0).await.pos;
    server.redis.restart_empty().unwrap();
    let new = insist(&bus, 1).await.pos;
    assert!(new > old && new.offset == 1);
    assert_eq!(texts_after(&bus, old).await, (false, vec![]));
    assert_eq!(texts_after(&bus, Position::ORIGIN).await, (true, vec!["text 1".to_owned()]));
}

#[tokio::test]
async fn demoted_and_promoted_it_goes_on_in_a_new_epoch() {
    let server = Server::durable();
    let bus = server.ready().await;
    let before = insist(&bus, 0).await.pos;
    // The run_id stays: only master_replid tells.
    let nobody = free_port().unwrap().to_string();
    server.redis.cli(&["REPLICAOF", "127.0.0.1", &nobody]).unwrap();
    assert_eq!(bus.publish(&lobby(), draft(1)).await.unwrap_err().kind(), ErrorKind::Rejected);
    unhealthy(&bus, "redis").await;
    server.redis.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
    let after = insist(&bus, 1).await;
    assert!(after.pos.epoch > before.epoch && !after.repeated);
    assert_eq!(texts_after(&bus, before).await, (true, vec!["text 1".to_owned()]));

    // Nobody wrote between: within one probe the link is made anew.
    server.redis.cli(&["REPLICAOF", "127.0.0.1", &nobody]).unwrap();
    server.redis.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let again = insist(&bus, 2).await.pos;
    assert!(again.epoch > after.pos.epoch && again.offset == 1);
    assert!(texts_after(&bus, after.pos).await.0);
}

#[tokio::test]
async fn a_forgotten_script_is_no_reason_to_write_under_an_old_one() {
    let server = Server::durable();
    let bus = server.ready().await;
    let first = insist(&bus, 0).await.pos;
    server.redis.cli(&["SCRIPT", "FLUSH"]).unwrap();
    assert_eq!(bus.publish(&lobby(), draft(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(insist(&bus, 1).await.pos, first.next_in_epoch(), "the same run: the same epoch");
}

#[tokio::test]
async fn a_cut_subscription_is_made_again_and_nothing_is_missed() {
    let server = Server::durable();
    let (bus, other) = (server.ready().await, server.ready().await);
    let (interest, mut deliveries) = bus.open();
    interest.subscribe(&lobby());
    assert_eq!(hear(&mut deliveries).await, Delivery::Subscribed(lobby()));
    healthy(&bus, "subscription").await;
    let mut head = Position::ORIGIN;
    for round in 0..3_usize {
        for number in round * 10..round * 10 + 10 {
            insist(&other, number).await;
            if number % 10 == 5 {
                server.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
            }
        }
        let cut = Instant::now();
        // Some are heard, then `Subscribed` tells that the rest has to be read.
        while let Delivery::Entry(_, entry) = hear(&mut deliveries).await {
            assert_eq!(entry.prev, head);
            head = entry.message.pos;
        }
        assert!(cut.elapsed() < Duration::from_secs(2), "repaired after {:?}", cut.elapsed());
        let page = bus.read(&lobby(), Range::After(head, 100)).await.unwrap();
        assert!(page.follows);
        assert_eq!(page.head.offset, round as u64 * 10 + 10);
        head = page.head;
        healthy(&bus, "subscription").await;
        // Entries that were also read may still come.
        while let Ok(Some(delivery)) = tokio::time::timeout(Duration::from_millis(100), deliveries.recv()).await {
            assert!(matches!(delivery, Delivery::Entry(_, entry) if entry.message.pos <= head));
        }
    }
}

#[tokio::test]
async fn absent_at_start_it_joins_when_it_comes() {
    let port = free_port().unwrap();
    let bus = RedisBus::new(RedisConfig::new(format!("redis://127.0.0.1:{port}"))).unwrap();
    let (interest, mut deliveries) = bus.open();
    interest.subscribe(&lobby());
    let why = {
        until("the first attempt", || state(&bus, "redis").is_err_and(|why| why != "not connected yet")).await;
        unhealthy(&bus, "redis").await
    };
    assert!(why.contains("refused"), "{why}");
    unhealthy(&bus, "subscription").await;
    let asked = Instant::now();
    assert_eq!(bus.publish(&lobby(), draft(0)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(bus.heads(&[lobby()]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(bus.refresh_expiry(&[lobby()]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(asked.elapsed() < Duration::from_millis(200));
    assert!(deliveries.try_recv().is_err());

    let _redis = Redis::builder().port(port).start().unwrap();
    healthy(&bus, "redis").await;
    healthy(&bus, "subscription").await;
    assert_eq!(hear(&mut deliveries).await, Delivery::Subscribed(lobby()));
    let receipt = insist(&bus, 0).await;
    assert!(matches!(hear(&mut deliveries).await, Delivery::Entry(_, entry) if entry.message.pos == receipt.pos));
}

#[tokio::test]
async fn a_wrong_password_is_named_and_never_shown() {
    let redis = Redis::builder().password("hunter2-right").start().unwrap();
    let url = format!("redis://:hunter2-wrong@127.0.0.1:{}", redis.port());
    let bus = RedisBus::new(RedisConfig::new(&url)).unwrap();
    until("an answer", || state(&bus, "redis").is_err_and(|why| why != "not connected yet")).await;
    let _open = bus.open();
    until("an answer", || state(&bus, "subscription").is_err_and(|why| why != "not subscribed yet")).await;
    let error = bus.publish(&lobby(), draft(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let shown = format!("{} {bus:?} {:?} {:?}", whole(&error), RedisConfig::new(&url), bus.health());
    assert!(shown.contains("WRONGPASS") || shown.contains("uthentication"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");

    for bad in ["redis://:hunter2@host:port", "hunter2", "http://:hunter2@host", "rediss://:hunter2@host"] {
        let error = RedisBus::new(RedisConfig::new(bad)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn out_of_memory_it_rejects_and_tells_nobody() {
    let server = Server::durable();
    let bus = server.ready().await;
    let (interest, mut deliveries) = bus.open();
    interest.subscribe(&lobby());
    assert_eq!(hear(&mut deliveries).await, Delivery::Subscribed(lobby()));
    let first = insist(&bus, 0).await;
    assert!(matches!(hear(&mut deliveries).await, Delivery::Entry(..)));

    server.redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).unwrap();
    let error = bus.publish(&lobby(), draft(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{}", whole(&error));
    let elsewhere = bus.publish(&"new-room".parse().unwrap(), draft(1)).await.unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::Rejected, "{}", whole(&elsewhere));
    assert!(tokio::time::timeout(Duration::from_millis(300), deliveries.recv()).await.is_err());
    // Reading goes on, and so does the answer to what stands already.
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
async fn paused_it_times_out_and_a_retry_makes_one_copy() {
    let server = Server::durable();
    let bus = server.ready().await;
    let first = insist(&bus, 0).await.pos;
    server.redis.cli(&["CLIENT", "PAUSE", "4000"]).unwrap();
    let asked = Instant::now();
    let room = lobby();
    let errors = tokio::join!(bus.publish(&room, draft(1)), bus.publish(&room, draft(2)));
    assert_eq!(errors.0.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(errors.1.unwrap_err().kind(), ErrorKind::Timeout);
    assert!((1900..3000).contains(&asked.elapsed().as_millis()), "{:?}", asked.elapsed());
    unhealthy(&bus, "redis").await;
    insist(&bus, 1).await;
    insist(&bus, 2).await;
    let (follows, mut texts) = texts_after(&bus, first).await;
    texts.sort();
    assert!(follows);
    assert_eq!(texts, ["text 1", "text 2"]);
}

#[tokio::test]
async fn foreign_entries_neither_stop_writing_nor_reading() {
    let server = Server::durable();
    let bus = server.ready().await;
    let first = insist(&bus, 0).await.pos;
    let log = server.key(&lobby(), "log");
    // Not within the epoch's own millisecond, where the foreign entry would get the epoch's next id.
    tokio::time::sleep(Duration::from_millis(5)).await;
    server.redis.cli(&["XADD", &log, "*", "foo", "bar"]).unwrap();
    let page = bus.read(&lobby(), Range::After(first, 10)).await.unwrap();
    assert_eq!((page.follows, page.entries.len(), page.more, page.head), (true, 0, false, first));

    let second = insist(&bus, 1).await.pos;
    assert!(second.epoch > first.epoch && second.offset == 1);
    let page = bus.read(&lobby(), Range::After(first, 10)).await.unwrap();
    assert_eq!((page.follows, page.entries[0].prev, page.entries[0].message.pos), (true, first, second));
    assert_eq!(bus.heads(&[lobby()]).await.unwrap(), [second]);

    // No stream at all.
    server.redis.cli(&["SET", &log, "x"]).unwrap();
    assert!(bus.publish(&lobby(), draft(2)).await.is_err());
    assert!(bus.read(&lobby(), Range::Latest(1)).await.is_err());
    server.redis.cli(&["DEL", &log]).unwrap();
    assert!(insist(&bus, 2).await.pos > second, "a deleted log does not begin again at an old position");
}

#[tokio::test]
async fn everything_expires() {
    let server = Server::durable();
    let config = RedisConfig { retain_for: Duration::from_secs(600), ..server.config() };
    let bus = RedisBus::new(config).unwrap();
    insist(&bus, 0).await;
    let expiry =
        |what: &str| -> i64 { server.redis.cli(&["PTTL", &server.key(&lobby(), what)]).unwrap().parse().unwrap() };
    for what in ["log", "meta"] {
        assert!((650_000..=660_000).contains(&expiry(what)), "{what} and a tenth in reserve");
        server.redis.cli(&["PEXPIRE", &server.key(&lobby(), what), "5000"]).unwrap();
    }
    bus.refresh_expiry(&[lobby()]).await.unwrap();
    for what in ["log", "meta"] {
        assert!((590_000..=600_000).contains(&expiry(what)), "{what} was kept");
    }
    // One of the two buckets, until its key is needed again.
    let buckets = [expiry("ids:0"), expiry("ids:1")].into_iter().filter(|&expiry| expiry != -2).collect::<Vec<_>>();
    assert!(matches!(buckets[..], [600_000..=1_200_000]) || buckets.len() == 2, "{buckets:?}");
}

#[tokio::test]
async fn a_room_in_use_does_not_expire() {
    let server = Server::durable();
    let bus = RedisBus::new(RedisConfig { retain_for: Duration::from_secs(1), ..server.config() }).unwrap();
    let begun = Instant::now();
    for number in 0.. {
        insist(&bus, number).await;
        for what in ["log", "meta"] {
            let expiry: i64 = server.redis.cli(&["PTTL", &server.key(&lobby(), what)]).unwrap().parse().unwrap();
            assert!(expiry > 500, "{what} expires {expiry} ms after a message");
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
        if begun.elapsed() > Duration::from_millis(1500) {
            break;
        }
    }
    assert_eq!(bus.heads(&[lobby()]).await.unwrap()[0].offset, insist(&bus, 999).await.pos.offset - 1);
}
