//! Skeleton.

mod config;
mod http;
mod pages;

pub use config::{Config, Limits};
pub use http::{InvalidOrigin, Origin};
