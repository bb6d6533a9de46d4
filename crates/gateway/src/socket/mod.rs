//! One WebSocket: from the handshake to the close.
//!
//! [`inbound`] is bytes in, messages out; the hub's peer is frames in, bytes out; both are pure. [`conversation`] carries
//! out commands, and a transport diff the bytes: [`mounted`] inside anyone's App, [`takeover`] in our own server.

mod conversation;
mod guard;
mod inbound;
mod mounted;
mod seat;
mod takeover;
mod under_way;
mod upgrade;

#[cfg(any(test, feature = "bench"))]
pub(crate) use inbound::{Inbound, Input};
pub(crate) use takeover::take_over;
pub(crate) use upgrade::upgrade;
