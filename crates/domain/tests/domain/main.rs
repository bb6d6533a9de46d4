//! The domain's promises, tried on generated values.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod document;
mod frames;
mod presence;
mod values;
