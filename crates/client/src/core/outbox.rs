//! The outbox: what was written and is not settled yet.

use trunkline_domain::{Command, ErrorCode, MessageId, MessageText, Millis, Room};

use super::{
    Core, Entry, EntryState, Notice,
    room::{Phase, Subscription, is_passing},
};

/// Milliseconds after which the server forgets message ids: a repetition could then make a second message.
const IDS_FORGOTTEN: Millis = 600_000;

#[derive(Debug)]
pub(super) struct Item {
    pub(super) entry: Entry,
    /// Continuity broke since the first attempt, so the message may stand unseen.
    doubt: bool,
}

impl Core {
    fn item(&self, room: &Room, id: &MessageId) -> Option<usize> {
        self.outbox.iter().position(|item| item.entry.id == *id && item.entry.room == *room)
    }

    /// Stored entries come first: they are older, or another process's.
    pub(super) fn loaded(&mut self, room: &Room, entries: Vec<Entry>) {
        let Some(index) = self.index_of(room) else { return };
        for entry in entries {
            let ours = Some(&entry.user) == self.user.as_ref() && entry.room == *room;
            if ours && self.item(room, &entry.id).is_none() {
                // Whatever was seen since began after that first attempt: only a lucky tail would have shown it.
                self.outbox.push(Item { entry: entry.clone(), doubt: true });
                self.tell(Notice::Entry(entry));
            }
        }
        self.outbox.sort_by_key(|item| item.entry.at);
        self.rooms[index].loaded = true;
        self.flush(index);
    }

    pub(super) fn send(&mut self, room: Room, id: MessageId, text: MessageText) {
        let (Some(index), Some(user)) = (self.index_of(&room), self.user.clone()) else {
            let room = Some(room.to_string());
            return self.tell(Notice::Refused { code: ErrorCode::NotJoined, room, detail: None });
        };
        if self.item(&room, &id).is_some() {
            return;
        }
        self.last_at = self.now.max(self.last_at + 1);
        let at = self.last_at;
        let entry = Entry { user, room, id, text, at, tried: None, state: EntryState::Pending, code: None };
        self.outbox.push(Item { entry: entry.clone(), doubt: false });
        self.tell(Notice::Entry(entry));
        // With the message the others forget that somebody was typing.
        self.rooms[index].typed_at = None;
        self.flush(index);
    }

    /// The person wants it sent again, whatever became of earlier attempts.
    pub(super) fn send_again(&mut self, room: &Room, id: &MessageId) {
        let (Some(index), Some(item)) = (self.index_of(room), self.item(room, id)) else { return };
        if self.outbox[item].entry.state == EntryState::Pending {
            return;
        }
        self.outbox[item].doubt = false;
        self.outbox[item].entry.tried = None;
        self.change(item, EntryState::Pending, None);
        self.flush(index);
    }

    /// Continuity broke: what was sent into the room may stand unseen.
    pub(super) fn doubt(&mut self, room: &Room) {
        for item in &mut self.outbox {
            item.doubt |= item.entry.room == *room && item.entry.tried.is_some();
        }
    }

    /// The first entry of the room that waits for the wire.
    pub(super) fn next_entry(&self, room: &Subscription) -> Option<usize> {
        if !room.loaded || room.phase != Phase::Live || room.sending.is_some() {
            return None;
        }
        self.outbox.iter().position(|item| item.entry.state == EntryState::Pending && item.entry.room == room.name)
    }

    pub(super) fn flush(&mut self, index: usize) {
        while let Some(item) = self.next_entry(&self.rooms[index]) {
            if self.rooms[index].send_at > self.now {
                return;
            }
            let Item { entry, doubt } = &mut self.outbox[item];
            if *doubt && entry.tried.is_some_and(|tried| self.now >= tried + IDS_FORGOTTEN) {
                self.change(item, EntryState::Unsure, None);
                continue;
            }
            if entry.tried.is_none() {
                *doubt = false;
                entry.tried = Some(self.now);
                self.change(item, EntryState::Pending, None);
            }
            let Entry { room, id, text, .. } = self.outbox[item].entry.clone();
            self.rooms[index].sending = Some(id.clone());
            self.transmit(Command::Send { room, id, text });
        }
    }

    /// The one answer to a `send`, if it is definite.
    pub(super) fn answered(&mut self, room: &Room, id: &MessageId, outcome: EntryState, code: Option<ErrorCode>) {
        let index = self.index_of(room);
        if let Some(room) = index.map(|index| &mut self.rooms[index])
            && room.sending.as_ref() == Some(id)
        {
            room.sending = None;
            room.refusals = 0;
        }
        if outcome != EntryState::Failed {
            self.settle(room, id, outcome, code);
        } else if let Some(item) = self.item(room, id) {
            self.change(item, outcome, code);
        }
        if let Some(index) = index {
            self.flush(index);
        }
    }

    /// The answer to a `send` is an error.
    pub(super) fn send_refused(&mut self, room: &Room, id: &MessageId, code: ErrorCode, after: Option<Millis>) {
        if !is_passing(code) {
            return self.answered(room, id, EntryState::Failed, Some(code));
        }
        if let Some(index) = self.index_of(room)
            && self.rooms[index].sending.as_ref() == Some(id)
        {
            let delay = match after {
                Some(after) => after,
                None => self.jitter(self.rooms[index].refusals),
            };
            let room = &mut self.rooms[index];
            room.sending = None;
            room.send_at = self.now.saturating_add(delay);
            room.refusals += 1;
        }
        if let Some(item) = self.item(room, id) {
            self.change(item, EntryState::Pending, Some(code));
        }
    }

    /// Sent or discarded: the entry leaves the outbox.
    pub(super) fn settle(&mut self, room: &Room, id: &MessageId, outcome: EntryState, code: Option<ErrorCode>) {
        let Some(item) = self.item(room, id) else { return };
        self.change(item, outcome, code);
        self.outbox.remove(item);
        if let (EntryState::Sent { .. }, Some(index)) = (outcome, self.index_of(room)) {
            let sending = &mut self.rooms[index].sending;
            sending.take_if(|sending| sending == id);
        }
    }

    fn change(&mut self, item: usize, state: EntryState, code: Option<ErrorCode>) {
        let entry = &mut self.outbox[item].entry;
        entry.state = state;
        entry.code = code;
        let entry = entry.clone();
        self.tell(Notice::Entry(entry));
    }
}
