//! A session store at every kind of address that `--redis` takes. [`cluster`](crate::cluster) tests what clusters do.

use std::time::{Duration, Instant};

use trunkline_session::{Lifetimes, RedisOptions, RedisSessions, SessionEvent, Sessions};
use trunkline_testbed::{Redis, RedisCluster, RedisSentinel, TlsFiles};

fn sessions(url: &str, options: &RedisOptions) -> RedisSessions {
    RedisSessions::in_redis_with(url, options, "test", Lifetimes::default()).unwrap()
}

async fn assert_works(sessions: &RedisSessions, user: &str) {
    let mut events = sessions.events();
    assert_eq!(events.next().await, Some(SessionEvent::Missed));
    let sid = sessions.claim(&user.parse().unwrap(), None).await.unwrap();
    assert!(sessions.touch(&sid).await.unwrap().is_some());
    sessions.end(&sid).await.unwrap();
    assert_eq!(events.next().await, Some(SessionEvent::Ended(sid)));
}

#[tokio::test]
async fn sessions_work_over_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("trunkline-session-{}.sock", std::process::id()));
    let path = path.to_str().unwrap();
    let _redis = Redis::builder().config("unixsocket", path).start().unwrap();
    assert_works(&sessions(&format!("unix://{path}?db=1"), &RedisOptions::default()), "ann").await;
}

#[tokio::test]
async fn sessions_work_over_tls() {
    let tls = TlsFiles::create().unwrap();
    let redis = Redis::builder().mutual_tls(&tls).start().unwrap();
    let (certificate, key) = tls.client();
    let options = RedisOptions {
        ca_file: Some(tls.ca()),
        certificate_file: Some(certificate),
        key_file: Some(key),
        ..RedisOptions::default()
    };
    assert_works(&sessions(&redis.url(), &options), "ann").await;
}

#[tokio::test]
async fn sessions_work_in_a_cluster_over_tls() {
    let tls = TlsFiles::create().unwrap();
    let redis = RedisCluster::builder(3).replicas(0).password("secret").tls(&tls).start().unwrap();
    let sessions = sessions(&redis.url(), &RedisOptions { ca_file: Some(tls.ca()), ..RedisOptions::default() });
    for user in ["ann", "bob", "cai", "dan", "eve", "fay"] {
        sessions.claim(&user.parse().unwrap(), None).await.unwrap();
    }
    assert_works(&sessions, "gus").await;
    assert_eq!(sessions.health().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn connections_to_a_former_master_are_replaced() {
    let redis = RedisSentinel::builder().without_proxy().start().unwrap();
    let sessions = sessions(&redis.sentinel_url(), &RedisOptions::default());
    let mut events = sessions.events();
    assert_eq!(events.next().await, Some(SessionEvent::Missed));
    let sid = sessions.claim(&"ann".parse().unwrap(), None).await.unwrap();
    sessions.touch(&sid).await.unwrap();
    let (after, redis) = tokio::task::spawn_blocking(move || (redis.fail_over().unwrap(), redis)).await.unwrap();
    let promoted = Instant::now();
    // The listener subscribes at the new master.
    assert_eq!(events.next().await, Some(SessionEvent::Missed));
    // Logins are stored there, and the session is found there: a claim that the old master took is not.
    loop {
        let bob = sessions.claim(&"bob".parse().unwrap(), None).await;
        let keys = redis.node(after).cli(&["KEYS", "test:*"]).unwrap();
        // A session has two keys.
        if bob.is_ok() && keys.lines().count() == 4 && sessions.touch(&sid).await.is_ok_and(|left| left.is_some()) {
            break;
        }
        assert!(promoted.elapsed() < Duration::from_secs(8), "{bob:?} {keys}");
        if let Ok(bob) = bob {
            let _ = sessions.end(&bob).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
