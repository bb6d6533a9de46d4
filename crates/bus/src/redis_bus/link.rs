//! One connection to one run of one Redis, for commands.

use std::{future::Future, pin::pin, task::Poll};

use redis::{Client, Cmd, FromRedisValue, Pipeline, RedisResult, Script, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Mutex, Semaphore, watch},
    time::{Instant, timeout},
};

use super::{
    PROBE_INTERVAL, RESPONSE_TIMEOUT, presence,
    refusal::is_link_broken,
    script::{Generation, info_field},
};
use crate::{BusError, ErrorKind};

/// Commands under way on the connection; beyond, callers wait, in order, each holding only its own command.
const UNDER_WAY: usize = 256;
/// The connection's own queue. A caller that gives up leaves its command there until the connection comes to it, so it
/// is larger than what can be under way; then the first poll of a command always puts it into the queue.
const QUEUE: usize = 4 * UNDER_WAY;

const SILENT: &str = "Redis did not answer in time";

/// A connection that does not reconnect by itself, and the publish script compiled for the Redis at its other end.
pub(super) struct Link {
    connection: MultiplexedConnection,
    script: Script,
    generation: Generation,
    since: Instant,
    /// Held from asking for a place until the command stands in the queue: what keeps calls in order.
    turn: Mutex<()>,
    under_way: Semaphore,
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
                .set_response_timeout(None)
                .set_pipeline_buffer_size(QUEUE);
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
                connection,
                script,
                generation,
                since: Instant::now(),
                turn: Mutex::new(()),
                under_way: Semaphore::new(UNDER_WAY),
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
    pub(super) async fn query<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, BusError> {
        let mut connection = self.connection.clone();
        self.in_turn(cmd.query_async(&mut connection)).await
    }

    /// The same for several commands, whose answers come together.
    pub(super) async fn query_all<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, BusError> {
        let mut connection = self.connection.clone();
        self.in_turn(commands.query_async(&mut connection)).await
    }

    async fn in_turn<T>(&self, command: impl Future<Output = RedisResult<T>>) -> Result<T, BusError> {
        let answered = timeout(RESPONSE_TIMEOUT, async {
            let turn = self.turn.lock().await;
            let _place = self.under_way.acquire().await.map_err(|_| BusError::from(ErrorKind::Unavailable))?;
            let mut command = pin!(command);
            // The first poll puts it into the connection's queue; then it is the next one's turn.
            let at_once = std::future::poll_fn(|cx| Poll::Ready(command.as_mut().poll(cx))).await;
            drop(turn);
            let answer = if let Poll::Ready(answer) = at_once { answer } else { command.await };
            answer.map_err(|error| {
                if is_link_broken(&error) {
                    self.suspect(&error.to_string());
                }
                error.into()
            })
        });
        answered.await.unwrap_or_else(|_| {
            self.suspect(SILENT);
            Err(ErrorKind::Timeout.into())
        })
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

    /// Refuses what waits for a place and what comes; commands that were sent still get their answers.
    pub(super) fn close(&self) {
        self.under_way.close();
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
