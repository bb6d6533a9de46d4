//! Web origins, in the setting `--public-origin`, in `Origin` and in `Host`.
//!
//! The first line is an origin, the second a host. Invariants: an origin survives printing and parsing, and its
//! WebSocket source is one word of a Content-Security-Policy; a page may open a socket only to the host in its own
//! origin.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_gateway::{
    Origin,
    fuzzing::{may_open_socket, websocket_source},
};

fuzz_target!(|text: &str| {
    let (text, host) = text.split_once('\n').unwrap_or((text, "chat.example"));
    if may_open_socket(host.as_bytes(), text.as_bytes(), &[]) {
        let origin = text.to_ascii_lowercase();
        let (scheme, authority) = origin.split_once("://").expect("an allowed origin has a scheme");
        let port = if scheme == "https" { ":443" } else { ":80" };
        let without_port = |authority: &str| authority.strip_suffix(port).unwrap_or(authority).to_owned();
        assert_eq!(without_port(authority), without_port(&host.to_ascii_lowercase()));
    }
    let Ok(origin) = text.parse::<Origin>() else { return };
    let printed = origin.to_string();
    assert_eq!(printed.parse().as_ref(), Ok(&origin));
    assert!(printed.starts_with(if origin.is_https() { "https://" } else { "http://" }));
    let source = websocket_source(&origin);
    assert!(source.starts_with("ws") && source.bytes().all(|b| b.is_ascii_graphic() && !b";,'".contains(&b)));
    assert!(may_open_socket(b"other.example", text.as_bytes(), std::slice::from_ref(&origin)));
});
