//! The newest frames of one room, in memory. Pure.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};
use trunkline_bus::Range;
use trunkline_domain::{Position, follows};

use super::deletions::Deletions;
use crate::frame::Frame;

/// The newest frames of a room's log, without a gap, up to its head.
///
/// Bounded by [`Tail::MAX_FRAMES`] and [`Tail::MAX_BYTES`]. Beyond these the oldest frames are dropped, and cursors that
/// still need them read pages from the bus.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// The position before the first frame; the head if there is none.
    start: Position,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Whether the log has no entry before `start`.
    is_whole: bool,
}

/// The result of appending a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Append {
    /// The frame is the new head.
    Appended,
    /// The tail had the frame already.
    Duplicate,
    /// Entries may be missing before the frame, or it belongs to another epoch: the log must be read.
    Gap,
}

/// Consecutive frames as one run of bytes.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// The position before the first frame.
    pub(crate) from: Position,
    /// The position of the last frame.
    pub(crate) to: Position,
    /// The number of frames.
    pub(crate) frames: usize,
    /// The bytes of the frames.
    pub(crate) bytes: Bytes,
}

/// A page of the log, encoded.
#[derive(Clone, Debug)]
pub(crate) struct FramePage {
    /// The range that was requested.
    pub(crate) range: Range,
    /// Whether nothing is missing before the frames.
    pub(crate) follows: bool,
    /// The frames, oldest first.
    pub(crate) frames: Arc<[Frame]>,
    /// The end of the log when the page was read.
    pub(crate) head: Position,
}

impl Tail {
    /// Maximum number of frames. A larger value lets slower or longer absent readers resume from memory.
    pub(crate) const MAX_FRAMES: usize = 1024;
    /// Maximum number of bytes, which each worker with members in the room may hold.
    pub(crate) const MAX_BYTES: usize = 1 << 20;

    /// Creates an empty tail that ends at `head`; `is_whole` says that the log has no entry at all.
    pub(crate) fn empty(head: Position, is_whole: bool) -> Self {
        Self { start: head, frames: VecDeque::new(), bytes: 0, is_whole }
    }

    /// Creates a tail of consecutive `frames`; `is_whole` says that the log has no entry before them.
    pub(crate) fn of(frames: Vec<Frame>, head: Position, is_whole: bool) -> Self {
        let mut tail = Self::empty(frames.first().map_or(head, |first| first.prev), is_whole);
        for frame in frames {
            tail.append(frame);
        }
        tail
    }

    /// Returns the position of the last frame.
    pub(crate) fn head(&self) -> Position {
        self.frames.back().map_or(self.start, |last| last.pos)
    }

    /// Appends the frame if it follows the head.
    pub(crate) fn append(&mut self, frame: Frame) -> Append {
        let head = self.head();
        if !follows(frame.prev, head) {
            let is_known = frame.pos.epoch == head.epoch && frame.pos <= head || self.index_after(frame.pos).is_some();
            return if is_known { Append::Duplicate } else { Append::Gap };
        }
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
        while self.frames.len() > Self::MAX_FRAMES || (self.bytes > Self::MAX_BYTES && self.frames.len() > 1) {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.start = oldest.pos;
            self.bytes -= oldest.bytes.len();
            self.is_whole = false;
        }
        Append::Appended
    }

    /// Removes the texts that were deleted.
    pub(super) fn redact(&mut self, deletions: &Deletions) {
        for frame in &mut self.frames {
            let before = frame.bytes.len();
            if deletions.redact(frame) {
                self.bytes = self.bytes - before + frame.bytes.len();
            }
        }
    }

    /// Returns the messages whose texts the frames delete.
    pub(super) fn deletes(&self) -> impl Iterator<Item = Position> {
        self.frames.iter().filter_map(|frame| frame.deletes.as_deref().copied())
    }

    /// Returns whether all entries after `position` are here.
    pub(crate) fn covers(&self, position: Position) -> bool {
        self.index_after(position).is_some()
    }

    /// Returns the frames after `position`, oldest first; `None` if some are missing or the position is unknown.
    pub(crate) fn after(&self, position: Position) -> Option<impl ExactSizeIterator<Item = &Frame>> {
        self.index_after(position).map(|index| self.frames.range(index..))
    }

    /// Returns the position before the last `count` entries of the log; `None` if some of them are not here.
    pub(crate) fn before_latest(&self, count: usize) -> Option<Position> {
        match self.frames.len().checked_sub(count) {
            Some(0) => Some(self.start),
            Some(index) => Some(self.frames[index - 1].pos),
            None => self.is_whole.then_some(self.start),
        }
    }

    /// Returns the part of the log that `range` describes; `None` if some of it is not here.
    pub(crate) fn page(&self, range: Range) -> Option<Vec<Frame>> {
        let (after, limit) = match range {
            Range::After(position, limit) => (position, limit),
            Range::Latest(limit) => (self.before_latest(limit)?, limit),
            Range::Before(..) => return None,
        };
        Some(self.after(after)?.take(limit).cloned().collect())
    }

    /// Returns the frames after `position`: at most `budget` bytes, but at least one frame. `None` if the position is the
    /// head or is not covered.
    ///
    /// The bytes are always a copy. Each delivery increments and decrements the reference count of its bytes; a count that
    /// several threads share would move between their caches each time.
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

    /// Returns the index of the first frame after `position`. The first three cases serve nearly every call.
    fn index_after(&self, position: Position) -> Option<usize> {
        let len = self.frames.len();
        if position == self.head() {
            Some(len)
        } else if self.frames.back().is_some_and(|frame| frame.prev == position) {
            Some(len - 1)
        } else if position == self.start {
            Some(0)
        } else {
            self.frames.binary_search_by_key(&position, |frame| frame.pos).ok().map(|index| index + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(prev: u64, size: usize) -> Frame {
        let bytes = Bytes::from(vec![u8::try_from(prev % 251).unwrap(); size]);
        Frame { prev: Position::new(7, prev), pos: Position::new(7, prev + 1), deletes: None, bytes }
    }

    fn tail(count: u64, size: usize) -> Tail {
        Tail::of((0..count).map(|prev| frame(prev, size)).collect(), Position::new(7, 0), true)
    }

    #[test]
    fn append_tells_new_frames_from_duplicates_and_gaps() {
        let mut tail = tail(3, 1);
        assert_eq!(tail.append(frame(1, 1)), Append::Duplicate);
        assert_eq!(tail.append(frame(4, 1)), Append::Gap);
        assert_eq!(tail.append(frame(3, 1)), Append::Appended);
        let other_epoch =
            Frame { prev: Position::ORIGIN, pos: Position::new(6, 1), deletes: None, bytes: Bytes::new() };
        assert_eq!(tail.append(other_epoch), Append::Gap, "a position of an older epoch does not prove a duplicate");
        assert_eq!(tail.head(), Position::new(7, 4));
    }

    #[test]
    fn the_oldest_frames_are_dropped_beyond_the_bounds() {
        let long = tail(3000, 1);
        assert_eq!(long.after(Position::new(7, 3000 - 1024)).unwrap().len(), Tail::MAX_FRAMES);
        assert!(!long.covers(Position::new(7, 100)));
        let heavy = tail(20, Tail::MAX_BYTES / 4);
        assert_eq!(heavy.after(Position::new(7, 16)).unwrap().len(), 4);
        assert_eq!(heavy.before_latest(5), None, "the log has more entries than the tail");
        assert_eq!(tail(2, 1).before_latest(5), Some(Position::new(7, 0)), "the log has no more entries than the tail");
    }

    proptest! {
        #[test]
        fn consecutive_chunks_contain_all_frames_after_the_cursor(count in 0_u64..60, from in 0_u64..60, budget in 1_usize..400) {
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
