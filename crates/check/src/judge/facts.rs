//! What the history says so far: kept once, read by every invariant.

use std::collections::{BTreeSet, HashMap, HashSet};

use trunkline_client::SocketId;
use trunkline_domain::{CloseCode, Position};

use super::{
    presence::Shown,
    record::{MessageNumber, Names, Record, RoomNumber, UserNumber, What},
};
use crate::history::{ClientNumber, Fault, Micros};

/// Everything known after the records so far.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) names: Names,
    pub(crate) messages: Vec<Sending>,
    pub(crate) clients: Vec<Client>,
    /// Acknowledged positions of each room with their times, in the order of their acknowledgements.
    pub(crate) acked: HashMap<RoomNumber, Vec<(Position, Micros)>>,
    /// The highest position of each room that anybody was told of.
    highest: HashMap<RoomNumber, Position>,
    /// After a Redis fault: heads that were below what had been told, with what had been told.
    cuts: HashMap<RoomNumber, HashSet<(Position, Position)>>,
    /// After a Redis fault: what fresh reads found.
    fresh: HashMap<RoomNumber, BTreeSet<Position>>,
    pub(crate) faults: Vec<Window>,
    pub(crate) quiet: bool,
    /// The clients are going.
    pub(crate) over: bool,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sending {
    pub(crate) due: Micros,
    pub(crate) attempts: u32,
    /// Attempts that were refused for certain.
    pub(crate) refused: u32,
    pub(crate) acked: bool,
    /// The position that was first told of it.
    pub(crate) pos: Option<Position>,
}

/// A client: its socket and its rooms.
#[derive(Debug, Default)]
pub(crate) struct Client {
    pub(crate) socket: Option<SocketId>,
    /// Until when frames may still come after the end of its session.
    pub(crate) silent_from: Option<Micros>,
    pub(crate) views: Vec<(RoomNumber, View)>,
}

/// What one client saw of one room.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The client wants to be there: between `join` and `leave`.
    pub(crate) wanted: bool,
    /// Between `joined` and `left` on the present socket.
    pub(crate) joined: bool,
    /// The last `join` named a position.
    pub(crate) asked_after: bool,
    pub(crate) recent: usize,
    pub(crate) head: Position,
    /// The last position shown in the present stretch.
    pub(crate) last: Option<Position>,
    /// Messages shown since the last gap that was told, in the order in which they came.
    pub(crate) shown: Vec<MessageNumber>,
    pub(crate) stretches: Vec<Stretch>,
    /// Who is there, as the present socket was told.
    pub(crate) present: Option<Shown>,
}

/// What was shown from one `joined` that broke continuity to the next.
#[derive(Debug)]
pub(crate) struct Stretch {
    /// The head of its `joined`: what is shown continues from here, or is a tail that ends here. The client is entitled
    /// to what stands behind it.
    pub(crate) floor: Position,
    /// A tail was asked for that ends at the floor.
    pub(crate) tail: bool,
    /// What came, as unbroken runs `(first, last)` inside an epoch.
    pub(crate) runs: Vec<(Position, Position)>,
    /// The room was left, or a gap told: nothing more is owed than what came before.
    pub(crate) closed: bool,
}

/// A fault and the time in which its effects are explained by it.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) fault: Fault<'static>,
    pub(crate) healed: Option<Micros>,
}

impl Window {
    /// Microseconds after the healing in which effects may still show: a peer that vanished is noticed after 1.6 ping
    /// intervals, or by the server after one and ten seconds.
    const AFTERMATH: Micros = 40_000_000;

    pub(crate) fn covers(&self, t: Micros) -> bool {
        t >= self.fault.t && self.healed.is_none_or(|healed| t <= healed + Self::AFTERMATH)
    }
}

impl Facts {
    pub(crate) fn sending(&self, message: MessageNumber) -> Sending {
        self.messages.get(message.0 as usize).copied().unwrap_or_default()
    }

    fn sending_mut(&mut self, message: MessageNumber) -> &mut Sending {
        let index = message.0 as usize;
        if index >= self.messages.len() {
            self.messages.resize(index + 1, Sending::default());
        }
        &mut self.messages[index]
    }

    pub(crate) fn view(&self, client: ClientNumber, room: RoomNumber) -> Option<&View> {
        let views = &self.clients.get(client as usize)?.views;
        views.iter().find(|(known, _)| *known == room).map(|(_, view)| view)
    }

    /// Every client's view of every room.
    pub(crate) fn views(&self) -> impl Iterator<Item = (ClientNumber, RoomNumber, &View)> {
        (0..)
            .zip(&self.clients)
            .flat_map(|(number, client)| client.views.iter().map(move |(room, view)| (number, *room, view)))
    }

    /// Who has a socket in each room.
    pub(crate) fn live(&self) -> HashMap<RoomNumber, BTreeSet<UserNumber>> {
        let mut live: HashMap<_, BTreeSet<_>> = HashMap::new();
        for (client, room, _) in self.views().filter(|(.., view)| view.joined) {
            live.entry(room).or_default().extend(self.names.person_of(client));
        }
        live
    }

    /// Whether Redis has lost that position, which was acknowledged at that time: a fault in which it may lose something
    /// was not over yet, and a fresh read that goes back so far, or to the beginning of an epoch (what is merely too old
    /// is trimmed anywhere), has nothing there, or, without one, a later head was below it. Nobody is owed it any more;
    /// whoever had seen it must be told of a gap.
    pub(crate) fn is_lost(&self, room: RoomNumber, pos: Position, acked: Micros) -> bool {
        let may = |window: &Window| window.fault.redis && window.healed.is_none_or(|healed| acked <= healed);
        if !self.faults.iter().any(may) {
            return false;
        }
        match self.fresh.get(&room) {
            Some(fresh) if fresh.first().is_none_or(|first| *first <= pos || first.offset == 1) => {
                !fresh.contains(&pos)
            }
            _ => self.cuts.get(&room).is_some_and(|cuts| cuts.iter().any(|&(head, top)| head < pos && pos <= top)),
        }
    }

    fn rise(&mut self, room: RoomNumber, pos: Position) {
        let highest = self.highest.entry(room).or_default();
        *highest = pos.max(*highest);
    }

    /// Whether Redis may have lost something by now.
    pub(crate) fn redis_failed(&self) -> bool {
        self.faults.iter().any(|window| window.fault.redis)
    }

    /// "client 3 (ann) in r1": how findings name a view.
    pub(crate) fn place(&self, client: ClientNumber, room: RoomNumber) -> String {
        format!("client {client} ({}) in {}", self.names.user(client), self.names.room_name(room))
    }

    fn client(&mut self, client: ClientNumber) -> &mut Client {
        let index = client as usize;
        if index >= self.clients.len() {
            self.clients.resize_with(index + 1, Client::default);
        }
        &mut self.clients[index]
    }

    fn view_mut(&mut self, client: ClientNumber, room: RoomNumber) -> &mut View {
        let views = &mut self.client(client).views;
        let index = views.iter().position(|(known, _)| *known == room).unwrap_or_else(|| {
            views.push((room, View::default()));
            views.len() - 1
        });
        &mut views[index].1
    }

    /// Takes a record in. Invariants have seen it by now, with the facts of before.
    pub(crate) fn apply(&mut self, record: &Record) {
        let Record { t, client, ref what } = *record;
        match *what {
            What::Client => drop(self.client(client)),
            What::Open { socket } => {
                let client = self.client(client);
                client.socket = Some(socket);
                client.forget_subscriptions();
            }
            What::Close { socket, .. } | What::GaveUp { socket } => {
                let ended = matches!(what, What::Close { code, .. } if *code == CloseCode::SessionEnded.code());
                let client = self.client(client);
                if ended {
                    // It does not come back; whether its session should have ended is a question of the close code.
                    client.end();
                }
                if client.socket == Some(socket) {
                    client.socket = None;
                    client.forget_subscriptions();
                }
            }
            What::LoggedOut { within } => {
                let client = self.client(client);
                client.silent_from = Some(t + within);
                client.end();
            }
            What::Join { room, after, recent } => {
                let view = self.view_mut(client, room);
                view.wanted = true;
                view.asked_after = after;
                view.recent = recent;
            }
            What::Joined { room, resumed, head } => {
                let highest = self.highest.get(&room).copied().unwrap_or_default();
                if head < highest && self.redis_failed() {
                    self.cuts.entry(room).or_default().insert((head, highest));
                }
                self.view_mut(client, room).join(resumed, head);
            }
            What::Leave { room } => {
                let view = self.view_mut(client, room);
                view.wanted = false;
                view.close();
            }
            What::Left { room } => self.view_mut(client, room).unsubscribe(),
            What::Presence { room, count, ref told } => {
                let view = self.view_mut(client, room);
                view.present = Some(Shown::after(view.present.take(), count, told));
            }
            What::Send { message, due, .. } => {
                let sending = self.sending_mut(message);
                if sending.attempts == 0 {
                    sending.due = due;
                }
                sending.attempts += 1;
            }
            What::Sent { room, message, pos } => {
                self.rise(room, pos);
                let sending = self.sending_mut(message);
                sending.pos.get_or_insert(pos);
                if !std::mem::replace(&mut sending.acked, true) {
                    self.acked.entry(room).or_default().push((pos, t));
                }
            }
            What::Refused { message: Some(message), definite: true } => self.sending_mut(message).refused += 1,
            What::Message { room, pos, message, .. } => {
                self.rise(room, pos);
                self.sending_mut(message).pos.get_or_insert(pos);
                self.view_mut(client, room).show(pos, message);
            }
            What::Fault(ref fault) => self.faults.push(Window { fault: fault.clone(), healed: None }),
            What::Healed => {
                for window in self.faults.iter_mut().filter(|window| window.healed.is_none()) {
                    window.healed = Some(t);
                }
            }
            What::Tail { room, ref messages } if self.redis_failed() => {
                self.fresh.entry(room).or_default().extend(messages.iter().map(|(pos, _)| *pos));
            }
            What::Quiet => self.quiet = true,
            What::Over => self.over = true,
            _ => {}
        }
    }
}

impl Client {
    /// The client is owed nothing more than what it has seen.
    fn end(&mut self) {
        for (_, view) in &mut self.views {
            view.wanted = false;
            view.close();
        }
    }

    fn forget_subscriptions(&mut self) {
        for (_, view) in &mut self.views {
            view.unsubscribe();
        }
    }
}

impl View {
    fn unsubscribe(&mut self) {
        self.joined = false;
        self.present = None;
    }

    fn close(&mut self) {
        if let Some(stretch) = self.stretches.last_mut() {
            stretch.closed = true;
        }
    }

    fn join(&mut self, resumed: bool, head: Position) {
        self.joined = true;
        self.head = head;
        if resumed && !self.stretches.is_empty() {
            return;
        }
        self.close();
        self.stretches.push(Stretch {
            floor: head,
            tail: self.recent > 0 && head != Position::ORIGIN,
            runs: Vec::new(),
            closed: false,
        });
        self.last = None;
        self.shown.clear();
    }

    fn show(&mut self, pos: Position, message: MessageNumber) {
        self.shown.push(message);
        self.last = self.last.max(Some(pos));
        let Some(stretch) = self.stretches.last_mut() else { return };
        match stretch.runs.last_mut() {
            Some((_, last)) if last.next_in_epoch() == pos => *last = pos,
            _ => stretch.runs.push((pos, pos)),
        }
    }

    /// Where the present stretch began.
    pub(crate) fn floor(&self) -> Position {
        self.stretches.last().map_or(Position::ORIGIN, |stretch| stretch.floor)
    }

    /// Whether the present stretch begins with a tail that ends at its floor.
    pub(crate) fn has_tail(&self) -> bool {
        self.stretches.last().is_some_and(|stretch| stretch.tail)
    }

    /// Whether something is still to come until the head of the last `joined`.
    pub(crate) fn is_behind(&self) -> bool {
        match self.last {
            Some(last) => last < self.head,
            None => self.has_tail() || self.floor() < self.head,
        }
    }
}

impl Stretch {
    /// Whether that position was shown.
    pub(crate) fn holds(&self, pos: Position) -> bool {
        self.runs.iter().any(|&(first, last)| first <= pos && pos <= last && first.epoch == pos.epoch)
    }
}
