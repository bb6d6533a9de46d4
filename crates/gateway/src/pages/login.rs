//! The login page, which is also the answer to a refused login.

use actix_web::{HttpRequest, web};
use maud::{Markup, html};
use trunkline_session::LoginAttempt;
use url::form_urlencoded::byte_serialize;

use super::{PageStrings, layout};
#[cfg(feature = "oidc")]
use crate::oidc::ProviderFailure;
use crate::origin::Origin;

/// The ways to log in that the login page offers. Part of the App's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoginMethods {
    /// By typing a name that is free.
    pub(crate) name: bool,
    /// With an OpenID provider, which has this name.
    pub(crate) provider: Option<String>,
}

impl LoginMethods {
    /// Returns those of the App that handles the request.
    pub(crate) fn of(request: &HttpRequest) -> &Self {
        static NONE: LoginMethods = LoginMethods { name: false, provider: None };
        request.app_data::<web::Data<Self>>().map_or(&NONE, |methods| methods)
    }
}

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
    /// What the page offers.
    pub(crate) methods: &'a LoginMethods,
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
    /// An operator keeps the user out. Holds the seconds that are left.
    KeptOut(u64),
    /// Names cannot be claimed here.
    NameLoginOff,
    /// The login with the OpenID provider failed.
    #[cfg(feature = "oidc")]
    Provider(ProviderFailure),
    /// The session store does not answer.
    Unavailable,
    /// The browser did not send the session cookie after a successful login. Holds the public origin, if one is set.
    CookieRefused(Option<Origin>),
}

impl<'a> LoginPage<'a> {
    /// Returns an empty login page, with what the request's App offers.
    pub(crate) fn of(request: &'a HttpRequest) -> Self {
        let methods = LoginMethods::of(request);
        Self { name: "", next: None, failure: None, attempt: LoginAttempt::random(), methods }
    }
}

impl LoginFailure {
    /// `{provider}` stands for the name of the OpenID provider.
    fn text(&self, strings: &PageStrings) -> String {
        match self {
            Self::BadName => strings.get("login.bad_name").to_owned(),
            Self::ReservedName => strings.get("login.reserved_name").to_owned(),
            Self::NameTaken => strings.get("login.name_taken").to_owned(),
            Self::RateExceeded(seconds) => strings.with("login.throttled", "seconds", &seconds.to_string()),
            Self::KeptOut(seconds) => strings.with("login.kept_out", "seconds", &seconds.to_string()),
            Self::NameLoginOff => strings.get("login.name_off").to_owned(),
            #[cfg(feature = "oidc")]
            Self::Provider(ProviderFailure::Expired) => strings.get("login.provider_expired").to_owned(),
            #[cfg(feature = "oidc")]
            Self::Provider(ProviderFailure::Refused) => strings.get("login.provider_refused").to_owned(),
            #[cfg(feature = "oidc")]
            Self::Provider(ProviderFailure::Away) => strings.get("login.provider_away").to_owned(),
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
    let methods = page.methods;
    let provider = methods.provider.as_deref().unwrap_or_default();
    let failure = page.failure.as_ref().map(|failure| failure.text(strings).replace("{provider}", provider));
    let content = html! {
        @if !methods.name && let Some(failure) = &failure {
            p class="error" role="alert" { (failure) }
        }
        @if methods.name {
            (name_form(strings, page, failure.as_deref()))
        }
        @if methods.provider.is_some() {
            p { a class="button" href=(provider_path(page.next)) { (strings.with("login.provider", "provider", provider)) } }
        }
        @if !methods.name && methods.provider.is_none() {
            p { (strings.get("login.elsewhere")) }
        }
    };
    layout::plain(strings, strings.get("login.title"), &html! {}, &content)
}

fn name_form(strings: &PageStrings, page: &LoginPage<'_>, failure: Option<&str>) -> Markup {
    let described_by = if failure.is_some() { "name-error name-rules" } else { "name-rules" };
    html! {
        form method="post" action="/login" {
            label for="name" { (strings.get("login.name")) }
            input id="name" name="name" value=(page.name) maxlength="64" required autofocus autocomplete="username"
                autocapitalize="none" spellcheck="false" aria-describedby=(described_by)
                aria-invalid=[failure.map(|_| "true")];
            @if let Some(failure) = failure {
                p id="name-error" class="error" role="alert" { (failure) }
            }
            p id="name-rules" class="quiet" { (strings.get("login.rules")) }
            input type="hidden" name="attempt" value=(page.attempt);
            @if let Some(next) = page.next {
                input type="hidden" name="next" value=(next);
            }
            button type="submit" { (strings.get("login.enter")) }
        }
    }
}

/// Returns the path that starts a login with the provider.
fn provider_path(next: Option<&str>) -> String {
    match next {
        Some(next) => format!("/login/oidc?next={}", byte_serialize(next.as_bytes()).collect::<String>()),
        None => "/login/oidc".to_owned(),
    }
}
