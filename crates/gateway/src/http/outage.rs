//! Turns a failure of the session middleware into an answer: 503 if the session store does not answer, 401 if the
//! session ended during the request. Without this layer the client would get a bare 500.

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
};
use trunkline_session::{SessionFailure, with_failure};

use super::error::HttpError;

/// Middleware directly outside of the session middleware.
pub(super) async fn answer_store_failure<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let http_request = request.request().clone();
    let (answer, failure) = with_failure(next.call(request)).await;
    let error = match (answer, failure) {
        (Ok(answer), _) => return Ok(answer.map_into_left_body()),
        (Err(_), Some(SessionFailure::Unavailable)) => HttpError::Unavailable,
        (Err(_), Some(SessionFailure::Ended)) => HttpError::NotLoggedIn,
        (Err(error), None) => return Err(error),
    };
    let answer = error.answer(&http_request);
    Ok(ServiceResponse::new(http_request, answer).map_into_right_body())
}
