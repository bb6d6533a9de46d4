//! Connecting to Redis: name look-up, TCP connect, set-up. Each step has its own time limit, and a failed one names
//! itself and the host.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt, TryFutureExt as _,
    future::{BoxFuture, Shared, select_ok},
};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, RedisConnectionInfo, RedisResult,
    aio::{MultiplexedConnection, PubSub},
    io::tcp::socket2::{SockRef, TcpKeepalive},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
    task::JoinHandle,
    time::{Instant, timeout},
};

/// Time limit of one Redis command.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit of one name look-up. glibc asks the next name server after 5 s of silence (resolv.conf(5)), so this is
/// enough for an answer from the third one. A look-up runs in the background and outlives the operation that started it.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(12);
/// How long an operation waits for a look-up when no earlier one has succeeded.
const LOOKUP_WAIT: Duration = Duration::from_secs(1);
/// Age at which addresses are looked up again. Until that look-up succeeds the old ones are used.
const LOOKUP_REFRESH: Duration = Duration::from_secs(5);
/// Time limit of a TCP connect, per address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit of the commands that redis-rs sends on a new connection: HELLO or AUTH, SELECT, CLIENT SETINFO.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(1);
/// TCP_USER_TIMEOUT and the idle time before keep-alive probes: the kernel closes a connection whose peer acknowledges
/// no data for this long.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(5);

/// A failed connect: the step, the host and, once known, the address. Contains no secret.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{step} {target}: {cause}")]
pub(super) struct ConnectError {
    step: ConnectStep,
    target: String,
    cause: String,
}

#[derive(Clone, Copy, Debug)]
enum ConnectStep {
    Lookup,
    Connect,
    SetUp,
}

impl fmt::Display for ConnectStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lookup => "name look-up of Redis at",
            Self::Connect => "connect to Redis at",
            Self::SetUp => "set-up (authentication, database) of the connection to Redis at",
        })
    }
}

/// A connection for commands. Its driver task ends with it, even while replies are missing.
pub(super) struct CommandConnection {
    pub(super) connection: MultiplexedConnection,
    driver: JoinHandle<()>,
}

impl Drop for CommandConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}
type RedisStream = Box<dyn ByteStream>;

/// Returns the addresses of a host and port.
type Lookup = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;
type RunningLookup = Shared<BoxFuture<'static, Result<Vec<SocketAddr>, String>>>;

enum Endpoint {
    Tcp(String, u16),
    Unix(PathBuf),
}

#[derive(Default)]
struct Addresses {
    /// The result of the last successful look-up, and when it was noticed.
    known: Option<(Vec<SocketAddr>, Instant)>,
    /// At most one at a time: getaddrinfo blocks a thread and cannot be cancelled.
    running: Option<RunningLookup>,
}

/// Opens connections to one Redis.
pub(super) struct Connector {
    endpoint: Endpoint,
    settings: RedisConnectionInfo,
    lookup: Lookup,
    addresses: Mutex<Addresses>,
}

impl Connector {
    /// `None` for a kind of address that needs TLS.
    pub(super) fn new(info: &ConnectionInfo) -> Option<Self> {
        let endpoint = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Endpoint::Tcp(host.clone(), *port),
            ConnectionAddr::Unix(path) => Endpoint::Unix(path.clone()),
            _ => return None,
        };
        let lookup: Lookup =
            Arc::new(|host, port| async move { lookup_host((host, port)).await.map(Iterator::collect) }.boxed());
        Some(Self { endpoint, settings: info.redis_settings().clone(), lookup, addresses: Mutex::default() })
    }

    /// Host and port, or the path of the socket. For errors.
    pub(super) fn target(&self) -> String {
        match &self.endpoint {
            Endpoint::Tcp(host, port) => format!("{host}:{port}"),
            Endpoint::Unix(path) => path.display().to_string(),
        }
    }

    /// Opens a connection for commands, each of which fails after [`COMMAND_TIMEOUT`] without a reply.
    ///
    /// # Errors
    /// The step that failed, at the last of the host's addresses that failed.
    pub(super) async fn connect(&self) -> Result<CommandConnection, ConnectError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(COMMAND_TIMEOUT));
        self.establish(|stream| {
            let set_up = MultiplexedConnection::new_with_config(&self.settings, stream, config.clone());
            set_up.map_ok(|(connection, driver)| CommandConnection { connection, driver: tokio::spawn(driver) }).boxed()
        })
        .await
    }

    /// Opens a connection for subscriptions.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub(super) async fn subscriber(&self) -> Result<PubSub, ConnectError> {
        self.establish(|stream| PubSub::new(&self.settings, stream).boxed()).await
    }

    /// Connects to all addresses at the same time and returns the first connection whose set-up succeeds. One after
    /// another, a few silent addresses would use up the time of an operation.
    async fn establish<'a, T>(
        &'a self,
        set_up: impl Fn(RedisStream) -> BoxFuture<'a, RedisResult<T>>,
    ) -> Result<T, ConnectError> {
        let (host, port) = match &self.endpoint {
            Endpoint::Unix(path) => {
                let stream = async { UnixStream::connect(path).await.map(|stream| Box::new(stream) as RedisStream) };
                return attempt(self.target(), stream, &set_up).await;
            }
            Endpoint::Tcp(host, port) => (host, *port),
        };
        let attempts = self.addresses(host, port).await?.into_iter().map(|address| {
            let target = match host.parse::<IpAddr>() {
                Ok(_) => address.to_string(),
                Err(_) => format!("{host}:{port} ({})", address.ip()),
            };
            Box::pin(attempt(target, tcp(address), &set_up))
        });
        select_ok(attempts).await.map(|(connection, _)| connection)
    }

    /// The addresses of the host, at least one: those of the last successful look-up or, if there is none, those of a
    /// look-up that takes at most [`LOOKUP_WAIT`].
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![(ip, port).into()]);
        }
        let failed = |cause: String| ConnectError { step: ConnectStep::Lookup, target: self.target(), cause };
        let running = {
            let addresses = &mut *self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = addresses.running.clone().and_then(FutureExt::now_or_never) {
                addresses.running = None;
                if let Ok(found) = found {
                    addresses.known = Some((found, Instant::now()));
                }
            }
            if let Some((known, since)) = &addresses.known {
                if since.elapsed() >= LOOKUP_REFRESH {
                    addresses.running.get_or_insert_with(|| self.start_lookup(host, port));
                }
                return Ok(known.clone());
            }
            addresses.running.get_or_insert_with(|| self.start_lookup(host, port)).clone()
        };
        match timeout(LOOKUP_WAIT, running).await {
            Ok(found) => found.map_err(failed),
            Err(_) => Err(failed(no_answer_within(LOOKUP_WAIT))),
        }
    }

    fn start_lookup(&self, host: &str, port: u16) -> RunningLookup {
        let found = timeout(LOOKUP_TIMEOUT, (self.lookup)(host.to_owned(), port));
        let found = tokio::spawn(async move {
            match found.await {
                Ok(Ok(found)) if found.is_empty() => Err("the name has no address".to_owned()),
                Ok(found) => found.map_err(|error| error.to_string()),
                Err(_) => Err(no_answer_within(LOOKUP_TIMEOUT)),
            }
        });
        // A runtime that ends cancels the task.
        found.map(|found| found.unwrap_or_else(|error| Err(error.to_string()))).boxed().shared()
    }
}

/// Connects to one address and sets the connection up.
async fn attempt<'a, T>(
    target: String,
    stream: impl Future<Output = io::Result<RedisStream>>,
    set_up: impl Fn(RedisStream) -> BoxFuture<'a, RedisResult<T>>,
) -> Result<T, ConnectError> {
    let connected = match timeout(CONNECT_TIMEOUT, stream).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err(no_answer_within(CONNECT_TIMEOUT)),
    };
    let stream = match connected {
        Ok(stream) => stream,
        Err(cause) => return Err(ConnectError { step: ConnectStep::Connect, target, cause }),
    };
    let ready = match timeout(SET_UP_TIMEOUT, set_up(stream)).await {
        Ok(ready) => ready.map_err(|error| error.to_string()),
        Err(_) => Err(no_answer_within(SET_UP_TIMEOUT)),
    };
    ready.map_err(|cause| ConnectError { step: ConnectStep::SetUp, target, cause })
}

async fn tcp(address: SocketAddr) -> io::Result<RedisStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(UNACKNOWLEDGED_TIMEOUT).with_interval(Duration::from_secs(1)).with_retries(3);
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
    Ok(Box::new(stream))
}

fn no_answer_within(limit: Duration) -> String {
    format!("no answer within {limit:?}")
}

#[cfg(test)]
mod tests;
