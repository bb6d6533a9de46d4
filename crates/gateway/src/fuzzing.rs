//! The parsers that the targets in `fuzz/` feed. Not part of the public interface.

use std::net::IpAddr;

use actix_web::http::header::{
    COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, X_FORWARDED_FOR, X_FORWARDED_PROTO,
};
use bytes::Bytes;
use ipnet::IpNet;
use trunkline_domain::CloseCode;
use trunkline_session::LoginAttempt;

use crate::{
    connection::{ClientMessage, MessageDecoder},
    http::{cookie, cookie_check, cross_site, forwarded::RequestSource, login},
    origin::Origin,
};

/// A message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the same as the decoder's")]
pub enum WebSocketMessage {
    Text(String),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    Close(Option<u16>),
}

/// Decodes the bytes of a socket, which arrive in these chunks. Returns the messages, and the close code if the bytes
/// break the protocol.
pub fn decode_messages<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<WebSocketMessage>, Option<CloseCode>) {
    let (mut decoder, mut messages) = (MessageDecoder::new(), Vec::new());
    for chunk in chunks {
        decoder.receive(Bytes::copy_from_slice(chunk));
        loop {
            messages.push(match decoder.next() {
                Ok(Some(ClientMessage::Text(text))) => WebSocketMessage::Text(text),
                Ok(Some(ClientMessage::Binary(payload))) => WebSocketMessage::Binary(payload),
                Ok(Some(ClientMessage::Ping(payload))) => WebSocketMessage::Ping(payload),
                Ok(Some(ClientMessage::Pong)) => WebSocketMessage::Pong,
                Ok(Some(ClientMessage::Close(code))) => WebSocketMessage::Close(code),
                Ok(None) => break,
                Err(violation) => return (messages, Some(violation.code)),
            });
        }
    }
    (messages, None)
}

/// Returns the cookies of the session cookie's name in these `Cookie` lines, each as `name=value`. `None` if a cookie has
/// a percent-encoded name that decodes to that name.
#[must_use]
pub fn session_cookies(lines: &[&[u8]], name: &str) -> Option<Vec<Vec<u8>>> {
    let found = cookie::find(&headers(&COOKIE, lines), name);
    let named = found.named.iter().map(|(cookie, _)| cookie.as_bytes().to_vec());
    (!found.forged_name).then(|| named.collect())
}

/// Returns the client's address, and whether it uses TLS, for a request with these `X-Forwarded-For` and
/// `X-Forwarded-Proto` lines.
#[must_use]
pub fn request_source(peer: IpAddr, forwarded_for: &[&[u8]], proto: &[&[u8]], trusted: &[IpNet]) -> (IpAddr, bool) {
    let mut all = headers(&X_FORWARDED_FOR, forwarded_for);
    for (name, value) in headers(&X_FORWARDED_PROTO, proto) {
        all.append(name, value);
    }
    let RequestSource { address, https } = RequestSource::of(peer, &all, trusted);
    (address, https)
}

/// Returns whether a page of this origin may open a socket to this host.
#[must_use]
pub fn may_open_socket(host: &[u8], origin: &[u8], public: &[Origin]) -> bool {
    let mut all = headers(&HOST, &[host]);
    for (name, value) in headers(&ORIGIN, &[origin]) {
        all.append(name, value);
    }
    // An origin that no header can contain cannot be sent.
    all.contains_key(ORIGIN) && cross_site::may_open_socket(&all, public)
}

/// Returns the source of a Content-Security-Policy for the WebSockets of an origin.
#[must_use]
pub fn websocket_source(origin: &Origin) -> String {
    origin.websocket_source()
}

/// The decoded body of a login.
#[derive(Debug)]
pub struct LoginBody {
    /// The name as the user typed it.
    pub name: String,
    /// The path to go to, not yet checked.
    pub next: Option<String>,
    /// The attempt, if valid.
    pub attempt: Option<LoginAttempt>,
}

/// Decodes the body of a login. `None` if it is malformed.
#[must_use]
pub fn decode_login(body: &[u8], is_json: bool) -> Option<LoginBody> {
    let request = login::decode_body(body, is_json).ok()?;
    let attempt = request.attempt();
    Some(LoginBody { name: request.name, next: request.next, attempt })
}

/// Returns the location to which a login redirects. `None` if `next` is not a path on this host.
#[must_use]
pub fn login_location(next: &str, attempt: Option<LoginAttempt>) -> Option<String> {
    login::local_path(next).map(|path| cookie_check::marked(path, attempt))
}

/// Returns headers with those of the values that a header can have.
fn headers(name: &HeaderName, values: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok()) {
        headers.append(name.clone(), value);
    }
    headers
}
