//! The store of an application without sessions.

use std::{collections::HashMap, time::Duration};

use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use actix_web::cookie::time;
use tokio::sync::broadcast;
use trunkline_domain::{DisplayName, UserId, UserName};

use crate::{LoginAttempt, SessionError, SessionEvent, SessionEvents, Sessions, Sid};

/// No sessions: for applications whose users are known in another way. Every look-up finds nothing, and none can be created.
#[derive(Clone, Debug)]
pub struct NoSessions(broadcast::Sender<SessionEvent>);

impl Default for NoSessions {
    fn default() -> Self {
        Self(broadcast::Sender::new(1))
    }
}

type State = HashMap<String, String>;

impl SessionStore for NoSessions {
    async fn load(&self, _: &SessionKey) -> Result<Option<State>, LoadError> {
        Ok(None)
    }

    async fn save(&self, _: State, _: &time::Duration) -> Result<SessionKey, SaveError> {
        Err(SaveError::Other(refused().into()))
    }

    async fn update(&self, _: SessionKey, _: State, _: &time::Duration) -> Result<SessionKey, UpdateError> {
        Err(UpdateError::Other(refused().into()))
    }

    async fn update_ttl(&self, _: &SessionKey, _: &time::Duration) -> Result<(), anyhow::Error> {
        Ok(())
    }

    async fn delete(&self, _: &SessionKey) -> Result<(), anyhow::Error> {
        Ok(())
    }
}

fn refused() -> SessionError {
    SessionError::unavailable("this application has no sessions")
}

impl Sessions for NoSessions {
    const ARE_KEPT: bool = false;

    async fn claim(&self, _: &UserName, _: Option<LoginAttempt>) -> Result<Sid, SessionError> {
        Err(refused())
    }

    async fn start(&self, _: &UserId, _: Option<&DisplayName>) -> Result<Sid, SessionError> {
        Err(refused())
    }

    async fn touch(&self, _: &Sid) -> Result<Option<Duration>, SessionError> {
        Ok(None)
    }

    async fn end(&self, _: &Sid) -> Result<(), SessionError> {
        Ok(())
    }

    async fn end_user(&self, _: &UserId, _: Option<Duration>) -> Result<(), SessionError> {
        Ok(())
    }

    fn events(&self) -> SessionEvents {
        SessionEvents::new(self.0.subscribe())
    }

    async fn health(&self) -> Result<Vec<String>, SessionError> {
        Ok(Vec::new())
    }
}
