//! Which side closes an idle HTTP connection between balancer and gateway.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use trunkline_testbed::HaProxy;

use crate::{http::TIMEOUT, nginx::Nginx, site::Site};

/// The time after which a gateway closes an idle connection; balancers must close it earlier.
fn gateways_idle_time() -> Duration {
    let site = Site::start(1);
    let mut stream = TcpStream::connect(("127.0.0.1", site.ports()[0])).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let started = Instant::now();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("200 OK"), "{answer}");
    started.elapsed()
}

/// Answers every request and keeps connections open. Reports for each connection that carried `/idle` how long it was idle
/// when the balancer closed it.
fn instance() -> (u16, Receiver<Duration>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, (closed, report)) = (listener.local_addr().unwrap().port(), mpsc::channel());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let closed = closed.clone();
            thread::spawn(move || serve(stream, &closed));
        }
    });
    (port, report)
}

fn serve(stream: TcpStream, closed: &Sender<Duration>) {
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone().unwrap()), stream);
    let mut idle_since = None;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(reader.read_line(&mut head), Ok(1..)) {
                if let Some(since) = idle_since {
                    let _ = closed.send(Instant::elapsed(&since));
                }
                return;
            }
        }
        if writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
        idle_since = head.contains("/idle").then(Instant::now);
    }
}

/// Sends a request through the balancer, and keeps the browser's side open.
fn idle_time_behind(balancer: u16, report: &Receiver<Duration>) -> Duration {
    let mut browser = TcpStream::connect(("127.0.0.1", balancer)).unwrap();
    browser.set_read_timeout(Some(TIMEOUT)).unwrap();
    browser.write_all(b"GET /idle HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(browser.read(&mut [0; 1024]).unwrap() > 0);
    report.recv_timeout(TIMEOUT).unwrap()
}

#[test]
fn balancers_close_an_idle_connection_before_the_gateway_does() {
    let limit = gateways_idle_time();
    let (port, report) = instance();
    let balancer = HaProxy::start().unwrap();
    balancer.fill_slot(1, port).unwrap();
    let haproxy = idle_time_behind(balancer.port(), &report);
    let (port, report) = instance();
    let nginx = idle_time_behind(Nginx::start([port; 3]).port, &report);
    let margin = Duration::from_millis(500);
    assert!(haproxy + margin < limit, "HAProxy {haproxy:?}, gateway {limit:?}");
    assert!(nginx + margin < limit, "nginx {nginx:?}, gateway {limit:?}");
}
