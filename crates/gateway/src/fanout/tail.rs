//! The last frames of one room, in memory.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use trunkline_bus::{
    Range,
    mutant::{self, Mutant},
};
use trunkline_domain::{Position, follows};

use super::Frame;

/// The last frames of one room's log, without a hole, up to its head.
///
/// Bounded by [`Tail::MAX_FRAMES`] and [`Tail::MAX_BYTES`]; at the bound the oldest frames go, and whoever still needs
/// them reads pages from the bus.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// The position before the first frame; the head where there is none.
    start: Position,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Whether the log holds nothing before `start`.
    whole: bool,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Append {
    /// It is the new head.
    Appended,
    /// It was there already.
    Duplicate,
    /// Something is missing before it, or it belongs to another history: read the log.
    Gap,
}

impl Tail {
    /// Most frames kept.
    pub(crate) const MAX_FRAMES: usize = 1024;
    /// Most bytes kept.
    pub(crate) const MAX_BYTES: usize = 1 << 20;

    /// An empty tail that ends at `head`; `whole` says that the log holds nothing at all.
    pub(crate) fn at(head: Position, whole: bool) -> Self {
        Self { start: head, frames: VecDeque::new(), bytes: 0, whole }
    }

    /// A tail of `frames`, which follow each other; `whole` says that the log holds nothing before them.
    pub(crate) fn of(frames: Vec<Frame>, head: Position, whole: bool) -> Self {
        let mut tail = Self::at(frames.first().map_or(head, |first| first.prev), whole);
        for frame in frames {
            tail.append(frame);
        }
        tail
    }

    /// The position of the last frame.
    pub(crate) fn head(&self) -> Position {
        self.frames.back().map_or(self.start, |last| last.pos)
    }

    /// Takes the next frame, if it is the next.
    pub(crate) fn append(&mut self, frame: Frame) -> Append {
        let head = self.head();
        if !follows(frame.prev, head) {
            let known = frame.pos.epoch == head.epoch && frame.pos <= head || self.index_after(frame.pos).is_some();
            if known {
                return Append::Duplicate;
            }
            if !mutant::is_on(Mutant::Repair) && !mutant::is_on(Mutant::Resync) {
                return Append::Gap;
            }
        }
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
        while self.frames.len() > Self::MAX_FRAMES || (self.bytes > Self::MAX_BYTES && self.frames.len() > 1) {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.start = oldest.pos;
            self.bytes -= oldest.bytes.len();
            self.whole = false;
        }
        Append::Appended
    }

    /// Whether everything after `position` is here.
    pub(crate) fn covers(&self, position: Position) -> bool {
        self.index_after(position).is_some()
    }

    /// The frames after `position`, oldest first; `None` where not all of them are here or the position is unknown.
    pub(crate) fn after(&self, position: Position) -> Option<impl ExactSizeIterator<Item = &Frame>> {
        self.index_after(position).map(|index| self.frames.range(index..))
    }

    /// The position after which the last `count` frames stand; `None` where the log holds more of them than are here.
    pub(crate) fn before_latest(&self, count: usize) -> Option<Position> {
        match self.frames.len().checked_sub(count) {
            Some(0) => Some(self.start),
            Some(index) => Some(self.frames[index - 1].pos),
            None => self.whole.then_some(self.start),
        }
    }

    /// The part of the log that `range` names, where all of it is here.
    pub(crate) fn page(&self, range: Range) -> Option<Vec<Frame>> {
        let (after, limit) = match range {
            Range::After(position, limit) => (position, limit),
            Range::Latest(limit) => (self.before_latest(limit)?, limit),
            Range::Before(..) => return None,
        };
        Some(self.after(after)?.take(limit).cloned().collect())
    }

    /// The bytes of the frames after `position`, at most `budget` of them but at least one frame, and the position of
    /// the last frame among them. `None` where the position is not covered or is the head.
    ///
    /// Always a copy: every delivery counts the owners of its bytes up and down, and where threads share that count, it
    /// travels between their caches each time.
    pub(crate) fn chunk_after(&self, position: Position, budget: usize) -> Option<Chunk> {
        let mut frames = self.after(position)?;
        let first = frames.next()?;
        let mut bytes = BytesMut::from(&first.bytes[..]);
        let (mut to, mut count) = (first.pos, 1);
        for frame in frames {
            if bytes.len() + frame.bytes.len() > budget {
                break;
            }
            bytes.extend_from_slice(&frame.bytes);
            (to, count) = (frame.pos, count + 1);
        }
        Some(Chunk { from: position, to, frames: count, bytes: bytes.freeze() })
    }

    /// Where in `frames` the ones after `position` begin. The first three answers serve nearly every call.
    fn index_after(&self, position: Position) -> Option<usize> {
        let last = self.frames.len();
        if position == self.head() {
            Some(last)
        } else if self.frames.back().is_some_and(|frame| frame.prev == position) {
            Some(last - 1)
        } else if position == self.start {
            Some(0)
        } else {
            self.frames.binary_search_by_key(&position, |frame| frame.pos).ok().map(|index| index + 1)
        }
    }
}

/// Consecutive frames as one run of bytes.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// The position before the first frame.
    pub(crate) from: Position,
    /// The position of the last frame.
    pub(crate) to: Position,
    /// How many frames.
    pub(crate) frames: usize,
    /// Their bytes.
    pub(crate) bytes: Bytes,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(prev: u64, size: usize) -> Frame {
        let bytes = Bytes::from(vec![u8::try_from(prev % 251).unwrap(); size]);
        Frame { prev: Position::new(7, prev), pos: Position::new(7, prev + 1), bytes }
    }

    fn tail(count: u64, size: usize) -> Tail {
        Tail::of((0..count).map(|prev| frame(prev, size)).collect(), Position::new(7, 0), true)
    }

    #[test]
    fn a_frame_is_next_or_known_or_reveals_a_gap() {
        let mut tail = tail(3, 1);
        assert_eq!(tail.append(frame(1, 1)), Append::Duplicate);
        assert_eq!(tail.append(frame(4, 1)), Append::Gap);
        assert_eq!(tail.append(frame(3, 1)), Append::Appended);
        let other_history = Frame { prev: Position::ORIGIN, pos: Position::new(6, 1), bytes: Bytes::new() };
        assert_eq!(tail.append(other_history), Append::Gap, "an older epoch is no proof of having been seen");
        assert_eq!(tail.head(), Position::new(7, 4));
    }

    #[test]
    fn bytes_and_frames_are_bounded_and_the_oldest_go() {
        let long = tail(3000, 1);
        assert_eq!(long.after(Position::new(7, 3000 - 1024)).unwrap().len(), Tail::MAX_FRAMES);
        assert!(!long.covers(Position::new(7, 100)));
        let heavy = tail(20, Tail::MAX_BYTES / 4);
        assert_eq!(heavy.after(Position::new(7, 16)).unwrap().len(), 4);
        assert_eq!(heavy.before_latest(5), None, "the log holds more than the tail");
        assert_eq!(tail(2, 1).before_latest(5), Some(Position::new(7, 0)), "the log is no longer than the tail");
    }

    proptest! {
        #[test]
        fn chunks_in_turn_are_the_frames_after_the_cursor(count in 0_u64..60, from in 0_u64..60, budget in 1_usize..400) {
            let tail = tail(count, 37);
            let mut cursor = Position::new(7, from);
            let mut read = Vec::new();
            while let Some(chunk) = tail.chunk_after(cursor, budget) {
                prop_assert!(chunk.bytes.len() <= budget.max(37));
                prop_assert_eq!(chunk.bytes.len(), chunk.frames * 37);
                read.extend_from_slice(&chunk.bytes);
                cursor = chunk.to;
            }
            let all: Vec<u8> = (from..count).flat_map(|prev| frame(prev, 37).bytes.to_vec()).collect();
            prop_assert_eq!(read, all);
        }
    }
}
