//! The bus for a single process: logs in memory, for running without Redis and for tests.

mod bus;
mod config;
mod listeners;
mod presence;
mod rooms;
mod shared_limits;

pub use self::{bus::LocalBus, config::LocalConfig, listeners::LocalSubscriptions};
