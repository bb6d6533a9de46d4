//! A subscription's place in a room's log. Pure; the hub executes what a cursor asks for.

use std::sync::Arc;

use trunkline_bus::Range;
use trunkline_domain::{JoinFrom, Position};

use super::{
    deletions::Deletions,
    tail::{Chunk, FramePage, Tail},
};
use crate::frame::Frame;

/// Maximum number of entries in a page for a cursor behind the tail. With texts of 4 KiB a page is about 256 KiB; a larger
/// value needs fewer calls and more memory per slow reader.
pub(crate) const PAGE_ENTRIES: usize = 64;

/// A subscription's place in a room's log.
#[derive(Debug)]
pub(crate) struct Cursor {
    state: CursorState,
    /// Number of latest messages that are sent if the client cannot resume.
    recent: u32,
    /// Whether this cursor cannot advance without a page, which follows from the state.
    awaits_page: bool,
}

#[derive(Debug)]
enum CursorState {
    /// The join was not answered yet.
    Pending { after: Option<Position> },
    /// Everything up to this position was handed out, and the tail has what follows.
    Live(Position),
    /// The tail does not have what follows. Boxed, because few cursors are behind.
    Behind(Box<Behind>),
}

/// Everything up to `at` was handed out. What follows is in `page`, from index `next`, then in the log.
#[derive(Debug)]
struct Behind {
    at: Position,
    page: Arc<[Frame]>,
    next: usize,
}

/// The answer to a join, for which the hub sends `joined`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Whether the messages that follow continue what the client has, without a gap.
    pub(crate) resumed: bool,
    /// The head as far as it is known.
    pub(crate) head: Position,
}

impl Cursor {
    /// Creates the cursor of a new subscription.
    pub(crate) fn new(from: JoinFrom) -> Self {
        let recent = u32::try_from(from.recent).unwrap_or(u32::MAX);
        Self { state: CursorState::Pending { after: from.after }, recent, awaits_page: false }
    }

    /// Returns whether the message at `pos` is still to be taken from the tail.
    pub(crate) fn is_before(&self, pos: Position) -> bool {
        matches!(self.state, CursorState::Live(at) if at.epoch == pos.epoch && at < pos)
    }

    /// Returns the page that this cursor needs.
    pub(crate) fn awaited_page(&self) -> Option<Range> {
        self.awaits_page.then_some(match &self.state {
            CursorState::Pending { after: None } => Range::Latest(self.recent as usize),
            CursorState::Pending { after: Some(at) } | CursorState::Live(at) => Range::After(*at, PAGE_ENTRIES),
            CursorState::Behind(behind) => Range::After(behind.at, PAGE_ENTRIES),
        })
    }

    /// Advances with what the tail has: answers a pending join, or determines the page that is needed instead.
    pub(crate) fn settle(&mut self, tail: &Tail) -> Option<Joined> {
        let head = tail.head();
        match self.state {
            CursorState::Pending { after: Some(after) } if tail.covers(after) => self.join(after, true, head),
            CursorState::Pending { after: Some(_) } => self.wait_for_page(),
            CursorState::Pending { after: None } if self.recent == 0 => self.join(head, false, head),
            CursorState::Pending { after: None } => match tail.before_latest(self.recent as usize) {
                Some(at) => self.join(at, false, head),
                None => self.wait_for_page(),
            },
            CursorState::Live(at) if !tail.covers(at) => self.fall_behind(at),
            CursorState::Behind(ref behind) if behind.next == behind.page.len() => {
                let at = behind.at;
                if tail.covers(at) {
                    self.state = CursorState::Live(at);
                    self.awaits_page = false;
                    None
                } else {
                    self.wait_for_page()
                }
            }
            CursorState::Live(_) | CursorState::Behind(_) => None,
        }
    }

    /// Takes a page if it is the one that this cursor waits for. If the page does not follow, the client starts over with a
    /// `joined` that is not resumed.
    pub(crate) fn receive_page(&mut self, page: &FramePage, tail: &Tail) -> Option<Joined> {
        if self.awaited_page() != Some(page.range) {
            return None;
        }
        self.awaits_page = false;
        if !page.follows {
            return self.reset(tail);
        }
        let is_pending = matches!(self.state, CursorState::Pending { .. });
        let resumed = matches!(page.range, Range::After(..));
        let at = match page.range {
            Range::After(at, _) => at,
            _ => page.frames.first().map_or(page.head, |first| first.prev),
        };
        self.state = CursorState::Behind(Box::new(Behind { at, page: page.frames.clone(), next: 0 }));
        is_pending.then_some(Joined { resumed, head: page.head })
    }

    /// Removes deleted texts from the page that is being handed out.
    pub(super) fn redact(&mut self, deletions: &Deletions) {
        if let CursorState::Behind(behind) = &mut self.state {
            deletions.redact_frames(&mut behind.page);
        }
    }

    /// Continuity cannot be proven: the client starts over with the latest messages.
    fn reset(&mut self, tail: &Tail) -> Option<Joined> {
        self.state = CursorState::Pending { after: None };
        self.settle(tail)
    }

    /// Takes the next bytes, at most `budget` but at least one frame; `None` at the head or while a page is awaited.
    /// `shared` has the chunk that another cursor of the room took last: most cursors of a room are at the same position.
    pub(crate) fn take(&mut self, tail: &Tail, shared: &mut Option<Chunk>, budget: usize) -> Option<Chunk> {
        if let CursorState::Behind(behind) = &mut self.state
            && let Some(frame) = behind.page.get(behind.next)
        {
            let chunk = Chunk { from: behind.at, to: frame.pos, frames: 1, bytes: frame.bytes.clone() };
            behind.at = frame.pos;
            behind.next += 1;
            return Some(chunk);
        }
        if matches!(self.state, CursorState::Pending { .. }) {
            return None;
        }
        if let CursorState::Live(at) = self.state
            && let Some(chunk) = shared
            && (chunk.from, chunk.to) == (at, tail.head())
            && chunk.bytes.len() <= budget
        {
            self.state = CursorState::Live(chunk.to);
            return Some(chunk.clone());
        }
        self.settle(tail);
        let CursorState::Live(at) = self.state else { return None };
        let chunk = tail.chunk_after(at, budget)?;
        *shared = Some(chunk.clone());
        self.state = CursorState::Live(chunk.to);
        Some(chunk)
    }

    fn join(&mut self, at: Position, resumed: bool, head: Position) -> Option<Joined> {
        self.state = CursorState::Live(at);
        self.awaits_page = false;
        Some(Joined { resumed, head })
    }

    fn fall_behind(&mut self, at: Position) -> Option<Joined> {
        self.state = CursorState::Behind(Box::new(Behind { at, page: Arc::new([]), next: 0 }));
        self.wait_for_page()
    }

    fn wait_for_page(&mut self) -> Option<Joined> {
        self.awaits_page = true;
        None
    }
}
