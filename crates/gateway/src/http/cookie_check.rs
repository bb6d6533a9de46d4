//! Notices a browser that does not keep the session cookie, and says so on the login page.
//!
//! A successful form login redirects to `<path>?login=<attempt>`. If the next request brings the session, it is
//! redirected to the path without the marker, so that the marker never stays in an address bar. If it does not, the
//! login page names the problem. The form of that page repeats the attempt: the next login then replaces the session
//! without a cookie instead of being refused because of its name.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{LOCATION, REFERER},
    web,
};
use serde::Deserialize;
use trunkline_session::LoginAttempt;

use super::{
    HttpState,
    cross_site::{own_origin, sec_fetch_site},
};
use crate::{
    log_limit::info_limited,
    origin::Origin,
    pages::{LoginFailure, LoginPage},
};

#[derive(Deserialize)]
struct MarkedQuery {
    login: String,
}

/// Returns the location to which a login redirects. Only the paths whose handlers know the marker get one.
pub(crate) fn marked(path: &str, attempt: Option<LoginAttempt>) -> String {
    let room = path.strip_prefix("/rooms/").is_some_and(|room| !room.contains(['?', '#']));
    match attempt {
        Some(attempt) if path == "/" || path == "/rooms" || room => format!("{path}?login={attempt}"),
        _ => path.to_owned(),
    }
}

/// Returns the redirect to the path without the marker, for a request that brings the session. `None` without a marker.
pub(super) fn without_marker(request: &HttpRequest) -> Option<HttpResponse> {
    marker(request)?;
    Some(HttpResponse::SeeOther().insert_header((LOCATION, request.path())).finish())
}

/// Adds to the login page that the browser does not keep the cookie, if a request without a session has the marker.
pub(super) fn explain<'a, S>(state: &HttpState<S>, request: &HttpRequest, page: LoginPage<'a>) -> LoginPage<'a> {
    match marker(request).filter(|_| may_be_redirect_of_own_login(request)) {
        Some(attempt) => {
            info_limited!("a browser sent no session cookie after its login; the login page asks it to allow cookies");
            LoginPage {
                failure: Some(LoginFailure::CookieRefused(state.config.public_origins.first().cloned())),
                attempt,
                ..page
            }
        }
        None => page,
    }
}

fn marker(request: &HttpRequest) -> Option<LoginAttempt> {
    web::Query::<MarkedQuery>::from_query(request.query_string()).ok()?.login.parse().ok()
}

/// Returns whether the request can be the redirect of a login here. A link on another site must not choose the attempt:
/// with a known attempt, its author could end the session of the next login.
fn may_be_redirect_of_own_login(request: &HttpRequest) -> bool {
    if let Some(site) = sec_fetch_site(request.headers()) {
        return site == "same-origin";
    }
    // Older browsers, and plain HTTP. The `Referrer-Policy` of the own pages lets browsers send the header; a link on another
    // site can suppress it.
    let referer = request.headers().get(REFERER).and_then(|referer| referer.to_str().ok());
    let origin = referer.and_then(|text| url::Url::parse(text).ok()).map(|url| url.origin());
    let origin = origin.and_then(|origin| origin.ascii_serialization().parse::<Origin>().ok());
    origin.is_some_and(|origin| own_origin(request.headers(), origin.is_https()) == Some(origin))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const ATTEMPT: &str = "00f100f100f100f100f100f100f100f1";

    #[test]
    fn only_own_pages_get_the_marker() {
        let attempt = ATTEMPT.parse().ok();
        for path in ["/", "/rooms", "/rooms/den"] {
            assert_eq!(marked(path, attempt), format!("{path}?login={ATTEMPT}"));
            assert_eq!(marked(path, None), path);
        }
        for path in ["/rooms/den?x", "/rooms/den#y", "/elsewhere", "/?x"] {
            assert_eq!(marked(path, attempt), path);
        }
    }

    #[test]
    fn marker_from_another_site_is_ignored() {
        for (name, value, accepted) in [
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "cross-site", false),
            ("sec-fetch-site", "none", false),
            ("referer", "http://chat.example/rooms/den", true),
            ("referer", "http://evil.example/", false),
            ("x-none", "", false),
        ] {
            let request = TestRequest::with_uri(&format!("/?login={ATTEMPT}"))
                .insert_header(("host", "chat.example"))
                .insert_header((name, value))
                .to_http_request();
            assert_eq!(may_be_redirect_of_own_login(&request), accepted, "{name}: {value}");
            assert!(marker(&request).is_some() && without_marker(&request).is_some());
        }
    }
}
