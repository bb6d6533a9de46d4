//! Pages that say one thing.

use maud::{Markup, html};

use super::{Strings, layout};

/// There is no such page.
pub(crate) fn not_found(strings: &Strings) -> Markup {
    let text = strings.get("page.not_found");
    layout::plain(strings, text, &html! {}, &html! { p { (text) } })
}

/// Somebody asked for what they may not have.
pub(crate) fn forbidden(strings: &Strings) -> Markup {
    let text = strings.get("error.forbidden");
    layout::plain(strings, text, &html! {}, &html! { p { (text) } })
}

/// The service cannot be reached; the page tries again by itself.
pub(crate) fn unavailable(strings: &Strings) -> Markup {
    let text = strings.get("page.unavailable");
    let retry = html! { meta http-equiv="refresh" content="5"; };
    layout::plain(strings, strings.get("product"), &retry, &html! { p { (text) } })
}
