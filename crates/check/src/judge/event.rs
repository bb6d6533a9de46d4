//! A history line whose names are replaced by numbers, which invariants compare millions of times.

use trunkline_client::SocketId;
use trunkline_domain::Position;

use crate::history::{ClientNumber, InjectedFault, MeasurementStage, Micros};

/// Number of a room within one judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RoomNumber(pub(crate) u32);

/// Number of a user within one judgement, whether or not the user is a client of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UserNumber(pub(crate) u32);

/// Number of a message within one judgement. Room, user and id identify a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MessageNumber(pub(crate) u32);

/// A history line with numbers in place of names.
#[derive(Debug)]
pub(crate) struct HistoryEvent {
    /// Time of the event; 0 if the line has no time.
    pub(crate) t: Micros,
    /// The client; 0 if the line belongs to no client.
    pub(crate) client: ClientNumber,
    pub(crate) kind: EventKind,
}

/// What happened. The variants mirror those of `HistoryLine`.
#[derive(Debug)]
pub(crate) enum EventKind {
    Client,
    Open {
        socket: SocketId,
    },
    Rejected {
        status: u16,
    },
    Join {
        room: RoomNumber,
        after: bool,
        recent: usize,
    },
    Joined {
        room: RoomNumber,
        resumed: bool,
        head: Position,
    },
    Leave {
        room: RoomNumber,
    },
    Left {
        room: RoomNumber,
    },
    Send {
        room: RoomNumber,
        message: MessageNumber,
        due: Micros,
    },
    Sent {
        room: RoomNumber,
        message: MessageNumber,
        pos: Position,
    },
    /// `error` came. It is definite unless its code is `unavailable`, after which the message may still be in the log.
    Refused {
        message: Option<MessageNumber>,
        definite: bool,
    },
    Message {
        room: RoomNumber,
        pos: Position,
        message: MessageNumber,
        altered: bool,
    },
    Presence {
        room: RoomNumber,
        count: usize,
        content: PresenceContent,
    },
    PresenceCheck {
        last: bool,
    },
    Closing,
    Close {
        socket: SocketId,
        code: u16,
    },
    ClientClose {
        socket: SocketId,
    },
    InvalidFrame,
    SessionEnded {
        within: Micros,
    },
    Fault(InjectedFault<'static>),
    Phase {
        name: String,
    },
    Healed,
    Settled,
    Disconnecting,
    ReferencePage {
        room: RoomNumber,
        messages: Vec<(Position, MessageNumber)>,
    },
    ProcessUsage {
        pid: u32,
        stage: MeasurementStage,
        rss: u64,
        fds: u64,
        threads: u64,
    },
    /// `Run` and `End`, which no invariant looks at.
    Other,
}

/// Users that a `presence` frame names.
#[derive(Debug)]
pub(crate) enum PresenceContent {
    /// No user: the room has too many, and the frame holds only their number.
    CountOnly,
    /// All users in the room.
    Full(Vec<UserNumber>),
    /// The difference from the previous state.
    Diff { joined: Vec<UserNumber>, left: Vec<UserNumber> },
}
