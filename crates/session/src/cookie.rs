//! The session cookie.

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

/// What session cookies are signed with. The same on all instances.
///
/// To replace a secret without logging anybody out: start all instances with the new one after the old one, so that all
/// of them accept it; then with the new one first; and after [`Lifetimes::max`] without the old one.
#[derive(Clone)]
pub struct SecretKeys {
    /// Signs; the only one that actix-session's middleware knows.
    signing: Key,
    /// Accepted by [`resign`](SecretKeys::resign).
    others: Vec<Key>,
}

impl SecretKeys {
    /// Fewest bytes of a secret.
    pub const MIN_BYTES: usize = 64;

    /// Derives the keys from secrets, of which the first signs. The others are accepted where [`resign`](Self::resign)
    /// is called.
    ///
    /// # Errors
    /// [`ShortSecret`](InvalidSettings::ShortSecret), [`NoSecret`](InvalidSettings::NoSecret).
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

    /// A random one: for a process that runs alone, whose sessions end with it.
    #[must_use]
    pub fn random() -> Self {
        Self { signing: Key::derive_from(&rand::random::<[u8; 64]>()), others: Vec::new() }
    }

    /// Signs the cookie of this name in a request's headers with the first key, where another of the keys signed it:
    /// the session middleware, which knows one key only, then accepts it. Call it in front of that middleware for each
    /// request. The browser gets the new signature with the next `Set-Cookie`.
    ///
    /// Nothing changes where the first key signed it, where none did, and where there are several cookies of the name.
    pub fn resign(&self, headers: &mut HeaderMap, name: &str) {
        if self.others.is_empty() {
            return;
        }
        let named = |pair: &str| pair.split('=').next().is_some_and(|key| key.trim() == name);
        let lines = headers.get_all(COOKIE).filter_map(|line| line.to_str().ok());
        let mut pairs: Vec<&str> = lines.flat_map(|line| line.split(';').map(str::trim)).collect();
        let mut ours = pairs.iter_mut().filter(|pair| named(pair));
        let (Some(ours), None) = (ours.next(), ours.next()) else { return };
        let Some(signed) = self.signed_anew(ours, name) else { return };
        *ours = &signed;
        let line = pairs.join("; ");
        if let Ok(line) = HeaderValue::from_str(&line) {
            headers.insert(COOKIE, line);
        }
    }

    /// `name=value` with the first key's signature in place of that of another.
    fn signed_anew(&self, pair: &str, name: &str) -> Option<String> {
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

/// How the session cookie looks. Besides: HttpOnly, SameSite=Lax, Path=/, no Domain (so that no other host gets it).
#[derive(Clone, Debug)]
pub struct CookieSettings {
    /// Its name: `jsessionid` unless set, on which many routers key their affinity.
    pub name: String,
    /// Whether browsers send it over https only: true where the public origin is https.
    pub secure: bool,
}

impl Default for CookieSettings {
    fn default() -> Self {
        Self { name: "jsessionid".into(), secure: false }
    }
}

/// actix-session's middleware over `sessions`.
///
/// The browser keeps the cookie for [`Lifetimes::max`] (Max-Age), so that a closed browser comes back as the same
/// person, and a tab whose socket keeps the session alive does not lose the cookie meanwhile; when a session ends is
/// for the store to say. The cookie is signed, not encrypted: it holds nothing to hide from its owner.
///
/// # Errors
/// [`CookieName`](InvalidSettings::CookieName).
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
