//! [`RedisBus`]: the [`Bus`] over one Redis.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use redis::{Cmd, Value};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};
use trunkline_domain::{Draft, InstanceId, Position, Room, UserId, millis};
use trunkline_redis::{Connector, InvalidRedisSettings, RedisUrl, Topology};

use super::{
    at_rest::{RefreshCache, RoomCountCache},
    codec::{Payload, StreamEntry, deleted_positions, last_position, stream_entries},
    config::{RESPONSE_TIMEOUT, RedisConfig},
    connection::{Generation, Link, LinkState, Supervisor},
    error::unexpected_reply,
    keys::Keyspace,
    publish,
    read::{PageReader, RangeQuery},
    scripts,
    subscribe::{RedisSubscriptions, Subscription, SubscriptionHealth},
};
use crate::{Bus, BusError, Delivery, ErrorKind, Health, Page, Range, Receipt, sync::lock};

/// The count of a room at rest is written again after this many leases (60 s by default). Its record expires after twice as
/// many.
pub(super) const ROOM_COUNT_RENEWAL_LEASES: u32 = 4;
/// Maximum number of rooms per pipeline, so that no reply exceeds a few MiB.
const ROOMS_PER_PIPELINE: usize = 512;

/// Logs in Redis, shared by every process with the same Redis and prefix. Cheap to clone. The connection closes when the
/// last clone and the last [`RedisSubscriptions`] are dropped.
///
/// ```no_run
/// use trunkline_bus::{Bus, RedisBus, RedisConfig};
/// use trunkline_domain::{Draft, Room};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = RedisBus::new(RedisConfig::new("redis://127.0.0.1:6379/0"))?;
/// let draft = Draft::text("m1".parse()?, "ann".parse()?, "hello".parse()?);
/// // Fails with `Unavailable` until the connection is up; `health` says why.
/// match bus.publish(&"lobby".parse::<Room>()?, draft).await {
///     Ok(receipt) => println!("stored at {}", receipt.pos),
///     Err(error) => println!("not acknowledged: {error}; {:?}", bus.health()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisBus {
    pub(super) config: Arc<RedisConfig>,
    pub(super) names: Arc<Keyspace>,
    connector: Arc<Connector>,
    /// Identifies this process in the names of its probes. Random, not derived from the instance name: a restarted process
    /// must not take the probes of its predecessor for its own.
    process: u128,
    link: watch::Receiver<LinkState>,
    probe_now: Arc<Notify>,
    subscription_health: Arc<SubscriptionHealth>,
    /// The user counts in the registry of rooms, and the instance that wrote them.
    pub(super) room_counts: Arc<Mutex<RoomCounts>>,
    refreshed: Arc<Mutex<RefreshCache>>,
    /// The times in the caches count from here.
    pub(super) started: Instant,
}

/// What this process knows of the registry of rooms.
#[derive(Debug)]
pub(super) struct RoomCounts {
    pub(super) cache: RoomCountCache,
    /// The instance of the last heartbeat: its records are shown while it is alive.
    pub(super) writer: Option<InstanceId>,
    /// Generation of the Redis to which the counts were written.
    pub(super) generation: Option<Generation>,
}

impl RedisBus {
    /// Starts to connect, and returns at once; [`health`](Bus::health) says whether Redis can be used. Call it inside the
    /// tokio runtime that is to drive the connections.
    ///
    /// # Errors
    /// The URL or the options cannot be used: see [`InvalidRedisSettings`].
    pub fn new(config: RedisConfig) -> Result<Self, InvalidRedisSettings> {
        Self::start(config, Generation::from_info)
    }

    /// A bus that takes every run of Redis for the same: see [`crate::mutant`].
    #[cfg(feature = "mutants")]
    pub(crate) fn without_generations(config: RedisConfig) -> Result<Self, InvalidRedisSettings> {
        Self::start(config, Generation::constant)
    }

    fn start(
        config: RedisConfig,
        read_generation: fn(&str, &str) -> Option<Generation>,
    ) -> Result<Self, InvalidRedisSettings> {
        let url: RedisUrl = config.url.parse()?;
        if matches!(url.topology(), Topology::Cluster { .. }) {
            return Err(InvalidRedisSettings::Unsupported("rooms in a Redis Cluster are not supported yet"));
        }
        let connector = Arc::new(Connector::new(&url, &config.options, RESPONSE_TIMEOUT)?);
        let names = Arc::new(Keyspace::new(&config.prefix, url.database().into()));
        let process = rand::random();
        let (states, link) = watch::channel(LinkState::Down("not connected yet".into()));
        let probe_now = Arc::new(Notify::new());
        let supervisor = Supervisor {
            connector: connector.clone(),
            read_generation,
            batch_delay_max: config.batch_delay_max,
            states,
            probe_keys: names.probe(process),
            probe_now: probe_now.clone(),
        };
        tokio::spawn(supervisor.run());
        let subscription_health = Arc::new(SubscriptionHealth::new());
        let cache = RoomCountCache::new(ROOM_COUNT_RENEWAL_LEASES * config.lease);
        let room_counts = Arc::new(Mutex::new(RoomCounts { cache, writer: None, generation: None }));
        let refreshed = Arc::new(Mutex::new(RefreshCache::new(config.refresh_interval())));
        let config = Arc::new(config);
        Ok(Self {
            config,
            names,
            connector,
            process,
            link,
            probe_now,
            subscription_health,
            room_counts,
            refreshed,
            started: Instant::now(),
        })
    }

    /// The expiry that a refresh sets, in ms: later than required, so that a room that was refreshed needs no other refresh
    /// for some time.
    fn refreshed_expiry(&self) -> u64 {
        self.config.retention().millis + millis(2 * self.config.refresh_interval())
    }

    /// The current link, or why there is none.
    fn link_state(&self) -> Result<Arc<Link>, String> {
        match &*self.link.borrow() {
            // A suspected link is about to be replaced: a new call fails at once instead of after the timeout.
            LinkState::Up(link) => link.suspicion().map_or_else(|| Ok(link.clone()), Err),
            LinkState::Down(reason) => Err(reason.to_string()),
        }
    }

    /// The current link.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if there is none.
    pub(super) fn link(&self) -> Result<Arc<Link>, BusError> {
        self.link_state().map_err(|reason| BusError::new(ErrorKind::Unavailable, reason))
    }
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
        let keys = self.names.room(room);
        let command = publish::command(link.publish_script(), &keys, self.config.retention(), &draft);
        let (pos, status): (String, u8) = link.query(command).await?;
        publish::receipt((&pos, status))
    }

    async fn mark_seen(&self, room: &Room, user: &UserId, pos: Position) -> Result<Position, BusError> {
        let command = scripts::mark_seen(&self.names.room(room), user, pos, self.refreshed_expiry());
        let mark: String = self.link()?.query(command).await?;
        mark.parse().map_err(|_| unexpected_reply("the script of read marks returned no position"))
    }

    async fn seen(&self, room: &Room, user: &UserId) -> Result<Option<Position>, BusError> {
        let command = redis::cmd("HGET").arg(self.names.room(room).seen()).arg(user.as_str()).take();
        let mark: Option<String> = self.link()?.query(command).await?;
        Ok(mark.and_then(|mark| mark.parse().ok()))
    }

    /// Skips damaged entries, which another program wrote or changed.
    async fn read(&self, room: &Room, range: Range) -> Result<Page, BusError> {
        let link = self.link()?;
        let keys = self.names.room(room);
        let log = keys.log();
        let mut reader = PageReader::new(range);
        let (mut head, mut deleted) = (None, HashSet::new());
        loop {
            let query = reader.next_query();
            let mut commands = Vec::new();
            if head.is_none() {
                // Read before the page, so that the page never ends before the head while the log has more.
                commands.push(last_entry_command(&log));
            }
            if let Some(RangeQuery { command, from, to, count }) = &query {
                commands.push(redis::cmd(command).arg(&log).arg(from).arg(to).arg("COUNT").arg(*count).take());
                // Read after the page, so that a deletion that is on the page is known.
                commands.push(redis::cmd("HGETALL").arg(keys.meta()).take());
            }
            if commands.is_empty() {
                let mut page = reader.into_page(head.unwrap_or_default());
                for entry in &mut page.entries {
                    entry.message.redact(|pos| deleted.contains(&pos));
                }
                return Ok(page);
            }
            let replies: Vec<Value> = link.query_all(commands).await?;
            let mut replies = replies.iter();
            let mut next = || replies.next().unwrap_or(&Value::Nil);
            if head.is_none() {
                head = Some(head_of(&entries_in(next())?));
            }
            if let Some(query) = query {
                reader.add_reply(&query, entries_in(next())?);
                let more = deleted_positions(next());
                deleted.extend(more.ok_or_else(|| unexpected_reply("the reply to HGETALL is not a map"))?);
            }
        }
    }

    async fn heads(&self, rooms: &[Room]) -> Result<Vec<Position>, BusError> {
        let link = self.link()?;
        let mut heads = Vec::with_capacity(rooms.len());
        for rooms in rooms.chunks(ROOMS_PER_PIPELINE) {
            let log = |room| self.names.room(room).log();
            let commands = rooms.iter().map(|room| last_entry_command(&log(room))).collect();
            let replies: Vec<Value> = link.query_all(commands).await?;
            for reply in &replies {
                heads.push(last_position(reply).ok_or_else(|| unexpected_reply(NO_ENTRIES))?);
            }
        }
        Ok(heads)
    }

    async fn publish_ephemeral(&self, room: &Room, bytes: Bytes) -> Result<(), BusError> {
        let link = self.link()?;
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.names.room(room).channel()).arg(Payload::encode_ephemeral(&bytes));
        link.query(publish).await
    }

    async fn refresh_expiry(&self, rooms: &[Room]) -> Result<(), BusError> {
        let link = self.link()?;
        let expiry = self.refreshed_expiry();
        let rooms = lock(&self.refreshed).due(rooms, self.started.elapsed());
        for rooms in rooms.chunks(ROOMS_PER_PIPELINE) {
            let keys = rooms.iter().map(|room| self.names.room(room));
            let keys = keys.flat_map(|keys| [keys.log(), keys.meta(), keys.seen()]);
            // GT: never earlier than the publish script has set.
            let expire = |key| redis::cmd("PEXPIRE").arg(key).arg(expiry).arg("GT").take();
            link.query_all::<()>(keys.map(expire).collect()).await?;
            lock(&self.refreshed).refreshed(rooms);
        }
        Ok(())
    }

    /// Call it inside the tokio runtime that is to drive the connection.
    fn open(&self) -> (RedisSubscriptions, mpsc::Receiver<Delivery>) {
        let subscription = Subscription {
            connector: self.connector.clone(),
            names: self.names.clone(),
            probe_channel: self.names.probe(self.process).channel().to_owned(),
            probe_now: self.probe_now.clone(),
            link: self.link.clone(),
            health: self.subscription_health.clone(),
        };
        subscription.open()
    }

    /// The checks are:
    /// - `redis`: the link is up; otherwise the step and the address that failed.
    /// - `writes`: a message can be sent (Redis has memory and disk, replicas are connected if required, and the user has
    ///   the permissions), as of the last probe, which sends one.
    /// - `presence`: presence can be updated, as of at most 10 s ago.
    /// - `eviction`: Redis does not delete keys when its memory is full.
    /// - `subscription`: the process received its own probe within the last two probe intervals, 4 s.
    fn health(&self) -> Vec<Health> {
        let unreachable = || Err("Redis cannot be reached".to_owned());
        let [redis, writes, presence, eviction] = match self.link_state() {
            Ok(link) => {
                let probed = link.probed();
                [
                    Ok(()),
                    probed.writes,
                    probed.presence.unwrap_or_else(|| Err("not checked yet".to_owned())),
                    probed.eviction,
                ]
            }
            Err(reason) => [Err(reason), unreachable(), unreachable(), unreachable()],
        };
        let subscription = self.subscription_health.state();
        [
            ("redis", redis),
            ("writes", writes),
            ("presence", presence),
            ("eviction", eviction),
            ("subscription", subscription),
        ]
        .map(|(check, state)| Health { check, state })
        .into()
    }
}

/// Reads the last entry of a log.
fn last_entry_command(log: &str) -> Cmd {
    redis::cmd("XREVRANGE").arg(log).arg("+").arg("-").arg("COUNT").arg(1).take()
}

const NO_ENTRIES: &str = "the reply is not a list of stream entries";

fn entries_in(reply: &Value) -> Result<Vec<StreamEntry>, BusError> {
    stream_entries(reply).ok_or_else(|| unexpected_reply(NO_ENTRIES))
}

/// The head of a log, from its last entry.
fn head_of(last: &[StreamEntry]) -> Position {
    last.first().map_or(Position::ORIGIN, StreamEntry::pos)
}
