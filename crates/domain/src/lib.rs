//! Users, rooms, messages, positions and the wire frames of Trunkline.
//!
//! Everything here is pure: no clock, no I/O, no async. A value that exists is valid: [`Room`], [`UserName`],
//! [`MessageText`], [`MessageId`] and [`Position`] can only be made by parsing, so the layers above never check twice.

mod close;
mod command;
mod debouncer;
mod event;
mod message;
mod name;
mod position;
mod room;
mod roster;

use std::time::Duration;

pub use close::{CloseCode, Reconnect};
pub use command::{Command, ErrorCode, JoinFrom, Refusal};
pub use debouncer::{PresenceDebouncer, PresenceUpdate};
pub use event::{DecodeError, Event, Limits};
pub use message::{Draft, Entry, InvalidId, InvalidText, Message, MessageId, MessageText};
pub use name::{InvalidName, UserName};
pub use position::{InvalidPosition, Position, follows};
pub use room::{InvalidRoom, Room};
pub use roster::{ChangeKind, InstanceId, InvalidInstanceId, PresenceChange, PresenceDiff, PresenceSnapshot, Roster};

/// Milliseconds; of a moment, since the Unix epoch.
pub type Millis = u64;

/// The whole milliseconds in `duration`, at most 2⁵³: JSON (RFC 8259 section 6) and Redis's Lua hold so many exactly, and
/// sums of a few do not overflow.
#[must_use]
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX).min(1 << 53)
}
