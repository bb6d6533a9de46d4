//! What people do with messages: react, answer, edit, delete; and how far they have read.

use fantoccini::{Locator, key::Key};

use crate::{axe, person::Person, rooms, script, site::Site};

/// The row of the message whose text begins so.
fn row(text: &str) -> String {
    format!(
        "[...document.querySelectorAll('#messages .message')].find((row) => row.querySelector('.text').textContent.startsWith('{text}'))"
    )
}

/// Moves the pointer over a message, and clicks one of its buttons.
async fn act(person: &Person, text: &str, button: &str) {
    let over = format!("{}.dispatchEvent(new PointerEvent('pointerover', {{ bubbles: true }}))", row(text));
    person.page.execute(&over, Vec::new()).await.unwrap();
    press_button(person, button).await;
}

/// Clicks a button of the message that shows its buttons.
async fn press_button(person: &Person, button: &str) {
    let path = format!("//div[@class='actions']/button[text()='{button}' or @aria-label='{button}']");
    person.click_on(Locator::XPath(&path)).await;
}

async fn until_row(person: &Person, what: &str, text: &str, condition: &str) {
    person.until(what, &format!("((row) => {condition})({})", row(text))).await;
}

#[tokio::test]
async fn two_people_react_answer_edit_and_delete() {
    let site = Site::start(2).await;
    let (ann, bob) = site.ann_and_bob().await;
    ann.say("hello bob").await;
    ann.say("a second message").await;
    bob.until_texts(&["hello bob", "a second message"]).await;

    act(&bob, "hello", "React with 👍").await;
    until_row(&ann, "the reaction", "hello", "row.querySelector('.under button').textContent === '👍 1'").await;
    let names = "document.querySelector('.under button').ariaLabel";
    assert_eq!(ann.ask::<String>(&format!("return {names}")).await, "👍 1: bob");
    ann.click(".under button").await;
    until_row(&bob, "both reactions", "hello", "row.querySelector('.under button').textContent === '👍 2'").await;
    ann.click(".under button").await;
    until_row(&bob, "one again", "hello", "row.querySelector('.under button').textContent === '👍 1'").await;

    act(&ann, "hello", "Edit").await;
    ann.until("the text in the field", "document.getElementById('text').value === 'hello bob'").await;
    ann.picture("editing").await;
    ann.write(&format!(", how are you?{}", Key::Enter)).await;
    bob.until_texts(&["hello bob, how are you?", "a second message"]).await;
    until_row(&bob, "it says so", "hello", "row.querySelector('.under').textContent.includes('edited')").await;
    ann.until("an empty field", "document.getElementById('text').value === ''").await;

    act(&bob, "hello", "Reply").await;
    bob.until(
        "what is answered",
        "document.getElementById('aim').textContent === 'Reply to ann: hello bob, how are you?'",
    )
    .await;
    bob.say("fine, thanks").await;
    until_row(
        &ann,
        "the quote",
        "fine",
        "row.querySelector('.quote').textContent === 'Reply to ann: hello bob, how are you?'",
    )
    .await;
    ann.click(".quote button").await;
    ann.until("the focus in the answered message", &format!("document.activeElement === {}", row("hello"))).await;
    for (colours, width) in [("light", 1200), ("dark", 1200), ("light", 360), ("dark", 360)] {
        ann.colours(colours).await;
        ann.resize(width, 740).await;
        axe::assert_no_violations(&ann, &format!("with actions, {colours}, {width}")).await;
        assert_eq!(ann.ask::<Vec<String>>(script::OVERFLOWING).await, [""; 0]);
        ann.picture(&format!("amended-{colours}-{width}")).await;
    }

    act(&ann, "hello", "Delete").await;
    press_button(&ann, "Keep it").await;
    ann.until_sees("nothing is deleted", async |ann| ann.texts().await[0] == "hello bob, how are you?").await;
    act(&ann, "hello", "Delete").await;
    ann.picture("deleting").await;
    press_button(&ann, "Delete").await;
    let texts = ["This message was deleted.", "a second message", "fine, thanks"];
    bob.until_texts(&texts).await;
    until_row(
        &bob,
        "the quote too",
        "fine",
        "row.querySelector('.quote').textContent === 'Reply to ann: This message was deleted.'",
    )
    .await;
    bob.until("no reactions", "!document.querySelector('.under')").await;

    for person in [&ann, &bob] {
        person.reload().await;
        person.until_connected().await;
        person.until_texts(&texts).await;
        let source: String = person.ask("return document.documentElement.outerHTML").await;
        assert!(!source.contains("how are you"), "the deleted text is nowhere in the page");
        assert_eq!(person.console_errors().await, [""; 0]);
    }
    let buttons = format!(
        "{}.dispatchEvent(new PointerEvent('pointerover', {{ bubbles: true }})); \
         return [...document.querySelectorAll('.actions button')].map((button) => button.textContent)",
        row("a second")
    );
    assert_eq!(bob.ask::<Vec<String>>(&buttons).await, ["👍", "❤️", "😂", "Reply"], "the message of another person");
}

#[tokio::test]
async fn messages_are_amended_by_keyboard() {
    let site = Site::start(1).await;
    let ann = site.person("ann").await;
    for text in ["one", "two", "three"] {
        ann.say(text).await;
    }
    ann.until_texts(&["one", "two", "three"]).await;
    ann.page.execute("document.getElementById('log').focus()", Vec::new()).await.unwrap();
    ann.press(&Key::Tab.to_string()).await;
    ann.until("the last message", &format!("document.activeElement === {}", row("three"))).await;
    ann.press(&Key::Up.to_string()).await;
    ann.until("the one above", &format!("document.activeElement === {}", row("two"))).await;
    assert_eq!(ann.ask::<serde_json::Value>(script::FOCUS).await["visible"], true);

    ann.press(&Key::Tab.to_string()).await;
    ann.until("its first button", "document.activeElement.ariaLabel === 'React with 👍'").await;
    ann.press(&Key::Enter.to_string()).await;
    until_row(&ann, "the reaction", "two", "row.querySelector('.under button').ariaPressed === 'true'").await;
    ann.until("the focus where it was", "document.activeElement.ariaLabel === 'React with 👍'").await;
    ann.press(&Key::Escape.to_string()).await;
    ann.until("back in the row", &format!("document.activeElement === {}", row("two"))).await;
    ann.press(&Key::Escape.to_string()).await;
    ann.until("back in the field", "document.activeElement.id === 'text'").await;
}

#[tokio::test]
async fn a_draft_is_kept_while_a_message_is_edited() {
    let site = Site::start(1).await;
    let ann = site.person("ann").await;
    ann.say("a mesage").await;
    ann.until_texts(&["a mesage"]).await;
    ann.write("half a sentence").await;
    act(&ann, "a mesage", "Edit").await;
    ann.press(&Key::Escape.to_string()).await;
    ann.until("the draft", "document.getElementById('text').value === 'half a sentence'").await;
    act(&ann, "a mesage", "Edit").await;
    ann.press(&format!("{}a{}a message{}", Key::Control, Key::Null, Key::Enter)).await;
    ann.until_texts(&["a message"]).await;
    ann.until("the draft again", "document.getElementById('text').value === 'half a sentence'").await;
}

#[tokio::test]
async fn amendments_without_a_connection_are_shown_at_once_and_delivered_later() {
    let mut site = Site::start(2).await;
    let (ann, bob) = site.ann_and_bob().await;
    ann.say("first").await;
    ann.say("second").await;
    bob.until_texts(&["first", "second"]).await;
    site.kill_all();
    ann.until("not connected", "document.querySelector('#connection:not([data-state=connected])')").await;
    act(&ann, "second", "React with 😂").await;
    until_row(&ann, "the reaction", "second", "row.querySelector('.under button').textContent === '😂 1'").await;
    act(&ann, "first", "Edit").await;
    ann.write(&format!(", edited{}", Key::Enter)).await;
    ann.until("marked as waiting", &format!("{}.classList.contains('pending')", row("first, edited"))).await;
    for name in site.names() {
        site.start_again(&name).await;
    }
    bob.until_texts(&["first, edited", "second"]).await;
    until_row(&bob, "the reaction", "second", "row.querySelector('.under button').textContent === '😂 1'").await;
    ann.until("nothing is waiting", "!document.querySelector('#messages .pending')").await;
}

#[tokio::test]
async fn what_was_read_on_one_device_is_read_on_the_other() {
    let site = Site::start(2).await;
    let (ann, bob) = site.ann_and_bob().await;
    let cookie = ann.page.get_named_cookie("jsessionid").await.unwrap();
    let other = site.visitor().await;
    other.page.add_cookie(cookie).await.unwrap();
    other.go("/").await;
    other.until_connected().await;
    rooms::open(&ann, "kitchen").await;
    rooms::open(&other, "kitchen").await;
    rooms::follow(&ann, "lobby").await;
    rooms::follow(&other, "lobby").await;
    rooms::open(&bob, "kitchen").await;
    bob.say("soup is ready").await;
    for device in [&ann, &other] {
        rooms::sees(device, "(1) lobby · Trunkline", "kitchen", "1").await;
    }
    rooms::follow(&ann, "kitchen").await;
    rooms::sees(&other, "lobby · Trunkline", "kitchen", "").await;
    // Reactions are no news.
    act(&bob, "soup", "React with 👍").await;
    until_row(&ann, "the reaction", "soup", "row.querySelector('.under button').textContent === '👍 1'").await;
    rooms::sees(&other, "lobby · Trunkline", "kitchen", "").await;
}
