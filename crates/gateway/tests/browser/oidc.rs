//! Login and logout with an OpenID provider.

use crate::{axe, person::Person, provider::OidcProvider, site::Site};

/// Two instances and their provider.
async fn site() -> (Site, OidcProvider) {
    let mut provider = None;
    let site = Site::start_with(2, |port| provider.insert(OidcProvider::start(port)).flags()).await;
    (site, provider.unwrap())
}

/// Fills in the provider's login page.
async fn enter_name(person: &Person, name: &str) {
    person.until("the provider's login page", "document.querySelector('input[name=password]')").await;
    person.find("input[name=login]").await.send_keys(name).await.unwrap();
    person.find("input[name=password]").await.send_keys("any\u{e007}").await.unwrap();
}

/// Agrees that the provider gives the name to the site.
async fn consent(person: &Person) {
    person.until("the provider's consent page", "document.querySelector('form input[value=consent]')").await;
    person.click("button[type=submit]").await;
}

#[tokio::test]
async fn login_begun_at_one_instance_ends_at_another_and_shows_the_display_name() {
    let (site, _provider) = site().await;
    let ann = site.visitor().await;
    site.send_all_to("gw-1").await;
    ann.go("/rooms/kitchen").await;
    assert_eq!(ann.text("a.button").await, "Continue with Example");
    ann.until("no field for a name", "!document.getElementById('name')").await;
    axe::assert_no_violations(&ann, "login with a provider").await;
    ann.picture("login-provider").await;
    ann.click("a.button").await;
    enter_name(&ann, "ann").await;
    ann.until("the provider's consent page", "document.querySelector('form input[value=consent]')").await;
    site.send_all_to("gw-2").await;
    consent(&ann).await;
    ann.until_connected().await;
    assert_eq!(ann.instance().await, "gw-2");
    assert_eq!(ann.text("#room").await, "kitchen");
    assert_eq!(ann.text("#user").await, "Ann Example");
    ann.until("the address is that of the room", "location.pathname + location.search === '/rooms/kitchen'").await;
    ann.until("the id is the provider's", "document.body.dataset.user === '127.0.0.1|ann'").await;

    // Other users see the name, too.
    let bob = site.visitor().await;
    bob.go("/rooms/kitchen").await;
    bob.click("a.button").await;
    enter_name(&bob, "bob").await;
    consent(&bob).await;
    bob.until_connected().await;
    assert_eq!(bob.text("#user").await, "bob");
    ann.say("hello").await;
    bob.until_texts(&["hello"]).await;
    assert!(bob.text("#messages").await.contains("Ann Example"));
    bob.picture("chat-display-name").await;
    assert_eq!(bob.console_errors().await, Vec::<String>::new());
}

#[tokio::test]
async fn logout_ends_the_session_of_the_provider_too() {
    let (site, _provider) = site().await;
    for scripts in [true, false] {
        let ann = site.visitor().await;
        ann.click("a.button").await;
        enter_name(&ann, "ann").await;
        consent(&ann).await;
        ann.until_connected().await;
        if !scripts {
            ann.devtools("Emulation.setScriptExecutionDisabled", &serde_json::json!({ "value": true })).await;
            ann.reload().await;
        }
        ann.click("header form button").await;
        ann.until("the provider asks", "document.querySelector('button[name=logout]')").await;
        ann.click("button[name=logout]").await;
        ann.until("the login page", "document.querySelector('a.button')").await;
        ann.until("back at the site", "location.pathname === '/'").await;
        ann.click("a.button").await;
        ann.until("the provider asks for a login", "document.querySelector('input[name=password]')").await;
    }
}

#[tokio::test]
async fn login_that_is_given_up_leads_back_to_the_login_page() {
    let (site, _provider) = site().await;
    let ann = site.visitor().await;
    ann.go("/rooms/kitchen").await;
    ann.click("a.button").await;
    enter_name(&ann, "ann").await;
    ann.until("the provider's consent page", "document.querySelector('form input[value=consent]')").await;
    ann.click("a[href$='/abort']").await;
    ann.until("the error", "document.querySelector('.error[role=alert]')").await;
    assert_eq!(ann.text(".error").await, "Example did not log you in. Try again, or use another account.");
    axe::assert_no_violations(&ann, "refused by the provider").await;
    ann.picture("login-refused").await;
    ann.click("a.button").await;
    // The provider remembers the login, not the consent.
    consent(&ann).await;
    ann.until_connected().await;
    assert_eq!(ann.text("#room").await, "kitchen");
}

#[tokio::test]
async fn login_finished_in_another_tab_keeps_the_first_one() {
    let (site, _provider) = site().await;
    let ann = site.visitor().await;
    let first = ann.page.window().await.unwrap();
    ann.click("a.button").await;
    ann.until("the provider's login page", "document.querySelector('input[name=password]')").await;
    let second = ann.page.new_window(true).await.unwrap();
    ann.page.switch_to_window(second.handle).await.unwrap();
    ann.go("/").await;
    ann.click("a.button").await;
    enter_name(&ann, "ann").await;
    consent(&ann).await;
    ann.until_connected().await;
    // The provider knows the consent already. The cookie is that of the other tab's login, which is over.
    ann.page.switch_to_window(first).await.unwrap();
    enter_name(&ann, "ann").await;
    ann.until_connected().await;
    assert_eq!(ann.text("#user").await, "Ann Example");
}
