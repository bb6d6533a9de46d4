//! The connection that carries commands to one server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{Cmd, RedisError, ServerErrorKind, Value, aio::MultiplexedConnection};
use tokio::sync::Mutex;
use trunkline_redis::{CommandConnection, ConnectError, Connector, NodeAddress, exchange};

use super::call::{RedisCall, RedisCommandError, Reply};

/// Time limit of one Redis command, and of each step of connecting.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// How long operations fail at once after a failed connect, so that no queue forms while Redis is away.
pub(super) const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// A failed attempt to send a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Command(#[from] RedisCommandError),
}

/// The command connection to one server. It is opened when it is first needed, and all operations share it: a command does
/// not wait for the reply to another one.
pub(super) struct RedisLink {
    connector: Arc<Connector>,
    /// A master of a cluster. `None`: the server, or the master that the Sentinels name.
    node: Option<NodeAddress>,
    /// Whether the last connect or command succeeded.
    is_up: AtomicBool,
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
    /// Does not connect.
    pub(super) fn new(connector: Arc<Connector>, node: Option<NodeAddress>) -> Self {
        Self { connector, node, is_up: AtomicBool::new(false), state: Mutex::default() }
    }

    /// Whether the last connect or command succeeded.
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// Sends a call, after `ASKING` if `is_asking`: then the server executes it although it does not own the slot yet. The
    /// reply may be an error. A repeatable call is sent again on a new connection if this one turns out to be closed; another
    /// one is sent on a connection that has just answered.
    pub(super) async fn call(&self, call: &RedisCall<'_>, is_asking: bool) -> Result<Reply, LinkError> {
        let mut handle = self.handle().await?;
        if !call.is_repeatable && self.send(&mut handle, &[redis::cmd("PING")]).await.is_err() {
            // A new connection has answered while it was set up.
            handle = self.handle().await?;
        }
        match self.run(&mut handle, call, is_asking).await {
            Err(error) if call.is_repeatable && error.source.is_connection_dropped() => {
                Ok(self.run(&mut self.handle().await?, call, is_asking).await?)
            }
            reply => Ok(reply?),
        }
    }

    /// Sends commands, and returns the reply to each. May be errors.
    pub(super) async fn exchange(&self, commands: &[Cmd]) -> Result<Vec<Value>, LinkError> {
        Ok(self.send(&mut self.handle().await?, commands).await?)
    }

    async fn run(
        &self,
        handle: &mut LinkHandle,
        call: &RedisCall<'_>,
        is_asking: bool,
    ) -> Result<Reply, RedisCommandError> {
        // ASKING holds for the next command on the connection.
        let asking = is_asking.then(|| redis::cmd("ASKING"));
        let commands: Vec<Cmd> = asking.into_iter().chain([call.command.clone()]).collect();
        let mut value = self.send(handle, &commands).await?.pop().unwrap_or(Value::Nil);
        if let Some(script) = call.script
            && is(&value, ServerErrorKind::NoScript)
        {
            if let Err(error) = script.load_async(&mut handle.connection).await {
                return Err(self.failed(error, handle).await);
            }
            value = self.send(handle, &commands).await?.pop().unwrap_or(Value::Nil);
        }
        if is(&value, ServerErrorKind::ReadOnly) {
            // The server has become a replica.
            self.discard(handle).await;
        }
        Ok(Reply { value, address: handle.address.clone() })
    }

    async fn send(&self, handle: &mut LinkHandle, commands: &[Cmd]) -> Result<Vec<Value>, RedisCommandError> {
        match exchange(&mut handle.connection, commands).await {
            Ok(replies) => Ok(replies),
            Err(error) => Err(self.failed(error, handle).await),
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
        // Boxed, because every request with a session has this future in its own, and hardly any opens a connection.
        let opened = match &self.node {
            Some(node) => Box::pin(self.connector.open_at(node)).await,
            None => Box::pin(self.connector.open()).await,
        };
        self.is_up.store(opened.is_ok(), Ordering::Relaxed);
        match opened {
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

    /// Notes a failure. Discards the connection if another one may work where this one failed: it is closed, or it did not
    /// answer in time.
    async fn failed(&self, source: RedisError, handle: &LinkHandle) -> RedisCommandError {
        if source.is_unrecoverable_error() || source.is_timeout() {
            self.discard(handle).await;
        }
        RedisCommandError { address: handle.address.clone(), source }
    }

    async fn discard(&self, handle: &LinkHandle) {
        let mut state = self.state.lock().await;
        if state.opened == handle.number {
            state.connection = None;
            self.is_up.store(false, Ordering::Relaxed);
        }
    }
}

impl LinkHandle {
    fn new(open: &CommandConnection, number: u64) -> Self {
        Self { connection: open.connection.clone(), address: open.address().to_owned(), number }
    }
}

fn is(value: &Value, kind: ServerErrorKind) -> bool {
    matches!(value, Value::ServerError(error) if error.kind() == Some(kind))
}
