//! The connections, rooms and cursors of one worker thread. Synchronous: it never waits and takes no lock.

mod identities;
mod rooms;

use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use slab::Slab;
use trunkline_domain::{CloseCode, Event, Room, millis};
use trunkline_session::Sid;

use self::rooms::HubRoom;
use super::{
    connection::{Connection, Outgoing, Transport},
    heartbeat::{Heartbeat, HeartbeatAction},
    messages::HubRequest,
};
use crate::{
    identity::Identity,
    ids::ConnectionKey,
    random::Random,
    ticks::{Tick, TimerWheel},
};

/// Maximum number of bytes that are handed to a connection at once, beyond the first frame. A larger value needs fewer
/// writes to catch up and holds more memory per slow connection.
const MAX_CHUNK_BYTES: usize = 64 << 10;
/// Maximum number of chunks that are written to a connection before the others of its thread continue.
pub(crate) const MAX_CHUNKS_PER_TURN: usize = 16;
/// Maximum time between two look-ups of an open connection's session. A look-up also counts as use of the session, so that
/// it does not expire; a larger value closes connections of deleted sessions later if the notification was lost.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Granularity of heartbeats and drain deadlines. The worker's ticks have the same.
pub(super) const TIMER_GRANULARITY: Duration = Duration::from_millis(250);

/// The state of one worker thread.
#[derive(Debug)]
pub(crate) struct Hub {
    rooms: Slab<HubRoom>,
    rooms_by_name: HashMap<Room, usize>,
    /// The connections, each with the serial of its key.
    connections: Slab<(u32, Connection)>,
    /// Number of connections that were opened, modulo 2³².
    opened: u32,
    now: Tick,
    random: Random,
    requests: VecDeque<HubRequest>,
    /// Rooms with frames or presence that their members were not handed yet.
    pending_rooms: Vec<usize>,
    /// Slots of connections with a frame that waits for a message; each at most once.
    deferred: Vec<u32>,
    /// Rooms that keep the chunk that a member took last.
    rooms_with_chunk: Vec<usize>,
    /// Connections, by the times at which they are examined.
    timers: TimerWheel<u32>,
    ping_interval: Duration,
    /// Messages handed to connections since they were last counted.
    delivered: u64,
}

impl Hub {
    /// Creates a hub without connections.
    pub(crate) fn new(ping_interval: Duration, random: Random) -> Self {
        Self {
            rooms: Slab::new(),
            rooms_by_name: HashMap::new(),
            connections: Slab::new(),
            opened: 0,
            now: Tick::at(Duration::ZERO),
            random,
            requests: VecDeque::new(),
            pending_rooms: Vec::new(),
            deferred: Vec::new(),
            rooms_with_chunk: Vec::new(),
            timers: TimerWheel::new(TIMER_GRANULARITY),
            ping_interval,
            delivered: 0,
        }
    }

    /// Returns the next request for the reader, in order.
    pub(crate) fn poll_request(&mut self) -> Option<HubRequest> {
        self.requests.pop_front()
    }

    /// Returns how many messages were handed to connections since the last call.
    pub(crate) fn take_delivered(&mut self) -> u64 {
        std::mem::take(&mut self.delivered)
    }

    /// Adds a connection. `welcome` is its first frame. Its identity ends after `left`, if that is given.
    pub(crate) fn open(&mut self, identity: Rc<Identity>, left: Option<Duration>, welcome: &Event) -> ConnectionKey {
        self.opened = self.opened.wrapping_add(1);
        let heartbeat = Heartbeat::new(self.now + self.random.jitter(self.ping_interval, 0.9));
        let session_check = self.now + self.random.jitter(SESSION_CHECK_INTERVAL, 0.75);
        let expiry = left.map(|left| self.expiry(left));
        let mut connection = Connection::new(identity, expiry, heartbeat, session_check);
        connection.send(welcome, self.now);
        let first = connection.next_examination(self.now);
        let slot = self.connections.insert((self.opened, connection)) as u32;
        self.schedule(slot, first);
        ConnectionKey { serial: self.opened, slot }
    }

    /// Removes a connection. Returns the code of its close frame, if it was sent one.
    pub(crate) fn remove(&mut self, key: ConnectionKey) -> Option<u16> {
        self.connection(key)?;
        let (_, connection) = self.connections.remove(key.slot as usize);
        for subscription in &connection.subscriptions {
            self.remove_member(subscription.room(), key.slot, connection.identity.member());
        }
        connection.close_code()
    }

    /// The client sent a frame.
    pub(crate) fn received_frame(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connection(key) {
            connection.heartbeat.received_frame();
        }
    }

    /// Sends a frame to this connection alone.
    pub(crate) fn send(&mut self, key: ConnectionKey, event: &Event) {
        let now = self.now;
        if let Some(connection) = self.connection(key) {
            connection.send(event, now);
        }
    }

    /// Answers a WebSocket ping.
    pub(crate) fn send_pong(&mut self, key: ConnectionKey, payload: &[u8]) {
        let now = self.now;
        if let Some(connection) = self.connection(key) {
            connection.send_pong(payload, now);
        }
    }

    /// Sends a message to this connection alone. `opcode` is 1 for text and 2 for binary (RFC 6455 section 5.2).
    #[cfg(feature = "echo")]
    pub(crate) fn send_message(&mut self, key: ConnectionKey, opcode: u8, payload: &[u8]) {
        let now = self.now;
        if let Some(connection) = self.connection(key) {
            connection.send_message(opcode, payload, now);
        }
    }

    /// Closes a connection.
    pub(crate) fn close(&mut self, key: ConnectionKey, code: CloseCode, reason: &str) {
        let now = self.now;
        if let Some(connection) = self.connection(key) {
            connection.close(Some(code.code()), reason, now);
        }
    }

    /// Answers the client's close frame with its own code (RFC 6455 section 5.5.1).
    pub(crate) fn echo_close(&mut self, key: ConnectionKey, code: Option<u16>) {
        let now = self.now;
        if let Some(connection) = self.connection(key) {
            connection.close(code, "", now);
        }
    }

    /// The connection broke: ends it without a close frame.
    pub(crate) fn abort(&mut self, key: ConnectionKey) {
        let now = self.now;
        if let Some(connection) = self.connection(key) {
            connection.abort(now);
        }
    }

    /// Returns whether so many bytes wait to be written that no further command is executed.
    pub(crate) fn is_saturated(&mut self, key: ConnectionKey) -> bool {
        self.connection(key).is_none_or(|connection| connection.is_saturated())
    }

    /// Ready with `Ok` when commands may be read, and with an error when the connection is closing and none are read any
    /// more.
    pub(crate) fn poll_readable(&mut self, key: ConnectionKey, cx: &Context<'_>) -> Poll<Result<(), ()>> {
        match self.connection(key) {
            Some(connection) if connection.is_open() => {
                connection.park_reader(cx.waker());
                if connection.is_saturated() { Poll::Pending } else { Poll::Ready(Ok(())) }
            }
            _ => Poll::Ready(Err(())),
        }
    }

    /// Lets the hub itself write to the connection while the connection's own task has nothing to write.
    pub(crate) fn attach(&mut self, key: ConnectionKey, transport: Rc<dyn Transport>) {
        if let Some(connection) = self.connection(key) {
            connection.attach(transport);
        }
    }

    /// Returns whether the connection was aborted.
    pub(crate) fn is_aborted(&mut self, key: ConnectionKey) -> bool {
        self.connection(key).is_none_or(|connection| connection.is_aborted())
    }

    /// Returns whether the hub ends the connection because the client answered no ping or took no bytes.
    pub(crate) fn is_unresponsive(&mut self, key: ConnectionKey) -> bool {
        self.connection(key).is_some_and(|connection| connection.is_unresponsive)
    }

    /// The connection took some of the bytes that it was offered.
    pub(crate) fn bytes_taken(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connection(key) {
            connection.heartbeat.bytes_taken();
        }
    }

    /// The connection takes no bytes now. The task is woken if the connection is aborted.
    pub(crate) fn block_writer(&mut self, key: ConnectionKey, cx: &Context<'_>) {
        let now = self.now;
        if let Some(connection) = self.connection(key) {
            connection.block_writer(cx.waker(), now);
        }
    }

    /// Returns what the connection writes next: first its own frames, then those of its rooms in turn.
    pub(crate) fn poll_outgoing(&mut self, key: ConnectionKey, cx: &Context<'_>) -> Poll<Outgoing> {
        let outgoing = self.take_outgoing(key);
        match (outgoing, self.connection(key)) {
            (Some(outgoing), _) => Poll::Ready(outgoing),
            (None, Some(connection)) => {
                connection.park_writer(cx.waker());
                Poll::Pending
            }
            (None, None) => Poll::Ready(Outgoing::End),
        }
    }

    fn take_outgoing(&mut self, key: ConnectionKey) -> Option<Outgoing> {
        let entry = self.connections.get_mut(key.slot as usize).filter(|(serial, _)| *serial == key.serial);
        let (_, connection) = entry?;
        connection.heartbeat.bytes_taken();
        if let Some(bytes) = connection.take_control() {
            return Some(Outgoing::Bytes(bytes));
        }
        if connection.has_ended() {
            return Some(Outgoing::End);
        }
        for step in 0..connection.subscriptions.len() {
            let index = (connection.next_subscription as usize + step) % connection.subscriptions.len();
            let room_index = connection.subscriptions[index].room();
            let room = &mut self.rooms[room_index];
            let presence = room.presence.as_ref();
            if let Some(bytes) = presence.and_then(|presence| connection.take_presence(index, presence, self.now)) {
                return Some(Outgoing::Bytes(bytes));
            }
            let cursor = &mut connection.subscriptions[index].cursor;
            let Some(tail) = &room.tail else { continue };
            let had_chunk = room.shared_chunk.is_some();
            let chunk = cursor.take(tail, &mut room.shared_chunk, MAX_CHUNK_BYTES);
            if !had_chunk && room.shared_chunk.is_some() {
                self.rooms_with_chunk.push(room_index);
            }
            self.requests.extend(room.request_page(cursor));
            if let Some(chunk) = chunk {
                connection.next_subscription = index as u32 + 1;
                self.delivered += chunk.frames as u64;
                return Some(Outgoing::Bytes(connection.after_deferred(chunk.bytes)));
            }
        }
        None
    }

    /// Writes what is new in the room at `index` to the connection at `slot`, if its own task is idle and it takes bytes at
    /// once. Otherwise wakes the task, which then writes. Returns whether everything was written.
    ///
    /// An idle task has written everything else: only rooms that wait for [`flush`](Self::flush) have news for it. So nothing
    /// else of the connection is looked at.
    fn write_room(&mut self, index: usize, slot: u32) -> bool {
        let Some((_, connection)) = self.connections.get_mut(slot as usize) else { return true };
        if !connection.takes_writes() {
            connection.wake_writer(self.now);
            return false;
        }
        let room = &mut self.rooms[index];
        let Some(at) = connection.subscriptions.iter().position(|subscription| subscription.room() == index) else {
            return true;
        };
        let frame = room.presence.as_ref().and_then(|presence| connection.take_presence(at, presence, self.now));
        if frame.is_some_and(|frame| !connection.write(&frame, self.now)) {
            return false;
        }
        let Some(tail) = &room.tail else { return true };
        for _ in 0..MAX_CHUNKS_PER_TURN {
            let cursor = &mut connection.subscriptions[at].cursor;
            let chunk = cursor.take(tail, &mut room.shared_chunk, MAX_CHUNK_BYTES);
            let Some(chunk) = chunk else {
                self.requests.extend(room.request_page(cursor));
                return true;
            };
            self.delivered += chunk.frames as u64;
            let bytes = connection.after_deferred(chunk.bytes);
            if !connection.write(&bytes, self.now) {
                return false;
            }
            if chunk.to == tail.head() {
                return true;
            }
        }
        connection.wake_writer(self.now);
        false
    }

    /// Advances the clock to `elapsed` since the worker started: sends pings, closes connections that do not answer or whose
    /// drain deadline has passed. Returns the sessions that are due for a look-up.
    pub(crate) fn tick(&mut self, elapsed: Duration) -> Vec<Sid> {
        let now = Tick::at(elapsed);
        self.now = now;
        let mut sessions = Vec::new();
        for slot in self.timers.poll(elapsed) {
            let Some((_, connection)) = self.connections.get_mut(slot as usize) else { continue };
            if !self.timers.has_fired(&mut connection.timer) {
                continue;
            }
            let next_ping = || now + self.random.jitter(self.ping_interval, 0.9);
            match connection.heartbeat.poll(now, next_ping) {
                HeartbeatAction::None => {}
                HeartbeatAction::Ping => connection.send(&Event::Ping, now),
                HeartbeatAction::Close => {
                    connection.is_unresponsive = true;
                    connection.close(Some(CloseCode::Unresponsive.code()), "no sign of life", now);
                }
                HeartbeatAction::Abort => {
                    connection.is_unresponsive = true;
                    connection.abort(now);
                }
            }
            if connection.drain_deadline.is_some_and(|deadline| now >= deadline) {
                connection.close(Some(CloseCode::Restart.code()), "this instance restarts", now);
            }
            if connection.expiry.is_some_and(|expiry| now >= expiry) {
                connection.close(Some(CloseCode::SessionEnded.code()), identities::EXPIRED, now);
            }
            if connection.has_overdue_presence(now) {
                connection.wake_writer(now);
            }
            if now >= connection.session_check {
                connection.session_check = now + self.random.jitter(SESSION_CHECK_INTERVAL, 0.75);
                sessions.extend(connection.identity.session());
            }
            let next = connection.next_examination(now);
            self.timers.schedule(&mut connection.timer, next.elapsed(), || slot);
        }
        for slot in std::mem::take(&mut self.deferred) {
            if let Some((_, connection)) = self.connections.get_mut(slot as usize) {
                connection.wake_deferred(now);
            }
        }
        for index in self.rooms_with_chunk.drain(..) {
            if let Some(room) = self.rooms.get_mut(index) {
                room.shared_chunk = None;
            }
        }
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }

    /// Asks every client to reconnect elsewhere, at a random time within `window`, and closes connections that are still
    /// open `grace` after their time.
    pub(crate) fn drain(&mut self, window: Duration, grace: Duration) {
        for (slot, (_, connection)) in &mut self.connections {
            let after = window.mul_f64(self.random.fraction());
            let closing = Event::Closing { reason: "drain".to_owned(), reconnect_after_ms: millis(after) };
            connection.send(&closing, self.now);
            let deadline = self.now + after + grace;
            connection.drain_deadline = Some(deadline);
            self.timers.schedule(&mut connection.timer, deadline.elapsed(), || slot as u32);
        }
    }

    /// Has the connection examined at `at`, unless it is examined earlier anyway.
    fn schedule(&mut self, slot: u32, at: Tick) {
        if let Some((_, connection)) = self.connections.get_mut(slot as usize) {
            self.timers.schedule(&mut connection.timer, at.elapsed(), || slot);
        }
    }

    fn connection(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        let entry = self.connections.get_mut(key.slot as usize).filter(|(serial, _)| *serial == key.serial);
        entry.map(|(_, connection)| connection)
    }
}

#[cfg(test)]
mod tests;
