//! `POST /login` and `POST /logout`.

use std::time::Duration;

use actix_session::Session;
use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse,
    http::header::{CONTENT_LENGTH, LOCATION},
    web,
};
use serde::Deserialize;
use serde_json::json;
use trunkline_domain::{UserId, UserName};
use trunkline_session::{LoginAttempt, SessionError, Sessions};

use super::{
    HttpState,
    cross_site::may_post,
    error::{HttpError, accepts_html, prefers_json},
};
use crate::log_limit::info_limited;
#[cfg(feature = "pages")]
use crate::pages::{self, LoginFailure, PageLanguage};

/// Maximum size of a request body, in bytes.
const MAX_BODY_BYTES: usize = 8 * 1024;
/// Maximum time for a request body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The fields of a login.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct LoginRequest {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) next: Option<String>,
    attempt: Option<String>,
}

impl LoginRequest {
    /// Returns the attempt if it is valid.
    pub(crate) fn attempt(&self) -> Option<LoginAttempt> {
        self.attempt.as_deref()?.parse().ok()
    }
}

/// Starts a session. A JSON login is answered with 200 `{"user":"ann"}`, a form login with 303 to `next`. A refusal is
/// JSON, or the login page with the error below the field.
///
/// If a form is sent again, after a double click or because no answer arrived, the browser drops the first answer and
/// with it the cookie of the session that the first request started. The random [`LoginAttempt`]
/// in the form identifies the repetition, so that this session does not block its own user's name.
pub(super) async fn login<S: Sessions>(
    state: web::Data<HttpState<S>>,
    request: HttpRequest,
    session: Session,
    payload: web::Payload,
) -> HttpResponse {
    let mut fields = LoginRequest::default();
    match try_login(&state, &request, &session, payload, &mut fields).await {
        Ok(user) if answers_json(&request) => HttpResponse::Ok().json(json!({ "user": user })),
        Ok(_) => {
            let next = fields.next.as_deref().and_then(local_path).unwrap_or("/");
            #[cfg(feature = "pages")]
            let next = &super::cookie_check::marked(next, fields.attempt());
            see_other(next)
        }
        Err(error) => {
            info_limited!(code = error.code(), address = %state.source(&request).address, "login refused");
            #[cfg(feature = "pages")]
            return refusal(&state, &request, fields.name.trim(), fields.next.as_deref(), &error);
            #[cfg(not(feature = "pages"))]
            error.json()
        }
    }
}

async fn try_login<S: Sessions>(
    state: &HttpState<S>,
    request: &HttpRequest,
    session: &Session,
    payload: web::Payload,
    fields: &mut LoginRequest,
) -> Result<UserId, HttpError> {
    if !may_post(request.headers(), &state.config.public_origins) {
        return Err(HttpError::CrossSite);
    }
    if !state.config.name_login {
        return Err(HttpError::NameLoginOff);
    }
    state.login_limiter.admit_address(state.source(request).address).await.map_err(HttpError::LoginRateExceeded)?;
    *fields = read_body(request, payload).await?;
    let user: UserName = fields.name.parse()?;
    state.login_limiter.admit_name(&user.skeleton()).await.map_err(HttpError::LoginRateExceeded)?;
    match trunkline_session::login(session, &state.sessions, &user, fields.attempt()).await {
        Ok(principal) => {
            tracing::info!(user = %principal.user, session = %principal.sid, "logged in");
            Ok(principal.user)
        }
        Err(error) => Err(http_error(&error)),
    }
}

/// Returns what a failed start of a session is answered with, and logs a failure of the store.
pub(super) fn http_error(error: &SessionError) -> HttpError {
    match error {
        SessionError::Taken => HttpError::NameTaken,
        SessionError::Ended => HttpError::NotLoggedIn,
        SessionError::KeptOut(left) => HttpError::KeptOut(*left),
        SessionError::Unavailable(_) => {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "session store failed during a login; answering 503"
            );
            HttpError::Unavailable
        }
    }
}

/// Ends the session. With an OpenID provider that offers it, the browser then continues there, so that it ends its session as
/// well. A form is answered with 303 to the login page, JSON with 204; where the browser continues at the provider, a form with a
/// page that leads there, JSON with 200 `{"logout_url":"https://…"}`. Succeeds without a session.
pub(super) async fn logout<S: Sessions>(
    state: web::Data<HttpState<S>>,
    request: HttpRequest,
    session: Session,
) -> HttpResponse {
    if !may_post(request.headers(), &state.config.public_origins) {
        return HttpError::CrossSite.answer(&request);
    }
    let principal = trunkline_session::principal(&session);
    #[cfg(feature = "oidc")]
    let provider = match &state.oidc {
        Some(oidc) => oidc.logout_url(&state, &request, &session).await,
        None => None,
    };
    if let Err(error) = trunkline_session::logout(&session, &state.sessions).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "session store failed during a logout; answering 503");
        return HttpError::Unavailable.answer(&request);
    }
    if let Some(principal) = principal {
        tracing::info!(user = %principal.user, session = %principal.sid, "logged out");
    }
    #[cfg(feature = "oidc")]
    if let Some(url) = provider {
        return super::oidc::continue_at(&request, url.as_str());
    }
    if answers_json(&request) { HttpResponse::NoContent().finish() } else { see_other("/") }
}

/// Reads the body as JSON or as a form, depending on its `Content-Type`.
async fn read_body(request: &HttpRequest, payload: web::Payload) -> Result<LoginRequest, HttpError> {
    // Refused by its declaration, before any of it arrives.
    if declared_length(request).is_some_and(|bytes| bytes > MAX_BODY_BYTES) {
        return Err(HttpError::BodyTooLarge);
    }
    let body = tokio::time::timeout(BODY_TIMEOUT, payload.to_bytes_limited(MAX_BODY_BYTES)).await;
    let body = body
        .map_err(|_| HttpError::BodyTimeout)?
        .map_err(|_| HttpError::BodyTooLarge)?
        .map_err(|_| HttpError::BadBody)?;
    decode_body(&body, has_json_body(request))
}

/// Returns the length that the request declares for its body, in bytes. A length that is no `usize` is larger than any.
fn declared_length(request: &HttpRequest) -> Option<usize> {
    let length = request.headers().get(CONTENT_LENGTH)?;
    Some(length.to_str().ok().and_then(|length| length.parse().ok()).unwrap_or(usize::MAX))
}

/// Decodes a body as JSON or as a form.
pub(crate) fn decode_body(body: &[u8], is_json: bool) -> Result<LoginRequest, HttpError> {
    if is_json {
        // From an array, serde would take the elements as the fields; an intermediate map excludes that.
        let object: serde_json::Map<_, _> = serde_json::from_slice(body).map_err(|_| HttpError::BadBody)?;
        serde_json::from_value(object.into()).map_err(|_| HttpError::BadBody)
    } else {
        let text = std::str::from_utf8(body).map_err(|_| HttpError::BadBody)?;
        let fields = web::Query::<LoginRequest>::from_query(text).map_err(|_| HttpError::BadBody)?;
        Ok(fields.into_inner())
    }
}

/// Returns the answer to a refused login. Browsers get the login page, with the name as it was typed.
#[cfg(feature = "pages")]
pub(super) fn refusal<S>(
    state: &HttpState<S>,
    request: &HttpRequest,
    name: &str,
    next: Option<&str>,
    error: &HttpError,
) -> HttpResponse {
    use trunkline_domain::InvalidName;

    if answers_json(request) {
        return error.json();
    }
    let failure = match error {
        HttpError::BadName(InvalidName::Reserved) => LoginFailure::ReservedName,
        HttpError::NameTaken => LoginFailure::NameTaken,
        HttpError::LoginRateExceeded(_) => LoginFailure::RateExceeded(error.retry_after().unwrap_or_default()),
        HttpError::CrossSite => {
            state.origin_instead(request).map_or(LoginFailure::CrossSite, LoginFailure::WrongAddress)
        }
        HttpError::KeptOut(_) => LoginFailure::KeptOut(error.retry_after().unwrap_or_default()),
        HttpError::NameLoginOff => LoginFailure::NameLoginOff,
        #[cfg(feature = "oidc")]
        HttpError::Provider(failure) => LoginFailure::Provider(*failure),
        HttpError::BadName(_) | HttpError::BadBody | HttpError::BodyTooLarge => LoginFailure::BadName,
        _ => LoginFailure::Unavailable,
    };
    let page = pages::LoginPage {
        name,
        next: next.and_then(local_path),
        failure: Some(failure),
        ..pages::LoginPage::of(request)
    };
    error.page(pages::login(PageLanguage::of(request).strings(), &page))
}

fn see_other(location: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, location)).finish()
}

/// Returns whether the answer is JSON: the client asks for it, or sent JSON and does not ask for pages.
pub(super) fn answers_json(request: &HttpRequest) -> bool {
    prefers_json(request) || (has_json_body(request) && !accepts_html(request))
}

fn has_json_body(request: &HttpRequest) -> bool {
    request.content_type().eq_ignore_ascii_case("application/json")
}

/// Maximum length of `next`, in bytes.
const MAX_NEXT_BYTES: usize = 512;

/// Returns `next` if it is a path on this host. Browsers read `//host`, `/\host` and `/<tab>/host` as another host
/// (WHATWG URL section 4.4).
pub(crate) fn local_path(next: &str) -> Option<&str> {
    let is_local = next.len() <= MAX_NEXT_BYTES
        && next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    is_local.then_some(next)
}

#[cfg(test)]
mod tests {
    use actix_web::{FromRequest as _, dev::Payload, error::PayloadError, test::TestRequest, web::Bytes};
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    #[actix_web::test]
    async fn body_that_does_not_arrive_times_out() {
        tokio::time::pause();
        let request = TestRequest::post().to_http_request();
        let trickle: Payload = Payload::Stream { payload: Box::pin(stream::pending::<Result<Bytes, PayloadError>>()) };
        let body = web::Payload::from_request(&request, &mut { trickle }).await.unwrap();
        assert_eq!(read_body(&request, body).await.unwrap_err(), HttpError::BodyTimeout);
    }

    #[actix_web::test]
    async fn body_is_refused_by_its_declared_length_before_it_arrives() {
        for (length, refused) in [("8193", true), ("1073741824", true), ("9223372036854775808", true), ("8192", false)]
        {
            let request = TestRequest::post().insert_header((CONTENT_LENGTH, length)).to_http_request();
            let body = web::Payload::from_request(&request, &mut Payload::None).await.unwrap();
            let result = read_body(&request, body).await;
            assert_eq!(matches!(result, Err(HttpError::BodyTooLarge)), refused, "{length}: {result:?}");
        }
    }

    #[test]
    fn only_local_paths_are_accepted_as_next() {
        for path in ["/", "/rooms/x", "/rooms/a.b-c_d?q=//x#y", "/%2F%2Fevil.example"] {
            assert_eq!(local_path(path), Some(path));
        }
        for path in [
            "",
            "rooms/x",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            " /x",
            "/ä",
            "/x\r\nSet-Cookie: a=b",
        ] {
            assert_eq!(local_path(path), None, "{path:?}");
        }
        assert_eq!(local_path(&format!("/{}", "x".repeat(MAX_NEXT_BYTES))), None);
    }

    proptest! {
        #[test]
        fn accepted_path_stays_on_the_host(next in "[/\\\\a:.?#\t ]{0,12}") {
            if let Some(path) = local_path(&next) {
                prop_assert!(path.starts_with('/') && !path[1..].starts_with(['/', '\\']));
            }
        }
    }
}
