//! Sending: texts, events, amendments, signals and read marks.

use trunkline_domain::{Content, Data, EventName, MessageId, MessageText, Position, ReactionKey, Room};

use crate::{Client, ClientInput, WireObserver, new_id};

impl<O: WireObserver> Client<O> {
    /// Adds a content to the outbox of a joined room, under an id that this user has never used in this room.
    /// [`ClientEvent::Outbox`](crate::ClientEvent::Outbox) reports its state.
    pub fn submit(&mut self, room: Room, id: MessageId, content: Content) {
        self.handle(ClientInput::Send { room, id, content });
    }

    fn submit_new(&mut self, room: Room, content: Content) -> MessageId {
        let id = new_id();
        self.submit(room, id.clone(), content);
        id
    }

    /// Sends a text, as [`submit`](Self::submit) does with a new id. Returns the id.
    pub fn send(&mut self, room: Room, text: MessageText) -> MessageId {
        self.submit_new(room, Content::Text { text, reply_to: None })
    }

    /// Sends a text that answers the message at `to`. Returns its id.
    pub fn reply(&mut self, room: Room, to: Position, text: MessageText) -> MessageId {
        self.submit_new(room, Content::Text { text, reply_to: Some(to) })
    }

    /// Sends an event of the application, whose data is passed through byte for byte. Returns its id.
    pub fn publish(&mut self, room: Room, event: EventName, data: Data) -> MessageId {
        self.submit_new(room, Content::Event { event, data })
    }

    /// Replaces the text of this user's message at `of`. Returns the id of the amendment.
    pub fn edit(&mut self, room: Room, of: Position, text: MessageText) -> MessageId {
        self.submit_new(room, Content::Edit { of, text })
    }

    /// Deletes the text of the message at `of`: this user's, or with the permission to moderate any. Returns the id of the
    /// amendment.
    pub fn delete(&mut self, room: Room, of: Position) -> MessageId {
        self.submit_new(room, Content::Delete { of })
    }

    /// Sets this user's reaction to the message at `of`, or with `on` false removes it. Returns the id of the amendment.
    pub fn react(&mut self, room: Room, of: Position, key: ReactionKey, on: bool) -> MessageId {
        self.submit_new(room, Content::React { of, key, on })
    }

    /// Sends an event to the others in the room that is not logged and may be dropped. Its data has at most 4 KiB. Does
    /// nothing while the room is not joined.
    pub fn signal(&mut self, room: Room, event: EventName, data: Data) {
        self.handle(ClientInput::Signal { room, event, data });
    }

    /// Moves the user's read mark of the room forward. Sends at most one frame per room every two seconds.
    pub fn seen(&mut self, room: Room, pos: Position) {
        self.handle(ClientInput::Seen { room, pos });
    }
}
