//! Starts real gateways with the files of `deploy/` and injects the fault that each file has to handle.

#![expect(clippy::unwrap_used, reason = "clippy allows it in tests, but not in the code that tests share")]

mod acl;
mod cluster;
mod growing;
mod haproxy;
mod http;
mod idle;
mod nginx;
mod probes;
mod redis;
mod sentinel;
mod site;
mod stop;
