//! Encoded WebSocket frames. Everything that the gateway sends passes through here.

use bytes::{Bytes, BytesMut};
use trunkline_domain::{Entry, Event, Position, Room};

/// A message of a room as WebSocket bytes, encoded once per process. Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The message's position in the room's log.
    pub(crate) pos: Position,
    /// The position before it.
    pub(crate) prev: Position,
    /// One complete unmasked text frame (RFC 6455 section 5.2).
    pub(crate) bytes: Bytes,
}

impl Frame {
    /// Encodes an entry of `room`'s log.
    pub(crate) fn encode(room: &Room, entry: Entry) -> Self {
        let (pos, prev) = (entry.message.pos, entry.prev);
        let event = Event::Message { room: room.clone(), message: entry.message };
        Self { pos, prev, bytes: text_frame(&event) }
    }
}

/// Returns the text frame of `event`.
pub(crate) fn text_frame(event: &Event) -> Bytes {
    let mut bytes = BytesMut::new();
    put_text_frame(&mut bytes, event);
    bytes.freeze()
}

/// Appends the text frame of `event`.
pub(crate) fn put_text_frame(bytes: &mut BytesMut, event: &Event) {
    let json = event.encode();
    put_header(bytes, 0x1, json.len());
    bytes.extend_from_slice(json.as_bytes());
}

/// Appends the header of a final, unmasked frame (RFC 6455 section 5.2) and reserves space for its payload.
pub(crate) fn put_header(bytes: &mut BytesMut, opcode: u8, length: usize) {
    bytes.reserve(10 + length);
    bytes.extend_from_slice(&[0x80 | opcode]);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => bytes.extend_from_slice(&[short]),
        (_, Ok(medium)) => {
            bytes.extend_from_slice(&[126]);
            bytes.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            bytes.extend_from_slice(&[127]);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}
