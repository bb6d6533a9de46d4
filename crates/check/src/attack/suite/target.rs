//! The deployment under attack, as every attack sees it.

use std::{collections::BTreeSet, io, sync::atomic::AtomicBool, time::Duration};

use serde_json::Value;
use trunkline_client::{ClientSession, GatewayUrl};
use trunkline_domain::{Room, UserId};

use super::http::{CLOSED, NO_ANSWER, RawAnswer, exchange};
use crate::attack::raw_socket::{RawSocket, ReceivedFrame};

/// Longest time for one answer: longer than the 10 s after which a gateway ends an incomplete request.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// The deployment under attack.
pub(super) struct AttackTarget {
    pub(super) site: GatewayUrl,
    /// Session of the attacker.
    pub(super) session: ClientSession,
    pub(super) user: UserId,
    pub(super) room: Room,
    pub(super) bounds: Bounds,
    /// The deployment has refused a login with 429: further logins are paced.
    pub(super) logins_limited: AtomicBool,
}

/// Bounds of the attacks that repeat something.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Bounds {
    /// Number of failed logins
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub logins: u32,
    /// New connections per second of the connection churn
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub churn_rate: u32,
    /// Messages, pings or fragments per second of each flood
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub flood_rate: u32,
    /// Duration of the connection churn and of each flood
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub flood_for: Duration,
    /// Number of connections that send a request slowly, or not at all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub slow_connections: u32,
    /// Longest time for one attack
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    pub attack_limit: Duration,
}

/// Observed reaction to an attack.
#[derive(Debug)]
pub(super) struct Observation {
    pub(super) seen: String,
    /// Whether it is the expected reaction; `None` if the attack does not apply to this deployment.
    pub(super) ok: Option<bool>,
}

impl Observation {
    pub(super) fn new(ok: bool, seen: impl Into<String>) -> Self {
        Self { seen: seen.into(), ok: Some(ok) }
    }

    /// Checks that the status of every named request is one of `allowed`.
    pub(super) fn of_statuses(statuses: &[(&str, u16)], allowed: &[u16]) -> Self {
        let unexpected = statuses.iter().filter(|(_, status)| !allowed.contains(status));
        let unexpected: Vec<_> = unexpected.map(|(name, status)| format!("{name}: {}", status_name(*status))).collect();
        if !unexpected.is_empty() {
            return Self::new(false, unexpected.join("; "));
        }
        let distinct: BTreeSet<_> = statuses.iter().map(|(_, status)| *status).collect();
        let distinct: Vec<_> = distinct.into_iter().map(status_name).collect();
        Self::new(true, format!("{} for {} requests", distinct.join(", "), statuses.len()))
    }

    pub(super) fn not_applicable(why: impl Into<String>) -> Self {
        Self { seen: why.into(), ok: None }
    }
}

/// Result of an attack. An I/O error outside the attacked connection ends the attack and is not the expected reaction.
pub(super) type AttackOutcome = io::Result<Observation>;

impl AttackTarget {
    /// Returns the `Cookie` header line of the attacker, with its line break.
    pub(super) fn cookie_line(&self) -> String {
        format!("Cookie: {}\r\n", self.session.cookie_header().unwrap_or_default())
    }

    /// Returns the value of the session cookie, `name=value`.
    pub(super) fn cookie(&self) -> String {
        self.session.cookie_header().unwrap_or_default()
    }

    /// Returns a request that closes its connection. `headers` are whole lines with line breaks.
    pub(super) fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
        let length = if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        let host = self.site.authority();
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}{headers}\r\n{body}")
            .into_bytes()
    }

    /// Returns a WebSocket handshake with additional header lines.
    pub(super) fn handshake(&self, headers: &str) -> Vec<u8> {
        handshake(&self.site.authority(), headers)
    }

    pub(super) async fn exchange(&self, request: &[u8]) -> io::Result<RawAnswer> {
        exchange(&self.site, request, ANSWER_LIMIT).await
    }

    /// Sends each request on its own connection and checks that every status is one of `allowed`.
    pub(super) async fn expect_statuses(&self, requests: Vec<(&str, Vec<u8>)>, allowed: &[u16]) -> AttackOutcome {
        let mut statuses = Vec::new();
        for (name, request) in requests {
            statuses.push((name, self.exchange(&request).await?.status));
        }
        Ok(Observation::of_statuses(&statuses, allowed))
    }

    /// Opens a WebSocket with the attacker's session.
    pub(super) async fn open_socket(&self) -> io::Result<RawSocket> {
        RawSocket::open(&self.session, None).await
    }
}

/// Returns a WebSocket handshake for a host, with additional header lines.
pub(super) fn handshake(host: &str, headers: &str) -> Vec<u8> {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .into_bytes()
}

pub(super) fn status_name(status: u16) -> String {
    match status {
        CLOSED => "closed without an answer".to_owned(),
        NO_ANSWER => "no answer in time".to_owned(),
        status => status.to_string(),
    }
}

pub(super) fn close_name(close: Option<u16>) -> String {
    match close {
        None => "still open".to_owned(),
        Some(1006) => "connection closed without a close frame".to_owned(),
        Some(code) => format!("close {code}"),
    }
}

/// Waits for a frame of this type and skips all others. Returns an error frame as it is.
pub(super) async fn answer_to(socket: &mut RawSocket, kind: &str) -> io::Result<Value> {
    let answer = async {
        loop {
            match socket.receive().await? {
                ReceivedFrame::Text(text) if text["type"] == kind || text["type"] == "error" => return Ok(text),
                ReceivedFrame::Text(_) | ReceivedFrame::Other => {}
                ReceivedFrame::Close(code) => {
                    return Err(io::Error::other(format!("the server closed the socket with code {code}")));
                }
            }
        }
    };
    tokio::time::timeout(ANSWER_LIMIT, answer).await.map_err(|_| io::ErrorKind::TimedOut)?
}
