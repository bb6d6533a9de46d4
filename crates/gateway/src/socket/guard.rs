//! Judges a frame by its header, before a byte of its payload is kept.
//!
//! actix-http's parser waits for the whole declared frame before it looks at the size, so a header that claims 2^40
//! bytes would buffer everything that is sent. This looks first.

use trunkline_domain::CloseCode;

/// Largest frame and largest message of several frames, in bytes of payload.
pub(super) const MAX_MESSAGE: usize = 16 << 10;

/// What a client may not send, and the close that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The close code.
    pub(crate) code: CloseCode,
    /// For people who read the close frame.
    pub(crate) reason: &'static str,
}

const fn violation(code: CloseCode, reason: &'static str) -> Violation {
    Violation { code, reason }
}

/// Judges the frame that `bytes` begin with, as far as they go; `assembled` bytes of its message came in earlier frames.
///
/// RFC 6455 section 5.2 (header), 5.5 (control frames are final and at most 125 bytes).
pub(super) fn judge(bytes: &[u8], assembled: usize) -> Result<(), Violation> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(()) };
    let (is_final, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0F);
    if reserved != 0 {
        return Err(violation(CloseCode::Protocol, "reserved bits are set; no extension was agreed"));
    }
    if second & 0x80 == 0 {
        return Err(violation(CloseCode::Protocol, "frames of a client are masked"));
    }
    let length = match (second & 0x7F, rest) {
        (126, [a, b, ..]) => u64::from(u16::from_be_bytes([*a, *b])),
        (127, [a, b, c, d, e, f, g, h, ..]) => u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
        (126 | 127, _) if opcode < 8 => return Ok(()),
        (short, _) => u64::from(short),
    };
    match opcode {
        0x0 | 0x1 if length > (MAX_MESSAGE - assembled.min(MAX_MESSAGE)) as u64 => {
            Err(violation(CloseCode::TooBig, "a message has at most 16384 bytes"))
        }
        0x0 | 0x1 => Ok(()),
        0x2 => Err(violation(CloseCode::Unsupported, "text frames only")),
        0x8..=0xA if !is_final || length > 125 => {
            Err(violation(CloseCode::Protocol, "a control frame is whole and has at most 125 bytes"))
        }
        0x8..=0xA => Ok(()),
        _ => Err(violation(CloseCode::Protocol, "unknown opcode")),
    }
}
