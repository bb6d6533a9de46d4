//! Both buses against the contract, and the one over Redis against a real Redis that fails.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod contract;
mod faults;
mod network;
mod presence;
mod redis;
