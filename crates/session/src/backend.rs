//! What a database must provide to store sessions.

use std::{future::Future, time::Duration};

use trunkline_domain::{DisplayName, UserId, UserName};

use crate::{KeyChange, SecretDigest, SecretSalt, SessionError, SessionEvents, Sid, UserTag};

/// A database that stores sessions. Implement it, and [`BackendSessions`](crate::BackendSessions) makes a session store
/// of it; [`Keyring`](crate::Keyring) decides which keys are valid.
///
/// - Each operation is atomic, on all instances together.
/// - One clock decides about expiry: a session past its [`Lifetimes`](crate::Lifetimes) does not exist.
/// - Every operation ends in bounded time. Every error is [`SessionError::Unavailable`], except where noted.
pub trait SessionBackend: Clone + Send + Sync + 'static {
    /// Creates a session without a key and claims its user's name ([`Sid::tag`]) for it. Both expire after
    /// [`Lifetimes::CLAIM_TIMEOUT`](crate::Lifetimes::CLAIM_TIMEOUT). Returns false and creates nothing if another
    /// session holds the name. Fails with [`SessionError::KeptOut`] if [`keep_out`](Self::keep_out) says so.
    fn claim(&self, sid: Sid, user: &UserName) -> impl Future<Output = Result<bool, SessionError>> + Send;

    /// Creates a session without a key for an external user. It expires after
    /// [`Lifetimes::CLAIM_TIMEOUT`](crate::Lifetimes::CLAIM_TIMEOUT). If the user has
    /// [`MAX_SESSIONS_PER_USER`](crate::MAX_SESSIONS_PER_USER) sessions, creates nothing and returns the oldest of them.
    /// Fails with [`SessionError::KeptOut`] if [`keep_out`](Self::keep_out) says so.
    fn start(
        &self,
        sid: Sid,
        user: &UserId,
        name: Option<&DisplayName>,
    ) -> impl Future<Output = Result<Option<Sid>, SessionError>> + Send;

    /// Returns the sessions of `user` that have this tag, possibly with some that have ended, and sets for how long
    /// [`claim`](Self::claim) and [`start`](Self::start) refuse new sessions with this tag. `None` changes nothing, zero
    /// ends an earlier refusal.
    fn keep_out(
        &self,
        tag: UserTag,
        user: &UserId,
        time: Option<Duration>,
    ) -> impl Future<Output = Result<Vec<Sid>, SessionError>> + Send;

    /// Gives a session its first key. It expires after [`Lifetimes::idle`](crate::Lifetimes::idle), or
    /// [`Lifetimes::FIRST_USE_TIMEOUT`](crate::Lifetimes::FIRST_USE_TIMEOUT) if that is shorter. Returns false if the
    /// session is gone or has a key.
    fn issue(
        &self,
        sid: Sid,
        key: SecretDigest,
        state: &str,
    ) -> impl Future<Output = Result<bool, SessionError>> + Send;

    /// Looks up a session by a valid key and extends it as [`touch`](Self::touch) does, with the same restriction.
    fn find(
        &self,
        sid: Sid,
        key: SecretDigest,
    ) -> impl Future<Output = Result<Option<SessionRecord>, SessionError>> + Send;

    /// Replaces the state of a session, extends it and changes its keys. Returns the salts that derive the key for the
    /// cookie from the presented key, in this order. Returns `None` and does nothing if the session is gone or the
    /// key is not valid.
    fn change(
        &self,
        sid: Sid,
        key: SecretDigest,
        change: KeyChange,
        state: &str,
    ) -> impl Future<Output = Result<Option<Vec<SecretSalt>>, SessionError>> + Send;

    /// Extends a session and its claim. Returns the time left until the absolute limit, or `None` if the session is
    /// gone. Works as long as the database can be read; while it cannot be written, nothing is extended.
    fn touch(&self, sid: Sid) -> impl Future<Output = Result<Option<Duration>, SessionError>> + Send;

    /// Ends a session, frees its name and, if it existed, sends [`SessionEvent::Ended`](crate::SessionEvent::Ended) to
    /// all instances.
    fn end(&self, sid: Sid) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// A receiver of the events from now on.
    fn events(&self) -> SessionEvents;

    /// Returns `Ok` if the database answers, with what of it does not: see [`Sessions::health`](crate::Sessions::health).
    fn health(&self) -> impl Future<Output = Result<Vec<String>, SessionError>> + Send;
}

/// A session as [`SessionBackend::find`] returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// The logged-in user. The claimed name, if the session claims one.
    pub user: UserId,
    /// The user's name for people, unless it equals the id.
    pub name: Option<DisplayName>,
    /// The state last given to [`SessionBackend::issue`] or [`SessionBackend::change`].
    pub state: String,
}
