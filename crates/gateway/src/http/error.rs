//! Refused requests: one list of reasons, answered as JSON to programs and as a page to browsers.

use std::time::Duration;

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{Accept, CACHE_CONTROL, Header as _, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE},
    },
};
use serde_json::json;
use trunkline_domain::InvalidName;

#[cfg(feature = "oidc")]
use crate::oidc::ProviderFailure;
use crate::policy::Denied;

/// Why a request is refused. The text is the `detail` of the answer: what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    /// The request brings no cookie of a live session.
    #[error("you are not logged in, or your session has ended; log in first")]
    NotLoggedIn,
    /// The token is not valid. Which of the possible reasons applies is logged, and not sent.
    #[error("the token is invalid or has expired; get a new one and repeat the request with it")]
    BadToken,
    /// Names cannot be used to log in.
    #[error("this service does not let users choose a name; log in where your account is")]
    NameLoginOff,
    /// The request was sent by a page of another origin.
    #[error("this request was sent by a page of another site; open this site and repeat it there")]
    CrossSite,
    /// The policy denies it.
    #[error(transparent)]
    Forbidden(#[from] Denied),
    /// The session store or the bus does not answer. No session has ended because of that.
    #[error("the service cannot reach its data store; nothing was changed, try again in a few seconds")]
    Unavailable,
    /// This instance is shutting down; other instances serve the client.
    #[error("this instance is shutting down; connect again to reach another one")]
    Draining,
    /// The process has no descriptors left for sockets.
    #[error("this instance has no room for more sockets; connect again to reach another one")]
    OutOfDescriptors,
    /// The path names nothing.
    #[error("there is no such page")]
    NotFound,
    /// The path exists for other methods.
    #[error("this path does not support the method of the request; the Allow header lists those that it supports")]
    MethodNotAllowed,
    /// The name breaks the rules.
    #[error(transparent)]
    BadName(#[from] InvalidName),
    /// Another live session holds the name, or one that looks like it.
    #[error("another session uses this name, or one that looks like it; choose another name, or log out there first")]
    NameTaken,
    /// Too many login attempts. Holds the time after which an attempt is allowed.
    #[error("too many login attempts; wait for the number of seconds in Retry-After")]
    LoginRateExceeded(Duration),
    /// An operator keeps out the user that tries to log in. Holds the time that is left.
    #[error("you cannot log in at the moment; wait for the number of seconds in Retry-After")]
    KeptOut(Duration),
    /// The login with the OpenID provider fails.
    #[cfg(feature = "oidc")]
    #[error(transparent)]
    Provider(#[from] ProviderFailure),
    /// The body is neither a form nor JSON of the right shape.
    #[error("the body must be a form or a JSON object with the text field \"name\"")]
    BadBody,
    /// The body exceeds the limit.
    #[error("the body is larger than 8192 bytes; send only the fields name, next and attempt")]
    BodyTooLarge,
    /// The body did not arrive in time.
    #[error("the body did not arrive within 10 s; send the request again")]
    BodyTimeout,
    /// `/ws` was requested without the headers of a WebSocket upgrade.
    #[error("this path serves WebSockets only; send Upgrade: websocket and Connection: Upgrade")]
    UpgradeRequired,
    /// The handshake's `Host` is empty.
    #[error("the Host header is empty; name the host that the request is sent to")]
    EmptyHost,
    /// The client address, or the instance, has as many sockets as it may have.
    #[error("too many sockets are open; close some, or try again later")]
    TooManySockets,
    /// The client offered subprotocols, but not `trunkline.v1`.
    #[error("the subprotocol must be trunkline.v1")]
    Subprotocol,
}

/// `Retry-After` of an answer to which no exact time is known, in seconds.
const RETRY_AFTER_SECONDS: u64 = 2;

impl HttpError {
    /// Returns the status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NotLoggedIn | Self::BadToken => StatusCode::UNAUTHORIZED,
            Self::CrossSite | Self::Forbidden(_) | Self::KeptOut(_) | Self::NameLoginOff => StatusCode::FORBIDDEN,
            #[cfg(feature = "oidc")]
            Self::Provider(failure) => match failure {
                ProviderFailure::Expired => StatusCode::BAD_REQUEST,
                ProviderFailure::Refused => StatusCode::FORBIDDEN,
                ProviderFailure::Away => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::Unavailable | Self::Draining | Self::OutOfDescriptors => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadName(_) | Self::BadBody | Self::EmptyHost | Self::Subprotocol => StatusCode::BAD_REQUEST,
            Self::NameTaken => StatusCode::CONFLICT,
            Self::LoginRateExceeded(_) | Self::TooManySockets => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
        }
    }

    /// Returns the `code` of the answer, which programs compare.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotLoggedIn => "not_logged_in",
            Self::BadToken => "bad_token",
            Self::NameLoginOff => "name_login_off",
            Self::CrossSite => "cross_site",
            Self::Forbidden(_) | Self::KeptOut(_) => "forbidden",
            Self::Unavailable => "unavailable",
            Self::Draining => "draining",
            Self::OutOfDescriptors => "overloaded",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BadName(InvalidName::Reserved) => "reserved_name",
            Self::BadName(_) => "bad_name",
            Self::NameTaken => "name_taken",
            Self::LoginRateExceeded(_) => "rate_limited",
            #[cfg(feature = "oidc")]
            Self::Provider(failure) => failure.code(),
            Self::BadBody => "bad_body",
            Self::BodyTooLarge => "too_large",
            Self::BodyTimeout => "too_slow",
            Self::UpgradeRequired => "upgrade_required",
            Self::EmptyHost => "bad_host",
            Self::TooManySockets => "too_many_sockets",
            Self::Subprotocol => "bad_subprotocol",
        }
    }

    /// Returns the seconds after which a retry can succeed; `None` if waiting does not help.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self {
            Self::LoginRateExceeded(wait) | Self::KeptOut(wait) => {
                Some(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
            }
            #[cfg(feature = "oidc")]
            Self::Provider(ProviderFailure::Away) => Some(RETRY_AFTER_SECONDS),
            Self::Unavailable | Self::Draining | Self::OutOfDescriptors | Self::TooManySockets => {
                Some(RETRY_AFTER_SECONDS)
            }
            _ => None,
        }
    }

    /// Returns the answer as JSON: `{"code":"…","detail":"…"}`.
    pub(crate) fn json(&self) -> HttpResponse {
        self.head().json(json!({ "code": self.code(), "detail": self.to_string() }))
    }

    /// Returns the answer with the given page as its body.
    #[cfg(feature = "pages")]
    pub(super) fn page(&self, page: maud::Markup) -> HttpResponse {
        self.head().content_type(HTML).body(page.into_string())
    }

    /// Returns the answer as JSON.
    #[cfg(not(feature = "pages"))]
    pub(super) fn answer(&self, _: &HttpRequest) -> HttpResponse {
        self.json()
    }

    /// Returns the answer in the form that the client accepts: a page for browsers, JSON otherwise.
    #[cfg(feature = "pages")]
    pub(super) fn answer(&self, request: &HttpRequest) -> HttpResponse {
        use actix_web::http::Method;

        use crate::pages::{self, PageLanguage};

        if !accepts_html(request) {
            return self.json();
        }
        let strings = PageLanguage::of(request).strings();
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => self.page(match (request.method(), request.path()) {
                (&Method::GET | &Method::HEAD, _) => pages::unavailable(strings, None),
                (_, "/logout") => pages::logout_unavailable(strings),
                // The browser would repeat a POST as a GET.
                _ => pages::unavailable(strings, Some("/")),
            }),
            StatusCode::UNAUTHORIZED => {
                let next = (request.method() == Method::GET).then(|| request.path());
                self.page(pages::login(strings, &pages::LoginPage { next, ..pages::LoginPage::of(request) }))
            }
            StatusCode::FORBIDDEN if *self == Self::CrossSite => self.page(pages::cross_site(strings)),
            StatusCode::FORBIDDEN => self.page(pages::forbidden(strings)),
            _ => self.page(pages::not_found(strings)),
        }
    }

    fn head(&self) -> HttpResponseBuilder {
        let mut answer = HttpResponse::build(self.status());
        answer.insert_header((CACHE_CONTROL, "no-store"));
        if let Some(seconds) = self.retry_after() {
            answer.insert_header((RETRY_AFTER, seconds));
        }
        if *self == Self::BadToken {
            // RFC 6750 section 3.
            answer.insert_header((WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""));
        }
        if *self == Self::UpgradeRequired {
            // Required by RFC 9110 section 15.5.22.
            answer.insert_header((UPGRADE, "websocket"));
        }
        answer
    }
}

/// The media type of pages.
#[cfg(feature = "pages")]
pub(crate) const HTML: &str = "text/html; charset=utf-8";

/// Returns whether the client is shown pages. Browsers name `text/html` in `Accept`, programs do not.
pub(super) fn accepts_html(request: &impl HttpMessage) -> bool {
    accepts(request, "text/html")
}

/// Returns whether the client names JSON in `Accept`, and not `text/html`.
pub(super) fn prefers_json(request: &impl HttpMessage) -> bool {
    accepts(request, "application/json") && !accepts_html(request)
}

fn accepts(request: &impl HttpMessage, media_type: &str) -> bool {
    Accept::parse(request).is_ok_and(|accept| accept.iter().any(|range| range.item.essence_str() == media_type))
}
