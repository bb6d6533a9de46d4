//! The rooms of a hub: their members, and the events that the reader sends about them.

use trunkline_bus::Range;
use trunkline_domain::{CloseCode, Event, JoinFrom, Room, UserName};

use super::{
    super::{
        connection::RoomSubscription,
        cursor::{Cursor, Joined},
        messages::{HubEvent, HubRequest},
        tail::{Append, Chunk, FramePage, Tail},
    },
    Hub,
};
use crate::{
    ids::ConnectionKey,
    presence::{PresenceCursor, PresenceTail},
};

/// A room with members on this worker.
#[derive(Debug)]
pub(super) struct HubRoom {
    room: Room,
    /// `None` until the reader sent it.
    pub(super) tail: Option<Tail>,
    /// The slots of the members' connections. Serials are not needed: a connection leaves its rooms before its slot is used
    /// again.
    members: Vec<u32>,
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
}

impl Hub {
    /// Returns the number of rooms to which the connection is subscribed.
    pub(crate) fn room_count(&mut self, key: ConnectionKey) -> usize {
        self.connection(key).map_or(0, |connection| connection.subscriptions.len())
    }

    /// Returns whether the connection is subscribed to the room, or about to be.
    pub(crate) fn is_member(&mut self, key: ConnectionKey, room: &Room) -> bool {
        let Some(&index) = self.rooms_by_name.get(room) else { return false };
        self.connection(key).is_some_and(|connection| connection.subscription(index).is_some())
    }

    /// Subscribes the connection, or restarts its subscription. `joined` is sent once the room's log can be read.
    pub(crate) fn join(&mut self, key: ConnectionKey, room: &Room, from: JoinFrom) {
        if self.connection(key).is_none() {
            return;
        }
        let index = self.follow(room);
        let Some(connection) = self.connection(key) else { return };
        let cursor = Cursor::new(from);
        match connection.subscription(index) {
            Some(subscription) => {
                (subscription.cursor, subscription.presence) = (cursor, PresenceCursor::BeforeJoined);
            }
            None => {
                // Most connections stay in one room. From there on the vector doubles.
                connection.subscriptions.reserve_exact(1);
                let presence = PresenceCursor::BeforeJoined;
                connection.subscriptions.push(RoomSubscription { room: index, cursor, presence });
                let user = connection.identity.user.clone();
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
        connection.subscriptions.retain(|subscription| Some(subscription.room) != index);
        let was_member = connection.subscriptions.len() < before;
        connection.send(&Event::Left { room: room.clone() }, now);
        let user = connection.identity.user.clone();
        if let (true, Some(index)) = (was_member, index) {
            self.remove_member(index, key.slot, user);
        }
    }

    /// Takes an event of the reader. Members are handed what is new with the next [`flush`](Self::flush).
    pub(crate) fn receive(&mut self, event: HubEvent) {
        match event {
            HubEvent::Tail(room, tail) => {
                let Some(&index) = self.rooms_by_name.get(&room) else { return };
                let room = &mut self.rooms[index];
                room.tail = Some(tail);
                room.awaits_tail = false;
                for slot in room.members.clone() {
                    self.settle(index, slot);
                }
            }
            HubEvent::Frames(name, frames) => {
                let Some(&index) = self.rooms_by_name.get(&name) else { return };
                let room = &mut self.rooms[index];
                let Some(tail) = &mut room.tail else { return };
                let mut has_news = false;
                for frame in frames.iter() {
                    match tail.append(frame.clone()) {
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
            HubEvent::Page(room, page) => self.receive_page(&room, &page),
            HubEvent::Evict(key) => {
                self.close(key, CloseCode::TooManySockets, "too many sockets of this user; the oldest is closed");
            }
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

    fn receive_page(&mut self, name: &Room, page: &FramePage) {
        let Some(&index) = self.rooms_by_name.get(name) else { return };
        let room = &mut self.rooms[index];
        room.requested_pages.retain(|range| *range != page.range);
        let Some(tail) = &room.tail else { return };
        let mut answered = Vec::new();
        for &slot in &room.members {
            let Some((_, connection)) = self.connections.get_mut(slot as usize) else { continue };
            let Some(subscription) = connection.subscription(index) else { continue };
            if subscription.cursor.awaited_page() == Some(page.range) {
                if let Some(joined) = subscription.cursor.receive_page(page, tail) {
                    connection.send_joined(&joined_event(name, joined), index, self.now);
                }
                connection.wake_writer(self.now);
                answered.push(slot);
            }
        }
        for slot in answered {
            self.settle(index, slot);
        }
    }

    /// Hands members what the events since the last call brought, as one write per connection. Returns whether some of it is
    /// left to the connections' own tasks.
    pub(crate) fn flush(&mut self) -> bool {
        let mut has_woken = false;
        for index in std::mem::take(&mut self.pending_rooms) {
            let Some(room) = self.rooms.get_mut(index) else { continue };
            room.is_pending = false;
            // Writing adds and removes no members.
            let members = std::mem::take(&mut room.members);
            for &slot in &members {
                let Some(&(serial, _)) = self.connections.get(slot as usize) else { continue };
                has_woken |= !self.write(ConnectionKey { slot, serial });
            }
            self.rooms[index].members = members;
        }
        has_woken
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
        if !std::mem::replace(&mut self.rooms[index].is_pending, true) {
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
            members: Vec::new(),
            presence: None,
            shared_chunk: None,
            requested_pages: Vec::new(),
            awaits_tail: true,
            is_pending: false,
        });
        self.rooms_by_name.insert(room.clone(), index);
        self.requests.push_back(HubRequest::Follow(room.clone()));
        index
    }

    pub(super) fn remove_member(&mut self, index: usize, slot: u32, user: UserName) {
        let room = &mut self.rooms[index];
        room.members.retain(|member| *member != slot);
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
        if let Some(joined) = joined {
            connection.send_joined(&joined_event(&room.room, joined), index, self.now);
        }
        connection.wake_writer(self.now);
    }
}

impl HubRoom {
    /// Returns the request for the page that the cursor waits for, once for all cursors that wait for it.
    pub(super) fn request_page(&mut self, cursor: &Cursor) -> Option<HubRequest> {
        let range = cursor.awaited_page().filter(|range| !self.requested_pages.contains(range))?;
        self.requested_pages.push(range);
        Some(HubRequest::Page(self.room.clone(), range))
    }
}

fn joined_event(room: &Room, Joined { resumed, head }: Joined) -> Event {
    Event::Joined { room: room.clone(), resumed, head }
}
