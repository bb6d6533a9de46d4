//! What request handlers do with a session.

use actix_session::Session;
use serde::Serialize;
use trunkline_domain::{DisplayName, UserId, UserName};

use crate::{
    LoginAttempt, Principal, SessionError, Sessions, UserTag,
    state::{KEY_REQUEST, KeyRequest, NAME, SID, USER},
};

/// The logged-in user of a request, or `None`. Call it before a WebSocket handshake is answered with 101: afterwards
/// the request has no session.
#[must_use]
pub fn principal(session: &Session) -> Option<Principal> {
    Some(Principal { sid: session.get(SID).ok()??, user: session.get(USER).ok()??, name: session.get(NAME).ok()? })
}

/// Logs a user in who claims a name, which becomes the user id. The response to this request carries a new key, and all earlier keys become invalid. This prevents
/// session fixation.
///
/// - A request that is already logged in as `user` keeps its session and its sockets.
/// - A request that is logged in under another name changes over: the old session and its sockets end once the new
///   name is claimed. If that fails, the old session goes on.
/// - A request that repeats an `attempt` and carries no key replaces the session that the first request created.
///
/// # Errors
/// - [`Taken`](SessionError::Taken) if another session holds the name or one that looks like it: choose another name.
/// - [`KeptOut`](SessionError::KeptOut) if [`Sessions::end_user`] keeps the user out.
/// - [`Unavailable`](SessionError::Unavailable): try again. A name that was claimed is free after
///   [`Lifetimes::CLAIM_TIMEOUT`](crate::Lifetimes::CLAIM_TIMEOUT).
pub async fn login(
    session: &Session,
    sessions: &impl Sessions,
    user: &UserName,
    attempt: Option<LoginAttempt>,
) -> Result<Principal, SessionError> {
    let current = principal(session);
    if let Some(current) = current.as_ref().filter(|current| current.sid.tag() == UserTag::of_name(user)) {
        if current.user.as_str() == user.as_str() {
            if sessions.touch(&current.sid).await?.is_some() {
                insert(session, KEY_REQUEST, KeyRequest::Renew)?;
                return Ok(current.clone());
            }
        } else {
            // From `ann` to `Ann`: both need the same claim, so the old session releases it first.
            sessions.end(&current.sid).await?;
        }
    }
    let sid = sessions.claim(user, attempt).await?;
    begin(session, sessions, Principal { sid, user: user.clone().into(), name: None }, current).await
}

/// Logs an external user in: one that another system has authenticated. The user may have other sessions. The response
/// to this request carries a new key; a session with which the request came ends, with its sockets.
///
/// Entries that the caller inserts into the session's state afterwards are stored with it.
///
/// # Errors
/// - [`KeptOut`](SessionError::KeptOut) if [`Sessions::end_user`] keeps the user out.
/// - [`Unavailable`](SessionError::Unavailable): try again.
pub async fn login_external(
    session: &Session,
    sessions: &impl Sessions,
    user: &UserId,
    name: Option<&DisplayName>,
) -> Result<Principal, SessionError> {
    let sid = sessions.start(user, name).await?;
    let name = name.filter(|name| name.as_str() != user.as_str()).cloned();
    begin(session, sessions, Principal { sid, user: user.clone(), name }, principal(session)).await
}

/// Puts a new session in the place of the request's current one, if any.
async fn begin(
    session: &Session,
    sessions: &impl Sessions,
    principal: Principal,
    current: Option<Principal>,
) -> Result<Principal, SessionError> {
    if let Some(current) = current {
        sessions.end(&current.sid).await?;
        // Makes the middleware delete the old key's session and save this state as a new one.
        session.renew();
    }
    session.clear();
    insert(session, SID, principal.sid)?;
    insert(session, USER, &principal.user)?;
    if let Some(name) = &principal.name {
        insert(session, NAME, name)?;
    }
    Ok(principal)
}

/// Ends the session with its sockets on all instances, and removes the cookie. Does nothing without a session.
///
/// # Errors
/// [`Unavailable`](SessionError::Unavailable): the session may go on; try again.
pub async fn logout(session: &Session, sessions: &impl Sessions) -> Result<(), SessionError> {
    if let Some(principal) = principal(session) {
        sessions.end(&principal.sid).await?;
    }
    session.purge();
    Ok(())
}

/// Sends a new key with the response to this request. Meant for page loads. Does nothing without a session.
///
/// The presented key stays valid until the new one is presented, and [`Lifetimes::grace`](crate::Lifetimes::grace)
/// longer; meanwhile its bearers get the same new key. Sockets are not affected.
///
/// If the store cannot rotate the key, the page is served with the old one, and other changes of the state in the same
/// request are lost. Do not combine them.
pub fn rotate(session: &Session) {
    request_key(session, KeyRequest::Rotate);
}

/// Sends the cookie again, so that the browser keeps it for another full Max-Age. Meant for `GET /session`.
///
/// The key does not change; the bearer of a superseded key gets the newest one. Otherwise the same as [`rotate`].
pub fn touch_cookie(session: &Session) {
    request_key(session, KeyRequest::Keep);
}

fn request_key(session: &Session, request: KeyRequest) {
    if principal(session).is_some()
        && let Err(error) = insert(session, KEY_REQUEST, request)
    {
        tracing::error!(error = &error as &dyn std::error::Error, "session cookie not sent again");
    }
}

/// `Session::insert`. actix-session does not save the state after a change by other methods.
fn insert(session: &Session, entry: &str, value: impl Serialize) -> Result<(), SessionError> {
    session.insert(entry, value).map_err(SessionError::unavailable)
}
