//! Logging in, as fast as the deployment lets.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep};
use trunkline_client::{Error as ClientError, Session, Site};
use trunkline_domain::UserName;

use crate::Error;

/// Logins under way at a time.
const AT_ONCE: usize = 16;
/// Between attempts where the answer names no time.
const PAUSE: Duration = Duration::from_millis(500);

/// Logs `name` in, waiting as long as `patience` lasts where the deployment asks for it or is away.
pub(crate) async fn login(site: &Site, name: &str, patience: Duration) -> Result<(Session, UserName), ClientError> {
    let end = Instant::now() + patience;
    loop {
        let error = match Session::login(site, name).await {
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

/// Logs all the names in, each once.
pub(crate) async fn login_all(
    site: &Site,
    names: impl IntoIterator<Item = String>,
    patience: Duration,
) -> Result<HashMap<String, (Session, UserName)>, Error> {
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
    Ok(sessions)
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
