//! Both buses against the contract, and `RedisBus` against a real Redis with faults.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod addresses;
mod cluster;
mod contract;
mod faults;
mod network;
mod preconditions;
mod presence;
mod redis;
mod shared_limits;
