//! Tests of the client as its users see it.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod driver;
mod simulated;
mod vectors;
