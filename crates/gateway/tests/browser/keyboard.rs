//! Everything works without a mouse.

use fantoccini::key::Key;
use serde::Deserialize;

use crate::{person::Person, script, site::Site};

#[tokio::test]
async fn everything_from_login_to_logout_works_by_keyboard() {
    let site = Site::start(1).await;
    let ann = site.visitor().await;
    // From here on only keys are pressed, wherever the focus is.
    ann.press("ann").await;
    tab_to(&ann, "Enter").await;
    ann.press(&Key::Enter.to_string()).await;
    ann.until_connected().await;

    assert_eq!(focus(&ann).await.what, "text", "the field for messages has the focus at once");
    ann.press(&format!("two{}{}{}lines{}", Key::Shift, Key::Enter, Key::Null, Key::Enter)).await;
    ann.until_texts(&["two\nlines"]).await;
    assert_eq!(focus(&ann).await.what, "text", "and keeps it after sending");

    tab_to(&ann, "Send").await;
    ann.reload().await;
    ann.until_connected().await;
    tab_to(&ann, "connection").await;
    ann.press(&Key::Enter.to_string()).await;
    ann.until("the connection log is open", "!document.getElementById('events').hidden").await;
    ann.picture("events").await;
    tab_to(&ann, "room-name").await;
    ann.press(&format!("kitchen{}", Key::Enter)).await;
    ann.until("the other room", "document.querySelector('h1').textContent === 'kitchen'").await;
    ann.until_connected().await;
    tab_to(&ann, "Log out").await;
    ann.press(&Key::Enter.to_string()).await;
    ann.until("the login page", "document.activeElement?.id === 'name'").await;
}

#[derive(Debug, Deserialize)]
struct Focus {
    what: String,
    visible: bool,
}

async fn focus(person: &Person) -> Focus {
    person.ask(script::FOCUS).await
}

/// Presses Tab until the focus is there, and checks that the focus is visible at each stop.
async fn tab_to(person: &Person, goal: &str) {
    let mut way = Vec::new();
    for _ in 0..40 {
        person.press(&Key::Tab.to_string()).await;
        let focus = focus(person).await;
        // BODY: at the end of the page, the focus leaves it.
        assert!(focus.visible || focus.what == "BODY", "the focus cannot be seen: {focus:?}");
        if focus.what == goal {
            return;
        }
        way.push(focus.what);
    }
    panic!("{goal} cannot be reached: {way:?}");
}
