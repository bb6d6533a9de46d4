//! Deployments that share a Redis server.

use std::time::Instant;

use trunkline_testbed::{Redis, TlsFiles, http_get};

use super::{
    SECOND, SECRET,
    client::{log_in, open_socket, request},
    gateway, wait_ready,
};

#[test]
fn deployments_with_different_prefixes_share_a_redis_server() {
    let redis = Redis::builder().start().unwrap();
    let start = |prefix: &str| {
        let gateway = gateway().redis(redis.url()).env("TRUNKLINE_SECRET", SECRET).args(["--redis-prefix", prefix]);
        let mut gateway = gateway.start().unwrap();
        wait_ready(&mut gateway);
        gateway
    };
    let (one, other) = (start("one"), start("other"));
    for gateway in [&one, &other] {
        // The same name in both: sessions are separate.
        let login = log_in(gateway.port().unwrap(), "ann");
        assert_eq!(login.status(), 200, "{login:?}");
        let (status, _socket) = open_socket(gateway.port().unwrap(), &login.cookie());
        assert_eq!(status, 101);
    }
    let cookie = format!("Cookie: {}", log_in(one.port().unwrap(), "bob").cookie());
    let elsewhere = request(other.port().unwrap(), "GET /session", &[cookie.as_bytes()], "");
    assert_eq!(elsewhere.status(), 401, "{elsewhere:?}");
    std::thread::sleep(SECOND);
    let keys = redis.cli(&["KEYS", "*"]).unwrap();
    assert!(keys.lines().all(|key| key.contains("one:") || key.contains("other:")), "{keys}");
    let channels = redis.cli(&["PUBSUB", "CHANNELS"]).unwrap();
    assert!(channels.lines().all(|channel| channel.contains("one:") || channel.contains("other:")), "{channels}");
}

#[test]
fn redis_over_tls_is_used_only_if_its_certificate_is_trusted() {
    let tls = TlsFiles::create().unwrap();
    let redis = Redis::builder().tls(&tls).start().unwrap();
    let start = |ca: std::path::PathBuf| {
        let gateway = gateway().redis(redis.url()).env("TRUNKLINE_SECRET", SECRET);
        gateway.arg("--redis-ca").arg(ca.display().to_string()).start().unwrap()
    };
    let mut trusting = start(tls.ca());
    wait_ready(&mut trusting);
    assert_eq!(log_in(trusting.port().unwrap(), "ann").status(), 200);
    let other = start(tls.other_ca());
    let deadline = Instant::now() + 20 * SECOND;
    loop {
        let ready = http_get(other.port().unwrap(), "/readyz", 5 * SECOND).unwrap();
        assert_eq!(ready.status, 503, "{ready:?}");
        if ready.body.contains("TLS handshake with 127.0.0.1") && ready.body.contains("unknown CA") {
            break;
        }
        assert!(Instant::now() < deadline, "{ready:?}");
        std::thread::sleep(SECOND / 10);
    }
}

#[test]
fn redis_that_may_evict_keys_degrades_an_instance_that_stays_ready() {
    let redis = Redis::builder().start().unwrap();
    let mut gateway = gateway().redis(redis.url()).env("TRUNKLINE_SECRET", SECRET).start().unwrap();
    wait_ready(&mut gateway);
    let port = gateway.port().unwrap();
    assert!(http_get(port, "/readyz", 5 * SECOND).unwrap().body.contains("\"degraded\":[]"));
    redis.cli(&["CONFIG", "SET", "maxmemory", "1gb"]).unwrap();
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).unwrap();
    let deadline = Instant::now() + 20 * SECOND;
    loop {
        let ready = http_get(port, "/readyz", 5 * SECOND).unwrap();
        assert_eq!(ready.status, 200, "{ready:?}");
        if ready.body.contains("\"degraded\":[\"eviction: ") {
            break;
        }
        assert!(Instant::now() < deadline, "{ready:?}");
        std::thread::sleep(SECOND / 10);
    }
    assert_eq!(log_in(port, "ann").status(), 200);
}
