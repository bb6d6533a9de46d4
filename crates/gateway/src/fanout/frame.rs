//! Frames as they go over the wire: encoded once a process.

use bytes::{Bytes, BytesMut};
use trunkline_domain::{Entry, Event, Position, Room};

/// A message of a room as WebSocket bytes. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Where the message stands.
    pub(crate) pos: Position,
    /// What stands before it.
    pub(crate) prev: Position,
    /// A whole unmasked text frame (RFC 6455 section 5.2).
    pub(crate) bytes: Bytes,
}

impl Frame {
    /// Encodes an entry of `room`'s log.
    pub(crate) fn of(room: &Room, entry: Entry) -> Self {
        let (pos, prev) = (entry.message.pos, entry.prev);
        let event = Event::Message { room: room.clone(), message: entry.message };
        Self { pos, prev, bytes: text(&event) }
    }
}

/// The text frame that carries `event`.
pub(crate) fn text(event: &Event) -> Bytes {
    let mut bytes = BytesMut::new();
    put_text(&mut bytes, event);
    bytes.freeze()
}

/// Appends the text frame that carries `event`.
pub(crate) fn put_text(bytes: &mut BytesMut, event: &Event) {
    let json = event.encode();
    put_header(bytes, 0x1, json.len());
    bytes.extend_from_slice(json.as_bytes());
}

/// Appends the header of a final, unmasked frame (RFC 6455 section 5.2).
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
