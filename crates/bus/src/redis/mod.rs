//! The bus for several processes: logs and pub/sub in one Redis, or in a Redis Cluster.
//!
//! # Requirements
//! Redis 7.0 or Valkey; `maxmemory-policy noeviction`; an append-only file if logs are to survive a restart of Redis. The
//! commands `INFO`, `SCRIPT LOAD`, `EVALSHA`, `XADD`, `XRANGE`, `XREVRANGE`, `HGET`, `HMGET`, `HSET`, `HDEL`, `PEXPIRE`,
//! `PEXPIREAT`, `PTTL`, `SET`, `GET`, `INCR`, `DEL`, `SADD`, `SREM`, `SCARD`, `SISMEMBER`, `SMEMBERS`, `ZADD`, `ZREM`,
//! `ZREMRANGEBYSCORE`, `ZRANGE`, `ZRANGEBYSCORE`, `TIME`, `PUBLISH`, `SUBSCRIBE` and `UNSUBSCRIBE`; keys and channels
//! `tl:*` ([`RedisConfig::prefix`] replaces `tl`).
//!
//! # Keys and channels
//! | key of room `lobby` | type | contents |
//! | --- | --- | --- |
//! | `tl:{lobby}:log` | stream | the log; the id of an entry is its position |
//! | `tl:{lobby}:meta` | hash | generation of the last write, current epoch, time at which expiries were last set |
//! | `tl:{lobby}:ids:0`, `:1` | hash | message ids of even and odd ten-minute buckets, with their positions |
//! | `tl:{lobby}:holders` | set | instances that have users in the room |
//! | `tl:{lobby}:holders:<instance>` | set | users of one instance |
//! | `tl:{lobby}:turn` | string | version of the room's presence |
//! | `tl:{lobby}` | channel | entries, ephemeral events, presence changes; `tl:<n>:{lobby}` in database n, unless n is 0 |
//! | `tl:{:alive}` | sorted set | instances, scored by the time until which each counts as alive; dead ones remain for half a lease |
//! | `tl:{:rooms}`, `tl:{:instances}` | sorted set | names in a registry, scored by expiry; `:notes` is a hash of their texts |
//! | `tl:{:usage}:<key>` | string | how far the uses of a key by all instances are ahead of its rate; expires by itself |
//! | `tl:{:sockets}` | sorted set | instances that have sockets; `:of:<user>` is a sorted set of a user's sockets by age, `:evict` one of sockets to evict |
//! | `tl:{:probe:<random id>}` | channel | messages of one process to itself, which prove that its subscription works; in a cluster `tl:{:probe:<random id>:<n>}`, with an n whose slot is at the shard |
//! | `tl:{:probe:<random id>}:*` | as of a room | written by each probe to exercise what sends and presence need; expire after 6 s |
//!
//! In a cluster also `CLUSTER SHARDS`, `CLUSTER SLOTS`, `CLUSTER INFO`, `ASKING`, `SPUBLISH`, `SSUBSCRIBE` and `SUNSUBSCRIBE`
//! (and not `PUBLISH`, `SUBSCRIBE`, `UNSUBSCRIBE`); `CONFIG GET`, if permitted, shows whether one lost shard stops all.
//! All keys of a room, and its channel, are in one slot.
//!
//! # Connections
//! Each process has two per [shard](shards): one to a single server, and one to each master of a cluster. Commands share the [link](connection), which never reconnects silently, because the publish
//! script belongs to the run of Redis at its other end; a supervisor replaces it. The other connection
//! [subscribes](subscribe). Commands for a slot that moved are sent again to its new owner. Commands are sent at once while fewer than two batches are under way, and otherwise together in
//! the next batch.

mod at_rest;
mod bus;
mod codec;
mod config;
mod connection;
mod error;
mod faults;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod keys;
mod mode;
mod presence;
mod publish;
mod quiet_rooms;
mod read;
mod scripts;
mod shards;
mod shared_limits;
mod subscribe;

#[cfg(feature = "mutants")]
pub(crate) use self::faults::Faults;
pub use self::{bus::RedisBus, config::RedisConfig, subscribe::RedisSubscriptions};
