//! HTTP requests to loopback ports, for health probes and tests.
//!
//! Hand-written, because this crate is part of `cargo xtask`: `ureq` without TLS would add 9 crates that the gateway does not
//! need either (it has other versions of `http` and `base64`), in place of 60 lines.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// Maximum length of an answer in bytes.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// The answer to an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// Status line and header fields, as received.
    pub head: String,
    /// The body. Chunked encoding is not decoded.
    pub body: String,
}

/// Sends `GET path` to a loopback port. `timeout` applies to connecting and to each read.
///
/// # Errors
/// Returns an error if the server does not answer in time, or if its answer is not HTTP/1.
pub fn http_get(port: u16, path: &str, timeout: Duration) -> io::Result<HttpAnswer> {
    request("GET", port, path, "", timeout)
}

/// Sends `POST path` with a JSON body to a loopback port.
///
/// # Errors
/// See [`http_get`].
pub fn http_post(port: u16, path: &str, json: &str, timeout: Duration) -> io::Result<HttpAnswer> {
    request("POST", port, path, json, timeout)
}

fn request(method: &str, port: u16, path: &str, body: &str, timeout: Duration) -> io::Result<HttpAnswer> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    read_answer(BufReader::new(stream.take(MAX_ANSWER_BYTES)))
}

fn read_answer(mut stream: impl BufRead) -> io::Result<HttpAnswer> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(invalid());
        }
    }
    let head = head.trim_end().to_owned();
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(invalid)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = Vec::new();
    match length {
        // Some servers keep the connection open despite `Connection: close`.
        Some(length) => _ = stream.take(length as u64).read_to_end(&mut body)?,
        None => _ = stream.read_to_end(&mut body)?,
    }
    Ok(HttpAnswer { status, head, body: String::from_utf8_lossy(&body).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_head_and_body_are_parsed() {
        let read = |text: &str| read_answer(text.as_bytes());
        let answer = read("HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "{}"));
        let answer = read("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{} and what was not announced").unwrap();
        assert_eq!(answer.body, "{}");
        assert!(read("HTTP/1.1 what\r\n\r\n").is_err());
        assert!(read("HTTP/1.1 200 OK\r\n").is_err());
        assert!(read("").is_err());
    }
}
