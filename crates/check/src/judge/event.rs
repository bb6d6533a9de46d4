//! A history line whose names are replaced by numbers, which invariants compare millions of times.

use trunkline_client::SocketId;
use trunkline_domain::Position;

use crate::history::{ClientNumber, FoldedRange, InjectedFault, LoggedMessage, MeasurementStage, Micros};

/// Number of a room within one judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RoomNumber(pub(crate) u32);

/// Number of a user within one judgement, whether or not the user is a client of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UserNumber(pub(crate) u32);

/// Number of a message within one judgement. Room, user and id identify a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MessageNumber(pub(crate) u32);

/// Number of an instance within one judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InstanceNumber(pub(crate) u32);

/// The kind of an entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A text, or an event of the application.
    Message,
    Edit {
        of: Position,
    },
    Delete {
        of: Position,
    },
    React {
        of: Position,
    },
    /// A text, or an edit of one, that was deleted.
    Redacted,
}

impl EntryKind {
    /// Returns the message whose text the entry at `pos` carries, if it carries one.
    pub(crate) fn carries_text_of(self, pos: Position) -> Option<Position> {
        match self {
            Self::Message => Some(pos),
            Self::Edit { of } => Some(of),
            Self::Delete { .. } | Self::React { .. } | Self::Redacted => None,
        }
    }

    pub(crate) fn is_amendment(self) -> bool {
        matches!(self, Self::Edit { .. } | Self::Delete { .. } | Self::React { .. })
    }
}

/// A history line with numbers in place of names.
#[derive(Debug)]
pub(crate) struct HistoryEvent {
    /// Time of the event; 0 if the line has no time.
    pub(crate) t: Micros,
    /// The client; 0 if the line belongs to no client.
    pub(crate) client: ClientNumber,
    pub(crate) kind: EventKind,
}

/// One event of the history. The variants mirror those of `HistoryLine`.
#[derive(Debug)]
pub(crate) enum EventKind {
    Client,
    Open {
        socket: SocketId,
        instance: InstanceNumber,
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
        kind: EntryKind,
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
        kind: EntryKind,
        altered: bool,
    },
    PageRequest {
        room: RoomNumber,
    },
    Page {
        room: RoomNumber,
        entries: Vec<(Position, EntryKind)>,
    },
    Presence {
        room: RoomNumber,
        count: usize,
        content: PresenceContent,
        /// Users of the run whose display name is wrong.
        misnamed: Vec<UserNumber>,
    },
    Refreshed,
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
        asked: Micros,
        /// Empty for the latest messages that followed `joined`, which are part of a page too.
        messages: Vec<(Position, MessageNumber)>,
        entries: Vec<LoggedMessage<'static>>,
    },
    Folded {
        /// The client; `None` for the client that made the reference read.
        by: Option<ClientNumber>,
        room: RoomNumber,
        shown: FoldedRange<'static>,
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
