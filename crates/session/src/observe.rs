//! Why a wrapped request failed.

use std::{cell::Cell, future::Future};

use crate::SessionError;

/// Why the session middleware failed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The store could not be reached: 503.
    Unavailable,
    /// The session ended while the request was served: 401.
    Ended,
}

tokio::task_local! {
    static FAILURE: Cell<Option<Failure>>;
}

/// Runs the future of a request through the session middleware, and says why the store made it fail, if it did.
///
/// The middleware turns every error of its store into a bare 500 and hides the cause. Wrapped in this function, the
/// outer service can tell, and answer as it should:
///
/// ```
/// # use actix_web::{body::MessageBody, dev::{ServiceRequest, ServiceResponse}, error, middleware::Next, Error};
/// use trunkline_session::{Failure, observed};
///
/// // For `App::wrap(from_fn(session_errors))`, outside of the session middleware.
/// async fn session_errors<B: MessageBody>(req: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
///     let (answer, failure) = observed(next.call(req)).await;
///     match (answer, failure) {
///         (Err(_), Some(Failure::Unavailable)) => Err(error::ErrorServiceUnavailable("try again")),
///         (Err(_), Some(Failure::Ended)) => Err(error::ErrorUnauthorized("log in")),
///         (answer, _) => answer,
///     }
/// }
/// ```
///
/// Keep no clone of the request over `next.call`: while there is one, actix panics at every change of its headers.
pub async fn observed<F: Future>(request: F) -> (F::Output, Option<Failure>) {
    FAILURE
        .scope(Cell::new(None), async {
            let answer = request.await;
            (answer, FAILURE.with(Cell::get))
        })
        .await
}

/// Notes why an operation failed, for whoever observes the request.
pub(crate) fn note(error: &SessionError) {
    let failure = match error {
        SessionError::Unavailable(_) => Failure::Unavailable,
        SessionError::Ended | SessionError::Taken => Failure::Ended,
    };
    // Nobody observes: then nobody needs to know.
    let _ = FAILURE.try_with(|noted| noted.set(Some(failure)));
}
