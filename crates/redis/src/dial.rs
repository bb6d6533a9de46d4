//! Opens byte streams to servers, one step at a time, and tries all addresses of a host.

use std::{
    fmt::Display,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{sleep, timeout},
};
use tokio_rustls::client::TlsStream;

use crate::{
    error::{ConnectError, ConnectStep, no_answer_within},
    lookup::Resolver,
    tls::{Tls, explained},
    url::{Endpoint, NodeAddress},
};

/// After this time without a result the next address is tried as well (RFC 8305 section 5 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// TCP_USER_TIMEOUT, and the idle time before keep-alive probes: the kernel closes a connection whose peer acknowledges no
/// data for this long (tcp(7)).
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens byte streams.
pub(crate) struct Dialer {
    pub(crate) resolver: Resolver,
    pub(crate) tls: Option<Tls>,
    /// Time limit of each step.
    pub(crate) step_timeout: Duration,
    /// Number of attempts so far. Each starts with another address of the host: one that accepts connections and whose
    /// server cannot be used must not be tried for ever.
    pub(crate) attempts: AtomicUsize,
}

/// What to do with a stream that is connected, given the text for errors that names its host and address.
pub(crate) trait SetUp<T>: Fn(RedisStream, String) -> BoxFuture<'static, Result<T, ConnectError>> {}
impl<T, F: Fn(RedisStream, String) -> BoxFuture<'static, Result<T, ConnectError>>> SetUp<T> for F {}

impl Dialer {
    /// Connects to all addresses of the endpoint, each up to the end of `set_up`, and returns the first result: the second
    /// address is tried when the first has failed or after 250 ms, and so on.
    ///
    /// # Errors
    /// The step that failed, at the last of the addresses that failed.
    pub(crate) async fn open<T>(&self, endpoint: &Endpoint, set_up: impl SetUp<T>) -> Result<T, ConnectError> {
        match endpoint {
            Endpoint::Unix(path) => {
                let target = endpoint.to_string();
                let stream = self.step(ConnectStep::Connect, &target, UnixStream::connect(path)).await?;
                set_up(RedisStream::Unix(stream), target).await
            }
            Endpoint::Tcp(node) => {
                let addresses = self.addresses(node).await?;
                first_success(addresses.into_iter().map(|address| self.open_address(node, address, &set_up))).await
            }
        }
    }

    async fn addresses(&self, node: &NodeAddress) -> Result<Vec<SocketAddr>, ConnectError> {
        let found = self.resolver.resolve(&node.host, node.port, self.step_timeout).await;
        let mut addresses = found.map_err(|cause| ConnectError::new(ConnectStep::Lookup, &node.host, cause))?;
        let first = self.attempts.fetch_add(1, Ordering::Relaxed) % addresses.len();
        addresses.rotate_left(first);
        Ok(addresses)
    }

    async fn open_address<T>(
        &self,
        node: &NodeAddress,
        address: SocketAddr,
        set_up: &impl SetUp<T>,
    ) -> Result<T, ConnectError> {
        let target = match node.host.parse::<IpAddr>() {
            Ok(_) => address.to_string(),
            Err(_) => format!("{node} ({})", address.ip()),
        };
        let stream = self.step(ConnectStep::Connect, &target, tcp(address)).await?;
        let stream = match &self.tls {
            None => RedisStream::Tcp(stream),
            Some(tls) => {
                let handshake = tls.handshake(&node.host, stream);
                RedisStream::Tls(Box::new(self.step(ConnectStep::Tls, &target, handshake).await?))
            }
        };
        set_up(stream, target).await
    }

    async fn step<T, E: Display>(
        &self,
        step: ConnectStep,
        target: &str,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ConnectError> {
        within(self.step_timeout, step, target, future).await
    }
}

/// Awaits a step for at most `limit`.
pub(crate) async fn within<T, E: Display>(
    limit: Duration,
    step: ConnectStep,
    target: &str,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, ConnectError> {
    match timeout(limit, future).await {
        Ok(result) => result.map_err(|error| ConnectError::new(step, target, error)),
        // Redis without TLS waits for the end of what it takes for a command.
        Err(_) if matches!(step, ConnectStep::Tls) => {
            let cause = format!("{}; compare the port, or use a URL without TLS", no_answer_within(limit));
            Err(ConnectError::new(step, target, cause))
        }
        Err(_) => Err(ConnectError::new(step, target, no_answer_within(limit))),
    }
}

/// Runs attempts one after another, the next one also if the one before takes longer than [`STAGGER`], and returns the first
/// success. There is at least one attempt.
///
/// # Errors
/// The last failure.
pub(crate) async fn first_success<T>(
    attempts: impl Iterator<Item = impl Future<Output = Result<T, ConnectError>>>,
) -> Result<T, ConnectError> {
    let mut attempts = attempts.fuse();
    let mut running = FuturesUnordered::new();
    let mut failure = None;
    loop {
        running.extend(attempts.next());
        let mut pause = pin!(sleep(STAGGER));
        let result = loop {
            tokio::select! {
                result = running.next() => break result,
                () = &mut pause => match attempts.next() {
                    Some(attempt) => {
                        running.push(attempt);
                        pause.set(sleep(STAGGER));
                    }
                    None => break running.next().await,
                },
            }
        };
        match (result, failure.take()) {
            (Some(Ok(success)), _) => return Ok(success),
            (Some(Err(error)), _) => failure = Some(error),
            (None, Some(error)) => return Err(error),
            (None, None) => return Err(ConnectError::new(ConnectStep::Connect, "Redis", "there is no address")),
        }
    }
}

/// The redis crate and tokio set none of these options by default.
async fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let interval = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new().with_time(UNACKNOWLEDGED_TIMEOUT).with_interval(interval).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
    Ok(stream)
}

/// The byte stream of a connection.
pub(crate) enum RedisStream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed: it is much larger than the others.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for RedisStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            // With TLS 1.3 the server refuses a client certificate after the client's handshake has ended.
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf).map_err(explained),
        }
    }
}

impl AsyncWrite for RedisStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
