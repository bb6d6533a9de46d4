//! Frames from server to client. See "Frames" in `docs/PROTOCOL.md`.

use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::value::RawValue;

use crate::{
    Data, DisplayName, EventName, Member, Message, MessageId, Position, Refusal, Room, UserId, message::MessageFields,
};

/// A frame to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first frame on every socket.
    Welcome {
        /// The user of the socket.
        user: UserId,
        /// Their name, unless it equals the id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<DisplayName>,
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
        /// The user's read mark, if there is one. In the answer to a join only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<Position>,
    },
    /// A message of a joined room.
    #[serde(skip_deserializing)]
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
    /// The users in a room: the state (`users`, or only the count above 500 users) or a change (`joined`, `left`).
    Presence {
        /// The room.
        room: Room,
        /// Number of users.
        count: usize,
        /// All users.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        users: Option<Vec<Member>>,
        /// Users that joined since the last frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        joined: Option<Vec<Member>>,
        /// Users that left since the last frame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<Vec<Member>>,
    },
    /// A user is typing; clients show it for 5 s.
    Typing {
        /// The room.
        room: Room,
        /// The user.
        user: UserId,
    },
    /// An event that is not logged.
    #[serde(skip_deserializing)]
    Signal {
        /// The room.
        room: Room,
        /// Its sender.
        user: UserId,
        /// Its name.
        event: EventName,
        /// Its data.
        data: Data,
    },
    /// The user's read mark of a room has moved, on another socket.
    Seen {
        /// The room.
        room: Room,
        /// The mark.
        pos: Position,
    },
    /// The answer to a refresh: the identity has been replaced.
    Refreshed {
        /// Time until the new identity ends, in seconds.
        expires_in: u64,
    },
    /// A page of older messages, oldest first.
    #[serde(skip_deserializing)]
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
    /// Maximum length of the data of an event, in bytes.
    #[serde(default = "default_data_bytes")]
    pub data_bytes: usize,
}

fn default_data_bytes() -> usize {
    Data::MAX_BYTES
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
        #[derive(Deserialize)]
        struct Tag<'a> {
            #[serde(rename = "type", borrow)]
            kind: std::borrow::Cow<'a, str>,
        }
        #[derive(Deserialize)]
        struct SignalFields {
            room: Room,
            user: UserId,
            event: EventName,
            #[serde(default)]
            data: Option<Box<RawValue>>,
        }
        #[derive(Deserialize)]
        struct HistoryFields {
            room: Room,
            #[serde(default)]
            before: Option<Position>,
            messages: Vec<Message>,
            more: bool,
        }
        // Frames with data are decoded without a tag: serde would lose the bytes of the data.
        match &*serde_json::from_str::<Tag<'_>>(text)?.kind {
            "message" => {
                let fields: MessageFields = serde_json::from_str(text)?;
                let room = fields.room.clone().ok_or_else(|| serde_json::Error::missing_field("room"))?;
                let message = fields.try_into().map_err(serde_json::Error::custom)?;
                Ok(Self::Message { room, message })
            }
            "signal" => {
                let SignalFields { room, user, event, data } = serde_json::from_str(text)?;
                let data = data.map_or_else(|| Ok(Data::null()), |data| Data::new(&data));
                Ok(Self::Signal { room, user, event, data: data.map_err(serde_json::Error::custom)? })
            }
            "history" => {
                let HistoryFields { room, before, messages, more } = serde_json::from_str(text)?;
                Ok(Self::History { room, before, messages, more })
            }
            _ => Ok(serde_json::from_str(text)?),
        }
    }
}
