//! The chat page of one room.

use maud::{Markup, PreEscaped, html};
use trunkline_domain::{DisplayName, Room, UserId};

use super::{PageStrings, layout};
use crate::assets;

/// The chat page of `room` for `user`, rendered by `instance`. It shows `name` instead of the user id if there is one.
pub(crate) fn chat(
    strings: &PageStrings,
    room: &Room,
    user: &UserId,
    name: Option<&DisplayName>,
    login: &str,
    instance: &str,
) -> Markup {
    let shown = name.map_or(user.as_str(), DisplayName::as_str);
    let body = html! {
        body class="chat" data-room=(room) data-user=(user) data-instance=(instance) {
            a class="skip" href="#text" { (strings.get("page.skip")) }
            (header(strings, room, shown, login))
            (rooms(strings, room))
            (conversation(strings, room))
            aside id="people" aria-label=(strings.get("people")) hidden {
                h2 id="people-count" {}
                ul id="people-list" {}
            }
            p id="announce" role="status" {}
            // The JSON contains no `<`, so it cannot end the element.
            script type="application/json" id="strings" { (PreEscaped(strings.data_block())) }
            script type="module" src=(assets::CHAT_JS) {}
        }
    };
    layout::page(strings, room.as_str(), &html! {}, &body)
}

fn header(strings: &PageStrings, room: &Room, user: &str, login: &str) -> Markup {
    html! {
        header {
            button type="button" id="show-rooms" aria-expanded="false" aria-controls="rooms" {
                (strings.get("rooms")) " " span id="elsewhere" class="badge" {}
            }
            h1 id="room" { (room) }
            button type="button" id="connection" aria-expanded="false" aria-controls="events"
                title=(strings.get("events")) { (strings.get("state.connecting")) }
            button type="button" id="show-people" aria-expanded="false" aria-controls="people"
                hidden {}
            form method="post" action="/logout" {
                span id="user" dir="auto" data-login=(login) { (user) }
                button type="submit" { (strings.get("logout")) }
            }
        }
    }
}

fn rooms(strings: &PageStrings, room: &Room) -> Markup {
    html! {
        nav id="rooms" aria-label=(strings.get("rooms")) {
            h2 { (strings.get("rooms")) }
            ul id="room-list" {
                li { a href={ "/rooms/" (room) } aria-current="page" { (room) } }
            }
            form id="open-room" {
                label for="room-name" { (strings.get("rooms.open")) }
                input id="room-name" pattern=r"[a-z0-9][a-z0-9._\-]{0,63}" title=(strings.get("rooms.name_rules"))
                    required autocapitalize="none" autocomplete="off" spellcheck="false";
                button type="submit" disabled { (strings.get("rooms.go")) }
            }
            button type="button" id="notify" hidden { (strings.get("notify")) }
            section id="active" hidden {
                h2 { (strings.get("rooms.active")) }
                ul id="active-list" {}
            }
        }
    }
}

fn conversation(strings: &PageStrings, room: &Room) -> Markup {
    html! {
        main {
            section id="events" aria-label=(strings.get("events")) hidden { ol id="event-list" {} }
            p id="banner" hidden {}
            p id="limits" class="warn" role="status" hidden {}
            div id="log" role="log" aria-live="off" aria-label=(strings.get("messages")) tabindex="0" {
                ol id="messages" {}
                ol id="unsent" {}
            }
            div id="news" aria-live="polite" {}
            button type="button" id="latest" hidden { (strings.get("messages.latest")) }
            p id="typing" {}
            form id="composer" {
                label for="text" { (strings.get("composer.label")) }
                textarea id="text" rows="1" placeholder=(strings.with("composer.hint", "room", room.as_str()))
                    enterkeyhint="send" dir="auto" autocomplete="off" aria-describedby="text-error" autofocus {}
                button type="submit" disabled { (strings.get("composer.send")) }
                p id="text-error" class="error" role="alert" {}
            }
            noscript { p class="error" { (strings.get("page.script_needed")) } }
        }
    }
}
