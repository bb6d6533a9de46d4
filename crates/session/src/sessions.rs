//! The interface between the gateway and a session store.

use std::{future::Future, time::Duration};

use actix_session::storage::SessionStore;
use trunkline_domain::{DisplayName, UserId, UserName};

use crate::{LoginAttempt, SessionError, SessionEvents, Sid};

/// The authenticated user of a request, and the session that proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The session.
    pub sid: Sid,
    /// The user. The claimed name, if the session claims one.
    pub user: UserId,
    /// The user's name for people, unless it equals the id.
    pub name: Option<DisplayName>,
}

/// Maximum number of sessions of one external user. One more ends the oldest. Sessions that expire unused count until
/// their absolute limit.
pub const MAX_SESSIONS_PER_USER: usize = 64;

/// A session store that several gateways share: the store behind actix-session's middleware, name claims and
/// revocation. Clones are cheap and share everything. All operations end in bounded time.
///
/// Handlers use [`login`](crate::login()), [`logout`](crate::logout()) and [`rotate`](crate::rotate), which need the
/// request's [`Session`](actix_session::Session). The gateway's sockets use the store itself:
///
/// ```
/// use trunkline_session::{Lifetimes, MemorySessions, SessionEvent, Sessions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sessions = MemorySessions::in_memory(Lifetimes::default());
/// let mut events = sessions.events();
///
/// let sid = sessions.claim(&"ann".parse()?, None).await?;
/// assert!(sessions.claim(&"Ann".parse()?, None).await.is_err(), "the names look alike");
///
/// // While a socket of the session is open:
/// assert!(sessions.touch(&sid).await?.is_some());
///
/// sessions.end(&sid).await?;
/// assert_eq!(events.next().await, Some(SessionEvent::Ended(sid)));
/// assert!(sessions.touch(&sid).await?.is_none());
/// # Ok(())
/// # }
/// ```
pub trait Sessions: SessionStore + Clone + Send + Sync + 'static {
    /// Whether there can be sessions at all. Only [`NoSessions`](crate::NoSessions) says no; then cookies are not read.
    const ARE_KEPT: bool = true;

    /// Creates a session of `user` and claims the name, and all names that look like it, in one atomic step. The
    /// session gets its key when the middleware saves it, for which [`login`](crate::login()) arranges, within
    /// [`Lifetimes::CLAIM_TIMEOUT`](crate::Lifetimes::CLAIM_TIMEOUT). A session that the same `attempt` created before
    /// is ended first, up to two times.
    ///
    /// # Errors
    /// - [`Taken`](SessionError::Taken) if another session holds the name: choose another one.
    /// - [`KeptOut`](SessionError::KeptOut) if [`end_user`](Self::end_user) keeps out the name or one that looks like it.
    /// - [`Unavailable`](SessionError::Unavailable): try again. A name that was claimed is free after
    ///   [`Lifetimes::CLAIM_TIMEOUT`](crate::Lifetimes::CLAIM_TIMEOUT).
    fn claim(
        &self,
        user: &UserName,
        attempt: Option<LoginAttempt>,
    ) -> impl Future<Output = Result<Sid, SessionError>> + Send;

    /// Creates a session of an external user: one that another system has authenticated, for example an OpenID provider.
    /// It claims no name, and the user may have other sessions, up to [`MAX_SESSIONS_PER_USER`]. The session gets its key
    /// as after [`claim`](Self::claim).
    ///
    /// # Errors
    /// - [`KeptOut`](SessionError::KeptOut) if [`end_user`](Self::end_user) keeps out the user.
    /// - [`Unavailable`](SessionError::Unavailable): try again.
    fn start(
        &self,
        user: &UserId,
        name: Option<&DisplayName>,
    ) -> impl Future<Output = Result<Sid, SessionError>> + Send;

    /// Counts as use of a session: postpones its idle expiry and that of its name, up to the absolute limit. Returns
    /// the time left until that limit, or `None` if the session is gone.
    ///
    /// # Errors
    /// [`Unavailable`](SessionError::Unavailable): the session may or may not exist; keep its sockets and try again.
    fn touch(&self, sid: &Sid) -> impl Future<Output = Result<Option<Duration>, SessionError>> + Send;

    /// Ends a session with all its keys, frees its name and notifies every instance. Succeeds if the session has
    /// already ended.
    ///
    /// # Errors
    /// [`Unavailable`](SessionError::Unavailable): the session may or may not have ended; try again.
    fn end(&self, sid: &Sid) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// Ends every session of `user`, as [`end`](Self::end) does: external ones and the one that claims this id as its
    /// name. With `keep_out`, new sessions are refused for that long from now, at most
    /// [`Lifetimes::MAX_KEEP_OUT`](crate::Lifetimes::MAX_KEEP_OUT); zero lets the user in again at once. If the id can be
    /// claimed as a name, this concerns all names that look like it, too. Without `keep_out`, an earlier time stays.
    ///
    /// # Errors
    /// [`Unavailable`](SessionError::Unavailable): some sessions may go on; try again.
    fn end_user(
        &self,
        user: &UserId,
        keep_out: Option<Duration>,
    ) -> impl Future<Output = Result<(), SessionError>> + Send;

    /// A receiver of the sessions that any instance [ends](Self::end) from now on.
    ///
    /// Call it inside a Tokio runtime. It may start a task there, one for all receivers, which runs until the last
    /// clone of the store is dropped.
    fn events(&self) -> SessionEvents;

    /// Returns `Ok` if sessions work, of at least some users. For readiness checks. The list names what does not work all
    /// the same, for people and without secrets: `shard 10.0.0.1:7001: …` if a shard of a Redis Cluster is away, whose
    /// users get [`Unavailable`](SessionError::Unavailable).
    ///
    /// # Errors
    /// [`Unavailable`](SessionError::Unavailable), whose source names the step that failed and the host.
    fn health(&self) -> impl Future<Output = Result<Vec<String>, SessionError>> + Send;
}
