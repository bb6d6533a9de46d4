//! Users, rooms, messages, positions and the wire frames of Trunkline.
//!
//! Everything here is pure: no clock, no I/O, no async, no randomness. A value that exists is valid: [`Room`],
//! [`UserId`], [`MessageText`], [`MessageId`] and [`Position`] are created by parsing, so the layers above never validate
//! again. `docs/PROTOCOL.md` describes the frames, error codes and close codes; a test compares it with the code.

mod close;
mod command;
mod content;
mod data;
mod event;
mod grants;
mod message;
mod name;
mod position;
mod presence;
mod room;
mod roster;
mod user;

use std::time::Duration;

pub use close::{CloseCode, Reconnect};
pub use command::{Command, ErrorCode, JoinFrom, Refusal, Token};
pub use content::{
    Content, ContentFields, EventName, InvalidContent, InvalidEventName, InvalidReactionKey, ReactionKey,
};
pub use data::{Data, InvalidData};
pub use event::{DecodeError, Event, WelcomeLimits};
pub use grants::{Grant, Grants, InvalidRoomPattern, Permission, RoomPattern};
pub use message::{Body, Draft, Entry, InvalidId, InvalidText, Message, MessageId, MessageText};
pub use name::{InvalidName, UserName};
pub use position::{InvalidPosition, Position, follows};
pub use presence::{ChangeKind, InstanceId, InvalidInstanceId, PresenceChange, PresenceDiff, PresenceSnapshot};
pub use room::{InvalidRoom, Room};
pub use roster::Roster;
pub use user::{DisplayName, InvalidDisplayName, InvalidMember, InvalidUserId, Member, UserId};

/// Milliseconds. A point in time is given as milliseconds since the Unix epoch.
pub type Millis = u64;

/// The whole milliseconds in `duration`, at most 2⁵³. JSON (RFC 8259 section 6) and the Lua of Redis represent integers up
/// to that exactly, and sums of a few such values do not overflow.
#[must_use]
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX).min(1 << 53)
}
