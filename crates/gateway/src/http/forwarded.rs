//! Who asks: the client's address and scheme, through proxies that are believed.
//!
//! Anyone can send `X-Forwarded-For`. An entry is believed only as far as it was written by a trusted proxy: the list is
//! walked from its end, where the nearest proxy wrote, and the first address that is no trusted proxy's is the client.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{HeaderMap, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The far end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its address, as far as it is known for sure. IPv4 in IPv6 is written as IPv4.
    pub(crate) address: IpAddr,
    /// Whether it speaks TLS to the outermost trusted proxy.
    pub(crate) https: bool,
}

impl Client {
    /// The client behind a connection from `peer` that sent `headers`.
    pub(crate) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
        let mut address = peer.to_canonical();
        if !is_trusted(&address) {
            return Self { address, https: false };
        }
        let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).filter_map(|line| line.to_str().ok()).collect();
        for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
            // What is no address was not written by a proxy that can be believed: the walk ends there.
            let Some(hop) = parse_hop(entry) else { break };
            address = hop;
            if !is_trusted(&address) {
                break;
            }
        }
        // The nearest proxy's word, which is the last; it overwrites or passes on what proxies before it said.
        let proto = headers.get_all(FORWARDED_PROTO).last().and_then(|line| line.to_str().ok());
        let https =
            proto.and_then(|line| line.rsplit(',').next()).is_some_and(|p| p.trim().eq_ignore_ascii_case("https"));
        Self { address, https }
    }
}

/// An address, perhaps with a port, as some proxies write it.
fn parse_hop(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, forwarded_for: &[&str], proto: &[&str]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for line in forwarded_for {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
        }
        for line in proto {
            headers.append(FORWARDED_PROTO, HeaderValue::from_str(line).unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let client = Client::of(peer.parse().unwrap(), &headers, &trusted);
        (client.address.to_string(), client.https)
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let is = |address: &str, https| (address.to_owned(), https);
        assert_eq!(client("192.0.2.7", &["198.51.100.1"], &["https"]), is("192.0.2.7", false));
        assert_eq!(client("10.0.0.1", &[], &[]), is("10.0.0.1", false));
        assert_eq!(client("10.0.0.1", &["198.51.100.1"], &["https"]), is("198.51.100.1", true));
        // The client wrote the first entry itself.
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 198.51.100.1"], &[]), is("198.51.100.1", false));
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "198.51.100.1"], &[]), is("198.51.100.1", false));
        // Two proxies in a row.
        assert_eq!(client("10.0.0.1", &["198.51.100.1, 10.9.9.9"], &[]), is("198.51.100.1", false));
        // All of the way trusted: the outermost.
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &[]), is("10.0.0.3", false));
        // Junk ends the walk.
        assert_eq!(client("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], &[]), is("10.0.0.2", false));
        assert_eq!(client("10.0.0.1", &["198.51.100.1:4711"], &[]), is("198.51.100.1", false));
        assert_eq!(client("fd00::1", &["[2001:db8::1]:4711"], &[]), is("2001:db8::1", false));
        assert_eq!(client("fd00::1", &["[2001:db8::1]"], &[]), is("2001:db8::1", false));
        assert_eq!(client("::ffff:10.0.0.1", &["::ffff:198.51.100.1"], &[]), is("198.51.100.1", false));
        // The nearest proxy's scheme counts.
        assert_eq!(client("10.0.0.1", &[], &["https, http"]), is("10.0.0.1", false));
        assert_eq!(client("10.0.0.1", &[], &["http", "HTTPS"]), is("10.0.0.1", true));
    }

    proptest! {
        #[test]
        fn an_untrusted_peer_says_nothing_about_itself(line in "[ -~]{0,60}") {
            prop_assert_eq!(client("192.0.2.7", &[&line], &[&line]), ("192.0.2.7".to_owned(), false));
        }

        #[test]
        fn whatever_the_client_wrote_the_proxys_entry_decides(line in "[ -~]{0,60}") {
            let lines = format!("{line}, 198.51.100.1");
            prop_assert_eq!(client("10.0.0.1", &[&lines], &[]).0, "198.51.100.1");
        }
    }
}
