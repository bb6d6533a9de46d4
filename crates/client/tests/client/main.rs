//! Tests of the client through its public API.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod driver;
mod fold;
mod simulated;
mod vectors;
