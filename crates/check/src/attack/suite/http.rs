//! HTTP exchanges byte by byte: requests may be invalid, and an answer is read as far as it arrives.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout_at},
};
use trunkline_client::GatewayUrl;

use crate::attack::raw_socket::connect;

/// Largest accepted answer in bytes: 1 MiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Stands for the status of a connection that the server closed without an answer.
pub(super) const CLOSED: u16 = 0;
/// Stands for the status of a connection on which the server did not answer in time.
pub(super) const NO_ANSWER: u16 = 1;

/// Everything that a server sent in answer to a request.
#[derive(Debug, Default)]
pub(super) struct RawAnswer {
    /// Status of the first response; [`CLOSED`] or [`NO_ANSWER`] if there is none.
    pub(super) status: u16,
    /// All bytes as text.
    pub(super) text: String,
}

impl RawAnswer {
    /// Returns the values of all header fields with this name in the first response.
    pub(super) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let lines = self.text.split("\r\n").skip(1).take_while(|line| !line.is_empty());
        let fields = lines.filter_map(|line| line.split_once(':'));
        fields.filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Returns the value of the first header field with this name, or an empty text.
    pub(super) fn header<'a>(&'a self, name: &'a str) -> &'a str {
        self.headers(name).next().unwrap_or_default()
    }

    /// Returns the number of responses, which exceeds the number of requests if the server split a request into two.
    pub(super) fn responses(&self) -> usize {
        self.text.matches("HTTP/1.1 ").count()
    }

    /// Returns `name=value` of the first cookie that the answer sets to a value.
    pub(super) fn cookie(&self) -> Option<&str> {
        self.headers("set-cookie").filter_map(|cookie| cookie.split(';').next()).find(|pair| !pair.ends_with('='))
    }

    fn parse(bytes: &[u8], closed: bool) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        Self { status: status.unwrap_or(if closed { CLOSED } else { NO_ANSWER }), text }
    }
}

/// Sends bytes on a new connection and reads until the server closes it, switches protocols, or `limit` has passed.
///
/// # Errors
/// Only if the connection cannot be made. A reset connection is an answer with what was read before.
pub(super) async fn exchange(site: &GatewayUrl, request: &[u8], limit: Duration) -> io::Result<RawAnswer> {
    let mut stream = connect(site, None).await?;
    // A server may refuse a request before it is complete, so a failed write is not an error.
    let end = Instant::now() + limit;
    let mut bytes = Vec::new();
    let (mut read, mut write) = stream.split();
    let send = async {
        let _ = write.write_all(request).await;
        std::future::pending::<()>().await;
    };
    let receive = async {
        loop {
            match timeout_at(end, read.read_buf(&mut bytes)).await {
                Ok(Ok(0) | Err(_)) => return true,
                Ok(Ok(_)) if bytes.starts_with(b"HTTP/1.1 101") || bytes.len() > ANSWER_BYTES_MAX => return false,
                Ok(Ok(_)) => {}
                Err(_) => return false,
            }
        }
    };
    let closed = tokio::select! {
        () = send => false,
        closed = receive => closed,
    };
    Ok(RawAnswer::parse(&bytes, closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_parsed() {
        let bytes = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=; Max-Age=0\r\nset-cookie: b=1; Path=/\r\n\r\nset-cookie: c=2";
        let answer = RawAnswer::parse(bytes, true);
        assert_eq!((answer.status, answer.cookie(), answer.responses()), (200, Some("b=1"), 1));
        assert_eq!((answer.headers("set-cookie").count(), answer.header("location")), (2, ""));
        assert_eq!([true, false].map(|closed| RawAnswer::parse(b"", closed).status), [CLOSED, NO_ANSWER]);
    }
}
