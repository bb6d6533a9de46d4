//! Single values: text in, value or a message that says what would have been right.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

use ipnet::IpNet;

/// Longest name of an instance, in bytes: it is in every welcome.
const MAX_INSTANCE: usize = 64;

/// An address with port; a host name is looked up.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let wanted = "an address and port, such as 127.0.0.1:8080 or [::]:8080";
    let mut found = text.to_socket_addrs().map_err(|error| format!("{wanted} ({error})"))?;
    found.next().ok_or_else(|| wanted.to_owned())
}

/// A time such as `500ms`, `25s`, `30m`, `8h`, `7d`, zero included.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("a time, such as 500ms, 25s, 30m, 8h or 7d ({error})"))
}

/// A time of at least a tenth of a second.
pub(super) fn period(text: &str) -> Result<Duration, String> {
    let period = time(text)?;
    if period < Duration::from_millis(100) { Err("100ms at least".to_owned()) } else { Ok(period) }
}

/// Whether this is the URL of a Redis. What follows the scheme is judged by the client that connects. No value parser: its
/// message would repeat the text, which may hold a password.
pub(super) fn is_redis_url(url: &str) -> bool {
    ["redis://", "rediss://", "redis+unix://", "unix://"].iter().any(|scheme| url.starts_with(scheme))
}

/// A name of an instance: printable, not too long.
pub(super) fn instance(name: &str) -> Result<String, String> {
    let printable = !name.is_empty() && name.len() <= MAX_INSTANCE && name.bytes().all(|b| b.is_ascii_graphic());
    if printable { Ok(name.to_owned()) } else { Err("1 to 64 printable ASCII characters without spaces".to_owned()) }
}

/// A cookie's name: a token of RFC 9110 section 5.6.2. No `%`, so that a percent-encoded name is always a forged one.
pub(super) fn cookie_name(name: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b);
    let valid = !name.is_empty() && name.len() <= 64 && name.bytes().all(token);
    if valid {
        Ok(name.to_owned())
    } else {
        Err("1 to 64 letters, digits and characters such as '_' and '-'".to_owned())
    }
}

/// A network in CIDR notation, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "an address or network, such as 127.0.0.1 or 10.0.0.0/8".to_owned())
}
