//! Invariant 2: every received message was sent, and a message with a definite error is never received.

use std::collections::HashSet;

use crate::judge::{
    event::{EventKind, HistoryEvent, MessageNumber},
    invariant::{Invariant, Violations},
    state::HistoryState,
    verdict::InvariantResult,
};

#[derive(Debug, Default)]
pub(crate) struct PhantomInvariant {
    received: HashSet<MessageNumber>,
    violations: Violations,
}

impl Invariant for PhantomInvariant {
    fn observe(&mut self, event: &HistoryEvent, state: &HistoryState) {
        match event.kind {
            EventKind::Message { room, pos, message, altered, .. } => {
                if altered {
                    self.violations.add(|| {
                        let (place, name) = (state.place(event.client, room), state.names.message_name(message));
                        format!("{place} received {name} at {pos} with text or data that differ from what was sent")
                    });
                }
                if self.received.insert(message) && state.fate(message).attempts == 0 {
                    self.violations.add(|| {
                        let (place, name) = (state.place(event.client, room), state.names.message_name(message));
                        format!("{place} received {name} at {pos}, which no client had sent")
                    });
                }
            }
            EventKind::Sent { room, message, pos } if state.fate(message).attempts == 0 => {
                self.violations.add(|| {
                    let (place, name) = (state.place(event.client, room), state.names.message_name(message));
                    format!("{place} received an acknowledgement of {name} at {pos}, which it had not sent")
                });
            }
            _ => {}
        }
    }

    fn result(&mut self, state: &HistoryState) -> InvariantResult {
        let was_refused = |message: &MessageNumber| {
            let fate = state.fate(*message);
            fate.attempts > 0 && fate.attempts == fate.refused
        };
        let mut refused: Vec<_> = self.received.iter().copied().filter(was_refused).collect();
        refused.sort_unstable();
        for message in refused {
            self.violations.add(|| {
                let pos = state.fate(message).pos.unwrap_or_default();
                format!("{} was refused with a definite error but received at {pos}", state.names.message_name(message))
            });
        }
        self.violations.result(2, "every received message was sent and not refused")
    }
}
