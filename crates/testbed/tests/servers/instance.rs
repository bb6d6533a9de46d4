//! A small HTTP server that behaves as the balancer sees a gateway: health, requests that name who answered, and
//! sockets that stay open and echo.

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
    /// How many requests are swallowed: read, and the connection closed without an answer, as by a killed process.
    swallow: AtomicUsize,
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

    pub(crate) fn swallow(&self, requests: usize) {
        self.switches.swallow.store(requests, Ordering::SeqCst);
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
    let swallow = |left: usize| left.checked_sub(1);
    if !probe && switches.swallow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, swallow).is_ok() {
        return;
    }
    if path == "/ws" {
        // The answer to the key that RFC 6455 takes as its example.
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
