//! A browser opens a page. Not run by default; `cargo xtask test` and `cargo test --test browser` run it.

use std::time::Duration;

use trunkline_testbed::{ChromeDriver, http_post};

/// Sends one WebDriver command.
fn post(driver: &ChromeDriver, path: &str, body: &str) -> String {
    http_post(driver.port(), path, body, Duration::from_secs(60)).expect("the driver answers").body
}

#[test]
fn browser_opens_a_page_and_runs_a_script() {
    let driver = ChromeDriver::start().expect("a browser");
    let capabilities = driver.capabilities();
    let session = post(&driver, "/session", &format!(r#"{{"capabilities":{{"alwaysMatch":{capabilities}}}}}"#));
    let id = session.split(r#""sessionId":""#).nth(1).and_then(|rest| rest.split('"').next());
    let id = id.unwrap_or_else(|| panic!("no session: {session}"));
    post(&driver, &format!("/session/{id}/url"), r#"{"url":"data:text/html,<title>hello</title>"}"#);
    let script = r#"{"script":"return document.title + (6 * 7)","args":[]}"#;
    let answer = post(&driver, &format!("/session/{id}/execute/sync"), script);
    assert!(answer.contains(r#""value":"hello42""#), "{answer}");
    // The session stays open. Dropping the driver ends the browser too.
}
