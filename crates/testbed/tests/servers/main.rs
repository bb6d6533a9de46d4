//! Real servers, really killed.

#![expect(clippy::unwrap_used, reason = "clippy allows it in tests, but not in what they share")]

mod haproxy;
mod instance;
mod redis;
mod sentinel;
mod tools;
