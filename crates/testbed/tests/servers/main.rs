//! Servers are started, killed and restarted.

#![expect(clippy::unwrap_used, reason = "clippy allows it in test functions only, not in their helpers")]

mod cluster;
mod haproxy;
mod instance;
mod redis;
mod sentinel;
mod tls;
mod tools;
