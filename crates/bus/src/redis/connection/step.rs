//! Steps of preparing a connection after it is open.

use std::{fmt::Display, future::Future, time::Duration};

use tokio::time::timeout;

/// Awaits a step for at most `limit`.
///
/// # Errors
/// The step, the address and the cause, for people.
pub(in super::super) async fn within<T, E: Display>(
    limit: Duration,
    step: &str,
    address: &str,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(limit, future).await {
        Ok(result) => result.map_err(|error| format!("{step} at {address}: {error}")),
        Err(_) => Err(format!("{step} at {address}: no answer within {} s", limit.as_secs())),
    }
}
