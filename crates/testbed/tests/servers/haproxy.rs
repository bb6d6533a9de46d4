use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::{HaProxy, NoProgress, SlotState, TestbedError, Tool, Toolbox, http_get, project_root};

use crate::instance::Instance;

const TIMEOUT: Duration = Duration::from_secs(5);

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "condition not met: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Names of the instances that answer several requests. Every request must be answered.
fn answering(balancer: &HaProxy) -> BTreeSet<String> {
    (0..8)
        .map(|_| {
            let answer = http_get(balancer.port(), "/", TIMEOUT).unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.body.split(' ').next().unwrap_or_default().to_owned()
        })
        .collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

fn with_two() -> (HaProxy, Instance, Instance) {
    let (balancer, one, two) = (HaProxy::start().unwrap(), Instance::start("one"), Instance::start("two"));
    balancer.fill_slot(1, one.port).unwrap();
    balancer.fill_slot(2, two.port).unwrap();
    (balancer, one, two)
}

fn open_socket(port: u16) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    write!(socket, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n\r\n")
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    socket
}

fn echoes(mut socket: &TcpStream) -> bool {
    let mut byte = [0];
    socket.write_all(b"x").and_then(|()| socket.read_exact(&mut byte)).is_ok()
}

#[test]
fn configuration_is_valid_without_the_testbed() {
    let haproxy = Toolbox::project().get(Tool::HaProxy, &NoProgress).unwrap();
    // A value with options, as production may set it.
    for bind in [None, Some("127.0.0.1:1234 name web")] {
        let mut check = haproxy.command();
        check.arg("-c").arg("-f").arg(project_root().join("deploy/haproxy.cfg"));
        check.envs(bind.map(|bind| ("TRUNKLINE_LB_BIND", bind)));
        let output = check.output().unwrap();
        let output_text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !output_text.contains("WARNING"), "{output_text}");
    }
}

#[test]
fn requests_are_distributed_over_filled_slots() {
    let (balancer, ..) = with_two();
    assert_eq!(answering(&balancer), names(["one", "two"]));
    let three = Instance::start("three");
    balancer.fill_slot(3, three.port).unwrap();
    wait_for("three", || answering(&balancer) == names(["one", "two", "three"]));
    wait_for("a check of three", || balancer.slot_is_up(3).unwrap());
    assert_eq!(balancer.slot(4).unwrap(), SlotState::OutOfService);
    assert!(matches!(balancer.fill_slot(balancer.slots() + 1, 1), Err(TestbedError::Reply(_))));
}

#[test]
fn instance_that_is_not_ready_or_removed_keeps_its_sockets() {
    let (balancer, one, two) = with_two();
    let sockets: Vec<_> = (0..4).map(|_| open_socket(balancer.port())).collect();
    one.set_ready(false);
    wait_for("one is out", || balancer.slot(1).unwrap() == SlotState::OutOfService);
    assert_eq!(answering(&balancer), names(["two"]));
    assert!(sockets.iter().all(echoes));
    one.set_ready(true);
    wait_for("one is back", || balancer.slot_is_up(1).unwrap());
    assert_eq!(answering(&balancer), names(["one", "two"]));
    balancer.clear_slot(2).unwrap();
    assert_eq!(answering(&balancer), names(["one"]));
    assert!(sockets.iter().all(echoes));
    balancer.fill_slot(2, two.port).unwrap();
    assert_eq!(answering(&balancer), names(["one", "two"]));
}

#[test]
fn instances_serve_while_alive_if_none_is_ready() {
    let (balancer, one, two) = with_two();
    one.set_ready(false);
    two.set_ready(false);
    wait_for("both out", || [1, 2].iter().all(|&slot| balancer.slot(slot).unwrap() == SlotState::OutOfService));
    assert_eq!(answering(&balancer), names(["one", "two"]));
}

#[test]
fn request_that_reached_no_instance_is_retried_on_another() {
    let (balancer, one, _two) = with_two();
    // Nothing listens on the port of slot 3, and no check has failed yet. Still no request fails.
    balancer.fill_slot(3, trunkline_testbed::free_port().unwrap()).unwrap();
    assert_ne!(balancer.slot(3).unwrap(), SlotState::Up);
    assert_eq!(answering(&balancer), names(["one", "two"]));
    // The instance closes the connection without an answer, as when it is killed. HAProxy repeats the GET request.
    one.drop_requests(3);
    assert_eq!(answering(&balancer), names(["one", "two"]));
}

#[test]
fn forwarded_headers_carry_the_client_address() {
    let (balancer, ..) = with_two();
    let mut stream = TcpStream::connect(("127.0.0.1", balancer.port())).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let answer = answer.to_ascii_lowercase();
    assert!(answer.contains("x-forwarded-for: 127.0.0.1"), "{answer}");
    assert!(answer.contains("x-forwarded-proto: http"), "{answer}");
    assert!(!answer.contains("6.6.6.6"), "{answer}");
}

#[test]
fn port_in_use_is_reported() {
    let balancer = HaProxy::start().unwrap();
    let taken = HaProxy::builder().port(balancer.port()).start();
    assert!(matches!(taken, Err(TestbedError::PortTaken(port)) if port == balancer.port()));
}
