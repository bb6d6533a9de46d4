//! What the gateway needs of sessions.

use std::{future::Future, time::Duration};

use actix_session::storage::SessionStore;
use trunkline_domain::UserName;

use crate::{Attempt, Endings, SessionError, Sid};

/// Who is logged in, in which session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The session.
    pub sid: Sid,
    /// The user.
    pub user: UserName,
}

/// Sessions that several gateways share: the store behind actix-session's middleware, name claims and revocation.
///
/// Cheap to clone; clones share everything. All operations end in bounded time.
pub trait Sessions: SessionStore + Clone + Send + Sync + 'static {
    /// Starts a session of `user`, and claims the name and all that look like it in the same step. It gets its key when
    /// the middleware saves it ([`login`](crate::login()) sees to that), within
    /// [`Lifetimes::CLAIM`](crate::Lifetimes::CLAIM). A session that the same `attempt` began ends for it, up to twice.
    ///
    /// # Errors
    /// [`Taken`](SessionError::Taken) while another live session holds the name,
    /// [`Unavailable`](SessionError::Unavailable).
    fn claim(
        &self,
        user: &UserName,
        attempt: Option<Attempt>,
    ) -> impl Future<Output = Result<Sid, SessionError>> + Send;

    /// Counts as use of a session: puts its idle expiry off, and that of its name, never beyond the absolute limit.
    /// Answers how long it can still last at most; `None` if it is gone for certain.
    ///
    /// # Errors
    /// [`Unavailable`](SessionError::Unavailable): nothing is known, so nothing follows from it.
    fn touch(&self, sid: &Sid) -> impl Future<Output = Result<Option<Duration>, SessionError>> + Send;

    /// Ends a session with all its keys, frees its name, and tells every instance. Fine if it has ended already.
    ///
    /// # Errors
    /// [`Unavailable`](SessionError::Unavailable): it may or may not have ended; try again.
    fn end(&self, sid: &Sid) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// A receiver of the sessions that are [ended](Self::end) from now on, on any instance. Call it inside a Tokio
    /// runtime: it may start a task there, one for all receivers, that listens until the last clone of the store is
    /// dropped.
    fn endings(&self) -> Endings;

    /// Whether the store answers, for readiness.
    ///
    /// # Errors
    /// [`Unavailable`](SessionError::Unavailable), whose source says why.
    fn health(&self) -> impl Future<Output = Result<(), SessionError>> + Send;
}
