//! What stands before a socket's session is looked up.

use actix_web::{
    Error, HttpRequest,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{CONNECTION, HeaderMap, UPGRADE},
    middleware::Next,
    web,
};
use trunkline_session::Sessions;

use super::{Site, error::Problem};

/// Middleware outside of the session's: 426 for what is no upgrade, 503 once it asks clients to go elsewhere. What follows is 503
/// where the store cannot be reached, and then the handler's: 403, 401, 429, 400, 101.
pub(super) async fn gate<S: Sessions, B: MessageBody + 'static>(
    site: web::Data<Site<S>>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let problem = if !asks_for_socket(request.request()) {
        Problem::UpgradeRequired
    } else if !site.running.takes_sockets() {
        Problem::Draining
    } else {
        return Ok(next.call(request).await?.map_into_left_body());
    };
    Ok(request.into_response(problem.json()).map_into_right_body())
}

/// RFC 6455 section 4.2.1: `Upgrade` names `websocket`, `Connection` names `Upgrade`.
fn asks_for_socket(request: &HttpRequest) -> bool {
    let names = |headers: &HeaderMap, header, token: &str| {
        let lines = headers.get_all(header).filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).any(|name| name.trim().eq_ignore_ascii_case(token))
    };
    names(request.headers(), UPGRADE, "websocket") && names(request.headers(), CONNECTION, "upgrade")
}
