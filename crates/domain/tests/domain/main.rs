//! Tests of the domain, many of them with generated values.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod content;
mod document;
mod frames;
mod grants;
mod presence;
mod strategies;
mod values;
