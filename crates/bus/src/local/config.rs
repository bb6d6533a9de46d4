//! Settings of a [`LocalBus`](super::LocalBus).

use std::time::Duration;

use crate::presence::DEFAULT_LEASE;

/// How much a [`LocalBus`](super::LocalBus) retains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalConfig {
    /// Maximum number of entries per room.
    pub retain: usize,
    /// Approximate maximum size of a room's entries, in bytes; the oldest are dropped first.
    pub retain_bytes: usize,
    /// Time after which the log of a room expires if nothing is appended and its expiry is not
    /// [refreshed](crate::Bus::refresh_expiry).
    pub retain_for: Duration,
    /// Maximum time for which presence outlives the heartbeats of its instance.
    pub lease: Duration,
}

impl Default for LocalConfig {
    /// 1,000 entries and 4 MiB per room, 7 days, leases of 15 s.
    fn default() -> Self {
        let retain_for = Duration::from_secs(7 * 24 * 3600);
        Self { retain: 1000, retain_bytes: 4 << 20, retain_for, lease: DEFAULT_LEASE }
    }
}
