//! Rooms, cursors and sockets of one worker thread. Synchronous: it never waits and takes no lock.

use std::{
    collections::HashMap,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use slab::Slab;
use trunkline_bus::Range;
use trunkline_domain::{CloseCode, Event, JoinFrom, Room, UserName};
use trunkline_session::Sid;

use super::{
    Append, Ask, Chunk, FramePage, Here, Mail, Tail, Vitals,
    cursor::{Cursor, Joined},
    peer::{Peer, Subscription, Told},
    vitals::{Due, Tick},
};

/// Most bytes handed to a socket at once.
const BUDGET: usize = 64 << 10;

/// Names a socket of this worker as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    slot: usize,
    /// Which of the sockets that had this slot.
    serial: u64,
}

impl Key {
    /// How many sockets the worker had opened before and with this one.
    pub(crate) fn serial(self) -> u64 {
        self.serial
    }
}

/// The state of one worker thread.
#[derive(Debug)]
pub(crate) struct Hub {
    rooms: Slab<Served>,
    index: HashMap<Room, usize>,
    peers: Slab<(u64, Peer)>,
    opened: u64,
    now: Tick,
    asks: Vec<Ask>,
    /// Rooms with frames that their members were not yet woken for.
    grown: Vec<usize>,
    ping_interval: Duration,
    /// Messages handed to sockets since somebody asked.
    delivered: u64,
}

/// A room with members on this worker.
#[derive(Debug)]
struct Served {
    room: Room,
    /// `None` until the feed sent it.
    tail: Option<Tail>,
    members: Vec<Key>,
    /// Users among them, and with how many sockets.
    users: HashMap<UserName, usize>,
    /// Who is in the room, everywhere; `None` until the feed said so.
    here: Option<Here>,
    /// The chunk that the last member took: its neighbours mostly take the same.
    shared: Option<Chunk>,
    /// Pages that were asked for and have not come.
    asked: Vec<Range>,
    /// Whether a tail was asked for and has not come.
    awaits_tail: bool,
    /// Whether frames came since the members were woken.
    grew: bool,
}

/// What a socket is to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// These bytes.
    Bytes(Bytes),
    /// Nothing more, ever: end the connection.
    End,
}

/// Who opened a socket.
#[derive(Clone, Debug)]
pub(crate) struct Newcomer {
    /// The name that the session holds.
    pub(crate) user: UserName,
    /// The session.
    pub(crate) sid: Sid,
}

impl Hub {
    /// A hub without rooms and sockets.
    pub(crate) fn new(ping_interval: Duration) -> Self {
        Self {
            rooms: Slab::new(),
            index: HashMap::new(),
            peers: Slab::new(),
            opened: 0,
            now: Duration::ZERO,
            asks: Vec::new(),
            grown: Vec::new(),
            ping_interval,
            delivered: 0,
        }
    }

    /// What the feed is to be asked, since the last call.
    pub(crate) fn take_asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// How many messages were handed to sockets, since the last call.
    pub(crate) fn take_delivered(&mut self) -> u64 {
        std::mem::take(&mut self.delivered)
    }

    // Sockets

    /// A socket opened. `welcome` is its first frame.
    pub(crate) fn open(&mut self, newcomer: Newcomer, welcome: &Event) -> Key {
        self.opened += 1;
        let vitals = Vitals::new(self.now + jittered(self.ping_interval));
        let mut peer = Peer::new(newcomer.user, newcomer.sid, vitals, self.now + recheck_delay());
        peer.tell(welcome, self.now);
        Key { serial: self.opened, slot: self.peers.insert((self.opened, peer)) }
    }

    /// A socket is gone. Answers the code that it was closed with, if it was told one.
    pub(crate) fn forget(&mut self, key: Key) -> Option<u16> {
        self.peer(key)?;
        let (_, peer) = self.peers.remove(key.slot);
        for subscription in &peer.subscriptions {
            self.lose_member(subscription.room, key, &peer.user);
        }
        peer.closed()
    }

    /// Any frame came from the socket.
    pub(crate) fn heard(&mut self, key: Key) {
        if let Some(peer) = self.peer(key) {
            peer.vitals.heard();
        }
    }

    /// Writes a frame to this socket alone.
    pub(crate) fn tell(&mut self, key: Key, event: &Event) {
        let now = self.now;
        if let Some(peer) = self.peer(key) {
            peer.tell(event, now);
        }
    }

    /// Answers a WebSocket ping.
    pub(crate) fn pong(&mut self, key: Key, payload: &[u8]) {
        let now = self.now;
        if let Some(peer) = self.peer(key) {
            peer.pong(payload, now);
        }
    }

    /// Closes a socket.
    pub(crate) fn close(&mut self, key: Key, code: CloseCode, reason: &str) {
        let now = self.now;
        if let Some(peer) = self.peer(key) {
            peer.close(Some(code.code()), reason, now);
        }
    }

    /// Answers the client's close with its own code (RFC 6455 section 5.5.1).
    pub(crate) fn echo_close(&mut self, key: Key, code: Option<u16>) {
        let now = self.now;
        if let Some(peer) = self.peer(key) {
            peer.close(code, "", now);
        }
    }

    /// The connection broke: ends it without a close frame.
    pub(crate) fn hang_up(&mut self, key: Key) {
        let now = self.now;
        if let Some(peer) = self.peer(key) {
            peer.hang_up(now);
        }
    }

    /// Closes every socket of a session: 4401.
    pub(crate) fn end_session(&mut self, sid: &Sid) {
        let now = self.now;
        for (_, (_, peer)) in self.peers.iter_mut().filter(|(_, (_, peer))| peer.sid == *sid) {
            peer.close(Some(CloseCode::SessionEnded.code()), "the session ended", now);
        }
    }

    /// The sessions of all sockets, for a check of them all.
    pub(crate) fn sessions(&self) -> Vec<Sid> {
        let mut sids: Vec<Sid> = self.peers.iter().map(|(_, (_, peer))| peer.sid).collect();
        sids.sort_unstable();
        sids.dedup();
        sids
    }

    /// Whether so much waits to be written that no further command is to be carried out.
    pub(crate) fn is_saturated(&mut self, key: Key) -> bool {
        self.peer(key).is_none_or(|peer| peer.is_saturated())
    }

    /// Ready when the socket's commands may be read; `Err` when it is closing and nothing more is to be read.
    pub(crate) fn poll_readable(&mut self, key: Key, cx: &Context<'_>) -> Poll<Result<(), ()>> {
        match self.peer(key) {
            Some(peer) if peer.is_open() => {
                peer.park_reader(cx.waker());
                if peer.is_saturated() { Poll::Pending } else { Poll::Ready(Ok(())) }
            }
            _ => Poll::Ready(Err(())),
        }
    }

    /// Whether the connection was given up.
    pub(crate) fn is_gone(&mut self, key: Key) -> bool {
        self.peer(key).is_none_or(|peer| peer.is_gone())
    }

    /// The socket takes no bytes for now; woken when it is given up.
    pub(crate) fn stall(&mut self, key: Key, cx: &Context<'_>) {
        let now = self.now;
        if let Some(peer) = self.peer(key) {
            peer.vitals.offered(now);
            peer.park_writer(cx.waker());
        }
    }

    /// What the socket is to write next: first what is for it alone, then its rooms in turn.
    pub(crate) fn poll_take(&mut self, key: Key, cx: &Context<'_>) -> Poll<Taken> {
        let Some((_, peer)) = self.peers.get_mut(key.slot).filter(|(serial, _)| *serial == key.serial) else {
            return Poll::Ready(Taken::End);
        };
        if let Some(bytes) = peer.take_control() {
            peer.vitals.took();
            return Poll::Ready(Taken::Bytes(bytes));
        }
        if peer.has_ended() {
            return Poll::Ready(Taken::End);
        }
        for step in 0..peer.subscriptions.len() {
            let turn = (peer.turn + step) % peer.subscriptions.len();
            let subscription = &mut peer.subscriptions[turn];
            let served = &mut self.rooms[subscription.room];
            let Some(tail) = &served.tail else { continue };
            let chunk = subscription.cursor.take(tail, &mut served.shared, BUDGET);
            served.ask_for(&subscription.cursor, &mut self.asks);
            if let Some(chunk) = chunk {
                peer.turn = turn + 1;
                peer.vitals.took();
                self.delivered += chunk.frames as u64;
                return Poll::Ready(Taken::Bytes(chunk.bytes));
            }
        }
        peer.vitals.took();
        peer.park_writer(cx.waker());
        Poll::Pending
    }

    // Subscriptions

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
                peer.subscriptions.push(Subscription { room: index, cursor, presence: Told::TooEarly });
                let user = peer.user.clone();
                let served = &mut self.rooms[index];
                served.members.push(key);
                let sockets = served.users.entry(user.clone()).or_default();
                *sockets += 1;
                if *sockets == 1 {
                    self.asks.push(Ask::Came(room.clone(), user));
                }
            }
        }
        self.settle(index, key);
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
            self.lose_member(index, key, &user);
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
                for key in served.members.clone() {
                    self.settle(index, key);
                }
            }
            Mail::Frames(room, frames) => {
                let Some(&index) = self.index.get(&room) else { return };
                let served = &mut self.rooms[index];
                let Some(tail) = &mut served.tail else { return };
                for frame in frames.iter() {
                    match tail.append(frame.clone()) {
                        Append::Duplicate => {}
                        Append::Appended if served.grew => {}
                        Append::Appended => {
                            served.grew = true;
                            self.grown.push(index);
                        }
                        Append::Gap if served.awaits_tail => {}
                        Append::Gap => {
                            served.awaits_tail = true;
                            self.asks.push(Ask::Serve(room.clone()));
                        }
                    }
                }
            }
            Mail::Page(room, page) => self.receive_page(&room, &page),
            Mail::Evict(key) => {
                self.close(key, CloseCode::TooManySockets, "too many sockets of this user; the oldest is closed");
            }
            Mail::Presence { room, here, change } => self.receive_presence(&room, here, change.as_ref()),
            Mail::Whisper(room, bytes) => {
                let Some(&index) = self.index.get(&room) else { return };
                for key in &self.rooms[index].members {
                    if let Some((_, peer)) = self.peers.get_mut(key.slot) {
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
        for &key in &served.members {
            let Some((_, peer)) = self.peers.get_mut(key.slot) else { continue };
            let Some(subscription) = peer.subscriptions.iter_mut().find(|one| one.room == index) else { continue };
            if subscription.cursor.awaits() == Some(page.range) {
                if let Some(joined) = subscription.cursor.page(page, tail) {
                    peer.tell_joined(&joined_event(room, joined), index, served.here.as_ref(), self.now);
                }
                peer.wake_writer(self.now);
                answered.push(key);
            }
        }
        for key in answered {
            self.settle(index, key);
        }
    }

    /// Tells the members who came and went; whoever does not know the state of before, or cannot take the change, gets
    /// the whole of it as soon as possible.
    fn receive_presence(&mut self, room: &Room, here: Here, change: Option<&Bytes>) {
        let Some(&index) = self.index.get(room) else { return };
        let served = &mut self.rooms[index];
        for key in &served.members {
            let Some((_, peer)) = self.peers.get_mut(key.slot) else { continue };
            let Some(place) = peer.subscriptions.iter().position(|one| one.room == index) else { continue };
            let knew_all = peer.subscriptions[place].presence == Told::All;
            if knew_all && !change.is_some_and(|change| peer.mention(change, self.now)) {
                peer.subscriptions[place].presence = Told::Due(self.now);
            }
            peer.tell_presence(place, &here, self.now);
        }
        served.here = Some(here);
    }

    /// Wakes every socket that has something new to take; called once for a whole batch of mail.
    pub(crate) fn flush(&mut self) {
        for index in std::mem::take(&mut self.grown) {
            let Some(served) = self.rooms.get_mut(index) else { continue };
            served.grew = false;
            for key in &served.members {
                if let Some((_, peer)) = self.peers.get_mut(key.slot) {
                    peer.wake_writer(self.now);
                }
            }
        }
    }

    /// Mail was lost on the way: everything that may have been in it is asked for again.
    pub(crate) fn lagged(&mut self) {
        for (_, served) in &mut self.rooms {
            served.awaits_tail = true;
            self.asks.push(Ask::Serve(served.room.clone()));
            self.asks.extend(served.asked.iter().map(|range| Ask::Page(served.room.clone(), *range)));
        }
    }

    // Time

    /// Moves the clock: pings go out, silent sockets and those whose time to leave has come are closed. Returns the
    /// sessions that are due for a look.
    pub(crate) fn tick(&mut self, now: Tick) -> Vec<Sid> {
        self.now = now;
        let mut due = Vec::new();
        for (_, (_, peer)) in &mut self.peers {
            match peer.vitals.due(now, now + jittered(self.ping_interval)) {
                Due::Nothing => {}
                Due::Ping => peer.tell(&Event::Ping, now),
                Due::Close => peer.close(Some(CloseCode::Unresponsive.code()), "no sign of life", now),
                Due::Abort => peer.hang_up(now),
            }
            if peer.leave.is_some_and(|leave| now >= leave) {
                peer.close(Some(CloseCode::Restart.code()), "this instance restarts", now);
            }
            for place in 0..peer.subscriptions.len() {
                if let Some(here) = &self.rooms[peer.subscriptions[place].room].here {
                    peer.tell_presence(place, here, now);
                }
            }
            if now >= peer.recheck {
                peer.recheck = now + recheck_delay();
                due.push(peer.sid);
            }
        }
        for (_, served) in &mut self.rooms {
            served.shared = None;
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    /// Tells every socket that this instance goes away, each with a time of its own inside `window`, and closes what is
    /// still there `grace` after that time.
    pub(crate) fn drain(&mut self, window: Duration, grace: Duration) {
        for (_, (_, peer)) in &mut self.peers {
            let after = window.mul_f64(rand::random::<f64>());
            let closing = Event::Closing { reason: "drain".to_owned(), reconnect_after_ms: millis(after) };
            peer.tell(&closing, self.now);
            peer.leave = Some(self.now + after + grace);
        }
    }

    // Inside

    fn peer(&mut self, key: Key) -> Option<&mut Peer> {
        self.peers.get_mut(key.slot).filter(|(serial, _)| *serial == key.serial).map(|(_, peer)| peer)
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
            users: HashMap::new(),
            here: None,
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

    fn lose_member(&mut self, index: usize, key: Key, user: &UserName) {
        let served = &mut self.rooms[index];
        served.members.retain(|member| *member != key);
        if let Some(sockets) = served.users.get_mut(user) {
            *sockets -= 1;
            if *sockets == 0 {
                served.users.remove(user);
                self.asks.push(Ask::Went(served.room.clone(), user.clone()));
            }
        }
        if served.members.is_empty() {
            let served = self.rooms.remove(index);
            self.index.remove(&served.room);
            self.asks.push(Ask::Unserve(served.room));
        }
    }

    /// Lets a cursor go on with what its room's tail holds, answers a join that this decides, asks for what it needs.
    fn settle(&mut self, index: usize, key: Key) {
        let served = &mut self.rooms[index];
        let Some(tail) = &served.tail else { return };
        let Some((_, peer)) = self.peers.get_mut(key.slot) else { return };
        let Some(subscription) = peer.subscriptions.iter_mut().find(|one| one.room == index) else { return };
        let joined = subscription.cursor.settle(tail);
        served.ask_for(&subscription.cursor, &mut self.asks);
        if let Some(joined) = joined {
            peer.tell_joined(&joined_event(&served.room, joined), index, served.here.as_ref(), self.now);
        }
        peer.wake_writer(self.now);
    }
}

impl Served {
    /// Asks for the page that the cursor waits for, once for all that wait for it.
    fn ask_for(&mut self, cursor: &Cursor, asks: &mut Vec<Ask>) {
        if let Some(range) = cursor.awaits().filter(|range| !self.asked.contains(range)) {
            self.asked.push(range);
            asks.push(Ask::Page(self.room.clone(), range));
        }
    }
}

fn joined_event(room: &Room, Joined { resumed, head }: Joined) -> Event {
    Event::Joined { room: room.clone(), resumed, head }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Between 0.9 and 1 of `interval`, so that pings of sockets that opened together drift apart.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.9..=1.0))
}

/// Sessions of open sockets are looked up every 45 to 60 seconds.
fn recheck_delay() -> Duration {
    Duration::from_secs_f64(rand::random_range(45.0..=60.0))
}
