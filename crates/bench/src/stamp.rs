//! The text of a message: a mark that no protocol contains, the message's number, and its intended send time.
//!
//! Protocols wrap the text differently; all deliveries are counted by searching for the mark.

use memchr::memmem::Finder;

/// No other part of a server's bytes contains the mark. Its first byte occurs only once in a text; see [`StampScanner`].
const MARK: &[u8; 7] = b"~bench:";
/// Number of digits: 32 bits of number and 64 bits of time, as 4-bit letters from `a`.
const DIGITS: usize = 8 + 16;
const STAMP_BYTES: usize = MARK.len() + DIGITS;
/// Length of a text in bytes.
pub(crate) const TEXT_BYTES: usize = 100;

/// Number and intended send time of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counted from 0 over the whole run.
    pub(crate) number: u32,
    /// In ns since the start of the run.
    pub(crate) intended: u64,
}

impl Stamp {
    /// The text of the message: ASCII that needs no escaping in JSON.
    pub(crate) fn text(self) -> [u8; TEXT_BYTES] {
        let mut text = [b'x'; TEXT_BYTES];
        text[..MARK.len()].copy_from_slice(MARK);
        let digits = (0..8).rev().map(|at| self.number >> (4 * at) & 15);
        let digits = digits.map(u64::from).chain((0..16).rev().map(|at| self.intended >> (4 * at) & 15));
        for (byte, digit) in text[MARK.len()..].iter_mut().zip(digits) {
            *byte = b"abcdefghijklmnop"[digit as usize];
        }
        text
    }

    fn parse(digits: &[u8; DIGITS]) -> Self {
        let value =
            |digits: &[u8]| digits.iter().fold(0, |value, byte| value << 4 | u64::from(byte.wrapping_sub(b'a') & 15));
        let (number, intended) = digits.split_at(8);
        Self { number: value(number) as u32, intended: value(intended) }
    }
}

/// Finds stamps in bytes.
#[derive(Debug)]
pub(crate) struct StampFinder(Finder<'static>);

impl StampFinder {
    pub(crate) fn new() -> Self {
        Self(Finder::new(MARK))
    }

    /// All complete stamps with their offsets.
    pub(crate) fn find(&self, bytes: &[u8]) -> impl Iterator<Item = (usize, Stamp)> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let at = from + self.0.find(bytes.get(from..)?)?;
            from = at + MARK.len();
            let digits = bytes.get(from..)?.first_chunk()?;
            Some((at, Stamp::parse(digits)))
        })
    }
}

/// Finds stamps in bytes that arrive in pieces, including stamps that are split.
#[derive(Debug, Default)]
pub(crate) struct StampScanner {
    /// The end of the previous bytes, beginning with the first byte of a mark, if a stamp may have begun there.
    rest: Vec<u8>,
}

impl StampScanner {
    /// Calls `each` for every stamp that ends in this piece.
    pub(crate) fn scan(&mut self, marks: &StampFinder, piece: &[u8], mut each: impl FnMut(Stamp)) {
        if !self.rest.is_empty() {
            let begun = self.rest.len();
            self.rest.extend_from_slice(&piece[..piece.len().min(STAMP_BYTES)]);
            marks.find(&self.rest).filter(|(at, _)| *at < begun).for_each(|(_, stamp)| each(stamp));
            if self.rest.len() < STAMP_BYTES {
                // The piece is shorter than the missing part of the stamp, and `rest` contains all of it.
                return self.keep();
            }
            self.rest.clear();
        }
        marks.find(piece).for_each(|(_, stamp)| each(stamp));
        self.rest.extend_from_slice(&piece[piece.len().saturating_sub(STAMP_BYTES - 1)..]);
        self.keep();
    }

    /// Drops bytes that cannot be the beginning of a stamp.
    fn keep(&mut self) {
        match memchr::memrchr(MARK[0], &self.rest) {
            Some(at) => drop(self.rest.drain(..at)),
            None => self.rest.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_has_100_plain_bytes_and_contains_its_stamp() {
        let stamp = Stamp { number: 0xdead_beef, intended: u64::MAX - 5 };
        let text = stamp.text();
        assert!(text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"' && *byte != b'\\'));
        assert_eq!(text.iter().filter(|byte| **byte == MARK[0]).count(), 1);
        assert_eq!(StampFinder::new().find(&text).collect::<Vec<_>>(), [(0, stamp)]);
    }

    proptest! {
        #[test]
        fn each_stamp_is_found_once_wherever_the_bytes_are_split(
            numbers in proptest::collection::vec((any::<u32>(), any::<u64>(), 0_usize..50), 0..8),
            cut in 1_usize..400,
        ) {
            let wanted: Vec<_> = numbers.iter().map(|(number, intended, _)| Stamp { number: *number, intended: *intended }).collect();
            let mut bytes = b"~ben~".to_vec();
            for (stamp, (_, _, gap)) in wanted.iter().zip(&numbers) {
                bytes.extend(stamp.text());
                bytes.extend(std::iter::repeat_n(b'~', *gap));
            }
            let (marks, mut scanner, mut seen) = (StampFinder::new(), StampScanner::default(), Vec::new());
            bytes.chunks(cut).for_each(|piece| scanner.scan(&marks, piece, |stamp| seen.push(stamp)));
            prop_assert_eq!(seen, wanted);
        }
    }
}
