//! WebSocket frames (RFC 6455 section 5.2): an incremental reader and a writer.
//!
//! No server of the benchmark sends fragmented messages, so each frame is one message. Continuation frames are read like
//! other frames.

/// Opcodes of RFC 6455 section 11.8.
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Maximum length of a header in bytes: 2, plus 8 for the length, plus 4 for the mask.
const MAX_HEADER_BYTES: usize = 14;
/// The masking key of all clients. A constant key is sufficient, because there is no proxy cache to protect (section 10.3).
/// It is not zero, because some servers skip unmasking then.
const MASKING_KEY: [u8; 4] = [0x5a, 0xc3, 0x69, 0x96];

/// Reads frames from a stream that is split at arbitrary bytes.
///
/// Buffers at most one header and one frame of `max_whole` bytes. Longer frames are returned in pieces.
#[derive(Debug)]
pub(crate) struct FrameReader {
    max_whole: usize,
    /// The received part of an incomplete header.
    header: [u8; MAX_HEADER_BYTES],
    header_length: u8,
    current: Option<FrameHeader>,
    /// Payload bytes of `current` that have not been received.
    left: u64,
    /// The received part of an incomplete payload.
    stash: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct FrameHeader {
    opcode: u8,
    mask: Option<[u8; 4]>,
    length: u64,
}

/// A complete frame or a piece of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FramePart<'a> {
    /// A complete frame. The payload is still masked.
    Whole { opcode: u8, mask: Option<[u8; 4]>, payload: &'a [u8] },
    /// A piece of a frame that is longer than the reader buffers. `first` marks its first piece.
    Piece { first: bool, payload: &'a [u8] },
}

impl FrameReader {
    /// Returns frames of at most `max_whole` payload bytes as one part.
    pub(crate) fn new(max_whole: usize) -> Self {
        Self { max_whole, header: [0; MAX_HEADER_BYTES], header_length: 0, current: None, left: 0, stash: Vec::new() }
    }

    /// Consumes bytes from the front of `bytes` and returns the next part, or `None` if more bytes are needed.
    pub(crate) fn next<'s, 'b: 's>(&'s mut self, bytes: &mut &'b [u8]) -> Option<FramePart<'s>> {
        let header = match self.current {
            Some(header) => header,
            None => {
                self.stash.clear();
                let header = self.header(bytes)?;
                self.left = header.length;
                *self.current.insert(header)
            }
        };
        let FrameHeader { opcode, mask, length } = header;
        // A buffered frame fits into `max_whole`, and the available bytes fit into memory.
        let take = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (taken, rest) = bytes.split_at(take);
        if take == 0 && self.left > 0 {
            return None;
        }
        let first = self.left == length;
        *bytes = rest;
        self.left -= take as u64;
        let ended = self.left == 0;
        if ended {
            self.current = None;
        }
        if length > self.max_whole as u64 {
            return Some(FramePart::Piece { first, payload: taken });
        }
        if first && ended {
            return Some(FramePart::Whole { opcode, mask, payload: taken });
        }
        self.stash.extend_from_slice(taken);
        ended.then_some(FramePart::Whole { opcode, mask, payload: &self.stash })
    }

    fn header(&mut self, bytes: &mut &[u8]) -> Option<FrameHeader> {
        if self.header_length == 0
            && let Some((header, length)) = parse(bytes)
        {
            *bytes = &bytes[length..];
            return Some(header);
        }
        while let [first, rest @ ..] = *bytes {
            *bytes = rest;
            // `parse` recognizes every header after at most 14 bytes.
            self.header[usize::from(self.header_length)] = *first;
            self.header_length += 1;
            if let Some((header, _)) = parse(&self.header[..usize::from(self.header_length)]) {
                self.header_length = 0;
                return Some(header);
            }
        }
        None
    }
}

/// The header at the beginning of `bytes` and its length, or `None` if it is incomplete.
fn parse(bytes: &[u8]) -> Option<(FrameHeader, usize)> {
    let [first, second, ..] = *bytes else { return None };
    let (mut end, length) = match second & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let mask = match second & 0x80 {
        0 => None,
        _ => {
            end += 4;
            Some(*bytes.get(end - 4..)?.first_chunk()?)
        }
    };
    Some((FrameHeader { opcode: first & 0x0f, mask, length }, end))
}

/// Appends a masked frame of a client.
pub(crate) fn from_client(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    header(out, opcode, 0x80, payload.len());
    out.extend_from_slice(&MASKING_KEY);
    out.extend(unmasked(payload, MASKING_KEY));
}

/// Appends an unmasked frame of a server.
pub(crate) fn from_server(out: &mut Vec<u8>, opcode: u8, payload: impl ExactSizeIterator<Item = u8>) {
    header(out, opcode, 0, payload.len());
    out.extend(payload);
}

/// Applies the mask to a payload, which also removes it.
pub(crate) fn unmasked(payload: &[u8], mask: [u8; 4]) -> impl ExactSizeIterator<Item = u8> {
    payload.iter().enumerate().map(move |(index, byte)| byte ^ mask[index % 4])
}

fn header(out: &mut Vec<u8>, opcode: u8, masked: u8, length: usize) {
    out.push(0x80 | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => out.push(masked | short),
        (_, Ok(middle)) => {
            out.push(masked | 126);
            out.extend(middle.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The frames of `stream` when it is read in chunks of `cut` bytes: opcodes and payloads, with pieces joined.
    fn walk(stream: &[u8], cut: usize, whole: usize) -> Vec<(Option<u8>, Vec<u8>)> {
        let (mut reader, mut seen) = (FrameReader::new(whole), Vec::new());
        for mut chunk in stream.chunks(cut) {
            while let Some(part) = reader.next(&mut chunk) {
                match part {
                    FramePart::Whole { opcode, mask, payload } => {
                        seen.push((Some(opcode), unmasked(payload, mask.unwrap_or_default()).collect()));
                    }
                    FramePart::Piece { first: true, payload } => seen.push((None, payload.to_vec())),
                    FramePart::Piece { payload, .. } => seen.last_mut().unwrap().1.extend(payload),
                }
            }
        }
        seen
    }

    proptest! {
        #[test]
        fn frames_are_read_wherever_the_stream_is_split(
            lengths in proptest::collection::vec(prop_oneof![0_usize..200, 65_530_usize..65_540], 1..6),
            cut in 1_usize..300,
            masked in any::<bool>(),
        ) {
            let mut stream = Vec::new();
            let payloads = lengths.iter().map(|length| (0..*length).map(|i| (i % 251) as u8).collect::<Vec<u8>>());
            let payloads: Vec<_> = payloads.collect();
            for payload in &payloads {
                match masked {
                    true => from_client(&mut stream, TEXT, payload),
                    false => from_server(&mut stream, TEXT, payload.iter().copied()),
                }
            }
            let wanted: Vec<_> = payloads.into_iter().map(|payload| (Some(TEXT), payload)).collect();
            prop_assert_eq!(walk(&stream, cut, 1 << 20), wanted);
        }

        #[test]
        fn long_frames_are_returned_in_pieces_and_short_frames_whole(cut in 1_usize..300, long in 101_usize..1000) {
            let mut stream = Vec::new();
            from_server(&mut stream, PING, [7; 100].into_iter());
            from_server(&mut stream, BINARY, vec![8; long].into_iter());
            from_server(&mut stream, CLOSE, std::iter::empty());
            let wanted = vec![(Some(PING), vec![7; 100]), (None, vec![8; long]), (Some(CLOSE), vec![])];
            prop_assert_eq!(walk(&stream, cut, 100), wanted);
        }
    }
}
