//! Numbers for the names of rooms, users and messages.

use std::{borrow::Cow, collections::HashMap};

use super::event::{EventKind, HistoryEvent, MessageNumber, PresenceContent, RoomNumber, UserNumber};
use crate::history::{ClientNumber, HistoryLine, InjectedFault};

/// Assigns a number to each name and returns the name of a number.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    /// User name of each client.
    clients: Vec<Box<str>>,
    users: HashMap<Box<str>, UserNumber>,
    user_names: Vec<Box<str>>,
    rooms: HashMap<Box<str>, RoomNumber>,
    room_names: Vec<Box<str>>,
    messages: HashMap<Box<str>, MessageNumber>,
    /// Buffer for keys of `messages`, reused so that a lookup does not allocate.
    key: String,
}

impl Interner {
    pub(crate) fn room_name(&self, room: RoomNumber) -> &str {
        self.room_names.get(room.0 as usize).map_or("?", |name| name)
    }

    /// Returns the name of the user that a client is logged in as.
    pub(crate) fn client_name(&self, client: ClientNumber) -> &str {
        self.clients.get(client as usize).map_or("?", |name| name)
    }

    pub(crate) fn user_name(&self, user: UserNumber) -> &str {
        self.user_names.get(user.0 as usize).map_or("?", |name| name)
    }

    /// Returns the user that a client is logged in as.
    pub(crate) fn user_of(&self, client: ClientNumber) -> Option<UserNumber> {
        self.users.get(self.clients.get(client as usize)?).copied()
    }

    /// Returns `message ID of USER`, for reports. A linear search: call it for violations only.
    pub(crate) fn message_name(&self, message: MessageNumber) -> String {
        let found = self.messages.iter().find(|(_, number)| **number == message);
        found.map_or_else(
            || "an unknown message".to_owned(),
            |(key, _)| {
                let mut parts = key.split('\0').skip(1);
                let (user, id) = (parts.next().unwrap_or("?"), parts.next().unwrap_or("?"));
                format!("message {id} of {user}")
            },
        )
    }

    fn user(&mut self, name: &str) -> UserNumber {
        if let Some(&user) = self.users.get(name) {
            return user;
        }
        let user = UserNumber(number(self.user_names.len()));
        self.users.insert(name.into(), user);
        self.user_names.push(name.into());
        user
    }

    fn user_list(&mut self, names: &[Cow<'_, str>]) -> Vec<UserNumber> {
        names.iter().map(|name| self.user(name)).collect()
    }

    fn room(&mut self, name: &str) -> RoomNumber {
        if let Some(&room) = self.rooms.get(name) {
            return room;
        }
        let room = RoomNumber(number(self.room_names.len()));
        self.rooms.insert(name.into(), room);
        self.room_names.push(name.into());
        room
    }

    fn message(&mut self, room_name: &str, user: &str, id: &str) -> MessageNumber {
        self.key.clear();
        self.key.extend([room_name, "\0", user, "\0", id]);
        if let Some(&message) = self.messages.get(self.key.as_str()) {
            return message;
        }
        let message = MessageNumber(number(self.messages.len()));
        self.messages.insert(self.key.as_str().into(), message);
        message
    }

    fn own_message(&mut self, client: ClientNumber, room_name: &str, id: &str) -> MessageNumber {
        let user = self.clients.get(client as usize).cloned().unwrap_or_default();
        self.message(room_name, &user, id)
    }

    /// Replaces the names of a line by numbers.
    pub(crate) fn intern(&mut self, line: HistoryLine<'_>) -> HistoryEvent {
        let t = line.time().unwrap_or(0);
        let (client, kind) = match line {
            HistoryLine::Run { .. } | HistoryLine::End { .. } => (0, EventKind::Other),
            HistoryLine::Client { c, user } => {
                let index = c as usize;
                if index >= self.clients.len() {
                    self.clients.resize(index + 1, Box::from(""));
                }
                self.user(&user);
                self.clients[index] = user.into();
                (c, EventKind::Client)
            }
            HistoryLine::Open { c, s, .. } => (c, EventKind::Open { socket: s }),
            HistoryLine::Rejected { c, status, .. } => (c, EventKind::Rejected { status }),
            HistoryLine::Join { c, room, after, recent, .. } => {
                (c, EventKind::Join { room: self.room(&room), after: after.is_some(), recent })
            }
            HistoryLine::Joined { c, room, resumed, head, .. } => {
                (c, EventKind::Joined { room: self.room(&room), resumed, head })
            }
            HistoryLine::Leave { c, room, .. } => (c, EventKind::Leave { room: self.room(&room) }),
            HistoryLine::Left { c, room, .. } => (c, EventKind::Left { room: self.room(&room) }),
            HistoryLine::Send { c, room: name, id, due, .. } => {
                let room = self.room(&name);
                let message = self.own_message(c, &name, &id);
                (c, EventKind::Send { room, message, due })
            }
            HistoryLine::Sent { c, room: name, id, pos, .. } => {
                let room = self.room(&name);
                let message = self.own_message(c, &name, &id);
                (c, EventKind::Sent { room, message, pos })
            }
            HistoryLine::Error { c, room, id, code, .. } => {
                let message = room.zip(id).map(|(room, id)| self.own_message(c, &room, &id));
                (c, EventKind::Refused { message, definite: code != "unavailable" })
            }
            HistoryLine::Message { c, room: name, pos, id, user, altered, .. } => {
                let room = self.room(&name);
                let message = self.message(&name, &user, &id);
                (c, EventKind::Message { room, pos, message, altered })
            }
            HistoryLine::Presence { c, room, count, here, came, went, .. } => {
                let content = match (here, came, went) {
                    (Some(here), ..) => PresenceContent::Full(self.user_list(&here)),
                    (None, None, None) => PresenceContent::CountOnly,
                    (None, came, went) => PresenceContent::Diff {
                        joined: self.user_list(&came.unwrap_or_default()),
                        left: self.user_list(&went.unwrap_or_default()),
                    },
                };
                (c, EventKind::Presence { room: self.room(&room), count, content })
            }
            HistoryLine::PresenceCheck { last, .. } => (0, EventKind::PresenceCheck { last }),
            HistoryLine::Closing { c, .. } => (c, EventKind::Closing),
            HistoryLine::Close { c, s, code, .. } => (c, EventKind::Close { socket: s, code }),
            HistoryLine::ClientClose { c, s, .. } => (c, EventKind::ClientClose { socket: s }),
            HistoryLine::InvalidFrame { c, .. } => (c, EventKind::InvalidFrame),
            HistoryLine::SessionEnded { c, within, .. } => (c, EventKind::SessionEnded { within }),
            HistoryLine::Fault(fault) => {
                (0, EventKind::Fault(InjectedFault { name: fault.name.into_owned().into(), ..fault }))
            }
            HistoryLine::Phase { name, .. } => (0, EventKind::Phase { name: name.into_owned() }),
            HistoryLine::Healed { .. } => (0, EventKind::Healed),
            HistoryLine::Settled { .. } => (0, EventKind::Settled),
            HistoryLine::Disconnecting { .. } => (0, EventKind::Disconnecting),
            HistoryLine::ReferencePage { room: name, messages, .. } => {
                let room = self.room(&name);
                let numbered = messages.iter().map(|entry| (entry.pos, self.message(&name, &entry.user, &entry.id)));
                (0, EventKind::ReferencePage { room, messages: numbered.collect() })
            }
            HistoryLine::ProcessUsage { pid, stage, rss, fds, threads, .. } => {
                (0, EventKind::ProcessUsage { pid, stage, rss, fds, threads })
            }
        };
        HistoryEvent { t, client, kind }
    }
}

/// Saturates at 2^32 - 1. Memory runs out long before: each name takes more than 16 bytes.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
