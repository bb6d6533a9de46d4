//! A simulated deployment that keeps every invariant, and the history that its clients record.

use trunkline_domain::{Body, Content, Member, Message, Position};

use crate::{
    history::{ClientNumber, HistoryLine, InjectedFault, LoggedMessage, Micros},
    load::{RoomFold, TracedText, logged},
};

pub(super) const ROOM: &str = "r1";

pub(super) type Members = Vec<Member>;

/// A simulated deployment with one room that keeps every invariant, and the history that its clients record.
pub(super) struct SimulatedDeployment {
    pub(super) t: Micros,
    pub(super) epoch: u64,
    pub(super) log: Vec<Message>,
    pub(super) clients: Vec<SimulatedClient>,
    pub(super) lines: Vec<HistoryLine<'static>>,
    /// Indices in `lines` of the deliveries that clients were entitled to.
    pub(super) entitled: Vec<usize>,
}

#[derive(Default)]
pub(super) struct SimulatedClient {
    fold: RoomFold,
    socket: u64,
    pub(super) joined: bool,
    recent: usize,
    pub(super) last: Option<Position>,
}

impl SimulatedDeployment {
    /// Creates a deployment with `clients` clients, all in the room.
    pub(super) fn new(clients: u32) -> Self {
        let run = HistoryLine::Run { version: 2, started: 0, url: "http://127.0.0.1".into(), seed: 0 };
        let mut deployment =
            Self { t: 0, epoch: 7, log: Vec::new(), clients: Vec::new(), lines: vec![run], entitled: Vec::new() };
        for c in 0..clients {
            deployment.clients.push(SimulatedClient::default());
            deployment.lines.push(HistoryLine::Client { c, user: user(c).into(), name: member(c).name });
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
        self.log.last().map_or(Position::ORIGIN, |entry| entry.pos)
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
        match after.filter(|after| *after == Position::ORIGIN || self.log.iter().any(|entry| entry.pos == *after)) {
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
        if !resumed {
            self.clients[c as usize].fold.clear();
        }
        if !std::mem::replace(&mut self.clients[c as usize].joined, true) {
            let users: Vec<_> = self.present().map(member).collect();
            self.notify_others(c, true);
            self.lines.push(presence(t, c, users.len(), Some(users), None, None));
        }
    }

    fn present(&self) -> impl Iterator<Item = ClientNumber> {
        (0..).zip(&self.clients).filter(|(_, client)| client.joined).map(|(c, _)| c)
    }

    /// Notifies all other clients that `c` joined or left.
    fn notify_others(&mut self, c: ClientNumber, is_joining: bool) {
        let (t, count) = (self.now(), self.present().count());
        for to in self.present().filter(|other| *other != c).collect::<Vec<_>>() {
            let member = Some(vec![member(c)]);
            let (joined, left) = if is_joining { (member, None) } else { (None, member) };
            self.lines.push(presence(t, to, count, None, joined, left));
        }
    }

    /// Joins without continuity: the latest messages follow.
    fn join_without_continuity(&mut self, c: ClientNumber) {
        self.answer(c, false);
        let tail = self.log.len().saturating_sub(self.clients[c as usize].recent);
        let entries = self.log[tail..].to_vec();
        entries.into_iter().for_each(|entry| self.show(c, entry));
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
        for entry in self.log.iter().filter(|entry| entry.pos > after).cloned().collect::<Vec<_>>() {
            self.entitled.push(self.lines.len());
            self.show(c, entry);
        }
    }

    /// Sends an entry to a client, without its text if that was deleted.
    fn show(&mut self, c: ClientNumber, entry: Message) {
        let (t, entry) = (self.now(), self.redacted(entry));
        let client = &mut self.clients[c as usize];
        client.last = Some(entry.pos);
        client.fold.add(&entry);
        self.lines.push(message_line(t, c, &entry));
    }

    /// The entry as every instance sends it now.
    fn redacted(&self, mut entry: Message) -> Message {
        entry.redact(|of| self.log.iter().any(|other| other.deletes() == Some(of)));
        entry
    }

    pub(super) fn attempt(&mut self, c: ClientNumber, id: &str) {
        self.attempt_content(c, id, &text(id));
    }

    fn attempt_content(&mut self, c: ClientNumber, id: &str, content: &Content) {
        let t = self.now();
        let (room, id) = (ROOM.into(), id.to_owned().into());
        let event = content.fields().event.map(|event| event.to_owned().into());
        self.lines.push(HistoryLine::Send { t, c, room, id, due: t, event, of: content.amends() });
    }

    /// Appends a text to the log and delivers it to all joined clients.
    pub(super) fn append(&mut self, c: ClientNumber, id: &str) -> Position {
        self.append_content(c, id, text(id))
    }

    fn append_content(&mut self, c: ClientNumber, id: &str, content: Content) -> Position {
        let pos = match self.log.last() {
            Some(entry) if entry.pos.epoch == self.epoch => entry.pos.next_in_epoch(),
            _ => Position::new(self.epoch, 1),
        };
        let Member { user, name } = member(c);
        let entry = Message { pos, id: id.parse().unwrap(), user, name, body: Body::Content(content), at: pos.offset };
        self.log.push(entry.clone());
        for reader in 0..self.clients.len() as ClientNumber {
            if self.clients[reader as usize].joined {
                self.entitled.push(self.lines.len());
                self.show(reader, entry.clone());
            }
        }
        pos
    }

    /// Sends a content, appends it, delivers it and acknowledges it.
    pub(super) fn send_content(&mut self, c: ClientNumber, id: &str, content: Content) {
        self.attempt_content(c, id, &content);
        let pos = self.append_content(c, id, content);
        self.ack(c, id, pos);
    }

    /// A client reads the page before its first message.
    pub(super) fn read_page(&mut self, c: ClientNumber, limit: usize) {
        let before = self.clients[c as usize].fold.oldest();
        let t = self.now();
        self.lines.push(HistoryLine::PageRequest { t, c, room: ROOM.into(), before });
        let end = before.map_or(self.log.len(), |before| self.log.partition_point(|entry| entry.pos < before));
        let page = self.log[end.saturating_sub(limit)..end].to_vec();
        let page: Vec<Message> = page.into_iter().map(|entry| self.redacted(entry)).collect();
        page.iter().for_each(|entry| self.clients[c as usize].fold.add(entry));
        let (t, messages) = (self.now(), page.iter().map(|entry| logged(entry).into_owned()).collect());
        self.lines.push(HistoryLine::Page { t, c, room: ROOM.into(), messages });
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
            anytime: false,
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
        self.t += 2_000_000;
        let log: Vec<Message> = self.log.iter().map(|entry| self.redacted(entry.clone())).collect();
        let messages = log.iter().map(|entry| logged(entry).into_owned()).collect();
        let page = |recent, messages| HistoryLine::ReferencePage {
            t: self.t,
            room: ROOM.into(),
            asked: self.t,
            recent,
            messages,
        };
        let recent: Vec<_> = log.iter().rev().take(2).rev().map(|entry| logged(entry).into_owned()).collect();
        self.lines.extend([page(true, recent), page(false, messages)]);
        for (c, client) in (0..).zip(&self.clients) {
            if let Some(shown) = client.fold.shown() {
                self.lines.push(HistoryLine::Folded { t: self.t, c: Some(c), room: ROOM.into(), shown });
            }
        }
        let t = self.t;
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

/// Every second user has a display name.
pub(super) fn member(c: ClientNumber) -> Member {
    let name = c.is_multiple_of(2).then(|| format!("User {c}").parse().unwrap());
    Member::new(user(c).parse().unwrap(), name)
}

/// The text of the message `id`.
pub(super) fn text(id: &str) -> Content {
    let text = TracedText::compose(0, &id.parse().unwrap(), 1).unwrap();
    Content::Text { text, reply_to: None }
}

pub(super) fn edit(of: Position, id: &str) -> Content {
    let text = TracedText::compose(0, &id.parse().unwrap(), 1).unwrap();
    Content::Edit { of, text }
}

pub(super) fn react(of: Position, on: bool) -> Content {
    Content::React { of, key: "👍".parse().unwrap(), on }
}

pub(super) fn presence(
    t: Micros,
    c: ClientNumber,
    count: usize,
    users: Option<Members>,
    joined: Option<Members>,
    left: Option<Members>,
) -> HistoryLine<'static> {
    HistoryLine::Presence { t, c, room: ROOM.into(), count, users, joined, left }
}

/// The line of a received text.
pub(super) fn message(
    t: Micros,
    c: ClientNumber,
    pos: Position,
    id: &str,
    author: ClientNumber,
) -> HistoryLine<'static> {
    let Member { user, name } = member(author);
    let id = id.parse().unwrap();
    message_line(t, c, &Message { pos, id, user, name, body: Body::Content(text("a")), at: 1 })
}

fn message_line(t: Micros, c: ClientNumber, message: &Message) -> HistoryLine<'static> {
    let LoggedMessage { pos, id, user, event, of, deleted, .. } = logged(message).into_owned();
    HistoryLine::Message { t, c, room: ROOM.into(), pos, id, user, event, of, deleted, altered: false }
}
