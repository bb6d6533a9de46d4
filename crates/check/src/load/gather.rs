//! Logging in, as fast as the deployment lets.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};
use trunkline_client::{ClientError, ClientSession, GatewayUrl};
use trunkline_domain::UserName;

use crate::Error;

/// Logins under way at a time.
const AT_ONCE: usize = 16;
/// Between attempts where the answer names no time.
const PAUSE: Duration = Duration::from_millis(500);

/// Logs `name` in, waiting as long as `patience` lasts where the deployment asks for it or is away.
pub(crate) async fn login(
    site: &GatewayUrl,
    name: &str,
    patience: Duration,
) -> Result<(ClientSession, UserName), ClientError> {
    let end = Instant::now() + patience;
    loop {
        let error = match ClientSession::login(site, name).await {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        let pause = match &error {
            ClientError::Refused { status: 429 | 503, retry_after, .. } => retry_after.unwrap_or(PAUSE).max(PAUSE),
            ClientError::Unreachable(_) => PAUSE,
            _ => return Err(error),
        };
        if Instant::now() + pause > end {
            return Err(error);
        }
        sleep(pause).await;
    }
}

/// The sessions of a run, one a name: clients of one name share it, as tabs do.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    site: GatewayUrl,
    patience: Duration,
    by_name: Arc<Mutex<HashMap<String, (ClientSession, UserName)>>>,
}

impl Sessions {
    /// Logs all the names in, each once.
    pub(crate) async fn start(
        site: &GatewayUrl,
        names: impl IntoIterator<Item = String>,
        patience: Duration,
    ) -> Result<Self, Error> {
        let end = Instant::now() + patience;
        let mut names: Vec<String> = names.into_iter().collect();
        names.dedup();
        let mut logins = stream::iter(names)
            .map(async |name| {
                let left = end.saturating_duration_since(Instant::now());
                let result = login(site, &name, left).await;
                (name, result)
            })
            .buffer_unordered(AT_ONCE);
        let mut sessions = HashMap::new();
        while let Some((name, result)) = logins.next().await {
            let session = result.map_err(|source| refused(&name, sessions.len(), source))?;
            sessions.insert(name, session);
        }
        Ok(Self { site: site.clone(), patience, by_name: Arc::new(Mutex::new(sessions)) })
    }

    /// The session of that name.
    pub(crate) async fn get(&self, name: &str) -> Option<(ClientSession, UserName)> {
        self.by_name.lock().await.get(name).cloned()
    }

    /// The session of that name after `ended` has ended: the first who asks logs in. `None` where that fails.
    pub(crate) async fn renew(&self, name: &str, ended: &ClientSession) -> Option<(ClientSession, UserName)> {
        let mut sessions = self.by_name.lock().await;
        if let Some(other) = sessions.get(name).filter(|(one, _)| one.cookie_header() != ended.cookie_header()) {
            return Some(other.clone());
        }
        let session = login(&self.site, name, self.patience).await.ok()?;
        sessions.insert(name.to_owned(), session.clone());
        Some(session)
    }

    /// Ends them all.
    pub(crate) async fn end(&self) {
        for (session, _) in self.by_name.lock().await.values() {
            super::fresh::logout(session).await;
        }
    }
}

fn refused(name: &str, before: usize, source: ClientError) -> Error {
    let advice = match source {
        ClientError::Refused { status: 429, .. } => {
            " (gateways take 20 logins a minute from one address: start them with --login-rate 0, or share sessions with --tabs)"
        }
        _ => "",
    };
    Error::Deployment { doing: format!("log {name} in, after {before} others{advice}"), source }
}
