//! axe-core finds no violation on any page.

use crate::{axe, rooms, site::Site};

#[tokio::test]
async fn axe_finds_nothing() {
    let site = Site::start(1).await;
    let (ann, bob) = tokio::join!(site.visitor(), site.person("bob"));
    axe::assert_no_violations(&ann, "login").await;
    ann.press("bob\u{e007}").await;
    ann.until("the error", "document.querySelector('#name[aria-invalid=true]')").await;
    axe::assert_no_violations(&ann, "login with an error").await;
    ann.press("\u{e009}a\u{e000}").await; // Ctrl+A
    ann.log_in("ann").await;
    bob.say("see https://example.org/ for more").await;
    bob.say("/me waves").await;
    ann.say("I do").await;
    ann.until("all three", "document.querySelectorAll('#messages .message').length === 3").await;

    for colours in ["light", "dark"] {
        ann.colours(colours).await;
        axe::assert_no_violations(&ann, &format!("chat, {colours}")).await;
    }
    rooms::open(&ann, "kitchen").await;
    rooms::follow(&ann, "lobby").await;
    rooms::open(&bob, "kitchen").await;
    bob.say("@ann, soup!").await;
    rooms::sees(&ann, "(1) lobby · Trunkline", "kitchen", "@1").await;
    for colours in ["dark", "light"] {
        ann.colours(colours).await;
        axe::assert_no_violations(&ann, &format!("chat with a message elsewhere, {colours}")).await;
    }
    ann.click("#connection").await;
    axe::assert_no_violations(&ann, "chat with the connection log").await;
    ann.resize(360, 740).await;
    axe::assert_no_violations(&ann, "narrow").await;
    ann.click("#show-rooms").await;
    axe::assert_no_violations(&ann, "narrow, rooms open").await;
    ann.go("/rooms/NO").await;
    axe::assert_no_violations(&ann, "not found").await;
}
