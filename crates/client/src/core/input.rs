//! Inputs of the state machine.

use trunkline_domain::{Event, MessageId, MessageText, Millis, Position, Room, UserName};

use super::OutboxEntry;

/// The number of a connection attempt and of its socket, counted from 1.
pub type SocketId = u64;

/// An input of [`ClientCore`](super::ClientCore).
#[derive(Clone, Debug)]
pub enum ClientInput {
    /// Connect and stay connected. While a retry is scheduled: try now.
    Connect,
    /// Disconnect and stay disconnected.
    Disconnect,
    /// The time of [`ClientCore::next_tick`](super::ClientCore::next_tick) has come.
    Tick,
    /// The network is available again: do not wait for the scheduled retry.
    Online,
    /// The operating system reports that there is no network.
    Offline,
    /// The user looks at the application again: do not wait for the scheduled retry.
    Visible,
    /// The result of [`ClientEffect::Probe`](super::ClientEffect::Probe).
    Probed {
        /// The connection attempt.
        socket: SocketId,
        /// The result.
        result: SessionProbe,
    },
    /// The server sent a frame.
    Frame {
        /// The socket on which it arrived.
        socket: SocketId,
        /// The decoded frame.
        event: Event,
    },
    /// The server sent a `message` frame whose content the driver handles itself. Has the same effects as
    /// [`Frame`](Self::Frame), without [`ClientEvent::Message`](super::ClientEvent::Message).
    MessageSeen {
        /// The socket on which it arrived.
        socket: SocketId,
        /// The part that the state machine needs.
        message: MessageSummary,
    },
    /// The socket has closed or could not be opened.
    Closed {
        /// The socket.
        socket: SocketId,
        /// The close code; 1006 if there is none (RFC 6455 section 7.1.5).
        code: u16,
    },
    /// Join a room and stay in it across reconnects.
    Join {
        /// The room.
        room: Room,
        /// Number of latest messages to ask for, 0 to 200.
        recent: usize,
    },
    /// Leave a room.
    Leave {
        /// The room.
        room: Room,
    },
    /// The stored outbox entries of a room: the reply to [`ClientEffect::Load`](super::ClientEffect::Load). May be
    /// repeated with more entries.
    Outbox {
        /// The room.
        room: Room,
        /// The stored entries. Those of other users and rooms are ignored.
        entries: Vec<OutboxEntry>,
    },
    /// Send a message.
    Send {
        /// The room.
        room: Room,
        /// A new id that this user has never used in this room.
        id: MessageId,
        /// The text.
        text: MessageText,
    },
    /// Send a failed or uncertain outbox entry again.
    Retry {
        /// The entry's room.
        room: Room,
        /// The entry's id.
        id: MessageId,
    },
    /// Remove an entry from the outbox.
    Discard {
        /// The entry's room.
        room: Room,
        /// The entry's id.
        id: MessageId,
    },
    /// Request a page of older messages.
    History {
        /// The room.
        room: Room,
        /// Only messages before this position; `None` requests the latest ones.
        before: Option<Position>,
        /// Maximum number of messages, 1 to 200.
        limit: usize,
    },
    /// The user is typing.
    Typing {
        /// The room.
        room: Room,
    },
}

/// The result of `GET /session`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionProbe {
    /// 200: the session is valid and belongs to this user.
    LoggedIn(UserName),
    /// 401: there is no session.
    NotLoggedIn,
    /// 503, with the time of its `Retry-After` in ms, 0 if absent.
    Unavailable(Millis),
    /// No response or another status, with the time of its `Retry-After` in ms, 0 if absent.
    Unreachable(Millis),
}

/// The part of a message that the state machine needs to resume and to settle outbox entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSummary {
    /// The message's room.
    pub room: Room,
    /// Its position in the room's log.
    pub pos: Position,
    /// Its id, if this user sent it.
    pub own: Option<MessageId>,
}
