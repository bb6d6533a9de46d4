//! The state of all clients and messages after the events so far. Every invariant reads it.

use std::collections::{BTreeSet, HashMap, HashSet};

use trunkline_client::SocketId;
use trunkline_domain::{CloseCode, Position};

use super::{
    event::{EventKind, HistoryEvent, InstanceNumber, MessageNumber, RoomNumber, UserNumber},
    interner::Interner,
    known_presence::KnownPresence,
    room_view::RoomView,
};
use crate::history::{ClientNumber, InjectedFault, Micros};

/// The state after the events so far.
#[derive(Debug, Default)]
pub(crate) struct HistoryState {
    pub(crate) names: Interner,
    /// Fate of each message, indexed by [`MessageNumber`].
    pub(crate) messages: Vec<MessageFate>,
    pub(crate) clients: Vec<JudgedClient>,
    /// Acknowledged positions of each room with the time of the acknowledgement, in the order of the acknowledgements.
    pub(crate) acked: HashMap<RoomNumber, Vec<(Position, Micros)>>,
    /// Highest position of each room that any client received.
    highest: HashMap<RoomNumber, Position>,
    /// After a Redis fault: each head that was below the highest position, with that highest position.
    truncations: HashMap<RoomNumber, HashSet<(Position, Position)>>,
    /// After a Redis fault: positions that the reference read found.
    reference: HashMap<RoomNumber, BTreeSet<Position>>,
    pub(crate) faults: Vec<FaultWindow>,
    /// Every message is settled.
    pub(crate) settled: bool,
    /// The clients disconnect because the run ends.
    pub(crate) disconnecting: bool,
}

/// The fate of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MessageFate {
    pub(crate) due: Micros,
    /// Number of `send` frames.
    pub(crate) attempts: u32,
    /// Number of attempts that got a definite error.
    pub(crate) refused: u32,
    pub(crate) acked: bool,
    /// First position that a `sent` or `message` frame named.
    pub(crate) pos: Option<Position>,
}

/// A client: its socket and its rooms.
#[derive(Debug, Default)]
pub(crate) struct JudgedClient {
    pub(crate) socket: Option<SocketId>,
    /// Instance at the other end of the socket.
    pub(crate) instance: Option<InstanceNumber>,
    /// Time from which on no frame may arrive, because the session has ended.
    pub(crate) silent_from: Option<Micros>,
    pub(crate) views: Vec<(RoomNumber, RoomView)>,
}

/// A fault and the time in which it explains effects on clients.
#[derive(Debug)]
pub(crate) struct FaultWindow {
    pub(crate) fault: InjectedFault<'static>,
    pub(crate) healed: Option<Micros>,
}

impl FaultWindow {
    /// Time in microseconds after the end of a fault in which its effects may still appear: 40 s. A client notices a dead
    /// peer after 1.6 ping intervals (25 s by default), a gateway after one ping interval and 10 s.
    const AFTER_HEALED: Micros = 40_000_000;

    pub(crate) fn covers(&self, t: Micros) -> bool {
        t >= self.fault.t && self.healed.is_none_or(|healed| t <= healed + Self::AFTER_HEALED)
    }
}

impl HistoryState {
    pub(crate) fn fate(&self, message: MessageNumber) -> MessageFate {
        self.messages.get(message.0 as usize).copied().unwrap_or_default()
    }

    fn fate_mut(&mut self, message: MessageNumber) -> &mut MessageFate {
        let index = message.0 as usize;
        if index >= self.messages.len() {
            self.messages.resize(index + 1, MessageFate::default());
        }
        &mut self.messages[index]
    }

    pub(crate) fn view(&self, client: ClientNumber, room: RoomNumber) -> Option<&RoomView> {
        let views = &self.clients.get(client as usize)?.views;
        views.iter().find(|(known, _)| *known == room).map(|(_, view)| view)
    }

    /// Iterates over all views of all clients.
    pub(crate) fn views(&self) -> impl Iterator<Item = (ClientNumber, RoomNumber, &RoomView)> {
        (0..)
            .zip(&self.clients)
            .flat_map(|(number, client)| client.views.iter().map(move |(room, view)| (number, *room, view)))
    }

    /// Returns the users that have a subscribed socket in each room.
    pub(crate) fn live_users(&self) -> HashMap<RoomNumber, BTreeSet<UserNumber>> {
        let mut live: HashMap<_, BTreeSet<_>> = HashMap::new();
        for (client, room, _) in self.views().filter(|(.., view)| view.joined) {
            live.entry(room).or_default().extend(self.names.user_of(client));
        }
        live
    }

    /// Returns whether Redis has lost the entry at `pos`, which was acknowledged at the time `acked`.
    ///
    /// The entry can be lost only if a fault in which Redis may lose data had not ended by then. It is lost if the reference
    /// read covers the position and does not contain it. The read covers all positions from its first one, or all
    /// positions if it begins at offset 1; entries that are merely older were trimmed. Without a reference read, the entry
    /// is lost if a later head was below it. No client is entitled to a lost entry, and each client that saw it must be
    /// informed of a gap.
    pub(crate) fn is_lost(&self, room: RoomNumber, pos: Position, acked: Micros) -> bool {
        let may_lose = |window: &FaultWindow| window.fault.redis && window.healed.is_none_or(|healed| acked <= healed);
        if !self.faults.iter().any(may_lose) {
            return false;
        }
        match self.reference.get(&room) {
            Some(found) if found.first().is_none_or(|first| *first <= pos || first.offset == 1) => {
                !found.contains(&pos)
            }
            _ => {
                let truncations = self.truncations.get(&room);
                truncations.is_some_and(|all| all.iter().any(|&(head, highest)| head < pos && pos <= highest))
            }
        }
    }

    fn raise_highest(&mut self, room: RoomNumber, pos: Position) {
        let highest = self.highest.entry(room).or_default();
        *highest = pos.max(*highest);
    }

    /// Returns whether a fault in which Redis may lose data has been injected.
    pub(crate) fn redis_failed(&self) -> bool {
        self.faults.iter().any(|window| window.fault.redis)
    }

    /// Returns `client 3 (ann) in room r1`, for reports.
    pub(crate) fn place(&self, client: ClientNumber, room: RoomNumber) -> String {
        format!("{} in room {}", self.client_name(client), self.names.room_name(room))
    }

    /// Returns `client 3 (ann)`, for reports.
    pub(crate) fn client_name(&self, client: ClientNumber) -> String {
        format!("client {client} ({})", self.names.client_name(client))
    }

    fn client(&mut self, client: ClientNumber) -> &mut JudgedClient {
        let index = client as usize;
        if index >= self.clients.len() {
            self.clients.resize_with(index + 1, JudgedClient::default);
        }
        &mut self.clients[index]
    }

    fn view_mut(&mut self, client: ClientNumber, room: RoomNumber) -> &mut RoomView {
        let views = &mut self.client(client).views;
        let index = views.iter().position(|(known, _)| *known == room).unwrap_or_else(|| {
            views.push((room, RoomView::default()));
            views.len() - 1
        });
        &mut views[index].1
    }

    /// Applies an event. The invariants have observed it already, with the state before it.
    pub(crate) fn apply(&mut self, event: &HistoryEvent) {
        let HistoryEvent { t, client, ref kind } = *event;
        match *kind {
            EventKind::Client => drop(self.client(client)),
            EventKind::Open { socket, instance } => {
                let client = self.client(client);
                client.socket = Some(socket);
                client.instance = Some(instance);
                client.unsubscribe();
            }
            EventKind::Close { socket, .. } | EventKind::ClientClose { socket } => {
                let session_ended =
                    matches!(kind, EventKind::Close { code, .. } if *code == CloseCode::SessionEnded.code());
                let client = self.client(client);
                if session_ended {
                    // The client does not reconnect. Invariant 10 decides whether the close code was justified.
                    client.end();
                }
                if client.socket == Some(socket) {
                    client.socket = None;
                    client.unsubscribe();
                }
            }
            EventKind::SessionEnded { within } => {
                let client = self.client(client);
                client.silent_from = Some(t + within);
                client.end();
            }
            EventKind::Join { room, after, recent } => {
                let view = self.view_mut(client, room);
                view.wanted = true;
                view.asked = t;
                view.asked_to_resume = after;
                view.recent = recent;
            }
            EventKind::Joined { room, resumed, head } => {
                let highest = self.highest.get(&room).copied().unwrap_or_default();
                if head < highest && self.redis_failed() {
                    self.truncations.entry(room).or_default().insert((head, highest));
                }
                self.view_mut(client, room).join(resumed, head);
            }
            EventKind::Leave { room } => {
                let view = self.view_mut(client, room);
                view.wanted = false;
                view.close_span();
            }
            EventKind::Left { room } => self.view_mut(client, room).unsubscribe(),
            EventKind::Presence { room, count, ref content, .. } => {
                let view = self.view_mut(client, room);
                view.presence = Some(KnownPresence::after(view.presence.take(), count, content));
            }
            EventKind::Send { message, due, .. } => {
                let fate = self.fate_mut(message);
                if fate.attempts == 0 {
                    fate.due = due;
                }
                fate.attempts += 1;
            }
            EventKind::Sent { room, message, pos } => {
                self.raise_highest(room, pos);
                let fate = self.fate_mut(message);
                fate.pos.get_or_insert(pos);
                if !std::mem::replace(&mut fate.acked, true) {
                    self.acked.entry(room).or_default().push((pos, t));
                }
            }
            EventKind::Refused { message: Some(message), definite: true } => self.fate_mut(message).refused += 1,
            EventKind::Message { room, pos, message, .. } => {
                self.raise_highest(room, pos);
                self.fate_mut(message).pos.get_or_insert(pos);
                self.view_mut(client, room).show(pos, message);
            }
            EventKind::Fault(ref fault) => self.faults.push(FaultWindow { fault: fault.clone(), healed: None }),
            EventKind::Healed => {
                for window in self.faults.iter_mut().filter(|window| window.healed.is_none()) {
                    window.healed = Some(t);
                }
            }
            EventKind::ReferencePage { room, ref messages, .. } if self.redis_failed() => {
                self.reference.entry(room).or_default().extend(messages.iter().map(|(pos, _)| *pos));
            }
            EventKind::Settled => self.settled = true,
            EventKind::Disconnecting => self.disconnecting = true,
            _ => {}
        }
    }
}

impl JudgedClient {
    /// From here on the client is entitled only to what it has seen.
    fn end(&mut self) {
        for (_, view) in &mut self.views {
            view.wanted = false;
            view.close_span();
        }
    }

    /// The current socket is subscribed to no room.
    fn unsubscribe(&mut self) {
        for (_, view) in &mut self.views {
            view.unsubscribe();
        }
    }
}
