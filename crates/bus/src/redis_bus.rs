//! The bus of many processes: logs and pub/sub in one Redis.
//!
//! # What it asks of Redis
//! Redis 7.0 or Valkey, `maxmemory-policy noeviction`, an append-only file where logs should survive. The commands
//! `INFO`, `SCRIPT LOAD`, `EVALSHA`, `XADD`, `XRANGE`, `XREVRANGE`, `HGET`, `HMGET`, `HSET`, `HDEL`, `PEXPIRE`,
//! `PEXPIREAT`, `PTTL`, `SET`, `GET`, `INCR`, `DEL`, `SADD`, `SREM`, `SCARD`, `SISMEMBER`, `SMEMBERS`, `ZADD`, `ZREM`,
//! `ZREMRANGEBYSCORE`, `ZRANGE`, `ZRANGEBYSCORE`, `TIME`, `PUBLISH`, `SUBSCRIBE` and `UNSUBSCRIBE`, keys and channels
//! `tl:*` (the prefix is a setting).
//!
//! | key of room `lobby` | type | holds |
//! | --- | --- | --- |
//! | `tl:{lobby}:log` | stream | the log; an entry's id is its position |
//! | `tl:{lobby}:meta` | hash | which run of Redis wrote last, the epoch, and when expiries were set |
//! | `tl:{lobby}:ids:0`, `:1` | hash | ids remembered in even and odd ten minutes |
//! | `tl:{lobby}:holders` | set | which processes have users here |
//! | `tl:{lobby}:holders:<instance>` | set | the users of one process |
//! | `tl:{lobby}:turn` | string | number of the last change of presence |
//! | `tl:{lobby}` | channel | entries, whispers and changes of presence |
//! | `tl:{:alive}` | sorted set | which processes live, and until when that counts |
//! | `tl:{:rooms}`, `tl:{:instances}` | sorted set | what is listed, and until when; with `:notes`, a hash: what it says |
//! | `tl:probe:<boot id>` | channel | what one process says to itself, to see that it hears |
//! | `tl:probe:<boot id>` | hash | nothing: written to see that Redis takes writes; expires |
//!
//! # Connections
//! Two a process. Commands share one that does not reconnect by itself, because the publish script belongs to the run
//! of Redis at its other end; a supervisor replaces it. The other one listens. Under load commands gather for up to 12 ms
//! and go together. Who waits for each answer before the next call makes 125 calls a second: under load, do not wait.

mod backlog;
mod backoff;
mod codec;
mod interests;
mod keys;
mod link;
mod names;
mod outbox;
mod page;
mod presence;
mod pulse;
mod refusal;
mod script;
mod subscription;
mod supervisor;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{Client, Cmd, IntoConnectionInfo as _, Value, io::tcp::TcpSettings};
use tokio::sync::{Notify, mpsc, watch};
use trunkline_domain::{Draft, Position, Room, millis};

pub use self::subscription::RedisSubscriptions;
use self::{
    codec::{Payload, Stored, stored},
    keys::{Keys, probe_channel},
    link::Link,
    page::{Ask, Reading},
    pulse::Pulse,
    subscription::Subscription,
    supervisor::{LinkState, Supervisor},
};
use crate::{Bus, BusError, Delivery, ErrorKind, Health, Page, Range, Receipt, presence::LEASE};

/// How long a command may take, waiting for its turn included; also an attempt to connect.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often Redis is asked who it is, and the process tells itself something.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// Rooms in one question to Redis, so that no answer grows beyond a few megabytes.
const ROOMS_AT_ONCE: usize = 512;

/// Where the logs are, and how much of them is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://[[user]:password@]host[:port][/db]`. May hold a password: not shown by `Debug`.
    pub url: String,
    /// What the names of all keys and channels start with.
    pub prefix: String,
    /// Entries of a room that are kept at least. Redis trims whole nodes of a stream, so up to
    /// `stream-node-max-entries` (100) more stay.
    pub retain: usize,
    /// How long the log of a room is kept in which nobody writes and which nobody [keeps](Bus::keep).
    pub retain_for: Duration,
    /// How long presence outlives a process that was killed.
    pub lease: Duration,
}

impl RedisConfig {
    /// 1,000 entries a room, seven days, leases of 15 s, prefix `tl`.
    pub fn new(url: impl Into<String>) -> Self {
        let retain_for = Duration::from_secs(7 * 24 * 3600);
        Self { url: url.into(), prefix: "tl".to_owned(), retain: 1000, retain_for, lease: LEASE }
    }

    fn retain_millis(&self) -> u64 {
        // Redis takes no expiry of zero.
        millis(self.retain_for).max(1)
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, prefix, retain, retain_for, lease } = self;
        f.debug_struct("RedisConfig")
            .field("prefix", prefix)
            .field("retain", retain)
            .field("retain_for", retain_for)
            .field("lease", lease)
            .finish_non_exhaustive()
    }
}

/// The URL cannot be used; the message does not repeat it.
#[derive(Debug, thiserror::Error)]
#[error("no usable Redis URL, like redis://user:password@host:6379/0: {0}")]
pub struct InvalidRedisUrl(String);

/// Logs in Redis, shared by every process that names the same Redis and prefix. Cheap to clone; the connection goes
/// with the last clone and the last [`RedisSubscriptions`].
#[derive(Clone)]
pub struct RedisBus {
    config: Arc<RedisConfig>,
    client: Client,
    link: watch::Receiver<LinkState>,
    probe_channel: String,
    probe_now: Arc<Notify>,
    pulse: Arc<Pulse>,
}

impl RedisBus {
    /// Starts to connect, and returns at once: whether Redis is there is told by [`health`](Bus::health). Must be
    /// called inside the tokio runtime that is to hold the connections.
    ///
    /// # Errors
    /// The URL is none, or asks for something that this build cannot do (TLS).
    pub fn new(config: RedisConfig) -> Result<Self, InvalidRedisUrl> {
        let invalid = |error: redis::RedisError| InvalidRedisUrl(error.to_string());
        let connection = config.url.as_str().into_connection_info().map_err(invalid)?;
        let client = Client::open(connection.set_tcp_settings(tcp_settings())).map_err(invalid)?;
        // The process, not the instance: a restarted one must not take its predecessor's probes for its own.
        let probe_channel = probe_channel(&config.prefix, rand::random());
        let (states, link) = watch::channel(LinkState::Down("not connected yet".into()));
        let probe_now = Arc::new(Notify::new());
        let supervisor = Supervisor {
            client: client.clone(),
            states,
            probe_channel: probe_channel.clone(),
            probe_now: probe_now.clone(),
        };
        tokio::spawn(supervisor.run());
        Ok(Self { config: Arc::new(config), client, link, probe_channel, probe_now, pulse: Arc::new(Pulse::new()) })
    }

    /// The link of the moment, or why there is none.
    fn link_state(&self) -> Result<Arc<Link>, String> {
        match &*self.link.borrow() {
            // A suspected one is about to be replaced: whoever comes now need not wait for it too.
            LinkState::Up(link) => link.suspicion().map_or_else(|| Ok(link.clone()), Err),
            LinkState::Down(reason) => Err(reason.to_string()),
        }
    }

    fn link(&self) -> Result<Arc<Link>, BusError> {
        self.link_state().map_err(|reason| BusError::new(ErrorKind::Unavailable, reason))
    }
}

/// Redis-rs sets none of these by itself.
fn tcp_settings() -> TcpSettings {
    use redis::io::tcp::socket2::TcpKeepalive;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5));
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    // How long sent bytes may stay unacknowledged before the system gives the connection up.
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(Duration::from_secs(10));
    settings
}

/// Redis answered something that is no answer to the question.
fn no_answer(what: &'static str) -> BusError {
    BusError::new(ErrorKind::Unavailable, what)
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Bus for RedisBus {
    type Subscriptions = RedisSubscriptions;

    async fn publish(&self, room: &Room, draft: Draft) -> Result<Receipt, BusError> {
        let link = self.link()?;
        let call = script::publish(link.script(), &self.config, room, &draft);
        let (pos, repeated): (String, u8) = link.query(call).await?;
        script::receipt(&pos, repeated).ok_or_else(|| no_answer("the publish script answered no position"))
    }

    /// Damaged entries (something else wrote to the stream) are passed over.
    async fn read(&self, room: &Room, range: Range) -> Result<Page, BusError> {
        let link = self.link()?;
        let log = Keys::of(&self.config.prefix, room).log();
        let mut reading = Reading::new(range);
        let mut head = None;
        loop {
            let ask = reading.next();
            let mut commands = Vec::new();
            if head.is_none() {
                // Before the page: so the page never ends before the head while the log has more.
                commands.push(last_of(&log));
            }
            if let Some(Ask { command, from, to, count }) = &ask {
                commands.push(redis::cmd(command).arg(&log).arg(from).arg(to).arg("COUNT").arg(*count).take());
            }
            if commands.is_empty() {
                return Ok(reading.page(head.unwrap_or_default()));
            }
            let answers: Vec<Value> = link.query_all(commands).await?;
            let mut answers = answers.iter().map(|answer| stored(answer).ok_or_else(|| no_answer("this is no stream")));
            if head.is_none() {
                head = Some(head_of(&answers.next().transpose()?.unwrap_or_default()));
            }
            if let Some(ask) = ask {
                reading.take(&ask, answers.next().transpose()?.unwrap_or_default());
            }
        }
    }

    async fn heads(&self, rooms: &[Room]) -> Result<Vec<Position>, BusError> {
        let link = self.link()?;
        let mut heads = Vec::with_capacity(rooms.len());
        for rooms in rooms.chunks(ROOMS_AT_ONCE) {
            let commands = rooms.iter().map(|room| last_of(&Keys::of(&self.config.prefix, room).log())).collect();
            let answers: Vec<Value> = link.query_all(commands).await?;
            for answer in &answers {
                heads.push(stored(answer).map(|last| head_of(&last)).ok_or_else(|| no_answer("this is no stream"))?);
            }
        }
        Ok(heads)
    }

    async fn publish_ephemeral(&self, room: &Room, bytes: Bytes) -> Result<(), BusError> {
        let link = self.link()?;
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(Keys::of(&self.config.prefix, room).channel()).arg(Payload::whisper(&bytes));
        link.query(publish).await
    }

    async fn refresh_expiry(&self, rooms: &[Room]) -> Result<(), BusError> {
        let link = self.link()?;
        for rooms in rooms.chunks(ROOMS_AT_ONCE) {
            let keys = rooms.iter().map(|room| Keys::of(&self.config.prefix, room));
            let keys = keys.flat_map(|keys| [keys.log(), keys.meta()]);
            // Never sooner than the publish script has set.
            let expire = |key| redis::cmd("PEXPIRE").arg(key).arg(self.config.retain_millis()).arg("GT").take();
            link.query_all::<()>(keys.map(expire).collect()).await?;
        }
        Ok(())
    }

    /// Must be called inside the tokio runtime that is to hold the connection.
    fn open(&self) -> (RedisSubscriptions, mpsc::Receiver<Delivery>) {
        let subscription = Subscription {
            client: self.client.clone(),
            prefix: self.config.prefix.clone(),
            probe_channel: self.probe_channel.clone(),
            probe_now: self.probe_now.clone(),
            link: self.link.clone(),
            pulse: self.pulse.clone(),
        };
        subscription.open()
    }

    /// `redis`: the link is up. `writes`: Redis takes them (memory, disk, replicas). `subscription`: what this process
    /// told itself within the last two probe intervals came back.
    fn health(&self) -> Vec<Health> {
        let (redis, writes) = match self.link_state() {
            Ok(link) => (Ok(()), link.refusal().map_or(Ok(()), Err)),
            Err(reason) => (Err(reason), Err("Redis cannot be reached".to_owned())),
        };
        let subscription = self.pulse.health();
        [("redis", redis), ("writes", writes), ("subscription", subscription)]
            .map(|(check, state)| Health { check, state })
            .into()
    }
}

/// Asks for the last entry of a log.
fn last_of(log: &str) -> Cmd {
    redis::cmd("XREVRANGE").arg(log).arg("+").arg("-").arg("COUNT").arg(1).take()
}

/// The end of a log, from its last entry.
fn head_of(last: &[Stored]) -> Position {
    last.first().map_or(Position::ORIGIN, Stored::pos)
}
