//! The rooms where somebody is.

use maud::{Markup, html};
use trunkline_domain::Room;

use super::{Strings, layout};

/// The list of rooms with how many people are in each.
pub(crate) fn rooms(strings: &Strings, rooms: &[(Room, usize)]) -> Markup {
    let content = html! {
        h2 { (strings.get("rooms")) }
        ul {
            @for (room, count) in rooms {
                li { a href={ "/rooms/" (room) } { (room) } " " span class="quiet" { (count) } }
            }
        }
    };
    layout::plain(strings, strings.get("rooms"), &html! {}, &content)
}
