//! How bytes reach the client and come from it.

mod mounted;
mod takeover;

pub(super) use mounted::{SUBPROTOCOL, SocketBody, handshake};
pub(crate) use takeover::take_over;
pub(super) use takeover::{CanBeTakenOver, Upgraded};
