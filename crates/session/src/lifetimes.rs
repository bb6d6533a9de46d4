//! Session and key lifetimes.

use std::time::Duration;

/// Lifetimes of sessions and keys. Must be the same on all instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Time without use after which a session ends. Every request with a valid key is use, and so is
    /// [`touch`](crate::Sessions::touch), with which sockets keep their session alive.
    pub idle: Duration,
    /// Absolute limit: time after login at which a session ends, used or not.
    pub max: Duration,
    /// How long a superseded key stays valid after a newer one was presented. Must be longer than any request or
    /// response is on its way.
    pub grace: Duration,
}

impl Lifetimes {
    /// Maximum time between the claim of a name and its first key. A login that fails in between blocks the name for
    /// this long.
    pub const CLAIM_TIMEOUT: Duration = Duration::from_secs(30);

    /// Maximum time until the first key is presented, if [`idle`](Self::idle) is longer. If the response to a login is
    /// lost, no client holds its key, and the name is free again after this time.
    pub const FIRST_USE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

    /// Maximum time for which [`Sessions::end_user`](crate::Sessions::end_user) keeps a user out. A longer one counts as
    /// this.
    pub const MAX_KEEP_OUT: Duration = Duration::from_secs(366 * 24 * 60 * 60);

    /// Lifetime of a session whose first key has not been presented.
    pub(crate) fn before_first_use(&self) -> Duration {
        self.idle.min(self.max).min(Self::FIRST_USE_TIMEOUT)
    }
}

impl Default for Lifetimes {
    /// Idle 30 minutes, absolute limit 8 hours, grace 10 seconds.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30 * 60),
            max: Duration::from_secs(8 * 60 * 60),
            grace: Duration::from_secs(10),
        }
    }
}
