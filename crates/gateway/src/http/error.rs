//! What is answered when a request is not carried out: one list, as JSON for programs and as a page for people.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderValue, RETRY_AFTER, UPGRADE},
    },
};
use maud::Markup;
use serde_json::json;
use trunkline_domain::InvalidName;

use crate::{
    pages::{self, Language},
    policy::Denied,
};

/// Why a request is refused. The text is the `detail` of the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// Nobody is logged in by the cookie that came.
    #[error("log in first")]
    NotLoggedIn,
    /// A page of another origin asks.
    #[error("this request came from a page of another site")]
    CrossSite,
    /// The policy says no, and why.
    #[error(transparent)]
    Forbidden(#[from] Denied),
    /// The store of sessions cannot be reached. Nobody's session has changed for that.
    #[error("sessions cannot be reached, try again soon")]
    Unavailable,
    /// This instance is about to stop; others are there.
    #[error("this instance is about to stop")]
    Draining,
    /// Nothing is there.
    #[error("there is no such page")]
    NotFound,
    /// Something is there, for other methods.
    #[error("this is for other methods")]
    MethodNotAllowed,
    /// The name breaks the rules.
    #[error(transparent)]
    BadName(#[from] InvalidName),
    /// Another live session holds the name, or one that looks like it.
    #[error("somebody who is logged in has this name, or one that looks like it")]
    NameTaken,
    /// Too many attempts to log in; the time after which one may succeed.
    #[error("too many attempts to log in")]
    Throttled(Duration),
    /// The body is neither of the forms that are understood.
    #[error("the body is a form or JSON with the field \"name\"")]
    BadBody,
    /// The body is over the limit.
    #[error("the body has at most 8192 bytes")]
    TooLarge,
    /// The body did not come in time.
    #[error("the body did not come in time")]
    TooSlow,
    /// A socket was asked for without the words for it.
    #[error("this is for WebSockets")]
    UpgradeRequired,
    /// The address, or all addresses together, have as many sockets as they may.
    #[error("too many sockets")]
    TooManySockets,
    /// Subprotocols were offered, but not ours.
    #[error("the subprotocol is trunkline.v1")]
    Subprotocol,
}

/// When to come back to something that cannot be reached now, in seconds.
const SOON: u64 = 2;

impl Problem {
    /// The answer's status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NotLoggedIn => StatusCode::UNAUTHORIZED,
            Self::CrossSite | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Unavailable | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadName(_) | Self::BadBody | Self::Subprotocol => StatusCode::BAD_REQUEST,
            Self::NameTaken => StatusCode::CONFLICT,
            Self::Throttled(_) | Self::TooManySockets => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
        }
    }

    /// The answer's `code`, for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotLoggedIn => "not_logged_in",
            Self::CrossSite => "cross_site",
            Self::Forbidden(_) => "forbidden",
            Self::Unavailable => "unavailable",
            Self::Draining => "draining",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BadName(InvalidName::Reserved) => "reserved_name",
            Self::BadName(_) => "bad_name",
            Self::NameTaken => "name_taken",
            Self::Throttled(_) => "rate_limited",
            Self::BadBody => "bad_body",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::UpgradeRequired => "upgrade_required",
            Self::TooManySockets => "too_many_sockets",
            Self::Subprotocol => "bad_subprotocol",
        }
    }

    /// When to try again, in whole seconds, where that helps.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Throttled(wait) => Some(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)),
            Self::Unavailable | Self::Draining | Self::TooManySockets => Some(SOON),
            _ => None,
        }
    }

    /// The answer as JSON: `{"code":"…","detail":"…"}`.
    pub(crate) fn json(&self) -> HttpResponse {
        let mut answer = self.head();
        answer.json(json!({ "code": self.code(), "detail": self.to_string() }))
    }

    /// The answer as a page.
    pub(super) fn page(&self, page: Markup) -> HttpResponse {
        self.head().content_type(HTML).body(page.into_string())
    }

    /// The answer as the client likes it.
    pub(super) fn answer(&self, request: &HttpRequest) -> HttpResponse {
        if !wants_html(request.headers()) {
            return self.json();
        }
        let strings = Language::of(request.headers()).strings();
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => self.page(pages::unavailable(strings)),
            StatusCode::UNAUTHORIZED => self.page(pages::login(strings, &pages::Login::default())),
            StatusCode::FORBIDDEN => self.page(pages::forbidden(strings)),
            _ => self.page(pages::not_found(strings)),
        }
    }

    fn head(&self) -> actix_web::HttpResponseBuilder {
        let mut answer = HttpResponse::build(self.status());
        answer.insert_header((CACHE_CONTROL, "no-store"));
        if let Some(seconds) = self.retry_after() {
            answer.insert_header((RETRY_AFTER, seconds));
        }
        if *self == Self::UpgradeRequired {
            // RFC 9110 section 15.5.22: says to what.
            answer.insert_header((UPGRADE, "websocket"));
        }
        answer
    }
}

/// The media type of pages.
pub(crate) const HTML: &str = "text/html; charset=utf-8";

/// Whether whoever asks is shown pages: browsers name `text/html`, programs do not.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    accepts(headers, "text/html")
}

/// Whether whoever asks prefers JSON to a page.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    accepts(headers, "application/json") && !wants_html(headers)
}

fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let lines = headers.get_all(ACCEPT).filter_map(|line: &HeaderValue| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|range| {
        let name = range.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case(media_type)
    })
}
