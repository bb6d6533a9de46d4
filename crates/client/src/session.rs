//! Who the gateway takes us for: login, probe, and the cookies that both set.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use tokio::time::timeout;
use trunkline_domain::{UserName, millis};

use crate::{
    Error, Probed, Site,
    http::{Answer, exchange},
};

/// How long a login may take.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A session with a gateway: its cookies, which every answer may replace. Clones share them, as the tabs of a browser do.
#[derive(Clone)]
pub struct Session {
    site: Site,
    cookies: Arc<Mutex<Cookies>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Cookies are secrets.
        f.debug_struct("Session").field("site", &self.site).finish_non_exhaustive()
    }
}

impl Session {
    /// Logs in as `name`; the user is what the gateway made of it.
    ///
    /// # Errors
    /// [`Error::Refused`] where the gateway does not take the name, [`Error::Unreachable`] after ten seconds at the
    /// latest, [`Error::Foreign`] where something else answers.
    pub async fn login(site: &Site, name: &str) -> Result<(Self, UserName), Error> {
        #[derive(Deserialize)]
        struct LoggedIn {
            user: UserName,
        }
        let session = Self { site: site.clone(), cookies: Arc::default() };
        let body = serde_json::json!({ "name": name }).to_string();
        let fields = [("Content-Type", "application/json"), ("Accept", "application/json")];
        let answer = exchange(site, "POST", "/login", &fields, body.as_bytes());
        let answer =
            timeout(LOGIN_TIMEOUT, answer).await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        session.keep_cookies(&answer);
        if answer.status != 200 {
            return Err(refusal(&answer));
        }
        let LoggedIn { user } =
            serde_json::from_slice(&answer.body).map_err(|_| Error::Foreign("its answer to a login names no user"))?;
        if session.cookie_header().is_none() {
            return Err(Error::Foreign("its answer to a login sets no cookie"));
        }
        Ok((session, user))
    }

    /// Ends the session and, with it, every socket of it.
    ///
    /// # Errors
    /// As [`Session::login`].
    pub async fn logout(&self) -> Result<(), Error> {
        let cookie = self.cookie_header().unwrap_or_default();
        let fields = [("Accept", "application/json"), ("Content-Type", "application/json"), ("Cookie", &*cookie)];
        let answer = exchange(&self.site, "POST", "/logout", &fields, b"{}").await?;
        self.keep_cookies(&answer);
        if matches!(answer.status, 200..=399) { Ok(()) } else { Err(refusal(&answer)) }
    }

    /// The same session at another address of the deployment, as at one gateway itself instead of the balancer. Cookies
    /// stay shared.
    #[must_use]
    pub fn at(&self, site: Site) -> Self {
        Self { site, cookies: self.cookies.clone() }
    }

    /// Where the session is.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Asks whether the session is still good, which extends it.
    pub async fn probe(&self) -> Probed {
        #[derive(Deserialize)]
        struct LoggedIn {
            user: UserName,
        }
        let cookie = self.cookie_header().unwrap_or_default();
        let fields = [("Accept", "application/json"), ("Cookie", &*cookie)];
        let Ok(answer) = exchange(&self.site, "GET", "/session", &fields, b"").await else {
            return Probed::Unreachable(0);
        };
        self.keep_cookies(&answer);
        let after = answer.retry_after().map_or(0, millis);
        match (answer.status, serde_json::from_slice(&answer.body)) {
            (200, Ok(LoggedIn { user })) => Probed::LoggedIn(user),
            (401, _) => Probed::NotLoggedIn,
            (503, _) => Probed::Unavailable(after),
            _ => Probed::Unreachable(after),
        }
    }

    /// The `Cookie` header of the next request, if there is any cookie.
    #[must_use]
    pub fn cookie_header(&self) -> Option<String> {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner).header()
    }

    fn keep_cookies(&self, answer: &Answer) {
        self.keep(answer.fields("set-cookie"));
    }

    /// Takes over what `Set-Cookie` headers say.
    pub(crate) fn keep<'a>(&self, headers: impl Iterator<Item = &'a str>) {
        let mut cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        headers.for_each(|header| cookies.set(header));
    }
}

fn refusal(answer: &Answer) -> Error {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Body {
        code: String,
        detail: String,
    }
    let Body { code, detail } = serde_json::from_slice(&answer.body).unwrap_or_default();
    Error::Refused { status: answer.status, code, detail, retry_after: answer.retry_after() }
}

/// The cookies of one host whose paths are all `/`.
#[derive(Default)]
struct Cookies(Vec<(String, String)>);

impl Cookies {
    /// RFC 6265 section 5.2, as far as one host and one path need it: a new value replaces, an expired one deletes.
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
    fn a_cookie_is_kept_replaced_and_deleted() {
        let mut cookies = Cookies::default();
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
