//! Invariant 3: each message has one position and each position has one message, over all clients and all `sent` frames.
//!
//! After a fault in which Redis may lose data, an unacknowledged message may appear a second time in a later epoch,
//! because the log that held it first is lost.

use std::collections::{HashMap, HashSet};

use trunkline_domain::Position;

use crate::judge::{
    event::{EventKind, HistoryEvent, MessageNumber, RoomNumber},
    invariant::{Invariant, Violations},
    state::HistoryState,
    verdict::InvariantResult,
};

#[derive(Debug, Default)]
pub(crate) struct UniquePositionInvariant {
    message_at: HashMap<(RoomNumber, Position), MessageNumber>,
    at_several_positions: HashSet<MessageNumber>,
    violations: Violations,
}

impl UniquePositionInvariant {
    /// Returns the number of messages that were seen at more than one position.
    pub(crate) fn messages_at_several_positions(&self) -> u64 {
        self.at_several_positions.len() as u64
    }
}

impl Invariant for UniquePositionInvariant {
    fn observe(&mut self, event: &HistoryEvent, state: &HistoryState) {
        let (EventKind::Message { room, pos, message, .. } | EventKind::Sent { room, message, pos }) = event.kind
        else {
            return;
        };
        let first = *self.message_at.entry((room, pos)).or_insert(message);
        if first != message {
            self.violations.add(|| {
                let (one, other) = (state.names.message_name(first), state.names.message_name(message));
                format!("position {pos} in room {} belongs to both {one} and {other}", state.names.room_name(room))
            });
        }
        if let Some(known) = state.fate(message).pos
            && known != pos
            && (known.epoch == pos.epoch || !state.redis_failed())
            && self.at_several_positions.insert(message)
        {
            self.violations.add(|| {
                let name = state.names.message_name(message);
                format!("{name} in room {} has both position {known} and position {pos}", state.names.room_name(room))
            });
        }
    }

    fn result(&mut self, _: &HistoryState) -> InvariantResult {
        self.violations.result(3, "each message has one position, and each position has one message")
    }
}
