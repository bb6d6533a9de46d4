//! Values of settings, as the program parses them from flags and from the environment.
//!
//! Not `values::address`, which resolves host names. Invariants: see the assertions.
#![no_main]

#[path = "../../crates/gateway/src/settings/values.rs"]
#[allow(dead_code, reason = "`address` is not fuzzed")]
mod values;

use std::time::Duration;

use actix_web::cookie::Cookie;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(period) = values::period(text) {
        assert!(period >= Duration::from_millis(100));
        assert_eq!(values::duration(text), Ok(period));
    }
    if let Ok(duration) = values::duration(text) {
        // The milliseconds that go to Redis and into frames.
        assert!(trunkline_domain::millis(duration) <= 1 << 53);
    }
    if let Ok(name) = values::instance(text) {
        assert!(name.len() <= 64 && !name.contains(char::is_whitespace));
    }
    if let Ok(name) = values::cookie_name(text) {
        let pair = format!("{name}=value");
        let cookie = Cookie::parse_encoded(&pair).expect("a cookie with this name is well-formed");
        assert_eq!((cookie.name(), cookie.value()), (name.as_str(), "value"));
    }
    if let Ok(network) = values::network(text) {
        assert_eq!(values::network(&network.to_string()), Ok(network));
    }
    let _ = text.parse::<trunkline_bus::RedisUrl>();
});
