//! The connection that carries commands.

use std::{
    error::Error,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{ErrorKind, FromRedisValue, RedisError, ScriptInvocation, ServerErrorKind, aio::MultiplexedConnection};
use tokio::{sync::Mutex, time::timeout};
use trunkline_redis::{
    CommandConnection, ConnectError, Connector, InvalidRedisSettings, RedisOptions, RedisUrl, Topology,
};

use crate::SessionError;

/// Time limit of one Redis command, and of each step of connecting.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit of one operation: connecting, and up to two commands.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(3);
/// How long operations fail at once after a failed connect, so that no queue forms while Redis is away.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

type BoxError = Box<dyn Error + Send + Sync>;

/// A failed command: no reply within [`COMMAND_TIMEOUT`], a connection that broke, or an error reply.
#[derive(Debug, thiserror::Error)]
#[error("command to Redis at {address}: {source}")]
struct RedisCommandError {
    address: String,
    source: RedisError,
}

/// The command connection to one Redis. It is opened when it is first needed, and all operations share it: a command does
/// not wait for the reply to another one.
pub(super) struct RedisLink {
    connector: Arc<Connector>,
    state: Mutex<LinkConnection>,
}

#[derive(Default)]
struct LinkConnection {
    connection: Option<CommandConnection>,
    /// The number of connections opened so far, so that a failure discards only the connection it happened on.
    opened: u64,
    failed: Option<(Instant, ConnectError)>,
}

/// What an operation takes of the connection.
struct LinkHandle {
    connection: MultiplexedConnection,
    address: String,
    number: u64,
}

impl RedisLink {
    /// Checks the URL and reads the files of the options. Does not connect.
    pub(super) fn new(url: &str, options: &RedisOptions) -> Result<Self, InvalidRedisSettings> {
        let url: RedisUrl = url.parse()?;
        if matches!(url.topology(), Topology::Cluster { .. }) {
            return Err(InvalidRedisSettings::Unsupported("sessions in a Redis Cluster are not supported yet"));
        }
        let connector = Arc::new(Connector::new(&url, options, COMMAND_TIMEOUT)?);
        Ok(Self { connector, state: Mutex::default() })
    }

    pub(super) fn connector(&self) -> Arc<Connector> {
        self.connector.clone()
    }

    pub(super) fn database(&self) -> u32 {
        self.connector.database()
    }

    /// Runs a script that may run twice. Runs it again on a new connection if this one turns out to be closed.
    pub(super) async fn run_repeatable<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, SessionError> {
        within_limit(async {
            let mut handle = self.handle().await?;
            match self.run(&mut handle, script).await {
                Err(error) if error.source.is_connection_dropped() => {
                    Ok(self.run(&mut self.handle().await?, script).await?)
                }
                reply => Ok(reply?),
            }
        })
        .await
    }

    /// Runs a script once, on a connection that has just answered.
    pub(super) async fn run_once<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, SessionError> {
        within_limit(async {
            let mut handle = self.handle().await?;
            if let Err(error) = redis::cmd("PING").exec_async(&mut handle.connection).await {
                self.note(&error, &handle).await;
                // A new connection has answered while it was set up.
                handle = self.handle().await?;
            }
            Ok(self.run(&mut handle, script).await?)
        })
        .await
    }

    async fn run<T: FromRedisValue>(
        &self,
        handle: &mut LinkHandle,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisCommandError> {
        match script.invoke_async(&mut handle.connection).await {
            Ok(reply) => Ok(reply),
            Err(source) => {
                self.note(&source, handle).await;
                Err(RedisCommandError { address: handle.address.clone(), source })
            }
        }
    }

    /// A handle of the connection, which is opened if there is none or if it leads to a former master.
    async fn handle(&self) -> Result<LinkHandle, ConnectError> {
        let mut state = self.state.lock().await;
        state.connection.take_if(|open| !self.connector.is_current(open.endpoint()));
        if let Some(open) = &state.connection {
            return Ok(LinkHandle::new(open, state.opened));
        }
        if let Some((failed, error)) = &state.failed
            && failed.elapsed() < RECONNECT_PAUSE
        {
            return Err(error.clone());
        }
        match self.connector.open().await {
            Ok(mut open) => {
                open.connection.set_response_timeout(COMMAND_TIMEOUT);
                state.opened += 1;
                state.failed = None;
                let handle = LinkHandle::new(&open, state.opened);
                state.connection = Some(open);
                Ok(handle)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Discards the connection if another one may work where this one failed: it is closed, it did not answer in time, or
    /// the server at its other end has become a replica.
    async fn note(&self, error: &RedisError, handle: &LinkHandle) {
        let is_condemned = error.is_unrecoverable_error()
            || error.is_timeout()
            || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
        let mut state = self.state.lock().await;
        if is_condemned && state.opened == handle.number {
            state.connection = None;
        }
    }
}

impl LinkHandle {
    fn new(open: &CommandConnection, number: u64) -> Self {
        Self { connection: open.connection.clone(), address: open.address().to_owned(), number }
    }
}

async fn within_limit<T>(operation: impl Future<Output = Result<T, BoxError>>) -> Result<T, SessionError> {
    match timeout(OPERATION_TIMEOUT, operation).await {
        Ok(done) => done.map_err(SessionError::Unavailable),
        Err(_) => Err(SessionError::unavailable(format!("the operation took longer than {OPERATION_TIMEOUT:?}"))),
    }
}
