//! Parsers of single values. An error says what a valid value looks like.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

use ipnet::IpNet;

/// Maximum length of an instance name, in bytes. The name is part of every `welcome` frame.
const MAX_INSTANCE_BYTES: usize = 64;

/// Parses an address with a port. A host name is resolved.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let wanted = "an address and a port, such as 127.0.0.1:8080 or [::]:8080";
    let mut found = text.to_socket_addrs().map_err(|error| format!("{wanted} ({error})"))?;
    found.next().ok_or_else(|| wanted.to_owned())
}

/// Parses a duration such as `500ms`, `25s`, `30m`, `8h` or `7d`; zero is valid.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("a duration such as 500ms, 25s, 30m, 8h or 7d ({error})"))
}

/// Parses a duration of at least 100 ms.
pub(super) fn period(text: &str) -> Result<Duration, String> {
    let period = duration(text)?;
    if period < Duration::from_millis(100) { Err("must be at least 100ms".to_owned()) } else { Ok(period) }
}

/// Parses a duration of at most 4 ms.
pub(super) fn batch_delay(text: &str) -> Result<Duration, String> {
    let delay = duration(text)?;
    if delay > Duration::from_millis(4) { Err("must be at most 4ms".to_owned()) } else { Ok(delay) }
}

/// Parses the prefix of keys and channels in Redis. Braces would be a hash tag of Redis Cluster, and the characters of
/// glob patterns would need escaping in ACL rules.
pub(super) fn redis_prefix(prefix: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    if (1..=32).contains(&prefix.len()) && prefix.bytes().all(allowed) {
        Ok(prefix.to_owned())
    } else {
        Err("1 to 32 characters of a-z, 0-9, '.', '_' and '-'".to_owned())
    }
}

/// Parses an instance name.
pub(super) fn instance(name: &str) -> Result<String, String> {
    let printable = !name.is_empty() && name.len() <= MAX_INSTANCE_BYTES && name.bytes().all(|b| b.is_ascii_graphic());
    if printable { Ok(name.to_owned()) } else { Err("1 to 64 printable ASCII characters without spaces".to_owned()) }
}

/// Parses a cookie name: a token of RFC 9110 section 5.6.2, but without `%`, so that a percent-encoded name is always
/// forged.
pub(super) fn cookie_name(name: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b);
    let valid = !name.is_empty() && name.len() <= 64 && name.bytes().all(token);
    if valid {
        Ok(name.to_owned())
    } else {
        Err("1 to 64 letters, digits and characters such as '_' and '-'".to_owned())
    }
}

/// Parses a network in CIDR notation, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "an address or a network, such as 127.0.0.1 or 10.0.0.0/8".to_owned())
}
