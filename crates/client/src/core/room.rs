//! Rooms: joining, resuming, showing each message once.

use std::collections::{BTreeSet, VecDeque};

use trunkline_domain::{Command, ErrorCode, JoinFrom, Message, MessageId, Millis, Position, Refusal, Room, UserName};

use super::{Core, Effect, EntryState, Notice, PageFailure, Passed, SocketId};

/// Others show "is typing" for five seconds; telling them more often than this, in milliseconds, is waste.
const TYPING_EVERY: Millis = 3_000;
/// Positions that a room remembers to show each message once. Repetitions come from the seam between two sockets,
/// so the window is far larger than needed.
const SEEN_MOST: usize = 256;

/// One room that the application wants to be in.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) name: Room,
    recent: usize,
    pub(super) phase: Phase,
    /// The last position shown, or the head where nothing was to be shown.
    last: Option<Position>,
    head: Position,
    resuming: bool,
    missed: usize,
    /// The latest positions shown since the last gap.
    seen: VecDeque<Position>,
    /// The store has told what it holds of the outbox.
    pub(super) loaded: bool,
    /// The entry on the wire; one at a time, so that an `unavailable` lets no later message overtake.
    pub(super) sending: Option<MessageId>,
    pub(super) refusals: u32,
    pub(super) send_at: Millis,
    pub(super) rejoin_at: Option<Millis>,
    /// The `before` of the page under way.
    paging: Option<Option<Position>>,
    pub(super) typed_at: Option<Millis>,
    here: Option<BTreeSet<UserName>>,
}

/// How far the subscription is on the active socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not subscribed.
    Gone,
    /// `join` was sent.
    Joining,
    /// `joined` came, its `head` not yet.
    Behind,
    /// Caught up.
    Live,
}

impl Subscription {
    fn new(name: Room, recent: usize) -> Self {
        Self {
            name,
            recent: recent.min(JoinFrom::MAX_RECENT),
            phase: Phase::Gone,
            last: None,
            head: Position::ORIGIN,
            resuming: false,
            missed: 0,
            seen: VecDeque::new(),
            loaded: false,
            sending: None,
            refusals: 0,
            send_at: 0,
            rejoin_at: None,
            paging: None,
            typed_at: None,
            here: None,
        }
    }

    fn is_joined(&self) -> bool {
        matches!(self.phase, Phase::Behind | Phase::Live)
    }

    /// Notes a position as shown; false if it was shown before.
    fn show(&mut self, pos: Position) -> bool {
        if self.last == Some(pos) || self.seen.contains(&pos) {
            return false;
        }
        if self.seen.len() == SEEN_MOST {
            self.seen.pop_front();
        }
        self.seen.push_back(pos);
        self.last = Some(pos);
        self.missed += 1;
        true
    }
}

impl Core {
    pub(super) fn index_of(&self, room: &Room) -> Option<usize> {
        self.rooms.iter().position(|subscription| subscription.name == *room)
    }

    /// The index of a room of which the active socket may tell: frames before `joined` belong to a subscription that
    /// was given up.
    fn joined_index(&self, room: &Room) -> Option<usize> {
        self.index_of(room).filter(|&index| self.rooms[index].is_joined())
    }

    pub(super) fn add_room(&mut self, room: Room, recent: usize) {
        if self.index_of(&room).is_some() {
            return;
        }
        if let Some(user) = self.user.clone() {
            self.effects.push_back(Effect::Load { user, room: room.clone() });
        }
        self.rooms.push(Subscription::new(room, recent));
        if self.link.active.is_some() {
            self.join(self.rooms.len() - 1);
        }
    }

    pub(super) fn remove_room(&mut self, room: &Room) {
        let Some(index) = self.index_of(room) else { return };
        let phase = self.rooms[index].phase;
        self.drop_room(index);
        if phase != Phase::Gone {
            self.transmit(Command::Leave { room: room.clone() });
        }
    }

    /// What is unsent stays in the store, for the next join.
    fn drop_room(&mut self, index: usize) {
        let gone = self.rooms.remove(index).name;
        self.outbox.retain(|item| item.entry.room != gone);
    }

    pub(super) fn join(&mut self, index: usize) {
        let room = &mut self.rooms[index];
        room.phase = Phase::Joining;
        room.rejoin_at = None;
        let command =
            Command::Join { room: room.name.clone(), from: JoinFrom { after: room.last, recent: room.recent } };
        self.transmit(command);
    }

    pub(super) fn forget_subscription(&mut self, index: usize) {
        let room = &mut self.rooms[index];
        room.phase = Phase::Gone;
        room.sending = None;
        room.rejoin_at = None;
        room.send_at = 0;
        room.typed_at = None;
        self.page_failed(index, PageFailure::Closed);
    }

    pub(super) fn joined(&mut self, room: &Room, resumed: bool, head: Position) {
        let Some(index) = self.index_of(room) else { return };
        let room = &mut self.rooms[index];
        if room.phase == Phase::Gone {
            return;
        }
        let gap = !resumed && room.last.is_some();
        room.phase = Phase::Behind;
        room.refusals = 0;
        room.head = head;
        room.missed = 0;
        room.resuming = resumed;
        let name = room.name.clone();
        if !resumed {
            room.seen.clear();
            // Nothing will follow if there is nothing, or nothing was asked for.
            room.last = (head == Position::ORIGIN || room.recent == 0).then_some(head);
            self.page_failed(index, PageFailure::Gap);
            self.doubt(&name);
        }
        self.tell(Notice::Joined { room: name, head, resumed, gap });
        self.reach(index);
    }

    /// Told and flushed once, when the head of the last `joined` was shown.
    fn reach(&mut self, index: usize) {
        let room = &mut self.rooms[index];
        if room.phase != Phase::Behind || room.last != Some(room.head) {
            return;
        }
        room.phase = Phase::Live;
        let missed = if room.resuming { room.missed } else { 0 };
        let room = room.name.clone();
        self.tell(Notice::CaughtUp { room, missed });
        self.flush(index);
    }

    pub(super) fn message(&mut self, room: Room, message: Message) {
        let Some(index) = self.joined_index(&room) else { return };
        if !self.rooms[index].show(message.pos) {
            return;
        }
        let own = self.user.as_ref() == Some(&message.user);
        if own {
            self.settle(&room, &message.id, EntryState::Sent { pos: message.pos }, None);
        }
        self.tell(Notice::Message { room, message, own });
        self.after_message(index);
    }

    pub(super) fn passed(&mut self, socket: SocketId, Passed { room, pos, own }: &Passed) {
        if !self.link.heard(socket, self.now) {
            return;
        }
        let Some(index) = self.joined_index(room) else { return };
        if !self.rooms[index].show(*pos) {
            return;
        }
        if let Some(id) = own {
            self.settle(room, id, EntryState::Sent { pos: *pos }, None);
        }
        self.after_message(index);
    }

    fn after_message(&mut self, index: usize) {
        if self.rooms[index].phase == Phase::Behind {
            self.reach(index);
        } else {
            self.flush(index);
        }
    }

    pub(super) fn history(&mut self, room: Room, before: Option<Position>, limit: usize) {
        let Some(index) = self.joined_index(&room) else {
            let cause = PageFailure::Refused(ErrorCode::NotJoined);
            return self.tell(Notice::HistoryFailed { room, before, cause });
        };
        if self.rooms[index].paging.is_some() {
            return self.tell(Notice::HistoryFailed { room, before, cause: PageFailure::Busy });
        }
        self.rooms[index].paging = Some(before);
        self.transmit(Command::History { room, before, limit });
    }

    pub(super) fn page(&mut self, room: &Room, before: Option<Position>, messages: Vec<Message>, more: bool) {
        let Some(index) = self.joined_index(room).filter(|&index| self.rooms[index].paging == Some(before)) else {
            return;
        };
        self.rooms[index].paging = None;
        for message in &messages {
            if self.user.as_ref() == Some(&message.user) {
                self.settle(room, &message.id, EntryState::Sent { pos: message.pos }, None);
            }
        }
        self.tell(Notice::History { room: room.clone(), before, messages, more });
        self.flush(index);
    }

    fn page_failed(&mut self, index: usize, cause: PageFailure) {
        let room = &mut self.rooms[index];
        if let Some(before) = room.paging.take() {
            let room = room.name.clone();
            self.tell(Notice::HistoryFailed { room, before, cause });
        }
    }

    pub(super) fn refused(&mut self, refusal: Refusal) {
        let room: Option<Room> = refusal.room.as_deref().and_then(|name| name.parse().ok());
        let index = room.as_ref().and_then(|room| self.index_of(room));
        if let Some(id) = &refusal.id {
            if let (Some(room), Ok(id)) = (room, id.parse()) {
                self.send_refused(&room, &id, refusal.code, refusal.retry_after_ms);
            }
            return;
        }
        if let Some(index) = index {
            // Commands take effect in order, so while joining it is the `join` that is refused.
            if self.rooms[index].phase == Phase::Joining {
                if is_passing(refusal.code) {
                    return self.rejoin_later(index, refusal.retry_after_ms);
                }
                self.drop_room(index);
            } else if self.rooms[index].paging.is_some() {
                return self.page_failed(index, PageFailure::Refused(refusal.code));
            }
        }
        let Refusal { code, detail, room, .. } = refusal;
        self.tell(Notice::Refused { code, room, detail: Some(detail) });
    }

    /// One room after another, not all at once: the server closes a socket that it had to refuse too often.
    fn rejoin_later(&mut self, index: usize, after: Option<Millis>) {
        let waiting = self.rooms.iter().filter(|room| room.rejoin_at.is_some()).count() as Millis;
        let delay = match after {
            Some(after) => after.saturating_mul(waiting + 1),
            None => self.jitter(self.rooms[index].refusals),
        };
        let room = &mut self.rooms[index];
        if after.is_none() {
            room.refusals += 1;
        }
        room.rejoin_at = Some(self.now.saturating_add(delay));
    }

    pub(super) fn presence(
        &mut self,
        room: &Room,
        count: usize,
        here: Option<Vec<UserName>>,
        came: Option<Vec<UserName>>,
        went: Option<Vec<UserName>>,
    ) {
        let Some(index) = self.joined_index(room) else { return };
        let known = &mut self.rooms[index].here;
        if came.is_none() && went.is_none() {
            *known = here.map(BTreeSet::from_iter);
        } else if let Some(known) = known {
            for user in went.iter().flatten() {
                known.remove(user);
            }
            known.extend(came.iter().flatten().cloned());
        }
        let here = known.as_ref().map(|users| users.iter().cloned().collect());
        let (came, went) = (came.unwrap_or_default(), went.unwrap_or_default());
        self.tell(Notice::Presence { room: room.clone(), count, here, came, went });
    }

    pub(super) fn typed(&mut self, room: Room, user: UserName) {
        if self.joined_index(&room).is_some() {
            self.tell(Notice::Typing { room, user });
        }
    }

    pub(super) fn typing(&mut self, room: &Room) {
        let Some(index) = self.joined_index(room) else { return };
        let typed_at = &mut self.rooms[index].typed_at;
        if typed_at.is_none_or(|at| self.now >= at + TYPING_EVERY) {
            *typed_at = Some(self.now);
            self.transmit(Command::Typing { room: room.clone() });
        }
    }
}

/// Refusals that a later attempt may escape.
pub(super) fn is_passing(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Unavailable | ErrorCode::RateLimited)
}
