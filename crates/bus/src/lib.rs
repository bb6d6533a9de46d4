//! Room logs, and how gateways share them.
//!
//! A room is a log. [`Bus`] appends to it, reads it, and tells every gateway that asked what was appended. Telling is a
//! hint and may be lost; the log is the truth. [`LocalBus`] keeps logs in this process, [`RedisBus`] in Redis.

mod bus;
mod error;

pub use bus::{Bus, Delivery, Health, Interest, Page, Range, Receipt};
pub use error::{BusError, ErrorKind};
