//! Events for the application.

use trunkline_domain::{
    Content, Data, DisplayName, ErrorCode, EventName, Member, Message, MessageId, Millis, Position, Room, UserId,
};

/// An event for the application.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEvent {
    /// The connection state changed.
    State(ClientState),
    /// An outbox entry was added or changed. Show it; store it, or delete it from the store if it is sent or discarded.
    Outbox(OutboxEntry),
    /// The server confirmed the subscription to a room.
    Joined {
        /// The room.
        room: Room,
        /// The newest position of its log.
        head: Position,
        /// Whether every message after the last one received follows.
        resumed: bool,
        /// Whether messages may be missing: discard the room's messages and show that there is a gap.
        gap: bool,
    },
    /// All messages up to the `head` of the last [`Joined`](Self::Joined) have arrived.
    CaughtUp {
        /// The room.
        room: Room,
        /// Number of messages missed while disconnected, amendments not counted, if the subscription was resumed; otherwise 0.
        missed: usize,
    },
    /// A new entry of the log: a message, an event, or an amendment of an earlier message, for [`Fold`](super::Fold). Each
    /// entry is emitted once, in position order.
    Message {
        /// The room.
        room: Room,
        /// The message.
        message: Message,
        /// Whether this user sent it.
        own: bool,
    },
    /// The requested page of older messages, oldest first.
    History {
        /// The room.
        room: Room,
        /// The position of the request.
        before: Option<Position>,
        /// The messages.
        messages: Vec<Message>,
        /// Whether there are older messages.
        more: bool,
    },
    /// The requested page is not available.
    HistoryFailed {
        /// The room.
        room: Room,
        /// The position of the request.
        before: Option<Position>,
        /// The reason.
        reason: HistoryFailure,
    },
    /// The users in a room have changed.
    Presence {
        /// The room.
        room: Room,
        /// Number of users.
        count: usize,
        /// All users, sorted. `None` in large rooms, for which the server sends no list.
        users: Option<Vec<Member>>,
        /// Users that have just joined.
        joined: Vec<Member>,
        /// Users that have just left.
        left: Vec<Member>,
    },
    /// A user is typing. Show it for five seconds.
    Typing {
        /// The room.
        room: Room,
        /// The user.
        user: UserId,
    },
    /// An event that is not logged.
    Signal {
        /// The room.
        room: Room,
        /// Its sender.
        user: UserId,
        /// Its name.
        event: EventName,
        /// Its data.
        data: Data,
    },
    /// The user's read mark of a room has moved, on another device or in an earlier connection.
    Seen {
        /// The room.
        room: Room,
        /// The position of the last message that the user has read.
        pos: Position,
    },
    /// The server refused a command other than a `send` or a `history`. After a permanent refusal of a `join` the client
    /// leaves the room.
    Refused {
        /// The error code.
        code: ErrorCode,
        /// The room, as written by the server.
        room: Option<String>,
        /// The server's explanation for people. `None` if the client itself refused.
        detail: Option<String>,
    },
}

/// The state of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// A connection attempt is under way.
    Connecting,
    /// The server sent `welcome`.
    Connected {
        /// The user of the session or token.
        user: UserId,
        /// The user's display name, unless it equals the id.
        name: Option<DisplayName>,
        /// The instance at the other end.
        instance: String,
    },
    /// Not connected; a retry is scheduled.
    Waiting {
        /// Why there is no connection.
        reason: DisconnectReason,
        /// Time of the retry, in ms since the Unix epoch.
        retry_at: Millis,
        /// The close code, if a close caused the disconnect.
        code: Option<u16>,
        /// The operating system reports that there is no network. The retry takes place nevertheless, since such
        /// reports can be wrong.
        offline: bool,
    },
    /// Not logged in. The client does nothing until [`ClientInput::Connect`](super::ClientInput::Connect).
    Ended(EndReason),
    /// Closed with 4409: the user has too many sockets. The client does nothing until
    /// [`ClientInput::Connect`](super::ClientInput::Connect).
    TooManySockets,
    /// Disconnected by [`ClientInput::Disconnect`](super::ClientInput::Disconnect).
    Closed,
}

/// Why the client is not connected and waits for a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// The probe got no response, or an unexpected one.
    Unreachable,
    /// The probe got 401 with a token. The next attempt asks the source for a new one.
    BadToken,
    /// The probe got 503: the instance drains, or its session store is unavailable.
    Unavailable,
    /// The socket closed or could not be opened.
    Closed,
    /// No `welcome` arrived within ten seconds.
    Timeout,
    /// No frame arrived for 1.6 ping intervals.
    Silence,
    /// The server drains and announced the time to reconnect.
    Drain,
}

/// Why the client does not reconnect by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The probe got 401, and the client has no source of tokens.
    NotLoggedIn,
    /// The socket was closed with 4401, and the client has no source of tokens.
    SessionEnded,
    /// The session belongs to another user now.
    OtherUser,
}

/// Why a requested page of older messages is not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryFailure {
    /// Another page of the room is under way.
    Busy,
    /// The socket closed before the page arrived.
    Closed,
    /// Messages may be missing, so the page would not adjoin the messages shown.
    Gap,
    /// The server refused, or the room is not joined ([`ErrorCode::NotJoined`]).
    Refused(ErrorCode),
}

/// A message, an event or an amendment in the outbox: not yet acknowledged by the server. An application can store entries beyond the end of the
/// process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The sender. An entry is never sent under another name.
    pub user: UserId,
    /// The room.
    pub room: Room,
    /// The message id, the same for every attempt.
    pub id: MessageId,
    /// The content.
    pub content: Content,
    /// When it was written, in ms since the Unix epoch. Unique; entries are sent in this order.
    pub written_at: Millis,
    /// When it was first sent, in ms since the Unix epoch; `None` before that.
    pub first_sent_at: Option<Millis>,
    /// Its state.
    pub state: OutboxEntryState,
    /// The code of the last refusal.
    pub refusal: Option<ErrorCode>,
}

/// The state of an [`OutboxEntry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxEntryState {
    /// Waits to be sent or to be acknowledged.
    Pending,
    /// The server refused it permanently.
    Failed,
    /// First sent more than ten minutes ago, before a gap. The server may have logged it, and no longer recognises its
    /// id: ask the user before sending it again.
    Uncertain,
    /// The room's log contains it. Leaves the outbox.
    Sent {
        /// Its position in the log.
        pos: Position,
    },
    /// Discarded by the user. Leaves the outbox.
    Discarded,
}
