//! Connecting by a name, with the look-up replaced.

#![allow(clippy::unwrap_used, reason = "a test may")]

use redis::IntoConnectionInfo as _;
use tokio::net::TcpListener;
use trunkline_testbed::{Redis, free_port};

use super::*;

fn connector(
    port: u16,
    lookup: impl Fn() -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync + 'static,
) -> Connector {
    let info = format!("redis://redis.example:{port}").into_connection_info().unwrap();
    Connector { lookup: Arc::new(move |_, _| lookup()), ..Connector::new(&info).unwrap() }
}

fn found(addresses: Vec<SocketAddr>) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
    async move { Ok(addresses) }.boxed()
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

async fn error(connector: &Connector) -> String {
    connector.connect().await.err().unwrap().to_string()
}

#[tokio::test]
async fn every_address_of_a_name_is_tried_up_to_set_up() {
    let redis = Redis::builder().start().unwrap();
    // Nothing listens on the first address. The second accepts connections and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = vec![local(free_port().unwrap()), silent.local_addr().unwrap(), local(redis.port())];
    let connector = connector(6379, move || found(addresses.clone()));
    connector.connect().await.unwrap();
    connector.subscriber().await.unwrap();
}

#[tokio::test]
async fn slow_name_lookup_serves_a_later_operation() {
    let redis = Redis::builder().start().unwrap();
    let address = local(redis.port());
    let connector = connector(6379, move || {
        async move {
            // The answer of a second name server, after the first one was silent.
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(vec![address])
        }
        .boxed()
    });
    let refused = error(&connector).await;
    assert_eq!(refused, "name look-up of Redis at redis.example:6379: no answer within 1s");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    connector.connect().await.unwrap();
}

#[tokio::test]
async fn errors_name_the_failed_step_and_the_host() {
    let missing = connector(6379, || async { Err(io::Error::other("no such host")) }.boxed());
    assert_eq!(error(&missing).await, "name look-up of Redis at redis.example:6379: no such host");
    let empty = connector(6379, || found(Vec::new()));
    assert_eq!(error(&empty).await, "name look-up of Redis at redis.example:6379: the name has no address");
    let port = free_port().unwrap();
    let refused = error(&connector(port, move || found(vec![local(port)]))).await;
    assert!(refused.starts_with(&format!("connect to Redis at redis.example:{port} (127.0.0.1): ")), "{refused}");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let unanswered = error(&connector(port, move || found(vec![local(port)]))).await;
    let expected = format!(
        "set-up (authentication, database) of the connection to Redis at redis.example:{port} (127.0.0.1): no answer within 1s"
    );
    assert_eq!(unanswered, expected);
}
