//! What goes into the core and what comes out of it.

use trunkline_domain::{Command, ErrorCode, Event, Message, MessageId, MessageText, Millis, Position, Room, UserName};

/// The number of an attempt and of its socket, counted from 1.
pub type SocketId = u64;

/// What the core is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// Be connected from now on; while waiting, try now.
    Connect,
    /// Be disconnected from now on.
    Disconnect,
    /// Time has passed; do what is due.
    Tick,
    /// The network is back: do not sit out the back-off.
    Online,
    /// The network is gone, as far as the host knows.
    Offline,
    /// The person looks at the application again: do not sit out the back-off.
    Visible,
    /// The answer to [`Effect::Probe`].
    Probed {
        /// Of which attempt.
        socket: SocketId,
        /// What came back.
        answer: Probed,
    },
    /// A frame came.
    Frame {
        /// On which socket.
        socket: SocketId,
        /// The frame.
        event: Event,
    },
    /// A `message` frame came whose content the driver keeps to itself: the core does its duties without
    /// emitting [`Notice::Message`].
    Passed {
        /// On which socket.
        socket: SocketId,
        /// What of it concerns the core.
        passed: Passed,
    },
    /// The socket is closed or could not be opened.
    Closed {
        /// Which.
        socket: SocketId,
        /// The close code; 1006 where there is none.
        code: u16,
    },
    /// Be in that room from now on.
    Join {
        /// Which.
        room: Room,
        /// How many of the latest messages to ask for, 0 to 200.
        recent: usize,
    },
    /// Be in that room no more.
    Leave {
        /// Which.
        room: Room,
    },
    /// What the store holds for this user and room: the answer to [`Effect::Load`]; may come again with more.
    Outbox {
        /// Of which room.
        room: Room,
        /// The stored entries; those of other users and rooms are passed over.
        entries: Vec<Entry>,
    },
    /// The person sends.
    Send {
        /// Where to.
        room: Room,
        /// A new id, never used before in this room by this user.
        id: MessageId,
        /// What.
        text: MessageText,
    },
    /// The person wants an entry that is failed or unsure to be sent again.
    Retry {
        /// In which room.
        room: Room,
        /// Which.
        id: MessageId,
    },
    /// The person gives an entry up.
    Discard {
        /// In which room.
        room: Room,
        /// Which.
        id: MessageId,
    },
    /// A page of older messages is wanted.
    History {
        /// Of which room.
        room: Room,
        /// Older than this; `None`: the latest.
        before: Option<Position>,
        /// At most this many, 1 to 200.
        limit: usize,
    },
    /// The person types.
    Typing {
        /// In which room.
        room: Room,
    },
}

/// What a probe of `GET /session` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// 200: the session is good and belongs to this user.
    LoggedIn(UserName),
    /// 401.
    NotLoggedIn,
    /// 503, and the milliseconds of its `Retry-After`.
    Unavailable(Millis),
    /// No answer, or another status, and the milliseconds of its `Retry-After`.
    Unreachable(Millis),
}

/// What the core needs of a message that it does not pass on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The message's room.
    pub room: Room,
    /// Its position.
    pub pos: Position,
    /// Its id, if this user wrote it.
    pub own: Option<MessageId>,
}

/// What the driver does, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask `GET /session`, answer with [`Input::Probed`]. Probe and socket of one attempt bear one number.
    Probe {
        /// Of which attempt.
        socket: SocketId,
    },
    /// Open the WebSocket; [`Input::Frame`] and [`Input::Closed`] follow.
    Open {
        /// Under which number.
        socket: SocketId,
    },
    /// Close it with 1000; nothing that it says matters any more.
    Close {
        /// Which.
        socket: SocketId,
    },
    /// Send the frame; a `send` only after the store has taken the [`Notice::Entry`] before it.
    Transmit {
        /// On which socket.
        socket: SocketId,
        /// What.
        command: Command,
    },
    /// Read that user's entries of that room from the store, answer with [`Input::Outbox`].
    Load {
        /// Whose.
        user: UserName,
        /// Of which room.
        room: Room,
    },
    /// Tell the application.
    Tell(Notice),
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The connection changed.
    State(State),
    /// An entry of the outbox came to be or changed: store it (sent or discarded: delete it) and show it.
    Entry(Entry),
    /// Subscribed.
    Joined {
        /// To which room.
        room: Room,
        /// Where its log ends now.
        head: Position,
        /// Whether everything after the last message shown follows.
        resumed: bool,
        /// Drop what is held of the room and show that messages may be missing.
        gap: bool,
    },
    /// Everything up to the `head` of the last [`Notice::Joined`] was shown.
    CaughtUp {
        /// In which room.
        room: Room,
        /// How many messages had been missed, after a proven resume; else 0.
        missed: usize,
    },
    /// A message to show.
    Message {
        /// In which room.
        room: Room,
        /// The message.
        message: Message,
        /// Whether this user wrote it.
        own: bool,
    },
    /// The page asked for, oldest first.
    History {
        /// Of which room.
        room: Room,
        /// What was asked for.
        before: Option<Position>,
        /// The messages.
        messages: Vec<Message>,
        /// Whether there are older ones.
        more: bool,
    },
    /// The page asked for does not come.
    HistoryFailed {
        /// Of which room.
        room: Room,
        /// What was asked for.
        before: Option<Position>,
        /// Why.
        cause: PageFailure,
    },
    /// Who is in a room.
    Presence {
        /// Which room.
        room: Room,
        /// How many users.
        count: usize,
        /// All of them, sorted; `None` where the server does not tell.
        here: Option<Vec<UserName>>,
        /// Who came just now.
        came: Vec<UserName>,
        /// Who went just now.
        went: Vec<UserName>,
    },
    /// Somebody types; shown for five seconds.
    Typing {
        /// In which room.
        room: Room,
        /// Who.
        user: UserName,
    },
    /// A refusal that belongs to no entry and no page. If a join was refused for good, the room is given up.
    Refused {
        /// Why, for programs.
        code: ErrorCode,
        /// About which room, as the server wrote it.
        room: Option<String>,
        /// Why, for people; `None` if the core itself refuses.
        detail: Option<String>,
    },
}

/// How the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// An attempt is under way.
    Connecting,
    /// The server said `welcome`.
    Connected {
        /// Who the session says we are.
        user: UserName,
        /// Which instance serves us.
        instance: String,
    },
    /// The next attempt comes at `retry_at`.
    Waiting {
        /// Why there is no connection.
        cause: Cause,
        /// When the next attempt comes, in milliseconds since the Unix epoch.
        retry_at: Millis,
        /// The close code, where a close has led here.
        code: Option<u16>,
        /// The host says that there is no network (the timer runs all the same: hosts are wrong about this).
        offline: bool,
    },
    /// Not logged in any more: nothing happens until [`Input::Connect`].
    Ended(End),
    /// 4409: too many sockets of this user; nothing happens until [`Input::Connect`].
    Down,
    /// Disconnected on request.
    Closed,
}

/// Why the client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The probe got no answer, or none that makes sense.
    Unreachable,
    /// 503: draining, or the store is away.
    Unavailable,
    /// The socket closed or could not be opened.
    Closed,
    /// Ten seconds without `welcome`.
    Timeout,
    /// Nothing was heard for 1.6 ping intervals.
    Silence,
    /// The draining server named the time.
    Drain,
}

/// Why the client does not come back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The probe said 401.
    NotLoggedIn,
    /// The socket was closed with 4401.
    SessionEnded,
    /// The session belongs to another user now.
    OtherUser,
}

/// Why a page does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFailure {
    /// A page of this room is already under way.
    Busy,
    /// The socket closed before it came.
    Closed,
    /// Continuity broke before it came.
    Gap,
    /// The server refused ([`ErrorCode::NotJoined`]: the room is not joined).
    Refused(ErrorCode),
}

/// One message of the outbox. It belongs to a user and may outlive the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose; never sent under another name.
    pub user: UserName,
    /// Where to.
    pub room: Room,
    /// The same at every attempt.
    pub id: MessageId,
    /// What.
    pub text: MessageText,
    /// When it was written, in milliseconds since the Unix epoch; orders the outbox, so no two are equal.
    pub at: Millis,
    /// When it was first sent; `None` before that.
    pub tried: Option<Millis>,
    /// What became of it.
    pub state: EntryState,
    /// The last refusal.
    pub code: Option<ErrorCode>,
}

/// What became of an entry of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// Waits for the wire or for its answer.
    Pending,
    /// The server refused it for good.
    Failed,
    /// May have been written more than ten minutes ago, before a gap: ask the person.
    Unsure,
    /// The room's log holds it.
    Sent {
        /// Where.
        pos: Position,
    },
    /// Given up by the person.
    Discarded,
}
