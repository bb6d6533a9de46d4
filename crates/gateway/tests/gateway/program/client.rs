//! Requests to a gateway process, byte for byte.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Maximum time for one response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// A response as text.
#[derive(Debug)]
pub(super) struct Response(pub(super) String);

impl Response {
    pub(super) fn status(&self) -> u16 {
        self.0.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.0.lines().take_while(|line| !line.is_empty());
        lines
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The session cookie that the response sets, as `name=value`.
    pub(super) fn cookie(&self) -> String {
        let line = self.header("set-cookie").unwrap_or_else(|| panic!("{self:?}"));
        line.split(';').next().unwrap().to_owned()
    }
}

/// Sends one request with these header lines and returns the response. A request that is not answered yields an empty
/// one.
pub(super) fn request(port: u16, line: &str, headers: &[&[u8]], body: &str) -> Response {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(RESPONSE_TIMEOUT)).unwrap();
    let mut bytes = format!("{line} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n").into_bytes();
    for header in headers {
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    stream.write_all(&bytes).unwrap();
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response);
    Response(String::from_utf8_lossy(&response).into_owned())
}

/// A page load of a browser with these additional header lines.
pub(super) fn load(port: u16, path: &str, headers: &[&[u8]]) -> Response {
    request(port, &format!("GET {path}"), &[&[&b"Accept: text/html"[..]], headers].concat(), "")
}

/// A form of a browser, without cookies.
pub(super) fn submit(port: u16, path: &str, form: &str) -> Response {
    let headers = [&b"Accept: text/html"[..], b"Content-Type: application/x-www-form-urlencoded"];
    request(port, &format!("POST {path}"), &headers, form)
}

pub(super) fn log_in(port: u16, name: &str) -> Response {
    request(port, "POST /login", &[b"Content-Type: application/json"], &format!(r#"{{"name":"{name}"}}"#))
}

/// Opens a socket. Returns the status of the handshake, and the connection, which keeps the socket open.
pub(super) fn open_socket(port: u16, cookie: &str) -> (u16, TcpStream) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(RESPONSE_TIMEOUT)).unwrap();
    write!(
        stream,
        "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: {cookie}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let mut line = String::new();
    let _ = BufReader::with_capacity(1, &stream).read_line(&mut line);
    (Response(line).status(), stream)
}
