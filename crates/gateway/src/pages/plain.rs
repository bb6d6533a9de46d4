//! Pages with a single message.

use maud::{Markup, html};

use super::{PageStrings, layout};

/// Returns the page of a 404.
pub(crate) fn not_found(strings: &PageStrings) -> Markup {
    let text = strings.get("page.not_found");
    layout::plain(strings, text, &html! {}, &html! { p { (text) } })
}

/// Returns the page of a 403.
pub(crate) fn forbidden(strings: &PageStrings) -> Markup {
    let text = strings.get("error.forbidden");
    layout::plain(strings, text, &html! {}, &html! { p { (text) } })
}

/// Returns the page of a 503, which reloads itself every 5 s.
pub(crate) fn unavailable(strings: &PageStrings) -> Markup {
    let text = strings.get("page.unavailable");
    let retry = html! { meta http-equiv="refresh" content="5"; };
    layout::plain(strings, strings.get("product"), &retry, &html! { p { (text) } })
}
