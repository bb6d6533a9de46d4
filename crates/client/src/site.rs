//! The address of a deployment, and connections to it.

use std::{fmt, io, str::FromStr};

use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, tungstenite::http::Uri};

use crate::Error;

/// Where a deployment is reached: `http://host:port` (or `https://`, with the feature `tls`). Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    tls: bool,
    host: Box<str>,
    port: u16,
}

/// A connection, encrypted where the address says so.
pub(crate) type Stream = MaybeTlsStream<TcpStream>;

impl Site {
    /// The address of the WebSocket endpoint.
    #[must_use]
    pub fn socket_url(&self) -> String {
        format!("{}://{}/ws", if self.tls { "wss" } else { "ws" }, self.authority())
    }

    /// Host and port, as the `Host` header has them (RFC 9110 section 7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Host and port to connect to; an IPv6 address without its brackets.
    #[must_use]
    pub fn address(&self) -> (&str, u16) {
        (self.host.trim_start_matches('[').trim_end_matches(']'), self.port)
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        let tcp = TcpStream::connect(self.address()).await?;
        tcp.set_nodelay(true)?;
        if self.tls { self.encrypt(tcp).await } else { Ok(Stream::Plain(tcp)) }
    }

    #[cfg(feature = "tls")]
    async fn encrypt(&self, tcp: TcpStream) -> io::Result<Stream> {
        let name = self.address().0.to_owned().try_into().map_err(io::Error::other)?;
        Ok(Stream::Rustls(crate::tls::connector().connect(name, tcp).await?))
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_async, reason = "the same shape as with TLS")]
    async fn encrypt(&self, _: TcpStream) -> io::Result<Stream> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "built without the feature `tls`"))
    }
}

impl FromStr for Site {
    type Err = Error;

    fn from_str(address: &str) -> Result<Self, Error> {
        let wrong = |reason| Error::Address { address: address.to_owned(), reason };
        let uri: Uri = address.parse().map_err(|_| wrong("not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") if cfg!(feature = "tls") => true,
            Some("https") => return Err(wrong("this program was built without TLS")),
            _ => return Err(wrong("it must start with http:// or https://")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("give scheme, host and port only, without a path"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host: host.into(), port })
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let site: Site = "http://127.0.0.1:8080/".parse().unwrap();
        assert_eq!((site.address(), site.socket_url().as_str()), (("127.0.0.1", 8080), "ws://127.0.0.1:8080/ws"));
        let site: Site = "http://[::1]:8080".parse().unwrap();
        assert_eq!((site.address(), site.authority().as_str()), (("::1", 8080), "[::1]:8080"));
        let site: Site = "http://chat.example".parse().unwrap();
        assert_eq!((site.address(), site.to_string().as_str()), (("chat.example", 80), "http://chat.example"));
    }

    #[test]
    fn other_addresses_are_refused() {
        for address in ["", "localhost", "127.0.0.1:8080", "ws://a", "http://a/chat", "http://a/?x=1", "http:///"] {
            assert!(address.parse::<Site>().is_err(), "{address:?}");
        }
    }
}
