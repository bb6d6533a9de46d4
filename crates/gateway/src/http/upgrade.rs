//! Checks on `/ws` that need no session.

use actix_http::ws::{HandshakeError, verify_handshake};
use actix_web::{
    Error,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use trunkline_session::Sessions;

use super::{HttpState, error::HttpError};
use crate::limits::descriptors::ConnectionDescriptor;

/// Middleware outside of the session middleware. Answers 426 if the request is not a WebSocket upgrade, and 503 while
/// the instance accepts no new sockets because it drains or has no descriptors left. The layers inside answer 503 if
/// the session store does not answer, then 403, 401, 429, 400 or 101.
pub(super) async fn check_upgrade<S: Sessions, B: MessageBody + 'static>(
    state: web::Data<HttpState<S>>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    // The handshake itself judges the version and the key, with 400.
    let is_upgrade = !matches!(
        verify_handshake(request.head()),
        Err(HandshakeError::NoWebsocketUpgrade | HandshakeError::NoConnectionUpgrade)
    );
    let error = if !is_upgrade {
        HttpError::UpgradeRequired
    } else if !state.gateway.accepts_sockets() {
        HttpError::Draining
    } else if request.conn_data::<ConnectionDescriptor>().is_some_and(|descriptor| descriptor.is_reserved()) {
        state.gateway.metrics().refused_sockets.inc();
        if state.out_of_descriptors.occurred() {
            tracing::warn!(
                "no file descriptors left for sockets; new sockets are refused with 503 (raise LimitNOFILE, or add instances)"
            );
        }
        HttpError::OutOfDescriptors
    } else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    Ok(request.into_response(error.json()).map_into_right_body())
}
