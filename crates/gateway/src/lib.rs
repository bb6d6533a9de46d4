//! A WebSocket chat gateway to mount in any actix-web App, and the library behind the binary `trunkline`.
//!
//! A room is a log; a subscription is a cursor in it. Live delivery, the first screenful, resuming after a crash and a
//! reader too slow to keep up are one operation: read the room's log after this position.

#[cfg(any(test, feature = "bench"))]
#[doc(hidden)]
pub mod bench;
mod census;
mod config;
mod drain;
mod fanout;
mod gateway;
mod http;
mod limits;
mod metrics;
mod origin;
mod pages;
mod policy;
mod server;
mod socket;
mod status;

pub use config::{Config, Limits};
pub use gateway::Gateway;
pub use http::not_found;
pub use limits::descriptors::{MAX_ADMIN_CONNECTIONS, raise_open_file_limit};
pub use metrics::count_dropped_log_lines;
pub use origin::{InvalidOrigin, Origin};
pub use policy::{Action, Denied, LoggedIn, Policy};
