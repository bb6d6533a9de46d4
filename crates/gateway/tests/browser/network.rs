//! Lost networks: reconnects, missed messages and their number, and the notices about them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{hostile::person_with, person::Person, rooms, site::Site};

/// `window.silence()` disconnects the sockets that are open: they send and receive nothing more, and report no close.
const SILENCE: &str = "const sockets = []; const Plain = WebSocket; \
    window.WebSocket = class extends Plain { \
      constructor(...all) { super(...all); sockets.push(this); \
        this.addEventListener('message', (event) => { if (this.silent) event.stopImmediatePropagation(); }); \
        this.addEventListener('close', (event) => { if (this.silent) event.stopImmediatePropagation(); }); } \
      send(text) { if (!this.silent) super.send(text); } \
      close(code) { this.silent = true; super.close(code); } }; \
    window.opened = () => sockets.length; \
    window.silence = () => { for (const socket of sockets) socket.silent = true; };";

/// A browser without focus. Its notifications are recorded in `window.shown`.
const UNFOCUSED: &str = "window.shown = []; \
    window.Notification = class { static permission = 'granted'; static requestPermission = async () => 'granted'; \
      constructor(title, options) { shown.push(`${title}: ${options?.body}`); } close() {} }; \
    document.hasFocus = () => false;";

/// Records all text that is added to a live region, which a screen reader would speak, in `window.spoken`.
const LISTEN: &str = "window.spoken = []; new MutationObserver((changes) => { for (const { target, addedNodes } of changes) { \
    const region = (target.nodeType === 1 ? target : target.parentElement)?.closest('[aria-live], [role=log], [role=status], [role=alert]'); \
    if (!region || region.ariaLive === 'off') continue; \
    for (const node of addedNodes) if (node.textContent) spoken.push(node.textContent); } \
  }).observe(document, { childList: true, characterData: true, subtree: true });";

/// A slow line: each frame comes 700 ms late.
const SLOW: &str = "const Fast = WebSocket; window.WebSocket = class extends Fast { \
    set onmessage(listener) { super.onmessage = (event) => setTimeout(() => listener.call(this, event), 700); } };";

async fn network(person: &Person, offline: bool) {
    let conditions = json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
    person.devtools("Network.enable", &json!({})).await;
    person.devtools("Network.emulateNetworkConditions", &conditions).await;
}

#[tokio::test]
async fn offline_is_shown_at_once_and_a_silent_socket_is_replaced_when_the_network_is_back() {
    let site = Site::start(1).await;
    let bob = site.person("bob").await;
    let ann = person_with(&site, "ann", SILENCE).await;
    ann.page.execute("silence()", Vec::new()).await.unwrap();
    network(&ann, true).await;
    let start = Instant::now();
    ann.until("offline", "document.querySelector('#connection[data-state=offline]')").await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(ann.text("#connection").await, "Offline");
    ann.picture("offline").await;
    ann.say("written offline").await;

    network(&ann, false).await;
    let start = Instant::now();
    bob.until_texts(&["written offline"]).await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    ann.until_texts(&["written offline"]).await;
    ann.until_connected().await;
    println!("sent {:?} after the network came back", start.elapsed());
}

#[tokio::test]
async fn a_socket_that_survived_the_outage_is_kept() {
    let site = Site::start(1).await;
    let ann = person_with(&site, "ann", SILENCE).await;
    for event in ["offline", "online"] {
        ann.page.execute(&format!("dispatchEvent(new Event('{event}'))"), Vec::new()).await.unwrap();
    }
    ann.until_connected().await;
    ann.say("hi").await;
    ann.until_texts(&["hi"]).await;
    assert_eq!(ann.ask::<u32>("return opened()").await, 1);
}

/// Sends many messages by the page itself, faster than keys can be pressed.
async fn flood(person: &Person, texts: &[String]) {
    let script = "const [texts] = arguments; const form = document.getElementById('composer'); \
                  for (const each of texts) { const text = document.getElementById('text'); text.value = each; form.requestSubmit(); }";
    person.page.execute(script, vec![json!(texts)]).await.unwrap();
    person.until_sees("all was sent", async |me| me.unsent().await.is_empty()).await;
}

#[tokio::test]
async fn unread_messages_are_counted_beyond_a_page_and_new_stands_above_the_first() {
    let site = Site::start(1).await;
    let (ann, bob) = tokio::join!(site.person("ann"), site.person("bob"));
    bob.say("the last that ann sees").await;
    ann.until_texts(&["the last that ann sees"]).await;
    ann.page.goto("about:blank").await.unwrap();
    flood(&bob, &(1..=120).map(|number| format!("message {number}")).collect::<Vec<_>>()).await;
    ann.go("/").await;
    ann.until_connected().await;
    ann.until_sees("the true number", async |ann| ann.page.title().await.unwrap() == "(120) lobby · Trunkline").await;
    let first: String = ann.ask("return document.querySelector('.new ~ .message .text').textContent").await;
    assert_eq!(first, "message 1");
    let visible: bool = ann
        .ask("const line = document.querySelector('.new').getBoundingClientRect(); const log = document.getElementById('log').getBoundingClientRect(); return line.top >= log.top - 1 && line.bottom <= log.bottom + 1;")
        .await;
    assert!(visible, "the line is where the reader arrives");
    ann.picture("unread-beyond-a-page").await;
    ann.click("#latest").await;
    ann.until_sees("read", async |ann| ann.page.title().await.unwrap() == "lobby · Trunkline").await;
}

#[tokio::test]
async fn a_burst_of_mentions_is_one_notification_also_in_a_visible_window() {
    let site = Site::start(1).await;
    let (ann, bob) = tokio::join!(person_with(&site, "ann", UNFOCUSED), site.person("bob"));
    bob.say("@ann, are you there?").await;
    let shown = async |person: &Person| -> Vec<String> { person.ask("return shown").await };
    ann.until_sees("a notification", async |ann| !shown(ann).await.is_empty()).await;
    assert_eq!(shown(&ann).await, ["bob in lobby: @ann, are you there?"]);
    bob.say("@ann-marie, and you?").await;
    flood(&bob, &(1..=15).map(|number| format!("@ann {number}")).collect::<Vec<_>>()).await;
    ann.until_sees("the summary of all", async |ann| {
        shown(ann).await.last().is_some_and(|last| last == "16 messages mention you: lobby")
    })
    .await;
    let count = shown(&ann).await.len();
    assert!(count <= 6, "{count} notifications for 16 mentions");
    assert_eq!(ann.console_errors().await, [""; 0]);
}

#[tokio::test]
async fn only_new_messages_are_read_aloud() {
    let site = Site::start(1).await;
    let bob = site.person("bob").await;
    rooms::open(&bob, "kitchen").await;
    flood(&bob, &(1..=40).map(|number| format!("old {number}")).collect::<Vec<_>>()).await;
    let ann = person_with(&site, "ann", &format!("{SLOW}{LISTEN}")).await;
    rooms::open(&ann, "kitchen").await;
    ann.until_sees("the history", async |ann| ann.messages().await.len() == 40).await;
    bob.say("something new").await;
    ann.until("it is read aloud", "spoken.some((text) => text.includes('bob: something new'))").await;
    let spoken: Vec<String> = ann.ask("return spoken").await;
    assert!(spoken.iter().all(|text| !text.contains("old")), "{spoken:?}");
}
