//! The page with the rooms that have members.

use maud::{Markup, html};
use trunkline_domain::Room;

use super::{PageStrings, layout};

/// Returns the list of rooms with the number of users in each.
pub(crate) fn rooms(strings: &PageStrings, rooms: &[(Room, usize)]) -> Markup {
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
