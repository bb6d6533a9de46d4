//! Deliberate faults, which the feature `mutants` switches on; see [`crate::mutant`].

use std::sync::Arc;

use super::{connection::Generation, shards::SubscriptionHealth};

/// The faults of a bus. The default has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Every run of every Redis is taken for the same.
    pub(crate) one_generation: bool,
    /// Rooms of a slot that moved are taken for subscribed at the new owner.
    pub(crate) keep_subscriptions: bool,
    /// Redirections fail the command, and the first slot map is kept.
    pub(crate) ignore_moved: bool,
    /// The probe of one shard counts for all of them.
    pub(crate) share_probe: bool,
}

impl Faults {
    /// The health that all shards share, if the probe of one counts for all.
    pub(super) fn shared_health(self) -> Option<Arc<SubscriptionHealth>> {
        self.share_probe.then(|| Arc::new(SubscriptionHealth::new()))
    }

    /// How a generation is read from the replies to `INFO server` and `INFO replication`.
    pub(super) fn read_generation(self) -> fn(&str, &str) -> Option<Generation> {
        if self.one_generation { Generation::constant } else { Generation::from_info }
    }
}
