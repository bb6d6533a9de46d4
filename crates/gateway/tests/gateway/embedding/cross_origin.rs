//! Pages of other origins: allowed with a token, refused with a cookie.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::json;
use tokio_tungstenite::tungstenite::Error;
use trunkline_bus::{LocalBus, LocalConfig};
use trunkline_gateway::{
    Config, Gateway,
    jwt::{KeySet, TokenSettings, TokenVerifier},
};
use trunkline_session::NoSessions;

use super::{Instance, config, cookie, customer, get, header, open, request};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const FOREIGN: &str = "https://shop.example";

/// A token of `u-17` that ends in an hour.
fn token() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let parts = [json!({"alg": "HS256"}), json!({"sub": "u-17", "exp": now + 3600})];
    let message = parts.map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// A host whose users have a cookie or, with `accepts_tokens`, a token.
fn host(accepts_tokens: bool) -> Instance<Gateway<LocalBus, NoSessions>> {
    let settings = TokenSettings { keys: Some(KeySet::from_file(SECRET).unwrap()), ..TokenSettings::default() };
    let tokens = accepts_tokens.then(|| TokenVerifier::start(settings).unwrap());
    let gateway = Gateway::builder(LocalBus::new(LocalConfig::default()))
        .config(Config { tokens, ..config("host") })
        .identify(customer)
        .build()
        .unwrap();
    Instance::start(gateway, |gateway, config| {
        config.configure(gateway.socket_routes("/ws"));
    })
}

fn allowed_origin(answer: &str) -> Option<&str> {
    assert_eq!(header(answer, "access-control-allow-credentials"), None, "cookies never come along");
    header(answer, "access-control-allow-origin")
}

#[actix_web::test]
async fn page_of_another_origin_may_ask_for_its_session_with_a_token() {
    let host = host(true);
    let asks = [
        ("Origin", FOREIGN),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let answer = request(host.port, "OPTIONS", "/session", &asks).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert_eq!(allowed_origin(&answer), Some("*"));
    assert_eq!(header(&answer, "access-control-allow-headers"), Some("authorization"));
    assert_eq!(header(&answer, "access-control-allow-methods"), Some("GET"));

    for (token, status) in [(token(), 200), ("forged".to_owned(), 401)] {
        let bearer = format!("Bearer {token}");
        let answer = get(host.port, "/session", &[("Origin", FOREIGN), ("Authorization", &bearer)]).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(allowed_origin(&answer), Some("*"), "the page must be able to read the status");
        assert_eq!(header(&answer, "access-control-expose-headers"), Some("retry-after"));
        assert_eq!(answer.contains("u-17"), status == 200);
    }
    let answer = request(host.port, "POST", "/session", &[]).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[actix_web::test]
async fn page_of_another_origin_cannot_read_the_session_of_a_cookie() {
    for (accepts_tokens, has_token) in [(true, false), (false, false), (false, true)] {
        let host = host(accepts_tokens);
        let (own, bearer) = (cookie("17"), format!("Bearer {}", token()));
        let mut headers = vec![("Origin", FOREIGN), ("Cookie", &own)];
        headers.extend(has_token.then_some(("Authorization", &*bearer)));
        let answer = get(host.port, "/session", &headers).await;
        assert_eq!(allowed_origin(&answer), None, "{answer}");
        if !accepts_tokens {
            let answer = request(host.port, "OPTIONS", "/session", &[("Origin", FOREIGN)]).await;
            assert!(answer.starts_with("HTTP/1.1 405") && allowed_origin(&answer).is_none(), "{answer}");
        }
    }
}

#[actix_web::test]
async fn page_of_another_origin_may_open_a_socket_with_a_token_and_not_with_a_cookie() {
    let host = host(true);
    let protocols = format!("trunkline.v1, trunkline.token.{}", token());
    open(host.port, "/ws", &[("origin", FOREIGN), ("sec-websocket-protocol", &protocols)]).await.unwrap();
    match open(host.port, "/ws", &[("origin", FOREIGN), ("cookie", &cookie("17"))]).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 403),
        other => panic!("{:?}", other.map(|_| ())),
    }
    let own = format!("http://127.0.0.1:{}", host.port);
    open(host.port, "/ws", &[("origin", &own), ("cookie", &cookie("17"))]).await.unwrap();
}
