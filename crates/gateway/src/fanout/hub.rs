//! Sockets, rooms and cursors of one worker thread. Synchronous: it never waits and takes no lock.

mod rooms;

use std::{
    collections::HashMap,
    io,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use slab::Slab;
use trunkline_domain::{CloseCode, Event, Room, UserName, millis};
use trunkline_session::Sid;

use self::rooms::Served;
use super::{
    Ask, Vitals,
    peer::Peer,
    vitals::{Due, Tick},
};

/// Most bytes handed to a socket at once.
const BUDGET: usize = 64 << 10;
/// Most chunks written to one socket before the others of its thread get their turn.
pub(crate) const TURN: usize = 16;

/// Names a socket of this worker as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Its place among the sockets. Each is a descriptor, so that there are fewer than 2³¹.
    slot: u32,
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
    /// Rooms with something that their members were not yet woken for.
    grown: Vec<usize>,
    ping_interval: Duration,
    /// Messages handed to sockets since somebody asked.
    delivered: u64,
}

/// What a socket is to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// These bytes.
    Bytes(Bytes),
    /// Nothing more, ever: end the connection.
    End,
}

/// A connection that takes bytes without anybody waiting for it.
pub(crate) trait Outlet {
    /// Writes as much as it takes now.
    ///
    /// # Errors
    /// `WouldBlock` where that is nothing; anything else ends the socket.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
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
            now: Tick::at(Duration::ZERO),
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
        Key { serial: self.opened, slot: self.peers.insert((self.opened, peer)) as u32 }
    }

    /// A socket is gone. Answers the code that it was closed with, if it was told one.
    pub(crate) fn forget(&mut self, key: Key) -> Option<u16> {
        self.peer(key)?;
        let (_, peer) = self.peers.remove(key.slot as usize);
        for subscription in &peer.subscriptions {
            self.lose_member(subscription.room, key.slot, peer.user.clone());
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

    /// From now on the hub itself may write to the connection, whenever the socket's task waits for something to write.
    pub(crate) fn attach(&mut self, key: Key, outlet: Rc<dyn Outlet>) {
        if let Some(peer) = self.peer(key) {
            peer.attach(outlet);
        }
    }

    /// Whether the connection was given up.
    pub(crate) fn is_gone(&mut self, key: Key) -> bool {
        self.peer(key).is_none_or(|peer| peer.is_gone())
    }

    /// The socket took bytes, perhaps not all that it was offered.
    pub(crate) fn took(&mut self, key: Key) {
        if let Some(peer) = self.peer(key) {
            peer.vitals.took();
        }
    }

    /// The socket takes no bytes for now; woken when it is given up.
    pub(crate) fn stall(&mut self, key: Key, cx: &Context<'_>) {
        let now = self.now;
        if let Some(peer) = self.peer(key) {
            peer.stall_writer(cx.waker(), now);
        }
    }

    /// What the socket is to write next: first what is for it alone, then its rooms in turn.
    pub(crate) fn poll_take(&mut self, key: Key, cx: &Context<'_>) -> Poll<Taken> {
        let taken = self.take(key);
        match (taken, self.peer(key)) {
            (Some(taken), _) => Poll::Ready(taken),
            (None, Some(peer)) => {
                peer.idle_writer(cx.waker());
                Poll::Pending
            }
            (None, None) => Poll::Ready(Taken::End),
        }
    }

    fn take(&mut self, key: Key) -> Option<Taken> {
        let (_, peer) = self.peers.get_mut(key.slot as usize).filter(|(serial, _)| *serial == key.serial)?;
        peer.vitals.took();
        if let Some(bytes) = peer.take_control() {
            return Some(Taken::Bytes(bytes));
        }
        if peer.has_ended() {
            return Some(Taken::End);
        }
        for step in 0..peer.subscriptions.len() {
            let turn = (peer.turn + step) % peer.subscriptions.len();
            let served = &mut self.rooms[peer.subscriptions[turn].room];
            let attendance = served.attendance.as_ref();
            if let Some(bytes) = attendance.and_then(|attendance| peer.take_presence(turn, attendance, self.now)) {
                return Some(Taken::Bytes(bytes));
            }
            let subscription = &mut peer.subscriptions[turn];
            let Some(tail) = &served.tail else { continue };
            let chunk = subscription.cursor.take(tail, &mut served.shared, BUDGET);
            served.ask_for(&subscription.cursor, &mut self.asks);
            if let Some(chunk) = chunk {
                peer.turn = turn + 1;
                self.delivered += chunk.frames as u64;
                return Some(Taken::Bytes(chunk.bytes));
            }
        }
        None
    }

    /// Writes what there is for the socket, if its own task waits for that and the connection takes bytes at once; else
    /// wakes the task, which then does it. Answers whether all is done.
    fn write(&mut self, key: Key) -> bool {
        let Some(outlet) = self.peer(key).and_then(|peer| peer.idle_outlet()) else {
            self.wake(key);
            return false;
        };
        for _ in 0..TURN {
            let bytes = match self.take(key) {
                None => return true,
                Some(Taken::End) => break,
                Some(Taken::Bytes(bytes)) => bytes,
            };
            let count = match outlet.try_write(&bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => {
                    self.hang_up(key);
                    return false;
                }
            };
            if count < bytes.len() {
                if let Some(peer) = self.peer(key) {
                    peer.put_back(bytes.slice(count..));
                }
                break;
            }
        }
        self.wake(key);
        false
    }

    // Time

    /// PresenceDiff the clock: pings go out, silent sockets and those whose time to leave has come are closed. Returns the
    /// sessions that are due for a look.
    pub(crate) fn tick(&mut self, clock: Duration) -> Vec<Sid> {
        let now = Tick::at(clock);
        self.now = now;
        let mut due = Vec::new();
        for (_, (_, peer)) in &mut self.peers {
            match peer.vitals.due(now, || now + jittered(self.ping_interval)) {
                Due::Nothing => {}
                Due::Ping => peer.tell(&Event::Ping, now),
                Due::Close => peer.close(Some(CloseCode::Unresponsive.code()), "no sign of life", now),
                Due::Abort => peer.hang_up(now),
            }
            if peer.leave.is_some_and(|leave| now >= leave) {
                peer.close(Some(CloseCode::Restart.code()), "this instance restarts", now);
            }
            if peer.is_owed_presence(now) {
                peer.wake_writer(now);
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

    fn wake(&mut self, key: Key) {
        let now = self.now;
        if let Some(peer) = self.peer(key) {
            peer.wake_writer(now);
        }
    }

    fn peer(&mut self, key: Key) -> Option<&mut Peer> {
        self.peers.get_mut(key.slot as usize).filter(|(serial, _)| *serial == key.serial).map(|(_, peer)| peer)
    }
}

/// Between 0.9 and 1 of `interval`, so that pings of sockets that opened together drift apart.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.9..=1.0))
}

/// Sessions of open sockets are looked up every 45 to 60 seconds.
fn recheck_delay() -> Duration {
    Duration::from_secs_f64(rand::random_range(45.0..=60.0))
}
