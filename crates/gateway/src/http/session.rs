//! `GET /session`: the session probe.

use actix_session::Session;
use actix_web::{HttpResponse, web};
use serde_json::json;
use trunkline_session::{Sessions, principal, touch_cookie};

use super::{HttpState, error::HttpError};

/// Answers whether the session is alive, at low cost, for a client that is about to reconnect:
/// `{"user":"ann","login":"10f1…","instance":"gw-2","expires_in":28800}`. Counts as use of the session and sends the cookie again; the
/// session key is not rotated.
pub(super) async fn probe<S: Sessions>(state: web::Data<HttpState<S>>, session: Session) -> HttpResponse {
    let Some(principal) = principal(&session) else { return HttpError::NotLoggedIn.json() };
    match state.sessions.touch(&principal.sid).await {
        Ok(Some(left)) => {
            touch_cookie(&session);
            let (user, instance) = (&principal.user, &state.config.instance);
            let (login, expires_in) = (principal.sid.login_id(), left.as_secs());
            let answer = json!({ "user": user, "login": login, "instance": instance, "expires_in": expires_in });
            HttpResponse::Ok().json(answer)
        }
        Ok(None) => HttpError::NotLoggedIn.json(),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "session lookup for /session failed; answering 503"
            );
            HttpError::Unavailable.json()
        }
    }
}
