//! One WebSocket: from the handshake to the close.
//!
//! [`inbound`] is bytes in, messages out; the hub's peer is frames in, bytes out; both are pure. [`conversation`] carries
//! out commands, and a transport ([`mounted`]) moves the bytes.

mod conversation;
mod guard;
mod inbound;
mod mounted;
mod seat;
mod upgrade;

pub(crate) use upgrade::upgrade;
