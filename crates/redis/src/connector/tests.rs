//! Connecting by a name, with the look-up replaced.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::{io, net::IpAddr};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{net::TcpListener, time::Instant};
use trunkline_testbed::{Redis, free_port};

use super::*;

const LIMIT: Duration = Duration::from_secs(1);

fn connector(
    port: u16,
    lookup: impl Fn() -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync + 'static,
) -> Connector {
    let url = format!("redis://redis.example:{port}").parse().unwrap();
    Connector::with_resolver(&url, &RedisOptions::default(), LIMIT, Resolver::new(Arc::new(move |_| lookup()))).unwrap()
}

fn found(hosts: &[&str]) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
    let addresses = hosts.iter().map(|host| host.parse().unwrap()).collect();
    async { Ok(addresses) }.boxed()
}

async fn error(connector: &Connector) -> String {
    connector.open().await.unwrap_err().to_string()
}

#[tokio::test]
async fn every_address_of_a_name_is_tried_up_to_set_up() {
    let redis = Redis::builder().start().unwrap();
    // Nothing listens on the first address. The second accepts connections and answers nothing.
    let _silent = TcpListener::bind(("127.0.0.3", redis.port())).await.unwrap();
    let connector = connector(redis.port(), || found(&["127.0.0.2", "127.0.0.3", "127.0.0.1"]));
    // Each attempt starts with another address.
    for _ in 0..3 {
        let started = Instant::now();
        connector.open().await.unwrap();
        connector.open_subscriber(None).await.unwrap();
        assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn slow_lookup_serves_a_later_attempt() {
    let redis = Redis::builder().start().unwrap();
    let connector = connector(redis.port(), || {
        async {
            // The answer of a second name server, after the first one was silent.
            tokio::time::sleep(2 * LIMIT).await;
            found(&["127.0.0.1"]).await
        }
        .boxed()
    });
    assert_eq!(error(&connector).await, "look-up of redis.example: no answer within 1 s; it continues");
    tokio::time::sleep(LIMIT + LIMIT / 2).await;
    connector.open().await.unwrap();
}

#[tokio::test]
async fn known_addresses_are_used_while_the_name_server_is_away() {
    let redis = Redis::builder().start().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let connector = connector(redis.port(), move || match count.fetch_add(1, Ordering::Relaxed) {
        0 => found(&["127.0.0.1"]),
        _ => async { Err(io::Error::other("no name server")) }.boxed(),
    });
    connector.open().await.unwrap();
    connector.open().await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1, "fresh addresses are not looked up again");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    connector.open().await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn errors_name_the_failed_step_and_the_host() {
    let missing = connector(6379, || async { Err(io::Error::other("no such host")) }.boxed());
    assert_eq!(error(&missing).await, "look-up of redis.example: no such host");
    assert_eq!(error(&connector(6379, || found(&[]))).await, "look-up of redis.example: the name has no address");
    let port = free_port().unwrap();
    let refused = error(&connector(port, || found(&["127.0.0.1"]))).await;
    assert!(refused.starts_with(&format!("connecting to redis.example:{port} (127.0.0.1): ")), "{refused}");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let unanswered = error(&connector(port, || found(&["127.0.0.1"]))).await;
    let expected = format!("set-up (AUTH, SELECT) at redis.example:{port} (127.0.0.1): no answer within 1 s");
    assert_eq!(unanswered, expected);
}
