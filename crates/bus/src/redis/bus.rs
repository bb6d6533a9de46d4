//! [`RedisBus`]: the [`Bus`] over Redis.

use std::{
    collections::HashSet,
    fmt, slice,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use redis::{Cmd, Value};
use tokio::{sync::mpsc, time::Instant};
use trunkline_domain::{Draft, InstanceId, Position, Room, UserId, millis};
use trunkline_redis::{Connector, InvalidRedisSettings, RedisUrl, Topology};

use super::{
    at_rest::{RefreshCache, RoomCountCache},
    codec::{Payload, StreamEntry, deleted_positions, last_position, stream_entries},
    config::{RESPONSE_TIMEOUT, RedisConfig},
    connection::{Generation, Link, LinkSettings},
    error::unexpected_reply,
    faults::Faults,
    keys::Keyspace,
    mode::PubSubMode,
    publish,
    read::{PageReader, RangeQuery},
    scripts,
    shards::{ShardSettings, Shards, Target},
    subscribe::{RedisSubscriptions, open},
};
use crate::{Bus, BusError, Delivery, Health, Page, ROOM_COUNT_LEASES, Range, Receipt, sync::lock};

/// Minimum expiry of a room in use. Callers refresh a quiet room about once per minute, even if its log is retained for
/// less.
const MIN_EXPIRY_IN_USE: Duration = Duration::from_secs(180);
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
    pub(super) shards: Shards,
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
        Self::start(config, Faults::default())
    }

    /// A bus with deliberate faults: see [`crate::mutant`].
    #[cfg(feature = "mutants")]
    pub(crate) fn with_faults(config: RedisConfig, faults: Faults) -> Result<Self, InvalidRedisSettings> {
        Self::start(config, faults)
    }

    fn start(config: RedisConfig, faults: Faults) -> Result<Self, InvalidRedisSettings> {
        let url: RedisUrl = config.url.parse()?;
        let connector = Arc::new(Connector::new(&url, &config.options, RESPONSE_TIMEOUT)?);
        let names = Arc::new(Keyspace::new(&config.prefix, url.database().into()));
        let (target, mode) = match url.topology() {
            Topology::Cluster { .. } => (Target::Cluster(connector), PubSubMode::Sharded),
            Topology::Server(_) | Topology::Sentinel { .. } => (Target::Single(connector), PubSubMode::Classic),
        };
        let settings = ShardSettings {
            names: names.clone(),
            process: rand::random(),
            link: LinkSettings {
                mode,
                read_generation: faults.read_generation(),
                batch_delay_max: config.batch_delay_max,
            },
            map_requests: Arc::default(),
            shared_health: faults.shared_health(),
        };
        let shards = Shards::start(target, settings, faults);
        let cache = RoomCountCache::new(ROOM_COUNT_LEASES * config.lease);
        let room_counts = Arc::new(Mutex::new(RoomCounts { cache, writer: None, generation: None }));
        let refreshed = Arc::new(Mutex::new(RefreshCache::new(config.refresh_interval())));
        let config = Arc::new(config);
        Ok(Self { config, names, shards, room_counts, refreshed, started: Instant::now() })
    }

    /// The names that determine the slots of rooms.
    pub(super) fn slot_keys(&self, rooms: &[Room]) -> Vec<String> {
        rooms.iter().map(|room| self.names.room(room).tagged().to_owned()).collect()
    }

    /// The expiry that a refresh sets, in ms: later than required, so that a room that was refreshed needs no other refresh
    /// for some time.
    fn refreshed_expiry(&self) -> u64 {
        let expiry = self.config.retention().millis + millis(2 * self.config.refresh_interval());
        expiry.max(millis(MIN_EXPIRY_IN_USE))
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
        let keys = self.names.room(room);
        let command = |link: &Link| publish::command(link.publish_script(), &keys, self.config.retention(), &draft);
        let (pos, status): (String, u8) = self.shards.publish(keys.channel(), command).await?;
        publish::receipt((&pos, status))
    }

    async fn mark_seen(&self, room: &Room, user: &UserId, pos: Position) -> Result<Position, BusError> {
        let keys = self.names.room(room);
        let command = |_: &Link| scripts::mark_seen(&keys, user, pos, self.refreshed_expiry());
        let mark: String = self.shards.query(keys.tagged(), command).await?;
        mark.parse().map_err(|_| unexpected_reply("the script of read marks returned no position"))
    }

    async fn seen(&self, room: &Room, user: &UserId) -> Result<Option<Position>, BusError> {
        let keys = self.names.room(room);
        let command = |_: &Link| redis::cmd("HGET").arg(keys.seen()).arg(user.as_str()).take();
        let mark: Option<String> = self.shards.query(keys.tagged(), command).await?;
        Ok(mark.and_then(|mark| mark.parse().ok()))
    }

    /// Skips damaged entries, which another program wrote or changed.
    async fn read(&self, room: &Room, range: Range) -> Result<Page, BusError> {
        let keys = self.names.room(room);
        let log = keys.log();
        let mut reader = PageReader::new(range);
        let (mut head, mut deleted) = (None, HashSet::new());
        loop {
            let query = reader.next_query();
            let commands = |_: &Link| {
                // The head is read before the page, so that the page never ends before it while the log has more.
                let mut commands = if head.is_none() { vec![last_entry_command(&log)] } else { Vec::new() };
                if let Some(RangeQuery { command, from, to, count }) = &query {
                    commands.push(redis::cmd(command).arg(&log).arg(from).arg(to).arg("COUNT").arg(*count).take());
                    // Read after the page, so that a deletion that is on the page is known.
                    commands.push(redis::cmd("HGETALL").arg(keys.meta()).take());
                }
                commands
            };
            if head.is_some() && query.is_none() {
                let mut page = reader.into_page(head.unwrap_or_default());
                for entry in &mut page.entries {
                    entry.message.redact(|pos| deleted.contains(&pos));
                }
                return Ok(page);
            }
            let replies: Vec<Value> = self.shards.query_all(keys.tagged(), commands).await?;
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

    /// With one server, all heads are known or none is.
    async fn heads(&self, rooms: &[Room]) -> Result<Vec<Option<Position>>, BusError> {
        let mut heads = Vec::with_capacity(rooms.len());
        for rooms in rooms.chunks(ROOMS_PER_PIPELINE) {
            let keys = self.slot_keys(rooms);
            let command = |_: &Link, index: usize| vec![last_entry_command(&self.names.room(&rooms[index]).log())];
            for replies in self.shards.query_each::<Value>(&keys, 1, command).await {
                heads.push(replies.and_then(|replies| match &*replies {
                    [reply] => last_position(reply).ok_or_else(|| unexpected_reply(NO_ENTRIES)),
                    _ => Err(unexpected_reply(NO_ENTRIES)),
                }));
            }
        }
        known(heads)
    }

    async fn changed_heads(&self, known: &[(Room, Position)]) -> Result<Vec<(Room, Position)>, BusError> {
        self.compare_heads(known).await
    }

    async fn publish_ephemeral(&self, room: &Room, bytes: Bytes) -> Result<(), BusError> {
        let keys = self.names.room(room);
        let payload = Payload::encode_ephemeral(&bytes);
        let command = |link: &Link| redis::cmd(link.mode().publish()).arg(keys.channel()).arg(&payload).take();
        self.shards.query(keys.tagged(), command).await
    }

    async fn refresh_expiry(&self, rooms: &[Room]) -> Result<(), BusError> {
        let expiry = self.refreshed_expiry();
        let rooms = lock(&self.refreshed).due(rooms, self.started.elapsed());
        let mut failure = None;
        for rooms in rooms.chunks(ROOMS_PER_PIPELINE) {
            let keys = self.slot_keys(rooms);
            // GT: never earlier than the publish script has set.
            let expire = |key: String| redis::cmd("PEXPIRE").arg(key).arg(expiry).arg("GT").take();
            let commands = |_: &Link, index: usize| {
                let keys = self.names.room(&rooms[index]);
                vec![expire(keys.log()), expire(keys.meta()), expire(keys.seen())]
            };
            for (room, result) in rooms.iter().zip(self.shards.query_each::<()>(&keys, 3, commands).await) {
                match result {
                    Ok(_) => lock(&self.refreshed).refreshed(slice::from_ref(room)),
                    Err(error) => failure = Some(error),
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Call it inside the tokio runtime that is to drive the connection.
    fn open(&self) -> (RedisSubscriptions, mpsc::Receiver<Delivery>) {
        open(self.names.clone(), self.shards.views(), self.shards.faults())
    }

    /// The checks are:
    /// - `redis`: the link is up; otherwise the step and the address that failed.
    /// - `writes`: a message can be sent (Redis has memory and disk, replicas are connected if required, and the user has
    ///   the permissions), as of the last probe, which sends one.
    /// - `presence`: presence can be updated, as of at most 10 s ago.
    /// - `eviction`: Redis does not delete keys when its memory is full.
    /// - `subscription`: the process received its own probe within the last two probe intervals, 4 s.
    ///
    /// In a cluster a check passes if at least one shard passes it; the others are named as degraded, as are a cluster in
    /// state `fail`, slots without a master, and `cluster-require-full-coverage yes`.
    fn health(&self) -> Vec<Health> {
        self.shards.health()
    }
}

/// What is known of each room; `None` for a room whose shard is away.
///
/// # Errors
/// Nothing is known of any room.
pub(super) fn known<T>(results: Vec<Result<T, BusError>>) -> Result<Vec<Option<T>>, BusError> {
    if results.iter().any(Result::is_ok) {
        return Ok(results.into_iter().map(Result::ok).collect());
    }
    results.into_iter().map(|result| result.map(Some)).collect()
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
