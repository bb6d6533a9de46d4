//! Invariant 4: per client and room, the offsets of shown messages increase by exactly one within an epoch.
//!
//! A new epoch begins at offset 1 or after a reported gap, and only after a fault in which Redis may lose data.

use trunkline_domain::Position;

use crate::judge::{
    event::{EventKind, HistoryEvent},
    invariant::{Invariant, Violations},
    room_view::RoomView,
    state::HistoryState,
    verdict::InvariantResult,
};

#[derive(Debug, Default)]
pub(crate) struct ContiguityInvariant {
    duplicated: u64,
    reordered: u64,
    skipped: u64,
    violations: Violations,
}

/// Relation of a position to the positions that were shown before it.
#[derive(Debug, PartialEq, Eq)]
enum PositionStep {
    Next,
    Duplicate,
    Reordered,
    Skipped,
    /// The first position of a new epoch.
    NewEpoch,
}

impl ContiguityInvariant {
    pub(crate) fn duplicated(&self) -> u64 {
        self.duplicated
    }

    pub(crate) fn reordered(&self) -> u64 {
        self.reordered
    }

    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }
}

impl Invariant for ContiguityInvariant {
    fn observe(&mut self, event: &HistoryEvent, state: &HistoryState) {
        match event.kind {
            EventKind::Message { room, pos, .. } => {
                let Some(view) = state.view(event.client, room).filter(|view| view.joined) else { return };
                let finding = match step(view, pos) {
                    PositionStep::Next => return,
                    PositionStep::NewEpoch if state.redis_failed() => return,
                    PositionStep::NewEpoch => {
                        "it begins a new epoch, but no fault was injected in which Redis may lose data"
                    }
                    PositionStep::Duplicate => {
                        self.duplicated += 1;
                        "it had been received before"
                    }
                    PositionStep::Reordered => {
                        self.reordered += 1;
                        "it arrived after a later message"
                    }
                    PositionStep::Skipped => {
                        self.skipped += 1;
                        "messages between the two are missing, and no gap was reported"
                    }
                };
                self.violations.add(|| {
                    let before = view.last.map_or_else(|| format!("head {}", view.head), |last| last.to_string());
                    format!("{} received {pos} after {before}: {finding}", state.place(event.client, room))
                });
            }
            EventKind::Joined { room, resumed: true, head } => {
                let last = state.view(event.client, room).and_then(|view| view.last);
                if let Some(last) = last.filter(|last| head < *last) {
                    self.violations.add(|| {
                        let place = state.place(event.client, room);
                        format!("{place} resumed with head {head}, which is before {last}, its last received position")
                    });
                }
            }
            _ => {}
        }
    }

    fn result(&mut self, _: &HistoryState) -> InvariantResult {
        let title = "offsets increase by one; a new epoch begins at offset 1 or after a reported gap, and only after a Redis fault";
        self.violations.result(4, title)
    }
}

fn step(view: &RoomView, pos: Position) -> PositionStep {
    let Some(last) = view.last else { return first_step(view, pos) };
    if pos == last.next_in_epoch() {
        PositionStep::Next
    } else if pos <= last {
        let was_shown = view.spans.last().is_some_and(|span| span.contains(pos));
        if was_shown { PositionStep::Duplicate } else { PositionStep::Reordered }
    } else if pos.epoch > last.epoch && pos.offset == 1 {
        PositionStep::NewEpoch
    } else {
        PositionStep::Skipped
    }
}

/// The first message of a span is one of the requested latest messages, or the first message after the start of the span.
fn first_step(view: &RoomView, pos: Position) -> PositionStep {
    let start = view.span_start();
    let log_was_empty = start == Position::ORIGIN;
    if view.begins_with_recent() {
        if pos <= start { PositionStep::Next } else { PositionStep::Skipped }
    } else if pos == start.next_in_epoch() || (log_was_empty && pos.offset == 1) {
        PositionStep::Next
    } else if pos.epoch > start.epoch && pos.offset == 1 {
        PositionStep::NewEpoch
    } else if pos <= start {
        PositionStep::Reordered
    } else {
        PositionStep::Skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::room_view::ContinuitySpan;

    fn view(last: Option<(u64, u64)>, head: (u64, u64), recent: usize) -> RoomView {
        let last = last.map(|(epoch, offset)| Position::new(epoch, offset));
        let ranges = last.map(|last| (Position::new(last.epoch, 2), last)).into_iter().collect();
        let head = Position::new(head.0, head.1);
        let begins_with_recent = recent > 0 && head != Position::ORIGIN;
        let spans = vec![ContinuitySpan { start: head, begins_with_recent, ranges, closed: false }];
        RoomView { joined: true, recent, head, last, spans, ..RoomView::default() }
    }

    #[test]
    fn positions_are_classified_relative_to_the_last_shown_position() {
        let at = |view: &RoomView, epoch, offset| step(view, Position::new(epoch, offset));
        let live = view(Some((7, 5)), (7, 2), 50);
        assert_eq!(at(&live, 7, 6), PositionStep::Next);
        assert_eq!(at(&live, 7, 5), PositionStep::Duplicate);
        assert_eq!(at(&live, 7, 1), PositionStep::Reordered);
        assert_eq!(at(&live, 7, 7), PositionStep::Skipped);
        assert_eq!(at(&live, 8, 1), PositionStep::NewEpoch);
        assert_eq!(at(&live, 8, 2), PositionStep::Skipped);
        assert_eq!(at(&live, 6, 9), PositionStep::Reordered);
        let with_recent = view(None, (7, 5), 50);
        assert_eq!((at(&with_recent, 7, 3), at(&with_recent, 7, 6)), (PositionStep::Next, PositionStep::Skipped));
        let without_recent = view(None, (7, 5), 0);
        let steps = (at(&without_recent, 7, 6), at(&without_recent, 7, 5), at(&without_recent, 8, 1));
        assert_eq!(steps, (PositionStep::Next, PositionStep::Reordered, PositionStep::NewEpoch));
        let empty_log = view(None, (0, 0), 50);
        assert_eq!((at(&empty_log, 7, 1), at(&empty_log, 7, 2)), (PositionStep::Next, PositionStep::Skipped));
    }
}
