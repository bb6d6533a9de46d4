//! Benchmarks of Trunkline, a minimal server and other servers.
//!
//! [`floor`] is a server that does nothing but fan messages out, and so measures the cost of the kernel. [`load`] opens
//! sockets to the floor, to Trunkline or to a peer, sends messages, and measures deliveries, latencies, and the CPU time and
//! memory of the servers. Both run one thread with one epoll loop, because they share the machine with the servers that they
//! measure. [`compare`] starts all servers, runs the load against each, and writes the report of `cargo xtask bench`.
//! [`sizing`] computes from the measured costs what a larger system needs.
//! Linux only: CPU time and memory come from `/proc`.
#![cfg(target_os = "linux")]

pub mod compare;
mod dialect;
mod error;
pub mod floor;
mod frame;
mod http;
pub mod load;
mod poll;
pub mod sizing;
mod socket;
mod stamp;

pub use error::{BenchError, Result};
