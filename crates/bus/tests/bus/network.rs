//! What happens when the network between us and Redis goes dark, and who hangs on to it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use trunkline_bus::{Bus, Delivery, ErrorKind, Range, RedisBus, RedisConfig, Subscriptions};

use crate::redis::{Server, draft, healthy, hear, lobby, unhealthy, until};

/// Stands between a bus and its Redis, and lets connections go dark without closing them.
struct Proxy {
    port: u16,
    connections: Arc<Mutex<Vec<Arc<Connection>>>>,
}

#[derive(Default)]
struct Connection {
    /// Whether it ever subscribed to something.
    listens: AtomicBool,
    dark: AtomicBool,
}

impl Proxy {
    async fn start(redis: u16) -> Self {
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
                tokio::spawn(connection.carry(client, server));
            }
        });
        Self { port, connections }
    }

    /// From now on nothing passes on the connections of the moment that listen, or on those that do not.
    fn darken(&self, listening: bool) {
        for connection in self.connections.lock().unwrap().iter() {
            if connection.listens.load(Relaxed) == listening {
                connection.dark.store(true, Relaxed);
            }
        }
    }
}

impl Connection {
    async fn carry(self: Arc<Self>, mut client: TcpStream, mut server: TcpStream) {
        let (mut up, mut down) = ([0; 16384], [0; 16384]);
        loop {
            let (bytes, to) = tokio::select! {
                read = client.read(&mut up) => (&up[..read.unwrap_or(0)], &mut server),
                read = server.read(&mut down) => (&down[..read.unwrap_or(0)], &mut client),
            };
            if bytes.windows(9).any(|word| word == b"SUBSCRIBE") {
                self.listens.store(true, Relaxed);
            }
            if self.dark.load(Relaxed) {
                std::future::pending::<()>().await;
            }
            if bytes.is_empty() || to.write_all(bytes).await.is_err() {
                return;
            }
        }
    }
}

async fn through(proxy: &Proxy, server: &Server) -> RedisBus {
    let config = RedisConfig { url: format!("redis://127.0.0.1:{}", proxy.port), ..server.config() };
    let bus = RedisBus::new(config).unwrap();
    healthy(&bus, "redis").await;
    bus
}

#[tokio::test]
async fn a_subscription_that_hears_nothing_is_replaced() {
    let server = Server::durable();
    let proxy = Proxy::start(server.redis.port()).await;
    let (bus, other) = (through(&proxy, &server).await, server.ready().await);
    let (interest, mut deliveries) = bus.open();
    interest.subscribe(&lobby());
    assert_eq!(hear(&mut deliveries).await, Delivery::Subscribed(lobby()));
    healthy(&bus, "subscription").await;
    proxy.darken(true);
    let dark = Instant::now();
    let missed = other.publish(&lobby(), draft(0)).await.unwrap();
    // Nothing tells but the probes that do not come back.
    unhealthy(&bus, "subscription").await;
    assert_eq!(hear(&mut deliveries).await, Delivery::Subscribed(lobby()));
    assert!((2..8).contains(&dark.elapsed().as_secs()), "replaced after {:?}", dark.elapsed());
    assert_eq!(bus.read(&lobby(), Range::Latest(1)).await.unwrap().head, missed.pos);
    healthy(&bus, "subscription").await;
}

#[tokio::test]
async fn a_link_that_answers_nothing_is_replaced() {
    let server = Server::durable();
    let proxy = Proxy::start(server.redis.port()).await;
    let bus = through(&proxy, &server).await;
    let first = bus.publish(&lobby(), draft(0)).await.unwrap().pos;
    proxy.darken(false);
    assert_eq!(bus.publish(&lobby(), draft(1)).await.unwrap_err().kind(), ErrorKind::Timeout);
    // A new connection passes.
    healthy(&bus, "redis").await;
    assert_eq!(bus.publish(&lobby(), draft(1)).await.unwrap().pos, first.next_in_epoch());
}

#[tokio::test]
async fn connections_go_with_the_last_handle() {
    let server = Server::durable();
    let clients = || server.redis.cli(&["CLIENT", "LIST"]).unwrap().lines().count() - 1;
    let bus = server.ready().await;
    let (interest, deliveries) = bus.open();
    interest.subscribe(&lobby());
    until("both connections", || clients() == 2).await;
    let clone = bus.clone();
    drop((bus, interest));
    until("the listener's end", || clients() == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(clone.publish(&lobby(), draft(0)).await.is_ok());
    drop((clone, deliveries));
    until("the link's end", || clients() == 0).await;
}

#[tokio::test]
async fn calls_that_come_together_go_together() {
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
