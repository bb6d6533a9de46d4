//! Deliberate faults, which the feature `mutants` switches on; see [`crate::mutant`].

use super::connection::Generation;

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
    /// How a generation is read from the replies to `INFO server` and `INFO replication`.
    pub(super) fn read_generation(self) -> fn(&str, &str) -> Option<Generation> {
        if self.one_generation { Generation::constant } else { Generation::from_info }
    }
}
