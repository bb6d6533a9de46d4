//! One HTTP/1.1 request per connection, for login, logout and the session probe.

use std::{io, pin::pin, time::Duration};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request,
    client::conn::http1,
    header::{self, HeaderMap, HeaderName},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::GatewayUrl;

/// Maximum size of a response body, in bytes. The bodies of gateways and the error pages of load balancers are far
/// smaller. hyper itself bounds the head at about 400 KiB and 100 fields.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// A complete response.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl HttpResponse {
    /// The values of all fields of this name that are visible ASCII.
    pub(crate) fn fields(&self, name: HeaderName) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
    }

    /// `Retry-After` in seconds (RFC 9110 section 10.2.3), the form that gateways send.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.fields(header::RETRY_AFTER).next()?.trim().parse().ok().map(Duration::from_secs)
    }
}

/// Sends one request on a new connection and returns the response. Has no time limit: drop the future to cancel.
///
/// # Errors
/// Errors of the connection; [`io::ErrorKind::InvalidData`] if the response is not HTTP/1.1 or too large.
pub(crate) async fn exchange(
    url: &GatewayUrl,
    method: Method,
    path: &str,
    fields: &[(HeaderName, &str)],
    body: impl Into<Bytes>,
) -> io::Result<HttpResponse> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, url.authority())
        .header(header::CONNECTION, "close");
    for (name, value) in fields {
        request = request.header(name, *value);
    }
    let request = request.body(Full::new(body.into())).map_err(io::Error::other)?;
    send(url.connect().await?, request).await
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> io::Result<HttpResponse> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(invalid)?;
    let exchange = pin!(async move {
        let (head, body) = sender.send_request(request).await.map_err(invalid)?.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(invalid)?.to_bytes();
        Ok(HttpResponse { status: head.status.as_u16(), headers: head.headers, body })
    });
    // The connection moves the bytes. It can end before the exchange has read the rest of the body.
    match select(exchange, connection).await {
        Either::Left((response, _)) => response,
        Either::Right((_, exchange)) => exchange.await,
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Sends a request to a server that answers with these pieces and closes the connection.
    async fn response(pieces: &[&[u8]]) -> io::Result<HttpResponse> {
        let (client, mut server) = duplex(64 * 1024);
        let request = Request::get("/session").header("host", "gateway").body(Full::default()).unwrap();
        let serve = async {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                server.read_buf(&mut request).await.unwrap();
            }
            for piece in pieces {
                // An error means that the client has seen enough.
                let _ = server.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            drop(server);
        };
        tokio::join!(send(client, request), serve).0
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    async fn whole(text: &str) -> HttpResponse {
        response(&[text.as_bytes()]).await.unwrap()
    }

    #[tokio::test]
    async fn bodies_end_where_rfc_9112_says() {
        assert_eq!(whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!").await.body, "hi");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n";
        assert_eq!(whole(chunked).await.body, "hi!");
        assert_eq!(whole("HTTP/1.1 204 No Content\r\n\r\n").await.body, "");
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(whole(interim).await.status, 401);
        let until_end = "HTTP/1.0 503 Service Unavailable\r\nCache-Control: no-cache\r\n\r\n<html>";
        assert_eq!(whole(until_end).await.body, "<html>");
        let cut_off = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi";
        assert_eq!(response(&[cut_off.as_bytes()]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn too_large_responses_are_refused() {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MAX_BODY_BYTES + 1);
        let body = vec![b'x'; MAX_BODY_BYTES + 1];
        assert_eq!(response(&[head.as_bytes(), &body]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn field_names_ignore_case() {
        let response = whole(
            "HTTP/1.1 429 No\r\nRETRY-AFTER: 3\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
        assert_eq!(response.retry_after(), Some(Duration::from_secs(3)));
        assert_eq!(response.fields(header::SET_COOKIE).collect::<Vec<_>>(), ["a=1", "b=2"]);
    }

    proptest! {
        #[test]
        fn no_response_causes_a_panic_or_a_hang(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = run(response(&[&bytes]));
            let _ = run(response(&[b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &bytes]));
        }

        #[test]
        fn response_does_not_depend_on_how_it_is_split(body in "[a-z]{0,60}", at in 0usize..100) {
            let chunk = if body.is_empty() { String::new() } else { format!("{:x}\r\n{body}\r\n", body.len()) };
            let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
            let (first, rest) = text.as_bytes().split_at(at.min(text.len() - 1));
            prop_assert_eq!(run(response(&[first, rest])).unwrap().body, body.as_bytes());
        }
    }
}
