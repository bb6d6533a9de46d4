//! As much of HTTP/1.1 (RFC 9112) as login and probe need: one request, one bounded answer, one connection.

use std::{fmt::Write as _, io, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Site;

/// Largest answer taken, head and body together; a gateway's are far below 64 KiB, and so is any balancer's error page.
const ANSWER_MOST: usize = 256 * 1024;
/// Most header fields of an answer.
const FIELDS_MOST: usize = 64;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The values of all fields of this name, given in lower case.
    pub(crate) fn fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `Retry-After` in its form of seconds (RFC 9110 section 10.2.3), which is the one that gateways send.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.fields("retry-after").next()?.trim().parse().ok().map(Duration::from_secs)
    }
}

/// Sends one request and reads its answer. Without a time limit of its own.
pub(crate) async fn exchange(
    site: &Site,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", site.authority());
    if !body.is_empty() {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    for (name, value) in fields {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    let mut stream = site.connect().await?;
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    let mut bytes = Vec::with_capacity(2048);
    loop {
        let ended = stream.read_buf(&mut bytes).await? == 0;
        if let Some(answer) = parse(&bytes, ended)? {
            return Ok(answer);
        }
        if ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if bytes.len() > ANSWER_MOST {
            return Err(broken("the answer is larger than 256 KiB"));
        }
    }
}

/// The answer that `bytes` hold, if it is whole; `ended`: no more bytes will come.
fn parse(bytes: &[u8], ended: bool) -> io::Result<Option<Answer>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MOST];
    let mut head = httparse::Response::new(&mut fields);
    let status = head.parse(bytes).map_err(|_| broken("the answer is not HTTP"))?;
    let httparse::Status::Complete(length) = status else { return Ok(None) };
    let status = head.code.unwrap_or_default();
    if status < 200 {
        // An interim answer (RFC 9110 section 15.2): the real one follows.
        return parse(&bytes[length..], ended);
    }
    let fields: Vec<_> = head
        .headers
        .iter()
        .map(|field| (field.name.to_ascii_lowercase(), String::from_utf8_lossy(field.value).into_owned()))
        .collect();
    let mut answer = Answer { status, fields, body: Vec::new() };
    let Some(body) = whole_body(&answer, &bytes[length..], ended)? else { return Ok(None) };
    answer.body = body;
    Ok(Some(answer))
}

/// RFC 9112 section 6.3: no body, chunks, a declared length, or all until the end.
fn whole_body(head: &Answer, bytes: &[u8], ended: bool) -> io::Result<Option<Vec<u8>>> {
    if matches!(head.status, 204 | 304) {
        return Ok(Some(Vec::new()));
    }
    if head.fields("transfer-encoding").any(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return unchunk(bytes);
    }
    match head.fields("content-length").next().map(str::parse::<usize>) {
        Some(Ok(length)) => Ok(bytes.get(..length).map(<[u8]>::to_vec)),
        Some(Err(_)) => Err(broken("the answer declares no readable length")),
        None => Ok(ended.then(|| bytes.to_vec())),
    }
}

/// RFC 9112 section 7.1; `None` before the last chunk has come.
fn unchunk(mut bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let size = httparse::parse_chunk_size(bytes).map_err(|_| broken("a chunk has no readable size"))?;
        let httparse::Status::Complete((start, size)) = size else { return Ok(None) };
        let size = usize::try_from(size).map_err(|_| broken("a chunk is too large"))?;
        if size == 0 {
            return Ok(Some(body));
        }
        let Some(chunk) = bytes.get(start..).and_then(|rest| rest.get(..size)) else { return Ok(None) };
        body.extend_from_slice(chunk);
        let Some(rest) = bytes.get(start + size + 2..) else { return Ok(None) };
        bytes = rest;
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &str) -> Answer {
        parse(text.as_bytes(), false).unwrap().unwrap()
    }

    #[test]
    fn bodies_end_where_they_should() {
        assert_eq!(whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").body, b"hi");
        assert_eq!(
            whole("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n").body,
            b"hi!"
        );
        assert_eq!(whole("HTTP/1.1 204 No Content\r\n\r\n").body, b"");
        assert_eq!(whole("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n").status, 401);
        let open = b"HTTP/1.0 503 Service Unavailable\r\nCache-Control: no-cache\r\n\r\n<html>";
        assert_eq!(parse(open, false).unwrap(), None);
        assert_eq!(parse(open, true).unwrap().unwrap().body, b"<html>");
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let answer = whole(
            "HTTP/1.1 429 No\r\nRETRY-AFTER: 3\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n",
        );
        assert_eq!(answer.retry_after(), Some(Duration::from_secs(3)));
        assert_eq!(answer.fields("set-cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), ended: bool) {
            let _ = parse(&bytes, ended);
            let chunked = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &bytes[..]].concat();
            let _ = parse(&chunked, ended);
        }

        #[test]
        fn an_answer_is_the_same_however_it_is_cut(body in "[a-z]{0,60}", at in 0usize..100) {
            let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len().max(1));
            let text = if body.is_empty() { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned() } else { text };
            let cut = at.min(text.len() - 1);
            if let Some(early) = parse(&text.as_bytes()[..cut], false).unwrap() {
                prop_assert_eq!(early.body, body.as_bytes());
            }
            prop_assert_eq!(whole(&text).body, body.as_bytes());
        }
    }
}
