//! A connection that subscribes, to classic or to sharded channels, and can send other commands as well (RESP3).
//!
//! redis-rs cannot do this for sharded channels: its RESP2 connection has no `SSUBSCRIBE`, and its RESP3 connection takes the
//! `sunsubscribe` that a cluster sends when a slot moves for the reply to a request under way. This one returns all that
//! Redis sends, in order, and has no queue of its own: what is not read waits in the socket.

use std::{fmt, time::Duration};

use futures_util::FutureExt as _;
use redis::{Cmd, RedisConnectionInfo, ServerError, Value};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use self::wire::Decoder;
pub use self::wire::SubscriberReply;
use crate::{
    dial::{Dialer, RedisStream, within},
    error::{ConnectError, ConnectStep},
    url::Endpoint,
};

mod wire;

/// Free space that is offered to each read, in bytes.
const READ: usize = 16 << 10;

/// A connection for subscriptions (RESP3). It does not reconnect, and it ends when it is dropped.
pub struct Subscriber {
    stream: RedisStream,
    decoder: Decoder,
    endpoint: Endpoint,
    address: String,
    step_timeout: Duration,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Subscriber {
    /// Connects, changes to RESP3 and logs in. The server is not checked.
    pub(crate) async fn open(
        dialer: &Dialer,
        endpoint: &Endpoint,
        settings: &RedisConnectionInfo,
    ) -> Result<Self, ConnectError> {
        let step_timeout = dialer.step_timeout;
        let set_up = |stream, address: String| {
            let (endpoint, settings) = (endpoint.clone(), settings.clone());
            async move {
                let mut subscriber = Self { stream, decoder: Decoder::default(), endpoint, address, step_timeout };
                let address = subscriber.address.clone();
                within(step_timeout, ConnectStep::SetUp, &address, subscriber.log_in(&settings)).await?;
                Ok(subscriber)
            }
            .boxed()
        };
        dialer.open(endpoint, set_up).await
    }

    async fn log_in(&mut self, settings: &RedisConnectionInfo) -> Result<(), String> {
        let mut hello = redis::cmd("HELLO");
        hello.arg(3);
        if let Some(password) = settings.password() {
            hello.arg("AUTH").arg(settings.username().unwrap_or("default")).arg(password);
        }
        self.call(&hello).await?;
        if settings.db() != 0 {
            self.call(redis::cmd("SELECT").arg(settings.db())).await?;
        }
        Ok(())
    }

    async fn call(&mut self, command: &Cmd) -> Result<(), String> {
        self.write(&command.get_packed_command()).await?;
        match self.next().await? {
            SubscriberReply::Reply(Value::ServerError(error)) => Err(error_text(&error)),
            _ => Ok(()),
        }
    }

    /// The server to which the connection leads.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The server to which the connection leads, with the address to which the host's name led, for people.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends packed commands, within the time limit of a step. Redis answers each in turn, between the messages.
    ///
    /// # Errors
    /// Why the connection can no longer be used.
    pub async fn write(&mut self, commands: &[u8]) -> Result<(), String> {
        let writing = async {
            self.stream.write_all(commands).await?;
            // TLS may keep what the socket does not take.
            self.stream.flush().await
        };
        match timeout(self.step_timeout, writing).await {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(_) => Err("Redis does not take the commands".to_owned()),
        }
    }

    /// The next of the replies that have arrived. `None` if there is none: then [`fill`](Self::fill).
    ///
    /// # Errors
    /// Redis sent what is no reply to a subscriber. The connection can no longer be used.
    pub fn next_arrived(&mut self) -> Result<Option<SubscriberReply>, String> {
        self.decoder.next().map_err(str::to_owned)
    }

    /// Waits until more bytes have arrived. Dropping the future loses none.
    ///
    /// # Errors
    /// Why the connection can no longer be used.
    pub async fn fill(&mut self) -> Result<(), String> {
        let buffer = self.decoder.buffer();
        buffer.reserve(READ);
        match self.stream.read_buf(buffer).await {
            Ok(0) => Err("Redis closed the subscription".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Waits for the next reply. Dropping the future loses none.
    ///
    /// # Errors
    /// Why the connection can no longer be used.
    pub async fn next(&mut self) -> Result<SubscriberReply, String> {
        loop {
            if let Some(reply) = self.next_arrived()? {
                return Ok(reply);
            }
            self.fill().await?;
        }
    }
}

/// An error reply as Redis sent it.
#[must_use]
pub fn error_text(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}
