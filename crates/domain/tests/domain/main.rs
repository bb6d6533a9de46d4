//! Tests of the domain, many of them with generated values.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod document;
mod frames;
mod presence;
mod values;
