//! `RedisBus` while connections to Redis stop carrying data, and how it uses its connections.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesOrdered};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use trunkline_bus::{Bus, BusError, Delivery, ErrorKind, Range, Receipt, RedisBus, RedisConfig, Subscriptions};

use crate::redis::{Server, TEST_TIMEOUT, draft, healthy, lobby, next_delivery, unhealthy, until};

/// A TCP proxy before Redis that can stop forwarding on a connection without closing it.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    connections: Arc<Mutex<Vec<Arc<Connection>>>>,
}

#[derive(Default)]
struct Connection {
    /// Whether a SUBSCRIBE passed.
    subscribes: AtomicBool,
    stalled: AtomicBool,
    cut: AtomicBool,
}

impl Proxy {
    pub(crate) async fn start(redis: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections: Arc<Mutex<Vec<Arc<Connection>>>> = Arc::default();
        let all = connections.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", redis)).await.unwrap();
                let connection = Arc::<Connection>::default();
                all.lock().unwrap().push(connection.clone());
                tokio::spawn(connection.forward(client, server));
            }
        });
        Self { port, connections }
    }

    /// Stops forwarding on the open connections that subscribe (`true`) or on the others (`false`). New connections work.
    pub(crate) fn stall(&self, subscribing: bool) {
        self.for_each(subscribing, |connection| connection.stalled.store(true, Relaxed));
    }

    /// Forwards no more bytes on these connections, and closes each 1 ms after the next ones.
    fn cut(&self, subscribing: bool) {
        self.for_each(subscribing, |connection| connection.cut.store(true, Relaxed));
    }

    fn for_each(&self, subscribing: bool, change: impl Fn(&Connection)) {
        let connections = self.connections.lock().unwrap();
        connections.iter().filter(|one| one.subscribes.load(Relaxed) == subscribing).for_each(|one| change(one));
    }
}

impl Connection {
    async fn forward(self: Arc<Self>, mut client: TcpStream, mut server: TcpStream) {
        let (mut up, mut down) = ([0; 16384], [0; 16384]);
        loop {
            let (bytes, to) = tokio::select! {
                read = client.read(&mut up) => (&up[..read.unwrap_or(0)], &mut server),
                read = server.read(&mut down) => (&down[..read.unwrap_or(0)], &mut client),
            };
            if bytes.windows(9).any(|word| word == b"SUBSCRIBE") {
                self.subscribes.store(true, Relaxed);
            }
            if self.stalled.load(Relaxed) {
                std::future::pending::<()>().await;
            }
            if self.cut.load(Relaxed) {
                return tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if bytes.is_empty() || to.write_all(bytes).await.is_err() {
                return;
            }
        }
    }
}

async fn connect_through(proxy: &Proxy, server: &Server) -> RedisBus {
    let config = RedisConfig { url: format!("redis://127.0.0.1:{}", proxy.port), ..server.config() };
    let bus = RedisBus::new(config).unwrap();
    healthy(&bus, "redis").await;
    bus
}

#[tokio::test]
async fn stalled_subscription_is_replaced() {
    let server = Server::durable();
    let proxy = Proxy::start(server.redis.port()).await;
    let (bus, other) = (connect_through(&proxy, &server).await, server.ready().await);
    let (subscriptions, mut deliveries) = bus.open();
    subscriptions.subscribe(&lobby());
    assert_eq!(next_delivery(&mut deliveries).await, Delivery::Subscribed(lobby()));
    healthy(&bus, "subscription").await;
    proxy.stall(true);
    let stalled = Instant::now();
    let missed = other.publish(&lobby(), draft(0)).await.unwrap();
    // Only the missing probes reveal it.
    unhealthy(&bus, "subscription").await;
    assert_eq!(next_delivery(&mut deliveries).await, Delivery::Subscribed(lobby()));
    assert!((2..8).contains(&stalled.elapsed().as_secs()), "replaced after {:?}", stalled.elapsed());
    assert_eq!(bus.read(&lobby(), Range::Latest(1)).await.unwrap().head, missed.pos);
    healthy(&bus, "subscription").await;
}

#[tokio::test]
async fn publications_take_the_link_after_the_connection_that_subscribes_stalled() {
    let server = Server::durable();
    let proxy = Proxy::start(server.redis.port()).await;
    let bus = connect_through(&proxy, &server).await;
    let (subscriptions, mut deliveries) = bus.open();
    subscriptions.subscribe(&lobby());
    assert_eq!(next_delivery(&mut deliveries).await, Delivery::Subscribed(lobby()));
    healthy(&bus, "subscription").await;
    let first = bus.publish(&lobby(), draft(0)).await.unwrap().pos;
    proxy.stall(true);
    assert_eq!(bus.publish(&lobby(), draft(1)).await.unwrap_err().kind(), ErrorKind::Timeout);
    healthy(&bus, "redis").await;
    assert_eq!(bus.publish(&lobby(), draft(1)).await.unwrap().pos, first.next_in_epoch());
}

/// Otherwise they would be in the log before the repetition of the lost one.
#[tokio::test]
async fn publications_behind_a_lost_one_fail_too() {
    // Few enough that tokio lets one task poll all of them in one go, so that their calls are made in order.
    const UNDER_WAY_MAX: usize = 40;
    let server = Server::durable();
    let proxy = Proxy::start(server.redis.port()).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    for batch_delay_max in [Duration::ZERO, Duration::from_millis(4)] {
        let bus = RedisBus::new(RedisConfig { url: url.clone(), batch_delay_max, ..server.config() }).unwrap();
        let (subscriptions, mut deliveries) = bus.open();
        let reader = tokio::spawn(async move { while deliveries.recv().await.is_some() {} });
        subscriptions.subscribe(&lobby());
        let mut sent = 0;
        for round in 0..10 {
            healthy(&bus, "redis").await;
            let (mut under_way, started) = (FuturesOrdered::new(), Instant::now());
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            let first_error = loop {
                tokio::select! {
                    biased; // No calls after a loss.
                    Some(receipt) = under_way.next() => if let Err(error) = receipt {
                        break error;
                    },
                    _ = ticks.tick(), if under_way.len() < UNDER_WAY_MAX => {
                        for _ in 0..5 {
                            under_way.push_back(publish(&bus, sent));
                            sent += 1;
                        }
                        // Without effect on the publications until they take this connection.
                        if sent.is_multiple_of(1000) {
                            proxy.cut(true);
                        }
                    }
                }
                assert!(started.elapsed() < TEST_TIMEOUT, "publications do not take the connection that subscribes");
            };
            let behind: Vec<_> = under_way.collect().await;
            let acknowledged = behind.iter().position(Result::is_ok);
            assert_eq!(acknowledged, None, "{batch_delay_max:?}, round {round}, behind: {first_error}");
        }
        reader.abort();
    }
}

async fn publish(bus: &RedisBus, number: usize) -> Result<Receipt, BusError> {
    bus.publish(&lobby(), draft(number)).await
}

#[tokio::test]
async fn stalled_link_is_replaced() {
    let server = Server::durable();
    let proxy = Proxy::start(server.redis.port()).await;
    let bus = connect_through(&proxy, &server).await;
    let first = bus.publish(&lobby(), draft(0)).await.unwrap().pos;
    proxy.stall(false);
    assert_eq!(bus.publish(&lobby(), draft(1)).await.unwrap_err().kind(), ErrorKind::Timeout);
    // A new connection works.
    healthy(&bus, "redis").await;
    assert_eq!(bus.publish(&lobby(), draft(1)).await.unwrap().pos, first.next_in_epoch());
}

#[tokio::test]
async fn connections_close_with_the_last_handle() {
    let server = Server::durable();
    let clients = || server.redis.cli(&["CLIENT", "LIST"]).unwrap().lines().count() - 1;
    let bus = server.ready().await;
    let (subscriptions, deliveries) = bus.open();
    subscriptions.subscribe(&lobby());
    until("both connections", || clients() == 2).await;
    let clone = bus.clone();
    drop((bus, subscriptions));
    until("the end of the subscription", || clients() == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(clone.publish(&lobby(), draft(0)).await.is_ok());
    drop((clone, deliveries));
    until("the end of the link", || clients() == 0).await;
}

#[tokio::test]
async fn concurrent_calls_are_sent_in_batches() {
    let server = Server::durable();
    let bus = server.ready().await;
    let reads = || -> u32 {
        let info = server.redis.cli(&["INFO", "stats"]).unwrap();
        let reads = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:")).unwrap();
        reads.trim().parse().unwrap()
    };
    let before = reads();
    let calls = (0..200).map(|number| {
        let (bus, room) = (&bus, lobby());
        async move { bus.publish(&room, draft(number)).await }
    });
    let receipts = futures_util::future::join_all(calls).await;
    assert!(receipts.iter().all(Result::is_ok));
    let reads = reads() - before;
    assert!(reads < 50, "Redis read {reads} times to get 200 calls");
}
