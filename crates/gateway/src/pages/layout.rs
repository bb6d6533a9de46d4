//! What all pages share.

use maud::{DOCTYPE, Markup, html};

use super::Strings;
use crate::http::assets;

/// A page: its title without the product's name, further elements of the head, and its `body` element.
pub(super) fn page(strings: &Strings, title: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(strings.get("language")) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                (head)
                title { (title) " · " (strings.get("product")) }
                link rel="icon" href=(assets::FAVICON_SVG) type="image/svg+xml";
                link rel="stylesheet" href=(assets::STYLE_CSS);
            }
            (body)
        }
    }
}

/// A page of a heading and `content`.
pub(super) fn plain(strings: &Strings, title: &str, head: &Markup, content: &Markup) -> Markup {
    let body = html! {
        body class="plain" {
            main {
                h1 { (strings.get("product")) }
                (content)
            }
        }
    };
    page(strings, title, head, &body)
}
