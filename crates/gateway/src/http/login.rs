//! `POST /login` and `POST /logout`.

use std::time::Duration;

use actix_session::Session;
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CONTENT_TYPE, LOCATION},
    web,
};
use serde::Deserialize;
use serde_json::json;
use trunkline_domain::{InvalidName, UserName};
use trunkline_session::{SessionError, Sessions};

use super::{Site, error::Problem, error::wants_html, error::wants_json, origin};
use crate::pages::{self, Failure, Language};

/// Longest body of a request, in bytes.
const MAX_BODY: usize = 8 * 1024;
/// Longest that a body may take to come.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What the form holds.
#[derive(Debug, Default, Deserialize)]
struct Form {
    #[serde(default)]
    name: String,
    next: Option<String>,
    attempt: Option<String>,
}

/// Logs in: as JSON, 200 `{"user":"ann"}`; as a form, 303 to where the person wanted to go. Refusals are JSON, or the login
/// page with the error beside the field.
///
/// A browser gives up the first request when its form is sent again, by a second click or after an answer that never came,
/// and knows nothing of the session that it began. The page's [`Attempt`](trunkline_session::LoginAttempt) does: without it, people
/// would meet themselves under a taken name.
pub(super) async fn login<S: Sessions>(
    site: web::Data<Site<S>>,
    request: HttpRequest,
    session: Session,
    payload: web::Payload,
) -> HttpResponse {
    let mut form = Form::default();
    match attempt(&site, &request, &session, payload, &mut form).await {
        Ok(user) if prefers_json(&request) => HttpResponse::Ok().json(json!({ "user": user })),
        Ok(_) => see_other(form.next.as_deref().and_then(local_path).unwrap_or("/")),
        Err(problem) => {
            tracing::info!(code = problem.code(), address = %site.client(&request).address, "login refused");
            refusal(&request, &form, &problem)
        }
    }
}

async fn attempt<S: Sessions>(
    site: &Site<S>,
    request: &HttpRequest,
    session: &Session,
    payload: web::Payload,
    form: &mut Form,
) -> Result<UserName, Problem> {
    if !origin::may_post(request.headers(), &site.config.public_origins) {
        return Err(Problem::CrossSite);
    }
    site.logins.address(site.client(request).address).map_err(Problem::Throttled)?;
    *form = read(request, payload).await?;
    let user: UserName = form.name.parse()?;
    site.logins.name(&user.skeleton()).map_err(Problem::Throttled)?;
    let attempt = form.attempt.as_deref().and_then(|text| text.parse().ok());
    match trunkline_session::login(session, &site.sessions, &user, attempt).await {
        Ok(principal) => {
            tracing::info!(user = %principal.user, session = %principal.sid, "logged in");
            Ok(principal.user)
        }
        Err(SessionError::Taken) => Err(Problem::NameTaken),
        Err(SessionError::Ended) => Err(Problem::NotLoggedIn),
        Err(error @ SessionError::Unavailable(_)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "login failed");
            Err(Problem::Unavailable)
        }
    }
}

/// Logs out: as a form, 303 to the login page; as JSON, 204. Fine without a session.
pub(super) async fn logout<S: Sessions>(
    site: web::Data<Site<S>>,
    request: HttpRequest,
    session: Session,
) -> HttpResponse {
    if !origin::may_post(request.headers(), &site.config.public_origins) {
        return Problem::CrossSite.answer(&request);
    }
    let who = trunkline_session::principal(&session);
    if let Err(error) = trunkline_session::logout(&session, &site.sessions).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "logout failed");
        return Problem::Unavailable.answer(&request);
    }
    if let Some(who) = who {
        tracing::info!(user = %who.user, session = %who.sid, "logged out");
    }
    if prefers_json(&request) { HttpResponse::NoContent().finish() } else { see_other("/") }
}

/// The body as a form or as JSON, by its `Content-Type`.
async fn read(request: &HttpRequest, payload: web::Payload) -> Result<Form, Problem> {
    let body = tokio::time::timeout(BODY_TIME, payload.to_bytes_limited(MAX_BODY)).await;
    let body = body.map_err(|_| Problem::TooSlow)?.map_err(|_| Problem::TooLarge)?.map_err(|_| Problem::BadBody)?;
    if sent_json(request) {
        // By way of a map: of an array, serde would take the elements for the fields.
        let object: serde_json::Map<_, _> = serde_json::from_slice(&body).map_err(|_| Problem::BadBody)?;
        serde_json::from_value(object.into()).map_err(|_| Problem::BadBody)
    } else {
        let text = std::str::from_utf8(&body).map_err(|_| Problem::BadBody)?;
        let form = web::Query::<Form>::from_query(text).map_err(|_| Problem::BadBody)?;
        Ok(form.into_inner())
    }
}

/// The answer to a login that failed: for people the page again, with what they typed.
fn refusal(request: &HttpRequest, form: &Form, problem: &Problem) -> HttpResponse {
    if prefers_json(request) {
        return problem.json();
    }
    let failure = match problem {
        Problem::BadName(InvalidName::Reserved) => Failure::ReservedName,
        Problem::NameTaken => Failure::NameTaken,
        Problem::Throttled(_) => Failure::Throttled(problem.retry_after().unwrap_or_default()),
        Problem::CrossSite => Failure::CrossSite,
        Problem::BadName(_) | Problem::BadBody | Problem::TooLarge => Failure::BadName,
        _ => Failure::Unavailable,
    };
    let login = pages::Login {
        name: form.name.trim(),
        next: form.next.as_deref().and_then(local_path),
        failure: Some(failure),
        ..pages::Login::default()
    };
    problem.page(pages::login(Language::of(request.headers()).strings(), &login))
}

fn see_other(to: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, to)).finish()
}

/// Whether the answer is JSON: the body was, or the client asks for it.
fn prefers_json(request: &HttpRequest) -> bool {
    wants_json(request.headers()) || (sent_json(request) && !wants_html(request.headers()))
}

fn sent_json(request: &HttpRequest) -> bool {
    let line = request.headers().get(CONTENT_TYPE).and_then(|line| line.to_str().ok()).unwrap_or_default();
    line.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// Longest path that is kept over a login, in bytes.
const MAX_NEXT: usize = 512;

/// A path on this very host, or nothing: `//host` and, to browsers, `/\host` and `/<tab>/host` name another one (WHATWG URL
/// section 4.4).
fn local_path(next: &str) -> Option<&str> {
    let safe = next.len() <= MAX_NEXT
        && next.starts_with('/')
        && !next.starts_with("//")
        && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    safe.then_some(next)
}

#[cfg(test)]
mod tests {
    use actix_web::{dev::Payload, error::PayloadError, test::TestRequest, web::Bytes};
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    #[actix_web::test]
    async fn a_body_that_never_ends_is_given_up() {
        tokio::time::pause();
        let request = TestRequest::post().to_http_request();
        let trickle: Payload = Payload::Stream { payload: Box::pin(stream::pending::<Result<Bytes, PayloadError>>()) };
        let body = <web::Payload as actix_web::FromRequest>::from_request(&request, &mut { trickle }).await.unwrap();
        assert_eq!(read(&request, body).await.unwrap_err(), Problem::TooSlow);
    }

    #[test]
    fn only_local_paths_are_gone_back_to() {
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
        assert_eq!(local_path(&format!("/{}", "x".repeat(MAX_NEXT))), None);
    }

    proptest! {
        #[test]
        fn what_passes_stays_on_the_host(next in "[/\\\\a:.?#\t ]{0,12}") {
            if let Some(path) = local_path(&next) {
                prop_assert!(path.starts_with('/') && !path[1..].starts_with(['/', '\\']));
            }
        }
    }
}
