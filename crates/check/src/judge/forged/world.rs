//! A deployment without flaws, simulated, and what its clients write down.

use std::borrow::Cow;

use trunkline_domain::Position;

use crate::history::{ClientNumber, Fault, Line, Micros, TailEntry};

pub(super) const ROOM: &str = "r1";

pub(super) type Names = Vec<Cow<'static, str>>;

/// A deployment without flaws, and what its clients write down.
pub(super) struct World {
    pub(super) t: Micros,
    pub(super) epoch: u64,
    log: Vec<(Position, String, ClientNumber)>,
    pub(super) clients: Vec<Sim>,
    pub(super) lines: Vec<Line<'static>>,
    /// The lines that tell of deliveries to which their clients were entitled.
    pub(super) owed: Vec<usize>,
}

#[derive(Default)]
pub(super) struct Sim {
    socket: u64,
    pub(super) joined: bool,
    recent: usize,
    pub(super) last: Option<Position>,
}

impl World {
    /// With `clients` clients in one room.
    pub(super) fn new(clients: u32) -> Self {
        let run = Line::Run { version: 1, started: 0, url: "http://127.0.0.1".into(), seed: 0 };
        let mut world =
            Self { t: 0, epoch: 7, log: Vec::new(), clients: Vec::new(), lines: vec![run], owed: Vec::new() };
        for c in 0..clients {
            world.clients.push(Sim::default());
            world.lines.push(Line::Client { c, user: user(c).into() });
            world.open(c);
            world.join(c, 0);
        }
        world
    }

    pub(super) fn now(&mut self) -> Micros {
        self.t += 1000;
        self.t
    }

    pub(super) fn head(&self) -> Position {
        self.log.last().map_or(Position::ORIGIN, |(pos, ..)| *pos)
    }

    pub(super) fn open(&mut self, c: ClientNumber) {
        let t = self.now();
        let client = &mut self.clients[c as usize];
        client.socket += 1;
        self.lines.push(Line::Open { t, c, s: client.socket, instance: "gw-1".into() });
    }

    pub(super) fn join(&mut self, c: ClientNumber, recent: usize) {
        let t = self.now();
        let after = self.clients[c as usize].last;
        self.clients[c as usize].recent = recent;
        self.lines.push(Line::Join { t, c, room: ROOM.into(), after, recent });
        match after.filter(|after| *after == Position::ORIGIN || self.log.iter().any(|(pos, ..)| pos == after)) {
            Some(after) => {
                self.answer(c, true);
                self.catch_up(c, after);
            }
            None => self.begin(c),
        }
    }

    fn answer(&mut self, c: ClientNumber, resumed: bool) {
        let (t, head) = (self.now(), self.head());
        self.lines.push(Line::Joined { t, c, room: ROOM.into(), resumed, head });
        if !std::mem::replace(&mut self.clients[c as usize].joined, true) {
            let here: Vec<_> = self.present().map(|c| user(c).into()).collect();
            self.tell_others(c, true);
            self.lines.push(presence(t, c, here.len(), Some(here), None, None));
        }
    }

    fn present(&self) -> impl Iterator<Item = ClientNumber> {
        (0..).zip(&self.clients).filter(|(_, client)| client.joined).map(|(c, _)| c)
    }

    /// That `c` came, or went, is told to everybody else.
    fn tell_others(&mut self, c: ClientNumber, came: bool) {
        let (t, count) = (self.now(), self.present().count());
        for to in self.present().filter(|other| *other != c).collect::<Vec<_>>() {
            let name = Some(vec![user(c).into()]);
            let (came, went) = if came { (name, None) } else { (None, name) };
            self.lines.push(presence(t, to, count, None, came, went));
        }
    }

    /// Continuity is not proven: the tail follows.
    fn begin(&mut self, c: ClientNumber) {
        self.answer(c, false);
        let tail = self.log.len().saturating_sub(self.clients[c as usize].recent);
        for entry in self.log.split_off(tail) {
            self.show(c, &entry);
            self.log.push(entry);
        }
        self.clients[c as usize].last = Some(self.head());
    }

    /// Redis comes back without the last `count` messages, and everybody is told.
    pub(super) fn lose(&mut self, count: usize) {
        self.fault("redis restarted with a shorter log", true);
        self.epoch += 2;
        self.log.truncate(self.log.len().saturating_sub(count));
        for c in (0..).take(self.clients.len()) {
            if self.clients[c as usize].joined {
                self.begin(c);
            }
        }
    }

    pub(super) fn catch_up(&mut self, c: ClientNumber, after: Position) {
        for entry in self.log.iter().filter(|(pos, ..)| *pos > after).cloned().collect::<Vec<_>>() {
            self.owed.push(self.lines.len());
            self.show(c, &entry);
        }
    }

    pub(super) fn show(&mut self, c: ClientNumber, (pos, id, author): &(Position, String, ClientNumber)) {
        let t = self.now();
        self.clients[c as usize].last = Some(*pos);
        self.lines.push(message(t, c, *pos, id, *author));
    }

    pub(super) fn attempt(&mut self, c: ClientNumber, id: &str) {
        let t = self.now();
        self.lines.push(Line::Send { t, c, room: ROOM.into(), id: id.to_owned().into(), due: t });
    }

    /// Into the log and to all who are there.
    pub(super) fn append(&mut self, c: ClientNumber, id: &str) -> Position {
        let pos = match self.log.last() {
            Some((pos, ..)) if pos.epoch == self.epoch => pos.next_in_epoch(),
            _ => Position::new(self.epoch, 1),
        };
        self.log.push((pos, id.to_owned(), c));
        for reader in 0..self.clients.len() as ClientNumber {
            if self.clients[reader as usize].joined {
                self.owed.push(self.lines.len());
                self.show(reader, &(pos, id.to_owned(), c));
            }
        }
        pos
    }

    pub(super) fn ack(&mut self, c: ClientNumber, id: &str, pos: Position) {
        let t = self.now();
        self.lines.push(Line::Sent { t, c, room: ROOM.into(), id: id.to_owned().into(), pos });
    }

    pub(super) fn send(&mut self, c: ClientNumber, id: &str) {
        self.attempt(c, id);
        let pos = self.append(c, id);
        self.ack(c, id, pos);
    }

    pub(super) fn fault(&mut self, name: &'static str, redis: bool) {
        let t = self.now();
        self.lines.push(Line::Fault(Fault { t, name: name.into(), redis, visible: false, closes: None }));
    }

    pub(super) fn crash(&mut self, c: ClientNumber) {
        let t = self.now();
        let client = &mut self.clients[c as usize];
        client.joined = false;
        self.lines.push(Line::Close { t, c, s: client.socket, code: 1006 });
        self.tell_others(c, false);
    }

    pub(super) fn leave(&mut self, c: ClientNumber) {
        // Whether the last message came before it left, nobody can know but the client.
        let to_it = |line: &usize| matches!(self.lines[*line], Line::Message { c: to, .. } if to == c);
        if let Some(last) = self.owed.iter().rposition(to_it) {
            self.owed.remove(last);
        }
        let t = self.now();
        self.clients[c as usize].joined = false;
        self.lines.push(Line::Leave { t, c, room: ROOM.into() });
        self.lines.push(Line::Left { t, c, room: ROOM.into() });
        self.tell_others(c, false);
    }

    /// Everybody comes back, everything is read afresh.
    pub(super) fn rest(mut self) -> Self {
        for c in 0..self.clients.len() as ClientNumber {
            if !self.clients[c as usize].joined {
                self.open(c);
                self.join(c, 0);
            }
        }
        let t = self.now();
        self.lines.push(Line::Still { t, last: true });
        self.lines.push(Line::Quiet { t });
        let messages = self.log.iter().map(|(pos, id, author)| entry(*pos, id, *author)).collect();
        self.lines.push(Line::Tail { t, room: ROOM.into(), messages });
        self.lines.push(Line::Over { t });
        for c in (0..).take(self.clients.len()) {
            let t = self.now();
            self.lines.push(Line::GaveUp { t, c, s: self.clients[c as usize].socket });
        }
        self.lines.push(Line::End { t });
        self
    }

    pub(super) fn without_tail(mut self) -> Self {
        self.lines.retain(|line| !matches!(line, Line::Tail { .. }));
        self
    }
}

pub(super) fn user(c: ClientNumber) -> String {
    format!("user{c}")
}

pub(super) fn presence(
    t: Micros,
    c: ClientNumber,
    count: usize,
    here: Option<Names>,
    came: Option<Names>,
    went: Option<Names>,
) -> Line<'static> {
    Line::Presence { t, c, room: ROOM.into(), count, here, came, went }
}

pub(super) fn message(t: Micros, c: ClientNumber, pos: Position, id: &str, author: ClientNumber) -> Line<'static> {
    let (id, user) = (id.to_owned().into(), user(author).into());
    Line::Message { t, c, room: ROOM.into(), pos, id, user, torn: false }
}

pub(super) fn entry(pos: Position, id: &str, author: ClientNumber) -> TailEntry<'static> {
    TailEntry { pos, id: id.to_owned().into(), user: user(author).into() }
}
