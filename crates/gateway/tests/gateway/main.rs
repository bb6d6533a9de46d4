//! Integration tests of the gateway, one module per subject.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod cluster_limits;
mod embedding;
mod http;
mod presence;
mod program;
#[path = "../provider/mod.rs"]
mod provider;
mod socket;
