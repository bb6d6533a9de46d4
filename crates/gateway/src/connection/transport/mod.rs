//! Transports: they carry bytes to the client and from it.

mod mounted;
mod takeover;

pub(super) use mounted::{SUBPROTOCOL, SocketBody, handshake};
pub(crate) use takeover::take_over;
pub(super) use takeover::{CanBeTakenOver, Upgraded};
