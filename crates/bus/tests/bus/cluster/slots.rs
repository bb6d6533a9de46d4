//! Single slots that move, or that stay half way.

use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use trunkline_bus::{Bus, ErrorKind, PresenceStore, Range, SharedLimits, SocketChange};
use trunkline_domain::{InstanceId, Position};
use trunkline_testbed::key_slot;

use super::fixture::{Cluster, Reader, publish_with_retries, room};
use crate::redis::draft;

#[tokio::test]
async fn position_before_a_slot_moved_is_followed_by_those_after_it() {
    let cluster = Cluster::start();
    let bus = cluster.ready().await;
    let room = room("lobby");
    let before = publish_with_retries(&bus, &room, 0).await;
    let from = cluster.master_of(&room);
    let to = (from + 1) % 3;
    let slot = key_slot(&cluster.channel(&room));
    let open = cluster.redis.open_slot(slot, to).unwrap();
    cluster.redis.finish_move(open).unwrap();
    assert_eq!(cluster.master_of(&room), to);
    // No retries: MOVED is followed inside the bus.
    let after = bus.publish(&room, draft(1)).await.unwrap();
    assert!(after.pos.epoch > before.epoch && after.pos.offset == 1, "another master: another generation");
    let page = bus.read(&room, Range::After(before, 10)).await.unwrap();
    assert!(page.follows, "the first entry of the new epoch names the last one before it");
    assert_eq!(page.entries.len(), 1);
    assert_eq!((page.entries[0].prev, page.head), (before, after.pos));
    // A retry of the message from before the move finds it.
    let retry = bus.publish(&room, draft(0)).await.unwrap();
    assert_eq!((retry.pos, retry.repeated), (before, true));
}

#[tokio::test]
async fn half_migrated_slot_delays_its_rooms_and_nothing_else() {
    let cluster = Cluster::start();
    let bus = cluster.ready().await;
    let lobby = room("lobby");
    let elsewhere = cluster.room_at((cluster.master_of(&lobby) + 1) % 3);
    let rooms = [lobby.clone(), elsewhere.clone()];
    let (mut reader, _subscriptions) = Reader::start(&bus, &rooms).await;
    for number in 0..3 {
        publish_with_retries(&bus, &lobby, number).await;
    }
    let to = (cluster.master_of(&lobby) + 2) % 3;
    let open = cluster.redis.open_slot(key_slot(&cluster.channel(&lobby)), to).unwrap();
    let log = format!("{}:log", cluster.channel(&lobby));
    assert_eq!(cluster.redis.move_keys(open, |key| key == log).unwrap(), 1);
    // The log is at the target (ASK), the other keys of the script are not (TRYAGAIN).
    let page = bus.read(&lobby, Range::Latest(10)).await.unwrap();
    assert_eq!(page.entries.len(), 3);
    assert_eq!(bus.heads(&rooms).await.unwrap(), [Some(page.head), Some(Position::ORIGIN)]);
    let started = Instant::now();
    let error = bus.publish(&lobby, draft(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!((1.9..4.0).contains(&started.elapsed().as_secs_f64()), "gave up after {:?}", started.elapsed());
    let started = Instant::now();
    bus.publish(&elsewhere, draft(0)).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());

    let publishing = tokio::spawn({
        let (bus, lobby) = (bus.clone(), lobby.clone());
        async move { bus.publish(&lobby, draft(3)).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let redis = cluster.redis.clone();
    spawn_blocking(move || redis.finish_move(open).unwrap()).await.unwrap();
    assert!(!publishing.await.unwrap().unwrap().repeated);
    reader.until_complete(&[lobby], 4).await;
}

#[tokio::test]
async fn message_sent_while_its_slot_moves_is_delivered_at_once() {
    let cluster = Cluster::without_replicas();
    let (bus, writer) = (cluster.ready().await, cluster.ready().await);
    let lobby = room("lobby");
    let (mut reader, _subscriptions) = Reader::start(&bus, std::slice::from_ref(&lobby)).await;
    publish_with_retries(&writer, &lobby, 0).await;
    let (from, channel) = (cluster.master_of(&lobby), cluster.channel(&lobby));
    // As in a room with messages in the last ten minutes and in those before: all keys of the script exist.
    for parity in 0..2 {
        cluster.redis.node(from).cli(&["HSET", &format!("{channel}:ids:{parity}"), "ann:earlier", "1-1"]).unwrap();
    }
    let open = cluster.redis.open_slot(key_slot(&channel), (from + 1) % 3).unwrap();
    cluster.redis.move_keys(open, |_| true).unwrap();
    let sent = Instant::now();
    writer.publish(&lobby, draft(1)).await.unwrap();
    reader.until_complete(std::slice::from_ref(&lobby), 2).await;
    assert!(sent.elapsed() < Duration::from_secs(1), "delivered after {:?}", sent.elapsed());
    assert_eq!(cluster.master_of(&lobby), from, "the slot is still open");
    cluster.redis.finish_move(open).unwrap();
    writer.publish(&lobby, draft(2)).await.unwrap();
    reader.until_complete(&[lobby], 3).await;
}

#[tokio::test]
async fn presence_follows_its_slot() {
    let cluster = Cluster::start();
    let bus = cluster.ready().await;
    let (room, instance) = (room("lobby"), InstanceId(7));
    bus.replace(&room, instance, &["ann".parse().unwrap()]).await.unwrap();
    let to = (cluster.master_of(&room) + 1) % 3;
    let open = cluster.redis.open_slot(key_slot(&cluster.channel(&room)), to).unwrap();
    let turn = format!("{}:turn", cluster.channel(&room));
    cluster.redis.move_keys(open, |key| key == turn).unwrap();
    // Half migrated: the script is not started, so it cannot fail halfway.
    let error = bus.update(&room, instance, &["bob".parse().unwrap()], &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let version = cluster.redis.node(to).cli(&["GET", &turn]);
    assert!(version.is_err(), "not the owner yet: {version:?}");
    cluster.redis.finish_move(open).unwrap();
    let before = bus.snapshot(&room).await.unwrap();
    assert_eq!(before.instances.len(), 1);
    assert_eq!(before.instances[0].1.len(), 1);
    bus.update(&room, instance, &["bob".parse().unwrap()], &[]).await.unwrap();
    let after = bus.snapshot(&room).await.unwrap();
    assert_eq!((after.version, after.instances[0].1.len()), (before.version + 1, 2), "one change, one version");
}

#[tokio::test]
async fn sockets_to_evict_are_neither_lost_nor_evicted_twice_while_their_slot_moves() {
    let cluster = Cluster::without_replicas();
    let bus = cluster.ready().await;
    let (one, other) = (InstanceId(1), InstanceId(2));
    let opened =
        |number, age| [SocketChange { user: "ann".parse().unwrap(), number, age: Some(Duration::from_secs(age)) }];
    bus.exchange_sockets(one, 1, &opened(1, 9)).await.unwrap();
    let key = format!("{}:{{:sockets}}", cluster.prefix);
    let to = (cluster.redis.master_of(&key).unwrap() + 1) % 3;
    let open = cluster.redis.open_slot(key_slot(&key), to).unwrap();
    assert_eq!(cluster.redis.move_keys(open, |moved| moved.ends_with(":of:ann")).unwrap(), 1);
    // Half migrated: the script is not started, so it cannot forget a socket and fail before it notes it.
    let error = bus.exchange_sockets(other, 1, &opened(2, 0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    cluster.redis.finish_move(open).unwrap();
    assert!(bus.exchange_sockets(other, 1, &opened(2, 0)).await.unwrap().evict.is_empty());
    let evict = bus.exchange_sockets(one, 1, &[]).await.unwrap().evict;
    assert_eq!(evict, [("ann".parse().unwrap(), 1)]);
    assert!(bus.exchange_sockets(one, 1, &[]).await.unwrap().evict.is_empty());
}
