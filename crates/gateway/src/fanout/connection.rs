//! The state of one client connection in its worker's hub: its subscriptions and what waits to be written.

use std::{fmt, io, rc::Rc, task::Waker};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use trunkline_domain::{Event, Position};

use super::{cursor::Cursor, heartbeat::Heartbeat};
use crate::{
    frame::{put_header, put_text_frame},
    identity::Identity,
    presence::{PresenceCursor, PresenceTail},
    ticks::{Tick, Timer},
};

/// Control bytes (answers, errors and history pages) above which no further commands are read until the client takes some.
/// A larger value lets a client send more commands without reading and costs memory per connection.
const MAX_CONTROL_BYTES: usize = 16 << 10;
/// Control bytes above which none wait for the next message. A larger value saves writes to a client that sends many
/// messages at once.
const MAX_DEFERRED_BYTES: usize = 1 << 10;
/// Maximum length of the reason in a close frame (RFC 6455 section 5.5: 125 bytes of payload, of which the code takes 2).
const MAX_CLOSE_REASON_BYTES: usize = 123;

/// A connection to which the hub itself can write.
pub(crate) trait Transport {
    /// Writes as many bytes as the connection takes at once and returns their number.
    ///
    /// # Errors
    /// `WouldBlock` if it takes none now. After any other error the connection is aborted.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// The next step of a connection's writer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// Write these bytes.
    Bytes(Bytes),
    /// Nothing follows: end the connection.
    End,
}

/// A connection of this worker.
#[derive(Debug)]
pub(super) struct Connection {
    /// Shared with the connection's own task.
    pub(super) identity: Rc<Identity>,
    /// When the identity ends.
    pub(super) expiry: Option<Tick>,
    /// Most connections are in one room, which takes no allocation.
    pub(super) subscriptions: SmallVec<[RoomSubscription; 1]>,
    /// Index of the subscription that is served first. It advances, so that a busy room does not starve a quiet one.
    pub(super) next_subscription: u32,
    pub(super) heartbeat: Heartbeat,
    /// When the session is looked up again.
    pub(super) session_check: Tick,
    /// When the draining gateway closes this connection.
    pub(super) drain_deadline: Option<Tick>,
    /// When the hub examines this connection next.
    pub(super) timer: Timer,
    /// The end of a chunk that the hub could write only in part. Boxed, because few connections have one.
    remainder: Option<Box<Bytes>>,
    /// Frames for this connection alone. Boxed, because it exists only while frames wait.
    control: Option<Box<BytesMut>>,
    stage: ConnectionStage,
    /// The code of the close frame.
    close_code: Option<u16>,
    /// The client did not answer a ping, or took no bytes for too long.
    pub(super) is_unresponsive: bool,
    /// Whether the control bytes wait for a message to share its write.
    waits_for_message: bool,
    /// Whether the hub examines the connection at its next tick, because control bytes may still wait for a message.
    pub(super) is_deferred: bool,
    writer: WriterState,
    reader: Option<Waker>,
    transport: Option<Rc<dyn Transport>>,
}

/// A room to which a connection is subscribed.
#[derive(Debug)]
pub(super) struct RoomSubscription {
    /// The room's index in the hub. A room takes more than a byte, so an index has 32 bits.
    room: u32,
    pub(super) cursor: Cursor,
    pub(super) presence: PresenceCursor,
    /// The read mark for `joined`. Boxed, because it exists only until then.
    pub(super) seen: Option<Box<Position>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionStage {
    Open,
    /// The close frame is the last of the control bytes, and no message is sent after it.
    Closing,
    /// All bytes were handed out.
    Ended,
    /// The connection is broken, and no byte can be handed out.
    Aborted,
}

/// The state of the task that writes to the connection.
#[derive(Debug)]
enum WriterState {
    /// It writes, or was woken to write.
    Busy,
    /// It has written everything and waits for more.
    Idle(Waker),
    /// It has bytes that the connection does not take.
    Blocked(Waker),
}

impl RoomSubscription {
    /// Creates a subscription to the room at index `room`, which was sent nothing yet.
    pub(super) fn new(room: usize, cursor: Cursor, seen: Option<Position>) -> Self {
        Self { room: room as u32, cursor, presence: PresenceCursor::BeforeJoined, seen: seen.map(Box::new) }
    }

    /// Returns the room's index in the hub.
    pub(super) fn room(&self) -> usize {
        self.room as usize
    }
}

impl fmt::Debug for dyn Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

impl Connection {
    /// Creates an open connection without subscriptions.
    pub(super) fn new(identity: Rc<Identity>, expiry: Option<Tick>, heartbeat: Heartbeat, session_check: Tick) -> Self {
        Self {
            identity,
            expiry,
            subscriptions: SmallVec::new(),
            next_subscription: 0,
            heartbeat,
            session_check,
            drain_deadline: None,
            timer: Timer::NONE,
            remainder: None,
            control: None,
            stage: ConnectionStage::Open,
            close_code: None,
            is_unresponsive: false,
            waits_for_message: false,
            is_deferred: false,
            writer: WriterState::Busy,
            reader: None,
            transport: None,
        }
    }

    /// Returns the subscription to the room at index `room`.
    pub(super) fn subscription(&mut self, room: usize) -> Option<&mut RoomSubscription> {
        self.subscriptions.iter_mut().find(|subscription| subscription.room() == room)
    }

    /// Queues a frame for this connection alone. Nothing is queued after a close frame.
    pub(super) fn send(&mut self, event: &Event, now: Tick) {
        if self.stage == ConnectionStage::Open {
            put_text_frame(self.control(), event);
            self.wake_writer(now);
        }
    }

    /// Queues a frame that is written together with the next message. Returns `false`, and queues nothing, if the connection's
    /// own task writes or so many bytes wait that they are to be written now. The caller wakes the task later if no message
    /// came: see [`wake_deferred`](Self::wake_deferred).
    pub(super) fn send_with_next_message(&mut self, event: &Event) -> bool {
        let can_wait =
            self.stage == ConnectionStage::Open && self.takes_writes() && self.control_len() <= MAX_DEFERRED_BYTES;
        if can_wait {
            put_text_frame(self.control(), event);
            self.waits_for_message = true;
        }
        can_wait
    }

    /// Wakes the writer if frames wait for a message that has not come.
    pub(super) fn wake_deferred(&mut self, now: Tick) {
        self.is_deferred = false;
        if self.waits_for_message {
            self.wake_writer(now);
        }
    }

    /// Queues an encoded frame that may be dropped, if less than half of the control bytes are used.
    pub(super) fn send_ephemeral(&mut self, frame: &[u8], now: Tick) {
        if self.stage == ConnectionStage::Open && self.control_len() + frame.len() <= MAX_CONTROL_BYTES / 2 {
            self.control().extend_from_slice(frame);
            self.wake_writer(now);
        }
    }

    /// Queues `joined` of the room at index `room`. From then on its presence is due.
    pub(super) fn send_joined(&mut self, joined: &Event, room: usize, now: Tick) {
        self.send(joined, now);
        if let Some(subscription) = self.subscription(room) {
            subscription.presence = PresenceCursor::Due(now);
        }
    }

    /// Takes the presence frame that the subscription at `index` needs.
    pub(super) fn take_presence(&mut self, index: usize, presence: &PresenceTail, now: Tick) -> Option<Bytes> {
        presence.frame_after(&mut self.subscriptions[index].presence, self.identity.user(), now)
    }

    /// Returns the time at which the hub must examine the connection next, if nothing else schedules it earlier.
    pub(super) fn next_examination(&self, now: Tick) -> Tick {
        let next = self.heartbeat.next_poll(now).min(self.session_check);
        [self.drain_deadline, self.expiry].into_iter().flatten().fold(next, Tick::min)
    }

    /// Returns whether a subscription has waited long enough for a presence state with the user's own name.
    pub(super) fn has_overdue_presence(&self, now: Tick) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.presence.is_overdue(now))
    }

    /// Answers a WebSocket ping (RFC 6455 section 5.5.3).
    pub(super) fn send_pong(&mut self, payload: &[u8], now: Tick) {
        if self.stage == ConnectionStage::Open && self.control_len() <= MAX_CONTROL_BYTES {
            put_header(self.control(), 0xA, payload.len());
            self.control().extend_from_slice(payload);
            self.wake_writer(now);
        }
    }

    /// Queues a message of the echo server.
    #[cfg(feature = "echo")]
    pub(super) fn send_message(&mut self, opcode: u8, payload: &[u8], now: Tick) {
        if self.stage == ConnectionStage::Open {
            put_header(self.control(), opcode, payload.len());
            self.control().extend_from_slice(payload);
            self.wake_writer(now);
        }
    }

    /// Queues a close frame (RFC 6455 section 5.5.1). A reason that is too long is cut.
    pub(super) fn close(&mut self, code: Option<u16>, reason: &str, now: Tick) {
        if self.stage != ConnectionStage::Open {
            return;
        }
        let reason = &reason.as_bytes()[..reason.floor_char_boundary(MAX_CLOSE_REASON_BYTES)];
        match code {
            Some(code) => {
                put_header(self.control(), 0x8, 2 + reason.len());
                self.control().extend_from_slice(&code.to_be_bytes());
                self.control().extend_from_slice(reason);
            }
            None => put_header(self.control(), 0x8, 0),
        }
        self.stage = ConnectionStage::Closing;
        self.close_code = code;
        self.wake_writer(now);
        self.wake_reader();
    }

    /// The connection broke: its tasks are woken and end.
    pub(super) fn abort(&mut self, now: Tick) {
        self.stage = ConnectionStage::Aborted;
        self.wake_writer(now);
        if let WriterState::Blocked(waker) = &self.writer {
            waker.wake_by_ref();
        }
        self.wake_reader();
    }

    /// Takes the remainder of a chunk, or else the control bytes, unless these wait for a message. If they end with a close
    /// frame, nothing follows.
    pub(super) fn take_control(&mut self) -> Option<Bytes> {
        if self.is_aborted() {
            return None;
        }
        if let Some(remainder) = self.remainder.take() {
            return Some(*remainder);
        }
        if self.waits_for_message {
            return None;
        }
        let is_saturated = self.is_saturated();
        let control = self.control.take()?;
        if self.stage == ConnectionStage::Closing {
            self.stage = ConnectionStage::Ended;
        }
        // Otherwise the reader waits for something else.
        if is_saturated {
            self.wake_reader();
        }
        Some(control.freeze())
    }

    /// Sets the transport to which the hub itself may write.
    pub(super) fn attach(&mut self, transport: Rc<dyn Transport>) {
        self.transport = Some(transport);
    }

    /// Returns whether the hub may write to the connection: its own task has written everything and waits.
    pub(super) fn takes_writes(&self) -> bool {
        matches!(self.writer, WriterState::Idle(_)) && self.transport.is_some()
    }

    /// Writes as many of `bytes` as the connection takes at once and keeps the rest for its own task. Returns whether all
    /// were written. Must only be called if the connection [takes writes](Self::takes_writes).
    pub(super) fn write(&mut self, bytes: &Bytes, now: Tick) -> bool {
        let Some(transport) = &self.transport else { return false };
        let count = match transport.try_write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.abort(now);
                return false;
            }
        };
        let is_complete = count == bytes.len();
        if !is_complete {
            self.remainder = Some(Box::new(bytes.slice(count..)));
            self.wake_writer(now);
        }
        is_complete
    }

    /// Returns the bytes of a message after the frames that waited for it.
    pub(super) fn after_deferred(&mut self, message: Bytes) -> Bytes {
        if !std::mem::take(&mut self.waits_for_message) {
            return message;
        }
        let mut bytes = self.control.take().map_or_else(BytesMut::new, |control| *control);
        bytes.extend_from_slice(&message);
        bytes.freeze()
    }

    /// Returns the code of the close frame, if one was queued with a code.
    pub(super) fn close_code(&self) -> Option<u16> {
        self.close_code
    }

    pub(super) fn is_open(&self) -> bool {
        self.stage == ConnectionStage::Open
    }

    /// Returns whether nothing is left to hand out.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.stage, ConnectionStage::Ended | ConnectionStage::Aborted)
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.stage == ConnectionStage::Aborted
    }

    /// Returns whether so many control bytes wait that no further command is read.
    pub(super) fn is_saturated(&self) -> bool {
        self.control_len() > MAX_CONTROL_BYTES
    }

    fn control(&mut self) -> &mut BytesMut {
        self.control.get_or_insert_default()
    }

    fn control_len(&self) -> usize {
        self.control.as_ref().map_or(0, |control| control.len())
    }

    /// Bytes wait: wakes the task that writes if it is idle.
    pub(super) fn wake_writer(&mut self, now: Tick) {
        self.waits_for_message = false;
        self.heartbeat.bytes_waiting(now);
        if let WriterState::Idle(waker) = &self.writer {
            waker.wake_by_ref();
            self.writer = WriterState::Busy;
        }
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    /// The task has written everything; it is woken when bytes wait again.
    pub(super) fn park_writer(&mut self, waker: &Waker) {
        self.writer = WriterState::Idle(waker.clone());
    }

    /// The connection takes no bytes; the task is woken if the connection is aborted.
    pub(super) fn block_writer(&mut self, waker: &Waker, now: Tick) {
        self.heartbeat.bytes_waiting(now);
        self.writer = WriterState::Blocked(waker.clone());
    }

    /// The task that reads waits; it is woken when control bytes were taken or the connection ends.
    pub(super) fn park_reader(&mut self, waker: &Waker) {
        self.reader = Some(waker.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_in_one_room_takes_184_bytes() {
        assert_eq!((size_of::<Connection>(), size_of::<RoomSubscription>()), (184, 56));
    }
}
