//! Settings of a [`RedisBus`](super::RedisBus).

use std::{fmt, time::Duration};

use trunkline_domain::millis;
use trunkline_redis::RedisOptions;

use super::publish::Retention;
use crate::presence::DEFAULT_LEASE;

/// Maximum time for a command, queueing included, and for each step of connecting.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two probes. A lost subscription is noticed after two silent intervals, a changed generation after one.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Where the logs are stored, and how much of them is retained.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// A URL as [`RedisUrl`](crate::RedisUrl) takes it, such as `redis://[[user]:password@]host[:port][/db]`. May contain a
    /// password, so `Debug` omits it.
    pub url: String,
    /// Certificates, and the credentials of Sentinels. None by default.
    pub options: RedisOptions,
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
    /// Maximum time for which a command waits for others, so that they are sent to Redis together, in addition to the wait
    /// for batches under way. It applies only while so many commands are sent that two or more are expected within it, and
    /// timers round it up to whole milliseconds. 2 ms save 6 % to 13 % of processor time at 10,000 messages per second, and
    /// cost 2.4 ms of latency (docs/decisions/0010-batching-by-work-in-flight.md).
    pub batch_delay_max: Duration,
}

impl RedisConfig {
    /// The defaults: 1,000 entries per room, 7 days, leases of 15 s, prefix `tl`, no batch delay.
    pub fn new(url: impl Into<String>) -> Self {
        let retain_for = Duration::from_secs(7 * 24 * 3600);
        Self {
            url: url.into(),
            options: RedisOptions::default(),
            prefix: "tl".to_owned(),
            retain: 1000,
            retain_for,
            lease: DEFAULT_LEASE,
            batch_delay_max: Duration::ZERO,
        }
    }

    /// How much of each log is retained, as Redis takes it.
    pub(super) fn retention(&self) -> Retention {
        Retention { entries: self.retain.max(1), millis: millis(self.retain_for).max(1) }
    }

    /// Minimum time between two refreshes of the expiry of a room in use.
    pub(super) fn refresh_interval(&self) -> Duration {
        (self.retain_for / 20).min(Duration::from_secs(3600))
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, options, prefix, retain, retain_for, lease, batch_delay_max } = self;
        f.debug_struct("RedisConfig")
            .field("options", options)
            .field("prefix", prefix)
            .field("retain", retain)
            .field("retain_for", retain_for)
            .field("lease", lease)
            .field("batch_delay_max", batch_delay_max)
            .finish_non_exhaustive()
    }
}
