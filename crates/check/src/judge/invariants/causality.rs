//! Invariant 6: if a message was acknowledged before another was first sent, it has the lower position.

use std::collections::HashMap;

use trunkline_domain::Position;

use crate::judge::{
    event::{EventKind, HistoryEvent, MessageNumber, RoomNumber},
    invariant::{Invariant, Violations},
    state::HistoryState,
    verdict::InvariantResult,
};

#[derive(Debug, Default)]
pub(crate) struct CausalityInvariant {
    /// Highest acknowledged position of each room so far.
    acked: HashMap<RoomNumber, Position>,
    /// Highest acknowledged position at the first send of each message whose own position is still unknown.
    lower_bounds: HashMap<MessageNumber, Position>,
    violations: Violations,
}

impl Invariant for CausalityInvariant {
    fn observe(&mut self, event: &HistoryEvent, state: &HistoryState) {
        match event.kind {
            EventKind::Send { room, message, .. } if state.fate(message).attempts == 0 => {
                if let Some(&highest) = self.acked.get(&room) {
                    self.lower_bounds.insert(message, highest);
                }
            }
            EventKind::Message { room, pos, message, .. } => self.compare(room, message, pos, state),
            EventKind::Sent { room, message, pos } => {
                self.compare(room, message, pos, state);
                let acked = self.acked.entry(room).or_default();
                *acked = pos.max(*acked);
            }
            _ => {}
        }
    }

    fn result(&mut self, _: &HistoryState) -> InvariantResult {
        self.violations
            .result(6, "a message that was acknowledged before another was first sent has the lower position")
    }
}

impl CausalityInvariant {
    fn compare(&mut self, room: RoomNumber, message: MessageNumber, pos: Position, state: &HistoryState) {
        if let Some(bound) = self.lower_bounds.remove(&message)
            && pos <= bound
        {
            self.violations.add(|| {
                format!(
                    "{} in room {} has position {pos}, although {bound} was acknowledged before it was first sent",
                    state.names.message_name(message),
                    state.names.room_name(room)
                )
            });
        }
    }
}
