//! A person with a browser.

use std::{
    fs,
    path::PathBuf,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use fantoccini::{
    Client, ClientBuilder, Locator,
    actions::{InputSource, MOUSE_BUTTON_LEFT, MouseActions, PointerAction},
    key::Key,
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;
use trunkline_testbed::{ChromeDriver, http_post, project_root};

use crate::{POLL_INTERVAL, WAIT_TIMEOUT, script};

/// A browser with a profile of its own, used like a person would.
pub(crate) struct Person {
    /// The WebDriver client, for commands that are not wrapped here.
    pub(crate) page: Client,
    driver: u16,
    /// The balancer's port.
    site: u16,
}

/// A delivered message as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Shown {
    /// Its position in the room's log.
    pub(crate) pos: String,
    /// Whether it is marked as the reader's own.
    pub(crate) own: bool,
    /// Its text.
    pub(crate) text: String,
}

/// One state of the connection, as the page showed it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Watched {
    /// Milliseconds since the Unix epoch.
    pub(crate) at: u64,
    /// The value of `data-state`.
    pub(crate) state: Option<String>,
    /// The words in the header.
    pub(crate) text: String,
}

/// Milliseconds since the Unix epoch, as in [`Watched::at`].
pub(crate) fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

impl Person {
    pub(crate) async fn open(driver: &ChromeDriver, site: u16) -> Self {
        let capabilities = serde_json::from_str(&driver.capabilities()).unwrap();
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let page = builder.capabilities(capabilities).connect(&driver.url()).await.expect("a browser opens");
        Self { page, driver: driver.port(), site }
    }

    // ---------------------------------------------------------------- navigation

    /// Loads a path of the site.
    pub(crate) async fn go(&self, path: &str) {
        self.page.goto(&format!("http://127.0.0.1:{}{path}", self.site)).await.unwrap();
    }

    pub(crate) async fn reload(&self) {
        self.page.refresh().await.unwrap();
    }

    /// Types the name into the login page, and waits for the chat.
    pub(crate) async fn log_in(&self, name: &str) {
        self.until("the login page has focus in the name", "document.activeElement?.id === 'name'").await;
        self.press(&format!("{name}{}", Key::Enter)).await;
        self.until_connected().await;
    }

    pub(crate) async fn until_connected(&self) {
        self.until("connected", "document.querySelector('#connection[data-state=connected]')").await;
        self.until("the conversation is there", "document.getElementById('messages').textContent !== ''").await;
    }

    // ---------------------------------------------------------------- actions

    /// Writes into the composer and presses Enter.
    pub(crate) async fn say(&self, text: &str) {
        self.write(&format!("{text}{}", Key::Enter)).await;
    }

    /// Writes into the composer.
    pub(crate) async fn write(&self, text: &str) {
        self.find("#text").await.send_keys(text).await.unwrap();
    }

    /// Presses keys, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        self.page.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    pub(crate) async fn click(&self, selector: &str) {
        self.click_on(Locator::Css(selector)).await;
    }

    /// Clicks an element. Between the search and the click the page may have drawn it again; then it is searched again.
    pub(crate) async fn click_on(&self, element: Locator<'_>) {
        loop {
            let found = match self.page.find(element).await {
                Ok(found) => found,
                Err(e) => self.give_up(&format!("{element:?} is there ({e})")).await,
            };
            match found.click().await {
                Err(e) if e.is_stale_element_reference() => {}
                clicked => return clicked.unwrap(),
            }
        }
    }

    /// Clicks at a point of the page, in CSS pixels.
    pub(crate) async fn tap(&self, x: f64, y: f64) {
        let to = PointerAction::MoveTo { duration: None, x, y };
        let tap = MouseActions::new("pointer".to_owned()).then(to);
        let tap = tap
            .then(PointerAction::Down { button: MOUSE_BUTTON_LEFT })
            .then(PointerAction::Up { button: MOUSE_BUTTON_LEFT });
        self.page.perform_actions(tap).await.unwrap();
    }

    pub(crate) async fn find(&self, selector: &str) -> fantoccini::elements::Element {
        match self.page.find(Locator::Css(selector)).await {
            Ok(found) => found,
            Err(e) => self.give_up(&format!("{selector} is there ({e})")).await,
        }
    }

    // ---------------------------------------------------------------- observations

    /// The visible text of an element.
    pub(crate) async fn text(&self, selector: &str) -> String {
        self.find(selector).await.text().await.unwrap()
    }

    /// The instance that serves this page's socket.
    pub(crate) async fn instance(&self) -> String {
        let state = self.text("#connection").await;
        state.rsplit(' ').next().unwrap_or_default().to_owned()
    }

    pub(crate) async fn messages(&self) -> Vec<Shown> {
        self.ask(script::MESSAGES).await
    }

    /// The texts of the delivered messages.
    pub(crate) async fn texts(&self) -> Vec<String> {
        self.messages().await.into_iter().map(|message| message.text).collect()
    }

    /// Texts of own messages that are not delivered.
    pub(crate) async fn unsent(&self) -> Vec<String> {
        self.ask(script::UNSENT).await
    }

    /// Waits until exactly these messages are shown, and none is undelivered.
    pub(crate) async fn until_texts(&self, texts: &[&str]) {
        self.until_sees("these messages and none on its way", async |me| {
            me.texts().await == texts && me.unsent().await.is_empty()
        })
        .await;
    }

    /// Begins to record the states of the connection.
    pub(crate) async fn watch(&self) {
        self.page.execute(script::WATCH, Vec::new()).await.unwrap();
    }

    /// The states since [`Self::watch`].
    pub(crate) async fn watched(&self) -> Vec<Watched> {
        self.ask(script::WATCHED).await
    }

    /// Runs a script and returns its result.
    pub(crate) async fn ask<T: serde::de::DeserializeOwned>(&self, script: &str) -> T {
        serde_json::from_value(self.page.execute(script, Vec::new()).await.unwrap()).unwrap()
    }

    /// Waits until a JavaScript expression is truthy. While a page is unloaded, it counts as false.
    pub(crate) async fn until(&self, what: &str, expression: &str) {
        let script = format!("try {{ return Boolean({expression}); }} catch {{ return false; }}");
        self.until_sees(what, async |me| me.page.execute(&script, Vec::new()).await.is_ok_and(|seen| seen == true))
            .await;
    }

    /// Waits until a condition holds.
    pub(crate) async fn until_sees(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self).await {
            if start.elapsed() > WAIT_TIMEOUT {
                self.give_up(what).await;
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Fails, with a screenshot and the text of the page.
    async fn give_up(&self, what: &str) -> ! {
        self.picture("failed").await;
        let seen = self.page.execute("return document.body.innerText", Vec::new()).await;
        let console_errors = self.console_errors().await;
        panic!(
            "not seen: {what}\n--- but (target/screenshots/failed.png):\n{}\n--- {console_errors:#?}",
            seen.unwrap_or_default()
        );
    }

    /// Errors in the browser's console: scripts that failed, and what the content security policy refused. Errors of the
    /// network are left out: the page handles them.
    pub(crate) async fn console_errors(&self) -> Vec<String> {
        let Value::Array(lines) = self.driver_command("se/log", &json!({ "type": "browser" })).await else {
            return Vec::new();
        };
        let severe = lines.into_iter().filter(|line| line["level"] == "SEVERE" && line["source"] != "network");
        severe.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    // ---------------------------------------------------------------- the browser

    /// Writes a screenshot to `target/screenshots`.
    pub(crate) async fn picture(&self, name: &str) {
        let folder = pictures();
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), self.page.screenshot().await.unwrap()).unwrap();
    }

    /// Emulates a page of this size, in CSS pixels; a window cannot be as narrow as a phone.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", &size).await;
    }

    /// Emulates a colour scheme of the system: `light` or `dark`.
    pub(crate) async fn colours(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &features).await;
    }

    /// Emulates a language of the browser, from the next page on.
    pub(crate) async fn language(&self, language: &str) {
        self.devtools("Network.enable", &json!({})).await;
        self.devtools("Network.setExtraHTTPHeaders", &json!({ "headers": { "Accept-Language": language } })).await;
        self.devtools("Emulation.setLocaleOverride", &json!({ "locale": language })).await;
    }

    /// Sends a command of the DevTools protocol through the driver.
    pub(crate) async fn devtools(&self, command: &str, params: &Value) {
        self.driver_command("goog/cdp/execute", &json!({ "cmd": command, "params": params })).await;
    }

    /// Sends a command of the driver that is not part of WebDriver.
    async fn driver_command(&self, path: &str, body: &Value) -> Value {
        let session = self.page.session_id().await.unwrap().unwrap();
        let path = format!("/session/{session}/{path}");
        let answer = http_post(self.driver, &path, &body.to_string(), WAIT_TIMEOUT).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str::<Value>(&answer.body).unwrap()["value"].take()
    }
}

fn pictures() -> PathBuf {
    project_root().join("target/screenshots")
}
