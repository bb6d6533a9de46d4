//! A master, its replica and their Sentinels.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::{RedisSentinel, TlsFiles};

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

#[test]
fn sentinels_can_be_asked_without_a_proxy_and_fail_over_while_one_of_them_is_away() {
    let mut redis = RedisSentinel::builder().sentinel_password("hush").start().unwrap();
    let url = redis.url();
    assert!(
        url.starts_with("redis-sentinel://trunkline:not-a-secret@127.0.0.1:") && url.ends_with("#trunkline"),
        "{url}"
    );
    assert_eq!(url.matches("127.0.0.1:").count(), 3);
    let master = redis.master().unwrap();
    assert!((0..3).all(|sentinel| redis.named_by(sentinel) == Some(master)));
    redis.kill_sentinel(0).unwrap();
    assert_eq!((redis.named_by(0), redis.sentinel_pid(0)), (None, None));
    let killed = Instant::now();
    redis.kill_master().unwrap();
    let other = redis.wait_for_another(master).unwrap();
    println!("promoted after {:.1?}", killed.elapsed());
    redis.start_node(master).unwrap();
    redis.start_sentinel(0).unwrap();
    redis.wait_until_stable().unwrap();
    assert!((0..3).all(|sentinel| redis.named_by(sentinel) == Some(other)));
    redis.pause_sentinel(2).unwrap();
    redis.resume_sentinel(2).unwrap();
    assert!(redis.sentinel_pid(2).is_some());
}

#[test]
fn servers_and_sentinels_speak_tls_only() {
    let tls = TlsFiles::create().unwrap();
    let redis = RedisSentinel::builder().tls(&tls).start().unwrap();
    assert!(redis.url().starts_with("rediss-sentinel://"), "{}", redis.url());
    let port = redis.sentinel_ports().next().unwrap();
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    plain.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 16];
    let length = plain.read(&mut answer).unwrap_or(0);
    assert!(!answer[..length].starts_with(b"+PONG"), "it answered without TLS");
    let before = redis.master().unwrap();
    assert_ne!(redis.fail_over().unwrap(), before);
}
