//! One client connection, from the handshake to the close.
//!
//! [`decoder`] turns bytes into messages and is pure. [`handler`] executes commands. A [`transport`] moves the bytes:
//! mounted in an application's App, or taken over from the HTTP server of the program.

mod commands;
mod decoder;
#[cfg(feature = "echo")]
mod echo;
mod frame_check;
mod guard;
mod handler;
mod in_flight;
mod refresh;
mod transport;
mod upgrade;

#[cfg(any(test, feature = "bench", feature = "fuzzing"))]
pub(crate) use decoder::{ClientMessage, MessageDecoder};
#[cfg(feature = "echo")]
pub(crate) use echo::echo;
pub(crate) use transport::take_over;
pub(crate) use upgrade::upgrade;
