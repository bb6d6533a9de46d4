//! How long things last.

use std::time::Duration;

/// How long sessions and keys last. The same on all instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// A session ends after this time without use. Every request with a good
    /// key is use, and so is a [`touch`](crate::Sessions::touch), by which sockets keep their session alive.
    pub idle: Duration,
    /// A session ends this long after login, used or not.
    pub max: Duration,
    /// How long a superseded key stays good after a newer one was presented: longer than any request or answer is on
    /// its way.
    pub grace: Duration,
}

impl Lifetimes {
    /// Between the claim of a name and the answer to the login that carries the first key. A login that fails in
    /// between frees the name after this time.
    pub const CLAIM: Duration = Duration::from_secs(30);

    /// Until a first key must have been presented, if [`idle`](Self::idle) is longer. If the answer to a login gets
    /// lost, nobody holds its key, and the name is free again after this time.
    pub const UNCONFIRMED: Duration = Duration::from_secs(5 * 60);

    /// How long a session lasts that nobody has used yet.
    pub(crate) fn unconfirmed(&self) -> Duration {
        self.idle.min(self.max).min(Self::UNCONFIRMED)
    }
}

impl Default for Lifetimes {
    /// 30 minutes, 8 hours, 10 seconds.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30 * 60),
            max: Duration::from_secs(8 * 60 * 60),
            grace: Duration::from_secs(10),
        }
    }
}
