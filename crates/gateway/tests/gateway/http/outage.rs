//! Redis is really killed: everybody is told to come back, nobody is told to log in.

use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use trunkline_gateway::Config;
use trunkline_testbed::{AppendFsync, Redis};

use super::{
    browser::{Browser, site},
    in_redis,
};

#[actix_web::test]
async fn while_the_store_is_away_and_after_it_came_back() {
    let mut redis = Redis::builder().append_only(AppendFsync::Always).start().unwrap();
    let site = site(in_redis(&redis), Config::default()).await;
    let (mut ann, mut newcomer) = (Browser::default(), Browser::default());
    ann.log_in(&site, "ann").await;
    redis.kill().unwrap();

    for path in ["/", "/rooms/lobby", "/rooms"] {
        let page = ann.get(path).send(&site).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(!page.header("retry-after").is_empty() && !page.is_login_page(), "{path}: {page:?}");
        assert!(page.body.contains("http-equiv=\"refresh\"") && page.body.contains("This page tries again by itself."));
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
        assert!(page.cookies().is_empty(), "the session is not given up");
    }
    for path in ["/session", "/rooms", "/"] {
        let answer = ann.fetch(path).send(&site).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"), "{path}");
        assert!(!answer.header("retry-after").is_empty());
    }
    let answer = ann.submit("/logout", "").send(&site).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);

    // Somebody without a cookie sees the login page, and is told when logging in does not work.
    assert!(newcomer.get("/").send(&site).await.is_login_page());
    let answer = newcomer.post_json("/login", r#"{"name":"bob"}"#).send(&site).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    assert!(!answer.header("retry-after").is_empty());
    let page = newcomer.submit("/login", "name=bob").send(&site).await;
    assert!(page.status == 503 && page.is_login_page() && page.body.contains("not possible at the moment"));

    // The socket's handshake.
    let answer = upgrade(&mut ann).send(&site).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));

    // What needs no session answers as ever, and readiness says why.
    assert_eq!(ann.fetch("/healthz").send(&site).await.status, StatusCode::OK);
    let ready = ann.fetch("/readyz").send(&site).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["checks"]["sessions"]["ok"], false);

    redis.restart().unwrap();
    let mut last = None;
    for _ in 0..50 {
        let page = ann.get("/").send(&site).await;
        if page.is_chat_of("ann") {
            return;
        }
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "never the login page: {page:?}");
        last = Some(page);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("still away: {last:?}");
}

fn upgrade(browser: &mut Browser) -> super::browser::Ask<'_> {
    browser
        .ask(Method::GET, "/ws")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// An answer that is under way when Redis stops answering: a rotation that is not made logs nobody out.
#[actix_web::test]
async fn a_rotation_that_cannot_be_made_serves_the_page() {
    let mut redis = Redis::builder().start().unwrap();
    let site = site(in_redis(&redis), Config::default()).await;
    let mut ann = Browser::default();
    ann.log_in(&site, "ann").await;
    redis.pause().unwrap();
    let page = ann.get("/").send(&site).await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "the look-up ends in bounded time");
    redis.resume().unwrap();
    let mut pages = Vec::new();
    for _ in 0..20 {
        pages.push(ann.get("/").send(&site).await);
        if pages.last().is_some_and(|page| page.is_chat_of("ann")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{pages:?}");
}
