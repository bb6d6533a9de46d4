//! Invariant 8: after the last fault has ended, a reference read of the history equals the newest messages of every client.

use std::collections::HashMap;

use trunkline_domain::Position;

use crate::judge::{
    event::{EventKind, HistoryEvent, MessageNumber, RoomNumber},
    invariant::{Invariant, Violations},
    room_view::RoomView,
    state::HistoryState,
    verdict::InvariantResult,
};

const TITLE: &str = "a reference read of the history equals the newest messages of every client";

#[derive(Debug, Default)]
pub(crate) struct ReferenceReadInvariant {
    /// Messages of the reference reads, from the newest to the oldest.
    reference: HashMap<RoomNumber, Vec<(Position, MessageNumber)>>,
    violations: Violations,
}

impl Invariant for ReferenceReadInvariant {
    fn observe(&mut self, event: &HistoryEvent, _: &HistoryState) {
        if let EventKind::ReferencePage { room, ref messages, .. } = event.kind {
            self.reference.entry(room).or_default().extend(messages.iter().rev());
        }
    }

    fn result(&mut self, state: &HistoryState) -> InvariantResult {
        if self.reference.is_empty() {
            return InvariantResult::not_judged(8, TITLE, "the history contains no reference read");
        }
        for (room, reference) in &self.reference {
            for &(pos, message) in reference {
                let known = state.fate(message).pos.filter(|known| *known != pos && !state.redis_failed());
                if let Some(known) = known {
                    self.violations.add(|| {
                        let (name, room) = (state.names.message_name(message), state.names.room_name(*room));
                        format!("the reference read of room {room} has {name} at {pos}; clients received it at {known}")
                    });
                }
            }
        }
        for (client, room, view) in state.views().filter(|(_, _, view)| view.wanted) {
            let Some(reference) = self.reference.get(&room) else { continue };
            if let Some((shown, read)) = difference(view, reference) {
                self.violations.add(|| {
                    let name = |message: Option<MessageNumber>| {
                        message.map_or_else(|| "no message".to_owned(), |message| state.names.message_name(message))
                    };
                    let place = state.place(client, room);
                    format!("{place} holds {} where the reference read has {}", name(shown), name(read))
                });
            }
        }
        self.violations.result(8, TITLE)
    }
}

/// Returns the newest messages at which view and reference read differ. Compares as far back as both go.
fn difference(
    view: &RoomView,
    reference: &[(Position, MessageNumber)],
) -> Option<(Option<MessageNumber>, Option<MessageNumber>)> {
    match (view.shown.last(), reference.first()) {
        (None, None) => None,
        (None, Some((pos, _))) if !view.begins_with_recent() && *pos <= view.span_start() => None,
        (None, Some((_, read))) => Some((None, Some(*read))),
        (Some(shown), None) => Some((Some(*shown), None)),
        (Some(_), Some(_)) => view
            .shown
            .iter()
            .rev()
            .zip(reference)
            .find(|(shown, (_, read))| *shown != read)
            .map(|(shown, (_, read))| (Some(*shown), Some(*read))),
    }
}
