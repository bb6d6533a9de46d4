//! The yardstick and the load of `cargo xtask bench`.
//!
//! [`floor`] is the least server there can be; [`load`] opens sockets to it, to Trunkline or to a peer, makes it deliver,
//! and counts what came, how late, and what CPU time and memory the servers spent on it. Both are a thread each and an
//! epoll loop, because they share the machine with what they measure. Linux only: the facts come from its `/proc`.
#![cfg(target_os = "linux")]

mod dialect;
mod error;
pub mod floor;
mod frame;
mod http;
pub mod load;
mod poll;
mod socket;
mod stamp;

pub use error::Error;
