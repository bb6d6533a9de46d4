//! The cookies of the session cookie's name in `Cookie` lines.
//!
//! Each line of the input is a `Cookie` header. Invariants: every cookie that is found is one that the request contains,
//! and is found again alone; actix-web reads it as the session cookie.
#![no_main]

use actix_web::cookie::Cookie;
use libfuzzer_sys::fuzz_target;
use trunkline_gateway::fuzzing::session_cookies;

const NAME: &str = "jsessionid";

fuzz_target!(|input: &[u8]| {
    let lines: Vec<&[u8]> = input.split(|&b| b == b'\n').collect();
    let Some(found) = session_cookies(&lines, NAME) else { return };
    for cookie in &found {
        assert!(!cookie.contains(&b';'));
        assert!(lines.iter().flat_map(|line| line.split(|&b| b == b';')).any(|pair| pair.trim_ascii() == cookie));
        // A cookie without `=` or with bytes that are not UTF-8 is later refused as malformed.
        if let Some(cookie) = str::from_utf8(cookie).ok().and_then(|pair| Cookie::parse_encoded(pair).ok()) {
            assert_eq!(cookie.name(), NAME);
        }
        assert_eq!(session_cookies(&[cookie], NAME), Some(vec![cookie.clone()]));
    }
});
