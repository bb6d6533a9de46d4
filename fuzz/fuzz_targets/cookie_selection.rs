//! The selection of the session cookie from `Cookie` lines.
//!
//! Each line of the input is a `Cookie` header. Invariants: at most one cookie is selected, and it is one that the
//! request contains; actix-web reads it as the session cookie.
#![no_main]

use actix_web::cookie::Cookie;
use libfuzzer_sys::fuzz_target;
use trunkline_gateway::fuzzing::select_cookie;

const NAME: &str = "jsessionid";

fuzz_target!(|input: &[u8]| {
    let lines: Vec<&[u8]> = input.split(|&b| b == b'\n').collect();
    let Some(selected) = select_cookie(&lines, NAME) else { return };
    assert!(!selected.contains(&b';'));
    assert!(lines.iter().flat_map(|line| line.split(|&b| b == b';')).any(|pair| pair.trim_ascii() == selected));
    // A cookie without `=` or with bytes that are not UTF-8 is later refused as malformed.
    if let Some(cookie) = str::from_utf8(&selected).ok().and_then(|pair| Cookie::parse_encoded(pair).ok()) {
        assert_eq!(cookie.name(), NAME);
    }
    // Alone, it is selected again.
    assert_eq!(select_cookie(&[&selected], NAME).as_deref(), Some(&selected[..]));
    // A second one makes the selection ambiguous.
    assert_eq!(select_cookie(&[&selected, b"jsessionid=x"], NAME), None);
});
