//! Room logs, and how gateways share them.
//!
//! A room is a log. [`Bus`] appends to it, reads it, and tells every gateway that asked what was appended. Telling is a
//! hint and may be lost; the log is the truth. [`LocalBus`] keeps logs in this process, [`RedisBus`] in Redis.

mod bus;
#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod local;
mod log;
#[cfg(feature = "redis")]
mod redis_bus;
mod remembered;

pub use bus::{Bus, Delivery, Health, Interest, Page, Range, Receipt};
pub use error::{BusError, ErrorKind};
pub use local::{LocalBus, LocalConfig, LocalInterest};
pub use log::{Log, NotContiguous};
#[cfg(feature = "redis")]
pub use redis_bus::{InvalidRedisUrl, RedisBus, RedisConfig, RedisInterest};
pub use remembered::Remembered;
