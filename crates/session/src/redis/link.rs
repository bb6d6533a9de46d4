//! The ways to Redis: one shared connection for what every request does, a pool for the rest.

use std::{error::Error, future::Future, time::Duration};

use deadpool_redis::{Connection, Manager, Pool, Runtime};
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, FromRedisValue, IntoConnectionInfo, RedisError, ScriptInvocation,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{InvalidSettings, SessionError};

/// How long Redis may take to answer one command, and a connection to be made.
const ANSWER: Duration = Duration::from_secs(1);
/// How long any operation may take in all.
const OPERATION: Duration = Duration::from_secs(3);
/// After a failed attempt to connect everybody fails at once for this long: no queue forms behind a dead Redis.
const PAUSE: Duration = Duration::from_millis(200);
/// How long data may stay unacknowledged until the kernel gives a connection up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
/// Connections of the pool: scripts of some microseconds, so few are needed.
const POOL: usize = 8;

type Cause = Box<dyn Error + Send + Sync>;

/// The ways to Redis. Nothing is connected until it is needed.
pub(super) struct Link {
    client: Client,
    config: AsyncConnectionConfig,
    /// Multiplexed: whoever waits for an answer does not hold up others.
    shared: Mutex<Shared>,
    pool: Pool,
}

struct Shared {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that each is given up once.
    generation: u64,
    failed: Option<Instant>,
}

impl Link {
    /// Judges the URL; does not connect.
    pub(super) fn new(url: &str) -> Result<Self, InvalidSettings> {
        // The errors of the URL parser name the part that is wrong and do not repeat it.
        let unusable = |error: RedisError| InvalidSettings::Url(error.to_string());
        let keepalive = TcpKeepalive::new().with_time(UNACKNOWLEDGED).with_interval(ANSWER).with_retries(3);
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(UNACKNOWLEDGED);
        let address: ConnectionInfo = url.into_connection_info().map_err(unusable)?.set_tcp_settings(tcp);
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(ANSWER)).set_response_timeout(Some(ANSWER));
        let manager = Manager::new_with_config(address.clone(), config.clone()).map_err(unusable)?;
        let pool = Pool::builder(manager)
            .max_size(POOL)
            .wait_timeout(Some(ANSWER))
            .create_timeout(Some(ANSWER))
            .recycle_timeout(Some(ANSWER))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| InvalidSettings::Url(error.to_string()))?;
        let shared = Mutex::new(Shared { connection: None, generation: 0, failed: None });
        Ok(Self { client: Client::open(address).map_err(unusable)?, config, shared, pool })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a script that may be repeated on the shared connection: tried again if the connection was found dead.
    pub(super) async fn on_shared<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, SessionError> {
        bounded(async {
            let (mut connection, generation) = self.connect().await?;
            let error = match script.invoke_async(&mut connection).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            if is_of_connection(&error) {
                self.give_up(generation).await;
            }
            if !error.is_connection_dropped() {
                return Err(error.into());
            }
            let (mut connection, _) = self.connect().await?;
            Ok(script.invoke_async(&mut connection).await?)
        })
        .await
    }

    /// Runs a script once, on a connection of the pool, which has just been found alive.
    pub(super) async fn on_pool<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, SessionError> {
        bounded(async {
            let mut connection = self.pool.get().await?;
            let reply = script.invoke_async(&mut connection).await;
            if reply.as_ref().is_err_and(|error| is_of_connection(error) || error.is_timeout()) {
                drop(Connection::take(connection));
            }
            Ok(reply?)
        })
        .await
    }

    /// A clone of the shared connection, made if there is none.
    async fn connect(&self) -> Result<(MultiplexedConnection, u64), RedisError> {
        let mut shared = self.shared.lock().await;
        if let Some(connection) = &shared.connection {
            return Ok((connection.clone(), shared.generation));
        }
        if shared.failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return Err((redis::ErrorKind::Io, "Redis could not be reached a moment ago").into());
        }
        match self.client.get_multiplexed_async_connection_with_config(&self.config).await {
            Ok(connection) => {
                shared.connection = Some(connection.clone());
                shared.generation += 1;
                shared.failed = None;
                Ok((connection, shared.generation))
            }
            Err(error) => {
                shared.failed = Some(Instant::now());
                Err(error)
            }
        }
    }

    async fn give_up(&self, generation: u64) {
        let mut shared = self.shared.lock().await;
        if shared.generation == generation {
            shared.connection = None;
        }
    }
}

/// Whether another connection may fare better: this one is dead, or its other end is no master any more.
fn is_of_connection(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::ReadOnly)
}

async fn bounded<T>(operation: impl Future<Output = Result<T, Cause>>) -> Result<T, SessionError> {
    match timeout(OPERATION, operation).await {
        Ok(done) => done.map_err(SessionError::Unavailable),
        Err(elapsed) => Err(SessionError::unavailable(elapsed)),
    }
}
