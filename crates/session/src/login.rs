//! What handlers do with a session.

use actix_session::Session;
use serde::Serialize;
use trunkline_domain::UserName;

use crate::{
    Attempt, Principal, SessionError, Sessions,
    marks::{MARK, Mark, SID, USER},
};

/// Who is logged in. Read it before a socket is answered with 101: afterwards there is no session.
#[must_use]
pub fn principal(session: &Session) -> Option<Principal> {
    Some(Principal { sid: session.get(SID).ok()??, user: session.get(USER).ok()?? })
}

/// Logs `user` in. The answer to this request brings a key that nobody had before (against session fixation), all
/// earlier ones are void.
///
/// Whoever is logged in under this very name keeps the session and its sockets. Whoever is logged in as somebody else
/// changes over: the old session ends with its sockets as soon as it is certain that the new name can be had; if it
/// cannot, the old one goes on.
///
/// A request that repeats an `attempt` whose answer never came back, so that it brings no key, is not kept out by the session
/// that the first one began: that ends, and a new one begins.
///
/// # Errors
/// [`Taken`](SessionError::Taken): another live session holds the name or one that looks like it.
/// [`Unavailable`](SessionError::Unavailable): try again; a name that was claimed by then is free again after
/// [`Lifetimes::CLAIM`](crate::Lifetimes::CLAIM).
pub async fn login(
    session: &Session,
    sessions: &impl Sessions,
    user: &UserName,
    attempt: Option<Attempt>,
) -> Result<Principal, SessionError> {
    let held = principal(session);
    if let Some(held) = &held {
        if held.user == *user {
            if sessions.touch(&held.sid).await?.is_some() {
                put(session, MARK, Mark::Renew)?;
                return Ok(held.clone());
            }
        } else if held.user.skeleton() == user.skeleton() {
            // From `ann` to `Ann`: one claim, so the old session has to give it up first.
            sessions.end(&held.sid).await?;
        }
    }
    let sid = sessions.claim(user, attempt).await?;
    if let Some(held) = held {
        sessions.end(&held.sid).await?;
        // The middleware then deletes what belongs to the old key and saves the rest as new.
        session.renew();
    }
    session.clear();
    put(session, SID, sid)?;
    put(session, USER, user)?;
    Ok(Principal { sid, user: user.clone() })
}

/// Ends the session, with all its sockets on all instances, and removes the cookie. Nothing happens without a session.
///
/// # Errors
/// [`Unavailable`](SessionError::Unavailable): the session goes on, as far as is known; try again.
pub async fn logout(session: &Session, sessions: &impl Sessions) -> Result<(), SessionError> {
    if let Some(principal) = principal(session) {
        sessions.end(&principal.sid).await?;
    }
    session.purge();
    Ok(())
}

/// Gives the answer to this request a new key: for page loads. The key presented stays good until the new one was
/// presented, and [`Lifetimes::grace`](crate::Lifetimes::grace) longer; whoever presents it meanwhile gets the same new
/// one. Sockets do not notice.
///
/// Where the store cannot do it, the page is served under the old key, and other changes of the state in the same
/// request are lost: do not combine them. Nothing happens without a session.
pub fn rotate(session: &Session) {
    mark(session, Mark::Rotate);
}

/// Sets the cookie again, so that the browser keeps it for another full time: for `GET /session`. The key
/// does not change, but whoever presents a superseded one gets the newest. Otherwise as [`rotate`].
pub fn touch_cookie(session: &Session) {
    mark(session, Mark::Keep);
}

fn mark(session: &Session, mark: Mark) {
    if principal(session).is_some()
        && let Err(error) = put(session, MARK, mark)
    {
        tracing::error!(error = &error as &dyn std::error::Error, "session not marked");
    }
}

/// `Session::insert`; the other ways to change a session do not make the middleware store it.
fn put(session: &Session, entry: &str, value: impl Serialize) -> Result<(), SessionError> {
    session.insert(entry, value).map_err(SessionError::unavailable)
}
