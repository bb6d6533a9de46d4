//! One socket as its hub sees it: who, what it follows, what waits to be written.

use std::{fmt, rc::Rc, task::Waker, time::Duration};

use bytes::{Bytes, BytesMut};
use trunkline_domain::{Event, UserName};
use trunkline_session::Sid;

use super::{
    PresenceState,
    cursor::Cursor,
    frame::{put_header, put_text},
    hub::Outlet,
    vitals::{Tick, Vitals},
};

/// Control bytes (answers, errors, history pages) above which the socket is not read, until it takes some.
const CONTROL_BYTES: usize = 16 << 10;

/// How long a newcomer waits for a state with their own name in it.
const OWN_NAME: Duration = Duration::from_secs(3);

/// A socket of this worker.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) user: UserName,
    pub(super) sid: Sid,
    pub(super) subscriptions: Vec<Subscription>,
    /// Whose turn it is among the subscriptions, so that a busy room does not starve a quiet one.
    pub(super) turn: usize,
    pub(super) vitals: Vitals,
    /// When the session is looked up again.
    pub(super) recheck: Tick,
    /// When a draining gateway closes this socket.
    pub(super) leave: Option<Tick>,
    /// What the hub could not write of a chunk. Boxed: hardly any socket has one.
    rest: Option<Box<Bytes>>,
    /// Answers and news of this socket alone. Boxed: it is there only while some wait.
    control: Option<Box<BytesMut>>,
    stage: Stage,
    /// What the close frame said.
    closed: Option<u16>,
    writer: Writer,
    reader: Option<Waker>,
    outlet: Option<Rc<dyn Outlet>>,
}

/// A room that a socket follows.
#[derive(Debug)]
pub(super) struct Subscription {
    /// The room's place in the hub.
    pub(super) room: usize,
    pub(super) cursor: Cursor,
    pub(super) presence: Told,
}

/// What a subscriber knows of who is in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing, and nothing is due before `joined`.
    TooEarly,
    /// The whole state is due since then.
    Due(Tick),
    /// The state of this turn.
    Turn(u64),
}

/// Who is in a room, as its members take it: a cursor that skips. Whoever has the turn before takes the change, whoever
/// is further behind takes the whole, and nothing is kept for those who take nothing.
#[derive(Debug)]
pub(super) struct PresenceTracker {
    turn: u64,
    here: PresenceState,
    /// What makes the turn before this one.
    change: Option<Bytes>,
}

impl PresenceTracker {
    /// The state that follows `before`.
    pub(super) fn after(before: Option<&Self>, here: PresenceState, change: Option<Bytes>) -> Self {
        Self { turn: before.map_or(1, |before| before.turn + 1), here, change }
    }

    /// What `user`, who knows what was `told`, is to be told now, if anything. A newcomer is told as soon as their own
    /// coming is in it, which takes a moment, or never mind after [`OWN_NAME`].
    fn owed(&self, told: &mut Told, user: &UserName, now: Tick) -> Option<Bytes> {
        let frame = match *told {
            Told::TooEarly => return None,
            Told::Due(since) if !self.here.includes(user) && now < since + OWN_NAME => return None,
            Told::Turn(turn) if turn == self.turn => return None,
            Told::Turn(turn) if turn + 1 == self.turn => self.change.as_ref().unwrap_or(&self.here.bytes),
            Told::Due(_) | Told::Turn(_) => &self.here.bytes,
        };
        *told = Told::Turn(self.turn);
        Some(frame.clone())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// The close frame is the last of the control bytes; no message goes out any more.
    Closing,
    /// Everything was handed out.
    Ended,
    /// There is nobody to hand anything to.
    Gone,
}

/// What the socket's task that writes is about.
#[derive(Debug)]
enum Writer {
    /// It writes, or was woken to write.
    Busy,
    /// It has written everything, and waits for more.
    Idle(Waker),
    /// It has bytes that the connection does not take.
    Stalled(Waker),
}

impl fmt::Debug for dyn Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outlet")
    }
}

impl Peer {
    pub(super) fn new(user: UserName, sid: Sid, vitals: Vitals, recheck: Tick) -> Self {
        Self {
            user,
            sid,
            subscriptions: Vec::new(),
            turn: 0,
            vitals,
            recheck,
            leave: None,
            rest: None,
            control: None,
            stage: Stage::Open,
            closed: None,
            writer: Writer::Busy,
            reader: None,
            outlet: None,
        }
    }

    /// Writes a frame of this socket alone. Nothing goes out after a close frame.
    pub(super) fn tell(&mut self, event: &Event, now: Tick) {
        if self.stage == Stage::Open {
            put_text(self.control(), event);
            self.wake_writer(now);
        }
    }

    /// Writes bytes that are frames already, if there is room: for what may be dropped.
    pub(super) fn mention(&mut self, frames: &[u8], now: Tick) {
        if self.stage == Stage::Open && self.waiting() + frames.len() <= CONTROL_BYTES / 2 {
            self.control().extend_from_slice(frames);
            self.wake_writer(now);
        }
    }

    /// Writes `joined` of the room at `index`; who is there is due from now on.
    pub(super) fn tell_joined(&mut self, joined: &Event, index: usize, now: Tick) {
        self.tell(joined, now);
        if let Some(subscription) = self.subscriptions.iter_mut().find(|one| one.room == index) {
            subscription.presence = Told::Due(now);
        }
    }

    /// Who is in the room of the subscription at `place`, if the client is to be told.
    pub(super) fn take_presence(&mut self, place: usize, attendance: &PresenceTracker, now: Tick) -> Option<Bytes> {
        attendance.owed(&mut self.subscriptions[place].presence, &self.user, now)
    }

    /// Whether somebody waits in vain for a state with their own name in it.
    pub(super) fn is_owed_presence(&self, now: Tick) -> bool {
        self.subscriptions.iter().any(|one| matches!(one.presence, Told::Due(since) if now >= since + OWN_NAME))
    }

    /// Answers a WebSocket ping (RFC 6455 section 5.5.3).
    pub(super) fn pong(&mut self, payload: &[u8], now: Tick) {
        if self.stage == Stage::Open && self.waiting() <= CONTROL_BYTES {
            put_header(self.control(), 0xA, payload.len());
            self.control().extend_from_slice(payload);
            self.wake_writer(now);
        }
    }

    /// Ends the conversation with a close frame (RFC 6455 section 5.5.1; the reason is at most 123 bytes).
    pub(super) fn close(&mut self, code: Option<u16>, reason: &str, now: Tick) {
        if self.stage != Stage::Open {
            return;
        }
        let reason = &reason.as_bytes()[..reason.floor_char_boundary(123)];
        match code {
            Some(code) => {
                put_header(self.control(), 0x8, 2 + reason.len());
                self.control().extend_from_slice(&code.to_be_bytes());
                self.control().extend_from_slice(reason);
            }
            None => put_header(self.control(), 0x8, 0),
        }
        self.stage = Stage::Closing;
        self.closed = code;
        self.wake_writer(now);
        self.wake_reader();
    }

    /// The connection is gone: nothing more to write.
    pub(super) fn hang_up(&mut self, now: Tick) {
        self.stage = Stage::Gone;
        self.wake_writer(now);
        if let Writer::Stalled(waker) = &self.writer {
            waker.wake_by_ref();
        }
        self.wake_reader();
    }

    /// The rest of what was begun, then the control bytes that wait; after a close frame among them nothing follows.
    pub(super) fn take_control(&mut self) -> Option<Bytes> {
        if self.is_gone() {
            return None;
        }
        if let Some(rest) = self.rest.take() {
            return Some(*rest);
        }
        let control = self.control.take()?;
        if self.stage == Stage::Closing {
            self.stage = Stage::Ended;
        }
        self.wake_reader();
        Some(control.freeze())
    }

    /// The end of what was taken is to be written before anything else.
    pub(super) fn put_back(&mut self, rest: Bytes) {
        self.rest = Some(Box::new(rest));
    }

    pub(super) fn attach(&mut self, outlet: Rc<dyn Outlet>) {
        self.outlet = Some(outlet);
    }

    /// The connection, if the socket's task has nothing to write.
    pub(super) fn idle_outlet(&self) -> Option<Rc<dyn Outlet>> {
        matches!(self.writer, Writer::Idle(_)).then(|| self.outlet.clone()).flatten()
    }

    /// The code of the close frame, if there was one.
    pub(super) fn closed(&self) -> Option<u16> {
        self.closed
    }

    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended | Stage::Gone)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    /// Whether so much waits to be written that no further command is read.
    pub(super) fn is_saturated(&self) -> bool {
        self.waiting() > CONTROL_BYTES
    }

    /// Control bytes to be written to.
    fn control(&mut self) -> &mut BytesMut {
        self.control.get_or_insert_default()
    }

    /// How many control bytes wait.
    fn waiting(&self) -> usize {
        self.control.as_ref().map_or(0, |control| control.len())
    }

    /// Something can be written.
    pub(super) fn wake_writer(&mut self, now: Tick) {
        self.vitals.offered(now);
        if let Writer::Idle(waker) = &self.writer {
            waker.wake_by_ref();
            self.writer = Writer::Busy;
        }
    }

    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    /// The task has written everything; woken when there is more.
    pub(super) fn idle_writer(&mut self, waker: &Waker) {
        self.writer = Writer::Idle(waker.clone());
    }

    /// The connection takes nothing; the task is woken when the socket is given up.
    pub(super) fn stall_writer(&mut self, waker: &Waker, now: Tick) {
        self.vitals.offered(now);
        self.writer = Writer::Stalled(waker.clone());
    }

    /// Wakes the task that reads when it may go on, or must end.
    pub(super) fn park_reader(&mut self, waker: &Waker) {
        self.reader = Some(waker.clone());
    }
}
