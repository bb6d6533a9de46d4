//! Encoded WebSocket frames. Everything that the gateway sends passes through here.

use bytes::{Bytes, BytesMut};
use trunkline_domain::{Content, Entry, Event, Position, Room};

/// A message of a room as WebSocket bytes, encoded once per process. Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The message's position in the room's log.
    pub(crate) pos: Position,
    /// The position before it.
    pub(crate) prev: Position,
    /// The message whose text this one deletes. Boxed, because few messages do.
    pub(crate) deletes: Option<Box<Position>>,
    /// One complete unmasked text frame (RFC 6455 section 5.2).
    pub(crate) bytes: Bytes,
}

impl Frame {
    /// Encodes an entry of `room`'s log.
    pub(crate) fn encode(room: &Room, entry: Entry) -> Self {
        let (pos, prev) = (entry.message.pos, entry.prev);
        let deletes = entry.message.deletes().map(Box::new);
        let event = Event::Message { room: room.clone(), message: entry.message };
        Self { pos, prev, deletes, bytes: text_frame(&event) }
    }

    /// Returns the frame without its text if the text, or the one that it edits, was deleted.
    pub(crate) fn redacted(&self, is_deleted: impl Fn(Position) -> bool) -> Option<Self> {
        let payload = std::str::from_utf8(payload(&self.bytes)).ok()?;
        // Most frames are neither, and need not be decoded.
        if !is_deleted(self.pos) && !payload.contains(EDIT_FIELD) {
            return None;
        }
        let Ok(Event::Message { room, mut message }) = Event::decode(payload) else { return None };
        if !message.redact(&is_deleted) {
            return None;
        }
        Some(Self { bytes: text_frame(&Event::Message { room, message }), ..self.clone() })
    }
}

/// As an edit is encoded.
const EDIT_FIELD: &str = "\"event\":\"edit\"";
const _: () = assert!(matches!(Content::EDIT.as_bytes(), b"edit"));

/// Returns the payload of an unmasked frame.
fn payload(frame: &[u8]) -> &[u8] {
    let header = match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    };
    frame.get(header..).unwrap_or_default()
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
