//! Deployments that share a Redis server.

use trunkline_testbed::Redis;

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
