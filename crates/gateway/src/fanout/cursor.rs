//! A subscription: a place in a room's log. Pure; the hub does what it asks for.

use std::sync::Arc;

use trunkline_bus::{
    Range,
    mutant::{self, Mutant},
};
use trunkline_domain::{JoinFrom, Position};

use super::{Chunk, Frame, Tail};

/// What a reader of pages asks for at once, in messages. With texts of 4 KiB a page stays near 256 KiB.
pub(crate) const PAGE: usize = 64;

/// A place in a room's log, and how to get on from there.
#[derive(Debug)]
pub(crate) struct Cursor {
    state: State,
    /// How many of the latest messages are shown where continuity breaks.
    recent: usize,
    /// The page without which this cursor cannot go on. Boxed: hardly any cursor awaits one.
    awaited: Option<Box<Range>>,
}

#[derive(Debug)]
enum State {
    /// Nothing was answered yet.
    Pending { after: Option<Position> },
    /// Everything up to here was handed out; what follows is in the tail.
    Live(Position),
    /// What follows is not in the tail. Boxed: hardly any cursor is behind.
    Behind(Box<Behind>),
}

/// Everything up to `at` was handed out; what follows is in `page` from `next` on, then in the log.
#[derive(Debug)]
struct Behind {
    at: Position,
    page: Arc<[Frame]>,
    next: usize,
}

/// The answer to a join, for which the hub writes `joined`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    /// Whether what the client held goes on without a gap.
    pub(crate) resumed: bool,
    /// The head that is known.
    pub(crate) head: Position,
}

/// A page of the log as the feed answers it.
#[derive(Clone, Debug)]
pub(crate) struct FramePage {
    /// What was asked.
    pub(crate) range: Range,
    /// Whether nothing is missing before the frames.
    pub(crate) follows: bool,
    /// The frames, oldest first.
    pub(crate) frames: Arc<[Frame]>,
    /// Where the log ended.
    pub(crate) head: Position,
}

impl Cursor {
    /// A new subscription.
    pub(crate) fn new(from: JoinFrom) -> Self {
        Self { state: State::Pending { after: from.after }, recent: from.recent, awaited: None }
    }

    /// The page that this cursor waits for.
    pub(crate) fn awaits(&self) -> Option<Range> {
        self.awaited.as_deref().copied()
    }

    /// Goes on with what the tail holds: answers a pending join, or notes which page is needed instead.
    pub(crate) fn settle(&mut self, tail: &Tail) -> Option<Joined> {
        let head = tail.head();
        match self.state {
            State::Pending { after: Some(_) } if mutant::is_on(Mutant::CatchUp) => self.join(head, true, head),
            State::Pending { after: Some(after) } if tail.covers(after) => self.join(after, true, head),
            State::Pending { after: Some(after) } => self.wait_for(Range::After(after, PAGE)),
            State::Pending { after: None } if self.recent == 0 => self.join(head, false, head),
            State::Pending { after: None } => match tail.before_latest(self.recent) {
                Some(at) => self.join(at, false, head),
                None => self.wait_for(Range::Latest(self.recent)),
            },
            State::Live(at) if !tail.covers(at) && mutant::is_on(Mutant::CatchUp) => {
                self.state = State::Live(head);
                None
            }
            State::Live(at) if !tail.covers(at) => self.fall_behind(at),
            State::Behind(ref behind) if behind.next == behind.page.len() => {
                let at = behind.at;
                if tail.covers(at) {
                    self.state = State::Live(at);
                    self.awaited = None;
                    None
                } else {
                    self.wait_for(Range::After(at, PAGE))
                }
            }
            State::Live(_) | State::Behind(_) => None,
        }
    }

    /// Takes a page, if it is the awaited one. A break in continuity is told by a `joined` that is not resumed.
    pub(crate) fn page(&mut self, page: &FramePage, tail: &Tail) -> Option<Joined> {
        if self.awaits() != Some(page.range) {
            return None;
        }
        self.awaited = None;
        if !page.follows {
            return self.reset(tail);
        }
        let pending = matches!(self.state, State::Pending { .. });
        let resumed = matches!(page.range, Range::After(..));
        let at = match page.range {
            Range::After(at, _) => at,
            _ => page.frames.first().map_or(page.head, |first| first.prev),
        };
        self.state = State::Behind(Box::new(Behind { at, page: page.frames.clone(), next: 0 }));
        pending.then_some(Joined { resumed, head: page.head })
    }

    /// Continuity cannot be proven: the client starts over with the latest messages.
    fn reset(&mut self, tail: &Tail) -> Option<Joined> {
        self.state = State::Pending { after: None };
        self.settle(tail)
    }

    /// The next bytes, at most `budget` but at least one frame; `None` at the head or while a page is awaited.
    /// `shared` holds the last chunk that a neighbour took, since most cursors of a room stand at the same place.
    pub(crate) fn take(&mut self, tail: &Tail, shared: &mut Option<Chunk>, budget: usize) -> Option<Chunk> {
        if let State::Behind(behind) = &mut self.state
            && let Some(frame) = behind.page.get(behind.next)
        {
            let chunk = Chunk { from: behind.at, to: frame.pos, frames: 1, bytes: frame.bytes.clone() };
            behind.at = frame.pos;
            behind.next += 1;
            return Some(chunk);
        }
        if matches!(self.state, State::Pending { .. }) {
            return None;
        }
        self.settle(tail);
        let State::Live(at) = self.state else { return None };
        let chunk = match shared {
            Some(chunk) if chunk.from == at && chunk.to == tail.head() && chunk.bytes.len() <= budget => chunk.clone(),
            _ => {
                let chunk = tail.chunk_after(at, budget)?;
                *shared = Some(chunk.clone());
                chunk
            }
        };
        self.state = State::Live(chunk.to);
        Some(chunk)
    }

    fn join(&mut self, at: Position, resumed: bool, head: Position) -> Option<Joined> {
        self.state = State::Live(at);
        self.awaited = None;
        Some(Joined { resumed, head })
    }

    fn fall_behind(&mut self, at: Position) -> Option<Joined> {
        self.state = State::Behind(Box::new(Behind { at, page: Arc::new([]), next: 0 }));
        self.wait_for(Range::After(at, PAGE))
    }

    fn wait_for(&mut self, range: Range) -> Option<Joined> {
        self.awaited = Some(Box::new(range));
        None
    }
}
