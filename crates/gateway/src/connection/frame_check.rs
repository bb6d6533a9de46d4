//! Checks the header of a client's frame before any of its payload is buffered.
//!
//! actix-http's parser waits for the whole declared frame before it checks the size. With a header that declares 2⁴⁰ bytes it
//! would buffer everything that the client sends. This check runs first.

use trunkline_domain::CloseCode;

/// Maximum payload of a frame, and of a message in several frames, in bytes. It exceeds the longest `send` frame, with 16 KiB of data, about
/// two times; a larger value lets each connection buffer more.
pub(super) const MAX_MESSAGE_BYTES: usize = 32 << 10;

/// The messages that are accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageRules {
    /// Maximum payload of a frame, and of a message in several frames, in bytes.
    max_bytes: usize,
    /// Whether messages may be binary.
    binary: bool,
}

impl MessageRules {
    /// The messages of a chat client.
    pub(super) const CHAT: Self = Self { max_bytes: MAX_MESSAGE_BYTES, binary: false };
    /// The messages of the Autobahn test suite: text and binary, up to 16 MiB.
    #[cfg(any(test, feature = "echo"))]
    pub(super) const ECHO: Self = Self { max_bytes: 16 << 20, binary: true };
}

/// A breach of the protocol, and the close frame that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProtocolViolation {
    /// The close code.
    pub(crate) code: CloseCode,
    /// The reason in the close frame, for people.
    pub(crate) reason: &'static str,
}

/// The answer to a binary message.
pub(super) const BINARY_REFUSED: ProtocolViolation = violation(CloseCode::Unsupported, "text frames only");

const fn violation(code: CloseCode, reason: &'static str) -> ProtocolViolation {
    ProtocolViolation { code, reason }
}

/// Checks the frame at the start of `bytes`, as far as its header has arrived; `assembled` is the number of bytes of its
/// message in earlier frames. RFC 6455 section 5.2 (header) and 5.5 (control frames are final and have at most 125 bytes).
///
/// # Errors
/// [`ProtocolViolation`] if the client may not send this frame. The connection is to be closed.
pub(super) fn check_frame_header(bytes: &[u8], assembled: usize, rules: MessageRules) -> Result<(), ProtocolViolation> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(()) };
    let (is_final, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0F);
    if reserved != 0 {
        return Err(violation(CloseCode::Protocol, "reserved bits are set; no extension was agreed"));
    }
    if second & 0x80 == 0 {
        return Err(violation(CloseCode::Protocol, "frames of a client are masked"));
    }
    let length = match (second & 0x7F, rest) {
        // A control frame has no extended length, whatever that length is.
        (short, _) if opcode >= 8 => u64::from(short),
        (126, [a, b, ..]) => u64::from(u16::from_be_bytes([*a, *b])),
        (127, [a, b, c, d, e, f, g, h, ..]) => u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
        (126 | 127, _) => return Ok(()),
        (short, _) => u64::from(short),
    };
    match opcode {
        0x2 if !rules.binary => Err(BINARY_REFUSED),
        0x0..=0x2 if length > rules.max_bytes.saturating_sub(assembled) as u64 => {
            Err(violation(CloseCode::TooBig, "a message has at most 32768 bytes"))
        }
        0x0..=0x2 => Ok(()),
        0x8..=0xA if !is_final || length > 125 => {
            Err(violation(CloseCode::Protocol, "a control frame is whole and has at most 125 bytes"))
        }
        0x8..=0xA => Ok(()),
        _ => Err(violation(CloseCode::Protocol, "unknown opcode")),
    }
}
