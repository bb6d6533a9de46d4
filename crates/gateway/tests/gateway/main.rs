//! Tests of the gateway as a whole, one module a subject.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod http;
mod presence;
mod program;
mod socket;
