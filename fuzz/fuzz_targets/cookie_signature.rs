//! Signed session cookies, while a secret is being replaced.
//!
//! The first two bytes choose a byte of the cookie to change and how; the rest is the value that the old key signs.
//! Invariants: an intact cookie gets the signature of the new key and keeps its value; a changed one stays as it is and
//! verifies with neither key; so does arbitrary text, unless it contains a signed cookie.
#![no_main]

use std::sync::LazyLock;

use actix_web::{
    cookie::{Cookie, CookieJar, Key},
    http::header::{COOKIE, HeaderMap, HeaderValue},
};
use libfuzzer_sys::fuzz_target;
use trunkline_session::SecretKeys;

const NAME: &str = "jsessionid";
const SECRETS: [[u8; 64]; 2] = [[1; 64], [2; 64]];

static KEYS: LazyLock<(SecretKeys, [Key; 2])> = LazyLock::new(|| {
    let keys = SecretKeys::new(SECRETS).unwrap();
    (keys, SECRETS.map(|secret| Key::derive_from(&secret)))
});

fuzz_target!(|input: &[u8]| {
    let [at, change, value @ ..] = input else { return };
    let Ok(value) = str::from_utf8(value) else { return };
    let (_, [new, old]) = &*KEYS;
    let mut jar = CookieJar::new();
    jar.signed_mut(old).add(Cookie::new(NAME, value.to_owned()));
    let mut cookie = jar.get(NAME).unwrap().encoded().stripped().to_string().into_bytes();

    let signed = sign_again(&cookie).expect("a cookie that the old key signed");
    assert_eq!(verified(&signed, new).as_deref(), Some(value));

    let at = NAME.len() + 1 + usize::from(*at) % (cookie.len() - NAME.len() - 1);
    let original = verified(&cookie, old);
    cookie[at] ^= change;
    // A changed percent-encoding can stand for the same byte, such as %2f and %2F.
    if verified(&cookie, old) != original {
        assert_eq!(verified(&cookie, old), None);
        assert_eq!(sign_again(&cookie), None);
    }
    if let Ok(line) = HeaderValue::from_bytes(value.as_bytes()) {
        // The fuzzer learns signatures of the old key from comparisons, and can put them into the text.
        if sign_again(line.as_bytes()).is_some() {
            assert!(value.split(';').any(|pair| verified(pair.trim().as_bytes(), old).is_some()));
        }
    }
});

/// Returns the `Cookie` header after `sign_again`, if that has changed it.
fn sign_again(line: &[u8]) -> Option<Vec<u8>> {
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, HeaderValue::from_bytes(line).ok()?);
    KEYS.0.sign_again(&mut headers, NAME);
    let changed = headers.get(COOKIE)?.as_bytes();
    (changed != line).then(|| changed.to_vec())
}

/// Returns the value of the cookie if this key has signed it.
fn verified(line: &[u8], key: &Key) -> Option<String> {
    let mut jar = CookieJar::new();
    jar.add_original(Cookie::parse_encoded(str::from_utf8(line).ok()?).ok()?.into_owned());
    Some(jar.signed(key).get(NAME)?.value().to_owned())
}
