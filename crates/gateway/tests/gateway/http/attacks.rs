//! Cross-site requests, planted cookies and forged cookies.

use actix_web::http::StatusCode;
use trunkline_gateway::Config;
use trunkline_session::SecretKeys;

use super::{
    browser::{Browser, site},
    in_memory,
};

#[actix_web::test]
async fn forms_from_other_sites_are_refused() {
    let site = site(in_memory(), Config::default()).await;
    let mut ann = Browser::default();
    ann.log_in(&site, "ann").await;
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://chat.example.evil.example"),
        ("origin", "http://chat.example:8080"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = ann.post_json("/login", r#"{"name":"eve"}"#).header(name, value).send(&site).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "cross_site"), "{value}");
        let answer = ann.submit("/login", "name=eve").header(name, value).send(&site).await;
        assert!(answer.status == 403 && answer.is_login_page() && answer.body.contains("another site"), "{value}");
        let answer = ann.submit("/logout", "").header(name, value).send(&site).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{value}");
        assert!(ann.get("/").send(&site).await.is_chat_of("ann"), "{value}");
    }
    // Both headers must allow the request.
    let answer = ann
        .submit("/logout", "")
        .header("origin", "http://chat.example")
        .header("sec-fetch-site", "cross-site")
        .send(&site)
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    for (name, value) in
        [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none"), ("origin", "https://chat.example")]
    {
        let answer = ann.submit("/login", "name=ann").header(name, value).send(&site).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{value}");
    }
}

#[actix_web::test]
async fn ambiguous_cookies_are_rejected() {
    let site = site(in_memory(), Config::default()).await;
    let (mut ann, mut eve) = (Browser::default(), Browser::default());
    ann.log_in(&site, "ann").await;
    eve.log_in(&site, "eve").await;
    let (anns, eves) = (ann.cookie.unwrap(), eve.cookie.unwrap());
    let encoded = eves.replacen("jsessionid", "%6asessionid", 1);
    for cookies in [
        &[format!("{eves}; {anns}")][..],
        &[format!("{anns}; {anns}")],
        &[eves.clone(), anns.clone()],
        std::slice::from_ref(&encoded),
        &[format!("{encoded}; {anns}")],
        &[format!("{anns}; {encoded}")],
    ] {
        let mut browser = Browser::default();
        let probe = cookies.iter().fold(browser.fetch("/session"), |ask, line| ask.another("cookie", line));
        assert_eq!(probe.send(&site).await.status, StatusCode::UNAUTHORIZED, "{cookies:?}");
    }
    // Cookies of other applications do no harm, even malformed ones.
    let mut browser = Browser { cookie: Some(format!("rubbish; a=b; %zz; {anns}; JSESSIONID=x")) };
    assert_eq!(browser.fetch("/session").send(&site).await.json()["user"], "ann");
}

#[actix_web::test]
async fn forged_cookies_are_rejected() {
    let keys = SecretKeys::new(["k".repeat(64)]).unwrap();
    let sessions = in_memory();
    let ours = site(sessions.clone(), Config { keys, ..Config::default() }).await;
    let theirs = site(sessions.clone(), Config::default()).await;
    let mut ann = Browser::default();
    ann.log_in(&ours, "ann").await;
    // The first site does not know the signing key; the second accepts it as an earlier key.
    assert!(ann.clone().get("/").send(&theirs).await.is_login_page());
    let keys = SecretKeys::new(["n".repeat(64), "k".repeat(64)]).unwrap();
    let renewed = site(sessions, Config { keys, ..Config::default() }).await;
    assert!(ann.clone().get("/").send(&renewed).await.is_chat_of("ann"));
    let cookie = ann.cookie.clone().unwrap();
    let last = if cookie.ends_with('x') { "y" } else { "x" };
    for forged in [
        format!("{}{last}", &cookie[..cookie.len() - 1]),
        "jsessionid=".to_owned(),
        "jsessionid=x".to_owned(),
        format!("jsessionid={}", "x".repeat(5000)),
        "jsessionid".to_owned(),
    ] {
        let answer = Browser { cookie: Some(forged.clone()) }.fetch("/session").send(&ours).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{forged:.80}");
    }
    assert!(ann.get("/").send(&ours).await.is_chat_of("ann"));
}
