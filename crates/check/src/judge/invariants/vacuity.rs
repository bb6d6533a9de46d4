//! Invariant 11: the run was not vacuous.
//!
//! Messages were acknowledged and delivered, all messages were settled at the end, and at least one client noticed each
//! fault that is visible to clients.

use crate::judge::{
    event::{EventKind, HistoryEvent},
    invariant::{Invariant, Violations},
    state::HistoryState,
    verdict::InvariantResult,
};

#[derive(Debug, Default)]
pub(crate) struct VacuityInvariant {
    delivered: u64,
    /// Number of events by which clients noticed each fault.
    effects: Vec<u64>,
    violations: Violations,
}

impl Invariant for VacuityInvariant {
    fn observe(&mut self, event: &HistoryEvent, state: &HistoryState) {
        match event.kind {
            EventKind::Message { .. } => self.delivered += 1,
            EventKind::Fault(_) => self.effects.push(0),
            EventKind::Close { .. }
            | EventKind::Rejected { .. }
            | EventKind::Closing
            | EventKind::ClientClose { .. }
            | EventKind::Refused { .. }
                if !state.disconnecting =>
            {
                for (window, effects) in state.faults.iter().zip(&mut self.effects) {
                    *effects += u64::from(window.covers(event.t));
                }
            }
            _ => {}
        }
    }

    fn result(&mut self, state: &HistoryState) -> InvariantResult {
        if state.acked.values().all(Vec::is_empty) {
            self.violations.add(|| "no message was acknowledged".to_owned());
        }
        if self.delivered == 0 {
            self.violations.add(|| "no message was delivered".to_owned());
        }
        if !state.settled {
            self.violations.add(|| "the run did not settle: messages may still have been in flight".to_owned());
        }
        for (window, effects) in state.faults.iter().zip(&self.effects) {
            if window.fault.visible && *effects == 0 {
                self.violations.add(|| format!("the fault {:?} did not fire: no client noticed it", window.fault.name));
            }
        }
        self.violations.result(11, "the run was not vacuous")
    }
}
