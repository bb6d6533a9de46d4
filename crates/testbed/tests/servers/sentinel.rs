//! A master, its replica and their Sentinels.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::RedisSentinel;

#[test]
fn replica_is_promoted_when_the_master_is_killed_and_unreplicated_writes_are_lost() {
    let mut redis = RedisSentinel::builder().start().unwrap();
    let master = redis.master().unwrap();
    redis.node(master).cli(&["SET", "early", "1"]).unwrap();
    assert_eq!(redis.node(master).cli(&["WAIT", "1", "5000"]).unwrap(), "1");
    redis.lag().unwrap();
    redis.node(master).cli(&["SET", "late", "1"]).unwrap();
    assert_eq!(redis.kill_master().unwrap(), master);
    let other = redis.wait_for_another(master).unwrap();
    assert_eq!(redis.node(other).cli(&["GET", "early"]).unwrap(), "1");
    assert_eq!(redis.node(other).cli(&["GET", "late"]).unwrap(), "");
    redis.catch_up().unwrap();
    redis.start_node(master).unwrap();
    redis.wait_until_stable().unwrap();
    assert_eq!(redis.master().unwrap(), other, "the old master is a replica");
    assert_eq!(redis.node(master).cli(&["GET", "late"]).unwrap(), "");
}

/// For about ten seconds after a planned failover both nodes report the role of master, because the Sentinels reconfigure
/// the old master late. The proxy must forward to only one of them.
#[test]
fn proxy_forwards_to_one_master_at_a_time_during_a_planned_failover() {
    let redis = RedisSentinel::builder().start().unwrap();
    let before = redis.master().unwrap();
    let mut held = login(&redis.url());
    let (mut first_new, mut last_old) = (None, Instant::now());
    thread::scope(|scope| {
        let failover = scope.spawn(|| redis.fail_over());
        let end = Instant::now() + Duration::from_secs(60);
        while first_new.is_none_or(|first: Instant| first.elapsed() < Duration::from_secs(3)) {
            assert!(Instant::now() < end, "no node was promoted");
            if held.write_all(b"PING\r\n").is_ok_and(|()| held.read(&mut [0; 16]).is_ok_and(|length| length > 0)) {
                last_old = Instant::now();
            }
            match redis.forwards_to() {
                Some(node) if node == before => last_old = Instant::now(),
                Some(_) => _ = first_new.get_or_insert_with(Instant::now),
                None => {}
            }
            thread::sleep(Duration::from_millis(20));
        }
        failover.join().unwrap().unwrap();
    });
    let overlap = last_old.saturating_duration_since(first_new.unwrap());
    assert!(overlap < Duration::from_millis(500), "two masters for {overlap:.1?}");
}

/// A connection that stays open, like those of a gateway.
fn login(url: &str) -> TcpStream {
    let (login, place) = url.strip_prefix("redis://").unwrap().split_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    let mut stream = TcpStream::connect(place).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(format!("AUTH {user} {password}\r\n").as_bytes()).unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), "+OK\r\n".len());
    stream
}
