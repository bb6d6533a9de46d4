//! One server, by TCP and by its Unix socket, and servers that cannot be used.

use trunkline_redis::{InvalidRedisSettings, RedisOptions, TlsFile};
use trunkline_testbed::Redis;

use crate::{connector, failure};

async fn ping(url: &str) -> redis::RedisResult<String> {
    let opened = connector(url, &RedisOptions::default()).open().await.unwrap();
    redis::cmd("PING").query_async(&mut opened.connection.clone()).await
}

#[tokio::test]
async fn password_with_special_characters_works_percent_encoded() {
    let redis = Redis::builder().password("p@s:w/o#r%d").start().unwrap();
    let port = redis.port();
    assert_eq!(ping(&format!("redis://:p%40s%3Aw%2Fo%23r%25d@127.0.0.1:{port}")).await.unwrap(), "PONG");
    let options = RedisOptions::default();
    let wrong = failure(&format!("redis://:hunter2@127.0.0.1:{port}"), &options).await;
    assert!(wrong.starts_with("set-up (AUTH, SELECT) at 127.0.0.1") && !wrong.contains("hunter2"), "{wrong}");
    let none = failure(&format!("redis://127.0.0.1:{port}"), &options).await;
    assert!(none.contains("requires a password") && none.contains("NOAUTH"), "{none}");
}

#[tokio::test]
async fn unix_socket_works_with_user_password_and_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("redis.sock");
    let path = path.to_str().unwrap();
    let redis = Redis::builder().config("unixsocket", path).config("user", "ann on >p/w ~* &* +@all").start().unwrap();
    let url = format!("unix://ann:p%2Fw@{path}?db=3");
    let opened = connector(&url, &RedisOptions::default()).open().await.unwrap();
    assert_eq!(opened.address(), path);
    redis::cmd("SET").arg("key").arg("1").exec_async(&mut opened.connection.clone()).await.unwrap();
    assert_eq!(redis.cli(&["INFO", "keyspace"]).unwrap().lines().last().map(|line| &line[..3]), Some("db3"));
    let missing = failure("unix:///nowhere/redis.sock", &RedisOptions::default()).await;
    assert!(missing.starts_with("connecting to /nowhere/redis.sock: "), "{missing}");
}

#[tokio::test]
async fn connection_ends_with_its_owner_although_clones_remain() {
    let redis = Redis::builder().start().unwrap();
    let opened = connector(&redis.url(), &RedisOptions::default()).open().await.unwrap();
    let mut clone = opened.connection.clone();
    redis::cmd("PING").exec_async(&mut clone).await.unwrap();
    drop(opened);
    tokio::task::yield_now().await;
    assert!(redis::cmd("PING").exec_async(&mut clone).await.unwrap_err().is_connection_dropped());
}

#[tokio::test]
async fn servers_that_cannot_be_used_are_named() {
    let options = RedisOptions::default();
    let master = Redis::builder().start().unwrap();
    let replica = Redis::builder().replica_of(&master).start().unwrap();
    let text = failure(&replica.url(), &options).await;
    assert!(text.contains("is a replica"), "{text}");
    let node = Redis::builder().config("cluster-enabled", "yes").start().unwrap();
    let text = failure(&node.url(), &options).await;
    assert!(text.contains("use redis-cluster://"), "{text}");
    let text = failure(&master.url().replace("redis://", "redis-cluster://"), &options).await;
    assert!(text.contains("is not a node of a cluster"), "{text}");
    connector(&node.url().replace("redis://", "redis-cluster://"), &options).open().await.unwrap();
}

#[tokio::test]
async fn seed_of_a_cluster_that_is_away_is_skipped() {
    let node = Redis::builder().config("cluster-enabled", "yes").start().unwrap();
    let connector =
        connector(&format!("redis-cluster://127.0.0.2:1,127.0.0.1:{}", node.port()), &RedisOptions::default());
    for _ in 0..2 {
        connector.open().await.unwrap();
        connector.open_subscriber(None).await.unwrap();
    }
}

#[test]
fn options_that_do_not_belong_to_the_url_are_refused() {
    let invalid = |url: &str, options: &RedisOptions| {
        trunkline_redis::Connector::new(&url.parse().unwrap(), options, std::time::Duration::from_secs(1)).unwrap_err()
    };
    let ca = RedisOptions { ca_file: Some("ca.pem".into()), ..RedisOptions::default() };
    assert_eq!(invalid("redis://h", &ca), InvalidRedisSettings::NoTls(TlsFile::Ca));
    let certificate = RedisOptions { certificate_file: Some("c.pem".into()), ..RedisOptions::default() };
    assert_eq!(invalid("rediss://h", &certificate), InvalidRedisSettings::HalfAClientCertificate);
    let password = RedisOptions { sentinel_password: Some("hunter2".to_owned()), ..RedisOptions::default() };
    assert_eq!(invalid("redis://h", &password), InvalidRedisSettings::NoSentinels);
    let user = RedisOptions { sentinel_user: Some("ann".to_owned()), ..RedisOptions::default() };
    assert_eq!(invalid("redis-sentinel://h#m", &user), InvalidRedisSettings::SentinelUserWithoutPassword);
}
