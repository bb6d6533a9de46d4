//! End-to-end tests of the checker against a fake gateway, which speaks the protocol correctly or with one defect.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod attack;
mod command_line;
mod fake_gateway;
mod proxy;
mod run;
