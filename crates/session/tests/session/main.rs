//! The contract of session stores, tested over HTTP against each store, and tests of what is specific to Redis.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod addresses;
mod agreement;
mod cluster;
mod contract;
mod cookie;
mod login_id;
mod network;
mod redis;
mod site;
mod users;
