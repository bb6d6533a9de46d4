//! `RedisBus` over a Redis Cluster whose slots move and whose masters die.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::mpsc, task::spawn_blocking};
use trunkline_bus::{
    Bus, Delivery, ErrorKind, Health, PresenceStore, Range, RedisBus, RedisConfig, RedisOptions, Subscriptions,
    contract::RETAIN,
};
use trunkline_domain::{InstanceId, Position, Room, follows};
use trunkline_testbed::{RedisCluster, TlsFiles, key_slot};

use crate::redis::{LEASE, TEST_TIMEOUT, draft, healthy, next_delivery, until};

/// A cluster that the tests of one process share.
pub(crate) struct Cluster {
    pub(crate) redis: Arc<RedisCluster>,
    prefix: String,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::of(RedisCluster::start(3).unwrap())
    }

    pub(crate) fn without_replicas() -> Self {
        Self::of(RedisCluster::builder(3).replicas(0).start().unwrap())
    }

    fn of(redis: RedisCluster) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let prefix = format!("test-{}-{time}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { redis: Arc::new(redis), prefix }
    }

    pub(crate) fn connect(&self) -> RedisBus {
        let config = RedisConfig::new(self.redis.url());
        RedisBus::new(RedisConfig { prefix: self.prefix.clone(), retain: RETAIN, lease: LEASE, ..config }).unwrap()
    }

    /// A bus whose three shards all work.
    async fn ready(&self) -> RedisBus {
        let bus = self.connect();
        healthy(&bus, "redis").await;
        until("all shards", || degraded(&bus).is_empty()).await;
        bus
    }

    fn channel(&self, room: &Room) -> String {
        format!("{}:{{{room}}}", self.prefix)
    }

    fn master_of(&self, room: &Room) -> usize {
        self.redis.master_of(&self.channel(room)).unwrap()
    }

    /// Rooms in slots of each master, in the order of their numbers.
    fn rooms(&self, count: usize) -> Vec<Room> {
        (0..count).map(|number| room(&format!("room{number}"))).collect()
    }

    /// A room of which this node is the master.
    fn room_at(&self, master: usize) -> Room {
        self.rooms(100).into_iter().find(|room| self.master_of(room) == master).unwrap()
    }
}

fn room(name: &str) -> Room {
    name.parse().unwrap()
}

fn degraded(bus: &RedisBus) -> Vec<String> {
    bus.health().into_iter().flat_map(|Health { degraded, .. }| degraded).collect()
}

/// Rooms as a gateway follows them: the head of each moves only by entries that follow it and by pages that prove it.
struct Reader {
    bus: RedisBus,
    deliveries: mpsc::Receiver<Delivery>,
    heads: BTreeMap<Room, Position>,
    texts: BTreeMap<Room, Vec<String>>,
    /// Number of times that a room was announced.
    announced: BTreeMap<Room, usize>,
}

impl Reader {
    async fn start(bus: &RedisBus, rooms: &[Room]) -> (Self, impl Subscriptions) {
        let (subscriptions, deliveries) = bus.open();
        rooms.iter().for_each(|room| subscriptions.subscribe(room));
        let mut reader = Self {
            bus: bus.clone(),
            deliveries,
            heads: BTreeMap::new(),
            texts: BTreeMap::new(),
            announced: BTreeMap::new(),
        };
        while reader.announced.len() < rooms.len() {
            reader.next().await;
        }
        (reader, subscriptions)
    }

    async fn next(&mut self) {
        let delivery = next_delivery(&mut self.deliveries).await;
        self.take(delivery).await;
    }

    async fn take(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Subscribed(room) => {
                *self.announced.entry(room.clone()).or_default() += 1;
                self.read(&room).await;
            }
            Delivery::Entry(room, entry) => {
                let head = *self.heads.entry(room.clone()).or_default();
                if follows(entry.prev, head) {
                    self.heads.insert(room.clone(), entry.message.pos);
                    self.texts.entry(room).or_default().push(entry.message.text().unwrap().as_str().to_owned());
                } else if entry.message.pos > head {
                    self.read(&room).await;
                }
            }
            _ => {}
        }
    }

    async fn read(&mut self, room: &Room) {
        let started = Instant::now();
        loop {
            let head = *self.heads.entry(room.clone()).or_default();
            match self.bus.read(room, Range::After(head, 1000)).await {
                Ok(page) => {
                    assert!(page.follows, "continuity of {room} after {head}");
                    self.heads.insert(room.clone(), page.head);
                    let texts = page.entries.iter().map(|entry| entry.message.text().unwrap().as_str().to_owned());
                    self.texts.entry(room.clone()).or_default().extend(texts);
                    return;
                }
                Err(error) => assert!(started.elapsed() < TEST_TIMEOUT, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes deliveries until all rooms have `count` texts.
    async fn until_complete(&mut self, rooms: &[Room], count: usize) {
        while rooms.iter().any(|room| self.texts.get(room).map_or(0, Vec::len) < count) {
            self.next().await;
        }
        let expected: Vec<String> = (0..count).map(|number| format!("text {number}")).collect();
        for room in rooms {
            assert_eq!(self.texts[room], expected, "{room}");
        }
    }
}

/// Publishes until it succeeds, as a client does.
async fn publish_with_retries(bus: &RedisBus, room: &Room, number: usize) -> Position {
    let started = Instant::now();
    loop {
        match bus.publish(room, draft(number)).await {
            Ok(receipt) => return receipt.pos,
            Err(error) => assert!(started.elapsed() < TEST_TIMEOUT, "{room}: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Publishes numbered messages to each room until `stop`, and returns how many, with the number of failed attempts.
async fn publish_until(bus: &RedisBus, rooms: &[Room], stop: &AtomicBool) -> (usize, usize) {
    let (mut number, mut failed) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        for room in rooms {
            while bus.publish(room, draft(number)).await.is_err() {
                failed += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        number += 1;
    }
    (number, failed)
}

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
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (rooms, stop) = (rooms.clone(), stop.clone());
        async move { publish_until(&writer, &rooms, &stop).await }
    });
    let reshard = spawn_blocking({
        let (redis, stop) = (cluster.redis.clone(), stop.clone());
        move || {
            redis.reshard(1500, 0, 1).unwrap();
            redis.reshard(1500, 1, 0).unwrap();
            std::thread::sleep(Duration::from_millis(500));
            stop.store(true, Ordering::Relaxed);
        }
    });
    while !writing.is_finished() {
        tokio::select! {
            delivery = reader.deliveries.recv() => reader.take(delivery.unwrap()).await,
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
    }
    reshard.await.unwrap();
    let (count, failed) = writing.await.unwrap();
    reader.until_complete(&rooms, count).await;
    println!("{count} messages per room, {failed} failed attempts, announced {:?}", reader.announced);
    for room in &rooms {
        let count = reader.announced[room];
        assert_eq!(count > 1, is_moving(room), "{room} was announced {count} times");
    }
}

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
    publish_with_retries(&bus, &rooms[0], 1).await;
    println!("acknowledged {:?} after the kill", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(12), "{:?}", killed.elapsed());
    reader.until_complete(&rooms, 2).await;
    assert_eq!((reader.announced[&rooms[1]], reader.announced[&rooms[2]]), (1, 1), "only rooms of the lost shard");
    assert!(reader.announced[&rooms[0]] > 1);
    until("all shards work again", || degraded(&bus).is_empty()).await;
}

#[tokio::test]
async fn planned_failover_keeps_every_message() {
    let cluster = Cluster::of(RedisCluster::builder(3).password("secret").start().unwrap());
    let bus = cluster.ready().await;
    let rooms: Vec<Room> = (0..3).map(|master| cluster.room_at(master)).collect();
    let (mut reader, _subscriptions) = Reader::start(&bus, &rooms).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (bus, rooms, stop) = (bus.clone(), rooms.clone(), stop.clone());
        async move { publish_until(&bus, &rooms, &stop).await }
    });
    let redis = cluster.redis.clone();
    let failover = spawn_blocking(move || {
        redis.fail_over(0).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
    });
    while !writing.is_finished() {
        tokio::select! {
            delivery = reader.deliveries.recv() => reader.take(delivery.unwrap()).await,
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
    }
    failover.await.unwrap();
    let (count, failed) = writing.await.unwrap();
    println!("{count} messages per room, {failed} failed attempts");
    reader.until_complete(&rooms, count).await;
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
