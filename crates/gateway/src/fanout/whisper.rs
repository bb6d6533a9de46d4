//! What gateways tell each other of a room beside its log.

use bytes::Bytes;
use trunkline_domain::{Event, Room, UserName};

use super::text;

/// The payload that says: this user is typing.
pub(crate) fn typing(user: &UserName) -> Bytes {
    Bytes::from(format!("t{user}"))
}

/// The frame for a payload; `None` for one of a later version, or a foreign one.
pub(super) fn decode(room: &Room, payload: &[u8]) -> Option<Bytes> {
    let user = std::str::from_utf8(payload.strip_prefix(b"t")?).ok()?.parse().ok()?;
    Some(text(&Event::Typing { room: room.clone(), user }))
}
