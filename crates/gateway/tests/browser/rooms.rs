//! Several rooms on one page.

use crate::{person::Person, site::Site};

/// Opens a room by its name.
pub(crate) async fn open(person: &Person, room: &str) {
    person.find("#room-name").await.send_keys(&format!("{room}\u{e007}")).await.unwrap();
    is_in(person, room).await;
}

/// Follows the link in the list of rooms.
pub(crate) async fn follow(person: &Person, room: &str) {
    person.click(&format!("#room-list a[href='/rooms/{room}']")).await;
    is_in(person, room).await;
}

async fn is_in(person: &Person, room: &str) {
    let shown = format!("document.getElementById('room').textContent === '{room}'");
    person.until("the room's name above it", &shown).await;
    person.until("its conversation", "document.getElementById('messages').textContent !== ''").await;
}

/// Waits for the title and for what stands beside the room's name in the list.
pub(crate) async fn sees(person: &Person, title: &str, room: &str, badge: &str) {
    let badge_is =
        format!("document.querySelector(\"#room-list a[href='/rooms/{room}'] .badge\").textContent === '{badge}'");
    person.until(&format!("{badge:?} beside {room}"), &badge_is).await;
    person.until_sees(&format!("the title {title:?}"), async |me| me.page.title().await.unwrap() == title).await;
}

#[tokio::test]
async fn messages_of_other_rooms_are_counted_until_they_are_seen() {
    let site = Site::start(2).await;
    let (ann, bob) = site.ann_and_bob().await;
    open(&bob, "kitchen").await;
    open(&ann, "kitchen").await;
    follow(&ann, "lobby").await;
    assert_eq!(ann.page.title().await.unwrap(), "lobby · Trunkline");

    bob.say("soup is ready").await;
    sees(&ann, "(1) lobby · Trunkline", "kitchen", "1").await;
    bob.say("come and get it, @ann").await;
    sees(&ann, "(2) lobby · Trunkline", "kitchen", "@2").await;
    ann.picture("unread").await;
    ann.until_texts(&[]).await;

    ann.write("on my w").await;
    follow(&ann, "kitchen").await;
    sees(&ann, "kitchen · Trunkline", "kitchen", "").await;
    ann.until_texts(&["soup is ready", "come and get it, @ann"]).await;
    ann.until(
        "where the new begins",
        "document.querySelector('.new + * + .message .text').textContent === 'soup is ready'",
    )
    .await;
    ann.write("y").await;

    ann.page.back().await.unwrap();
    is_in(&ann, "lobby").await;
    assert!(ann.page.current_url().await.unwrap().path().ends_with("/rooms/lobby"));
    ann.until("the draft of this room", "document.getElementById('text').value === 'on my w'").await;
    ann.page.forward().await.unwrap();
    is_in(&ann, "kitchen").await;
    ann.until("the draft of that room", "document.getElementById('text').value === 'y'").await;
    let sockets: u32 = ann.ask("return performance.getEntriesByType('navigation').length").await;
    assert_eq!((sockets, ann.console_errors().await), (1, Vec::new()), "no page was loaded for all that");
}

#[tokio::test]
async fn messages_sent_while_the_page_was_closed_are_new() {
    let site = Site::start(2).await;
    let (ann, bob) = site.ann_and_bob().await;
    open(&ann, "kitchen").await;
    follow(&ann, "lobby").await;
    ann.resize(1000, 420).await;
    bob.say("first").await;
    ann.until_texts(&["first"]).await;
    ann.page.goto("about:blank").await.unwrap();

    for number in 1..=20 {
        bob.say(&format!("number {number}")).await;
    }
    bob.until_sees("all of it is sent", async |bob| bob.texts().await.len() == 21 && bob.unsent().await.is_empty())
        .await;
    open(&bob, "kitchen").await;
    bob.say("@Ann, soup!").await;
    bob.until_texts(&["@Ann, soup!"]).await;

    ann.go("/").await;
    ann.until_connected().await;
    sees(&ann, "(21) lobby · Trunkline", "kitchen", "@1").await;
    ann.until("the first new one is in sight", "document.querySelector('.new').getBoundingClientRect().top > 0").await;
    assert_eq!(ann.text("#latest").await, "20 new messages");
    ann.picture("new").await;
    ann.click("#latest").await;
    sees(&ann, "(1) lobby · Trunkline", "lobby", "").await;

    // In another tab of the same browser the same is unread, and what is read there is read here.
    let here = ann.page.window().await.unwrap();
    let tab = ann.page.new_window(true).await.unwrap();
    ann.page.switch_to_window(tab.handle).await.unwrap();
    ann.devtools("Emulation.setFocusEmulationEnabled", &serde_json::json!({ "enabled": true })).await;
    ann.go("/rooms/kitchen").await;
    ann.until_texts(&["@Ann, soup!"]).await;
    sees(&ann, "kitchen · Trunkline", "kitchen", "").await;
    ann.page.close_window().await.unwrap();
    ann.page.switch_to_window(here).await.unwrap();
    sees(&ann, "lobby · Trunkline", "kitchen", "").await;
}

#[tokio::test]
async fn rooms_stay_open_until_they_are_left() {
    let site = Site::start(1).await;
    let ann = site.person("ann").await;
    let listed = async |person: &Person| -> Vec<String> {
        person.ask("return [...document.querySelectorAll('#room-list a')].map((way) => way.pathname)").await
    };
    open(&ann, "ops").await;
    open(&ann, "kitchen").await;
    ann.reload().await;
    ann.until_connected().await;
    assert_eq!(listed(&ann).await, ["/rooms/kitchen", "/rooms/lobby", "/rooms/ops"]);
    ann.click("[aria-label='Leave ops']").await;
    assert_eq!(listed(&ann).await, ["/rooms/kitchen", "/rooms/lobby"]);
    ann.click("[aria-label='Leave kitchen']").await;
    is_in(&ann, "lobby").await;
    assert_eq!(listed(&ann).await, ["/rooms/lobby"]);
    ann.reload().await;
    ann.until_connected().await;
    assert_eq!(listed(&ann).await, ["/rooms/lobby"]);

    // Another person is in a room that is not open here; its link leads there.
    let bob = site.person("bob").await;
    open(&bob, "den").await;
    ann.reload().await;
    ann.until("where bob is", "document.querySelector('#active-list a')?.pathname === '/rooms/den'").await;
    ann.click("#active-list a").await;
    is_in(&ann, "den").await;
    bob.say("hello").await;
    ann.until_texts(&["hello"]).await;
}
