//! Narrow pages, as on a phone.

use crate::{person::Person, script, site::Site};

#[tokio::test]
async fn on_a_phone_rooms_and_people_are_drawers() {
    let site = Site::start(1).await;
    let ann = site.visitor().await;
    ann.resize(360, 740).await;
    ann.go("/").await;
    assert_nothing_overflows(&ann).await;
    ann.picture("login-narrow").await;
    ann.log_in("ann").await;
    ann.say(
        "a word that is as long as a Welsh railway station: Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch",
    )
    .await;
    ann.until("it is there", "document.querySelector('#messages .message')").await;
    assert_nothing_overflows(&ann).await;
    assert!(!is_visible(&ann, "#rooms").await);
    ann.picture("narrow").await;

    ann.click("#show-rooms").await;
    assert!(is_visible(&ann, "#rooms").await);
    assert!(is_visible(&ann, "#room-name").await);
    assert_eq!(ann.find("#show-rooms").await.attr("aria-expanded").await.unwrap().as_deref(), Some("true"));
    assert_nothing_overflows(&ann).await;
    ann.picture("narrow-rooms").await;
    ann.press("\u{e00c}").await; // Escape
    assert!(!is_visible(&ann, "#rooms").await);
    let focus: serde_json::Value = ann.ask(script::FOCUS).await;
    assert_eq!(focus["what"], "show-rooms", "the focus returns to the button");

    ann.click("#show-rooms").await;
    ann.tap(340.0, 300.0).await;
    assert!(!is_visible(&ann, "#rooms").await, "a tap beside the drawer closes it");

    ann.resize(320, 568).await;
    assert_nothing_overflows(&ann).await;
}

async fn is_visible(person: &Person, selector: &str) -> bool {
    person.find(selector).await.is_displayed().await.unwrap()
}

async fn assert_nothing_overflows(person: &Person) {
    assert_eq!(person.ask::<Vec<String>>(script::OVERFLOWING).await, [""; 0]);
}
