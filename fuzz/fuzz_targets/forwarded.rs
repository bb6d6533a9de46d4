//! `X-Forwarded-For` and `X-Forwarded-Proto`.
//!
//! Each line of the input is a value of both headers. Invariants: a peer that is no trusted proxy cannot change its
//! address or scheme; a line that the nearest proxy adds decides, whatever precedes it.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use trunkline_gateway::fuzzing::request_source;

fuzz_target!(|input: &[u8]| {
    let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    let mut lines: Vec<&[u8]> = input.split(|&b| b == b'\n').collect();

    let stranger = address("192.0.2.7");
    assert_eq!(request_source(stranger, &lines, &lines, &trusted), (stranger, false));

    let (found, _) = request_source(address("10.0.0.1"), &lines, &lines, &trusted);
    assert_eq!(found, found.to_canonical());

    lines.push(b"198.51.100.1");
    let (found, https) = request_source(address("10.0.0.1"), &lines, &lines, &trusted);
    assert_eq!((found, https), (address("198.51.100.1"), false));
});
