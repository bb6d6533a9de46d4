//! The driver's clock.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use trunkline_domain::{Millis, millis};

/// Wall-clock time in ms since the Unix epoch that never goes back.
pub(crate) struct WallClock {
    started: Instant,
    /// Time between the Unix epoch and `started`.
    epoch: Duration,
}

impl WallClock {
    pub(crate) fn new() -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), epoch }
    }

    pub(crate) fn now(&self) -> Millis {
        millis(self.epoch + self.started.elapsed())
    }

    /// The beginning of a millisecond.
    pub(crate) fn instant(&self, at: Millis) -> Instant {
        self.started + Duration::from_millis(at).saturating_sub(self.epoch)
    }
}
