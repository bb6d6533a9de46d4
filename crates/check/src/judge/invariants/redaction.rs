//! Invariant 12: a deleted text is not received any more.
//!
//! A `join` or a `history` that was sent after the deletion was acknowledged is answered without the text, also in the edits
//! of it: at once by the instance that acknowledged it, and by the others if it was sent more than 1 s later. The answer to a
//! `join` is everything up to the next `joined`; what an instance wrote before the deletion may still be under way, so the
//! time of the request counts and not that of the arrival.

use std::collections::HashMap;

use trunkline_domain::Position;

use crate::{
    history::{ClientNumber, Micros},
    judge::{
        event::{EntryKind, EventKind, HistoryEvent, InstanceNumber, MessageNumber, RoomNumber},
        interner::entry_kind,
        invariant::{Invariant, Violations},
        state::HistoryState,
        verdict::InvariantResult,
    },
};

/// Time in microseconds from the acknowledgement of a deletion until every other instance withholds the text.
const OTHER_INSTANCES: Micros = 1_000_000;

#[derive(Debug, Default)]
pub(crate) struct RedactionInvariant {
    /// The text that each deletion is about.
    targets: HashMap<MessageNumber, Position>,
    deletions: HashMap<(RoomNumber, Position), Deletion>,
    /// Time of the last `history` request.
    asked: HashMap<(ClientNumber, RoomNumber), Micros>,
    /// Texts that were received, with the deletion. Whether Redis has lost the deletion is known at the end.
    found: Vec<(RoomNumber, Deletion, String)>,
    redacted: u64,
}

/// An acknowledged deletion.
#[derive(Clone, Copy, Debug)]
struct Deletion {
    t: Micros,
    pos: Position,
    /// Instance that acknowledged the first attempt. After a retry it may be another one.
    instance: Option<InstanceNumber>,
}

impl RedactionInvariant {
    /// Returns the number of entries that were received without their deleted text.
    pub(crate) fn redacted(&self) -> u64 {
        self.redacted
    }

    /// Judges an entry in the answer to a request that was sent at `asked`.
    fn received(
        &mut self,
        (room, pos, kind): (RoomNumber, Position, EntryKind),
        asked: Micros,
        instance: Option<InstanceNumber>,
        place: impl FnOnce() -> String,
    ) {
        self.redacted += u64::from(kind == EntryKind::Redacted);
        let Some(of) = kind.carries_text_of(pos) else { return };
        let Some(&deletion) = self.deletions.get(&(room, of)) else { return };
        let at_once = instance.is_some() && instance == deletion.instance;
        let bound = deletion.t + if at_once { 0 } else { OTHER_INSTANCES };
        if asked > bound {
            let after = (asked - deletion.t) / 1000;
            let text = format!(
                "{} received the text of {of} at {pos}, which it asked for {after} ms after its deletion at {} was acknowledged",
                place(),
                deletion.pos
            );
            self.found.push((room, deletion, text));
        }
    }
}

impl Invariant for RedactionInvariant {
    fn observe(&mut self, event: &HistoryEvent, state: &HistoryState) {
        let HistoryEvent { t, client, ref kind } = *event;
        let instance = || state.clients.get(client as usize).and_then(|client| client.instance);
        match *kind {
            EventKind::Send { message, kind: EntryKind::Delete { of }, .. } => {
                self.targets.insert(message, of);
            }
            EventKind::Sent { room, message, pos } => {
                if let Some(&of) = self.targets.get(&message) {
                    let instance = instance().filter(|_| state.fate(message).attempts == 1);
                    self.deletions.entry((room, of)).or_insert(Deletion { t, pos, instance });
                }
            }
            EventKind::Message { room, pos, kind, .. } => {
                let asked = state.view(client, room).map_or(0, |view| view.asked);
                self.received((room, pos, kind), asked, instance(), || state.place(client, room));
            }
            EventKind::PageRequest { room } => {
                self.asked.insert((client, room), t);
            }
            EventKind::Page { room, ref entries } => {
                let asked = self.asked.get(&(client, room)).copied().unwrap_or(0);
                for &(pos, kind) in entries {
                    self.received((room, pos, kind), asked, instance(), || state.place(client, room));
                }
            }
            EventKind::ReferencePage { room, asked, ref entries, .. } => {
                for entry in entries {
                    let kind = entry_kind(entry.event.as_deref(), entry.of, entry.deleted);
                    let place = || format!("the reference read of room {}", state.names.room_name(room));
                    self.received((room, entry.pos, kind), asked, None, place);
                }
            }
            _ => {}
        }
    }

    fn result(&mut self, state: &HistoryState) -> InvariantResult {
        let mut violations = Violations::default();
        for (room, Deletion { t, pos, .. }, text) in self.found.drain(..) {
            if !state.is_lost(room, pos, t) {
                violations.add(|| text);
            }
        }
        violations.result(12, "a deleted text is not received any more")
    }
}
