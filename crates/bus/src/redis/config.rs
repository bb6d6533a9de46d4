//! Settings of a [`RedisBus`](super::RedisBus).

use std::{fmt, time::Duration};

use redis::{Client, IntoConnectionInfo as _, RedisError, io::tcp::TcpSettings};
use trunkline_domain::millis;

use crate::presence::DEFAULT_LEASE;

/// Maximum time for a command, queueing included, and for an attempt to connect.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two probes. A lost subscription is noticed after two silent intervals, a changed generation after one.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Where the logs are stored, and how much of them is retained.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://[[user]:password@]host[:port][/db]`. May contain a password, so `Debug` omits it.
    pub url: String,
    /// First part of the names of all keys and channels.
    pub prefix: String,
    /// Minimum number of entries retained per room. Redis trims whole nodes of a stream, so up to
    /// `stream-node-max-entries` (100 by default) more remain.
    pub retain: usize,
    /// Time after which the log of a room expires if nothing is appended and its expiry is not
    /// [refreshed](crate::Bus::refresh_expiry).
    pub retain_for: Duration,
    /// Maximum time for which the presence of a killed process remains visible.
    pub lease: Duration,
}

impl RedisConfig {
    /// The defaults: 1,000 entries per room, 7 days, leases of 15 s, prefix `tl`.
    pub fn new(url: impl Into<String>) -> Self {
        let retain_for = Duration::from_secs(7 * 24 * 3600);
        Self { url: url.into(), prefix: "tl".to_owned(), retain: 1000, retain_for, lease: DEFAULT_LEASE }
    }

    /// [`retain_for`](Self::retain_for) as Redis takes it: in ms, at least 1.
    pub(super) fn retain_millis(&self) -> u64 {
        millis(self.retain_for).max(1)
    }

    /// A client for the URL; it does not connect yet.
    pub(super) fn client(&self) -> Result<Client, InvalidRedisUrl> {
        let invalid = |error: RedisError| InvalidRedisUrl(error.to_string());
        let connection = self.url.as_str().into_connection_info().map_err(invalid)?;
        Client::open(connection.set_tcp_settings(tcp_settings())).map_err(invalid)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, prefix, retain, retain_for, lease } = self;
        f.debug_struct("RedisConfig")
            .field("prefix", prefix)
            .field("retain", retain)
            .field("retain_for", retain_for)
            .field("lease", lease)
            .finish_non_exhaustive()
    }
}

/// The URL is malformed, or requires something that this build lacks (TLS). The message does not contain the URL.
#[derive(Debug, thiserror::Error)]
#[error("no usable Redis URL, like redis://user:password@host:6379/0: {0}")]
pub struct InvalidRedisUrl(String);

/// The redis crate sets none of these by default.
fn tcp_settings() -> TcpSettings {
    use redis::io::tcp::socket2::TcpKeepalive;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    // Maximum time for which sent bytes may stay unacknowledged before the kernel ends the connection (tcp(7)).
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(Duration::from_secs(10));
    settings
}
