//! What one client saw of one room.

use trunkline_domain::Position;

use super::{event::MessageNumber, known_presence::KnownPresence};
use crate::history::Micros;

/// What one client saw of one room.
#[derive(Debug, Default)]
pub(crate) struct RoomView {
    /// The client wants to be in the room: true from `join` to `leave`.
    pub(crate) wanted: bool,
    /// The socket is subscribed: true from `joined` to `left` or to the loss of the socket.
    pub(crate) joined: bool,
    /// Time of the last `join`.
    pub(crate) asked: Micros,
    /// The last `join` named a position to resume after.
    pub(crate) asked_to_resume: bool,
    /// Number of latest messages that the last `join` asked for.
    pub(crate) recent: usize,
    /// Head of the last `joined`.
    pub(crate) head: Position,
    /// Last position shown in the current span.
    pub(crate) last: Option<Position>,
    /// Messages shown since the last reported gap, in the order of arrival.
    pub(crate) shown: Vec<MessageNumber>,
    pub(crate) spans: Vec<ContinuitySpan>,
    /// Presence as the current socket knows it.
    pub(crate) presence: Option<KnownPresence>,
}

/// What was shown between two `joined` frames that broke continuity (`resumed: false`).
#[derive(Debug)]
pub(crate) struct ContinuitySpan {
    /// Head of the `joined` that began the span. The client is entitled to every acknowledged message after it.
    pub(crate) start: Position,
    /// The client asked for the latest messages, so the span begins with some that end at `start`.
    pub(crate) begins_with_recent: bool,
    /// Shown positions as contiguous ranges `(first, last)`, each within one epoch.
    pub(crate) ranges: Vec<(Position, Position)>,
    /// The client left the room or was informed of a gap: it is entitled to nothing after the last shown position.
    pub(crate) closed: bool,
}

impl RoomView {
    pub(crate) fn unsubscribe(&mut self) {
        self.joined = false;
        self.presence = None;
    }

    /// Ends the current span.
    pub(crate) fn close_span(&mut self) {
        if let Some(span) = self.spans.last_mut() {
            span.closed = true;
        }
    }

    /// Applies a `joined` frame.
    pub(crate) fn join(&mut self, resumed: bool, head: Position) {
        self.joined = true;
        self.head = head;
        if resumed && !self.spans.is_empty() {
            return;
        }
        self.close_span();
        self.spans.push(ContinuitySpan {
            start: head,
            begins_with_recent: self.recent > 0 && head != Position::ORIGIN,
            ranges: Vec::new(),
            closed: false,
        });
        self.last = None;
        self.shown.clear();
    }

    /// Applies a `message` frame.
    pub(crate) fn show(&mut self, pos: Position, message: MessageNumber) {
        self.shown.push(message);
        self.last = self.last.max(Some(pos));
        let Some(span) = self.spans.last_mut() else { return };
        match span.ranges.last_mut() {
            Some((_, last)) if last.next_in_epoch() == pos => *last = pos,
            _ => span.ranges.push((pos, pos)),
        }
    }

    /// Returns the position at which the current span began.
    pub(crate) fn span_start(&self) -> Position {
        self.spans.last().map_or(Position::ORIGIN, |span| span.start)
    }

    /// Returns whether the current span begins with the latest messages before its start.
    pub(crate) fn begins_with_recent(&self) -> bool {
        self.spans.last().is_some_and(|span| span.begins_with_recent)
    }

    /// Returns whether messages up to the head of the last `joined` are still to come.
    pub(crate) fn is_behind(&self) -> bool {
        match self.last {
            Some(last) => last < self.head,
            None => self.begins_with_recent() || self.span_start() < self.head,
        }
    }
}

impl ContinuitySpan {
    /// Returns whether `pos` was shown.
    pub(crate) fn contains(&self, pos: Position) -> bool {
        self.ranges.iter().any(|&(first, last)| first <= pos && pos <= last && first.epoch == pos.epoch)
    }
}
