//! Skeleton.

mod config;
mod http;

pub use config::{Config, Limits};
pub use http::{InvalidOrigin, Origin};
