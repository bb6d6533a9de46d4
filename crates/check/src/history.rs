//! The history of a run: everything that each client sent and received, one JSON object per line.
//!
//! The judge decides from the history alone. It reads it while the run goes on, and `trunkline-check judge FILE` reads a
//! recorded file with the same code. The first line is a [`HistoryLine::Run`].
//!
//! Lines are in causal order: a client records a `send` before its bytes leave the process, and a received frame after it
//! was read. An effect therefore never precedes its cause.
//!
//! # Fields
//! | field | meaning |
//! | --- | --- |
//! | `e` | kind of the event, see [`HistoryLine`] |
//! | `t` | microseconds since the start of the run |
//! | `c` | number of the client, assigned by a `client` line |
//! | `s` | number of the client's socket, counted from 1; during a hand-over a client has two |
//! | `room`, `id`, `pos`, `head`, `after`, `before`, `code`, `resumed`, `event`, `ref`, `deleted` | as in the frames of the protocol |
//!
//! Readers ignore unknown fields, so that an older checker can judge the history of a newer one.
//!
//! ```
//! use trunkline_check::history::HistoryLine;
//!
//! let text = r#"{"e":"message","t":1500,"c":3,"room":"r1","pos":"17-2","id":"a","user":"w1"}"#;
//! let HistoryLine::Message { t, pos, .. } = HistoryLine::parse(text).unwrap() else { panic!() };
//! assert_eq!((t, pos.offset), (1500, 2));
//! ```

mod encoding;
mod parts;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use trunkline_client::SocketId;
use trunkline_domain::{DisplayName, Member, Millis, Position};

pub use self::parts::{FoldedEntry, FoldedRange, InjectedFault, LoggedMessage, MeasurementStage};

/// Microseconds since the start of a run, or a duration in microseconds.
pub type Micros = u64;

/// Number of a client in a history, counted from 0.
pub type ClientNumber = u32;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum HistoryLine<'a> {
    /// The first line of a history.
    Run {
        /// Version of this format. The current version is 2.
        version: u32,
        /// Wall-clock time at which the run began, in milliseconds since the Unix epoch.
        started: Millis,
        /// URL of the deployment under test.
        url: Cow<'a, str>,
        /// Seed of the load plan: the order of clients and the time of each send follow from it.
        seed: u64,
    },
    /// A client takes part in the run.
    Client {
        /// Number of the client, counted from 0.
        c: ClientNumber,
        /// User that the client is logged in as.
        user: Cow<'a, str>,
        /// Display name of the user, unless it equals the id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<DisplayName>,
    },
    /// A socket received `welcome`. It replaces the previous socket of the client.
    Open {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The socket.
        s: SocketId,
        /// Name of the instance that serves the socket.
        instance: Cow<'a, str>,
    },
    /// A session probe or a WebSocket handshake failed.
    Rejected {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// HTTP status of the response; 0 if there was no response.
        status: u16,
    },
    /// The client sent `join`.
    Join {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The room.
        room: Cow<'a, str>,
        /// Position that the client asks to resume after.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Position>,
        /// Number of latest messages that the client asks for.
        recent: usize,
    },
    /// The client received `joined`.
    Joined {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The room.
        room: Cow<'a, str>,
        /// Whether the gateway proved that no message is missing after the requested position.
        resumed: bool,
        /// Position of the newest entry of the log.
        head: Position,
    },
    /// The client sent `leave`.
    Leave {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The room.
        room: Cow<'a, str>,
    },
    /// The client received `left`.
    Left {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The room.
        room: Cow<'a, str>,
    },
    /// The client sent `send`. A retry of the same message is another line.
    Send {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The room.
        #[serde(borrow)]
        room: Cow<'a, str>,
        /// Id of the message.
        #[serde(borrow)]
        id: Cow<'a, str>,
        /// Time at which the plan of the run scheduled the message. Latencies count from here, so that a stalled deployment cannot hide
        /// the stall by slowing the writers down (coordinated omission).
        due: Micros,
        /// Name of the event, if it is one or an amendment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<Cow<'a, str>>,
        /// Message that it amends.
        #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
        of: Option<Position>,
    },
    /// The client received `sent`: the message is acknowledged.
    Sent {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The room.
        #[serde(borrow)]
        room: Cow<'a, str>,
        /// Id of the message.
        #[serde(borrow)]
        id: Cow<'a, str>,
        /// Position of the message.
        pos: Position,
    },
    /// The client received `error`.
    Error {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// Room that the error is about, if the frame names one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<Cow<'a, str>>,
        /// Message that the error is about, if the frame names one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// Error code.
        code: Cow<'a, str>,
    },
    /// The client received `message`.
    Message {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The room.
        #[serde(borrow)]
        room: Cow<'a, str>,
        /// Position of the message.
        pos: Position,
        /// Id of the message.
        #[serde(borrow)]
        id: Cow<'a, str>,
        /// Author of the message, as the frame names it.
        #[serde(borrow)]
        user: Cow<'a, str>,
        /// Name of the event, if it is one or an amendment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<Cow<'a, str>>,
        /// Message that it amends.
        #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
        of: Option<Position>,
        /// Whether the text was deleted.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        deleted: bool,
        /// Whether text or data differ from what was sent.
        #[serde(rename = "torn", default, skip_serializing_if = "std::ops::Not::not")]
        altered: bool,
    },
    /// The client sent `history`.
    #[serde(rename = "asked")]
    PageRequest {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The room.
        room: Cow<'a, str>,
        /// Position before which it asks for messages.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Position>,
    },
    /// The client received `history`.
    Page {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The room.
        room: Cow<'a, str>,
        /// Messages of the page, from the oldest to the newest.
        #[serde(borrow)]
        messages: Vec<LoggedMessage<'a>>,
    },
    /// The client received `presence`. With `users` or without any list it is a full state, otherwise a difference.
    Presence {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The room.
        room: Cow<'a, str>,
        /// Number of users in the room, according to the frame.
        count: usize,
        /// All users in the room.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        users: Option<Vec<Member>>,
        /// Users that joined.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        joined: Option<Vec<Member>>,
        /// Users that left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<Vec<Member>>,
    },
    /// The client received `refreshed`: a new token has replaced its identity.
    Refreshed {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
    },
    /// The client received `closing`: the instance drains.
    Closing {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
    },
    /// The server closed the socket, or the connection broke (code 1006).
    Close {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The socket.
        s: SocketId,
        /// Close code.
        code: u16,
    },
    /// The client closed the socket.
    #[serde(rename = "gave_up")]
    ClientClose {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// The socket.
        s: SocketId,
    },
    /// The client received a frame that is not part of the protocol.
    #[serde(rename = "unreadable")]
    InvalidFrame {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
    },
    /// The session of the client ended. Frames may still arrive for `within` microseconds.
    #[serde(rename = "logged_out")]
    SessionEnded {
        /// Time of the event.
        t: Micros,
        /// The client.
        c: ClientNumber,
        /// Time in microseconds that the deployment has to close the sockets of the session.
        within: Micros,
    },
    /// A fault was injected.
    Fault(InjectedFault<'a>),
    /// A phase of the run begins and the previous one ends. Verdicts report latencies and errors per phase.
    Phase {
        /// Time of the event.
        t: Micros,
        /// Name of the phase. Everything in a phase `group/part` also counts in the phase `group`.
        name: Cow<'a, str>,
    },
    /// All injected faults have ended.
    Healed {
        /// Time of the event.
        t: Micros,
    },
    /// Presence is compared with the open sockets. From the first of these lines on no client joins or leaves.
    #[serde(rename = "still")]
    PresenceCheck {
        /// Time of the event.
        t: Micros,
        /// Whether presence must be right now, because one lease has passed.
        last: bool,
    },
    /// Every message is settled: acknowledged, refused, or abandoned.
    #[serde(rename = "quiet")]
    Settled {
        /// Time of the event.
        t: Micros,
    },
    /// One page of the reference read of a room, which follows [`HistoryLine::Settled`]. Pages are in order from the newest to
    /// the oldest; the messages of a page are in order from the oldest to the newest.
    #[serde(rename = "tail")]
    ReferencePage {
        /// Time of the event.
        t: Micros,
        /// The room.
        room: Cow<'a, str>,
        /// Time at which the page was requested.
        #[serde(default)]
        asked: Micros,
        /// Not a page, but the latest messages that followed `joined`. They come from the memory of a gateway.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        recent: bool,
        /// Messages of the page.
        #[serde(borrow)]
        messages: Vec<LoggedMessage<'a>>,
    },
    /// What a client shows of a room at the end of the run: its fold of the messages and amendments that it received.
    Folded {
        /// Time of the event.
        t: Micros,
        /// The client; `None` for the client that made the reference read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        c: Option<ClientNumber>,
        /// The room.
        room: Cow<'a, str>,
        /// The part of the log that it shows.
        #[serde(borrow)]
        shown: FoldedRange<'a>,
    },
    /// Resources of a gateway process.
    #[serde(rename = "gauge")]
    ProcessUsage {
        /// Time of the event.
        t: Micros,
        /// Process id.
        pid: u32,
        /// Stage of the run.
        stage: MeasurementStage,
        /// Resident memory in bytes.
        rss: u64,
        /// Open file descriptors.
        fds: u64,
        /// Threads.
        threads: u64,
    },
    /// The clients disconnect because the run ends. From here on a closed socket is not a finding.
    #[serde(rename = "over")]
    Disconnecting {
        /// Time of the event.
        t: Micros,
    },
    /// The last line: every client has disconnected.
    End {
        /// Time of the event.
        t: Micros,
    },
}
