//! A backend as a session store.

use std::{collections::HashMap, time::Duration};

use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use actix_web::cookie::time;
use trunkline_domain::UserName;

use crate::{
    Attempt, Backend, Endings, KeyChange, SessionError, Sessions, Sid,
    marks::{Mark, SID, USER},
    observe,
    sid::{Key, Salt, Secret},
};

type State = HashMap<String, String>;

/// [`Sessions`] over a [`Backend`].
///
/// As a [`SessionStore`] it differs from others: there are sessions of logged-in users only, so `save` wants what
/// [`login`](crate::login()) left in the state; `update` rotates the key where [`rotate`](crate::rotate) asked for it,
/// and fails for a session that is gone, which it never brings back; `delete` is [`Sessions::end`]; and how long a
/// session lasts is said by its [`Lifetimes`](crate::Lifetimes), not by the middleware. Who the user is comes from the
/// session's record at every load: no change of the state can change it.
#[derive(Clone, Debug)]
pub struct Store<B> {
    pub(crate) backend: B,
}

impl<B: Backend> Store<B> {
    /// Sessions that are kept by `backend`.
    pub fn new(backend: B) -> Self {
        Self { backend }
    }

    async fn find(&self, key: &SessionKey) -> Result<Option<State>, SessionError> {
        let Some(Key { sid, secret }) = Key::parse(key.as_ref()) else { return Ok(None) };
        let Some(found) = self.backend.find(sid, secret.digest()).await? else { return Ok(None) };
        let mut state: State = serde_json::from_str(&found.state).map_err(SessionError::unavailable)?;
        state.insert(SID.into(), json(&sid)?);
        state.insert(USER.into(), json(&found.user)?);
        Ok(Some(state))
    }

    async fn issue(&self, mut state: State) -> Result<SessionKey, SessionError> {
        // Without an id nobody has logged in, so there is no session to save.
        let sid: Sid = state.get(SID).and_then(|sid| serde_json::from_str(sid).ok()).ok_or(SessionError::Ended)?;
        Mark::take(&mut state);
        let secret = Secret::random();
        if self.backend.issue(sid, secret.digest(), &stored(state)?).await? {
            session_key(sid, secret)
        } else {
            Err(SessionError::Ended)
        }
    }

    async fn change(&self, key: &SessionKey, mut state: State) -> Result<SessionKey, SessionError> {
        let Some(Key { sid, secret }) = Key::parse(key.as_ref()) else { return Err(SessionError::Ended) };
        let mark = Mark::take(&mut state);
        let fresh = Secret::random();
        let change = match mark {
            None | Some(Mark::Keep) => KeyChange::Keep,
            Some(Mark::Rotate) => {
                let salt = Salt::random();
                KeyChange::Rotate { digest: secret.next(salt).digest(), salt }
            }
            Some(Mark::Renew) => KeyChange::Renew { digest: fresh.digest() },
        };
        match self.backend.change(sid, secret.digest(), change, &stored(state)?).await {
            Ok(None) => Err(SessionError::Ended),
            Ok(Some(_)) if mark == Some(Mark::Renew) => session_key(sid, fresh),
            Ok(Some(salts)) => session_key(sid, salts.into_iter().fold(secret, Secret::next)),
            // Only the key was to change. The old one is good, even if the new one was made and the answer lost.
            Err(error @ SessionError::Unavailable(_)) if matches!(mark, Some(Mark::Rotate | Mark::Keep)) => {
                tracing::warn!(%sid, error = &error as &dyn std::error::Error, "session key not rotated");
                session_key(sid, secret)
            }
            Err(error) => Err(error),
        }
    }
}

/// Notes an error for [`observed`](crate::observed) on its way to the middleware.
fn noted(error: SessionError) -> anyhow::Error {
    observe::note(&error);
    error.into()
}

impl<B: Backend> SessionStore for Store<B> {
    async fn load(&self, key: &SessionKey) -> Result<Option<State>, LoadError> {
        self.find(key).await.map_err(|error| LoadError::Other(noted(error)))
    }

    async fn save(&self, state: State, _ttl: &time::Duration) -> Result<SessionKey, SaveError> {
        self.issue(state).await.map_err(|error| SaveError::Other(noted(error)))
    }

    async fn update(&self, key: SessionKey, state: State, _ttl: &time::Duration) -> Result<SessionKey, UpdateError> {
        self.change(&key, state).await.map_err(|error| UpdateError::Other(noted(error)))
    }

    async fn update_ttl(&self, key: &SessionKey, _ttl: &time::Duration) -> Result<(), anyhow::Error> {
        match Key::parse(key.as_ref()) {
            Some(key) => self.backend.touch(key.sid).await.map(|_| ()).map_err(noted),
            None => Ok(()),
        }
    }

    async fn delete(&self, key: &SessionKey) -> Result<(), anyhow::Error> {
        match Key::parse(key.as_ref()) {
            Some(key) => self.backend.end(key.sid).await.map_err(noted),
            None => Ok(()),
        }
    }
}

impl<B: Backend> Sessions for Store<B> {
    async fn claim(&self, user: &UserName, attempt: Option<Attempt>) -> Result<Sid, SessionError> {
        let Some(attempt) = attempt else {
            let sid = Sid::new(user);
            return if self.backend.claim(sid, user).await? { Ok(sid) } else { Err(SessionError::Taken) };
        };
        for turn in 0..Attempt::TURNS {
            let sid = Sid::of(user, attempt, turn);
            if self.backend.claim(sid, user).await? {
                return Ok(sid);
            }
            // Frees the name if it is this attempt that holds it; somebody else's session has another id.
            self.backend.end(sid).await?;
        }
        Err(SessionError::Taken)
    }

    async fn touch(&self, sid: &Sid) -> Result<Option<Duration>, SessionError> {
        self.backend.touch(*sid).await
    }

    async fn end(&self, sid: &Sid) -> Result<(), SessionError> {
        self.backend.end(*sid).await
    }

    fn endings(&self) -> Endings {
        self.backend.endings()
    }

    async fn health(&self) -> Result<(), SessionError> {
        self.backend.health().await
    }
}

/// What of a state is kept: who the user is stands in the record.
fn stored(mut state: State) -> Result<String, SessionError> {
    state.remove(SID);
    state.remove(USER);
    json(&state)
}

fn json(value: &impl serde::Serialize) -> Result<String, SessionError> {
    serde_json::to_string(value).map_err(SessionError::unavailable)
}

fn session_key(sid: Sid, secret: Secret) -> Result<SessionKey, SessionError> {
    Key { sid, secret }.to_text().try_into().map_err(SessionError::unavailable)
}
