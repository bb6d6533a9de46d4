//! What a place that keeps sessions must be able to do.

use std::{future::Future, time::Duration};

use trunkline_domain::UserName;

use crate::{Digest, Endings, KeyChange, Salt, SessionError, Sid};

/// A place that keeps sessions: each operation in one step, whoever else is at it, by one clock.
///
/// Implement it for another database, and [`Store`](crate::Store) makes it a session store; [`Keyring`](crate::Keyring)
/// decides about keys. Expiry is the backend's duty: what is past [`Lifetimes`](crate::Lifetimes) is not there. Every
/// operation ends in bounded time; every error is [`SessionError::Unavailable`].
pub trait Backend: Clone + Send + Sync + 'static {
    /// Makes a session without a key, and claims its user's name ([`Sid::name_tag`]) for it, both for
    /// [`Lifetimes::CLAIM`](crate::Lifetimes::CLAIM). False, and nothing is made, where the name is held.
    fn claim(&self, sid: Sid, user: &UserName) -> impl Future<Output = Result<bool, SessionError>> + Send;

    /// Gives a session without a key its first one, and a life of [`Lifetimes::idle`](crate::Lifetimes::idle), but at
    /// most [`Lifetimes::UNCONFIRMED`](crate::Lifetimes::UNCONFIRMED). False if it is gone or has a key.
    fn issue(&self, sid: Sid, key: Digest, state: &str) -> impl Future<Output = Result<bool, SessionError>> + Send;

    /// Looks a session up by a good key, and extends its life as [`touch`](Self::touch) does, with the same
    /// restriction.
    fn find(&self, sid: Sid, key: Digest) -> impl Future<Output = Result<Option<Found>, SessionError>> + Send;

    /// Replaces the state, extends the life and changes the keys of a session: the salts that lead from the key
    /// presented to the one that its bearer gets. `None`, and nothing is done, if the session is gone or the key not
    /// good.
    fn change(
        &self,
        sid: Sid,
        key: Digest,
        change: KeyChange,
        state: &str,
    ) -> impl Future<Output = Result<Option<Vec<Salt>>, SessionError>> + Send;

    /// Extends the life of a session and of its claim: what is left of its absolute limit. `None` if it is gone. Works
    /// as long as the backend can read; where it cannot write, nothing is extended.
    fn touch(&self, sid: Sid) -> impl Future<Output = Result<Option<Duration>, SessionError>> + Send;

    /// Ends a session, frees its name, and tells everybody if it was there.
    fn end(&self, sid: Sid) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// A receiver of the endings from now on.
    fn endings(&self) -> Endings;

    /// Whether the backend answers.
    fn health(&self) -> impl Future<Output = Result<(), SessionError>> + Send;
}

/// A session that was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whose it is.
    pub user: UserName,
    /// As last given to [`Backend::issue`] or [`Backend::change`].
    pub state: String,
}
