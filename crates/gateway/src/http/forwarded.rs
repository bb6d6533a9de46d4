//! The source of a request: the client's address and scheme, taken from the headers of trusted proxies.
//!
//! Any client can send `X-Forwarded-For`. An entry counts only if a trusted proxy wrote it: the list is read from its
//! end, where the nearest proxy wrote, and the first address that does not belong to a trusted proxy is the client's.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{HeaderMap, HeaderValue, X_FORWARDED_FOR, X_FORWARDED_PROTO};
use ipnet::IpNet;

/// The client that sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestSource {
    /// The client's address, as far as trusted proxies vouch for it. IPv4-mapped IPv6 addresses are converted to IPv4.
    pub(crate) address: IpAddr,
    /// Whether the client speaks TLS to the outermost trusted proxy.
    pub(crate) https: bool,
}

impl RequestSource {
    /// Returns the source of a request that arrived from `peer` with `headers`.
    pub(crate) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
        let mut address = peer.to_canonical();
        if !is_trusted(&address) {
            return Self { address, https: false };
        }
        let lines: Vec<&[u8]> = headers.get_all(X_FORWARDED_FOR).map(HeaderValue::as_bytes).collect();
        for entry in lines.iter().rev().flat_map(|line| line.rsplit(|&b| b == b',')) {
            // No trusted proxy writes an entry that is not an address, so the walk ends there.
            let Some(hop) = parse_hop(entry) else { break };
            address = hop;
            if !is_trusted(&address) {
                break;
            }
        }
        // The last value is the nearest proxy's. It overwrites or passes on the values of proxies before it.
        let proto = headers.get_all(X_FORWARDED_PROTO).last().and_then(|line| line.to_str().ok());
        let https =
            proto.and_then(|line| line.rsplit(',').next()).is_some_and(|p| p.trim().eq_ignore_ascii_case("https"));
        Self { address, https }
    }
}

/// Parses an address, which some proxies write with a port.
fn parse_hop(entry: &[u8]) -> Option<IpAddr> {
    let entry = str::from_utf8(entry).ok()?.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(peer: &str, forwarded_for: &[&str], proto: &[&str]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for line in forwarded_for {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        for line in proto {
            headers.append(X_FORWARDED_PROTO, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let source = RequestSource::of(peer.parse().unwrap(), &headers, &trusted);
        (source.address.to_string(), source.https)
    }

    #[test]
    fn headers_of_untrusted_peers_are_ignored() {
        let is = |address: &str, https| (address.to_owned(), https);
        assert_eq!(source("192.0.2.7", &["198.51.100.1"], &["https"]), is("192.0.2.7", false));
        assert_eq!(source("10.0.0.1", &[], &[]), is("10.0.0.1", false));
        assert_eq!(source("10.0.0.1", &["198.51.100.1"], &["https"]), is("198.51.100.1", true));
        // The client sent the first entry.
        assert_eq!(source("10.0.0.1", &["6.6.6.6, 198.51.100.1"], &[]), is("198.51.100.1", false));
        assert_eq!(source("10.0.0.1", &["6.6.6.6", "198.51.100.1"], &[]), is("198.51.100.1", false));
        // Two proxies in a row.
        assert_eq!(source("10.0.0.1", &["198.51.100.1, 10.9.9.9"], &[]), is("198.51.100.1", false));
        // Every hop is trusted: the outermost counts.
        assert_eq!(source("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &[]), is("10.0.0.3", false));
        // Bytes that the client sent do not hide what the proxy appended.
        assert_eq!(source("10.0.0.1", &["é, 198.51.100.1"], &[]), is("198.51.100.1", false));
        // An entry that is not an address ends the walk.
        assert_eq!(source("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], &[]), is("10.0.0.2", false));
        assert_eq!(source("10.0.0.1", &["198.51.100.1:4711"], &[]), is("198.51.100.1", false));
        assert_eq!(source("fd00::1", &["[2001:db8::1]:4711"], &[]), is("2001:db8::1", false));
        assert_eq!(source("fd00::1", &["[2001:db8::1]"], &[]), is("2001:db8::1", false));
        assert_eq!(source("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], &[]), is("198.51.100.1", false));
        // The scheme that the nearest proxy wrote counts.
        assert_eq!(source("10.0.0.1", &[], &["https, http"]), is("10.0.0.1", false));
        assert_eq!(source("10.0.0.1", &[], &["http", "HTTPS"]), is("10.0.0.1", true));
    }

    proptest! {
        #[test]
        fn untrusted_peer_cannot_change_its_source(line in "[ -~]{0,60}") {
            prop_assert_eq!(source("192.0.2.7", &[&line], &[&line]), ("192.0.2.7".to_owned(), false));
        }

        #[test]
        fn entry_of_the_trusted_proxy_decides_whatever_the_client_sent(line in "[ -~]{0,60}") {
            let lines = format!("{line}, 198.51.100.1");
            prop_assert_eq!(source("10.0.0.1", &[&lines], &[]).0, "198.51.100.1");
        }
    }
}
