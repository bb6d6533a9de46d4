//! HTTP requests with a session cookie, and WebSockets, on loopback.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use trunkline_testbed::http_post;

/// Longer than the slowest answer of a gateway or balancer under a fault.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Logs in and returns the session cookie, `name=value`.
pub(crate) fn login(port: u16, name: &str) -> String {
    let answer = http_post(port, "/login", &format!(r#"{{"name":"{name}"}}"#), TIMEOUT).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookie.or_else(|| answer.head.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")));
    cookie.unwrap().split(';').next().unwrap().to_owned()
}

/// Logs out, and returns the status code.
pub(crate) fn logout(port: u16, cookie: &str) -> u16 {
    request("POST", port, "/logout", cookie).unwrap().0
}

/// `GET path` as a browser with that cookie: the status code and the whole answer.
pub(crate) fn get(port: u16, path: &str, cookie: &str) -> io::Result<(u16, String)> {
    request("GET", port, path, cookie)
}

fn request(method: &str, port: u16, path: &str, cookie: &str) -> io::Result<(u16, String)> {
    let mut stream = connect(port)?;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/html\r\n");
    write!(stream, "{head}Cookie: {cookie}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, answer))
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// An open WebSocket. Frames up to 65,535 bytes (RFC 6455, section 5.2).
pub(crate) struct Socket(TcpStream);

impl Socket {
    pub(crate) fn open(port: u16, cookie: &str) -> Self {
        let mut stream = connect(port).unwrap();
        write!(
            stream,
            "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: {cookie}\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Self(stream)
    }

    /// Sends a text frame of at most 125 bytes, with a mask of zeros.
    pub(crate) fn send(&mut self, text: &str) {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 126);
        self.0.write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()).unwrap();
    }

    /// Reads frames until one contains `part`.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.next_frame().1).into_owned();
            if text.contains(part) {
                return text;
            }
        }
    }

    /// Reads frames until a close frame, and returns its code.
    pub(crate) fn wait_for_close(&mut self) -> u16 {
        loop {
            if let (0x88, payload) = self.next_frame() {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }

    /// The first byte of a frame, and its payload.
    fn next_frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let mut length = usize::from(head[1]);
        if length == 126 {
            let mut extended = [0; 2];
            self.0.read_exact(&mut extended).unwrap();
            length = usize::from(u16::from_be_bytes(extended));
        }
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).unwrap();
        (head[0], payload)
    }
}
