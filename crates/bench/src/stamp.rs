//! The text of a message: a mark that no envelope contains, the message's number and its intended send time.
//!
//! Every dialect wraps the text differently, and all are counted by the same search for the mark.

use memchr::memmem::Finder;

/// Nothing else that a server sends contains it. Its first byte stands nowhere else in a text, see [`StampScanner`].
const MARK: &[u8; 7] = b"~bench:";
/// Digits of the number (32 bits) and of the time (64 bits), sixteen letters from `a`.
const DIGITS: usize = 8 + 16;
const STAMP: usize = MARK.len() + DIGITS;
/// Bytes of a text.
pub(crate) const TEXT: usize = 100;

/// Which message it is, and when it should have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counted from 0 over the whole run.
    pub(crate) number: u32,
    /// Nanoseconds since the run began.
    pub(crate) intended: u64,
}

impl Stamp {
    /// The text of the message: plain ASCII that needs no escaping in JSON.
    pub(crate) fn text(self) -> [u8; TEXT] {
        let mut text = [b'x'; TEXT];
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

/// Finds stamps in what is read.
#[derive(Debug)]
pub(crate) struct StampFinder(Finder<'static>);

impl StampFinder {
    pub(crate) fn new() -> Self {
        Self(Finder::new(MARK))
    }

    /// All whole stamps, with where they begin.
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

/// Finds stamps in bytes that come in pieces, also those that are cut.
#[derive(Debug, Default)]
pub(crate) struct StampScanner {
    /// The end of what was read, from the first byte of a mark on, if a stamp may have begun there.
    rest: Vec<u8>,
}

impl StampScanner {
    /// Calls `each` for every stamp that ends in this piece.
    pub(crate) fn scan(&mut self, marks: &StampFinder, piece: &[u8], mut each: impl FnMut(Stamp)) {
        if !self.rest.is_empty() {
            let begun = self.rest.len();
            self.rest.extend_from_slice(&piece[..piece.len().min(STAMP)]);
            marks.find(&self.rest).filter(|(at, _)| *at < begun).for_each(|(_, stamp)| each(stamp));
            if self.rest.len() < STAMP {
                // The piece was shorter than what was missing. Whatever is in it stands in `rest`, too.
                return self.keep();
            }
            self.rest.clear();
        }
        marks.find(piece).for_each(|(_, stamp)| each(stamp));
        self.rest.extend_from_slice(&piece[piece.len().saturating_sub(STAMP - 1)..]);
        self.keep();
    }

    /// Forgets what cannot be the beginning of a stamp.
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
    fn a_text_has_a_hundred_plain_bytes_and_gives_its_stamp_back() {
        let stamp = Stamp { number: 0xdead_beef, intended: u64::MAX - 5 };
        let text = stamp.text();
        assert!(text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"' && *byte != b'\\'));
        assert_eq!(text.iter().filter(|byte| **byte == MARK[0]).count(), 1);
        assert_eq!(StampFinder::new().find(&text).collect::<Vec<_>>(), [(0, stamp)]);
    }

    proptest! {
        #[test]
        fn wherever_the_bytes_are_cut_each_stamp_is_found_once(
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
