//! `GET /session`: the session probe.

use std::time::SystemTime;

use actix_session::Session;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use trunkline_session::{Sessions, touch_cookie};

use super::{
    HttpState, cross_origin,
    error::HttpError,
    identify::{carries_token, identify},
};
use crate::identity::Identity;

/// Answers whether the session or token is valid, at low cost, for a client that is about to reconnect:
/// `{"user":"ann","login":"10f1…","instance":"gw-2","expires_in":28800}`. Counts as use of a session and sends its cookie again; the
/// session key is not rotated. `login` belongs to sessions alone, and `expires_in` is absent if the identity does not end.
pub(super) async fn probe<S: Sessions>(
    state: web::Data<HttpState<S>>,
    request: HttpRequest,
    session: Session,
) -> HttpResponse {
    let mut answer = answer(&state, &request, &session).await;
    if carries_token(&state.config, request.headers()) {
        cross_origin::allow_reading(answer.headers_mut());
    }
    answer
}

async fn answer<S: Sessions>(state: &HttpState<S>, request: &HttpRequest, session: &Session) -> HttpResponse {
    let identity = match identify(&state.config, request).await {
        Ok(identity) => identity,
        Err(error) => return error.json(),
    };
    let Some(sid) = identity.session() else {
        let left = identity.expires_in(SystemTime::now());
        return HttpResponse::Ok().json(body(state, &identity, None, left.map(|left| left.as_secs())));
    };
    match state.sessions.touch(sid).await {
        Ok(Some(left)) => {
            touch_cookie(session);
            HttpResponse::Ok().json(body(state, &identity, Some(sid.login_id()), Some(left.as_secs())))
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

fn body<S>(state: &HttpState<S>, identity: &Identity, login: Option<String>, expires_in: Option<u64>) -> Value {
    let mut body = json!({ "user": identity.user(), "instance": state.config.instance });
    if let Some(name) = identity.name() {
        body["name"] = json!(name);
    }
    if let Some(login) = login {
        body["login"] = json!(login);
    }
    if let Some(seconds) = expires_in {
        body["expires_in"] = json!(seconds);
    }
    body
}
