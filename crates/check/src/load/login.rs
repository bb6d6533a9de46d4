//! Logging clients in, as fast as the deployment allows.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};
use trunkline_client::{ClientError, ClientSession, GatewayUrl};
use trunkline_domain::{DisplayName, UserId};

use super::tokens::{TokenSigner, display_name};

use crate::CheckError;

/// Largest number of logins in flight.
const CONCURRENT_LOGINS: usize = 16;
/// Shortest time between two attempts of one login, also if the response has a smaller `Retry-After`.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Longest time that a logout may take. A session that cannot be ended expires by itself.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);

/// Logs in as `name`. Retries for `limit` while the deployment answers 429 or 503 or cannot be reached.
pub(crate) async fn log_in(
    site: &GatewayUrl,
    name: &str,
    limit: Duration,
) -> Result<(ClientSession, UserId), ClientError> {
    let end = Instant::now() + limit;
    loop {
        let error = match ClientSession::login(site, name).await {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        let delay = match &error {
            ClientError::Refused { status: 429 | 503, retry_after, .. } => {
                retry_after.unwrap_or(RETRY_DELAY).max(RETRY_DELAY)
            }
            ClientError::Unreachable(_) => RETRY_DELAY,
            _ => return Err(error),
        };
        if Instant::now() + delay > end {
            return Err(error);
        }
        sleep(delay).await;
    }
}

/// Ends a session. Errors are ignored, because the session expires by itself.
pub(crate) async fn log_out(session: &ClientSession) {
    let _ = timeout(LOGOUT_TIMEOUT, session.logout()).await;
}

/// The sessions of a run, one per user. Clients of one user share its session, as the tabs of a browser do. Clones share
/// the pool.
#[derive(Clone, Debug)]
pub(crate) struct SessionPool {
    site: GatewayUrl,
    login_limit: Duration,
    by_name: Arc<Mutex<HashMap<String, (ClientSession, UserId)>>>,
    /// Signs the tokens that identify the users; `None`: they log in under their names.
    tokens: Option<TokenSigner>,
}

impl SessionPool {
    pub(crate) fn new(site: &GatewayUrl, tokens: Option<TokenSigner>, login_limit: Duration) -> Self {
        Self { site: site.clone(), login_limit, by_name: Arc::default(), tokens }
    }

    /// Logs every distinct name in, all within the limit. Equal names must be adjacent.
    ///
    /// # Errors
    /// [`CheckError::Deployment`] with the first login that failed for good.
    pub(crate) async fn log_in_all(&self, names: impl IntoIterator<Item = String>) -> Result<(), CheckError> {
        let end = Instant::now() + self.login_limit;
        let mut names: Vec<String> = names.into_iter().collect();
        names.dedup();
        let mut logins = stream::iter(names)
            .map(async |name| {
                let left = end.saturating_duration_since(Instant::now());
                let result = self.log_in(&name, left).await;
                (name, result)
            })
            .buffer_unordered(CONCURRENT_LOGINS);
        let mut sessions = self.by_name.lock().await;
        while let Some((name, result)) = logins.next().await {
            let session = result.map_err(|source| login_error(&name, sessions.len(), source))?;
            sessions.insert(name, session);
        }
        Ok(())
    }

    /// Returns a session of a user that is not part of the pool.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub(crate) async fn log_in(&self, name: &str, limit: Duration) -> Result<(ClientSession, UserId), ClientError> {
        match (&self.tokens, name.parse::<UserId>()) {
            (Some(signer), Ok(user)) => {
                let (signer, subject) = (signer.clone(), user.clone());
                let session = ClientSession::with_tokens(&self.site, move || {
                    let token = signer.sign(&subject);
                    async { Ok(token) }
                });
                Ok((session, user))
            }
            _ => log_in(&self.site, name, limit).await,
        }
    }

    /// The display name of a user.
    pub(crate) fn display_name(&self, user: &UserId) -> Option<DisplayName> {
        self.tokens.as_ref().and_then(|_| display_name(user))
    }

    /// Returns the session of a user.
    pub(crate) async fn get(&self, name: &str) -> Option<(ClientSession, UserId)> {
        self.by_name.lock().await.get(name).cloned()
    }

    /// Returns a session that replaces `ended`. The first caller logs in; the others of the same user get its session.
    /// Returns `None` if the login fails.
    pub(crate) async fn renew(&self, name: &str, ended: &ClientSession) -> Option<(ClientSession, UserId)> {
        let mut sessions = self.by_name.lock().await;
        if let Some(other) = sessions.get(name).filter(|(one, _)| one.cookie_header() != ended.cookie_header()) {
            return Some(other.clone());
        }
        let session = self.log_in(name, self.login_limit).await.ok()?;
        sessions.insert(name.to_owned(), session.clone());
        Some(session)
    }

    /// Ends all sessions. Tokens end by themselves.
    pub(crate) async fn log_out_all(&self) {
        if self.tokens.is_some() {
            return;
        }
        for (session, _) in self.by_name.lock().await.values() {
            log_out(session).await;
        }
    }
}

fn login_error(name: &str, logins_before: usize, source: ClientError) -> CheckError {
    let advice = match source {
        ClientError::Refused { status: 429, .. } => {
            " (gateways allow 20 logins per minute and address; start them with --login-rate 0, or share sessions with --tabs)"
        }
        _ => "",
    };
    CheckError::Deployment { action: format!("log in as {name}, after {logins_before} other logins{advice}"), source }
}
