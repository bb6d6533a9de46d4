//! What a gateway tells: the frames from server to client.

use serde::{Deserialize, Serialize};

use crate::{Message, MessageId, Position, Refusal, Room, UserName};

/// One frame to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// First frame of every socket.
    Welcome {
        /// Who the session says you are.
        user: UserName,
        /// The instance that serves this socket.
        instance: String,
        /// How often it pings, in milliseconds.
        ping_interval_ms: u64,
        /// What a client must keep to.
        limits: Limits,
    },
    /// The answer to a join, before any of the room's messages; unasked, with `resumed` false, when continuity breaks.
    Joined {
        /// Which room.
        room: Room,
        /// Whether everything after the asked position follows.
        resumed: bool,
        /// Where the log ends now.
        head: Position,
    },
    /// A message of a joined room.
    Message {
        /// Which room.
        room: Room,
        /// The message.
        #[serde(flatten)]
        message: Message,
    },
    /// The answer to a leave, the room's last frame.
    Left {
        /// Which room.
        room: Room,
    },
    /// The log holds the message with this id.
    Sent {
        /// Which room.
        room: Room,
        /// The client's id.
        id: MessageId,
        /// The place it got, the same at every retry.
        pos: Position,
    },
    /// Who is here: the whole state (`here`, or the bare count above 500 users), or a change (`came`, `went`).
    Presence {
        /// Which room.
        room: Room,
        /// How many users are here now.
        count: usize,
        /// Everybody who is here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        here: Option<Vec<UserName>>,
        /// Who came since the last frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        came: Option<Vec<UserName>>,
        /// Who went since the last frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        went: Option<Vec<UserName>>,
    },
    /// Somebody is typing; shown for five seconds.
    Typing {
        /// In which room.
        room: Room,
        /// Who.
        user: UserName,
    },
    /// A page of older messages, oldest first.
    History {
        /// Of which room.
        room: Room,
        /// What the request named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<Position>,
        /// The messages.
        messages: Vec<Message>,
        /// Whether there are older ones.
        more: bool,
    },
    /// A command was refused.
    Error(Refusal),
    /// The server will close this socket, not before `reconnect_after_ms`.
    Closing {
        /// Why, for programs: `drain`.
        reason: String,
        /// When to come back, in milliseconds from now.
        reconnect_after_ms: u64,
    },
    /// Are you there?
    Ping,
    /// A type that this client does not know; to be ignored.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// What a client must keep to, as the welcome says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest text, in bytes of UTF-8.
    pub text_bytes: usize,
    /// Most rooms on one socket.
    pub rooms: usize,
}

/// A frame that no version of this protocol sends.
#[derive(Debug, thiserror::Error)]
#[error("not a server frame: {0}")]
pub struct DecodeError(#[from] serde_json::Error);

impl Event {
    /// Writes the frame.
    #[must_use]
    pub fn encode(&self) -> String {
        // Strings, numbers and vectors of them always serialise; `Unknown` is never made for sending.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a frame, as a client does.
    ///
    /// # Errors
    /// Where the text is no JSON object with the fields of its type. An unknown type is [`Event::Unknown`], no error.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        Ok(serde_json::from_str(text)?)
    }
}
