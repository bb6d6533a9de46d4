//! Opens connections to Redis, one step at a time.
//!
//! Each step has its own time limit, and an error names the step and the address: a name server that does not answer must
//! not look like a Redis that does not.

use std::{
    fmt::Display,
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::{Pin, pin},
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, RedisConnectionInfo,
    aio::{MultiplexedConnection, PubSub},
    io::tcp::socket2::{SockRef, TcpKeepalive},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};

use crate::redis::config::{InvalidRedisUrl, RESPONSE_TIMEOUT};

/// Maximum time to look up a host name. A resolver waits 5 s for each silent name server before it asks the next one
/// (resolv.conf(5)), and may do so for several search domains.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);
/// A look-up that takes longer is reported while it continues.
const SLOW_LOOKUP: Duration = Duration::from_secs(2);
/// Maximum time to connect to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where Redis is, and how to log in.
#[derive(Debug)]
pub(in super::super) struct Connector {
    target: Target,
    settings: RedisConnectionInfo,
    /// Number of attempts to connect. Each starts with another address of the host.
    attempts: AtomicUsize,
}

#[derive(Debug)]
enum Target {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Connector {
    /// # Errors
    /// [`InvalidRedisUrl`] if the address needs TLS, which this build lacks.
    pub(in super::super) fn new(info: &ConnectionInfo) -> Result<Self, InvalidRedisUrl> {
        let target = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Target::Tcp(host.clone(), *port),
            ConnectionAddr::Unix(path) => Target::Unix(path.clone()),
            _ => return Err(InvalidRedisUrl("this build does not support TLS".to_owned())),
        };
        Ok(Self { target, settings: info.redis_settings().clone(), attempts: AtomicUsize::new(0) })
    }

    /// Opens a connection for commands, and returns it with the address to which it leads. `slow` is called with a reason
    /// while a step takes long.
    ///
    /// # Errors
    /// The step that failed, the address and the cause, for people and without secrets.
    pub(in super::super) async fn open(&self, slow: impl Fn(&str)) -> Result<(MultiplexedConnection, String), String> {
        let (stream, address) = self.connect(slow).await?;
        // The caller bounds the time for a reply.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let handshake = MultiplexedConnection::new_with_config(&self.settings, stream, config);
        let (connection, driver) = within(RESPONSE_TIMEOUT, "AUTH and SELECT", &address, handshake).await?;
        tokio::spawn(driver);
        Ok((connection, address))
    }

    /// Opens a connection for subscriptions. Otherwise like [`open`](Self::open).
    pub(in super::super) async fn open_pubsub(&self, slow: impl Fn(&str)) -> Result<(PubSub, String), String> {
        let (stream, address) = self.connect(slow).await?;
        let pubsub = within(RESPONSE_TIMEOUT, "AUTH and SELECT", &address, PubSub::new(&self.settings, stream)).await?;
        Ok((pubsub, address))
    }

    async fn connect(&self, slow: impl Fn(&str)) -> Result<(Stream, String), String> {
        let (host, port) = match &self.target {
            Target::Tcp(host, port) => (host, *port),
            Target::Unix(path) => return connect_unix(path).await,
        };
        let mut addresses = look_up(host, port, slow).await?;
        // If the first address accepts connections but does not work, the next attempt uses the second one.
        let first = self.attempts.fetch_add(1, Ordering::Relaxed) % addresses.len();
        addresses.rotate_left(first);
        let mut failure = String::new();
        for address in addresses {
            let name = name_of(host, &address);
            match within(CONNECT_TIMEOUT, "connecting", &name, TcpStream::connect(address)).await {
                Ok(stream) => {
                    set_options(&stream).map_err(|error| format!("socket options for {name}: {error}"))?;
                    return Ok((Stream::Tcp(stream), name));
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

async fn connect_unix(path: &Path) -> Result<(Stream, String), String> {
    let name = path.display().to_string();
    let stream = within(CONNECT_TIMEOUT, "connecting", &name, UnixStream::connect(path)).await?;
    Ok((Stream::Unix(stream), name))
}

/// The addresses of a host; at least one.
async fn look_up(host: &str, port: u16, slow: impl Fn(&str)) -> Result<Vec<SocketAddr>, String> {
    let mut lookup = pin!(lookup_host((host, port)));
    let found = match timeout(SLOW_LOOKUP, &mut lookup).await {
        Ok(found) => found,
        Err(_) => {
            slow(&format!("the look-up of {host} takes more than {} s", SLOW_LOOKUP.as_secs()));
            let rest = LOOKUP_TIMEOUT.saturating_sub(SLOW_LOOKUP);
            timeout(rest, lookup).await.map_err(|_| no_answer("look-up", host, LOOKUP_TIMEOUT))?
        }
    };
    let addresses: Vec<_> = found.map_err(|error| format!("look-up of {host}: {error}"))?.collect();
    if addresses.is_empty() { Err(format!("look-up of {host}: it has no address")) } else { Ok(addresses) }
}

/// Awaits a step for at most `limit`.
pub(in super::super) async fn within<T, E: Display>(
    limit: Duration,
    step: &str,
    address: &str,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(limit, future).await {
        Ok(result) => result.map_err(|error| format!("{step} at {address}: {error}")),
        Err(_) => Err(no_answer(step, address, limit)),
    }
}

fn no_answer(step: &str, address: &str, limit: Duration) -> String {
    format!("{step} at {address}: no answer within {} s", limit.as_secs())
}

/// `host (ip:port)`, or `ip:port` if the host is an address.
fn name_of(host: &str, address: &SocketAddr) -> String {
    if address.ip().to_string() == host { address.to_string() } else { format!("{host} ({address})") }
}

/// The redis crate and tokio set none of these by default.
fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
    socket.set_tcp_keepalive(&keepalive)?;
    // Maximum time for which sent bytes may stay unacknowledged before the kernel ends the connection (tcp(7)).
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(10)))?;
    Ok(())
}

/// The byte stream of a connection.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
