//! Requests of pages of other origins (CORS; WHATWG Fetch, section 3.2), for routes to which a token authenticates.
//!
//! A page can send a token only if it holds one, so every origin may. Cookies are never allowed to come along: the answers do
//! not have `Access-Control-Allow-Credentials`, and those to requests without a token have none of these headers.

use actix_web::{
    HttpResponse,
    http::header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderValue,
    },
};

/// Time in seconds for which a browser does not ask again before a request.
const PREFLIGHT_SECONDS: u64 = 600;

/// Answers the request that a browser sends before one with `Authorization`.
#[allow(clippy::unused_async, reason = "handlers are async")]
pub(super) async fn preflight() -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "GET"))
        .insert_header((ACCESS_CONTROL_ALLOW_HEADERS, "authorization"))
        .insert_header((ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS))
        .finish()
}

/// Lets the page that sent a request read its answer, and the time after which to try again.
pub(super) fn allow_reading(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
}
