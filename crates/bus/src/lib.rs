//! Room logs, and how gateways share them.
//!
//! A room is a log. [`Bus`] appends to it, reads it, and delivers what was appended to every subscribed process. Delivery
//! is a hint and may be lost; the log is the truth. [`PresenceStore`] says which users are in a room, [`InstanceRegistry`]
//! which instances are alive; [`SharedLimits`] lets limits hold over all instances. [`LocalBus`] keeps all of it in this process, [`RedisBus`] in Redis.
//!
//! # A consumer in four lines
//! Keep one head per room. On [`Delivery::Subscribed`], read [`Range::After`] the head until there is no more; if the page
//! does not [follow](Page::follows), report the gap and start again with [`Range::Latest`]. On [`Delivery::Entry`], show
//! the entry if its `prev` is the head, skip it if its position is at or before the head, and otherwise read.
//!
//! # Memory
//! Every queue and cache has a bound, and a defined behaviour at the bound:
//!
//! | what | bound | at the bound |
//! | --- | --- | --- |
//! | a log of `LocalBus` | [`LocalConfig`]: 1,000 entries, 4 MiB | the oldest entries are dropped; a reader behind them learns of the gap |
//! | message ids, in `LocalBus` and Redis | those of 20 minutes; about 150 and 100 bytes each | they expire by bucket |
//! | deliveries of `LocalBus` | 1,024 | publishers wait |
//! | deliveries of `RedisBus` | 256, and behind them 8,192 or 16 MiB | all are dropped, and their rooms delivered as `Subscribed` again |
//! | calls to Redis | 256 in the queue, two batches of 64 commands under way | callers wait in order, at most 2 s |
//! | a stream in Redis | [`RedisConfig::retain`] and up to 100 more entries | as a log of `LocalBus` |

mod bus;
#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod idempotency;
mod local;
mod log;
#[doc(hidden)]
pub mod mutant;
mod presence;
#[cfg(feature = "redis")]
mod redis;
mod shared_limits;
mod sync;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use self::redis::fuzzing;
#[cfg(feature = "redis")]
pub use self::redis::{RedisBus, RedisConfig, RedisSubscriptions};
pub use bus::{Bus, Delivery, Health, Page, Range, Receipt, Subscriptions};
pub use error::{BusError, ErrorKind};
pub use idempotency::IdempotencyCache;
pub use local::{LocalBus, LocalConfig, LocalSubscriptions};
pub use log::{Log, NotContiguous};
pub use presence::{InstanceRegistry, InstanceReport, Lease, LeaseStatus, PresenceStore, ROOM_COUNT_LEASES};
pub use shared_limits::{Charge, Charged, REPORT_GRACE, SharedLimits, SocketChange, SocketExchange};
#[cfg(feature = "redis")]
pub use trunkline_redis::{InvalidRedisSettings, InvalidRedisUrl, RedisOptions, RedisUrl, TlsFile};
