//! Facilities of the browser that are absent, throw, never answer, are full or hold corrupt data: the chat works without them.
//!
//! Each fault is a script that runs in the page before the page's own.

use serde_json::json;

use crate::{person::Person, site::Site};

/// A fault, and the words that the page says about it; empty where nothing is lost.
const FAULTS: &[(&str, &str, &str)] = &[
    ("indexedDB.open never answers", "indexedDB.open = () => ({});", "kept in its simple storage"),
    ("indexedDB.open throws", "indexedDB.open = () => { throw new Error('no'); };", "kept in its simple storage"),
    (
        "indexedDB is absent",
        "Object.defineProperty(globalThis, 'indexedDB', { value: undefined });",
        "kept in its simple storage",
    ),
    (
        "a write to the database never ends",
        "IDBObjectStore.prototype.put = function () { return {}; }; \
         const begin = IDBDatabase.prototype.transaction; \
         IDBDatabase.prototype.transaction = function (...all) { \
           const made = begin.apply(this, all); \
           if (all[1] === 'readwrite') Object.defineProperty(made, 'oncomplete', { set() {} }); \
           return made; };",
        "kept in its simple storage",
    ),
    ("locks never answer", "LockManager.prototype.request = () => new Promise(() => {});", ""),
    ("locks are absent", "Object.defineProperty(navigator, 'locks', { value: undefined });", ""),
    (
        "localStorage.setItem throws",
        "const put = Storage.prototype.setItem; \
         Storage.prototype.setItem = function (...all) { if (this === localStorage) throw new Error('full'); put.apply(this, all); };",
        "The list of open rooms is not kept.",
    ),
    (
        "all storage throws when it is touched",
        "for (const name of ['localStorage', 'sessionStorage', 'indexedDB']) \
           Object.defineProperty(globalThis, name, { get() { throw new Error('forbidden'); } });",
        "This browser stores nothing",
    ),
    (
        "storage holds garbage",
        "localStorage.setItem('trunkline:rooms:eve', '{[');  localStorage.setItem('trunkline:unsent:x', '7'); \
         localStorage.setItem('trunkline:written', 'NaN'); sessionStorage.setItem('trunkline:carried', '[]');",
        "",
    ),
    (
        "notifications throw",
        "globalThis.Notification = class { static permission = 'default'; constructor() { throw new TypeError('Illegal constructor'); } };",
        "",
    ),
    (
        "small facilities are absent",
        "for (const name of ['Notification', 'ResizeObserver', 'matchMedia', 'BroadcastChannel']) delete globalThis[name]; \
         delete CSS.supports; delete AbortSignal.timeout; delete Crypto.prototype.randomUUID; \
         document.hasFocus = () => { throw new Error('no'); }; history.pushState = () => { throw new Error('too often'); };",
        "",
    ),
    ("random bits are absent", "Crypto.prototype.getRandomValues = () => { throw new Error('no'); };", ""),
];

/// Runs a script at the beginning of each page from now on.
pub(crate) async fn before_each_page(person: &Person, script: &str) {
    person.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script })).await;
}

/// A visitor whose pages begin with this script, logged in.
pub(crate) async fn person_with(site: &Site, name: &str, script: &str) -> Person {
    let person = site.visitor().await;
    before_each_page(&person, script).await;
    person.log_in(name).await;
    person
}

#[tokio::test]
async fn chat_works_without_any_single_facility() {
    let site = Site::start(1).await;
    let mut said: Vec<String> = Vec::new();
    for (index, (fault, script, words)) in FAULTS.iter().enumerate() {
        let eve = person_with(&site, &format!("eve{index}"), script).await;
        let text = format!("{fault}, and I can write");
        eve.say(&text).await;
        said.push(text);
        eve.until_sees(&format!("the message is delivered although {fault}"), async |me| {
            me.texts().await == said && me.unsent().await.is_empty()
        })
        .await;
        if words.is_empty() {
            assert_eq!(eve.text("#limits").await, "", "{fault}");
        } else {
            eve.until(
                &format!("{words:?}, because {fault}"),
                &format!("document.getElementById('limits').textContent.includes({words:?})"),
            )
            .await;
        }
        if *fault == "all storage throws when it is touched" {
            eve.resize(360, 740).await;
            eve.picture("limits-narrow").await;
            eve.resize(1280, 800).await;
            eve.picture("limits").await;
        }
        eve.find("#room-name").await.send_keys("kitchen\u{e007}").await.unwrap();
        eve.until("another room", "document.querySelector('h1').textContent === 'kitchen'").await;
        assert_eq!(eve.console_errors().await, [""; 0], "{fault}");
        eve.click("header form button").await;
        eve.until("the login page", "document.getElementById('name')").await;
        eve.page.clone().close().await.unwrap();
    }
}

#[tokio::test]
async fn messages_survive_a_reload_after_the_browser_closed_the_database() {
    let capture = "const open = IDBFactory.prototype.open; window.databases = []; \
                   IDBFactory.prototype.open = function (...all) { const request = open.apply(this, all); \
                   request.addEventListener('success', () => databases.push(request.result)); return request; };";
    let mut site = Site::start(1).await;
    let ann = person_with(&site, "ann", capture).await;
    ann.say("before").await;
    ann.until_texts(&["before"]).await;
    site.kill_all();
    ann.until("not connected", "document.querySelector('#connection:not([data-state=connected])')").await;
    ann.page.execute("for (const database of databases) database.close();", Vec::new()).await.unwrap();
    ann.say("written after that").await;
    ann.until_sees("it waits", async |ann| ann.unsent().await == ["written after that"]).await;
    // Time for the store, which the page does not show.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    ann.reload().await;
    ann.until("no server answers", "!document.getElementById('messages')").await;
    for name in site.names() {
        site.start_again(&name).await;
    }
    ann.go("/").await;
    ann.until_texts(&["before", "written after that"]).await;
}

#[tokio::test]
async fn text_typed_before_the_script_started_is_kept() {
    let site = Site::start(1).await;
    let types = "new MutationObserver((_, observer) => { const text = document.getElementById('text'); \
                 if (text) { text.value = 'typed early'; observer.disconnect(); } }).observe(document, { childList: true, subtree: true });";
    let ann = person_with(&site, "ann", types).await;
    ann.until("the text is there", "document.getElementById('text').value === 'typed early'").await;
    ann.press("\u{e007}").await;
    ann.until_texts(&["typed early"]).await;
}

#[tokio::test]
async fn draft_is_found_in_a_new_tab_and_gone_when_it_was_sent_there() {
    let site = Site::start(1).await;
    let ann = site.person("ann").await;
    ann.write("half a sent").await;
    // Each page rotates the session's key; the login stays the same.
    for _ in 0..3 {
        ann.reload().await;
        ann.until_connected().await;
        ann.until("the draft", "document.getElementById('text').value === 'half a sent'").await;
    }
    let here = ann.page.window().await.unwrap();
    let tab = ann.page.new_window(true).await.unwrap();
    ann.page.switch_to_window(tab.handle).await.unwrap();
    ann.go("/").await;
    ann.until_connected().await;
    ann.until("the draft", "document.getElementById('text').value === 'half a sent'").await;
    ann.say("ence").await;
    ann.until_texts(&["half a sentence"]).await;
    ann.reload().await;
    ann.until_connected().await;
    ann.until("no draft", "document.getElementById('text').value === ''").await;
    ann.page.switch_to_window(here).await.unwrap();
    ann.until("this tab keeps its own", "document.getElementById('text').value === 'half a sent'").await;
}

/// Sockets whose `send` commands are lost.
const NOTHING_IS_SENT: &str = "const send = WebSocket.prototype.send; \
    WebSocket.prototype.send = function (text) { if (!text.includes('\"send\"')) send.call(this, text); };";

#[tokio::test]
async fn another_person_under_the_same_name_gets_neither_unsent_messages_nor_drafts() {
    let site = Site::start(1).await;
    let ann = person_with(&site, "ann", NOTHING_IS_SENT).await;
    ann.say("a secret").await;
    ann.until_sees("it waits", async |ann| ann.unsent().await == ["a secret"]).await;
    ann.write("a draft").await;
    let leave = "header form button";
    ann.until_sees("what a logout discards", async |ann| ann.text(leave).await == "Log out, discard 1 unsent message")
        .await;
    ann.picture("logout-unsent").await;
    ann.click(leave).await;
    ann.log_in("ann").await;
    nothing_is_left(&ann).await;

    // The same where the session ends without this page: the login alone keeps them apart.
    ann.say("another secret").await;
    ann.write("another draft").await;
    ann.page.execute("return fetch('/logout', { method: 'POST' }).then(() => true)", Vec::new()).await.unwrap();
    ann.until("the session has ended", "document.querySelector('#connection[data-state=ended]')").await;
    ann.go("/").await;
    ann.log_in("ann").await;
    nothing_is_left(&ann).await;
    assert_eq!(ann.text(leave).await, "Log out");
}

async fn nothing_is_left(person: &Person) {
    // Longer than every time limit of the page's stores.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(person.unsent().await, [""; 0]);
    assert_eq!(person.texts().await, [""; 0]);
    let draft: String = person.ask("return document.getElementById('text').value").await;
    assert_eq!(draft, "");
    let stored: Vec<String> =
        person.ask("return [...Object.values(localStorage), ...Object.values(sessionStorage)]").await;
    assert!(stored.iter().all(|value| !value.contains("secret") && !value.contains("draft")), "{stored:?}");
}

#[tokio::test]
async fn unsent_messages_of_an_ended_session_are_carried_over_by_the_reader_and_not_sent_by_themselves() {
    let site = Site::start(1).await;
    let until_repaired = format!("if (!sessionStorage.getItem('repaired')) {{ {NOTHING_IS_SENT} }}");
    let ann = person_with(&site, "ann", &until_repaired).await;
    ann.say("important").await;
    ann.until_sees("it waits", async |ann| ann.unsent().await == ["important"]).await;
    ann.page.execute("return fetch('/logout', { method: 'POST' }).then(() => true)", Vec::new()).await.unwrap();
    ann.until("the session has ended", "document.querySelector('#connection[data-state=ended]')").await;
    ann.page.execute("sessionStorage.setItem('repaired', '1')", Vec::new()).await.unwrap();
    ann.click("#banner a").await;
    ann.log_in("ann").await;
    ann.until_sees("it is there", async |ann| ann.unsent().await == ["important"]).await;
    ann.until("it asks", "document.querySelectorAll('#unsent button').length === 2").await;
    ann.picture("carried-over").await;
    assert_eq!(ann.texts().await, [""; 0]);
    ann.click("#unsent button").await;
    ann.until_texts(&["important"]).await;
}
