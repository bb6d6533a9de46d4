//! The parts of HTTP/1.1 (RFC 9112) for handshakes, logins and publishing by POST.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

/// Maximum length of a head in bytes.
pub(crate) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// `Sec-WebSocket-Key` of all handshakes: the example of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The first line and the header fields of a request or an answer.
#[derive(Debug)]
pub(crate) struct HttpHead<'a> {
    text: &'a str,
    /// Length in bytes, including the empty line.
    pub(crate) length: usize,
}

impl<'a> HttpHead<'a> {
    /// The head at the beginning of `bytes`, or `None` if it is incomplete or not UTF-8.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
        Some(Self { text: std::str::from_utf8(&bytes[..end]).ok()?, length: end + 4 })
    }

    pub(crate) fn first_line(&self) -> &'a str {
        self.text.lines().next().unwrap_or_default()
    }

    /// Status code of an answer, or 0 if there is none.
    pub(crate) fn status(&self) -> u16 {
        self.first_line().split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// All values of a header field.
    pub(crate) fn field(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let fields = self.text.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Length of head and body in bytes. Without `Content-Length` the body is assumed to be empty.
    pub(crate) fn length_with_body(&self) -> usize {
        self.length + self.field("content-length").next().and_then(|length| length.parse().ok()).unwrap_or(0)
    }

    /// The value of a `Cookie` field with all cookies of the `Set-Cookie` fields.
    pub(crate) fn cookies(&self) -> String {
        let pairs: Vec<_> = self.field("set-cookie").filter_map(|cookie| cookie.split(';').next()).collect();
        pairs.join("; ")
    }
}

/// The request that opens a socket. `fields` are complete header lines.
pub(crate) fn upgrade(path: &str, host: &str, fields: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{fields}\r\n"
    )
    .into_bytes()
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2).
pub(crate) fn accept(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_head_and_cookies_are_parsed() {
        let bytes =
            b"HTTP/1.1 303 See Other\r\nset-cookie: a=1; Path=/\r\nContent-Length: 5\r\nSet-Cookie:b=2\r\n\r\nhello";
        let head = HttpHead::parse(bytes).unwrap();
        assert_eq!((head.status(), head.cookies().as_str(), head.length_with_body()), (303, "a=1; b=2", bytes.len()));
        assert!(HttpHead::parse(&bytes[..60]).is_none());
    }

    #[test]
    fn accept_value_matches_the_example_of_rfc_6455() {
        assert_eq!(accept(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
