//! The URL of a gateway or deployment, and connections to it.

use std::{fmt, io, str::FromStr};

use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, tungstenite::http::Uri};

use crate::ClientError;

/// The URL of a gateway or deployment: `http://host[:port]`, or `https://` with the feature `tls`.
///
/// The parser is [`Uri`] of the `http` crate, which tungstenite and hyper use anyway. The `url` crate would add 28
/// crates, most of them for internationalised domain names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayUrl {
    tls: bool,
    host: Box<str>,
    port: u16,
}

/// A TCP connection, with TLS if the URL says so.
pub(crate) type GatewayStream = MaybeTlsStream<TcpStream>;

impl GatewayUrl {
    /// The URL of the WebSocket endpoint.
    #[must_use]
    pub fn socket_url(&self) -> String {
        format!("{}://{}/ws", if self.tls { "wss" } else { "ws" }, self.authority())
    }

    /// Host and port as in the `Host` header (RFC 9110 section 7.2): without the scheme's default port.
    #[must_use]
    pub fn authority(&self) -> String {
        let default = if self.tls { 443 } else { 80 };
        if self.port == default { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Host and port for a TCP connect. An IPv6 address has no brackets.
    #[must_use]
    pub fn host_and_port(&self) -> (&str, u16) {
        (self.host.trim_start_matches('[').trim_end_matches(']'), self.port)
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> io::Result<GatewayStream> {
        let tcp = TcpStream::connect(self.host_and_port()).await?;
        tcp.set_nodelay(true)?;
        if self.tls { self.start_tls(tcp).await } else { Ok(GatewayStream::Plain(tcp)) }
    }

    #[cfg(feature = "tls")]
    async fn start_tls(&self, tcp: TcpStream) -> io::Result<GatewayStream> {
        let name = self.host_and_port().0.to_owned().try_into().map_err(io::Error::other)?;
        Ok(GatewayStream::Rustls(crate::tls::connector().connect(name, tcp).await?))
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_async, reason = "the same signature as with TLS")]
    async fn start_tls(&self, _: TcpStream) -> io::Result<GatewayStream> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "built without the feature `tls`"))
    }
}

impl FromStr for GatewayUrl {
    type Err = ClientError;

    fn from_str(url: &str) -> Result<Self, ClientError> {
        let invalid = |reason| ClientError::InvalidUrl { url: url.to_owned(), reason };
        let uri: Uri = url.parse().map_err(|_| invalid("not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") if cfg!(feature = "tls") => true,
            Some("https") => return Err(invalid("this program was built without TLS")),
            _ => return Err(invalid("it must start with http:// or https://")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(invalid("it must consist of scheme, host and port, without a path"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| invalid("it has no host"))?;
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host: host.into(), port })
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        let url: GatewayUrl = "http://127.0.0.1:8080/".parse().unwrap();
        assert_eq!((url.host_and_port(), url.socket_url().as_str()), (("127.0.0.1", 8080), "ws://127.0.0.1:8080/ws"));
        let url: GatewayUrl = "http://[::1]:8080".parse().unwrap();
        assert_eq!((url.host_and_port(), url.authority().as_str()), (("::1", 8080), "[::1]:8080"));
        let url: GatewayUrl = "http://chat.example".parse().unwrap();
        assert_eq!((url.host_and_port(), url.to_string().as_str()), (("chat.example", 80), "http://chat.example"));
    }

    #[test]
    fn invalid_urls_are_refused() {
        for url in ["", "localhost", "127.0.0.1:8080", "ws://a", "http://a/chat", "http://a/?x=1", "http:///"] {
            assert!(url.parse::<GatewayUrl>().is_err(), "{url:?}");
        }
    }
}
