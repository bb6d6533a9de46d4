use std::{net::TcpStream, thread, time::Duration};

use trunkline_testbed::{AppendFsync, Redis, TestbedError};

#[test]
fn redis_answers_on_its_own_port_and_ends_on_drop() {
    let redis = Redis::builder().start().unwrap();
    assert_eq!(redis.cli(&["PING"]).unwrap(), "PONG");
    assert_eq!(redis.cli(&["RPUSH", "l", "a", "b"]).unwrap(), "2");
    assert_eq!(redis.cli(&["LRANGE", "l", "0", "-1"]).unwrap(), "a\nb");
    assert!(matches!(redis.cli(&["NOPE"]), Err(TestbedError::Reply(_))));
    let again = Redis::given(&redis.url()).unwrap();
    assert_eq!(again.cli(&["LLEN", "l"]).unwrap(), "2");
    drop(redis);
    assert!(again.cli(&["PING"]).is_err());
}

#[test]
fn append_only_data_survives_a_kill() {
    let mut redis = Redis::builder().append_only(AppendFsync::Always).password("a secret").start().unwrap();
    redis.cli(&["SET", "k", "v"]).unwrap();
    let (port, pid) = (redis.port(), redis.pid());
    redis.kill().unwrap();
    assert!(!redis.is_running());
    assert!(redis.cli(&["PING"]).is_err());
    redis.restart().unwrap();
    assert_eq!((redis.cli(&["GET", "k"]).unwrap().as_str(), redis.port()), ("v", port));
    assert_ne!(redis.pid(), pid);
    redis.restart().unwrap();
    assert_eq!(redis.cli(&["GET", "k"]).unwrap(), "v");
    redis.restart_empty().unwrap();
    assert_eq!(redis.cli(&["GET", "k"]).unwrap(), "");
}

#[test]
fn data_without_append_only_is_lost_at_a_restart() {
    let mut redis = Redis::builder().start().unwrap();
    redis.cli(&["SET", "k", "v"]).unwrap();
    redis.restart().unwrap();
    assert_eq!(redis.cli(&["GET", "k"]).unwrap(), "");
}

#[test]
fn paused_redis_listens_and_does_not_answer() {
    let mut redis = Redis::builder().start().unwrap();
    redis.pause().unwrap();
    let refused = TcpStream::connect(("127.0.0.1", redis.port())).is_err();
    assert!(!refused);
    redis.resume().unwrap();
    assert_eq!(redis.cli(&["PING"]).unwrap(), "PONG");
    redis.pause().unwrap();
    redis.restart().unwrap();
    assert_eq!(redis.cli(&["PING"]).unwrap(), "PONG");
}

#[test]
fn replica_receives_the_writes_of_its_master() {
    let master = Redis::builder().password("pw").start().unwrap();
    master.cli(&["SET", "k", "v"]).unwrap();
    let replica = Redis::builder().password("pw").replica_of(&master).start().unwrap();
    let follows = || replica.cli(&["GET", "k"]).is_ok_and(|value| value == "v");
    assert!((0..500).any(|_| follows() || {
        thread::sleep(Duration::from_millis(10));
        false
    }));
}

#[test]
fn configuration_is_applied_and_mistakes_are_reported() {
    let redis = Redis::builder().config("maxmemory", "20mb").start().unwrap();
    assert_eq!(redis.cli(&["CONFIG", "GET", "maxmemory"]).unwrap(), "maxmemory\n20971520");
    let taken = Redis::builder().port(redis.port()).start();
    assert!(matches!(taken, Err(TestbedError::PortTaken(port)) if port == redis.port()));
    let wrong = Redis::builder().config("maxmemory", "much").start().unwrap_err();
    assert!(wrong.to_string().contains("argument must be a memory value"), "{wrong}");
    let mut given = Redis::given(&redis.url()).unwrap();
    assert!(matches!(given.kill(), Err(TestbedError::NotOurs(_))));
}
