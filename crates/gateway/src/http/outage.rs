//! What a client is told when the session middleware fails: 503 while the store cannot be reached, 401 where the session
//! ended meanwhile. Without this it would be a bare 500, or worse, "not logged in".

use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
};
use trunkline_session::{SessionFailure, with_failure};

use super::error::Problem;

/// Middleware right outside of the session's.
pub(super) async fn explain<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let whole = request.request().clone();
    let (answer, failure) = with_failure(next.call(request)).await;
    let problem = match (answer, failure) {
        (Ok(answer), _) => return Ok(answer.map_into_left_body()),
        (Err(_), Some(SessionFailure::Unavailable)) => Problem::Unavailable,
        (Err(_), Some(SessionFailure::Ended)) => Problem::NotLoggedIn,
        (Err(error), None) => return Err(error),
    };
    let answer = problem.answer(&whole);
    Ok(ServiceResponse::new(whole, answer).map_into_right_body())
}
