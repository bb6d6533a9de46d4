//! Users, rooms, messages, positions and the wire frames of Trunkline.
//!
//! Everything here is pure: no clock, no I/O, no async. A value that exists is valid: [`Room`], [`UserName`],
//! [`MessageText`], [`MessageId`] and [`Position`] can only be made by parsing, so the layers above never check twice.

mod announcer;
mod close;
mod command;
mod event;
mod message;
mod name;
mod position;
mod room;
mod roster;

pub use announcer::{Announcement, Announcer};
pub use close::{CloseCode, Reconnect};
pub use command::{Command, ErrorCode, JoinFrom, Refusal};
pub use event::{DecodeError, Event, Limits};
pub use message::{Draft, Entry, InvalidId, InvalidText, Message, MessageId, MessageText};
pub use name::{InvalidName, UserName};
pub use position::{InvalidPosition, Position, follows};
pub use room::{InvalidRoom, Room};
pub use roster::{Holder, InvalidHolder, Moves, Roster, Shift, Snapshot, Turn};

/// Milliseconds since the Unix epoch.
pub type Millis = u64;
