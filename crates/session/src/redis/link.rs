//! The connections that carry commands: one shared by session look-ups, a pool for everything else.

use std::{
    error::Error,
    future::Future,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::{Duration, Instant},
};

use deadpool::{
    Runtime,
    managed::{Manager, Metrics, Pool, RecycleError, RecycleResult},
};
use redis::{ErrorKind, FromRedisValue, RedisError, ScriptInvocation, ServerErrorKind, aio::MultiplexedConnection};
use tokio::{sync::Mutex, time::timeout};
use trunkline_redis::{
    CommandConnection, ConnectError, Connector, InvalidRedisSettings, RedisOptions, RedisUrl, Topology,
};

use crate::SessionError;

/// Time limit of one Redis command, and of each step of connecting.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit of one operation: waiting for a connection, connecting, and up to two commands.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(3);
/// How long operations fail at once after a failed connect, so that no queue forms while Redis is away.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// Connections in the pool. Scripts take some microseconds each, so a few connections are enough.
const POOL_SIZE: usize = 8;

type BoxError = Box<dyn Error + Send + Sync>;

/// A failed command: no reply within [`COMMAND_TIMEOUT`], a connection that broke, or an error reply.
#[derive(Debug, thiserror::Error)]
#[error("command to Redis at {address}: {source}")]
struct RedisCommandError {
    address: String,
    source: RedisError,
}

/// The command connections to one Redis. Each is opened when it is first needed.
pub(super) struct RedisConnections {
    connector: Arc<Connector>,
    /// For scripts that may run twice. Multiplexed: a command does not wait for the reply to another one.
    shared: Mutex<SharedConnection>,
    /// For scripts that must run at most once.
    pool: Pool<PoolManager>,
}

#[derive(Default)]
struct SharedConnection {
    connection: Option<CommandConnection>,
    /// The number of connections opened so far, so that a failure discards only the connection it happened on.
    generation: u64,
    failed: Option<(Instant, ConnectError)>,
}

impl RedisConnections {
    /// Checks the URL and reads the files of the options. Does not connect.
    pub(super) fn new(url: &str, options: &RedisOptions) -> Result<Self, InvalidRedisSettings> {
        let url: RedisUrl = url.parse()?;
        if matches!(url.topology(), Topology::Cluster { .. }) {
            return Err(InvalidRedisSettings::Unsupported("sessions in a Redis Cluster are not supported yet"));
        }
        let connector = Arc::new(Connector::new(&url, options, COMMAND_TIMEOUT)?);
        let manager = PoolManager { connector: connector.clone(), suspect_until: StdMutex::new(None) };
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .wait_timeout(Some(COMMAND_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a pool with timeouts has a runtime");
        Ok(Self { connector, shared: Mutex::default(), pool })
    }

    pub(super) fn connector(&self) -> Arc<Connector> {
        self.connector.clone()
    }

    pub(super) fn database(&self) -> u32 {
        self.connector.database()
    }

    /// Runs a script that may run twice on the shared connection. Runs it again on a new one if the connection turns
    /// out to be closed.
    pub(super) async fn on_shared<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, SessionError> {
        within_limit(async {
            let mut repeated = false;
            loop {
                let SharedHandle { mut connection, address, generation } = self.shared_connection().await?;
                let error = match script.invoke_async(&mut connection).await {
                    Ok(reply) => return Ok(reply),
                    Err(error) => error,
                };
                if condemns_connection(&error) {
                    self.discard_shared(generation).await;
                }
                if repeated || !error.is_connection_dropped() {
                    return Err(RedisCommandError { address, source: error }.into());
                }
                repeated = true;
            }
        })
        .await
    }

    /// Runs a script once, on a connection of the pool that has just answered a PING.
    pub(super) async fn on_pool<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, SessionError> {
        within_limit(async {
            let mut pooled = self.pool.get().await?;
            let address = pooled.address().to_owned();
            let reply = script.invoke_async(&mut pooled.connection).await;
            if reply.as_ref().is_err_and(condemns_connection) {
                drop(deadpool::managed::Object::take(pooled));
                self.pool.manager().suspect_all();
            }
            reply.map_err(|source| RedisCommandError { address, source }.into())
        })
        .await
    }

    /// A clone of the shared connection, which is opened if there is none or if it leads to a former master.
    async fn shared_connection(&self) -> Result<SharedHandle, ConnectError> {
        let mut shared = self.shared.lock().await;
        shared.connection.take_if(|open| !self.connector.is_current(open.endpoint()));
        if let Some(open) = &shared.connection {
            return Ok(SharedHandle::new(open, shared.generation));
        }
        if let Some((failed, error)) = &shared.failed
            && failed.elapsed() < RECONNECT_PAUSE
        {
            return Err(error.clone());
        }
        match open(&self.connector).await {
            Ok(open) => {
                shared.generation += 1;
                shared.failed = None;
                let handle = SharedHandle::new(&open, shared.generation);
                shared.connection = Some(open);
                Ok(handle)
            }
            Err(error) => {
                shared.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn discard_shared(&self, generation: u64) {
        let mut shared = self.shared.lock().await;
        if shared.generation == generation {
            shared.connection = None;
        }
    }
}

/// What an operation takes of the shared connection.
struct SharedHandle {
    connection: MultiplexedConnection,
    address: String,
    generation: u64,
}

impl SharedHandle {
    fn new(open: &CommandConnection, generation: u64) -> Self {
        Self { connection: open.connection.clone(), address: open.address().to_owned(), generation }
    }
}

/// Opens a connection on which each command fails after [`COMMAND_TIMEOUT`] without a reply.
async fn open(connector: &Connector) -> Result<CommandConnection, ConnectError> {
    let mut opened = connector.open().await?;
    opened.connection.set_response_timeout(COMMAND_TIMEOUT);
    Ok(opened)
}

/// Opens the pool's connections, and checks each one before it is used again.
struct PoolManager {
    connector: Arc<Connector>,
    /// Connections opened up to this time are not used again: one of them has failed, and the others have probably lost
    /// the same peer. Without this each of eight silent connections would cost an operation one second.
    suspect_until: StdMutex<Option<Instant>>,
}

impl PoolManager {
    fn suspect_all(&self) {
        *self.suspect_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn suspects(&self, opened: Instant) -> bool {
        self.suspect_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| opened <= until)
    }
}

impl Manager for PoolManager {
    type Type = CommandConnection;
    type Error = ConnectError;

    async fn create(&self) -> Result<CommandConnection, ConnectError> {
        open(&self.connector).await
    }

    async fn recycle(&self, pooled: &mut CommandConnection, metrics: &Metrics) -> RecycleResult<ConnectError> {
        if self.suspects(metrics.created) {
            return Err(RecycleError::message("another connection of the same time has failed"));
        }
        if !self.connector.is_current(pooled.endpoint()) {
            return Err(RecycleError::message("it leads to a former master"));
        }
        redis::cmd("PING").exec_async(&mut pooled.connection).await.map_err(|error| {
            self.suspect_all();
            RecycleError::message(error.to_string())
        })
    }
}

/// Whether another connection may work where this one failed: it is closed, it did not answer in time, or the server
/// at its other end has become a replica.
fn condemns_connection(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_timeout() || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

async fn within_limit<T>(operation: impl Future<Output = Result<T, BoxError>>) -> Result<T, SessionError> {
    match timeout(OPERATION_TIMEOUT, operation).await {
        Ok(done) => done.map_err(SessionError::Unavailable),
        Err(_) => Err(SessionError::unavailable(format!("the operation took longer than {OPERATION_TIMEOUT:?}"))),
    }
}
