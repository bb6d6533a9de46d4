//! One connection to one run of one Redis, for commands.

use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::{
    Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, Script, Value, aio::MultiplexedConnection,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    batcher::CommandBatcher,
    generation::{Generation, info_field},
};
use crate::{
    BusError, ErrorKind,
    redis::{
        config::{PROBE_INTERVAL, RESPONSE_TIMEOUT},
        error::ends_link,
        scripts,
    },
};

const NO_REPLY: &str = "Redis did not reply within 2 s";

/// A connection that does not reconnect by itself, with the publish script compiled for the Redis at its other end.
pub(in super::super) struct Link {
    connection: MultiplexedConnection,
    publish_script: Script,
    generation: Generation,
    read_generation: fn(&str, &str) -> Option<Generation>,
    connected_at: Instant,
    batcher: CommandBatcher,
    /// Why the connection must be replaced, once there is a reason.
    suspicion: watch::Sender<Option<String>>,
    write_refusal: Mutex<Option<String>>,
}

impl Link {
    /// Connects, reads the generation of Redis on that same connection, and loads the scripts.
    ///
    /// # Errors
    /// What is wrong, for people and without secrets.
    pub(super) async fn connect(
        client: &Client,
        read_generation: fn(&str, &str) -> Option<Generation>,
    ) -> Result<Self, String> {
        let connecting = async {
            let config = redis::AsyncConnectionConfig::new()
                // `RESPONSE_TIMEOUT` bounds both, over queueing and reply together.
                .set_connection_timeout(None)
                .set_response_timeout(None);
            let mut connection =
                client.get_multiplexed_async_connection_with_config(&config).await.map_err(|e| e.to_string())?;
            let (server, replication, memory): (String, String, String) = info(&["server", "replication", "memory"])
                .query_async(&mut connection)
                .await
                .map_err(|e| e.to_string())?;
            let generation = read_generation(&server, &replication)
                .ok_or("INFO of this Redis lacks run_id or master_replid, so positions cannot be assigned")?;
            if info_field(&replication, "role") != Some("master") {
                return Err("this Redis is a replica; writes need the master".to_owned());
            }
            warn_about_eviction(&memory);
            let publish_script = generation.publish_script();
            publish_script.load_async(&mut connection).await.map_err(|e| e.to_string())?;
            scripts::load(&mut connection).await.map_err(|e| e.to_string())?;
            Ok(Self {
                batcher: CommandBatcher::new(connection.clone()),
                connection,
                publish_script,
                generation,
                read_generation,
                connected_at: Instant::now(),
                suspicion: watch::channel(None).0,
                write_refusal: Mutex::new(None),
            })
        };
        timeout(RESPONSE_TIMEOUT, connecting).await.unwrap_or_else(|_| Err("no answer while connecting".to_owned()))
    }

    /// The publish script for the Redis at the other end.
    pub(in super::super) fn publish_script(&self) -> &Script {
        &self.publish_script
    }

    /// The generation of the Redis at the other end.
    pub(in super::super) fn generation(&self) -> &Generation {
        &self.generation
    }

    pub(in super::super) fn connected_at(&self) -> Instant {
        self.connected_at
    }

    /// Sends a command after those before it and returns the reply, within [`RESPONSE_TIMEOUT`] in all.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) if there was no reply in time, [`Unavailable`](ErrorKind::Unavailable) if the link
    /// was closed meanwhile (in both cases Redis may have executed the command), or the error that Redis returned.
    pub(in super::super) async fn query<T: FromRedisValue>(&self, command: Cmd) -> Result<T, BusError> {
        let mut replies = self.call(vec![command]).await?;
        self.convert(replies.pop().unwrap_or(Value::Nil))
    }

    /// Like [`query`](Self::query) for several commands. An error of one is the error of all.
    pub(in super::super) async fn query_all<T: FromRedisValue>(&self, commands: Vec<Cmd>) -> Result<T, BusError> {
        let replies = self.call(commands).await?;
        self.convert(Value::Array(replies))
    }

    async fn call(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, BusError> {
        match timeout(RESPONSE_TIMEOUT, self.batcher.call(commands)).await {
            Ok(Some(replies)) => replies.map_err(|error| self.note_error(error)),
            Ok(None) => Err(ErrorKind::Unavailable.into()),
            Err(_) => {
                self.suspect(NO_REPLY);
                Err(ErrorKind::Timeout.into())
            }
        }
    }

    fn convert<T: FromRedisValue>(&self, reply: Value) -> Result<T, BusError> {
        let converted = reply.extract_error().and_then(|reply| Ok(redis::from_redis_value(reply)?));
        converted.map_err(|error| self.note_error(error))
    }

    fn note_error(&self, error: RedisError) -> BusError {
        if ends_link(&error) {
            self.suspect(&error.to_string());
        }
        error.into()
    }

    /// Records the first reason to replace the connection.
    fn suspect(&self, why: &str) {
        self.suspicion.send_if_modified(|reason| {
            let first = reason.is_none();
            reason.get_or_insert_with(|| why.to_owned());
            first
        });
    }

    /// Why the connection must be replaced, if there is a reason.
    pub(in super::super) fn suspicion(&self) -> Option<String> {
        self.suspicion.borrow().clone()
    }

    /// Waits until there is a reason to replace the connection, and returns it.
    pub(super) async fn suspected(&self) -> String {
        let mut suspicion = self.suspicion.subscribe();
        // `self` owns the sender, so this cannot fail.
        let reason = suspicion.wait_for(Option::is_some).await;
        reason.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }

    /// Checks the generation, publishes to the channel `name`, and writes to a key of that name to see whether Redis
    /// accepts writes.
    ///
    /// # Errors
    /// Why the connection must be replaced. A refused write is no such reason: see
    /// [`write_refusal`](Self::write_refusal).
    pub(super) async fn probe(&self, name: &str) -> Result<(), String> {
        let mut commands = info(&["server", "replication"]);
        commands.cmd("PUBLISH").arg(name).arg("");
        commands.cmd("HSET").arg(name).arg("alive").arg(1);
        let expiry = 3 * PROBE_INTERVAL.as_millis() as u64;
        commands.cmd("PEXPIRE").arg(name).arg(expiry).ignore().ignore_errors();
        let mut connection = self.connection.clone();
        let replies = timeout(RESPONSE_TIMEOUT, commands.query_async::<Vec<RedisResult<Value>>>(&mut connection)).await;
        let replies = replies.map_err(|_| NO_REPLY)?.map_err(|error| error.to_string())?;
        let Ok([server, replication, published, written]) = <[_; 4]>::try_from(replies) else {
            return Err("Redis sent fewer replies than there were commands".to_owned());
        };
        published.map_err(|error| error.to_string())?;
        let text = |info: RedisResult<Value>| -> Result<String, String> {
            redis::from_redis_value(info.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
        };
        if (self.read_generation)(&text(server)?, &text(replication)?).as_ref() != Some(&self.generation) {
            return Err("Redis was restarted or failed over".to_owned());
        }
        match written {
            Err(error) if ends_link(&error) => return Err(error.to_string()),
            written => *self.lock_refusal() = written.err().map(|error| error.to_string()),
        }
        Ok(())
    }

    /// Why Redis refused the write of the last probe, if it did.
    pub(in super::super) fn write_refusal(&self) -> Option<String> {
        self.lock_refusal().clone()
    }

    fn lock_refusal(&self) -> MutexGuard<'_, Option<String>> {
        self.write_refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails all calls that wait for a reply, and all calls from now on.
    pub(super) fn close(&self) {
        self.batcher.close();
    }
}

/// One INFO command per section: several sections in one command need Redis 7, and proxies in front of Redis know one.
fn info(sections: &[&str]) -> Pipeline {
    let mut commands = redis::pipe();
    for section in sections {
        commands.cmd("INFO").arg(*section);
    }
    commands
}

/// Logs a warning if Redis would delete logs and sessions when its memory is full.
fn warn_about_eviction(memory: &str) {
    match info_field(memory, "maxmemory_policy") {
        Some("noeviction") => {}
        Some(policy) => tracing::warn!(
            policy,
            "Redis deletes room logs and sessions when its memory is full; set maxmemory-policy noeviction"
        ),
        None => tracing::info!("INFO of this Redis lacks maxmemory_policy; it should be noeviction"),
    }
}
