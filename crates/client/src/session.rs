//! How a client identifies its user: by a login session, with cookies that all responses may replace, or by tokens.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{
    Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderName, SET_COOKIE},
};
use serde::Deserialize;
use tokio::time::timeout;
use trunkline_domain::{Token, UserId, millis};

use crate::{
    ClientError, GatewayUrl, SessionProbe,
    http::{HttpResponse, exchange},
};

/// Time limit of a login.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

const JSON: &str = "application/json";

/// The URL of a gateway, and what identifies the user there: the cookies of a login session, or tokens. Clones share both,
/// like the tabs of a browser.
#[derive(Clone)]
pub struct ClientSession {
    url: GatewayUrl,
    cookies: Arc<Mutex<CookieJar>>,
    tokens: Option<Arc<TokenCache>>,
}

/// Why a source has no token now. The client asks it again, with back-off.
pub type TokenError = Box<dyn Error + Send + Sync>;

type TokenSource = dyn Fn() -> Pin<Box<dyn Future<Output = Result<Token, TokenError>> + Send>> + Send + Sync;

/// A source of tokens, and the latest one.
struct TokenCache {
    source: Box<TokenSource>,
    latest: Mutex<Option<Token>>,
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without cookies and tokens, which are secrets.
        f.debug_struct("ClientSession").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The body of a successful response to `POST /login` and `GET /session`.
#[derive(Deserialize)]
struct UserBody {
    user: UserId,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl ClientSession {
    /// Logs in under `name`. Returns the session and the user name in the form that the gateway uses.
    ///
    /// # Errors
    /// - [`ClientError::Refused`] if the gateway refuses the name.
    /// - [`ClientError::Unreachable`] if the connection fails or the login takes longer than ten seconds.
    /// - [`ClientError::NotAGateway`] if the response is not that of a gateway.
    pub async fn login(url: &GatewayUrl, name: &str) -> Result<(Self, UserId), ClientError> {
        let session = Self { url: url.clone(), cookies: Arc::default(), tokens: None };
        let body = serde_json::json!({ "name": name }).to_string();
        let fields = [(CONTENT_TYPE, JSON), (ACCEPT, JSON)];
        let response = exchange(url, Method::POST, "/login", &fields, body);
        let response = timeout(LOGIN_TIMEOUT, response)
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        session.update_cookies(response.fields(SET_COOKIE));
        if response.status != 200 {
            return Err(refusal(&response));
        }
        let UserBody { user, .. } = serde_json::from_slice(&response.body)
            .map_err(|_| ClientError::NotAGateway("its response to a login contains no user"))?;
        if session.cookie_header().is_none() {
            return Err(ClientError::NotAGateway("its response to a login sets no cookie"));
        }
        Ok((session, user))
    }

    /// Identifies the user by tokens of another service, for example JSON Web Tokens. `source` returns a new token of the same
    /// user each time. It is called for each connection attempt, and before a token expires; at most one call per client is
    /// under way.
    ///
    /// ```
    /// # use trunkline_client::{ClientSession, GatewayUrl};
    /// # use trunkline_domain::Token;
    /// # async fn request_token() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// # fn session(url: &GatewayUrl) -> ClientSession {
    /// ClientSession::with_tokens(url, || async { Ok(Token::new(request_token().await?)) })
    /// # }
    /// ```
    #[must_use]
    pub fn with_tokens<F, R>(url: &GatewayUrl, source: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Token, TokenError>> + Send + 'static,
    {
        let source = Box::new(move || Box::pin(source()) as Pin<Box<dyn Future<Output = _> + Send>>);
        let cache = TokenCache { source, latest: Mutex::default() };
        Self { url: url.clone(), cookies: Arc::default(), tokens: Some(Arc::new(cache)) }
    }

    /// Whether tokens identify the user.
    pub(crate) fn has_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// Asks the source for a token. `None` if it has none now.
    pub(crate) async fn new_token(&self) -> Option<Token> {
        let cache = self.tokens.as_ref()?;
        let token = (cache.source)().await.ok()?;
        *cache.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        Some(token)
    }

    /// The header fields that identify the user.
    pub(crate) fn credentials(&self) -> Vec<(HeaderName, String)> {
        let token = self.tokens.as_ref().and_then(|tokens| {
            let latest = tokens.latest.lock().unwrap_or_else(PoisonError::into_inner);
            latest.as_ref().map(|token| format!("Bearer {}", token.reveal()))
        });
        let token = token.map(|token| (AUTHORIZATION, token));
        token.into_iter().chain(self.cookie_header().map(|cookie| (COOKIE, cookie))).collect()
    }

    /// Ends the session and all its sockets. Has no time limit. Tokens remain valid until they expire.
    ///
    /// # Errors
    /// As [`login`](Self::login).
    pub async fn logout(&self) -> Result<(), ClientError> {
        let cookie = self.cookie_header().unwrap_or_default();
        let fields = [(ACCEPT, JSON), (CONTENT_TYPE, JSON), (COOKIE, &*cookie)];
        let response = exchange(&self.url, Method::POST, "/logout", &fields, "{}").await?;
        self.update_cookies(response.fields(SET_COOKIE));
        if matches!(response.status, 200..=399) { Ok(()) } else { Err(refusal(&response)) }
    }

    /// The same user at another URL of the deployment, for example at one gateway instead of the load balancer. Cookies and
    /// tokens stay shared.
    #[must_use]
    pub fn at(&self, url: GatewayUrl) -> Self {
        Self { url, ..self.clone() }
    }

    /// The URL of the gateway.
    #[must_use]
    pub fn url(&self) -> &GatewayUrl {
        &self.url
    }

    /// Checks whether the session is valid, which also extends it. With tokens: asks the source for a new one first. Has no
    /// time limit.
    pub async fn probe(&self) -> SessionProbe {
        if self.has_tokens() && self.new_token().await.is_none() {
            return SessionProbe::Unreachable(0);
        }
        let credentials = self.credentials();
        let credentials = credentials.iter().map(|(name, value)| (name.clone(), value.as_str()));
        let fields: Vec<_> = [(ACCEPT, JSON)].into_iter().chain(credentials).collect();
        let Ok(response) = exchange(&self.url, Method::GET, "/session", &fields, "").await else {
            return SessionProbe::Unreachable(0);
        };
        self.update_cookies(response.fields(SET_COOKIE));
        let retry_after = response.retry_after().map_or(0, millis);
        match (response.status, serde_json::from_slice(&response.body)) {
            (200, Ok(UserBody { user, expires_in })) => SessionProbe::LoggedIn { user, expires_in },
            (401, _) => SessionProbe::NotLoggedIn,
            (503, _) => SessionProbe::Unavailable(retry_after),
            _ => SessionProbe::Unreachable(retry_after),
        }
    }

    /// The value of the `Cookie` header for the next request, or `None` without cookies.
    #[must_use]
    pub fn cookie_header(&self) -> Option<String> {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner).header()
    }

    /// Applies the values of `Set-Cookie` headers.
    pub(crate) fn update_cookies<'a>(&self, headers: impl Iterator<Item = &'a str>) {
        let mut cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        headers.for_each(|header| cookies.set(header));
    }
}

fn refusal(response: &HttpResponse) -> ClientError {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct ErrorBody {
        code: String,
        detail: String,
    }
    let ErrorBody { code, detail } = serde_json::from_slice(&response.body).unwrap_or_default();
    ClientError::Refused { status: response.status, code, detail, retry_after: response.retry_after() }
}

/// The cookies of one host, all with the path `/`.
///
/// Parsed here: the `cookie` crate would bring `time` and seven more crates for one split and one comparison.
#[derive(Default)]
struct CookieJar(Vec<(String, String)>);

impl CookieJar {
    /// The part of RFC 6265 section 5.2 that one host and one path need: a new value replaces the old one, and a
    /// Max-Age of 0 or less deletes the cookie.
    fn set(&mut self, header: &str) {
        let mut parts = header.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let (name, value) = (name.trim(), value.trim());
        let expired = parts.any(|attribute| {
            let (attribute, seconds) = attribute.split_once('=').unwrap_or((attribute, ""));
            attribute.trim().eq_ignore_ascii_case("max-age") && seconds.trim().parse::<i64>().is_ok_and(|s| s <= 0)
        });
        self.0.retain(|(known, _)| known != name);
        if !name.is_empty() && !expired {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    fn header(&self) -> Option<String> {
        let pairs: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_kept_replaced_and_deleted() {
        let mut cookies = CookieJar::default();
        assert_eq!(cookies.header(), None);
        cookies.set("jsessionid=abc=; Path=/; HttpOnly; Max-Age=28800");
        cookies.set("lb=1");
        assert_eq!(cookies.header().unwrap(), "jsessionid=abc=; lb=1");
        cookies.set("jsessionid=def; path=/");
        assert_eq!(cookies.header().unwrap(), "lb=1; jsessionid=def");
        cookies.set("jsessionid=; Max-Age=0");
        cookies.set("nonsense");
        assert_eq!(cookies.header().unwrap(), "lb=1");
    }
}
