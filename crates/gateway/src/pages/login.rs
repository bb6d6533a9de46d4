//! The login page, which is also the answer to a refused login.

use maud::{Markup, html};
use trunkline_session::LoginAttempt;

use super::{PageStrings, layout};
use crate::origin::Origin;

/// The values that the login page shows.
#[derive(Debug)]
pub(crate) struct LoginPage<'a> {
    /// The name as the person typed it.
    pub(crate) name: &'a str,
    /// A local path to which a successful login leads.
    pub(crate) next: Option<&'a str>,
    /// Why the login was refused.
    pub(crate) failure: Option<LoginFailure>,
    /// Identifies a repetition of this form, by a double click or after a lost answer.
    pub(crate) attempt: LoginAttempt,
}

/// Why a login was refused, as the page says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoginFailure {
    /// The name breaks the rules for names.
    BadName,
    /// The name is reserved for the service.
    ReservedName,
    /// Another session uses the name, or one that looks like it.
    NameTaken,
    /// Too many attempts. Holds the seconds after which an attempt is allowed.
    RateExceeded(u64),
    /// The form was sent by a page of another site.
    CrossSite,
    /// The browser uses an address that is not a public origin. Holds one that is.
    WrongAddress(Origin),
    /// The session store does not answer.
    Unavailable,
    /// The browser did not send the session cookie after a successful login. Holds the public origin, if one is set.
    CookieRefused(Option<Origin>),
}

impl Default for LoginPage<'_> {
    fn default() -> Self {
        Self { name: "", next: None, failure: None, attempt: LoginAttempt::random() }
    }
}

impl LoginFailure {
    fn text(&self, strings: &PageStrings) -> String {
        match self {
            Self::BadName => strings.get("login.bad_name").to_owned(),
            Self::ReservedName => strings.get("login.reserved_name").to_owned(),
            Self::NameTaken => strings.get("login.name_taken").to_owned(),
            Self::RateExceeded(seconds) => strings.with("login.throttled", "seconds", &seconds.to_string()),
            Self::CrossSite => strings.get("login.cross_site").to_owned(),
            Self::Unavailable => strings.get("login.unavailable").to_owned(),
            Self::WrongAddress(origin) => strings.with("login.wrong_address", "origin", &origin.to_string()),
            Self::CookieRefused(None) => strings.get("login.cookie_refused").to_owned(),
            Self::CookieRefused(Some(origin)) => strings.with("login.cookie_refused_at", "origin", &origin.to_string()),
        }
    }
}

/// Returns the login page.
pub(crate) fn login(strings: &PageStrings, page: &LoginPage<'_>) -> Markup {
    let described_by = if page.failure.is_some() { "name-error name-rules" } else { "name-rules" };
    let content = html! {
        form method="post" action="/login" {
            label for="name" { (strings.get("login.name")) }
            input id="name" name="name" value=(page.name) maxlength="64" required autofocus autocomplete="username"
                autocapitalize="none" spellcheck="false" aria-describedby=(described_by)
                aria-invalid=[page.failure.as_ref().map(|_| "true")];
            @if let Some(failure) = &page.failure {
                p id="name-error" class="error" role="alert" { (failure.text(strings)) }
            }
            p id="name-rules" class="quiet" { (strings.get("login.rules")) }
            input type="hidden" name="attempt" value=(page.attempt);
            @if let Some(next) = page.next {
                input type="hidden" name="next" value=(next);
            }
            button type="submit" { (strings.get("login.enter")) }
        }
    };
    layout::plain(strings, strings.get("login.title"), &html! {}, &content)
}
