//! Invariant 13: every client shows what reading the log once, in order, shows: edits, deletions and reactions.
//!
//! The judge applies the amendments of the reference read one after the other, in the order of their positions. Clients
//! apply them in whatever order they arrive.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use trunkline_domain::Position;

use crate::{
    history::{ClientNumber, FoldedEntry, FoldedRange, LoggedMessage},
    judge::{
        event::{EntryKind, EventKind, HistoryEvent, RoomNumber},
        interner::entry_kind,
        invariant::{Invariant, Violations},
        state::HistoryState,
        verdict::InvariantResult,
    },
};

const TITLE: &str = "every client shows the edits, deletions and reactions that a reading of the log in order shows";

#[derive(Debug, Default)]
pub(crate) struct FoldInvariant {
    /// Entries of the reference read.
    reference: HashMap<RoomNumber, BTreeMap<Position, LoggedMessage<'static>>>,
    shown: Vec<(Option<ClientNumber>, RoomNumber, FoldedRange<'static>)>,
    violations: Violations,
}

impl Invariant for FoldInvariant {
    fn observe(&mut self, event: &HistoryEvent, _: &HistoryState) {
        match event.kind {
            EventKind::ReferencePage { room, ref messages, ref entries, .. } if !messages.is_empty() => {
                let entries = entries.iter().map(|entry| (entry.pos, entry.clone()));
                self.reference.entry(room).or_default().extend(entries);
            }
            EventKind::Folded { by, room, ref shown } => self.shown.push((by, room, shown.clone())),
            _ => {}
        }
    }

    fn result(&mut self, state: &HistoryState) -> InvariantResult {
        if self.reference.is_empty() || self.shown.is_empty() {
            return InvariantResult::not_judged(13, TITLE, "the history does not say what the clients show");
        }
        let expected: HashMap<_, _> = self.reference.iter().map(|(room, log)| (*room, read_in_order(log))).collect();
        let (mut views, mut changed) = (0_u64, 0_u64);
        for (by, room, shown) in &self.shown {
            let (Some(log), Some(expected)) = (self.reference.get(room), expected.get(room)) else { continue };
            let (Some(first), Some(last)) = (log.keys().next(), log.keys().next_back()) else { continue };
            // A client that lacks entries breaks invariant 8.
            if shown.to < *last {
                continue;
            }
            views += 1;
            let from = shown.from.max(*first);
            let mut rest: BTreeMap<_, _> = shown.changed.iter().map(|entry| (entry.pos, entry)).collect();
            rest = rest.split_off(&from);
            let expected = expected.range(from..).map(|(_, entry)| entry);
            let wrong = expected.filter(|entry| {
                changed += 1;
                rest.remove(&entry.pos) != Some(*entry)
            });
            let wrong: Vec<&FoldedEntry<'_>> = wrong.collect();
            let count = wrong.len() + rest.len();
            if count > 0 {
                let pos = wrong.first().map_or_else(|| rest.keys().next().copied(), |entry| Some(entry.pos));
                self.violations.add_many(count as u64, || {
                    let name = state.names.room_name(*room);
                    let place =
                        by.map_or_else(|| format!("the reference read of room {name}"), |c| state.place(c, *room));
                    let pos = pos.unwrap_or_default();
                    let seen = describe(shown.changed.iter().find(|entry| entry.pos == pos));
                    let right = describe(wrong.first().copied());
                    format!("{place} shows {count} messages wrongly, among them {pos}: {seen} instead of {right}")
                });
            }
        }
        let note = format!("{changed} changed messages compared in {views} views");
        InvariantResult { note: Some(note), ..self.violations.result(13, TITLE) }
    }
}

fn describe(entry: Option<&FoldedEntry<'_>>) -> String {
    entry.map_or_else(|| "unchanged".to_owned(), |entry| serde_json::to_string(entry).unwrap_or_default())
}

/// Returns the messages that amendments have changed, after a reading of the log in order.
fn read_in_order(log: &BTreeMap<Position, LoggedMessage<'_>>) -> BTreeMap<Position, FoldedEntry<'static>> {
    let mut shown: BTreeMap<Position, FoldedEntry<'static>> = BTreeMap::new();
    let text_of = |entry: &LoggedMessage<'_>| Some(Cow::Owned(entry.id.clone().into_owned()));
    let unchanged = |pos: Position| {
        let text_of = log.get(&pos).and_then(text_of);
        FoldedEntry { pos, text_of, reactions: BTreeMap::new() }
    };
    let delete = |shown: &mut BTreeMap<_, _>, pos: Position| {
        shown.insert(pos, FoldedEntry { pos, text_of: None, reactions: BTreeMap::new() });
    };
    for (pos, entry) in log {
        match entry_kind(entry.event.as_deref(), entry.of, entry.deleted) {
            EntryKind::Message => {}
            // An edit of a deleted text: the deletion follows.
            EntryKind::Redacted if entry.event.is_some() => {}
            EntryKind::Redacted => delete(&mut shown, *pos),
            EntryKind::Delete { of } => delete(&mut shown, of),
            EntryKind::Edit { of } => {
                shown.entry(of).or_insert_with(|| unchanged(of)).text_of = text_of(entry);
            }
            EntryKind::React { of } => {
                let message = shown.entry(of).or_insert_with(|| unchanged(of));
                let is_deleted = message.text_of.is_none();
                let (key, user) = (entry.key.as_deref().unwrap_or_default(), entry.user.clone().into_owned());
                let users = message.reactions.entry(key.to_owned()).or_default();
                if entry.on == Some(true) && !is_deleted {
                    users.insert(user);
                } else {
                    users.remove(&user);
                }
                message.reactions.retain(|_, users| !users.is_empty());
            }
        }
    }
    // Reactions that were all taken back, and messages before the part that was read.
    shown.retain(|pos, entry| log.contains_key(pos) && *entry != unchanged(*pos));
    shown
}
