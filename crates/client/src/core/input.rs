//! Inputs of the state machine.

use trunkline_domain::{Content, Data, Event, EventName, MessageId, Millis, Position, Room, Token, UserId};

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
    /// The answer to [`ClientEffect::Token`](super::ClientEffect::Token).
    Token {
        /// The socket.
        socket: SocketId,
        /// The token; `None` if the source has none now.
        token: Option<Token>,
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
    /// Send a message, an event or an amendment.
    Send {
        /// The room.
        room: Room,
        /// A new id that this user has never used in this room.
        id: MessageId,
        /// The content.
        content: Content,
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
    /// Send an event that is not logged. Dropped if the room is not joined.
    Signal {
        /// The room.
        room: Room,
        /// The name of the event.
        event: EventName,
        /// Its data, at most 4 KiB.
        data: Data,
    },
    /// The user has read everything up to a position. Marks are sent at most every two seconds per room, the latest one
    /// also after a reconnect.
    Seen {
        /// The room.
        room: Room,
        /// The position of the last message that the user has read.
        pos: Position,
    },
}

/// The result of `GET /session`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionProbe {
    /// 200: the session or token is valid.
    LoggedIn {
        /// Its user.
        user: UserId,
        /// Time until it ends, in seconds, if the response says it.
        expires_in: Option<u64>,
    },
    /// 401: there is no session, or the token is refused.
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
    /// Whether it amends another message.
    pub amends: bool,
}
