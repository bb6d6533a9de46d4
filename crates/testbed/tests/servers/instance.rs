//! A stand-in for a gateway behind the balancer: health routes, answers with the instance's name, and WebSockets that
//! echo bytes.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

#[derive(Default)]
struct Switches {
    not_ready: AtomicBool,
    /// Number of requests after which the connection closes without an answer, as when a process is killed.
    drop_requests: AtomicUsize,
}

pub(crate) struct Instance {
    pub(crate) port: u16,
    switches: Arc<Switches>,
}

impl Instance {
    pub(crate) fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let switches = Arc::new(Switches::default());
        let shared = Arc::clone(&switches);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(name, stream, &shared));
            }
        });
        Self { port, switches }
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.switches.not_ready.store(!ready, Ordering::SeqCst);
    }

    pub(crate) fn drop_requests(&self, requests: usize) {
        self.switches.drop_requests.store(requests, Ordering::SeqCst);
    }
}

fn serve(name: &str, stream: TcpStream, switches: &Switches) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !matches!(stream.read_line(&mut head), Ok(1..)) {
            return;
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let ready = !switches.not_ready.load(Ordering::SeqCst);
    let probe = matches!(path, "/readyz" | "/healthz");
    let drop_requests = |left: usize| left.checked_sub(1);
    if !probe && switches.drop_requests.fetch_update(Ordering::SeqCst, Ordering::SeqCst, drop_requests).is_ok() {
        return;
    }
    if path == "/ws" {
        // The accept value for the example key of RFC 6455.
        let upgrade = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.get_mut().write_all(upgrade.as_bytes()).unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            stream.get_mut().write_all(&byte).unwrap();
        }
        return;
    }
    let status = if path == "/readyz" && !ready { "503 Service Unavailable" } else { "200 OK" };
    let headers: String = head.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-forwarded")).collect();
    let body = format!("{name} {headers}");
    let length = body.len();
    let _ =
        write!(stream.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
}
