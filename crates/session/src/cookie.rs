//! The session cookie and its signature.

use std::fmt;

use actix_session::{
    SessionMiddleware,
    config::{CookieContentSecurity, PersistentSession},
};
use actix_web::{
    cookie::{Cookie, CookieJar, Key, SameSite, time},
    http::header::{COOKIE, HeaderMap, HeaderValue},
};

use crate::{InvalidSettings, Lifetimes, Sessions};

/// The keys that sign session cookies. Must be the same on all instances.
///
/// To replace a secret without ending sessions, restart all instances three times: with the new secret after the old
/// one, so that all of them accept it; with the new one first, so that it signs; and, [`Lifetimes::max`] later, without
/// the old one.
#[derive(Clone)]
pub struct SecretKeys {
    /// Signs cookies. actix-session's middleware knows only this one.
    signing: Key,
    /// Accepted by [`sign_again`](SecretKeys::sign_again).
    others: Vec<Key>,
}

impl SecretKeys {
    /// Minimum length of a secret, in bytes.
    pub const MIN_BYTES: usize = 64;

    /// Derives the keys from secrets. The first one signs; the others are accepted where
    /// [`sign_again`](Self::sign_again) is called.
    ///
    /// # Errors
    /// - [`ShortSecret`](InvalidSettings::ShortSecret) if a secret is shorter than [`MIN_BYTES`](Self::MIN_BYTES).
    /// - [`NoSecret`](InvalidSettings::NoSecret) if there is none.
    pub fn new<T: AsRef<[u8]>>(secrets: impl IntoIterator<Item = T>) -> Result<Self, InvalidSettings> {
        let mut keys = Vec::new();
        for secret in secrets {
            let secret = secret.as_ref();
            if secret.len() < Self::MIN_BYTES {
                return Err(InvalidSettings::ShortSecret(secret.len()));
            }
            keys.push(Key::derive_from(secret));
        }
        let mut keys = keys.into_iter();
        Ok(Self { signing: keys.next().ok_or(InvalidSettings::NoSecret)?, others: keys.collect() })
    }

    /// A random key, for a process that runs alone and whose sessions end with it.
    #[must_use]
    pub fn random() -> Self {
        Self { signing: Key::derive_from(&rand::random::<[u8; 64]>()), others: Vec::new() }
    }

    /// Signs the session cookie in a request's headers with the first key if another one of the keys has signed it, so
    /// that the session middleware, which knows only the first key, accepts it. Call it before that middleware for each
    /// request. The browser gets the new signature with the next `Set-Cookie`.
    ///
    /// Changes nothing if the first key or none of the keys has signed the cookie, or if several cookies have its
    /// name.
    pub fn sign_again(&self, headers: &mut HeaderMap, name: &str) {
        if self.others.is_empty() {
            return;
        }
        // As bytes: other cookies of the host may be in any encoding.
        let is_session = |pair: &&mut &[u8]| {
            pair.split(|b| *b == b'=').next().is_some_and(|key| key.trim_ascii() == name.as_bytes())
        };
        let lines = headers.get_all(COOKIE).map(HeaderValue::as_bytes);
        let mut pairs: Vec<&[u8]> = lines.flat_map(|line| line.split(|b| *b == b';').map(<[u8]>::trim_ascii)).collect();
        let mut session = pairs.iter_mut().filter(is_session);
        let (Some(session), None) = (session.next(), session.next()) else { return };
        let signed = str::from_utf8(session).ok().and_then(|pair| self.with_first_signature(pair, name));
        let Some(signed) = signed else { return };
        *session = signed.as_bytes();
        if let Ok(line) = HeaderValue::from_bytes(&pairs.join(&b"; "[..])) {
            headers.insert(COOKIE, line);
        }
    }

    /// Signs a text for a cookie of another kind, with the first key. `purpose` is part of what is signed: the result is
    /// accepted for no other purpose, and not as a session cookie. The text itself stays readable.
    #[must_use]
    pub fn sign(&self, purpose: &str, text: &str) -> String {
        let mut jar = CookieJar::new();
        jar.signed_mut(&self.signing).add(Cookie::new("", format!("{purpose}:{text}")));
        jar.get("").map(|cookie| cookie.value().to_owned()).unwrap_or_default()
    }

    /// The text that one of the keys has [signed](Self::sign) for this purpose.
    #[must_use]
    pub fn verify(&self, purpose: &str, signed: &str) -> Option<String> {
        let mut jar = CookieJar::new();
        jar.add_original(Cookie::new("", signed.to_owned()));
        let text = [&self.signing].into_iter().chain(&self.others).find_map(|key| jar.signed(key).get(""))?;
        Some(text.value().strip_prefix(purpose)?.strip_prefix(':')?.to_owned())
    }

    /// `name=value` with the first key's signature in place of another key's.
    fn with_first_signature(&self, pair: &str, name: &str) -> Option<String> {
        let mut received = CookieJar::new();
        received.add_original(Cookie::parse_encoded(pair).ok()?.into_owned());
        if received.signed(&self.signing).get(name).is_some() {
            return None;
        }
        let content = self.others.iter().find_map(|key| received.signed(key).get(name))?;
        let mut sent = CookieJar::new();
        sent.signed_mut(&self.signing).add(content);
        sent.get(name).map(|cookie| cookie.encoded().stripped().to_string())
    }
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKeys(…)")
    }
}

/// Settings of the session cookie. It is always HttpOnly and SameSite=Lax with Path=/ and without a Domain, so browsers
/// send it to no other host.
#[derive(Clone, Debug)]
pub struct CookieSettings {
    /// The name, by default `jsessionid`, which many load balancers use for session affinity.
    pub name: String,
    /// The Secure attribute: browsers send the cookie over https only. True if the public origin is https.
    pub secure: bool,
}

impl Default for CookieSettings {
    fn default() -> Self {
        Self { name: "jsessionid".into(), secure: false }
    }
}

/// actix-session's middleware over `sessions`.
///
/// The cookie's Max-Age is [`Lifetimes::max`]: a session outlasts a restart of the browser, and a tab whose socket keeps
/// the session alive does not lose the cookie. The store decides when the session ends. The cookie is signed, not
/// encrypted: it contains nothing to hide from its owner.
///
/// # Errors
/// [`CookieName`](InvalidSettings::CookieName) if the name is not a token.
pub fn middleware<S: Sessions>(
    sessions: S,
    keys: &SecretKeys,
    cookie: &CookieSettings,
    lifetimes: &Lifetimes,
) -> Result<SessionMiddleware<S>, InvalidSettings> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if cookie.name.is_empty() || !cookie.name.bytes().all(token) {
        return Err(InvalidSettings::CookieName);
    }
    let max_age = time::Duration::try_from(lifetimes.max).unwrap_or(time::Duration::MAX);
    Ok(SessionMiddleware::builder(sessions, keys.signing.clone())
        .cookie_name(cookie.name.clone())
        .cookie_secure(cookie.secure)
        .cookie_http_only(true)
        .cookie_same_site(SameSite::Lax)
        .cookie_path("/".into())
        .cookie_domain(None)
        .cookie_content_security(CookieContentSecurity::Signed)
        .session_lifecycle(PersistentSession::default().session_ttl(max_age))
        .build())
}
