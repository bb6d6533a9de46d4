//! The session cookie.

use std::fmt;

use actix_session::{
    SessionMiddleware,
    config::{CookieContentSecurity, PersistentSession},
};
use actix_web::cookie::{Key, SameSite, time};

use crate::{InvalidSettings, Lifetimes, Sessions};

/// What session cookies are signed with. The same on all instances.
#[derive(Clone)]
pub struct SecretKeys {
    signing: Key,
}

impl SecretKeys {
    /// Fewest bytes of a secret.
    pub const MIN_BYTES: usize = 64;

    /// Derives the keys from secrets, of which the first signs.
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
        let signing = keys.into_iter().next().ok_or(InvalidSettings::NoSecret)?;
        Ok(Self { signing })
    }

    /// A random one: for a process that runs alone, whose sessions end with it.
    #[must_use]
    pub fn random() -> Self {
        Self { signing: Key::derive_from(&rand::random::<[u8; 64]>()) }
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
/// person, and a tab whose socket keeps the session alive does not lose the cookie meanwhile; when a session ends is for the
/// store to say. The cookie is signed, not encrypted: it holds nothing to hide from its owner.
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
