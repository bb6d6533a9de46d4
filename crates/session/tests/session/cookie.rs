//! Attributes and signature of the session cookie.

use actix_web::http::header::{COOKIE, HeaderMap, HeaderValue};
use trunkline_session::{CookieSettings, InvalidSettings, MemorySessions, SecretKeys, middleware};

use crate::site::{LIFETIMES, SECRET, site_with};

async fn attributes(settings: &CookieSettings) -> Vec<String> {
    let site = site_with(&MemorySessions::in_memory(LIFETIMES), settings, &[SECRET]).await;
    let line = site.post("/login/ann", "").await.set_cookie.unwrap();
    let (value, attributes) = line.split_once("; ").unwrap();
    assert!(value.starts_with(&format!("{}=", settings.name)), "{value}");
    let mut attributes: Vec<_> = attributes.split("; ").map(str::to_owned).collect();
    attributes.sort();
    attributes
}

#[tokio::test]
async fn cookie_has_safe_attributes() {
    let plain = CookieSettings::default();
    assert_eq!(plain.name, "jsessionid");
    assert_eq!(attributes(&plain).await, ["HttpOnly", "Max-Age=6", "Path=/", "SameSite=Lax"]);
    let secure = CookieSettings { name: "__Host-trunkline".into(), secure: true };
    assert_eq!(attributes(&secure).await, ["HttpOnly", "Max-Age=6", "Path=/", "SameSite=Lax", "Secure"]);
}

#[tokio::test]
async fn secret_can_be_replaced_without_ending_sessions() {
    let sessions = MemorySessions::in_memory(LIFETIMES);
    let (old, new, foreign) = (SECRET, [8; 64], [9; 64]);
    let with = async |secrets: &[[u8; 64]]| site_with(&sessions, &CookieSettings::default(), secrets).await;
    let cookie = with(&[old]).await.log_in("ann").await;
    assert_eq!(with(&[new]).await.get("/who", &cookie).await.status, 401);
    assert_eq!(with(&[new, foreign]).await.get("/who", &cookie).await.status, 401);
    let both = with(&[new, foreign, old]).await;
    assert_eq!(both.get("/who", &cookie).await.status, 200);
    assert_eq!(both.get("/who", &format!("a=b; {cookie}; c")).await.status, 200);
    let headers = HeaderValue::from_bytes(&[b"x=\xe9; ", cookie.as_bytes()].concat()).unwrap();
    let mut headers: HeaderMap = [(COOKIE, headers)].into_iter().collect();
    SecretKeys::new([new, old]).unwrap().sign_again(&mut headers, "jsessionid");
    let (foreign_cookie, signed) = headers.get(COOKIE).unwrap().as_bytes().split_at(5);
    assert_eq!(foreign_cookie, b"x=\xe9; ", "cookies in other encodings are kept");
    assert_eq!(with(&[new]).await.get("/who", str::from_utf8(signed).unwrap()).await.status, 200);
    assert_eq!(
        both.get("/who", &format!("{cookie}; {cookie}")).await.status,
        401,
        "two cookies of the same name are ambiguous"
    );
    assert_eq!(both.get("/who", &format!("{cookie}0")).await.status, 401);
    let again = both.get("/session", &cookie).await.cookie();
    assert_eq!(with(&[new]).await.get("/who", &again).await.status, 200);
}

#[test]
fn invalid_settings_are_refused() {
    assert!(matches!(SecretKeys::new([[0; 63]]), Err(InvalidSettings::ShortSecret(63))));
    assert!(matches!(SecretKeys::new([""; 0]), Err(InvalidSettings::NoSecret)));
    assert!(!format!("{:?}", SecretKeys::new([SECRET]).unwrap()).contains('7'));
    for name in ["", "a b", "a=b", "a;b", "ä"] {
        let cookie = CookieSettings { name: name.into(), secure: false };
        let refused = middleware(MemorySessions::in_memory(LIFETIMES), &SecretKeys::random(), &cookie, &LIFETIMES);
        assert!(matches!(refused.err(), Some(InvalidSettings::CookieName)), "{name}");
    }
}

#[test]
fn signed_text_is_accepted_for_its_purpose_alone() {
    let (old, new) = (SecretKeys::new([[8; 64]]).unwrap(), SecretKeys::new([[9; 64], [8; 64]]).unwrap());
    let signed = old.sign("login", "a.b:c;d /ä");
    for keys in [&old, &new] {
        assert_eq!(keys.verify("login", &signed).as_deref(), Some("a.b:c;d /ä"));
        assert_eq!(keys.verify("log", &signed), None);
        assert_eq!(keys.verify("", &signed), None);
        assert_eq!(keys.verify("login", &signed.replace("a.b", "a.c")), None);
        assert_eq!(keys.verify("login", ""), None);
    }
    assert_eq!(old.verify("login", &new.sign("login", "x")), None);
}
