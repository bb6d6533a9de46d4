//! Servers in Docker, as on a machine without the programs. Needs an engine that has the images or can pull them.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use testcontainers::{bollard::query_parameters::ListContainersOptionsBuilder, core::client::docker_client_instance};
use trunkline_testbed::{AppendFsync, HaProxy, LineSink, Redis, SlotState, TestbedError, Toolbox, free_port, http_get};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Number of containers of the server on this port, running or not.
fn containers(port: u16) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = ListContainersOptionsBuilder::new().all(true).build();
    let listed = runtime.block_on(async { docker_client_instance().await.unwrap().list_containers(Some(all)).await });
    let names = listed.unwrap().into_iter().flat_map(|container| container.names.unwrap_or_default());
    names.filter(|name| name.starts_with("/trunkline-") && name.contains(&format!("-{port}-"))).count()
}

/// A stand-in for a gateway on loopback that answers every request with status 200 and the same body.
fn gateway() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let head = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            head.for_each(drop);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\none");
        }
    });
    port
}

fn collector() -> (LineSink, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    (Arc::new(move |line| sink.lock().unwrap().push(line.text.to_owned())), lines)
}

/// A non-loopback address of this machine, if it has one.
fn outer_address() -> Option<IpAddr> {
    // Connecting a datagram socket sends no packet.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

#[test]
fn redis_keeps_port_and_data_after_a_kill_and_is_removed_on_drop() {
    let (sink, lines) = collector();
    let builder = Redis::builder().toolbox(Toolbox::none()).append_only(AppendFsync::Always).password("a secret");
    let mut redis = builder.log(sink).start().unwrap();
    let port = redis.port();
    assert_eq!((redis.pid(), redis.is_running()), (None, true));
    redis.cli(&["SET", "k", "v"]).unwrap();
    if let Some(ip) = outer_address() {
        assert!(TcpStream::connect_timeout(&(ip, port).into(), TIMEOUT).is_err(), "published beyond loopback");
    }

    redis.kill().unwrap();
    assert!(!redis.is_running());
    assert!(redis.cli(&["PING"]).is_err());
    redis.kill().unwrap();
    redis.restart().unwrap();
    assert_eq!((redis.cli(&["GET", "k"]).unwrap().as_str(), redis.port()), ("v", port));

    redis.pause().unwrap();
    let mut silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    silent.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    silent.write_all(b"PING\r\n").unwrap();
    assert!(silent.read(&mut [0]).is_err(), "it answered although it was paused");
    redis.resume().unwrap();
    assert_eq!(redis.cli(&["GET", "k"]).unwrap(), "v");

    redis.restart_empty().unwrap();
    assert_eq!((redis.cli(&["GET", "k"]).unwrap().as_str(), redis.port()), ("", port));
    assert!(!lines.lock().unwrap().is_empty(), "its log was not passed on");
    let again = Redis::given(&redis.url()).unwrap();
    assert_eq!(containers(port), 1);
    drop(redis);
    assert_eq!(containers(port), 0);
    assert!(again.cli(&["PING"]).is_err());
}

#[test]
fn haproxy_reaches_gateways_on_loopback_and_is_removed_on_drop() {
    let mut balancer = HaProxy::builder().toolbox(Toolbox::none()).start().unwrap();
    assert_eq!((balancer.pid(), balancer.is_running()), (None, true));
    assert_eq!(containers(balancer.port()), 1);
    balancer.fill_slot(1, gateway()).unwrap();
    let answer = http_get(balancer.port(), "/", TIMEOUT).unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "one"));
    assert_ne!(balancer.slot(1).unwrap(), SlotState::OutOfService);
    balancer.clear_slot(1).unwrap();
    assert_eq!(balancer.slot(1).unwrap(), SlotState::OutOfService);

    let taken = HaProxy::builder().toolbox(Toolbox::none()).port(balancer.port()).start();
    assert!(matches!(taken, Err(TestbedError::PortTaken(port)) if port == balancer.port()), "{taken:?}");
    let port = balancer.port();
    drop(balancer);
    assert_eq!(containers(port), 0);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn server_that_exits_at_once_is_reported_with_its_output() {
    let port = free_port().unwrap();
    let broken = Redis::builder().toolbox(Toolbox::none()).port(port).config("no-such-setting", "1").start();
    let error = broken.unwrap_err().to_string();
    assert!(error.contains("no-such-setting") && error.contains("brew install redis"), "{error}");
    assert_eq!(containers(port), 0);
}

#[test]
fn port_in_use_is_reported_and_its_owner_keeps_running() {
    let first = Redis::builder().toolbox(Toolbox::none()).start().unwrap();
    let taken = Redis::builder().toolbox(Toolbox::none()).port(first.port()).start();
    assert!(matches!(taken, Err(TestbedError::PortTaken(port)) if port == first.port()), "{taken:?}");
    assert_eq!(containers(first.port()), 1);
    assert_eq!(first.cli(&["PING"]).unwrap(), "PONG");
}
