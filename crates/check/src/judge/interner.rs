//! Numbers for the names of rooms, users and messages.

use std::collections::HashMap;

use trunkline_domain::{Content, DisplayName, Member, Position};

use super::event::{
    EntryKind, EventKind, HistoryEvent, InstanceNumber, MessageNumber, PresenceContent, RoomNumber, UserNumber,
};
use crate::history::{ClientNumber, FoldedEntry, FoldedRange, HistoryLine, InjectedFault, LoggedMessage};

/// Assigns a number to each name and returns the name of a number.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    /// User name of each client.
    clients: Vec<Box<str>>,
    /// Display name of each user that is a client of the run.
    display_names: HashMap<UserNumber, Option<DisplayName>>,
    instances: Vec<Box<str>>,
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

    fn user_list(&mut self, members: &[Member]) -> Vec<UserNumber> {
        members.iter().map(|member| self.user(member.user.as_str())).collect()
    }

    /// Returns the users of the run whose display name is not the one that they have.
    fn misnamed<'m>(&self, members: impl Iterator<Item = &'m Member>) -> Vec<UserNumber> {
        let users = members.filter_map(|member| Some((*self.users.get(member.user.as_str())?, &member.name)));
        let known = users.filter_map(|(user, name)| Some((user, name, self.display_names.get(&user)?)));
        known.filter(|(_, name, expected)| name != expected).map(|(user, ..)| user).collect()
    }

    fn instance(&mut self, name: &str) -> InstanceNumber {
        let known = self.instances.iter().position(|known| **known == *name);
        InstanceNumber(number(known.unwrap_or_else(|| {
            self.instances.push(name.into());
            self.instances.len() - 1
        })))
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
            HistoryLine::Client { c, user, name } => {
                let index = c as usize;
                if index >= self.clients.len() {
                    self.clients.resize(index + 1, Box::from(""));
                }
                let number = self.user(&user);
                self.display_names.insert(number, name);
                self.clients[index] = user.into();
                (c, EventKind::Client)
            }
            HistoryLine::Open { c, s, instance, .. } => {
                (c, EventKind::Open { socket: s, instance: self.instance(&instance) })
            }
            HistoryLine::Rejected { c, status, .. } => (c, EventKind::Rejected { status }),
            HistoryLine::Join { c, room, after, recent, .. } => {
                (c, EventKind::Join { room: self.room(&room), after: after.is_some(), recent })
            }
            HistoryLine::Joined { c, room, resumed, head, .. } => {
                (c, EventKind::Joined { room: self.room(&room), resumed, head })
            }
            HistoryLine::Leave { c, room, .. } => (c, EventKind::Leave { room: self.room(&room) }),
            HistoryLine::Left { c, room, .. } => (c, EventKind::Left { room: self.room(&room) }),
            HistoryLine::Send { c, room: name, id, due, event, of, .. } => {
                let room = self.room(&name);
                let message = self.own_message(c, &name, &id);
                (c, EventKind::Send { room, message, due, kind: entry_kind(event.as_deref(), of, false) })
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
            HistoryLine::Message { c, room: name, pos, id, user, event, of, deleted, altered, .. } => {
                let room = self.room(&name);
                let message = self.message(&name, &user, &id);
                let kind = entry_kind(event.as_deref(), of, deleted);
                (c, EventKind::Message { room, pos, message, kind, altered })
            }
            HistoryLine::PageRequest { c, room, .. } => (c, EventKind::PageRequest { room: self.room(&room) }),
            HistoryLine::Page { c, room, messages, .. } => {
                let kind = |entry: &LoggedMessage<'_>| {
                    (entry.pos, entry_kind(entry.event.as_deref(), entry.of, entry.deleted))
                };
                (c, EventKind::Page { room: self.room(&room), entries: messages.iter().map(kind).collect() })
            }
            HistoryLine::Presence { c, room, count, users, joined, left, .. } => {
                let misnamed = self.misnamed([&users, &joined, &left].into_iter().flatten().flatten());
                let content = match (users, joined, left) {
                    (Some(users), ..) => PresenceContent::Full(self.user_list(&users)),
                    (None, None, None) => PresenceContent::CountOnly,
                    (None, joined, left) => PresenceContent::Diff {
                        joined: self.user_list(&joined.unwrap_or_default()),
                        left: self.user_list(&left.unwrap_or_default()),
                    },
                };
                (c, EventKind::Presence { room: self.room(&room), count, content, misnamed })
            }
            HistoryLine::Refreshed { c, .. } => (c, EventKind::Refreshed),
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
            HistoryLine::ReferencePage { room: name, asked, recent, messages, .. } => {
                let room = self.room(&name);
                let paged = messages.iter().filter(|_| !recent);
                let numbered = paged.map(|entry| (entry.pos, self.message(&name, &entry.user, &entry.id))).collect();
                let entries = messages.into_iter().map(LoggedMessage::into_owned).collect();
                (0, EventKind::ReferencePage { room, asked, messages: numbered, entries })
            }
            HistoryLine::Folded { c, room, shown, .. } => {
                let FoldedRange { from, to, changed } = shown;
                let changed = changed.into_iter().map(FoldedEntry::into_owned).collect();
                (0, EventKind::Folded { by: c, room: self.room(&room), shown: FoldedRange { from, to, changed } })
            }
            HistoryLine::ProcessUsage { pid, stage, rss, fds, threads, .. } => {
                (0, EventKind::ProcessUsage { pid, stage, rss, fds, threads })
            }
        };
        HistoryEvent { t, client, kind }
    }
}

/// The kind of an entry with these fields.
pub(crate) fn entry_kind(event: Option<&str>, of: Option<Position>, deleted: bool) -> EntryKind {
    match (event, of) {
        _ if deleted => EntryKind::Redacted,
        (Some(Content::EDIT), Some(of)) => EntryKind::Edit { of },
        (Some(Content::DELETE), Some(of)) => EntryKind::Delete { of },
        (Some(Content::REACT), Some(of)) => EntryKind::React { of },
        _ => EntryKind::Message,
    }
}

/// Saturates at 2^32 - 1. Memory runs out long before: each name takes more than 16 bytes.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
