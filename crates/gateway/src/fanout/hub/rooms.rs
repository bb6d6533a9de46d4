//! The rooms of a hub: their members, and the events that the reader sends about them.

use std::time::Duration;

use trunkline_bus::Range;
use trunkline_domain::{CloseCode, Event, JoinFrom, Member, Position, Room};

use super::{
    super::{
        connection::RoomSubscription,
        cursor::{Cursor, Joined},
        deletions::Deletions,
        messages::{HubEvent, HubRequest},
        tail::{Append, Chunk, FramePage, Tail},
    },
    Hub,
};
use crate::{
    ids::ConnectionKey,
    presence::{PresenceCursor, PresenceTail},
};

/// Estimated time of a write to one member: a `send` over loopback (docs/BENCHMARKS.md).
const FANOUT_TIME_PER_MEMBER: Duration = Duration::from_micros(5);
/// A fan-out that is estimated to take less is followed by the next one at once: rooms below 200 members never wait.
const MIN_PACED_FANOUT: Duration = Duration::from_millis(1);
/// Maximum pause between two fan-outs of a room. The pause is as long as the fan-out, so that at most half of the thread is
/// spent on one room; messages wait up to this long and then share a write. A larger value saves writes in large, busy rooms.
const MAX_FANOUT_PAUSE: Duration = Duration::from_millis(10);

/// Maximum number of members that one [`Hub::flush`] serves, about 1 ms of writes. Then the other tasks of the thread get
/// their turn: on one thread of the program they are the reader and the link to Redis. A larger value delays the other rooms
/// and threads; a smaller one examines the thread's sockets more often.
pub(super) const MEMBERS_PER_FLUSH: usize = 256;

/// The result of [`Hub::flush`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// Whether some connections' own tasks were woken to write.
    pub(crate) has_woken: bool,
    /// Whether members are left that must be served as soon as other tasks have had their turn.
    pub(crate) is_partial: bool,
    /// When to flush again, as time since the worker started; `None` if no room waits.
    pub(crate) next: Option<Duration>,
}

/// A room with members on this worker.
#[derive(Debug)]
pub(super) struct HubRoom {
    room: Room,
    /// `None` until the reader sent it.
    pub(super) tail: Option<Tail>,
    /// Boxed, because in few rooms anything is deleted.
    deletions: Box<Deletions>,
    /// The slots of the members' connections. Serials are not needed: a connection leaves its rooms before its slot is used
    /// again.
    members: Vec<u32>,
    /// Index of the member with which an interrupted fan-out continues; 0 if none was interrupted.
    next_member: usize,
    /// Whether news came while a fan-out was interrupted, so that the first members must be served again.
    has_more_news: bool,
    /// `None` until the reader sent it.
    pub(super) presence: Option<PresenceTail>,
    /// The chunk that a member took last. Its neighbours usually take the same one.
    pub(super) shared_chunk: Option<Chunk>,
    /// Pages that were requested and have not arrived.
    requested_pages: Vec<Range>,
    /// Whether a tail was requested and has not arrived.
    awaits_tail: bool,
    /// Whether the room is in [`Hub::pending_rooms`].
    is_pending: bool,
    /// Earliest time of the next fan-out, as time since the worker started.
    next_fanout: Duration,
}

impl Hub {
    /// Returns the number of rooms to which the connection is subscribed.
    pub(crate) fn room_count(&mut self, key: ConnectionKey) -> usize {
        self.connection(key).map_or(0, |connection| connection.subscriptions.len())
    }

    /// Returns the rooms to which the connection is subscribed, or about to be.
    pub(crate) fn rooms_of(&mut self, key: ConnectionKey) -> Vec<Room> {
        let Some(connection) = self.connection(key) else { return Vec::new() };
        let indices: Vec<usize> = connection.subscriptions.iter().map(RoomSubscription::room).collect();
        indices.into_iter().map(|index| self.rooms[index].room.clone()).collect()
    }

    /// Returns whether the connection is subscribed to the room, or about to be.
    pub(crate) fn is_member(&mut self, key: ConnectionKey, room: &Room) -> bool {
        let Some(&index) = self.rooms_by_name.get(room) else { return false };
        self.connection(key).is_some_and(|connection| connection.subscription(index).is_some())
    }

    /// Subscribes the connection, or restarts its subscription. `joined`, with the read mark `seen`, is sent once the room's
    /// log can be read.
    pub(crate) fn join(&mut self, key: ConnectionKey, room: &Room, from: JoinFrom, seen: Option<Position>) {
        if self.connection(key).is_none() {
            return;
        }
        let index = self.follow(room);
        let Some(connection) = self.connection(key) else { return };
        let new = RoomSubscription::new(index, Cursor::new(from), seen);
        match connection.subscription(index) {
            Some(subscription) => *subscription = new,
            None => {
                connection.subscriptions.push(new);
                let user = connection.identity.member();
                self.rooms[index].members.push(key.slot);
                self.requests.push_back(HubRequest::Joined(room.clone(), user));
            }
        }
        self.settle(index, key.slot);
    }

    /// Unsubscribes the connection. `left` is the last frame of the room.
    pub(crate) fn leave(&mut self, key: ConnectionKey, room: &Room) {
        let now = self.now;
        let index = self.rooms_by_name.get(room).copied();
        let Some(connection) = self.connection(key) else { return };
        let before = connection.subscriptions.len();
        connection.subscriptions.retain(|subscription| Some(subscription.room()) != index);
        let was_member = connection.subscriptions.len() < before;
        connection.send(&Event::Left { room: room.clone() }, now);
        let user = connection.identity.member();
        if let (true, Some(index)) = (was_member, index) {
            self.remove_member(index, key.slot, user);
        }
    }

    /// Sends `sent` to the connection whose message was appended at `pos`. If the message itself will be delivered to it soon,
    /// both share a write; if the delivery is lost, `sent` is written with the next [`tick`](Self::tick), 250 ms later at most.
    pub(crate) fn acknowledge(&mut self, key: ConnectionKey, room: &Room, pos: Position, sent: &Event) {
        let now = self.now;
        let index = self.rooms_by_name.get(room).copied();
        // The members of a large room may wait for a pause to end.
        let index = index.filter(|&index| self.rooms[index].fanout_time() < MIN_PACED_FANOUT);
        let Some(connection) = self.connection(key) else { return };
        let subscription = index.and_then(|index| connection.subscription(index));
        if !subscription.is_some_and(|subscription| subscription.cursor.is_before(pos))
            || !connection.send_with_next_message(sent)
        {
            connection.send(sent, now);
        } else if !std::mem::replace(&mut connection.is_deferred, true) {
            self.deferred.push(key.slot);
        }
    }

    /// Takes an event of the reader. Members are handed what is new with the next [`flush`](Self::flush).
    pub(crate) fn receive(&mut self, event: HubEvent) {
        match event {
            HubEvent::Tail(room, mut tail) => {
                let Some(&index) = self.rooms_by_name.get(&room) else { return };
                for deleted in tail.deletes() {
                    self.delete(index, deleted);
                }
                let room = &mut self.rooms[index];
                tail.redact(&room.deletions);
                room.tail = Some(tail);
                room.awaits_tail = false;
                for slot in room.members.clone() {
                    self.settle(index, slot);
                }
            }
            HubEvent::Frames(name, frames) => {
                let Some(&index) = self.rooms_by_name.get(&name) else { return };
                for deleted in frames.iter().filter_map(|frame| frame.deletes.as_deref()) {
                    self.delete(index, *deleted);
                }
                let room = &mut self.rooms[index];
                let Some(tail) = &mut room.tail else { return };
                let mut has_news = false;
                for frame in frames.iter() {
                    let mut frame = frame.clone();
                    room.deletions.redact(&mut frame);
                    match tail.append(frame) {
                        Append::Duplicate => {}
                        Append::Appended => has_news = true,
                        Append::Gap if room.awaits_tail => {}
                        Append::Gap => {
                            room.awaits_tail = true;
                            self.requests.push_back(HubRequest::Follow(name.clone()));
                        }
                    }
                }
                if has_news {
                    self.mark_pending(index);
                }
            }
            HubEvent::Page(room, page) => self.receive_page(&room, page),
            // What else holds `applied` are other workers.
            HubEvent::Deleted(room, position, _applied) => {
                if let Some(&index) = self.rooms_by_name.get(&room) {
                    self.delete(index, position);
                }
            }
            HubEvent::Seen { room, user, except, frame } => {
                let Some(&index) = self.rooms_by_name.get(&room) else { return };
                for &slot in &self.rooms[index].members {
                    let Some((serial, connection)) = self.connections.get_mut(slot as usize) else { continue };
                    let key = ConnectionKey { slot, serial: *serial };
                    if *connection.identity.user() == user && Some(key) != except {
                        connection.send_ephemeral(&frame, self.now);
                    }
                }
            }
            HubEvent::Evict(key) => {
                self.close(key, CloseCode::TooManySockets, "too many sockets of this user; the oldest is closed");
            }
            HubEvent::Disconnect(user) => self.end_user(&user),
            HubEvent::Presence { room, state, diff } => {
                let Some(&index) = self.rooms_by_name.get(&room) else { return };
                let room = &mut self.rooms[index];
                room.presence = Some(PresenceTail::following(room.presence.as_ref(), state, diff));
                self.mark_pending(index);
            }
            HubEvent::Ephemeral(room, frame) => {
                let Some(&index) = self.rooms_by_name.get(&room) else { return };
                for &slot in &self.rooms[index].members {
                    if let Some((_, connection)) = self.connections.get_mut(slot as usize) {
                        connection.send_ephemeral(&frame, self.now);
                    }
                }
            }
        }
    }

    /// Removes every copy of the text at `position`.
    fn delete(&mut self, index: usize, position: Position) {
        let room = &mut self.rooms[index];
        if !room.deletions.record(position) {
            return;
        }
        room.shared_chunk = None;
        if let Some(tail) = &mut room.tail {
            tail.redact(&room.deletions);
        }
        for &slot in &room.members {
            let Some((_, connection)) = self.connections.get_mut(slot as usize) else { continue };
            if let Some(subscription) = connection.subscription(index) {
                subscription.cursor.redact(&room.deletions);
            }
        }
    }

    fn receive_page(&mut self, name: &Room, mut page: FramePage) {
        let Some(&index) = self.rooms_by_name.get(name) else { return };
        let room = &mut self.rooms[index];
        room.deletions.redact_frames(&mut page.frames);
        room.requested_pages.retain(|range| *range != page.range);
        let Some(tail) = &room.tail else { return };
        let mut answered = Vec::new();
        let presence_due = self.now + PresenceCursor::OWN_NAME_WAIT;
        for &slot in &room.members {
            let Some((_, connection)) = self.connections.get_mut(slot as usize) else { continue };
            let Some(subscription) = connection.subscription(index) else { continue };
            if subscription.cursor.awaited_page() == Some(page.range) {
                if let Some(joined) = subscription.cursor.receive_page(&page, tail) {
                    let joined = subscription.joined_event(name, joined);
                    connection.send_joined(&joined, index, self.now);
                }
                connection.wake_writer(self.now);
                answered.push(slot);
            }
        }
        for slot in answered {
            self.schedule(slot, presence_due);
            self.settle(index, slot);
        }
    }

    /// Hands members what the events since the last call brought, as one write per connection. A large room is handed out
    /// again only after a pause; what arrives meanwhile then shares a write. After 256 members the call returns, and the next
    /// one continues. `now` is the time since the worker started.
    pub(crate) fn flush(&mut self, now: Duration) -> Flushed {
        let mut flushed = Flushed { has_woken: false, is_partial: false, next: None };
        let mut left = MEMBERS_PER_FLUSH;
        let mut pending = std::mem::take(&mut self.pending_rooms);
        pending.retain(|&index| {
            let Some(room) = self.rooms.get_mut(index) else { return false };
            let start = room.next_member;
            if start == 0 && now < room.next_fanout {
                flushed.next = Some(flushed.next.map_or(room.next_fanout, |next: Duration| next.min(room.next_fanout)));
                return true;
            }
            if left == 0 {
                flushed.is_partial = true;
                return true;
            }
            let end = room.members.len().min(start + left);
            left -= end - start;
            let is_complete = end == room.members.len();
            let duration = room.fanout_time();
            if start == 0 && duration >= MIN_PACED_FANOUT {
                room.next_fanout = now + duration + duration.min(MAX_FANOUT_PAUSE);
            }
            let had_chunk = room.shared_chunk.is_some();
            // Writing adds and removes no members.
            let members = std::mem::take(&mut room.members);
            for &slot in &members[start..end] {
                flushed.has_woken |= !self.write_room(index, slot);
            }
            let room = &mut self.rooms[index];
            room.members = members;
            room.next_member = if is_complete { 0 } else { end };
            room.is_pending = !is_complete || std::mem::take(&mut room.has_more_news);
            flushed.is_partial |= !is_complete;
            if is_complete && room.is_pending {
                flushed.next = Some(flushed.next.map_or(room.next_fanout, |next: Duration| next.min(room.next_fanout)));
            }
            if !had_chunk && room.shared_chunk.is_some() {
                self.rooms_with_chunk.push(index);
            }
            self.rooms[index].is_pending
        });
        if flushed.is_partial {
            // The others need not wait for the rest of a large room.
            pending.rotate_left(1);
        }
        self.pending_rooms = pending;
        flushed
    }

    /// Events were lost: requests again everything that they may have contained.
    pub(crate) fn events_lost(&mut self) {
        for (_, room) in &mut self.rooms {
            room.awaits_tail = true;
            self.requests.push_back(HubRequest::Follow(room.room.clone()));
            let pages = room.requested_pages.iter().map(|range| HubRequest::Page(room.room.clone(), *range));
            self.requests.extend(pages);
        }
    }

    fn mark_pending(&mut self, index: usize) {
        let room = &mut self.rooms[index];
        room.has_more_news |= room.next_member > 0;
        if !std::mem::replace(&mut room.is_pending, true) {
            self.pending_rooms.push(index);
        }
    }

    /// Returns the room's index, after requesting the room from the reader if it is new.
    fn follow(&mut self, room: &Room) -> usize {
        if let Some(&index) = self.rooms_by_name.get(room) {
            return index;
        }
        let index = self.rooms.insert(HubRoom {
            room: room.clone(),
            tail: None,
            deletions: Box::default(),
            members: Vec::new(),
            next_member: 0,
            has_more_news: false,
            presence: None,
            shared_chunk: None,
            requested_pages: Vec::new(),
            awaits_tail: true,
            is_pending: false,
            next_fanout: Duration::ZERO,
        });
        self.rooms_by_name.insert(room.clone(), index);
        self.requests.push_back(HubRequest::Follow(room.clone()));
        index
    }

    pub(super) fn remove_member(&mut self, index: usize, slot: u32, user: Member) {
        let room = &mut self.rooms[index];
        if let Some(at) = room.members.iter().position(|member| *member == slot) {
            room.members.remove(at);
            room.next_member -= usize::from(at < room.next_member);
        }
        self.requests.push_back(HubRequest::Left(room.room.clone(), user));
        if room.members.is_empty() {
            let room = self.rooms.remove(index);
            self.rooms_by_name.remove(&room.room);
            self.requests.push_back(HubRequest::Unfollow(room.room));
        }
    }

    /// Lets a cursor advance with the room's tail, answers a join that this completes, requests the page that it needs.
    fn settle(&mut self, index: usize, slot: u32) {
        let room = &mut self.rooms[index];
        let Some(tail) = &room.tail else { return };
        let Some((_, connection)) = self.connections.get_mut(slot as usize) else { return };
        let Some(subscription) = connection.subscription(index) else { return };
        let joined = subscription.cursor.settle(tail);
        self.requests.extend(room.request_page(&subscription.cursor));
        let joined = joined.map(|joined| subscription.joined_event(&room.room, joined));
        if let Some(joined) = &joined {
            connection.send_joined(joined, index, self.now);
        }
        connection.wake_writer(self.now);
        if joined.is_some() {
            self.schedule(slot, self.now + PresenceCursor::OWN_NAME_WAIT);
        }
    }
}

impl HubRoom {
    /// Estimates how long a fan-out to the members takes.
    fn fanout_time(&self) -> Duration {
        FANOUT_TIME_PER_MEMBER.saturating_mul(u32::try_from(self.members.len()).unwrap_or(u32::MAX))
    }

    /// Returns the request for the page that the cursor waits for, once for all cursors that wait for it.
    pub(super) fn request_page(&mut self, cursor: &Cursor) -> Option<HubRequest> {
        let range = cursor.awaited_page().filter(|range| !self.requested_pages.contains(range))?;
        self.requested_pages.push(range);
        Some(HubRequest::Page(self.room.clone(), range))
    }
}

impl RoomSubscription {
    /// Returns `joined`. The read mark is in the first one only.
    pub(super) fn joined_event(&mut self, room: &Room, Joined { resumed, head }: Joined) -> Event {
        Event::Joined { room: room.clone(), resumed, head, seen: self.seen.take().map(|seen| *seen) }
    }
}
