//! Login with an OpenID provider: the authorization code flow with PKCE (OpenID Connect Core 1.0 section 3.1, RFC 7636).
//!
//! `GET /login/oidc` sends the browser to the provider and keeps the [`PendingLogin`] in a signed cookie, so that any instance
//! can handle the return to `GET /login/oidc/callback`. The start is a GET because browsers apply `form-action` of the
//! Content-Security-Policy to the redirects after a form, too. Other sites cannot start a login with it: see [`start`].

mod pending;
mod provider;
mod user;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_session::Session;
use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse,
    cookie::{Cookie, SameSite, time},
    dev::ServiceRequest,
    http::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE},
    web,
};
use openidconnect::RedirectUrl;
use serde::Deserialize;
use trunkline_session::{CookieSettings, Principal, Sessions, login_external, principal};
use url::Url;

use self::{
    pending::{MAX_AGE, PendingLogin},
    provider::{Provider, ProviderError, ProviderUser},
};
use super::{
    HttpState,
    cross_site::{own_origin, sec_fetch_site},
    error::{HTML, HttpError},
    login::{answers_json, local_path, refusal},
};
use crate::{
    log_limit::info_limited,
    oidc::{OidcConfig, ProviderFailure},
    origin::Origin,
    pages::{self, LoginMethods, LoginPage, PageLanguage},
};

/// Path to which the provider sends the browser. It is registered with the provider.
pub(super) const CALLBACK_PATH: &str = "/login/oidc/callback";
/// The purpose of the cookie's signature.
const COOKIE_PURPOSE: &str = "oidc";
/// Entry of a session's state: the ID token of its login.
const ID_TOKEN: &str = "trunkline.id_token";
/// Maximum size of an ID token that is kept for the logout, in bytes. Without the token the provider may
/// ask which user to log out.
const MAX_KEPT_TOKEN_BYTES: usize = 4096;
/// Maximum time for which a logout waits for the provider's discovery document.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum length of a code that is passed on to the provider, in bytes. Far longer than those that providers issue.
const MAX_CODE_BYTES: usize = 4096;

/// The provider with which users log in.
pub(crate) struct Oidc(Provider);

impl Oidc {
    pub(super) fn new(config: OidcConfig) -> Self {
        Self(Provider::new(config))
    }

    /// Where the browser continues after a logout so that the provider ends its session, too. `None` if the session was not
    /// started by this provider, or if the provider has no such address or is away.
    pub(super) async fn logout_url<S: Sessions>(
        &self,
        state: &HttpState<S>,
        request: &HttpRequest,
        session: &Session,
    ) -> Option<Url> {
        let token: String = session.get(ID_TOKEN).ok()??;
        let back = Url::parse(&public_origin(state, request)?.to_string()).ok()?;
        tokio::time::timeout(LOGOUT_TIMEOUT, self.0.logout_url(&token, back)).await.ok()?
    }
}

/// Sends the browser to the provider after a logout: with a page, because `form-action` of the Content-Security-Policy forbids a
/// redirect there after a form. JSON is `{"logout_url":"https://…"}`.
pub(super) fn continue_at(request: &HttpRequest, url: &str) -> HttpResponse {
    if answers_json(request) {
        return HttpResponse::Ok().json(serde_json::json!({ "logout_url": url }));
    }
    let provider = LoginMethods::of(request).provider.as_deref().unwrap_or_default();
    let page = pages::logout_continues(PageLanguage::of(request).strings(), provider, url);
    HttpResponse::Ok().content_type(HTML).body(page.into_string())
}

#[derive(Debug, Default, Deserialize)]
struct StartQuery {
    next: Option<String>,
}

/// Sends the browser to the provider. A logged-in user is sent to `next` instead.
///
/// A page of another site that leads here gets the login page: otherwise it could replace the session of its visitor by one
/// that the provider grants without a question.
pub(super) async fn start<S: Sessions>(
    state: web::Data<HttpState<S>>,
    request: HttpRequest,
    session: Session,
) -> HttpResponse {
    let Some(oidc) = &state.oidc else { return HttpError::NotFound.answer(&request) };
    let query = web::Query::<StartQuery>::from_query(request.query_string()).map(web::Query::into_inner);
    let next = query.unwrap_or_default().next.filter(|next| local_path(next).is_some());
    if principal(&session).is_some() {
        return redirect(next.as_deref().unwrap_or("/"));
    }
    if sec_fetch_site(request.headers()).is_some_and(|site| site != "same-origin" && site != "none") {
        let page = LoginPage { next: next.as_deref(), ..LoginPage::of(&request) };
        let page = pages::login(PageLanguage::of(&request).strings(), &page);
        return HttpResponse::Ok().content_type(HTML).body(page.into_string());
    }
    let pending = PendingLogin::new(rand::random(), next.as_deref(), now());
    let url = match callback_url(&state, &request) {
        Some(callback) => oidc.0.login_url(&pending, &callback).await.map_err(|error| http_error(&error)),
        None => Err(HttpError::CrossSite),
    };
    match url {
        Ok(url) => {
            let mut answer = redirect(url.as_str());
            let value = state.config.keys.sign(COOKIE_PURPOSE, &pending.to_text());
            set_cookie(&mut answer, &state.config.cookie, value, MAX_AGE);
            answer
        }
        Err(error) => refusal(&state, &request, "", next.as_deref(), &error),
    }
}

/// The parameters of an authorization response (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Debug, Default, Deserialize)]
struct CallbackQuery {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// Starts the session of the user that the provider has authenticated, and redirects to `next`.
pub(super) async fn callback<S: Sessions>(
    state: web::Data<HttpState<S>>,
    request: HttpRequest,
    session: Session,
) -> HttpResponse {
    let Some(oidc) = &state.oidc else { return HttpError::NotFound.answer(&request) };
    let query = web::Query::<CallbackQuery>::from_query(request.query_string()).map(web::Query::into_inner);
    let query = query.unwrap_or_default();
    let pending = query.state.as_deref().and_then(|given| pending(&state, &request, given));
    let mut answer = match &pending {
        // For example a reload of this address, or a second tab in which the user has logged in meanwhile.
        None if principal(&session).is_some() => return redirect("/"),
        None => refused(&state, &request, None, &ProviderFailure::Expired.into()),
        Some(pending) => {
            let next = pending.next.as_deref();
            match finish(oidc, &state, &request, &session, &query, pending).await {
                Ok(()) => redirect(next.unwrap_or("/")),
                Err(error) => refused(&state, &request, next, &error),
            }
        }
    };
    if pending.is_some() {
        set_cookie(&mut answer, &state.config.cookie, String::new(), Duration::ZERO);
    }
    answer
}

async fn finish<S: Sessions>(
    oidc: &Oidc,
    state: &HttpState<S>,
    request: &HttpRequest,
    session: &Session,
    query: &CallbackQuery,
    pending: &PendingLogin,
) -> Result<(), HttpError> {
    state.login_limiter.admit_address(state.source(request).address).await.map_err(HttpError::LoginRateExceeded)?;
    if query.iss.as_deref().is_some_and(|issuer| issuer != oidc.0.issuer()) {
        return Err(ProviderFailure::Expired.into());
    }
    if let Some(error) = &query.error {
        // The codes of RFC 6749 section 4.1.2.1 are short; others could be anything.
        let error = error.get(..64).unwrap_or(error);
        info_limited!(?error, "the provider did not log a user in");
        return Err(ProviderFailure::Refused.into());
    }
    let code = query.code.as_deref().filter(|code| !code.is_empty() && code.len() <= MAX_CODE_BYTES);
    let (Some(code), Some(callback)) = (code, callback_url(state, request)) else {
        return Err(ProviderFailure::Expired.into());
    };
    let ProviderUser { user, name, id_token } =
        oidc.0.user(code, pending, &callback).await.map_err(|error| http_error(&error))?;
    let started = login_external(session, &state.sessions, &user, name.as_ref()).await;
    let Principal { sid, user, .. } = started.map_err(|error| super::login::http_error(&error))?;
    if id_token.len() <= MAX_KEPT_TOKEN_BYTES && session.insert(ID_TOKEN, id_token).is_err() {
        tracing::warn!(session = %sid, "ID token not kept; the logout will not reach the provider");
    }
    tracing::info!(%user, session = %sid, "logged in");
    Ok(())
}

/// Logs why the provider gives no identity, and returns what the user is shown.
fn http_error(error: &ProviderError) -> HttpError {
    let source = std::error::Error::source(error);
    match error {
        ProviderError::Away(_) => {
            tracing::warn!(error = source, "login with the OpenID provider failed: {error}; answering 503");
            ProviderFailure::Away.into()
        }
        ProviderError::Refused(_) => {
            info_limited!(error = source, "login with the OpenID provider failed: {error}");
            ProviderFailure::Expired.into()
        }
        ProviderError::Invalid(_) => {
            tracing::warn!(error = source, "login with the OpenID provider failed: {error}");
            ProviderFailure::Refused.into()
        }
    }
}

fn refused<S>(state: &HttpState<S>, request: &HttpRequest, next: Option<&str>, error: &HttpError) -> HttpResponse {
    info_limited!(code = error.code(), address = %state.source(request).address, "login refused");
    refusal(state, request, "", next, error)
}

/// The origin under which the browser knows this service: the public one that the request was sent to. `None` if it was sent to
/// another address, to which the provider would not return.
fn public_origin<S>(state: &HttpState<S>, request: &HttpRequest) -> Option<Origin> {
    let public = &state.config.public_origins;
    if public.is_empty() {
        return own_origin(request.headers(), state.is_https(request));
    }
    let own = |https| own_origin(request.headers(), https).filter(|origin| public.contains(origin));
    own(true).or_else(|| own(false))
}

fn callback_url<S>(state: &HttpState<S>, request: &HttpRequest) -> Option<RedirectUrl> {
    RedirectUrl::new(format!("{}{CALLBACK_PATH}", public_origin(state, request)?)).ok()
}

/// The value of the cookie of a login that is under way. Part of the request's extensions.
struct PendingCookie(String);

/// Keeps the cookie for [`callback`], before a layer around it removes all but the session cookie.
pub(super) fn keep_cookie<S>(state: &HttpState<S>, request: &ServiceRequest) {
    if request.path() == CALLBACK_PATH
        && let Some(value) = cookie_value(request.headers(), &cookie_name(&state.config.cookie))
    {
        request.extensions_mut().insert(PendingCookie(value));
    }
}

/// The login that the request's cookie describes, if it was started with this `state`.
fn pending<S>(state: &HttpState<S>, request: &HttpRequest, given: &str) -> Option<PendingLogin> {
    let extensions = request.extensions();
    let PendingCookie(signed) = extensions.get()?;
    let text = state.config.keys.verify(COOKIE_PURPOSE, signed)?;
    PendingLogin::resume(&text, given, now())
}

/// The name of the cookie: that of the session cookie with a suffix, so that services on one host differ. With `Secure` it has
/// the prefix `__Host-`, so that no sibling domain can plant the login of another user.
fn cookie_name(session: &CookieSettings) -> String {
    let name = ["__Host-", "__Secure-"].iter().find_map(|prefix| session.name.strip_prefix(prefix));
    let prefix = if session.secure { "__Host-" } else { "" };
    format!("{prefix}{}-oidc", name.unwrap_or(&session.name))
}

/// The value of the only cookie that has this name, as it was sent: names are not percent-decoded, because a planted cookie could
/// hide the prefix `__Host-` that way.
fn cookie_value(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(COOKIE).filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value);
    let (value, None) = (values.next()?, values.next()) else { return None };
    Some(Cookie::parse_encoded(format!("x={value}")).ok()?.value().to_owned())
}

fn set_cookie(answer: &mut HttpResponse, session: &CookieSettings, value: String, max_age: Duration) {
    let cookie = Cookie::build(cookie_name(session), value)
        .path("/")
        .http_only(true)
        .secure(session.secure)
        // Sent with the return from the provider, which is a navigation from another site.
        .same_site(SameSite::Lax)
        .max_age(time::Duration::try_from(max_age).unwrap_or_default())
        .finish();
    // The value is percent-encoded, so the conversion succeeds.
    if let Ok(line) = cookie.encoded().to_string().try_into() {
        answer.headers_mut().append(SET_COOKIE, line);
    }
}

fn redirect(location: &str) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, location)).finish()
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn cookie_is_bound_to_the_host_if_it_is_secure() {
        let name = |name: &str, secure| cookie_name(&CookieSettings { name: name.to_owned(), secure });
        assert_eq!(name("jsessionid", false), "jsessionid-oidc");
        assert_eq!(name("jsessionid", true), "__Host-jsessionid-oidc");
        assert_eq!(name("__Host-chat", true), "__Host-chat-oidc");
        assert_eq!(name("__Secure-chat", true), "__Host-chat-oidc");
    }

    #[test]
    fn only_one_cookie_of_exactly_the_name_counts() {
        let value = |line: &str| {
            let request = TestRequest::default().insert_header((COOKIE, line)).to_http_request();
            cookie_value(request.headers(), "__Host-x-oidc")
        };
        assert_eq!(value("a=b; __Host-x-oidc=1%3d2;c=d").as_deref(), Some("1=2"));
        assert_eq!(value("__Host-x-oidc=1=2").as_deref(), Some("1=2"));
        for line in ["", "x-oidc=1", "%5F%5FHost-x-oidc=1", "__host-x-oidc=1", "__Host-x-oidc=1; __Host-x-oidc=2"] {
            assert_eq!(value(line), None, "{line}");
        }
    }

    #[test]
    fn pending_login_survives_the_cookie() {
        let pending = PendingLogin::new([1, 2, 3, 4], Some("/rooms/a?b=\"c;d,e%2F\""), now());
        let mut answer = HttpResponse::Ok().finish();
        set_cookie(&mut answer, &CookieSettings::default(), pending.to_text(), MAX_AGE);
        let line = answer.headers().get(SET_COOKIE).unwrap().to_str().unwrap();
        for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"] {
            assert!(line.contains(attribute), "{line}");
        }
        let sent = line.split(';').next().unwrap().to_owned();
        let request = TestRequest::default().insert_header((COOKIE, sent)).to_http_request();
        let text = cookie_value(request.headers(), "jsessionid-oidc").unwrap();
        assert_eq!(PendingLogin::resume(&text, &pending.state, now()), Some(pending));
    }
}
