//! One connection to one run of one Redis, for commands.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use redis::{Cmd, FromRedisValue, RedisError, RedisResult, Script, Value, aio::MultiplexedConnection};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use trunkline_redis::{CommandConnection, Endpoint};

use super::{
    batcher::{BatchRoute, CommandBatcher},
    generation::Generation,
    probe::{Probe, ProbeResult, ServerInfo, info},
    publish_port::PublishPort,
    step::within,
};
use crate::{
    BusError, ErrorKind,
    redis::{config::RESPONSE_TIMEOUT, error::ends_link, keys::Keys, mode::PubSubMode, scripts},
    sync::lock,
};

const NO_REPLY: &str = "Redis did not reply within 2 s";
/// Presence is exercised by the first probe of a link, and by one of this many.
const PRESENCE_PROBE_EVERY: u64 = 5;

/// How to set up a link.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct LinkSettings {
    pub(in super::super) mode: PubSubMode,
    /// Reads the generation from the replies to `INFO server` and `INFO replication`.
    pub(in super::super) read_generation: fn(&str, &str) -> Option<Generation>,
    pub(in super::super) batch_delay_max: Duration,
}

/// A connection that does not reconnect by itself, with the publish script compiled for the Redis at its other end.
pub(in super::super) struct Link {
    connection: MultiplexedConnection,
    /// Dropping it ends the connection.
    opened: CommandConnection,
    mode: PubSubMode,
    publish_script: Script,
    generation: Generation,
    read_generation: fn(&str, &str) -> Option<Generation>,
    connected_at: Instant,
    batcher: CommandBatcher,
    /// Publications, which take the subscription's connection while there is one.
    publications: CommandBatcher,
    publish_port: Arc<PublishPort>,
    /// Why the connection must be replaced, once there is a reason.
    suspicion: watch::Sender<Option<String>>,
    probed: Mutex<Probed>,
}

impl Link {
    /// Reads the generation of Redis on the connection, checks that this Redis can be used, and loads the scripts.
    ///
    /// # Errors
    /// What is wrong, for people and without secrets.
    pub(super) async fn set_up(
        opened: CommandConnection,
        LinkSettings { mode, read_generation, batch_delay_max }: LinkSettings,
        publish_port: Arc<PublishPort>,
    ) -> Result<Self, String> {
        let (mut connection, address) = (opened.connection.clone(), opened.address());
        let info = info();
        let (server, replication, memory): (String, String, String) =
            within(RESPONSE_TIMEOUT, "INFO", address, info.query_async(&mut connection)).await?;
        let ServerInfo { generation, eviction } = ServerInfo::read([&server, &replication, &memory], read_generation)?;
        if let Err(reason) = &eviction {
            tracing::warn!(reason, "Redis may delete data");
        }
        let publish_script = generation.publish_script(mode);
        let loading = async {
            publish_script.load_async(&mut connection).await?;
            scripts::load(&mut connection, mode).await
        };
        within(RESPONSE_TIMEOUT, "SCRIPT LOAD", address, loading).await?;
        let result =
            ProbeResult { writes: Err("not checked yet".to_owned()), presence: None, eviction, is_redirected: false };
        Ok(Self {
            batcher: CommandBatcher::new(BatchRoute { connection: connection.clone(), port: None }, batch_delay_max),
            publications: CommandBatcher::new(
                BatchRoute { connection: connection.clone(), port: Some((publish_port.clone(), generation.clone())) },
                batch_delay_max,
            ),
            publish_port,
            connection,
            opened,
            mode,
            publish_script,
            generation,
            read_generation,
            connected_at: Instant::now(),
            suspicion: watch::channel(None).0,
            probed: Mutex::new(Probed { count: 0, result }),
        })
    }

    /// The kind of pub/sub at the other end.
    pub(in super::super) fn mode(&self) -> PubSubMode {
        self.mode
    }

    /// The publish script for the Redis at the other end.
    pub(in super::super) fn publish_script(&self) -> &Script {
        &self.publish_script
    }

    /// The generation of the Redis at the other end.
    pub(in super::super) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// The server at the other end.
    pub(super) fn endpoint(&self) -> &Endpoint {
        self.opened.endpoint()
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

    /// Like [`query_all`](Self::query_all), with the reply to each command. Errors that Redis returned are among them.
    pub(in super::super) async fn call(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, BusError> {
        self.replies(&self.batcher, commands).await
    }

    /// Like [`call`](Self::call) for commands that publish: see [`PublishPort`]. They keep their order among each other.
    pub(in super::super) async fn call_publishing(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, BusError> {
        let replies = self.replies(&self.publications, commands).await;
        if matches!(&replies, Err(error) if error.kind() == ErrorKind::Timeout) {
            self.publish_port.close();
        }
        replies
    }

    async fn replies(&self, batcher: &CommandBatcher, commands: Vec<Cmd>) -> Result<Vec<Value>, BusError> {
        match timeout(RESPONSE_TIMEOUT, batcher.call(commands)).await {
            Ok(Some(replies)) => replies.map_err(|error| self.note_error(error)),
            Ok(None) => Err(ErrorKind::Unavailable.into()),
            Err(_) => {
                self.suspect(NO_REPLY);
                Err(ErrorKind::Timeout.into())
            }
        }
    }

    /// Converts a reply.
    ///
    /// # Errors
    /// The error that Redis returned, or that the reply is of another type.
    pub(in super::super) fn convert<T: FromRedisValue>(&self, reply: Value) -> Result<T, BusError> {
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

    /// Checks the generation, publishes to the channel in `keys`, and exercises what sends and presence need.
    ///
    /// # Errors
    /// Why the connection must be replaced. What Redis refuses is no such reason: see [`probed`](Self::probed).
    pub(super) async fn probe(&self, keys: &Keys) -> Result<(), String> {
        let number = lock(&self.probed).count;
        let probe =
            Probe::new(keys, (&self.publish_script, self.mode), number, number.is_multiple_of(PRESENCE_PROBE_EVERY));
        let mut connection = self.connection.clone();
        let replies = probe.commands().query_async::<Vec<RedisResult<Value>>>(&mut connection);
        let replies = timeout(RESPONSE_TIMEOUT, replies).await;
        let replies = replies.map_err(|_| NO_REPLY)?.map_err(|error| error.to_string())?;
        let result = probe.evaluate(replies, &self.generation, self.read_generation)?;
        let mut probed = lock(&self.probed);
        let presence = result.presence.clone().or_else(|| probed.result.presence.clone());
        *probed = Probed { count: number + 1, result: ProbeResult { presence, ..result } };
        Ok(())
    }

    /// What the last probe found.
    pub(in super::super) fn probed(&self) -> ProbeResult {
        lock(&self.probed).result.clone()
    }

    /// Fails all calls that wait for a reply, and all calls from now on.
    pub(super) fn close(&self) {
        self.batcher.close();
        self.publications.close();
    }
}

/// The probes of a link.
struct Probed {
    /// Number of probes that succeeded.
    count: u64,
    result: ProbeResult,
}
