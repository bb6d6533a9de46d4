//! Login and logout.

use crate::site::Site;

#[tokio::test]
async fn logout_in_another_tab_ends_this_one_and_keeps_what_was_being_written() {
    let site = Site::start(2).await;
    let ann = site.person("ann").await;
    ann.write("half a sent").await;
    let here = ann.page.window().await.unwrap();
    let tab = ann.page.new_window(true).await.unwrap();

    ann.page.switch_to_window(tab.handle).await.unwrap();
    ann.go("/").await;
    ann.until_connected().await;
    ann.click("header form button").await;
    ann.until("the login page", "document.getElementById('name')").await;

    ann.page.switch_to_window(here).await.unwrap();
    ann.until("the session has ended", "document.querySelector('#connection[data-state=ended]')").await;
    assert_eq!(ann.text("#connection").await, "Session ended");
    assert!(ann.text("#banner").await.starts_with("Your session has ended. What you were writing is kept."));
    ann.write("ence").await;
    ann.picture("ended").await;

    ann.click("#banner a").await;
    ann.log_in("ann").await;
    ann.until("the text is there", "document.getElementById('text').value === 'half a sentence'").await;
    ann.press("\u{e007}").await;
    ann.until_texts(&["half a sentence"]).await;
}

#[tokio::test]
async fn a_taken_name_is_reported_beside_the_field() {
    let site = Site::start(1).await;
    let (_ann, visitor) = tokio::join!(site.person("ann"), site.visitor());
    visitor.picture("login").await;
    visitor.press("Ann\u{e007}").await;
    visitor.until("the error", "document.querySelector('#name[aria-invalid=true]')").await;
    assert_eq!(
        visitor.text("#name-error").await,
        "Another user with this name, or one that looks like it, is logged in. Choose another name, or log out in the other browser first."
    );
    visitor.until("the name as it was typed", "document.getElementById('name').value === 'Ann'").await;
    let (field, error) = (visitor.find("#name").await, visitor.find("#name-error").await);
    let (field, error) = (field.rectangle().await.unwrap(), error.rectangle().await.unwrap());
    assert!(error.1 - (field.1 + field.3) < 30.0 && (error.0 - field.0).abs() < 5.0, "{field:?} {error:?}");
    visitor.picture("login-taken").await;

    visitor.press("\u{e009}a\u{e000}").await; // Ctrl+A
    visitor.log_in("bob").await;
}

#[tokio::test]
async fn login_and_logout_work_without_javascript() {
    let site = Site::start(1).await;
    let visitor = site.visitor().await;
    visitor.devtools("Emulation.setScriptExecutionDisabled", &serde_json::json!({ "value": true })).await;
    visitor.go("/rooms/kitchen").await;
    visitor.press("ann\u{e007}").await;
    visitor.until("the chat page", "document.querySelector('h1').textContent === 'kitchen'").await;
    assert_eq!(visitor.text("noscript").await, "The chat needs JavaScript.");
    assert_eq!(visitor.text("#user").await, "ann");
    visitor.picture("no-script").await;
    visitor.click("header form button").await;
    visitor.until("the login page", "document.getElementById('name')").await;
}
