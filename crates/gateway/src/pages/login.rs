//! The login page, which is also the answer to a login that failed.

use maud::{Markup, html};
use trunkline_session::LoginAttempt;

use super::{Strings, layout};

/// What the page shows beside the empty field.
#[derive(Debug)]
pub(crate) struct Login<'a> {
    /// The name as it was typed.
    pub(crate) name: &'a str,
    /// Where to go after the login; a local path.
    pub(crate) next: Option<&'a str>,
    /// Why the last attempt failed.
    pub(crate) failure: Option<Failure>,
    /// By which the server knows a second click, or a second try after an answer that never came.
    pub(crate) attempt: LoginAttempt,
}

/// Why a login failed, as people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Against the rules of names.
    BadName,
    /// A name of the service's own.
    ReservedName,
    /// Somebody who is logged in has it.
    NameTaken,
    /// Too many attempts; the next one may succeed after this many seconds.
    Throttled(u64),
    /// The form was on another site's page.
    CrossSite,
    /// The sessions cannot be reached.
    Unavailable,
}

impl Default for Login<'_> {
    fn default() -> Self {
        Self { name: "", next: None, failure: None, attempt: LoginAttempt::random() }
    }
}

impl Failure {
    fn text(self, strings: &Strings) -> String {
        match self {
            Self::BadName => strings.get("login.bad_name").to_owned(),
            Self::ReservedName => strings.get("login.reserved_name").to_owned(),
            Self::NameTaken => strings.get("login.name_taken").to_owned(),
            Self::Throttled(seconds) => strings.with("login.throttled", "seconds", &seconds.to_string()),
            Self::CrossSite => strings.get("login.cross_site").to_owned(),
            Self::Unavailable => strings.get("login.unavailable").to_owned(),
        }
    }
}

/// The login page.
pub(crate) fn login(strings: &Strings, login: &Login<'_>) -> Markup {
    let described_by = if login.failure.is_some() { "name-error name-rules" } else { "name-rules" };
    let content = html! {
        form method="post" action="/login" {
            label for="name" { (strings.get("login.name")) }
            input id="name" name="name" value=(login.name) maxlength="64" required autofocus autocomplete="username"
                autocapitalize="none" spellcheck="false" aria-describedby=(described_by)
                aria-invalid=[login.failure.map(|_| "true")];
            @if let Some(failure) = login.failure {
                p id="name-error" class="error" role="alert" { (failure.text(strings)) }
            }
            p id="name-rules" class="quiet" { (strings.get("login.rules")) }
            input type="hidden" name="attempt" value=(login.attempt);
            @if let Some(next) = login.next {
                input type="hidden" name="next" value=(next);
            }
            button type="submit" { (strings.get("login.enter")) }
        }
    };
    layout::plain(strings, strings.get("login.title"), &html! {}, &content)
}
