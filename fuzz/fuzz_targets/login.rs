//! Bodies of logins, and the path to go to after a login.
//!
//! Invariants: JSON and form bodies decode without a panic; a redirect stays on the host and fits into a header.
#![no_main]

use actix_web::http::header::HeaderValue;
use libfuzzer_sys::fuzz_target;
use trunkline_gateway::fuzzing::{decode_login, login_location};
use url::Url;

fuzz_target!(|body: &[u8]| {
    let mut paths: Vec<_> = str::from_utf8(body).ok().map(|next| (next.to_owned(), None)).into_iter().collect();
    for is_json in [false, true] {
        if let Some(login) = decode_login(body, is_json) {
            let _ = login.name.parse::<trunkline_domain::UserName>();
            paths.extend(login.next.map(|next| (next, login.attempt)));
        }
    }
    let page = Url::parse("https://chat.example/login").unwrap();
    for (next, attempt) in paths {
        let Some(location) = login_location(&next, attempt) else { continue };
        assert!(HeaderValue::from_str(&location).is_ok());
        let target = page.join(&location).expect("a path is a valid reference");
        assert_eq!(target.origin(), page.origin(), "{location:?}");
    }
});
