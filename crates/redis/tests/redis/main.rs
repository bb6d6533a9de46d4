//! Connections to real servers.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod sentinel;
mod servers;
mod tls;

use std::time::Duration;

use trunkline_redis::{Connector, RedisOptions};

/// A connector whose URL and options are valid.
fn connector(url: &str, options: &RedisOptions) -> Connector {
    Connector::new(&url.parse().unwrap(), options, Duration::from_secs(2)).unwrap()
}

/// Why no connection could be opened.
async fn failure(url: &str, options: &RedisOptions) -> String {
    connector(url, options).open().await.unwrap_err().to_string()
}
