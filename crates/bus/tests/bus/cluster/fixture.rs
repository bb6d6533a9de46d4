//! A Redis Cluster for a test, and a reader that follows rooms as a gateway does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::mpsc, task::spawn_blocking};
use trunkline_bus::{Bus, Delivery, Health, Range, RedisBus, RedisConfig, Subscriptions, contract::RETAIN};
use trunkline_domain::{Position, Room, follows};
use trunkline_testbed::RedisCluster;

use crate::redis::{LEASE, TEST_TIMEOUT, draft, healthy, next_delivery, until};

/// A cluster, and a prefix that no other test uses.
pub(crate) struct Cluster {
    pub(crate) redis: Arc<RedisCluster>,
    pub(super) prefix: String,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::of(RedisCluster::start(3).unwrap())
    }

    pub(crate) fn without_replicas() -> Self {
        Self::of(RedisCluster::builder(3).replicas(0).start().unwrap())
    }

    pub(super) fn of(redis: RedisCluster) -> Self {
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
    pub(super) async fn ready(&self) -> RedisBus {
        let bus = self.connect();
        healthy(&bus, "redis").await;
        until("all shards", || degraded(&bus).is_empty()).await;
        bus
    }

    pub(super) fn channel(&self, room: &Room) -> String {
        format!("{}:{{{room}}}", self.prefix)
    }

    pub(super) fn master_of(&self, room: &Room) -> usize {
        self.redis.master_of(&self.channel(room)).unwrap()
    }

    /// This many rooms, in the order of their numbers.
    pub(super) fn rooms(&self, count: usize) -> Vec<Room> {
        (0..count).map(|number| room(&format!("room{number}"))).collect()
    }

    /// A room of which this node is the master.
    pub(super) fn room_at(&self, master: usize) -> Room {
        self.rooms(100).into_iter().find(|room| self.master_of(room) == master).unwrap()
    }
}

pub(super) fn room(name: &str) -> Room {
    name.parse().unwrap()
}

pub(super) fn degraded(bus: &RedisBus) -> Vec<String> {
    bus.health().into_iter().flat_map(|Health { degraded, .. }| degraded).collect()
}

/// Rooms as a gateway follows them: the head of each moves only by entries that follow it and by pages that prove it.
pub(super) struct Reader {
    bus: RedisBus,
    pub(super) deliveries: mpsc::Receiver<Delivery>,
    pub(super) heads: BTreeMap<Room, Position>,
    texts: BTreeMap<Room, Vec<String>>,
    /// Number of times that a room was announced.
    pub(super) announced: BTreeMap<Room, usize>,
}

impl Reader {
    pub(super) async fn start(bus: &RedisBus, rooms: &[Room]) -> (Self, impl Subscriptions) {
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

    pub(super) async fn take(&mut self, delivery: Delivery) {
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
    pub(super) async fn until_complete(&mut self, rooms: &[Room], count: usize) {
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
pub(super) async fn publish_with_retries(bus: &RedisBus, room: &Room, number: usize) -> Position {
    let started = Instant::now();
    loop {
        match bus.publish(room, draft(number)).await {
            Ok(receipt) => return receipt.pos,
            Err(error) => assert!(started.elapsed() < TEST_TIMEOUT, "{room}: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Publishes to each room during `change`, which blocks, and for 0.5 s after it. Returns when the reader has every message,
/// once and in order.
pub(super) async fn publish_during(
    writer: RedisBus,
    reader: &mut Reader,
    rooms: &[Room],
    change: impl FnOnce() + Send + 'static,
) {
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (rooms, stop) = (rooms.to_vec(), stop.clone());
        async move { publish_until(&writer, &rooms, &stop).await }
    });
    let changing = spawn_blocking(move || {
        change();
        std::thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
    });
    while !writing.is_finished() {
        tokio::select! {
            delivery = reader.deliveries.recv() => reader.take(delivery.unwrap()).await,
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
    }
    changing.await.unwrap();
    let (count, failed) = writing.await.unwrap();
    reader.until_complete(rooms, count).await;
    println!("{count} messages per room, {failed} failed attempts, announced {:?}", reader.announced);
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
