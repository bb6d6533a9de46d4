//! Refusals of the WebSocket handshake, in the order that docs/PROTOCOL.md gives.

use actix_web::http::{Method, StatusCode};
use trunkline_bus::{LocalBus, LocalConfig};
use trunkline_gateway::{Config, Gateway};

use super::{
    browser::{Answer, Browser, PendingRequest, mounted, site},
    in_memory,
};

fn upgrade(browser: &mut Browser) -> PendingRequest<'_> {
    browser
        .ask(Method::GET, "/ws")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

fn is(answer: &Answer, status: StatusCode) -> bool {
    assert!(answer.status == status && answer.json()["code"].is_string(), "{status}: {answer:?}");
    true
}

#[actix_web::test]
async fn handshake_refusals_follow_the_documented_order() {
    let site = site(in_memory(), Config::default()).await;
    let mut ann = Browser::default();
    let plain = ann.fetch("/ws").header("origin", "http://evil.example").send(&site).await;
    assert!(is(&plain, StatusCode::UPGRADE_REQUIRED));
    assert_eq!(plain.header("upgrade"), "websocket");
    // A foreign origin without a session: the origin is checked first.
    let foreign = upgrade(&mut ann).header("origin", "http://evil.example").send(&site).await;
    assert!(is(&foreign, StatusCode::FORBIDDEN));
    assert!(is(&upgrade(&mut ann).send(&site).await, StatusCode::UNAUTHORIZED));
    assert!(is(&upgrade(&mut ann).header("origin", "http://chat.example").send(&site).await, StatusCode::UNAUTHORIZED));
    ann.log_in(&site, "ann").await;
    assert!(is(&upgrade(&mut ann).header("origin", "null").send(&site).await, StatusCode::FORBIDDEN));
    let subprotocol = upgrade(&mut ann).header("sec-websocket-protocol", "soap, wamp").send(&site).await;
    assert!(is(&subprotocol, StatusCode::BAD_REQUEST));
}

#[actix_web::test]
async fn draining_instance_refuses_new_sockets() {
    let config = Config { drain_delay: std::time::Duration::ZERO, ..Config::default() };
    let gateway = Gateway::new(LocalBus::new(LocalConfig::default()), in_memory(), config).unwrap();
    let site = mounted(gateway.clone()).await;
    gateway.drain().await;
    let mut eve = Browser::default();
    let answer = upgrade(&mut eve).header("origin", "http://evil.example").send(&site).await;
    assert!(is(&answer, StatusCode::SERVICE_UNAVAILABLE));
    assert!(!answer.header("retry-after").is_empty());
    assert!(is(&eve.fetch("/ws").send(&site).await, StatusCode::UPGRADE_REQUIRED));
}
