//! Pages with a single message.

use maud::{Markup, html};

use super::{PageStrings, layout};

/// Returns the page of a 404 or 405.
pub(crate) fn not_found(strings: &PageStrings) -> Markup {
    message(strings, "page.not_found")
}

/// Returns the page of a 403 by the policy.
pub(crate) fn forbidden(strings: &PageStrings) -> Markup {
    message(strings, "page.forbidden")
}

/// Returns the page of a 403 for a request from a page of another site.
pub(crate) fn cross_site(strings: &PageStrings) -> Markup {
    message(strings, "page.cross_site")
}

/// Returns a page with a message and a link to the chat.
fn message(strings: &PageStrings, key: &str) -> Markup {
    let text = strings.get(key);
    let content = html! {
        p { (text) }
        p { a href="/" { (strings.get("page.home")) } }
    };
    layout::plain(strings, text, &html! {}, &content)
}

/// Returns the page of a 503. After 5 s it loads `retry_at`, or itself if that is `None`.
pub(crate) fn unavailable(strings: &PageStrings, retry_at: Option<&str>) -> Markup {
    let text = strings.get("page.unavailable");
    let refresh = retry_at.map_or_else(|| "5".to_owned(), |path| format!("5; url={path}"));
    let retry = html! { meta http-equiv="refresh" content=(refresh); };
    layout::plain(strings, strings.get("product"), &retry, &html! { p { (text) } })
}

/// Returns the page of a 503 for a logout. Its button repeats the logout.
pub(crate) fn logout_unavailable(strings: &PageStrings) -> Markup {
    let content = html! {
        p { (strings.get("page.logout_unavailable")) }
        form method="post" action="/logout" { button type="submit" { (strings.get("logout")) } }
    };
    layout::plain(strings, strings.get("logout"), &html! {}, &content)
}

/// Returns the page after a logout that continues at the OpenID provider. It leads there at once.
#[cfg(feature = "oidc")]
pub(crate) fn logout_continues(strings: &PageStrings, provider: &str, url: &str) -> Markup {
    let refresh = html! { meta http-equiv="refresh" content=(format!("0; url={url}")); };
    let content = html! {
        p { (strings.with("logout.provider", "provider", provider)) }
        p { a href=(url) { (strings.with("logout.provider_link", "provider", provider)) } }
    };
    layout::plain(strings, strings.get("logout"), &refresh, &content)
}
