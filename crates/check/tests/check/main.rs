//! Tests of the checker as its users see it: against a stand-in that speaks the protocol, well or badly.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod attack;
mod command_line;
mod proxy;
mod run;
mod stand_in;
