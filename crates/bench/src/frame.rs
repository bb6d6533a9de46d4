//! WebSocket frames (RFC 6455 section 5.2), read as they come and written by hand.
//!
//! Nobody here sends fragmented messages, so a frame is a message. A continuation frame is read like any other.

/// Opcodes of RFC 6455 section 11.8.
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// Longest header: two bytes, eight of length, four of mask.
const HEADER_MOST: usize = 14;
/// The key that our clients mask with. One key for all is allowed to be guessed: nothing here protects a cache
/// (section 10.3). It is not zero, because some servers skip the work then.
const KEY: [u8; 4] = [0x5a, 0xc3, 0x69, 0x96];

/// Reads frames out of a stream that is cut anywhere.
///
/// Holds no more than a header and one frame of at most `whole` bytes; what is longer is passed on in pieces.
#[derive(Debug)]
pub(crate) struct FrameReader {
    whole: usize,
    /// What is there of a header that was cut.
    header: [u8; HEADER_MOST],
    header_length: u8,
    current: Option<FrameHeader>,
    /// Payload bytes of `current` that are still to come.
    left: u64,
    /// What is there of a payload that was cut.
    stash: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct FrameHeader {
    opcode: u8,
    mask: Option<[u8; 4]>,
    length: u64,
}

/// What the reader passes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FramePart<'a> {
    /// A frame, still masked if it was.
    Whole { opcode: u8, mask: Option<[u8; 4]>, payload: &'a [u8] },
    /// Some bytes of a frame that is longer than the reader holds. `first`: the frame begins with them.
    Piece { first: bool, payload: &'a [u8] },
}

impl FrameReader {
    /// Frames of at most `whole` bytes of payload are passed on in one.
    pub(crate) fn new(whole: usize) -> Self {
        Self { whole, header: [0; HEADER_MOST], header_length: 0, current: None, left: 0, stash: Vec::new() }
    }

    /// Takes bytes from the front of `bytes`, until something can be passed on or they are used up.
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
        // A frame that is held fits into `whole`, and what is there into memory.
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
        if length > self.whole as u64 {
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
            // `parse` knows every header by its 14th byte at the latest.
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

/// The header that `bytes` begin with, and its length; nothing where it is cut.
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

/// Appends a frame of a client, masked.
pub(crate) fn from_client(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    header(out, opcode, 0x80, payload.len());
    out.extend_from_slice(&KEY);
    out.extend(unmasked(payload, KEY));
}

/// Appends a frame of a server.
pub(crate) fn from_server(out: &mut Vec<u8>, opcode: u8, payload: impl ExactSizeIterator<Item = u8>) {
    header(out, opcode, 0, payload.len());
    out.extend(payload);
}

/// A payload without its mask, or with it.
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

    /// What comes out when `stream` is read in chunks of `cut` bytes: opcodes and payloads, pieces put together.
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
        fn wherever_the_stream_is_cut_the_frames_come_out(
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
        fn long_frames_come_in_pieces_and_short_ones_whole(cut in 1_usize..300, long in 101_usize..1000) {
            let mut stream = Vec::new();
            from_server(&mut stream, PING, [7; 100].into_iter());
            from_server(&mut stream, BINARY, vec![8; long].into_iter());
            from_server(&mut stream, CLOSE, std::iter::empty());
            let wanted = vec![(Some(PING), vec![7; 100]), (None, vec![8; long]), (Some(CLOSE), vec![])];
            prop_assert_eq!(walk(&stream, cut, 100), wanted);
        }
    }
}
