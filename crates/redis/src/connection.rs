//! Connections that are set up: logged in, in their database, and at a server that can be used.

use std::{collections::HashMap, fmt};

use futures_util::FutureExt as _;
use redis::{
    AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisError, RedisResult, Value,
    aio::{ConnectionLike as _, MultiplexedConnection, PubSub},
};
use tokio::task::JoinHandle;

use crate::{
    dial::{Dialer, within},
    error::{ConnectError, ConnectStep},
    server::{ServerFacts, ServerRequirement},
    url::Endpoint,
};

/// A connection for commands. It does not reconnect, and it ends when this value is dropped, even while replies are missing
/// and clones of the handle exist.
pub struct CommandConnection {
    /// The handle, which can be cloned. It has no response timeout: set one, or bound the time for each reply.
    pub connection: MultiplexedConnection,
    endpoint: Endpoint,
    address: String,
    driver: JoinHandle<()>,
}

impl CommandConnection {
    /// The server to which the connection leads.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The same with the address to which the host's name led, for people.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for CommandConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl fmt::Debug for CommandConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandConnection").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A connection for subscriptions to classic channels (RESP2). It does not reconnect, and it ends when `pubsub` is dropped.
pub(crate) struct PubSubConnection {
    pub(crate) pubsub: PubSub,
    /// The server, with the address to which the host's name led, for people.
    pub(crate) address: String,
}

/// Sends commands, one after the other without others in between, and returns the reply to each. May be errors.
///
/// # Errors
/// The connection broke, or its response timeout passed.
pub async fn exchange(connection: &mut MultiplexedConnection, commands: &[Cmd]) -> RedisResult<Vec<Value>> {
    let mut pipeline = redis::pipe();
    for command in commands {
        pipeline.add_command(command.clone());
    }
    connection.req_packed_commands(&pipeline, 0, commands.len()).await
}

/// Opens a connection for commands. The server is checked if there is a requirement.
pub(crate) async fn open_command(
    dialer: &Dialer,
    endpoint: &Endpoint,
    settings: &RedisConnectionInfo,
    required: Option<ServerRequirement>,
) -> Result<CommandConnection, ConnectError> {
    let limit = dialer.step_timeout;
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let set_up = |stream, address: String| {
        let (endpoint, settings, config) = (endpoint.clone(), settings.clone(), config.clone());
        async move {
            let set_up = MultiplexedConnection::new_with_config(&settings, stream, config);
            let (mut connection, driver) = within(limit, ConnectStep::SetUp, &address, set_up).await?;
            let driver = tokio::spawn(driver);
            let opened = CommandConnection { connection: connection.clone(), endpoint, address, driver };
            if let Some(required) = required {
                let check = check(&mut connection, required);
                within(limit, ConnectStep::ServerCheck, &opened.address, check).await?;
            }
            Ok(opened)
        }
        .boxed()
    };
    dialer.open(endpoint, set_up).await
}

/// Opens a connection for subscriptions. The server is not checked: on such a connection redis-rs sends no other commands.
pub(crate) async fn open_pubsub(
    dialer: &Dialer,
    endpoint: &Endpoint,
    settings: &RedisConnectionInfo,
) -> Result<PubSubConnection, ConnectError> {
    let limit = dialer.step_timeout;
    let set_up = |stream, address: String| {
        let settings = settings.clone();
        async move {
            let pubsub = within(limit, ConnectStep::SetUp, &address, PubSub::new(&settings, stream)).await?;
            Ok(PubSubConnection { pubsub, address })
        }
        .boxed()
    };
    dialer.open(endpoint, set_up).await
}

/// Asks the server what it is. `HELLO` without a version changes nothing, and Redis allows it to every user. A server that
/// does not know it (Redis before 6.0, some proxies) is not refused here.
async fn check(connection: &mut MultiplexedConnection, required: ServerRequirement) -> Result<(), String> {
    let facts = match redis::cmd("HELLO").query_async::<HashMap<String, Value>>(connection).await {
        Ok(reply) => ServerFacts::from_hello(&reply),
        Err(error) if error.code() == Some("NOAUTH") => return Err(needs_password(&error)),
        Err(error) if error.code().is_some() => ServerFacts::default(),
        Err(error) => return Err(error.to_string()),
    };
    facts.check(required).map_err(|unusable| unusable.to_string())
}

fn needs_password(error: &RedisError) -> String {
    format!("it requires a password, and the URL has none ({error})")
}
