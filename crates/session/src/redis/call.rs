//! Commands, and the replies to them.

use std::error::Error;

use redis::{Cmd, FromRedisValue, RedisError, Script, ToRedisArgs, Value};
use trunkline_redis::slots::slot_of;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// A failed command: no reply within the time limit, a connection that broke, or an error reply.
#[derive(Debug, thiserror::Error)]
#[error("command to Redis at {address}: {source}")]
pub(super) struct RedisCommandError {
    pub(super) address: String,
    pub(super) source: RedisError,
}

/// A command whose keys have one slot, which may be the call of a script.
pub(super) struct RedisCall<'a> {
    pub(super) slot: u16,
    pub(super) command: Cmd,
    /// Loaded if Redis does not know it.
    pub(super) script: Option<&'a Script>,
    /// Whether it may be executed twice.
    pub(super) is_repeatable: bool,
}

impl<'a> RedisCall<'a> {
    /// The call of a script with keys of one slot. It is executed at most once.
    pub(super) fn script<const KEYS: usize>(script: &'a Script, keys: &[String; KEYS]) -> Self {
        let slot = slot_of(keys.first().map_or("", String::as_str));
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.get_hash()).arg(KEYS).arg(keys);
        Self { slot, command, script: Some(script), is_repeatable: false }
    }

    /// Publishes to a sharded channel.
    pub(super) fn publish_sharded(channel: &str, message: &str) -> Self {
        let command = redis::cmd("SPUBLISH").arg(channel).arg(message).take();
        Self { slot: slot_of(channel), command, script: None, is_repeatable: true }
    }

    pub(super) fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.command.arg(arg);
        self
    }

    /// The call may be executed twice.
    pub(super) fn repeatable(self) -> Self {
        Self { is_repeatable: true, ..self }
    }
}

/// What Redis replied, which may be an error.
pub(super) struct Reply {
    pub(super) value: Value,
    /// The server that replied, for people.
    pub(super) address: String,
}

impl Reply {
    /// The reply as `T`.
    ///
    /// # Errors
    /// It is an error, or of another type.
    pub(super) fn convert<T: FromRedisValue>(self) -> Result<T, RedisCommandError> {
        let converted = self.value.extract_error().and_then(|value| Ok(redis::from_redis_value(value)?));
        converted.map_err(|source| RedisCommandError { address: self.address, source })
    }
}
