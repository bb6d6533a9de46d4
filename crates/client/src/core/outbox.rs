//! The outbox: messages that the server has not acknowledged.

use trunkline_domain::{Command, Content, ErrorCode, MessageId, Millis, Room};

use super::{
    ClientCore, ClientEvent, OutboxEntry, OutboxEntryState,
    room::{ClientRoom, JoinPhase, is_temporary},
};

/// Time after which the server may have forgotten a message id, in ms. A repeated `send` can then log a second message.
const ID_LIFETIME_MS: Millis = 600_000;

#[derive(Debug)]
pub(super) struct OutboxItem {
    pub(super) entry: OutboxEntry,
    /// Messages may be missing since the first attempt, so the log may contain this message without the client having
    /// received it.
    may_be_logged: bool,
}

impl ClientCore {
    fn item(&self, room: &Room, id: &MessageId) -> Option<usize> {
        self.outbox.iter().position(|item| item.entry.id == *id && item.entry.room == *room)
    }

    /// Adds stored entries.
    pub(super) fn outbox_loaded(&mut self, room: &Room, entries: Vec<OutboxEntry>) {
        let Some(index) = self.room_index(room) else { return };
        for entry in entries {
            let ours = Some(&entry.user) == self.user.as_ref() && entry.room == *room;
            if ours && self.item(room, &entry.id).is_none() {
                // The first attempt took place before this client received any message of the room.
                self.outbox.push(OutboxItem { entry: entry.clone(), may_be_logged: true });
                self.emit(ClientEvent::Outbox(entry));
            }
        }
        self.outbox.sort_by_key(|item| item.entry.written_at);
        self.rooms[index].outbox_loaded = true;
        self.flush(index);
    }

    pub(super) fn send(&mut self, room: Room, id: MessageId, content: Content) {
        let (Some(index), Some(user)) = (self.room_index(&room), self.user.clone()) else {
            let room = Some(room.to_string());
            return self.emit(ClientEvent::Refused { code: ErrorCode::NotJoined, room, detail: None });
        };
        if self.item(&room, &id).is_some() {
            return;
        }
        self.last_written_at = self.now.max(self.last_written_at + 1);
        let entry = OutboxEntry {
            user,
            room,
            id,
            content,
            written_at: self.last_written_at,
            first_sent_at: None,
            state: OutboxEntryState::Pending,
            refusal: None,
        };
        if matches!(entry.content, Content::Text { .. }) {
            // A message ends the typing state at the other clients.
            self.rooms[index].typing_sent_at = None;
        }
        self.outbox.push(OutboxItem { entry: entry.clone(), may_be_logged: false });
        self.emit(ClientEvent::Outbox(entry));
        self.flush(index);
    }

    /// Sends a failed or uncertain entry again. The user has decided, so earlier attempts do not count.
    pub(super) fn retry(&mut self, room: &Room, id: &MessageId) {
        let (Some(index), Some(item)) = (self.room_index(room), self.item(room, id)) else { return };
        if self.outbox[item].entry.state == OutboxEntryState::Pending {
            return;
        }
        self.outbox[item].may_be_logged = false;
        self.outbox[item].entry.first_sent_at = None;
        self.change_entry(item, OutboxEntryState::Pending, None);
        self.flush(index);
    }

    /// Records a gap: entries that were sent into the room may be logged without having been received.
    pub(super) fn record_gap(&mut self, room: &Room) {
        for item in &mut self.outbox {
            item.may_be_logged |= item.entry.room == *room && item.entry.first_sent_at.is_some();
        }
    }

    /// The first entry of the room that waits to be sent, if the room is ready for it.
    pub(super) fn next_to_send(&self, room: &ClientRoom) -> Option<usize> {
        if !room.outbox_loaded || room.phase != JoinPhase::CaughtUp || room.sending.is_some() {
            return None;
        }
        self.outbox
            .iter()
            .position(|item| item.entry.state == OutboxEntryState::Pending && item.entry.room == room.name)
    }

    pub(super) fn flush(&mut self, index: usize) {
        while let Some(item) = self.next_to_send(&self.rooms[index]) {
            if self.rooms[index].send_at > self.now {
                return;
            }
            let OutboxItem { entry, may_be_logged } = &mut self.outbox[item];
            if *may_be_logged && entry.first_sent_at.is_some_and(|first| self.now >= first + ID_LIFETIME_MS) {
                self.change_entry(item, OutboxEntryState::Uncertain, None);
                continue;
            }
            if entry.first_sent_at.is_none() {
                *may_be_logged = false;
                entry.first_sent_at = Some(self.now);
                self.change_entry(item, OutboxEntryState::Pending, None);
            }
            let OutboxEntry { room, id, content, .. } = self.outbox[item].entry.clone();
            self.rooms[index].sending = Some(id.clone());
            self.transmit(Command::Send { room, id, content });
        }
    }

    /// Handles a final answer to a `send`.
    pub(super) fn acknowledged(
        &mut self,
        room: &Room,
        id: &MessageId,
        outcome: OutboxEntryState,
        refusal: Option<ErrorCode>,
    ) {
        let index = self.room_index(room);
        if let Some(room) = index.map(|index| &mut self.rooms[index])
            && room.sending.as_ref() == Some(id)
        {
            room.sending = None;
            room.refusals = 0;
        }
        if outcome != OutboxEntryState::Failed {
            self.remove_entry(room, id, outcome, refusal);
        } else if let Some(item) = self.item(room, id) {
            self.change_entry(item, outcome, refusal);
        }
        if let Some(index) = index {
            self.flush(index);
        }
    }

    /// Handles an error in answer to a `send`.
    pub(super) fn send_refused(&mut self, room: &Room, id: &MessageId, code: ErrorCode, retry_after: Option<Millis>) {
        if !is_temporary(code) {
            return self.acknowledged(room, id, OutboxEntryState::Failed, Some(code));
        }
        if let Some(index) = self.room_index(room)
            && self.rooms[index].sending.as_ref() == Some(id)
        {
            let delay = match retry_after {
                Some(retry_after) => retry_after,
                None => self.back_off_delay(self.rooms[index].refusals),
            };
            let room = &mut self.rooms[index];
            room.sending = None;
            room.send_at = self.now.saturating_add(delay);
            room.refusals += 1;
        }
        if let Some(item) = self.item(room, id) {
            self.change_entry(item, OutboxEntryState::Pending, Some(code));
        }
    }

    /// Removes an entry that was sent or discarded.
    pub(super) fn remove_entry(
        &mut self,
        room: &Room,
        id: &MessageId,
        outcome: OutboxEntryState,
        refusal: Option<ErrorCode>,
    ) {
        let Some(item) = self.item(room, id) else { return };
        self.change_entry(item, outcome, refusal);
        self.outbox.remove(item);
        if let (OutboxEntryState::Sent { .. }, Some(index)) = (outcome, self.room_index(room)) {
            let sending = &mut self.rooms[index].sending;
            sending.take_if(|sending| sending == id);
        }
    }

    fn change_entry(&mut self, item: usize, state: OutboxEntryState, refusal: Option<ErrorCode>) {
        let entry = &mut self.outbox[item].entry;
        entry.state = state;
        entry.refusal = refusal;
        let entry = entry.clone();
        self.emit(ClientEvent::Outbox(entry));
    }
}
