//! Web origins: the scheme, host and port of a web site.

use std::{fmt, str::FromStr};

use url::{Host, Url};

/// Scheme, host and port of a web site, such as `https://chat.example.org` or `http://127.0.0.1:8080`. Two origins are
/// equal if they differ only in letter case or in naming the scheme's default port (RFC 6454 section 4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(
    /// Always a tuple with the scheme `http` or `https`.
    url::Origin,
);

/// A text is not an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is http:// or https://, a host, and the port unless it is 80 or 443, without a path")]
pub struct InvalidOrigin;

impl Origin {
    /// Parses the `host[:port]` of a `Host` header or URL.
    pub(crate) fn from_authority(https: bool, authority: &str) -> Option<Self> {
        let scheme = if https { "https" } else { "http" };
        format!("{scheme}://{authority}").parse().ok()
    }

    /// Returns whether pages of this origin are served over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        matches!(&self.0, url::Origin::Tuple(scheme, ..) if scheme == "https")
    }

    /// Returns the origin's WebSockets as a `connect-src` source of a Content-Security-Policy.
    pub(crate) fn websocket_source(&self) -> String {
        self.to_string().replacen("http", "ws", 1)
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    /// Accepts only the serialization of an origin, in any letter case and with or without the default port: `Url`
    /// alone also accepts paths, credentials, spaces and backslashes.
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let url = Url::parse(text).map_err(|_| InvalidOrigin)?;
        // The host becomes part of a Content-Security-Policy, where ';' and ',' would end the directive.
        let host_is_plain = match url.host() {
            Some(Host::Domain(name)) => name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
            None => false,
        };
        if !matches!(url.scheme(), "http" | "https") || !host_is_plain {
            return Err(InvalidOrigin);
        }
        let origin = url.origin();
        let serialized = origin.ascii_serialization();
        let rest = text.to_ascii_lowercase();
        let default_port = url.port_or_known_default().filter(|_| url.port().is_none());
        let is_exact = match rest.strip_prefix(&serialized) {
            Some("") => true,
            Some(port) => default_port.is_some_and(|default| port == format!(":{default}")),
            None => false,
        };
        if is_exact { Ok(Self(origin)) } else { Err(InvalidOrigin) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.ascii_serialization())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn default_port_and_letter_case_make_no_difference() {
        for (one, other) in [
            ("http://chat.example", "HTTP://Chat.Example:80"),
            ("https://chat.example", "https://CHAT.example:443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(one.parse::<Origin>().unwrap(), other.parse().unwrap());
        }
        assert_ne!("https://a:80".parse::<Origin>().unwrap(), "http://a:80".parse().unwrap());
        assert_eq!("https://a:443".parse::<Origin>().unwrap().to_string(), "https://a");
        assert_eq!("https://a:8443".parse::<Origin>().unwrap().websocket_source(), "wss://a:8443");
        assert_eq!("http://a".parse::<Origin>().unwrap().websocket_source(), "ws://a");
    }

    #[test]
    fn other_texts_are_not_origins() {
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
            "http://a;script-src",
            "http:\\\\a",
            " http://a",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(InvalidOrigin), "{text:?}");
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
