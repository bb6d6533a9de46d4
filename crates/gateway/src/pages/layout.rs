//! The frame that all pages share.

use maud::{DOCTYPE, Markup, html};

use super::PageStrings;
use crate::assets;

/// Returns a page, given its title without the product name, additional elements of the head, and the `body` element.
pub(crate) fn page(strings: &PageStrings, title: &str, head: &Markup, body: &Markup) -> Markup {
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

/// Returns a page with a heading and `content`.
pub(super) fn plain(strings: &PageStrings, title: &str, head: &Markup, content: &Markup) -> Markup {
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
