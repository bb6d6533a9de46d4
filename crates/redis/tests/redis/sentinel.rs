//! A master, a replica and three Sentinels, without a proxy.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use trunkline_redis::{Connector, Endpoint, RedisOptions};
use trunkline_testbed::{RedisSentinel, TlsFiles};

use crate::{connector, failure};

fn with_password(password: &str) -> RedisOptions {
    RedisOptions { sentinel_password: Some(password.to_owned()), ..RedisOptions::default() }
}

fn port(endpoint: &Endpoint) -> u16 {
    match endpoint {
        Endpoint::Tcp(node) => node.port,
        Endpoint::Unix(_) => panic!("{endpoint}"),
    }
}

/// The port of the master to which a new connection leads.
async fn master(connector: &Connector) -> u16 {
    port(connector.open().await.unwrap().endpoint())
}

#[tokio::test]
async fn planned_failover_is_heard_at_once_and_new_connections_lead_to_the_new_master() {
    let redis = RedisSentinel::builder().without_proxy().start().unwrap();
    let connector = connector(&redis.sentinel_url(), &RedisOptions::default());
    let before = redis.master().unwrap();
    let opened = connector.open().await.unwrap();
    assert_eq!(port(opened.endpoint()), redis.node(before).port());
    assert_eq!(port(connector.open_subscriber(None).await.unwrap().endpoint()), redis.node(before).port());
    assert!(connector.is_current(opened.endpoint()));

    let promoted = async { tokio::task::spawn_blocking(move || (redis.fail_over().unwrap(), redis)).await.unwrap() };
    let superseded = timeout(Duration::from_secs(60), connector.superseded(opened.endpoint()));
    let ((after, redis), reason) = tokio::join!(promoted, superseded);
    // The old master still calls itself master, for seconds.
    let reason = reason.unwrap();
    assert_eq!(reason, "the Sentinels began a failover");
    assert!(!connector.is_current(opened.endpoint()));
    assert_eq!(master(&connector).await, redis.node(after).port());
}

#[tokio::test]
async fn sentinels_that_are_away_change_nothing_while_the_master_lives() {
    let mut redis = RedisSentinel::builder().without_proxy().start().unwrap();
    let connector = connector(&redis.sentinel_url(), &RedisOptions::default());
    let opened = connector.open().await.unwrap();
    for sentinel in 0..3 {
        redis.kill_sentinel(sentinel).unwrap();
    }
    sleep(Duration::from_millis(500)).await;
    assert!(connector.is_current(opened.endpoint()));
    redis::cmd("PING").exec_async(&mut opened.connection.clone()).await.unwrap();
    assert_eq!(master(&connector).await, port(opened.endpoint()), "the master that was named last");
    let text = failure(&redis.sentinel_url(), &RedisOptions::default()).await;
    assert!(text.starts_with("asking the Sentinels for the master trunkline: ") && text.contains("refused"), "{text}");
    // One that does not answer delays nothing.
    redis.start_sentinel(0).unwrap();
    redis.start_sentinel(1).unwrap();
    redis.pause_sentinel(1).unwrap();
    assert_eq!(master(&connector).await, port(opened.endpoint()));
}

#[tokio::test]
async fn sentinels_with_tls_and_a_password_of_their_own() {
    let tls = TlsFiles::create().unwrap();
    let redis = RedisSentinel::builder().tls(&tls).sentinel_password("hunter2").start().unwrap();
    let trusting = |options: RedisOptions| RedisOptions { ca_file: Some(tls.ca()), ..options };
    let url = redis.sentinel_url();
    let connector = connector(&url, &trusting(with_password("hunter2")));
    assert_eq!(master(&connector).await, redis.node(redis.master().unwrap()).port());
    let none = failure(&url, &trusting(RedisOptions::default())).await;
    assert!(none.contains("requires a password of its own"), "{none}");
    let wrong = failure(&url, &trusting(with_password("hunter3"))).await;
    assert!(wrong.contains("set-up (AUTH, SELECT)") && !wrong.contains("hunter3"), "{wrong}");
    let unknown = failure(&url.replace("#trunkline", "#other"), &trusting(with_password("hunter2"))).await;
    assert!(unknown.contains("compare the name after #"), "{unknown}");
}

#[tokio::test]
async fn sentinel_behind_the_url_of_a_server_is_named() {
    let redis = RedisSentinel::builder().without_proxy().start().unwrap();
    let port = redis.sentinel_ports().next().unwrap();
    let text = failure(&format!("redis://127.0.0.1:{port}"), &RedisOptions::default()).await;
    assert!(text.contains("use redis-sentinel://"), "{text}");
}
