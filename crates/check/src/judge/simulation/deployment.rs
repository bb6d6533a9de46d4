//! A simulated deployment that keeps every invariant, and the history that its clients record.

use std::borrow::Cow;

use trunkline_domain::Position;

use crate::history::{ClientNumber, HistoryLine, InjectedFault, Micros, ReferenceMessage};

pub(super) const ROOM: &str = "r1";

pub(super) type UserNames = Vec<Cow<'static, str>>;

/// A simulated deployment with one room that keeps every invariant, and the history that its clients record.
pub(super) struct SimulatedDeployment {
    pub(super) t: Micros,
    pub(super) epoch: u64,
    log: Vec<(Position, String, ClientNumber)>,
    pub(super) clients: Vec<SimulatedClient>,
    pub(super) lines: Vec<HistoryLine<'static>>,
    /// Indices in `lines` of the deliveries that clients were entitled to.
    pub(super) entitled: Vec<usize>,
}

#[derive(Default)]
pub(super) struct SimulatedClient {
    socket: u64,
    pub(super) joined: bool,
    recent: usize,
    pub(super) last: Option<Position>,
}

impl SimulatedDeployment {
    /// Creates a deployment with `clients` clients, all in the room.
    pub(super) fn new(clients: u32) -> Self {
        let run = HistoryLine::Run { version: 1, started: 0, url: "http://127.0.0.1".into(), seed: 0 };
        let mut deployment =
            Self { t: 0, epoch: 7, log: Vec::new(), clients: Vec::new(), lines: vec![run], entitled: Vec::new() };
        for c in 0..clients {
            deployment.clients.push(SimulatedClient::default());
            deployment.lines.push(HistoryLine::Client { c, user: user(c).into() });
            deployment.open(c);
            deployment.join(c, 0);
        }
        deployment
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
        self.lines.push(HistoryLine::Open { t, c, s: client.socket, instance: "gw-1".into() });
    }

    pub(super) fn join(&mut self, c: ClientNumber, recent: usize) {
        let t = self.now();
        let after = self.clients[c as usize].last;
        self.clients[c as usize].recent = recent;
        self.lines.push(HistoryLine::Join { t, c, room: ROOM.into(), after, recent });
        match after.filter(|after| *after == Position::ORIGIN || self.log.iter().any(|(pos, ..)| pos == after)) {
            Some(after) => {
                self.answer(c, true);
                self.deliver_after(c, after);
            }
            None => self.join_without_continuity(c),
        }
    }

    fn answer(&mut self, c: ClientNumber, resumed: bool) {
        let (t, head) = (self.now(), self.head());
        self.lines.push(HistoryLine::Joined { t, c, room: ROOM.into(), resumed, head });
        if !std::mem::replace(&mut self.clients[c as usize].joined, true) {
            let here: Vec<_> = self.present().map(|c| user(c).into()).collect();
            self.notify_others(c, true);
            self.lines.push(presence(t, c, here.len(), Some(here), None, None));
        }
    }

    fn present(&self) -> impl Iterator<Item = ClientNumber> {
        (0..).zip(&self.clients).filter(|(_, client)| client.joined).map(|(c, _)| c)
    }

    /// Notifies all other clients that `c` joined or left.
    fn notify_others(&mut self, c: ClientNumber, came: bool) {
        let (t, count) = (self.now(), self.present().count());
        for to in self.present().filter(|other| *other != c).collect::<Vec<_>>() {
            let name = Some(vec![user(c).into()]);
            let (came, went) = if came { (name, None) } else { (None, name) };
            self.lines.push(presence(t, to, count, None, came, went));
        }
    }

    /// Joins without continuity: the latest messages follow.
    fn join_without_continuity(&mut self, c: ClientNumber) {
        self.answer(c, false);
        let tail = self.log.len().saturating_sub(self.clients[c as usize].recent);
        for entry in self.log.split_off(tail) {
            self.show(c, &entry);
            self.log.push(entry);
        }
        self.clients[c as usize].last = Some(self.head());
    }

    /// Redis restarts without the last `count` entries, and every client is informed of the gap.
    pub(super) fn lose_entries(&mut self, count: usize) {
        self.fault("redis restarted with a shorter log", true);
        self.epoch += 2;
        self.log.truncate(self.log.len().saturating_sub(count));
        for c in (0..).take(self.clients.len()) {
            if self.clients[c as usize].joined {
                self.join_without_continuity(c);
            }
        }
    }

    pub(super) fn deliver_after(&mut self, c: ClientNumber, after: Position) {
        for entry in self.log.iter().filter(|(pos, ..)| *pos > after).cloned().collect::<Vec<_>>() {
            self.entitled.push(self.lines.len());
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
        self.lines.push(HistoryLine::Send { t, c, room: ROOM.into(), id: id.to_owned().into(), due: t });
    }

    /// Appends a message to the log and delivers it to all joined clients.
    pub(super) fn append(&mut self, c: ClientNumber, id: &str) -> Position {
        let pos = match self.log.last() {
            Some((pos, ..)) if pos.epoch == self.epoch => pos.next_in_epoch(),
            _ => Position::new(self.epoch, 1),
        };
        self.log.push((pos, id.to_owned(), c));
        for reader in 0..self.clients.len() as ClientNumber {
            if self.clients[reader as usize].joined {
                self.entitled.push(self.lines.len());
                self.show(reader, &(pos, id.to_owned(), c));
            }
        }
        pos
    }

    pub(super) fn ack(&mut self, c: ClientNumber, id: &str, pos: Position) {
        let t = self.now();
        self.lines.push(HistoryLine::Sent { t, c, room: ROOM.into(), id: id.to_owned().into(), pos });
    }

    pub(super) fn send(&mut self, c: ClientNumber, id: &str) {
        self.attempt(c, id);
        let pos = self.append(c, id);
        self.ack(c, id, pos);
    }

    pub(super) fn fault(&mut self, name: &'static str, redis: bool) {
        let t = self.now();
        self.lines.push(HistoryLine::Fault(InjectedFault {
            t,
            name: name.into(),
            redis,
            visible: false,
            closes: None,
        }));
    }

    pub(super) fn crash(&mut self, c: ClientNumber) {
        let t = self.now();
        let client = &mut self.clients[c as usize];
        client.joined = false;
        self.lines.push(HistoryLine::Close { t, c, s: client.socket, code: 1006 });
        self.notify_others(c, false);
    }

    pub(super) fn leave(&mut self, c: ClientNumber) {
        // The history does not show whether the last message arrived before the client left, so it is not entitled to it.
        let to_it = |line: &usize| matches!(self.lines[*line], HistoryLine::Message { c: to, .. } if to == c);
        if let Some(last) = self.entitled.iter().rposition(to_it) {
            self.entitled.remove(last);
        }
        let t = self.now();
        self.clients[c as usize].joined = false;
        self.lines.push(HistoryLine::Leave { t, c, room: ROOM.into() });
        self.lines.push(HistoryLine::Left { t, c, room: ROOM.into() });
        self.notify_others(c, false);
    }

    /// Ends the run: all clients reconnect, the reference read follows, and all clients disconnect.
    pub(super) fn finish(mut self) -> Self {
        for c in 0..self.clients.len() as ClientNumber {
            if !self.clients[c as usize].joined {
                self.open(c);
                self.join(c, 0);
            }
        }
        let t = self.now();
        self.lines.push(HistoryLine::PresenceCheck { t, last: true });
        self.lines.push(HistoryLine::Settled { t });
        let messages = self.log.iter().map(|(pos, id, author)| entry(*pos, id, *author)).collect();
        self.lines.push(HistoryLine::ReferencePage { t, room: ROOM.into(), messages });
        self.lines.push(HistoryLine::Disconnecting { t });
        for c in (0..).take(self.clients.len()) {
            let t = self.now();
            self.lines.push(HistoryLine::ClientClose { t, c, s: self.clients[c as usize].socket });
        }
        self.lines.push(HistoryLine::End { t });
        self
    }

    pub(super) fn without_reference_read(mut self) -> Self {
        self.lines.retain(|line| !matches!(line, HistoryLine::ReferencePage { .. }));
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
    here: Option<UserNames>,
    came: Option<UserNames>,
    went: Option<UserNames>,
) -> HistoryLine<'static> {
    HistoryLine::Presence { t, c, room: ROOM.into(), count, here, came, went }
}

pub(super) fn message(
    t: Micros,
    c: ClientNumber,
    pos: Position,
    id: &str,
    author: ClientNumber,
) -> HistoryLine<'static> {
    let (id, user) = (id.to_owned().into(), user(author).into());
    HistoryLine::Message { t, c, room: ROOM.into(), pos, id, user, altered: false }
}

pub(super) fn entry(pos: Position, id: &str, author: ClientNumber) -> ReferenceMessage<'static> {
    ReferenceMessage { pos, id: id.to_owned().into(), user: user(author).into() }
}
