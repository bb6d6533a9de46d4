//! The payloads of ephemeral events, which gateways exchange beside the log.

use bytes::Bytes;
use trunkline_domain::{Event, Room, UserName};

use crate::frame::text_frame;

/// Encodes "this user is typing": `t` and the name.
pub(crate) fn encode_typing(user: &UserName) -> Bytes {
    Bytes::from(format!("t{user}"))
}

/// Returns the frame for a payload; `None` if the payload is unknown, such as one of a later version.
pub(super) fn decode(room: &Room, payload: &[u8]) -> Option<Bytes> {
    let user = std::str::from_utf8(payload.strip_prefix(b"t")?).ok()?.parse().ok()?;
    Some(text_frame(&Event::Typing { room: room.clone(), user }))
}
