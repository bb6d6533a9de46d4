//! A line with its names made numbers: what invariants look at a million times.

use std::{borrow::Cow, collections::HashMap};

use trunkline_client::SocketId;
use trunkline_domain::Position;

use crate::history::{ClientNumber, Fault, Line, Micros, Stage};

/// The number of a room in this judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RoomNumber(pub(crate) u32);

/// The number of a user, client of the run or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UserNumber(pub(crate) u32);

/// The number of a message: of a room, a user and an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MessageNumber(pub(crate) u32);

/// A line of the history.
#[derive(Debug)]
pub(crate) struct Record {
    /// When, or 0 for what has no time.
    pub(crate) t: Micros,
    /// Whose, or 0 for what is nobody's.
    pub(crate) client: ClientNumber,
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum What {
    Client,
    Open { socket: SocketId },
    Rejected { status: u16 },
    Join { room: RoomNumber, after: bool, recent: usize },
    Joined { room: RoomNumber, resumed: bool, head: Position },
    Leave { room: RoomNumber },
    Left { room: RoomNumber },
    Send { room: RoomNumber, message: MessageNumber, due: Micros },
    Sent { room: RoomNumber, message: MessageNumber, pos: Position },
    Refused { message: Option<MessageNumber>, definite: bool },
    Message { room: RoomNumber, pos: Position, message: MessageNumber, torn: bool },
    Presence { room: RoomNumber, count: usize, told: Told },
    Still { last: bool },
    Closing,
    Close { socket: SocketId, code: u16 },
    GaveUp { socket: SocketId },
    Unreadable,
    LoggedOut { within: Micros },
    Fault(Fault<'static>),
    Healed,
    Quiet,
    Over,
    Tail { room: RoomNumber, messages: Vec<(Position, MessageNumber)> },
    Gauge { pid: u32, stage: Stage, rss: u64, fds: u64, threads: u64 },
    Other,
}

/// What a `presence` frame names.
#[derive(Debug)]
pub(crate) enum Told {
    /// Nobody: too many are there.
    Count,
    /// Everybody.
    Here(Vec<UserNumber>),
    /// A change.
    Moves { came: Vec<UserNumber>, went: Vec<UserNumber> },
}

/// The names behind the numbers.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// By client.
    users: Vec<Box<str>>,
    people: HashMap<Box<str>, UserNumber>,
    people_names: Vec<Box<str>>,
    rooms: HashMap<Box<str>, RoomNumber>,
    room_names: Vec<Box<str>>,
    messages: HashMap<Box<str>, MessageNumber>,
    /// For making keys without allocating.
    key: String,
}

impl Names {
    pub(crate) fn room_name(&self, room: RoomNumber) -> &str {
        self.room_names.get(room.0 as usize).map_or("?", |name| name)
    }

    pub(crate) fn user(&self, client: ClientNumber) -> &str {
        self.users.get(client as usize).map_or("?", |name| name)
    }

    pub(crate) fn person_name(&self, person: UserNumber) -> &str {
        self.people_names.get(person.0 as usize).map_or("?", |name| name)
    }

    /// Whom a client is logged in as.
    pub(crate) fn person_of(&self, client: ClientNumber) -> Option<UserNumber> {
        self.people.get(self.users.get(client as usize)?).copied()
    }

    fn person(&mut self, name: &str) -> UserNumber {
        if let Some(&person) = self.people.get(name) {
            return person;
        }
        let person = UserNumber(number(self.people_names.len()));
        self.people.insert(name.into(), person);
        self.people_names.push(name.into());
        person
    }

    fn persons(&mut self, names: &[Cow<'_, str>]) -> Vec<UserNumber> {
        names.iter().map(|name| self.person(name)).collect()
    }

    /// User and id of a message, for a report: a search, not for every line.
    pub(crate) fn message_name(&self, message: MessageNumber) -> String {
        let found = self.messages.iter().find(|(_, number)| **number == message);
        found.map_or_else(
            || "?".to_owned(),
            |(key, _)| {
                let mut parts = key.split('\0').skip(1);
                format!("{}'s {}", parts.next().unwrap_or("?"), parts.next().unwrap_or("?"))
            },
        )
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
        let user = self.users.get(client as usize).cloned().unwrap_or_default();
        self.message(room_name, &user, id)
    }

    /// Makes the names of a line numbers.
    pub(crate) fn record(&mut self, line: Line<'_>) -> Record {
        let t = line.time().unwrap_or(0);
        let (client, what) = match line {
            Line::Run { .. } | Line::End { .. } => (0, What::Other),
            Line::Client { c, user } => {
                let index = c as usize;
                if index >= self.users.len() {
                    self.users.resize(index + 1, Box::from(""));
                }
                self.person(&user);
                self.users[index] = user.into();
                (c, What::Client)
            }
            Line::Open { c, s, .. } => (c, What::Open { socket: s }),
            Line::Rejected { c, status, .. } => (c, What::Rejected { status }),
            Line::Join { c, room, after, recent, .. } => {
                (c, What::Join { room: self.room(&room), after: after.is_some(), recent })
            }
            Line::Joined { c, room, resumed, head, .. } => (c, What::Joined { room: self.room(&room), resumed, head }),
            Line::Leave { c, room, .. } => (c, What::Leave { room: self.room(&room) }),
            Line::Left { c, room, .. } => (c, What::Left { room: self.room(&room) }),
            Line::Send { c, room: name, id, due, .. } => {
                let room = self.room(&name);
                let message = self.own_message(c, &name, &id);
                (c, What::Send { room, message, due })
            }
            Line::Sent { c, room: name, id, pos, .. } => {
                let room = self.room(&name);
                let message = self.own_message(c, &name, &id);
                (c, What::Sent { room, message, pos })
            }
            Line::Error { c, room, id, code, .. } => {
                let message = room.zip(id).map(|(room, id)| self.own_message(c, &room, &id));
                (c, What::Refused { message, definite: code != "unavailable" })
            }
            Line::Message { c, room: name, pos, id, user, torn, .. } => {
                let room = self.room(&name);
                let message = self.message(&name, &user, &id);
                (c, What::Message { room, pos, message, torn })
            }
            Line::Presence { c, room, count, here, came, went, .. } => {
                let told = match (here, came, went) {
                    (Some(here), ..) => Told::Here(self.persons(&here)),
                    (None, None, None) => Told::Count,
                    (None, came, went) => Told::Moves {
                        came: self.persons(&came.unwrap_or_default()),
                        went: self.persons(&went.unwrap_or_default()),
                    },
                };
                (c, What::Presence { room: self.room(&room), count, told })
            }
            Line::Still { last, .. } => (0, What::Still { last }),
            Line::Closing { c, .. } => (c, What::Closing),
            Line::Close { c, s, code, .. } => (c, What::Close { socket: s, code }),
            Line::GaveUp { c, s, .. } => (c, What::GaveUp { socket: s }),
            Line::Unreadable { c, .. } => (c, What::Unreadable),
            Line::LoggedOut { c, within, .. } => (c, What::LoggedOut { within }),
            Line::Fault(fault) => (0, What::Fault(Fault { name: fault.name.into_owned().into(), ..fault })),
            Line::Healed { .. } => (0, What::Healed),
            Line::Quiet { .. } => (0, What::Quiet),
            Line::Over { .. } => (0, What::Over),
            Line::Tail { room: name, messages, .. } => {
                let room = self.room(&name);
                let numbered = messages.iter().map(|entry| (entry.pos, self.message(&name, &entry.user, &entry.id)));
                (0, What::Tail { room, messages: numbered.collect() })
            }
            Line::Gauge { pid, stage, rss, fds, threads, .. } => (0, What::Gauge { pid, stage, rss, fds, threads }),
        };
        Record { t, client, what }
    }
}

/// A history of four thousand million rooms or messages does not fit into memory before it fails here.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
