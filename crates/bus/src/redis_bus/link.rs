//! One connection to one run of one Redis, for commands.

use redis::{
    Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, Script, Value, aio::MultiplexedConnection,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    PROBE_INTERVAL, RESPONSE_TIMEOUT,
    outbox::Outbox,
    presence,
    refusal::is_link_broken,
    script::{Generation, info_field},
};
use crate::{BusError, ErrorKind};

const SILENT: &str = "Redis did not answer in time";

/// A connection that does not reconnect by itself, and the publish script compiled for the Redis at its other end.
pub(super) struct Link {
    connection: MultiplexedConnection,
    script: Script,
    generation: Generation,
    since: Instant,
    outbox: Outbox,
    /// Why the connection should be given up, once there is a reason.
    suspicion: watch::Sender<Option<String>>,
    refusal: std::sync::Mutex<Option<String>>,
}

impl Link {
    /// Connects, asks Redis who it is on that very connection, and loads the script made for it.
    ///
    /// # Errors
    /// What is wrong, for people and without secrets.
    pub(super) async fn connect(client: &Client) -> Result<Self, String> {
        let connecting = async {
            let config = redis::AsyncConnectionConfig::new()
                // Both are bounded here, over waiting and answer together.
                .set_connection_timeout(None)
                .set_response_timeout(None);
            let mut connection =
                client.get_multiplexed_async_connection_with_config(&config).await.map_err(|e| e.to_string())?;
            let (server, replication, memory): (String, String, String) = info(&["server", "replication", "memory"])
                .query_async(&mut connection)
                .await
                .map_err(|e| e.to_string())?;
            let generation = Generation::from_info(&server, &replication)
                .ok_or("Redis does not tell its run_id and master_replid in INFO, so positions cannot be given")?;
            if info_field(&replication, "role") != Some("master") {
                return Err("this Redis is a replica: writes go to the master".to_owned());
            }
            check_memory_policy(&memory);
            let script = generation.script();
            script.load_async(&mut connection).await.map_err(|e| e.to_string())?;
            presence::load(&mut connection).await.map_err(|e| e.to_string())?;
            Ok(Self {
                outbox: Outbox::new(connection.clone()),
                connection,
                script,
                generation,
                since: Instant::now(),
                suspicion: watch::channel(None).0,
                refusal: std::sync::Mutex::new(None),
            })
        };
        timeout(RESPONSE_TIMEOUT, connecting).await.unwrap_or_else(|_| Err("no answer while connecting".to_owned()))
    }

    /// The script for the Redis at the other end.
    pub(super) fn script(&self) -> &Script {
        &self.script
    }

    /// Which Redis is at the other end.
    pub(super) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// When it was made.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Sends a command in its turn and waits for the answer, at most [`RESPONSE_TIMEOUT`] in all.
    pub(super) async fn query<T: FromRedisValue>(&self, command: Cmd) -> Result<T, BusError> {
        let mut answers = self.call(vec![command]).await?;
        self.read(answers.pop().unwrap_or(Value::Nil))
    }

    /// The same for several commands, whose answers come together; an error of one is an error of all.
    pub(super) async fn query_all<T: FromRedisValue>(&self, commands: Vec<Cmd>) -> Result<T, BusError> {
        let answers = self.call(commands).await?;
        self.read(Value::Array(answers))
    }

    async fn call(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, BusError> {
        match timeout(RESPONSE_TIMEOUT, self.outbox.call(commands)).await {
            Ok(Some(answers)) => answers.map_err(|error| self.judge(error)),
            Ok(None) => Err(ErrorKind::Unavailable.into()),
            Err(_) => {
                self.suspect(SILENT);
                Err(ErrorKind::Timeout.into())
            }
        }
    }

    fn read<T: FromRedisValue>(&self, answer: Value) -> Result<T, BusError> {
        let read = answer.extract_error().and_then(|answer| Ok(redis::from_redis_value(answer)?));
        read.map_err(|error| self.judge(error))
    }

    fn judge(&self, error: RedisError) -> BusError {
        if is_link_broken(&error) {
            self.suspect(&error.to_string());
        }
        error.into()
    }

    /// Notes that the connection should be given up.
    fn suspect(&self, why: &str) {
        self.suspicion.send_if_modified(|reason| {
            let first = reason.is_none();
            reason.get_or_insert_with(|| why.to_owned());
            first
        });
    }

    /// Why it should be given up, if there is a reason.
    pub(super) fn suspicion(&self) -> Option<String> {
        self.suspicion.borrow().clone()
    }

    /// Waits until somebody suspects it, and says why.
    pub(super) async fn suspected(&self) -> String {
        let mut suspicion = self.suspicion.subscribe();
        // The sender is ours, so it lives.
        let reason = suspicion.wait_for(Option::is_some).await;
        reason.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }

    /// Asks Redis who it is, has it tell the channel `name`, and writes a key of that name to see whether it takes
    /// writes. An error is a reason to give the connection up; a refused write is only [noted](Self::refusal).
    pub(super) async fn probe(&self, name: &str) -> Result<(), String> {
        let mut commands = info(&["server", "replication"]);
        commands.cmd("PUBLISH").arg(name).arg("");
        commands.cmd("HSET").arg(name).arg("alive").arg(1);
        let expiry = 3 * PROBE_INTERVAL.as_millis() as u64;
        commands.cmd("PEXPIRE").arg(name).arg(expiry).ignore().ignore_errors();
        let mut connection = self.connection.clone();
        let answers = timeout(RESPONSE_TIMEOUT, commands.query_async::<Vec<RedisResult<Value>>>(&mut connection)).await;
        let answers = answers.map_err(|_| SILENT)?.map_err(|error| error.to_string())?;
        let Ok([server, replication, told, written]) = <[_; 4]>::try_from(answers) else {
            return Err("Redis gave fewer answers than it was asked for".to_owned());
        };
        told.map_err(|error| error.to_string())?;
        let text = |info: RedisResult<Value>| -> Result<String, String> {
            redis::from_redis_value(info.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
        };
        if Generation::from_info(&text(server)?, &text(replication)?).as_ref() != Some(&self.generation) {
            return Err("Redis was restarted or failed over".to_owned());
        }
        match written {
            Err(error) if is_link_broken(&error) => return Err(error.to_string()),
            written => *self.lock_refusal() = written.err().map(|error| error.to_string()),
        }
        Ok(())
    }

    /// Why Redis takes no writes, as far as the last probe saw.
    pub(super) fn refusal(&self) -> Option<String> {
        self.lock_refusal().clone()
    }

    fn lock_refusal(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.refusal.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Refuses everything from now on, and what waits for an answer, too.
    pub(super) fn close(&self) {
        self.outbox.close();
    }
}

/// One INFO a section: several sections in one need Redis 7, and every proxy understands one.
fn info(sections: &[&str]) -> Pipeline {
    let mut commands = redis::pipe();
    for section in sections {
        commands.cmd("INFO").arg(*section);
    }
    commands
}

/// Warns where Redis would throw away logs and sessions to make room.
fn check_memory_policy(memory: &str) {
    match info_field(memory, "maxmemory_policy") {
        Some("noeviction") => {}
        Some(policy) => tracing::warn!(
            policy,
            "Redis may evict room logs and sessions when its memory is full: set maxmemory-policy noeviction"
        ),
        None => tracing::info!("Redis does not tell its maxmemory-policy; it should be noeviction"),
    }
}
