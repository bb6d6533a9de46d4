//! Somebody with a browser.

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

use crate::{GLANCE, PATIENCE, script};

/// A browser of one's own, and who sits before it.
pub(crate) struct Person {
    /// For what is not wrapped here.
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
    /// Whether it is told apart as the reader's own.
    pub(crate) own: bool,
    /// Its text.
    pub(crate) text: String,
}

/// One state of the connection, as the page showed it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Watched {
    /// Milliseconds since the Unix epoch.
    pub(crate) at: u64,
    /// As `data-state` has it.
    pub(crate) state: Option<String>,
    /// In words.
    pub(crate) text: String,
}

/// The same clock as [`Watched::at`].
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

    // ---------------------------------------------------------------- going places

    /// A path of the site, by the address bar.
    pub(crate) async fn go(&self, path: &str) {
        self.page.goto(&format!("http://127.0.0.1:{}{path}", self.site)).await.unwrap();
    }

    pub(crate) async fn reload(&self) {
        self.page.refresh().await.unwrap();
    }

    /// Types the name where the cursor is, and waits for the chat.
    pub(crate) async fn log_in(&self, name: &str) {
        self.until("the login page has focus in the name", "document.activeElement?.id === 'name'").await;
        self.press(&format!("{name}{}", Key::Enter)).await;
        self.until_connected().await;
    }

    pub(crate) async fn until_connected(&self) {
        self.until("connected", "document.querySelector('#connection[data-state=connected]')").await;
        self.until("the conversation is there", "document.getElementById('messages').textContent !== ''").await;
    }

    // ---------------------------------------------------------------- doing things

    /// Writes into the composer and sends.
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
        self.find(selector).await.click().await.unwrap();
    }

    /// A tap or click at a place of the page.
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

    // ---------------------------------------------------------------- seeing things

    /// What one can read there.
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

    /// The texts alone.
    pub(crate) async fn texts(&self) -> Vec<String> {
        self.messages().await.into_iter().map(|message| message.text).collect()
    }

    /// Own messages on their way.
    pub(crate) async fn unsent(&self) -> Vec<String> {
        self.ask(script::UNSENT).await
    }

    /// Waits until these messages, and no others, are shown, and nothing is on its way.
    pub(crate) async fn until_texts(&self, texts: &[&str]) {
        self.until_sees("these messages and none on its way", async |me| {
            me.texts().await == texts && me.unsent().await.is_empty()
        })
        .await;
    }

    /// Begins to write down how the connection fares.
    pub(crate) async fn watch(&self) {
        self.page.execute(script::WATCH, Vec::new()).await.unwrap();
    }

    /// What was written down since.
    pub(crate) async fn watched(&self) -> Vec<Watched> {
        self.ask(script::WATCHED).await
    }

    /// Runs a script that returns something.
    pub(crate) async fn ask<T: serde::de::DeserializeOwned>(&self, script: &str) -> T {
        serde_json::from_value(self.page.execute(script, Vec::new()).await.unwrap()).unwrap()
    }

    /// Waits until a JavaScript expression is truthy. A page that is being left counts as "not yet".
    pub(crate) async fn until(&self, what: &str, expression: &str) {
        let script = format!("try {{ return Boolean({expression}); }} catch {{ return false; }}");
        self.until_sees(what, async |me| me.page.execute(&script, Vec::new()).await.is_ok_and(|seen| seen == true))
            .await;
    }

    /// Waits until a condition holds.
    pub(crate) async fn until_sees(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self).await {
            if start.elapsed() > PATIENCE {
                self.give_up(what).await;
            }
            sleep(GLANCE).await;
        }
    }

    /// Fails, leaving a picture of what is seen instead.
    async fn give_up(&self, what: &str) -> ! {
        self.picture("failed").await;
        let seen = self.page.execute("return document.body.innerText", Vec::new()).await;
        let complaints = self.complaints().await;
        panic!(
            "not seen: {what}\n--- but (target/screenshots/failed.png):\n{}\n--- {complaints:#?}",
            seen.unwrap_or_default()
        );
    }

    /// Errors in the browser's console: scripts that failed, what the content security policy refused. Not what the
    /// network did not deliver: that is for the page to deal with.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let Value::Array(lines) = self.driver_command("se/log", &json!({ "type": "browser" })).await else {
            return Vec::new();
        };
        let severe = lines.into_iter().filter(|line| line["level"] == "SEVERE" && line["source"] != "network");
        severe.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    // ---------------------------------------------------------------- the browser itself

    /// A picture in `target/screenshots`.
    pub(crate) async fn picture(&self, name: &str) {
        let folder = pictures();
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), self.page.screenshot().await.unwrap()).unwrap();
    }

    /// A page of this size, in CSS pixels; windows cannot be made as narrow as phones.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.devtools("Emulation.setDeviceMetricsOverride", &size).await;
    }

    /// The system's colours: `light` or `dark`.
    pub(crate) async fn colours(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &features).await;
    }

    /// The language of the browser, from the next page on.
    pub(crate) async fn language(&self, language: &str) {
        self.devtools("Network.enable", &json!({})).await;
        self.devtools("Network.setExtraHTTPHeaders", &json!({ "headers": { "Accept-Language": language } })).await;
        self.devtools("Emulation.setLocaleOverride", &json!({ "locale": language })).await;
    }

    /// One command of the DevTools protocol, by way of the driver.
    pub(crate) async fn devtools(&self, command: &str, params: &Value) {
        self.driver_command("goog/cdp/execute", &json!({ "cmd": command, "params": params })).await;
    }

    /// What the driver knows beyond WebDriver.
    async fn driver_command(&self, path: &str, body: &Value) -> Value {
        let session = self.page.session_id().await.unwrap().unwrap();
        let path = format!("/session/{session}/{path}");
        let answer = http_post(self.driver, &path, &body.to_string(), PATIENCE).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str::<Value>(&answer.body).unwrap()["value"].take()
    }
}

fn pictures() -> PathBuf {
    project_root().join("target/screenshots")
}
