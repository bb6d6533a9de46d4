//! Which pages may talk to the gateway: the rules against cross-site sockets and cross-site posts.
//!
//! A browser lets any page open a WebSocket to any host and submit a form to it, with the cookies of that host. `Origin`
//! (RFC 6454; RFC 6455 section 10.2) and `Sec-Fetch-Site` (W3C Fetch Metadata) say which page asks.

use std::{fmt, str::FromStr};

use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Scheme, host and port of a web site, `https://chat.example.org` or `http://127.0.0.1:8080`. A default port and letter
/// case make no difference between two of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    https: bool,
    host: String,
    port: u16,
}

/// The text is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is http:// or https://, a host, and a port where it is not the usual one, without a path")]
pub struct InvalidOrigin;

impl Origin {
    /// Whether pages of this origin come over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The origin's sockets, as a `connect-src` source of a Content-Security-Policy.
    pub(crate) fn socket_source(&self) -> String {
        let text = self.to_string();
        text.replacen("http", "ws", 1)
    }

    fn default_port(https: bool) -> u16 {
        if https { 443 } else { 80 }
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let (scheme, authority) = text.split_once("://").ok_or(InvalidOrigin)?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(InvalidOrigin),
        };
        let (host, port) = split_authority(authority).ok_or(InvalidOrigin)?;
        Ok(Self { https, host, port: port.unwrap_or(Self::default_port(https)) })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.https { "https" } else { "http" }, self.host)?;
        if self.port == Self::default_port(self.https) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

/// `host[:port]` with the host in lower case; brackets of an IPv6 address stay.
fn split_authority(authority: &str) -> Option<(String, Option<u16>)> {
    // The last colon, unless it stands inside the brackets of an IPv6 address.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            (host, Some(digits.then_some(port)?.parse().ok()?))
        }
        _ => (authority, None),
    };
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let valid = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(name),
    };
    valid.then(|| (host.to_ascii_lowercase(), port))
}

/// Whether a socket may be opened by whoever sent these headers. Without `Origin` it is no browser: allowed.
pub(crate) fn may_open_socket(headers: &HeaderMap, public: &[Origin]) -> bool {
    origin_fits(headers, public)
}

/// Whether a form may be posted by whoever sent these headers. `Sec-Fetch-Site`, which no page can forge, decides where
/// it is present, `Origin` where it is not.
pub(crate) fn may_post(headers: &HeaderMap, public: &[Origin]) -> bool {
    let mut sites = headers.get_all(SEC_FETCH_SITE);
    match (sites.next(), sites.next()) {
        (None, _) => origin_fits(headers, public),
        (Some(site), None) => site == "same-origin" || site == "none",
        (Some(_), Some(_)) => false,
    }
}

/// `Origin`, where present, is one of `public`; where none are set, it names the host and port of `Host`. Its scheme is
/// not compared then, since TLS may end at a proxy: a `Host` without a port is that of the default port of either.
fn origin_fits(headers: &HeaderMap, public: &[Origin]) -> bool {
    let mut origins = headers.get_all(ORIGIN);
    let origin = match (origins.next(), origins.next()) {
        (None, _) => return true,
        (Some(one), None) => one,
        (Some(_), Some(_)) => return false,
    };
    // "null" is what sandboxed and file: pages send; it is no origin, like anything else that does not parse.
    let Some(origin) = origin.to_str().ok().and_then(|text| text.parse::<Origin>().ok()) else { return false };
    if !public.is_empty() {
        return public.contains(&origin);
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(split_authority);
    host.is_some_and(|(host, port)| {
        host == origin.host && port.unwrap_or(Origin::default_port(origin.https)) == origin.port
    })
}

/// The origin that the request's `Host` header names, if it is well-formed.
pub(crate) fn own(headers: &HeaderMap, https: bool) -> Option<Origin> {
    let (host, port) = headers.get(HOST)?.to_str().ok().and_then(split_authority)?;
    Some(Origin { https, host, port: port.unwrap_or(Origin::default_port(https)) })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn origins(texts: &[&str]) -> Vec<Origin> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn default_ports_and_case_make_no_difference() {
        for (one, other) in [
            ("http://chat.example", "HTTP://Chat.Example:80"),
            ("https://chat.example", "https://CHAT.example:443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(one.parse::<Origin>().unwrap(), other.parse().unwrap());
        }
        assert_ne!("https://a:80".parse::<Origin>().unwrap(), "http://a:80".parse().unwrap());
        assert_eq!("https://a:443".parse::<Origin>().unwrap().to_string(), "https://a");
        assert_eq!("https://a:8443".parse::<Origin>().unwrap().socket_source(), "wss://a:8443");
        assert_eq!("http://a".parse::<Origin>().unwrap().socket_source(), "ws://a");
    }

    #[test]
    fn what_is_no_origin() {
        for text in [
            "null",
            "",
            "chat.example",
            "ftp://a",
            "http://",
            "http://a/",
            "http://a/x",
            "http://u@a",
            "http://a:",
            "http://a:65536",
            "http://a:8x",
            "http://a:+80",
            "http://a b",
            "http://a,b",
            "http://[::1",
            "http://[zz]",
            "file://",
            "http://a?x",
            "http://a#x",
            "http://a;script-src *",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(InvalidOrigin), "{text:?}");
        }
    }

    #[test]
    fn sockets_without_public_origins() {
        for (lines, allowed) in [
            (&[("host", "chat.example")][..], true),
            (&[("host", "chat.example"), ("origin", "http://chat.example")], true),
            (&[("host", "chat.example"), ("origin", "https://chat.example")], true),
            (&[("host", "chat.example:443"), ("origin", "https://chat.example")], true),
            (&[("host", "CHAT.example"), ("origin", "http://chat.example")], true),
            (&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")], true),
            (&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8081")], false),
            (&[("host", "chat.example"), ("origin", "http://chat.example:8080")], false),
            (&[("host", "chat.example"), ("origin", "http://evil.example")], false),
            (&[("host", "chat.example"), ("origin", "http://chat.example.evil.example")], false),
            (&[("host", "chat.example"), ("origin", "http://evilchat.example")], false),
            (&[("host", "chat.example"), ("origin", "null")], false),
            (&[("host", "chat.example"), ("origin", "")], false),
            (&[("origin", "http://chat.example")], false),
            (&[("host", "a"), ("origin", "http://a"), ("origin", "http://evil.example")], false),
        ] {
            assert_eq!(may_open_socket(&headers(lines), &[]), allowed, "{lines:?}");
        }
    }

    #[test]
    fn sockets_with_public_origins_match_exactly() {
        let public = origins(&["https://chat.example", "http://127.0.0.1:8080"]);
        for (origin, allowed) in [
            ("https://chat.example", true),
            ("https://chat.example:443", true),
            ("http://127.0.0.1:8080", true),
            ("http://chat.example", false),
            ("https://chat.example:8443", false),
            ("https://evil.example", false),
            ("null", false),
        ] {
            // `Host` says what the attacker likes; with public origins it is not asked.
            let headers = headers(&[("host", "evil.example"), ("origin", origin)]);
            assert_eq!(may_open_socket(&headers, &public), allowed, "{origin}");
        }
        assert!(may_open_socket(&headers(&[("host", "anything")]), &public));
    }

    #[test]
    fn posts() {
        for (lines, allowed) in [
            (&[("host", "a"), ("sec-fetch-site", "same-origin")][..], true),
            (&[("host", "a"), ("sec-fetch-site", "none")], true),
            (&[("host", "a"), ("sec-fetch-site", "same-site")], false),
            (&[("host", "a"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "a"), ("sec-fetch-site", "cross-site"), ("origin", "http://a")], false),
            (&[("host", "a"), ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "a"), ("origin", "http://a")], true),
            (&[("host", "a"), ("origin", "http://b")], false),
            (&[("host", "a"), ("origin", "null")], false),
            (&[("host", "a")], true),
        ] {
            assert_eq!(may_post(&headers(lines), &[]), allowed, "{lines:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_display_parses_back(text in "(https?://)?[a-zA-Z0-9.:\\[\\]@/-]{0,30}") {
            if let Ok(origin) = text.parse::<Origin>() {
                prop_assert_eq!(origin.to_string().parse::<Origin>().unwrap(), origin);
            }
        }
    }
}
