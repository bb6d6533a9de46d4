//! Trunkline as people see it: real Chromium, real instances behind the real balancer, one Redis.
//!
//!     cargo test -p trunkline-gateway --test browser
//!
//! Each test brings up a [`site::Site`] of its own and looks at it through the eyes of [`person::Person`]s. Pictures of what
//! they saw are left in `target/screenshots`: look at them when a page has changed. A wait that fails leaves one, too.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod axe;
mod person;
mod script;
mod site;

mod accessible;
mod failover;
mod hostile;
mod keyboard;
mod narrow;
mod network;
mod outbox;
mod pictures;
mod rooms;
mod session;
mod talk;
mod text;

use std::time::Duration;

/// Longest that anything is waited for: what takes so long on a busy machine is not slow but broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at what is waited for.
const GLANCE: Duration = Duration::from_millis(50);
