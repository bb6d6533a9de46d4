//! Rooms: joining, resumed, and emitting each message once.

use std::collections::{BTreeMap, VecDeque};

use trunkline_domain::{
    Body, Command, DisplayName, ErrorCode, JoinFrom, Message, MessageId, Millis, Position, Refusal, Room, UserId,
};

use super::{
    ClientCore, ClientEffect, ClientEvent, HistoryFailure, MessageSummary, OutboxEntryState, SocketId,
    read_mark::ReadMark,
};

/// Number of latest positions per room that are compared with arriving messages. Only messages sent on two sockets
/// during a hand-over arrive twice, so far fewer would be enough.
const MAX_SEEN_POSITIONS: usize = 256;

/// A room that the application has joined.
#[derive(Debug)]
pub(super) struct ClientRoom {
    pub(super) name: Room,
    recent: usize,
    pub(super) phase: JoinPhase,
    /// The position of the last message received, or the head if no message was requested.
    last: Option<Position>,
    /// The head of the last `joined`.
    head: Position,
    resumed: bool,
    /// Messages received since the last `joined`, amendments not counted.
    received: usize,
    /// The latest positions received since the last gap.
    seen: VecDeque<Position>,
    /// Whether [`ClientInput::Outbox`](super::ClientInput::Outbox) has arrived.
    pub(super) outbox_loaded: bool,
    /// The `send` that is not answered yet. One at a time: after an `unavailable` the same message is sent again, and no
    /// later one may overtake it.
    pub(super) sending: Option<MessageId>,
    /// Temporary refusals in a row.
    pub(super) refusals: u32,
    /// When the next `send` is allowed.
    pub(super) send_at: Millis,
    /// When to repeat a `join` that was refused temporarily.
    pub(super) rejoin_at: Option<Millis>,
    /// The `before` of the page under way.
    paging: Option<Option<Position>>,
    pub(super) typing_sent_at: Option<Millis>,
    /// The users in the room with their names, unless the room is too large.
    pub(super) users: Option<BTreeMap<UserId, Option<DisplayName>>>,
    pub(super) mark: ReadMark,
}

/// The progress of the subscription on the active socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JoinPhase {
    /// Not subscribed.
    NotJoined,
    /// `join` was sent.
    Joining,
    /// `joined` has arrived, the message at its `head` has not.
    CatchingUp,
    /// All messages up to the `head` of `joined` have arrived.
    CaughtUp,
}

impl ClientRoom {
    fn new(name: Room, recent: usize) -> Self {
        Self {
            name,
            recent: recent.min(JoinFrom::MAX_RECENT),
            phase: JoinPhase::NotJoined,
            last: None,
            head: Position::ORIGIN,
            resumed: false,
            received: 0,
            seen: VecDeque::new(),
            outbox_loaded: false,
            sending: None,
            refusals: 0,
            send_at: 0,
            rejoin_at: None,
            paging: None,
            typing_sent_at: None,
            users: None,
            mark: ReadMark::default(),
        }
    }

    pub(super) fn is_joined(&self) -> bool {
        matches!(self.phase, JoinPhase::CatchingUp | JoinPhase::CaughtUp)
    }

    /// Records a message. Returns false if it arrived before.
    fn record(&mut self, pos: Position, amends: bool) -> bool {
        if self.last == Some(pos) || self.seen.contains(&pos) {
            return false;
        }
        if self.seen.len() == MAX_SEEN_POSITIONS {
            self.seen.pop_front();
        }
        self.seen.push_back(pos);
        self.last = Some(pos);
        self.received += usize::from(!amends);
        true
    }
}

impl ClientCore {
    pub(super) fn room_index(&self, room: &Room) -> Option<usize> {
        self.rooms.iter().position(|state| state.name == *room)
    }

    /// The index of a joined room. Frames that arrive before `joined` belong to an earlier subscription on this socket
    /// and are ignored.
    pub(super) fn joined_room_index(&self, room: &Room) -> Option<usize> {
        self.room_index(room).filter(|&index| self.rooms[index].is_joined())
    }

    pub(super) fn add_room(&mut self, room: Room, recent: usize) {
        if self.room_index(&room).is_some() {
            return;
        }
        if let Some(user) = self.user.clone() {
            self.effects.push_back(ClientEffect::Load { user, room: room.clone() });
        }
        self.rooms.push(ClientRoom::new(room, recent));
        if self.connection.active.is_some() {
            self.join(self.rooms.len() - 1);
        }
    }

    pub(super) fn remove_room(&mut self, room: &Room) {
        let Some(index) = self.room_index(room) else { return };
        let phase = self.rooms[index].phase;
        self.forget_room(index);
        if phase != JoinPhase::NotJoined {
            self.transmit(Command::Leave { room: room.clone() });
        }
    }

    /// Removes the room. The application's store keeps its outbox entries for the next join.
    fn forget_room(&mut self, index: usize) {
        let removed = self.rooms.remove(index).name;
        self.outbox.retain(|item| item.entry.room != removed);
    }

    pub(super) fn join(&mut self, index: usize) {
        let room = &mut self.rooms[index];
        room.phase = JoinPhase::Joining;
        room.rejoin_at = None;
        let command =
            Command::Join { room: room.name.clone(), from: JoinFrom { after: room.last, recent: room.recent } };
        self.transmit(command);
    }

    pub(super) fn reset_subscription(&mut self, index: usize) {
        let room = &mut self.rooms[index];
        room.phase = JoinPhase::NotJoined;
        room.sending = None;
        room.rejoin_at = None;
        room.send_at = 0;
        room.typing_sent_at = None;
        room.mark.connection_lost();
        self.history_failed(index, HistoryFailure::Closed);
    }

    /// Handles a `left` that this client did not ask for: a new token does not allow the room. A refusal follows. The
    /// `left` that answers a `leave` names a room that is forgotten, or joined again and not answered yet.
    pub(super) fn left(&mut self, room: &Room) {
        if let Some(index) = self.joined_room_index(room) {
            self.reset_subscription(index);
        }
    }

    pub(super) fn joined(&mut self, room: &Room, resumed: bool, head: Position, seen: Option<Position>) {
        let Some(index) = self.room_index(room) else { return };
        let room = &mut self.rooms[index];
        if room.phase == JoinPhase::NotJoined {
            return;
        }
        let gap = !resumed && room.last.is_some();
        room.phase = JoinPhase::CatchingUp;
        room.refusals = 0;
        room.head = head;
        room.received = 0;
        room.resumed = resumed;
        let name = room.name.clone();
        if !resumed {
            room.seen.clear();
            // No message follows if the log is empty or none was requested.
            room.last = (head == Position::ORIGIN || room.recent == 0).then_some(head);
            self.history_failed(index, HistoryFailure::Gap);
            self.record_gap(&name);
        }
        self.emit(ClientEvent::Joined { room: name, head, resumed, gap });
        self.restore_mark(index, seen);
        self.check_caught_up(index);
    }

    /// Once the message at the head of the last `joined` has arrived: emits `CaughtUp` and flushes the outbox.
    fn check_caught_up(&mut self, index: usize) {
        let room = &mut self.rooms[index];
        if room.phase != JoinPhase::CatchingUp || room.last != Some(room.head) {
            return;
        }
        room.phase = JoinPhase::CaughtUp;
        let missed = if room.resumed { room.received } else { 0 };
        let room = room.name.clone();
        self.emit(ClientEvent::CaughtUp { room, missed });
        self.flush(index);
    }

    pub(super) fn message(&mut self, room: Room, message: Message) {
        let Some(index) = self.joined_room_index(&room) else { return };
        let amends = matches!(&message.body, Body::DeletedEdit { .. })
            || matches!(&message.body, Body::Content(content) if content.amends().is_some());
        if !self.rooms[index].record(message.pos, amends) {
            return;
        }
        let own = self.user.as_ref() == Some(&message.user);
        if own {
            self.remove_entry(&room, &message.id, OutboxEntryState::Sent { pos: message.pos }, None);
        }
        self.emit(ClientEvent::Message { room, message, own });
        self.after_message(index);
    }

    pub(super) fn message_seen(&mut self, socket: SocketId, message: &MessageSummary) {
        let MessageSummary { room, pos, own, amends } = message;
        if !self.connection.record_activity(socket, self.now) {
            return;
        }
        let Some(index) = self.joined_room_index(room) else { return };
        if !self.rooms[index].record(*pos, *amends) {
            return;
        }
        if let Some(id) = own {
            self.remove_entry(room, id, OutboxEntryState::Sent { pos: *pos }, None);
        }
        self.after_message(index);
    }

    fn after_message(&mut self, index: usize) {
        if self.rooms[index].phase == JoinPhase::CatchingUp {
            self.check_caught_up(index);
        } else {
            self.flush(index);
        }
    }

    pub(super) fn request_history(&mut self, room: Room, before: Option<Position>, limit: usize) {
        let Some(index) = self.joined_room_index(&room) else {
            let reason = HistoryFailure::Refused(ErrorCode::NotJoined);
            return self.emit(ClientEvent::HistoryFailed { room, before, reason });
        };
        if self.rooms[index].paging.is_some() {
            return self.emit(ClientEvent::HistoryFailed { room, before, reason: HistoryFailure::Busy });
        }
        self.rooms[index].paging = Some(before);
        self.transmit(Command::History { room, before, limit });
    }

    pub(super) fn history(&mut self, room: &Room, before: Option<Position>, messages: Vec<Message>, more: bool) {
        let Some(index) = self.joined_room_index(room).filter(|&index| self.rooms[index].paging == Some(before)) else {
            return;
        };
        self.rooms[index].paging = None;
        for message in &messages {
            if self.user.as_ref() == Some(&message.user) {
                self.remove_entry(room, &message.id, OutboxEntryState::Sent { pos: message.pos }, None);
            }
        }
        self.emit(ClientEvent::History { room: room.clone(), before, messages, more });
        self.flush(index);
    }

    fn history_failed(&mut self, index: usize, reason: HistoryFailure) {
        let room = &mut self.rooms[index];
        if let Some(before) = room.paging.take() {
            let room = room.name.clone();
            self.emit(ClientEvent::HistoryFailed { room, before, reason });
        }
    }

    pub(super) fn refused(&mut self, refusal: Refusal) {
        if refusal.code == ErrorCode::BadToken {
            return self.token_refused();
        }
        let room: Option<Room> = refusal.room.as_deref().and_then(|name| name.parse().ok());
        let index = room.as_ref().and_then(|room| self.room_index(room));
        if let Some(id) = &refusal.id {
            if let (Some(room), Ok(id)) = (room, id.parse()) {
                self.send_refused(&room, &id, refusal.code, refusal.retry_after_ms);
            }
            return;
        }
        if let Some(index) = index {
            // The server answers commands in order, so a refusal during `Joining` belongs to the `join`.
            if self.rooms[index].phase == JoinPhase::Joining {
                if is_temporary(refusal.code) {
                    return self.rejoin_later(index, refusal.retry_after_ms);
                }
                self.forget_room(index);
            } else if self.rooms[index].phase == JoinPhase::NotJoined && refusal.code == ErrorCode::Forbidden {
                // The server has left the room: see `left`.
                self.forget_room(index);
            } else if self.rooms[index].paging.is_some() {
                return self.history_failed(index, HistoryFailure::Refused(refusal.code));
            } else if refusal.code == ErrorCode::Unavailable && self.mark_refused(index) {
                return;
            }
        }
        let Refusal { code, detail, room, .. } = refusal;
        self.emit(ClientEvent::Refused { code, room, detail: Some(detail) });
    }

    /// Schedules the `join` again. Several rooms take turns, because the server closes a socket after too many refusals.
    fn rejoin_later(&mut self, index: usize, retry_after: Option<Millis>) {
        let waiting = self.rooms.iter().filter(|room| room.rejoin_at.is_some()).count() as Millis;
        let delay = match retry_after {
            Some(retry_after) => retry_after.saturating_mul(waiting + 1),
            None => self.back_off_delay(self.rooms[index].refusals),
        };
        let room = &mut self.rooms[index];
        if retry_after.is_none() {
            room.refusals += 1;
        }
        room.rejoin_at = Some(self.now.saturating_add(delay));
    }
}

/// Whether a later attempt may succeed.
pub(super) fn is_temporary(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Unavailable | ErrorCode::RateLimited)
}
