//! Room logs, and how gateways share them.
//!
//! A room is a log. [`Bus`] appends to it, reads it, and tells every gateway that asked what was appended. Telling is a
//! hint and may be lost; the log is the truth. [`Presence`] says who is in a room, and what the cluster consists of.
//! [`LocalBus`] keeps both in this process, [`RedisBus`] in Redis.
//!
//! # A consumer in four lines
//! Keep a head a room. On [`Delivery::Subscribed`] read [`Range::After`] the head until nothing is left; where the page
//! does not [follow](Page::follows), say so and start over with [`Range::Latest`]. On [`Delivery::Entry`] show it if its
//! `prev` is the head, pass over what is at or before the head, and else read.
//!
//! # Memory
//! Everything that waits is bounded, and says what happens at the bound:
//!
//! | what | bound | then |
//! | --- | --- | --- |
//! | a log of `LocalBus` | [`LocalConfig`]: 1,000 entries, 4 MiB | the oldest go; a reader is told of the gap |
//! | ids of `LocalBus`, of Redis | what a room is sent in 20 minutes, about 150 and 100 bytes each | they expire whole |
//! | deliveries of `LocalBus` | 1,024 | publishers wait |
//! | deliveries of `RedisBus` | 256, and 8,192 or 16 MiB behind them | all are dropped, their rooms are `Subscribed` anew |
//! | calls to Redis | 256 that wait, four batches of 64 commands under way | callers wait in order, at most 2 s |
//! | a stream in Redis | [`RedisConfig::retain`] and up to 100 more | as a log of `LocalBus` |

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
mod redis_bus;

pub use bus::{Bus, Delivery, Health, Page, Range, Receipt, Subscriptions};
pub use error::{BusError, ErrorKind};
pub use idempotency::IdempotencyCache;
pub use local::{LocalBus, LocalConfig, LocalSubscriptions};
pub use log::{Log, NotContiguous};
pub use presence::{InstanceRegistry, InstanceReport, Lease, LeaseStatus, PresenceStore};
#[cfg(feature = "redis")]
pub use redis_bus::{InvalidRedisUrl, RedisBus, RedisConfig, RedisSubscriptions};
