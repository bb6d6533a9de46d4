//! Frames from server to client. See "Frames" in `docs/PROTOCOL.md`.

use serde::{Deserialize, Serialize};

use crate::{Message, MessageId, Position, Refusal, Room, UserName};

/// A frame to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first frame on every socket.
    Welcome {
        /// The user of the session.
        user: UserName,
        /// Name of the instance that serves the socket.
        instance: String,
        /// Time between pings, in milliseconds.
        ping_interval_ms: u64,
        /// Limits for the client.
        limits: WelcomeLimits,
    },
    /// The response to a join, before the room's first message. Also sent, with `resumed` false, when the gateway cannot prove
    /// that no message is missing.
    Joined {
        /// The room.
        room: Room,
        /// Whether every message after the requested position follows.
        resumed: bool,
        /// Current head of the log.
        head: Position,
    },
    /// A message of a joined room.
    Message {
        /// The room.
        room: Room,
        /// The message.
        #[serde(flatten)]
        message: Message,
    },
    /// The response to a leave; the last frame of the room.
    Left {
        /// The room.
        room: Room,
    },
    /// The acknowledgement of a send: the log contains the message.
    Sent {
        /// The room.
        room: Room,
        /// The id that the client chose.
        id: MessageId,
        /// Position of the message; the same for every retry.
        pos: Position,
    },
    /// The users in a room: the state (`here`, or only the count above 500 users) or a change (`came`, `went`).
    Presence {
        /// The room.
        room: Room,
        /// Number of users.
        count: usize,
        /// All users.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        here: Option<Vec<UserName>>,
        /// Users that joined since the last frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        came: Option<Vec<UserName>>,
        /// Users that left since the last frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        went: Option<Vec<UserName>>,
    },
    /// A user is typing; clients show it for 5 s.
    Typing {
        /// The room.
        room: Room,
        /// The user.
        user: UserName,
    },
    /// A page of older messages, oldest first.
    History {
        /// The room.
        room: Room,
        /// The position in the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Position>,
        /// The messages.
        messages: Vec<Message>,
        /// Whether the log contains older messages.
        more: bool,
    },
    /// A command was refused.
    Error(Refusal),
    /// The server will close the socket.
    Closing {
        /// The reason, for programs: `drain`.
        reason: String,
        /// When to reconnect, in milliseconds from now.
        reconnect_after_ms: u64,
    },
    /// Requests a pong.
    Ping,
    /// A type that this client does not know. Ignore it.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// Limits for the client, as the `welcome` frame states them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WelcomeLimits {
    /// Maximum length of a text, in bytes of UTF-8.
    pub text_bytes: usize,
    /// Maximum number of rooms per socket.
    pub rooms: usize,
}

/// The text is not a frame of this protocol.
#[derive(Debug, thiserror::Error)]
#[error("not a server frame: {0}")]
pub struct DecodeError(#[from] serde_json::Error);

impl Event {
    /// Encodes the frame.
    #[must_use]
    pub fn encode(&self) -> String {
        // Cannot fail: strings, numbers and vectors always serialise, and `Unknown` is never sent.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Decodes a frame, as a client does. An unknown type decodes to [`Event::Unknown`].
    ///
    /// # Errors
    /// [`DecodeError`] if the text is not a JSON object with the fields of its type.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        Ok(serde_json::from_str(text)?)
    }
}
