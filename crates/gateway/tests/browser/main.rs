//! The pages in a real browser: Chromium, real instances behind the real balancer, one Redis.
//!
//!     cargo test -p trunkline-gateway --test browser
//!
//! Each test starts a [`site::Site`] of its own and uses it as one or more [`person::Person`]s. Screenshots are written to
//! `target/screenshots`: look at them when a page has changed. A wait that fails writes `failed.png` there.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod axe;
mod person;
#[path = "../provider/mod.rs"]
mod provider;
mod script;
mod site;

mod accessible;
mod amend;
mod failover;
mod hostile;
mod keyboard;
mod narrow;
mod network;
mod oidc;
mod outbox;
mod pictures;
mod rooms;
mod session;
mod talk;
mod text;

use std::time::Duration;

/// Maximum time for any condition to become true; generous, because the machine may be busy.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
