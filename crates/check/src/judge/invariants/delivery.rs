//! Invariant 1: every acknowledged message reaches every client that is entitled to it.
//!
//! A client is entitled to the messages after the `head` of its first `joined`, except those in reported gaps and those
//! that Redis lost in a fault. If it left the room, its entitlement ends with the last message that it received.

use std::collections::HashMap;

use trunkline_domain::Position;

use crate::judge::{
    event::HistoryEvent,
    invariant::{Invariant, Violations},
    room_view::RoomView,
    state::HistoryState,
    verdict::InvariantResult,
};

#[derive(Debug, Default)]
pub(crate) struct DeliveryInvariant {
    violations: Violations,
}

impl DeliveryInvariant {
    /// Returns the number of missing deliveries.
    pub(crate) fn lost(&self) -> u64 {
        self.violations.count()
    }
}

impl Invariant for DeliveryInvariant {
    fn observe(&mut self, _: &HistoryEvent, _: &HistoryState) {}

    fn result(&mut self, state: &HistoryState) -> InvariantResult {
        let acked_by_room: HashMap<_, _> = state
            .acked
            .iter()
            .map(|(room, positions)| {
                let kept = positions.iter().filter(|&&(pos, t)| !state.is_lost(*room, pos, t));
                let mut positions: Vec<_> = kept.map(|&(pos, _)| pos).collect();
                positions.sort_unstable();
                (room, positions)
            })
            .collect();
        for (client, room, view) in state.views() {
            let Some(acked) = acked_by_room.get(&room) else { continue };
            let missing: Vec<_> = missing(view, acked).collect();
            if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
                let count = missing.len() as u64;
                self.violations.add_many(count, || {
                    let place = state.place(client, room);
                    format!("{place} did not receive {count} acknowledged messages, from {first} to {last}")
                });
            }
        }
        self.violations.result(1, "every acknowledged message reaches every client that is entitled to it")
    }
}

/// Returns the positions of the sorted `acked` that the client is entitled to and was not shown.
fn missing<'a>(view: &'a RoomView, acked: &'a [Position]) -> impl Iterator<Item = Position> + 'a {
    view.spans.iter().flat_map(move |span| {
        let end = if span.closed { span.ranges.iter().map(|&(_, last)| last).max() } else { acked.last().copied() };
        let from = acked.partition_point(|pos| *pos <= span.start);
        let to = end.map_or(from, |end| acked.partition_point(|pos| *pos <= end).max(from));
        acked[from..to].iter().copied().filter(|pos| !span.contains(*pos))
    })
}
