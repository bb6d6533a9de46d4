//! The history of a run: what every client saw and did, one JSON object a line.
//!
//! A run is judged by its history alone: while it goes on and by `trunkline-check judge FILE` afterwards, by the same
//! code. The first line is a [`Line::Run`]. Lines stand in the order in which things happened, as far as this can be
//! known in one process: a `send` is written down before its bytes leave, whatever comes in after it has been read. So
//! an effect never stands before its cause.
//!
//! # Fields
//! | field | meaning |
//! | --- | --- |
//! | `e` | what happened: the variants of [`Line`] in snake case |
//! | `t` | microseconds since the run began |
//! | `c` | the client: the number that a `client` line gave it |
//! | `s` | which of its sockets, counted from 1; during a hand-over a client has two |
//! | `room`, `id`, `pos`, `head`, `after`, `code`, `resumed` | as in the frames of the protocol |
//!
//! Unknown fields are ignored, so that histories of later versions can be judged as far as they are understood.
//!
//! ```
//! use trunkline_check::history::Line;
//!
//! let text = r#"{"e":"message","t":1500,"c":3,"room":"r1","pos":"17-2","id":"a","user":"w1"}"#;
//! let Line::Message { t, pos, .. } = Line::parse(text).unwrap() else { panic!() };
//! assert_eq!((t, pos.offset), (1500, 2));
//! ```

mod fault;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use trunkline_client::SocketId;
use trunkline_domain::{Millis, Position};

pub use self::fault::Fault;

/// Microseconds since a run began.
pub type Micros = u64;

/// The number of a client in a history.
pub type ClientNumber = u32;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum Line<'a> {
    /// The first line.
    Run {
        /// The version of this format: 1.
        version: u32,
        /// When the run began.
        started: Millis,
        /// What was checked.
        url: Cow<'a, str>,
        /// From which the run's choices came.
        seed: u64,
    },
    /// A client enters the run.
    Client {
        /// Its number, from 0.
        c: ClientNumber,
        /// Whom it is logged in as.
        user: Cow<'a, str>,
    },
    /// A socket said `welcome`; it replaces the client's socket before.
    Open {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
        /// Its socket.
        s: SocketId,
        /// The instance that serves it.
        instance: Cow<'a, str>,
    },
    /// An attempt came to nothing: the probe's or the handshake's HTTP status, 0 for none.
    Rejected {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
        /// HTTP status.
        status: u16,
    },
    /// `join` was sent.
    Join {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
        /// Which room.
        room: Cow<'a, str>,
        /// Where the client stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Position>,
        /// How many of the latest messages it wants.
        recent: usize,
    },
    /// `joined` came.
    Joined {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
        /// Which room.
        room: Cow<'a, str>,
        /// Whether continuity is proven.
        resumed: bool,
        /// Where the log ended.
        head: Position,
    },
    /// `leave` was sent.
    Leave {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
        /// Which room.
        room: Cow<'a, str>,
    },
    /// `left` came.
    Left {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
        /// Which room.
        room: Cow<'a, str>,
    },
    /// `send` was sent: an attempt.
    Send {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
        /// Where to.
        #[serde(borrow)]
        room: Cow<'a, str>,
        /// Which message.
        #[serde(borrow)]
        id: Cow<'a, str>,
        /// When the message was meant to be sent, by the plan of the run: latencies count from here, so that a stalled
        /// server cannot hide its stall by slowing the writers down.
        due: Micros,
    },
    /// `sent` came.
    Sent {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
        /// Which room.
        #[serde(borrow)]
        room: Cow<'a, str>,
        /// Which message.
        #[serde(borrow)]
        id: Cow<'a, str>,
        /// Where it stands.
        pos: Position,
    },
    /// `error` came.
    Error {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
        /// About which room, if the frame says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<Cow<'a, str>>,
        /// About which message, if the frame says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// Why.
        code: Cow<'a, str>,
    },
    /// `message` came.
    Message {
        /// When.
        t: Micros,
        /// Who saw it.
        c: ClientNumber,
        /// In which room.
        #[serde(borrow)]
        room: Cow<'a, str>,
        /// Where it stands.
        pos: Position,
        /// Which.
        #[serde(borrow)]
        id: Cow<'a, str>,
        /// Who wrote it, as the frame says.
        #[serde(borrow)]
        user: Cow<'a, str>,
        /// The text is not the one that was sent.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        torn: bool,
    },
    /// `presence` came: a state with `here` or with neither list, else a change.
    Presence {
        /// When.
        t: Micros,
        /// Who was told.
        c: ClientNumber,
        /// Of which room.
        room: Cow<'a, str>,
        /// How many are said to be there.
        count: usize,
        /// Everybody who is there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        here: Option<Vec<Cow<'a, str>>>,
        /// Who came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        came: Option<Vec<Cow<'a, str>>>,
        /// Who went.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        went: Option<Vec<Cow<'a, str>>>,
    },
    /// `closing` came.
    Closing {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
    },
    /// The server closed the socket, or it broke (1006).
    Close {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
        /// Its socket.
        s: SocketId,
        /// The close code.
        code: u16,
    },
    /// The client closed the socket.
    GaveUp {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
        /// Its socket.
        s: SocketId,
    },
    /// A frame came that no gateway sends.
    Unreadable {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
    },
    /// The client's session ended; frames may come for `within` more.
    LoggedOut {
        /// When.
        t: Micros,
        /// Who.
        c: ClientNumber,
        /// Microseconds that the deployment has for it.
        within: Micros,
    },
    /// A fault was injected.
    Fault(Fault<'a>),
    /// The last fault is over.
    Healed {
        /// When.
        t: Micros,
    },
    /// Nobody comes or goes any more, since the first of these lines: presence is compared with the sockets.
    Still {
        /// When.
        t: Micros,
        /// It should be right by now: a lease has passed.
        last: bool,
    },
    /// All that was written is settled; what still comes is due only to earlier sends.
    Quiet {
        /// When.
        t: Micros,
    },
    /// A page of a fresh read of a room, after [`Line::Quiet`]; the latest page first, each oldest first.
    Tail {
        /// When.
        t: Micros,
        /// Which room.
        room: Cow<'a, str>,
        /// The messages.
        #[serde(borrow)]
        messages: Vec<TailEntry<'a>>,
    },
    /// What a gateway process holds.
    Gauge {
        /// When.
        t: Micros,
        /// Which process.
        pid: u32,
        /// When, in the course of the run.
        stage: Stage,
        /// Resident memory in bytes.
        rss: u64,
        /// Open file descriptors.
        fds: u64,
        /// Threads.
        threads: u64,
    },
    /// The clients go, by themselves: that they close their sockets from here on says nothing.
    Over {
        /// When.
        t: Micros,
    },
    /// The last line: every client is gone.
    End {
        /// When.
        t: Micros,
    },
}

/// One message of a fresh read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailEntry<'a> {
    /// Where it stands.
    pub pos: Position,
    /// Which.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Who wrote it.
    #[serde(borrow)]
    pub user: Cow<'a, str>,
}

/// When in the course of a run something was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Before the first client.
    Before,
    /// While all clients are there.
    Under,
    /// After the last client.
    After,
}

impl<'a> Line<'a> {
    /// Reads one line.
    ///
    /// # Errors
    /// Where the line is no JSON object of this format.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Appends the line to `out`, with its line break.
    pub fn write(&self, out: &mut Vec<u8>) {
        // A vector takes every byte, and strings, numbers and lists of them always serialise.
        let _ = serde_json::to_writer(&mut *out, self);
        out.push(b'\n');
    }

    /// When it happened; the lines about the run as a whole have no time.
    #[must_use]
    pub fn time(&self) -> Option<Micros> {
        match self {
            Self::Run { .. } | Self::Client { .. } => None,
            Self::Fault(fault) => Some(fault.t),
            Self::Open { t, .. }
            | Self::Rejected { t, .. }
            | Self::Join { t, .. }
            | Self::Joined { t, .. }
            | Self::Leave { t, .. }
            | Self::Left { t, .. }
            | Self::Send { t, .. }
            | Self::Sent { t, .. }
            | Self::Error { t, .. }
            | Self::Message { t, .. }
            | Self::Presence { t, .. }
            | Self::Closing { t, .. }
            | Self::Close { t, .. }
            | Self::GaveUp { t, .. }
            | Self::Unreadable { t, .. }
            | Self::LoggedOut { t, .. }
            | Self::Healed { t }
            | Self::Still { t, .. }
            | Self::Quiet { t }
            | Self::Over { t }
            | Self::Tail { t, .. }
            | Self::Gauge { t, .. }
            | Self::End { t } => Some(*t),
        }
    }
}
