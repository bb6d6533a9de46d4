//! Rooms of a hub: who follows them from where, and what the feed sends of them.

use trunkline_bus::Range;
use trunkline_domain::{CloseCode, Event, JoinFrom, Room, UserName};

use super::{
    super::{
        Append, Ask, Chunk, FramePage, Mail, Tail,
        cursor::{Cursor, Joined},
        peer::{PresenceTracker, Subscription, Told},
    },
    Hub, Key,
};

/// A room with members on this worker.
#[derive(Debug)]
pub(super) struct Served {
    room: Room,
    /// `None` until the feed sent it.
    pub(super) tail: Option<Tail>,
    /// The slots of its sockets. No serials: a socket leaves its rooms before another gets its slot.
    members: Vec<u32>,
    /// Who is in the room, everywhere; `None` until the feed said so.
    pub(super) attendance: Option<PresenceTracker>,
    /// The chunk that the last member took: its neighbours mostly take the same.
    pub(super) shared: Option<Chunk>,
    /// Pages that were asked for and have not come.
    asked: Vec<Range>,
    /// Whether a tail was asked for and has not come.
    awaits_tail: bool,
    /// Whether something came since the members were woken.
    grew: bool,
}

impl Hub {
    /// How many rooms the socket is in.
    pub(crate) fn rooms_of(&mut self, key: Key) -> usize {
        self.peer(key).map_or(0, |peer| peer.subscriptions.len())
    }

    /// Whether the socket is in the room, or about to be.
    pub(crate) fn is_member(&mut self, key: Key, room: &Room) -> bool {
        let index = self.index.get(room).copied();
        self.peer(key).is_some_and(|peer| peer.subscriptions.iter().any(|one| Some(one.room) == index))
    }

    /// Subscribes the socket, or subscribes it anew; `joined` follows as soon as the room can be read.
    pub(crate) fn join(&mut self, key: Key, room: &Room, from: JoinFrom) {
        if self.peer(key).is_none() {
            return;
        }
        let index = self.serve(room);
        let Some(peer) = self.peer(key) else { return };
        let cursor = Cursor::new(from);
        match peer.subscriptions.iter_mut().find(|one| one.room == index) {
            Some(subscription) => (subscription.cursor, subscription.presence) = (cursor, Told::TooEarly),
            None => {
                // Most sockets stay in one room; doubling from there is soon enough.
                peer.subscriptions.reserve_exact(1);
                peer.subscriptions.push(Subscription { room: index, cursor, presence: Told::TooEarly });
                let user = peer.user.clone();
                self.rooms[index].members.push(key.slot);
                self.asks.push(Ask::Came(room.clone(), user));
            }
        }
        self.settle(index, key.slot);
    }

    /// Unsubscribes the socket; `left` is the room's last frame.
    pub(crate) fn leave(&mut self, key: Key, room: &Room) {
        let now = self.now;
        let index = self.index.get(room).copied();
        let Some(peer) = self.peer(key) else { return };
        let before = peer.subscriptions.len();
        peer.subscriptions.retain(|subscription| Some(subscription.room) != index);
        let was_member = peer.subscriptions.len() < before;
        peer.tell(&Event::Left { room: room.clone() }, now);
        let user = peer.user.clone();
        if let (true, Some(index)) = (was_member, index) {
            self.lose_member(index, key.slot, user);
        }
    }

    // Mail from the feed

    /// Takes what the feed sent.
    pub(crate) fn receive(&mut self, mail: Mail) {
        match mail {
            Mail::Tail(room, tail) => {
                let Some(&index) = self.index.get(&room) else { return };
                let served = &mut self.rooms[index];
                served.tail = Some(tail);
                served.awaits_tail = false;
                for slot in served.members.clone() {
                    self.settle(index, slot);
                }
            }
            Mail::Frames(room, frames) => {
                let Some(&index) = self.index.get(&room) else { return };
                let served = &mut self.rooms[index];
                let Some(tail) = &mut served.tail else { return };
                let mut grew = false;
                for frame in frames.iter() {
                    match tail.append(frame.clone()) {
                        Append::Duplicate => {}
                        Append::Appended => grew = true,
                        Append::Gap if served.awaits_tail => {}
                        Append::Gap => {
                            served.awaits_tail = true;
                            self.asks.push(Ask::Serve(room.clone()));
                        }
                    }
                }
                if grew {
                    self.grow(index);
                }
            }
            Mail::Page(room, page) => self.receive_page(&room, &page),
            Mail::Evict(key) => {
                self.close(key, CloseCode::TooManySockets, "too many sockets of this user; the oldest is closed");
            }
            Mail::Presence { room, here, change } => {
                let Some(&index) = self.index.get(&room) else { return };
                let served = &mut self.rooms[index];
                served.attendance = Some(PresenceTracker::after(served.attendance.as_ref(), here, change));
                self.grow(index);
            }
            Mail::Whisper(room, bytes) => {
                let Some(&index) = self.index.get(&room) else { return };
                for &slot in &self.rooms[index].members {
                    if let Some((_, peer)) = self.peers.get_mut(slot as usize) {
                        peer.mention(&bytes, self.now);
                    }
                }
            }
        }
    }

    fn receive_page(&mut self, room: &Room, page: &FramePage) {
        let Some(&index) = self.index.get(room) else { return };
        let served = &mut self.rooms[index];
        served.asked.retain(|range| *range != page.range);
        let Some(tail) = &served.tail else { return };
        let mut answered = Vec::new();
        for &slot in &served.members {
            let Some((_, peer)) = self.peers.get_mut(slot as usize) else { continue };
            let Some(subscription) = peer.subscriptions.iter_mut().find(|one| one.room == index) else { continue };
            if subscription.cursor.awaits() == Some(page.range) {
                if let Some(joined) = subscription.cursor.page(page, tail) {
                    peer.tell_joined(&joined_event(room, joined), index, self.now);
                }
                peer.wake_writer(self.now);
                answered.push(slot);
            }
        }
        for slot in answered {
            self.settle(index, slot);
        }
    }

    /// Hands every socket what is new for it; called once for a whole batch of mail. Answers whether some of it is left to
    /// the sockets' own tasks.
    pub(crate) fn flush(&mut self) -> bool {
        let mut woken = false;
        for index in std::mem::take(&mut self.grown) {
            let Some(served) = self.rooms.get_mut(index) else { continue };
            served.grew = false;
            // Nobody joins or leaves meanwhile.
            let members = std::mem::take(&mut served.members);
            for &slot in &members {
                let Some(&(serial, _)) = self.peers.get(slot as usize) else { continue };
                woken |= !self.write(Key { slot, serial });
            }
            self.rooms[index].members = members;
        }
        woken
    }

    /// Mail was lost on the way: everything that may have been in it is asked for again.
    pub(crate) fn lagged(&mut self) {
        for (_, served) in &mut self.rooms {
            served.awaits_tail = true;
            self.asks.push(Ask::Serve(served.room.clone()));
            self.asks.extend(served.asked.iter().map(|range| Ask::Page(served.room.clone(), *range)));
        }
    }

    // Inside

    /// There is something for the members of the room: they are woken with the next flush.
    fn grow(&mut self, index: usize) {
        if !std::mem::replace(&mut self.rooms[index].grew, true) {
            self.grown.push(index);
        }
    }

    /// The index of the room, which the feed serves from now on.
    fn serve(&mut self, room: &Room) -> usize {
        if let Some(&index) = self.index.get(room) {
            return index;
        }
        let served = Served {
            room: room.clone(),
            tail: None,
            members: Vec::new(),
            attendance: None,
            shared: None,
            asked: Vec::new(),
            awaits_tail: true,
            grew: false,
        };
        let index = self.rooms.insert(served);
        self.index.insert(room.clone(), index);
        self.asks.push(Ask::Serve(room.clone()));
        index
    }

    pub(super) fn lose_member(&mut self, index: usize, slot: u32, user: UserName) {
        let served = &mut self.rooms[index];
        served.members.retain(|member| *member != slot);
        self.asks.push(Ask::Went(served.room.clone(), user));
        if served.members.is_empty() {
            let served = self.rooms.remove(index);
            self.index.remove(&served.room);
            self.asks.push(Ask::Unserve(served.room));
        }
    }

    /// Lets a cursor go on with what its room's tail holds, answers a join that this decides, asks for what it needs.
    fn settle(&mut self, index: usize, slot: u32) {
        let served = &mut self.rooms[index];
        let Some(tail) = &served.tail else { return };
        let Some((_, peer)) = self.peers.get_mut(slot as usize) else { return };
        let Some(subscription) = peer.subscriptions.iter_mut().find(|one| one.room == index) else { return };
        let joined = subscription.cursor.settle(tail);
        served.ask_for(&subscription.cursor, &mut self.asks);
        if let Some(joined) = joined {
            peer.tell_joined(&joined_event(&served.room, joined), index, self.now);
        }
        peer.wake_writer(self.now);
    }
}

impl Served {
    /// Asks for the page that the cursor waits for, once for all that wait for it.
    pub(super) fn ask_for(&mut self, cursor: &Cursor, asks: &mut Vec<Ask>) {
        if let Some(range) = cursor.awaits().filter(|range| !self.asked.contains(range)) {
            self.asked.push(range);
            asks.push(Ask::Page(self.room.clone(), range));
        }
    }
}

fn joined_event(room: &Room, Joined { resumed, head }: Joined) -> Event {
    Event::Joined { room: room.clone(), resumed, head }
}
