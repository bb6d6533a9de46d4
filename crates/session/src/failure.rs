//! Why the session middleware failed a request.

use std::{cell::Cell, future::Future};

use crate::SessionError;

/// Why the session middleware failed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFailure {
    /// The store could not be reached, did not answer in time or refused: answer 503.
    Unavailable,
    /// The session ended while the request was handled: answer 401.
    Ended,
}

tokio::task_local! {
    static FAILURE: Cell<Option<SessionFailure>>;
}

/// Runs the future of a request through the session middleware. Returns its output and, if the session store failed,
/// the reason.
///
/// The middleware turns every error of its store into a bare 500 without the cause. With this function an outer
/// middleware can answer with the right status:
///
/// ```
/// # use actix_web::{body::MessageBody, dev::{ServiceRequest, ServiceResponse}, error, middleware::Next, Error};
/// use trunkline_session::{SessionFailure, with_failure};
///
/// // For `App::wrap(from_fn(session_errors))`, outside of the session middleware.
/// async fn session_errors<B: MessageBody>(req: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
///     let (response, failure) = with_failure(next.call(req)).await;
///     match (response, failure) {
///         (Err(_), Some(SessionFailure::Unavailable)) => Err(error::ErrorServiceUnavailable("try again")),
///         (Err(_), Some(SessionFailure::Ended)) => Err(error::ErrorUnauthorized("log in")),
///         (response, _) => response,
///     }
/// }
/// ```
///
/// # Panics
/// actix-web panics at a change of the request's headers while a clone of the request exists: keep none across
/// `next.call`.
pub async fn with_failure<F: Future>(request: F) -> (F::Output, Option<SessionFailure>) {
    FAILURE
        .scope(Cell::new(None), async {
            let output = request.await;
            (output, FAILURE.with(Cell::get))
        })
        .await
}

/// Records why a store operation failed, for the [`with_failure`] around the request.
pub(crate) fn record(error: &SessionError) {
    let failure = match error {
        SessionError::Unavailable(_) => SessionFailure::Unavailable,
        SessionError::Ended | SessionError::Taken | SessionError::KeptOut(_) => SessionFailure::Ended,
    };
    // An error means that there is no `with_failure` around the request.
    let _ = FAILURE.try_with(|recorded| recorded.set(Some(failure)));
}
