//! The users of a room, and events that are not logged: typing and signals.

use std::collections::BTreeMap;

use trunkline_domain::{Command, Data, EventName, Member, Millis, Room, UserId};

use super::{ClientCore, ClientEvent};

/// Minimum time between two `typing` frames per room, in ms. Other clients show the typing state for five seconds.
const TYPING_INTERVAL_MS: Millis = 3_000;

impl ClientCore {
    pub(super) fn presence(
        &mut self,
        room: &Room,
        count: usize,
        users: Option<Vec<Member>>,
        joined: Option<Vec<Member>>,
        left: Option<Vec<Member>>,
    ) {
        let Some(index) = self.joined_room_index(room) else { return };
        let known = &mut self.rooms[index].users;
        let by_id = |Member { user, name }: Member| (user, name);
        if joined.is_none() && left.is_none() {
            *known = users.map(|users| users.into_iter().map(by_id).collect::<BTreeMap<_, _>>());
        } else if let Some(known) = known {
            for member in left.iter().flatten() {
                known.remove(&member.user);
            }
            known.extend(joined.iter().flatten().cloned().map(by_id));
        }
        let member = |(user, name): (&UserId, &Option<_>)| Member { user: user.clone(), name: name.clone() };
        let users = known.as_ref().map(|users| users.iter().map(member).collect());
        let (joined, left) = (joined.unwrap_or_default(), left.unwrap_or_default());
        self.emit(ClientEvent::Presence { room: room.clone(), count, users, joined, left });
    }

    pub(super) fn typing(&mut self, room: Room, user: UserId) {
        if self.joined_room_index(&room).is_some() {
            self.emit(ClientEvent::Typing { room, user });
        }
    }

    pub(super) fn signal(&mut self, room: Room, user: UserId, event: EventName, data: Data) {
        if self.joined_room_index(&room).is_some() {
            self.emit(ClientEvent::Signal { room, user, event, data });
        }
    }

    pub(super) fn send_typing(&mut self, room: &Room) {
        let Some(index) = self.joined_room_index(room) else { return };
        let typing_sent_at = &mut self.rooms[index].typing_sent_at;
        if typing_sent_at.is_none_or(|at| self.now >= at + TYPING_INTERVAL_MS) {
            *typing_sent_at = Some(self.now);
            self.transmit(Command::Typing { room: room.clone() });
        }
    }

    pub(super) fn send_signal(&mut self, room: Room, event: EventName, data: Data) {
        if self.joined_room_index(&room).is_some() {
            self.transmit(Command::Signal { room, event, data });
        }
    }
}
