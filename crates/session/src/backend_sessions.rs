//! A session store over a backend.

use std::{collections::HashMap, time::Duration};

use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use actix_web::cookie::time;
use trunkline_domain::{DisplayName, UserId, UserName};

use crate::{
    KeyChange, Lifetimes, LoginAttempt, SecretSalt, SessionBackend, SessionError, SessionEvents, Sessions, Sid,
    UserTag, failure,
    secret::{SessionSecret, SessionToken},
    state::{KeyRequest, NAME, SID, USER},
};

/// How often [`Sessions::start`] ends the oldest session of a user to make room for a new one. More than once is needed
/// only if other logins of the user take the room.
const START_ATTEMPTS: usize = 5;

type StateEntries = HashMap<String, String>;

/// A session store over a [`SessionBackend`].
///
/// It differs from other implementations of [`SessionStore`]:
/// - Only logged-in users have sessions. `save` needs the entries that [`login`](crate::login()) leaves in the state.
/// - `update` rotates the key if [`rotate`](crate::rotate) asked for it. It fails for a session that is gone and never
///   recreates it.
/// - `delete` is [`Sessions::end`].
/// - [`Lifetimes`] decide how long a session lasts, not the middleware.
/// - Every `load` takes the user from the session's record. No change of the state can change the user.
#[derive(Clone, Debug)]
pub struct BackendSessions<B> {
    pub(crate) backend: B,
}

impl<B: SessionBackend> BackendSessions<B> {
    /// A store that keeps its sessions in `backend`.
    pub fn new(backend: B) -> Self {
        Self { backend }
    }

    async fn find(&self, key: &SessionKey) -> Result<Option<StateEntries>, SessionError> {
        let Some(SessionToken { sid, secret }) = SessionToken::parse(key.as_ref()) else { return Ok(None) };
        let Some(record) = self.backend.find(sid, secret.digest()).await? else { return Ok(None) };
        let mut state: StateEntries = serde_json::from_str(&record.state).map_err(SessionError::unavailable)?;
        state.insert(SID.into(), json(&sid)?);
        state.insert(USER.into(), json(&record.user)?);
        if let Some(name) = &record.name {
            state.insert(NAME.into(), json(name)?);
        }
        Ok(Some(state))
    }

    async fn issue(&self, mut state: StateEntries) -> Result<SessionKey, SessionError> {
        // A state without an id belongs to a visitor who has not logged in.
        let sid: Sid = state.get(SID).and_then(|sid| serde_json::from_str(sid).ok()).ok_or(SessionError::Ended)?;
        KeyRequest::take(&mut state);
        let secret = SessionSecret::random();
        if self.backend.issue(sid, secret.digest(), &without_identity(state)?).await? {
            session_key(sid, secret)
        } else {
            Err(SessionError::Ended)
        }
    }

    async fn change(&self, key: &SessionKey, mut state: StateEntries) -> Result<SessionKey, SessionError> {
        let Some(SessionToken { sid, secret }) = SessionToken::parse(key.as_ref()) else {
            return Err(SessionError::Ended);
        };
        let request = KeyRequest::take(&mut state);
        let renewed = SessionSecret::random();
        let change = match request {
            None | Some(KeyRequest::Keep) => KeyChange::Keep,
            Some(KeyRequest::Rotate) => {
                let salt = SecretSalt::random();
                KeyChange::Rotate { digest: secret.next(salt).digest(), salt }
            }
            Some(KeyRequest::Renew) => KeyChange::Renew { digest: renewed.digest() },
        };
        match self.backend.change(sid, secret.digest(), change, &without_identity(state)?).await {
            Ok(None) => Err(SessionError::Ended),
            Ok(Some(_)) if request == Some(KeyRequest::Renew) => session_key(sid, renewed),
            Ok(Some(salts)) => session_key(sid, salts.into_iter().fold(secret, SessionSecret::next)),
            // The request needs only the key. The old one stays valid, even if Redis made a new one and the reply was
            // lost.
            Err(error @ SessionError::Unavailable(_))
                if matches!(request, Some(KeyRequest::Rotate | KeyRequest::Keep)) =>
            {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%sid, error, "session key not rotated; serving the page with the old key");
                session_key(sid, secret)
            }
            Err(error) => Err(error),
        }
    }
}

/// Records the error for [`with_failure`](crate::with_failure) and converts it for the middleware.
fn recorded(error: SessionError) -> anyhow::Error {
    failure::record(&error);
    error.into()
}

impl<B: SessionBackend> SessionStore for BackendSessions<B> {
    async fn load(&self, key: &SessionKey) -> Result<Option<StateEntries>, LoadError> {
        self.find(key).await.map_err(|error| LoadError::Other(recorded(error)))
    }

    async fn save(&self, state: StateEntries, _ttl: &time::Duration) -> Result<SessionKey, SaveError> {
        self.issue(state).await.map_err(|error| SaveError::Other(recorded(error)))
    }

    async fn update(
        &self,
        key: SessionKey,
        state: StateEntries,
        _ttl: &time::Duration,
    ) -> Result<SessionKey, UpdateError> {
        self.change(&key, state).await.map_err(|error| UpdateError::Other(recorded(error)))
    }

    async fn update_ttl(&self, key: &SessionKey, _ttl: &time::Duration) -> Result<(), anyhow::Error> {
        match SessionToken::parse(key.as_ref()) {
            Some(token) => self.backend.touch(token.sid).await.map(|_| ()).map_err(recorded),
            None => Ok(()),
        }
    }

    async fn delete(&self, key: &SessionKey) -> Result<(), anyhow::Error> {
        match SessionToken::parse(key.as_ref()) {
            Some(token) => self.backend.end(token.sid).await.map_err(recorded),
            None => Ok(()),
        }
    }
}

impl<B: SessionBackend> Sessions for BackendSessions<B> {
    async fn claim(&self, user: &UserName, attempt: Option<LoginAttempt>) -> Result<Sid, SessionError> {
        let Some(attempt) = attempt else {
            let sid = Sid::new(user);
            return if self.backend.claim(sid, user).await? { Ok(sid) } else { Err(SessionError::Taken) };
        };
        for repetition in 0..LoginAttempt::MAX_SESSIONS {
            let sid = Sid::for_attempt(user, attempt, repetition);
            if self.backend.claim(sid, user).await? {
                return Ok(sid);
            }
            // Frees the name if this attempt holds it. Sessions of other attempts have other ids.
            self.backend.end(sid).await?;
        }
        Err(SessionError::Taken)
    }

    async fn start(&self, user: &UserId, name: Option<&DisplayName>) -> Result<Sid, SessionError> {
        let sid = Sid::external(user);
        let name = name.filter(|name| name.as_str() != user.as_str());
        for _ in 0..START_ATTEMPTS {
            let Some(oldest) = self.backend.start(sid, user, name).await? else { return Ok(sid) };
            self.backend.end(oldest).await?;
        }
        Err(SessionError::unavailable("other logins of the user took each place that became free"))
    }

    async fn touch(&self, sid: &Sid) -> Result<Option<Duration>, SessionError> {
        self.backend.touch(*sid).await
    }

    async fn end(&self, sid: &Sid) -> Result<(), SessionError> {
        self.backend.end(*sid).await
    }

    async fn end_user(&self, user: &UserId, keep_out: Option<Duration>) -> Result<(), SessionError> {
        let keep_out = keep_out.map(|time| time.min(Lifetimes::MAX_KEEP_OUT));
        // Each script handles the keys of one tag. New sessions are refused under all tags before the first one ends.
        let mut sessions = Vec::new();
        for tag in UserTag::all_of(user) {
            sessions.extend(self.backend.keep_out(tag, user, keep_out).await?);
        }
        for sid in sessions {
            self.backend.end(sid).await?;
        }
        Ok(())
    }

    fn events(&self) -> SessionEvents {
        self.backend.events()
    }

    async fn health(&self) -> Result<Vec<String>, SessionError> {
        self.backend.health().await
    }
}

/// The state as it is stored: id, user and name come from the record at every load.
fn without_identity(mut state: StateEntries) -> Result<String, SessionError> {
    state.remove(SID);
    state.remove(USER);
    state.remove(NAME);
    json(&state)
}

fn json(value: &impl serde::Serialize) -> Result<String, SessionError> {
    serde_json::to_string(value).map_err(SessionError::unavailable)
}

fn session_key(sid: Sid, secret: SessionSecret) -> Result<SessionKey, SessionError> {
    SessionToken { sid, secret }.to_text().try_into().map_err(SessionError::unavailable)
}
