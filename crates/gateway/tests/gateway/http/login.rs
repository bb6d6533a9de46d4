//! `POST /login`, `POST /logout`, `GET /session`, and their effects on the cookie.

use std::num::NonZeroU32;

use actix_web::http::StatusCode;
use trunkline_gateway::{Config, Limits};
use trunkline_session::{CookieSettings, Sessions};

use super::{
    browser::{Browser, site},
    in_memory, over_both_stores,
};

over_both_stores![
    form_logs_in_and_out,
    json_logs_in_and_out,
    names_in_use_and_lookalikes_are_refused,
    repeated_login_form_replaces_its_first_session,
    login_under_another_name_ends_the_old_session,
    login_under_the_same_name_gets_a_new_key,
    session_probe_keeps_the_session_key,
    page_loads_rotate_the_session_key,
    tabs_that_load_at_once_all_stay_logged_in,
];

async fn form_logs_in_and_out(sessions: impl Sessions) {
    let site = site(sessions, Config { instance: "gw-2".into(), ..Config::default() }).await;
    let mut ann = Browser::default();
    assert!(ann.get("/").send(&site).await.is_login_page());
    assert_eq!(ann.cookie, None, "no session without login");

    let answer = ann.submit("/login", "name=ann").send(&site).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
    let [cookie] = &answer.cookies()[..] else { panic!("{answer:?}") };
    assert!(cookie.starts_with("jsessionid="), "{cookie}");
    let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=28800"] {
        assert!(attributes.contains(&attribute), "{attribute}: {cookie}");
    }
    assert_eq!(attributes.len(), 4, "no Domain, no Secure over http: {cookie}");

    let page = ann.get("/").send(&site).await;
    assert!(page.is_chat_of("ann"));
    assert!(page.body.contains("data-room=\"lobby\"") && page.body.contains("data-instance=\"gw-2\""));

    let answer = ann.submit("/logout", "").send(&site).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
    assert_eq!(ann.cookie, None, "{answer:?}");
    assert!(ann.get("/").send(&site).await.is_login_page());
    assert_eq!(ann.submit("/logout", "").send(&site).await.status, StatusCode::SEE_OTHER, "fine without a session");
}

async fn json_logs_in_and_out(sessions: impl Sessions) {
    let site = site(sessions, Config::default()).await;
    let mut bob = Browser::default();
    let answer = bob.post_json("/login", r#"{"name":"bob"}"#).send(&site).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, r#"{"user":"bob"}"#));
    let kept = bob.clone();
    let answer = bob.post_json("/logout", "").send(&site).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::NO_CONTENT, ""));
    // The cookie that the browser deleted is no longer valid.
    let answer = kept.clone().fetch("/session").send(&site).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNAUTHORIZED, "not_logged_in"));

    // A form answered as JSON on request, another spelling of the media type, and a name with surrounding space.
    let answer = bob.submit("/login", "name=%20bob%20").header("accept", "application/json").send(&site).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, r#"{"user":"bob"}"#));
    let mut cai = Browser::default();
    let answer = cai
        .post_json("/login", r#"{"name":"蔡","next":"/rooms/x","more":1}"#)
        .header("content-type", "Application/JSON; charset=utf-8")
        .send(&site)
        .await;
    assert_eq!(answer.json()["user"], "蔡");
}

async fn names_in_use_and_lookalikes_are_refused(sessions: impl Sessions) {
    let site = site(sessions, Config::default()).await;
    Browser::default().log_in(&site, "paul").await;
    for name in ["paul", "PAUL", "раul"] {
        let json = format!(r#"{{"name":"{name}"}}"#);
        let answer = Browser::default().post_json("/login", &json).send(&site).await;
        // Letters of two scripts are refused by the rules for names.
        let expected = if name == "раul" { (400, "bad_name") } else { (409, "name_taken") };
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), expected, "{name}");
    }
    let answer = Browser::default().submit("/login", "name=paul&next=%2Frooms%2Fx").send(&site).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.is_login_page());
    for part in ["value=\"paul\"", "aria-invalid=\"true\"", "id=\"name-error\"", "value=\"/rooms/x\"", "is logged in."]
    {
        assert!(answer.body.contains(part), "{part}: {}", answer.body);
    }
}

async fn repeated_login_form_replaces_its_first_session(sessions: impl Sessions) {
    let site = site(sessions, Config::default()).await;
    let page = Browser::default().get("/").send(&site).await.body;
    let attempt = page.split("name=\"attempt\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let form = format!("name=ann&attempt={attempt}");
    // The browser cancels the first request and drops its answer with the cookie.
    let mut given_up = Browser::default();
    assert_eq!(given_up.submit("/login", &form).send(&site).await.status, StatusCode::SEE_OTHER);
    let mut ann = Browser::default();
    assert_eq!(ann.submit("/login", &form).send(&site).await.status, StatusCode::SEE_OTHER);
    assert!(ann.get("/").send(&site).await.is_chat_of("ann"));
    assert!(given_up.get("/").send(&site).await.is_login_page(), "one session holds the name");

    // A login with another attempt does not get the name.
    let another: String = attempt.chars().rev().collect();
    for theirs in ["", &another, &attempt[1..]] {
        let answer = Browser::default().submit("/login", &format!("name=ann&attempt={theirs}")).send(&site).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{theirs}");
        assert!(!answer.body.contains(&attempt), "every page has its own");
    }
    assert!(ann.get("/").send(&site).await.is_chat_of("ann"));
}

async fn login_under_another_name_ends_the_old_session(sessions: impl Sessions) {
    let mut endings = sessions.events();
    let site = site(sessions, Config::default()).await;
    let mut browser = Browser::default();
    browser.log_in(&site, "ann").await;
    let before = browser.clone();
    browser.log_in(&site, "bob").await;
    assert!(browser.get("/").send(&site).await.is_chat_of("bob"));
    assert!(before.clone().get("/").send(&site).await.is_login_page(), "the old session is gone");
    assert!(endings.next().await.is_some(), "the end of the session is published to every instance");
    Browser::default().log_in(&site, "ann").await;
}

async fn login_under_the_same_name_gets_a_new_key(sessions: impl Sessions) {
    let site = site(sessions, Config::default()).await;
    let mut ann = Browser::default();
    ann.log_in(&site, "ann").await;
    let before = ann.clone();
    ann.log_in(&site, "ann").await;
    assert_ne!(ann.cookie, before.cookie);
    assert!(before.clone().get("/").send(&site).await.is_login_page(), "the old key is void");
    assert!(ann.get("/").send(&site).await.is_chat_of("ann"));
}

async fn session_probe_keeps_the_session_key(sessions: impl Sessions) {
    let site = site(sessions, Config { instance: "gw-3".into(), ..Config::default() }).await;
    let mut ann = Browser::default();
    assert_eq!(ann.fetch("/session").send(&site).await.code(), "not_logged_in");
    ann.log_in(&site, "ann").await;
    let before = ann.cookie.clone();
    let answer = ann.fetch("/session").send(&site).await;
    let json = answer.json();
    assert_eq!((json["user"].as_str(), json["instance"].as_str()), (Some("ann"), Some("gw-3")));
    let left = json["expires_in"].as_u64().unwrap();
    assert!((28_790..=28_800).contains(&left), "{left}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let [cookie] = &answer.cookies()[..] else { panic!("the cookie is set again: {answer:?}") };
    assert!(cookie.contains("Max-Age=28800"));
    assert_eq!(ann.cookie, before, "under the same key");
}

async fn page_loads_rotate_the_session_key(sessions: impl Sessions) {
    let site = site(sessions, Config::default()).await;
    let mut ann = Browser::default();
    ann.log_in(&site, "ann").await;
    for path in ["/", "/rooms/lobby", "/rooms"] {
        let before = ann.cookie.clone();
        let answer = ann.get(path).send(&site).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_ne!(ann.cookie, before, "{path}");
    }
    // The answer with the new key was lost: the old key is still valid.
    let before = ann.clone();
    ann.get("/").send(&site).await;
    assert!(before.clone().get("/").send(&site).await.is_chat_of("ann"));
}

async fn tabs_that_load_at_once_all_stay_logged_in(sessions: impl Sessions) {
    let site = site(sessions, Config::default()).await;
    let mut ann = Browser::default();
    ann.log_in(&site, "ann").await;
    let mut tabs = vec![ann.clone(); 10];
    let loads = tabs.iter_mut().map(|tab| tab.get("/").send(&site));
    for page in futures_util::future::join_all(loads).await {
        assert!(page.is_chat_of("ann"), "{page:?}");
    }
    for tab in &mut tabs {
        let probe = tab.fetch("/session").send(&site).await;
        assert_eq!(probe.json()["user"], "ann");
    }
}

#[actix_web::test]
async fn invalid_names_and_bodies_are_refused() {
    let site = site(in_memory(), Config::default()).await;
    let long = "x".repeat(33);
    let huge = format!(r#"{{"name":"{}"}}"#, "x".repeat(9000));
    for (json, status, code) in [
        (r#"{"name":""}"#, 400, "bad_name"),
        (r#"{}"#, 400, "bad_name"),
        (r#"{"name":"a b"}"#, 400, "bad_name"),
        (r#"{"name":"a\u0007"}"#, 400, "bad_name"),
        (&format!(r#"{{"name":"{long}"}}"#), 400, "bad_name"),
        (r#"{"name":"Admin"}"#, 400, "reserved_name"),
        (r#"{"name":7}"#, 400, "bad_body"),
        (r#"["ann"]"#, 400, "bad_body"),
        ("name=ann", 400, "bad_body"),
        ("\u{0}", 400, "bad_body"),
        (&huge, 413, "too_large"),
    ] {
        let answer = Browser::default().post_json("/login", json).from(&address()).send(&site).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{json:.60}");
    }
    for (form, status, says) in [
        ("", 400, "does not follow the rules"),
        ("name=root", 400, "is reserved"),
        ("name=%3Cb%3E+x", 400, "value=\"&lt;b&gt; x\""),
        ("name=a&name=b", 400, "does not follow the rules"),
        ("name=%ff", 400, "does not follow the rules"),
        (&format!("name={}", "x".repeat(9000)), 413, "does not follow the rules"),
    ] {
        let answer = Browser::default().submit("/login", form).from(&address()).send(&site).await;
        assert!(answer.is_login_page());
        assert_eq!(answer.status.as_u16(), status, "{form:.60}");
        assert!(answer.body.contains(says), "{form:.60}: {}", answer.body);
    }
}

/// Returns a random address, so that no rate limit is reached.
fn address() -> String {
    let [a, b, c]: [u8; 3] = rand::random();
    format!("10.{a}.{b}.{c}")
}

#[actix_web::test]
async fn login_redirects_to_local_next_paths_only() {
    let site = site(in_memory(), Config::default()).await;
    let mut ann = Browser::default();
    let page = ann.get("/rooms/den").send(&site).await;
    assert!(page.is_login_page() && page.body.contains("name=\"next\" value=\"/rooms/den\""), "{}", page.body);
    for (name, next, leads_to) in [
        ("n1", "/rooms/den", "/rooms/den"),
        ("n2", "", "/"),
        ("n3", "//evil.example", "/"),
        ("n4", "/%5Cevil.example", "/"),
        ("n5", "https://evil.example", "/"),
        ("n6", "/%09/evil.example", "/"),
        ("n7", "javascript:alert(1)", "/"),
        ("n8", "/x%0d%0aSet-Cookie:%20a=b", "/"),
    ] {
        let form = format!("name={name}&next={next}");
        let answer = Browser::default().submit("/login", &form).from(&address()).send(&site).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, leads_to), "{next}");
    }
}

#[actix_web::test]
async fn login_attempts_are_limited_per_address_and_name() {
    let limits = Limits { login_rate: NonZeroU32::new(3), ..Limits::default() };
    let trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    let site = site(in_memory(), Config { limits, trusted_proxies, ..Config::default() }).await;
    let attempt = async |address: &str, name: &str| {
        let json = format!(r#"{{"name":"{name}"}}"#);
        Browser::default().post_json("/login", &json).header("x-forwarded-for", address).send(&site).await
    };
    for name in ["a1", "a2", "a3"] {
        assert_eq!(attempt("198.51.100.1", name).await.status, StatusCode::OK);
    }
    let refused = attempt("198.51.100.1", "a4").await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    // Another client behind the same proxy is not limited.
    assert_eq!(attempt("198.51.100.2", "b1").await.status, StatusCode::OK);
    // An X-Forwarded-For header that the client sends itself has no effect.
    let lie = attempt("203.0.113.9, 198.51.100.1", "a5").await;
    assert_eq!(lie.status, StatusCode::TOO_MANY_REQUESTS);
    // One name from many addresses: five attempts per minute.
    for n in 0..5 {
        assert_ne!(attempt(&format!("203.0.113.{n}"), "carol").await.status, StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(attempt("203.0.113.99", "carol").await.status, StatusCode::TOO_MANY_REQUESTS);
    // Browsers get the login page with the time to wait.
    let ask = Browser::default();
    let page = { ask }.submit("/login", "name=x").header("x-forwarded-for", "198.51.100.1").send(&site).await;
    assert!(page.status == 429 && page.body.contains("Too many attempts. Try again in "));
}

#[actix_web::test]
async fn cookie_settings_are_applied() {
    let cookie = CookieSettings { name: "__Host-s".into(), secure: true };
    let site = site(in_memory(), Config { cookie, ..Config::default() }).await;
    let answer = Browser::default().submit("/login", "name=ann").send(&site).await;
    let [cookie] = &answer.cookies()[..] else { panic!("{answer:?}") };
    assert!(cookie.starts_with("__Host-s=") && cookie.contains("; Secure"), "{cookie}");
}
