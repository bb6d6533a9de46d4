//! Frames from client to gateway, and refusals. See "From the client" and "Error codes" in `docs/PROTOCOL.md`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{InvalidText, MessageId, MessageText, Position, Room};

/// A frame from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Subscribe to a room.
    Join {
        /// The room.
        room: Room,
        /// Where the subscription starts.
        from: JoinFrom,
    },
    /// Unsubscribe from a room; cancels a join that is under way.
    Leave {
        /// The room.
        room: Room,
    },
    /// Publish a message. Retries use the same id.
    Send {
        /// The room.
        room: Room,
        /// The id that the client chose for the message.
        id: MessageId,
        /// The text.
        text: MessageText,
    },
    /// Request a page of older messages.
    History {
        /// The room.
        room: Room,
        /// Only messages before this position; no message needs to exist at it. `None`: the latest messages.
        before: Option<Position>,
        /// Maximum number of messages, 1 to 200.
        limit: usize,
    },
    /// The user is typing.
    Typing {
        /// The room.
        room: Room,
    },
    /// The response to a ping.
    Pong,
}

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinFrom {
    /// Start after this position, if the log proves that no message is missing.
    pub after: Option<Position>,
    /// Number of latest messages to start with if `after` is absent or not proven, 0 to 200.
    pub recent: usize,
}

impl JoinFrom {
    /// Maximum value of `recent`.
    pub const MAX_RECENT: usize = 200;
    /// Value of `recent` if the frame omits it.
    pub const DEFAULT_RECENT: usize = 50;
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The frame is not a JSON object, or a field has the wrong type.
    BadFrame,
    /// This gateway does not know the `type`.
    UnknownType,
    /// The room name is invalid.
    BadRoom,
    /// The message id is invalid.
    BadId,
    /// The text is blank or contains control characters.
    BadText,
    /// The text exceeds 4,096 bytes.
    TooLong,
    /// The socket has not joined the room.
    NotJoined,
    /// The socket has joined the maximum number of rooms.
    TooManyRooms,
    /// The policy forbids the command.
    Forbidden,
    /// Too many commands; retry after `retry_after_ms`.
    RateLimited,
    /// The log did not confirm the message, which may or may not have been appended. Retry with the same id.
    Unavailable,
}

/// Why a command was refused: the content of an `error` frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The reason, for programs.
    pub code: ErrorCode,
    /// The reason and what to do, for people.
    pub detail: String,
    /// The room, if the command named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// The message id, if the command named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Milliseconds after which to retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal without room and id.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), room: None, id: None, retry_after_ms: None }
    }

    /// Adds the room.
    #[must_use]
    pub fn in_room(mut self, room: &Room) -> Self {
        self.room = Some(room.to_string());
        self
    }

    /// Adds the message id.
    #[must_use]
    pub fn of(mut self, id: &MessageId) -> Self {
        self.id = Some(id.to_string());
        self
    }
}

impl Command {
    /// Decodes a text frame. Unknown fields are ignored.
    ///
    /// # Errors
    /// The refusal to send to the client. It repeats `room` and `id` if the frame contains them as strings of valid length.
    pub fn decode(text: &str) -> Result<Self, Refusal> {
        let fields = match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Fields(map),
            Ok(_) => return Err(Refusal::new(ErrorCode::BadFrame, "a frame is a JSON object with a type")),
            Err(error) => return Err(Refusal::new(ErrorCode::BadFrame, format!("not JSON: {error}"))),
        };
        fields.command().map_err(|refusal| Refusal {
            room: fields.echo("room", Room::MAX_BYTES),
            id: fields.echo("id", MessageId::MAX_BYTES),
            ..refusal
        })
    }

    /// Encodes the frame, as a client does.
    #[must_use]
    pub fn encode(&self) -> String {
        let value = match self {
            Self::Join { room, from: JoinFrom { after: None, recent } } => {
                json!({"type": "join", "room": room, "recent": recent})
            }
            Self::Join { room, from: JoinFrom { after: Some(after), recent } } => {
                json!({"type": "join", "room": room, "after": after, "recent": recent})
            }
            Self::Leave { room } => json!({"type": "leave", "room": room}),
            Self::Send { room, id, text } => json!({"type": "send", "room": room, "id": id, "text": text}),
            Self::History { room, before: None, limit } => json!({"type": "history", "room": room, "limit": limit}),
            Self::History { room, before: Some(before), limit } => {
                json!({"type": "history", "room": room, "before": before, "limit": limit})
            }
            Self::Typing { room } => json!({"type": "typing", "room": room}),
            Self::Pong => json!({"type": "pong"}),
        };
        value.to_string()
    }
}

/// The fields of a frame.
struct Fields(Map<String, Value>);

impl Fields {
    fn command(&self) -> Result<Command, Refusal> {
        match self.text("type")? {
            "join" => Ok(Command::Join {
                room: self.room()?,
                from: JoinFrom {
                    after: self.position("after")?,
                    recent: self.count("recent", 0, JoinFrom::MAX_RECENT, JoinFrom::DEFAULT_RECENT)?,
                },
            }),
            "leave" => Ok(Command::Leave { room: self.room()? }),
            "send" => Ok(Command::Send { room: self.room()?, id: self.id()?, text: self.message_text()? }),
            "history" => Ok(Command::History {
                room: self.room()?,
                before: self.position("before")?,
                limit: self.count("limit", 1, 200, 50)?,
            }),
            "typing" => Ok(Command::Typing { room: self.room()? }),
            "pong" => Ok(Command::Pong),
            other => {
                let shown: String = other.chars().take(32).collect();
                Err(Refusal::new(
                    ErrorCode::UnknownType,
                    format!("unknown type {shown:?}; this gateway knows join, leave, send, history, typing and pong"),
                ))
            }
        }
    }

    /// A required string.
    fn text(&self, name: &str) -> Result<&str, Refusal> {
        match self.0.get(name) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(Refusal::new(ErrorCode::BadFrame, format!("{name} must be a string"))),
            None => Err(Refusal::new(ErrorCode::BadFrame, format!("{name} is missing"))),
        }
    }

    fn room(&self) -> Result<Room, Refusal> {
        self.text("room")?.parse().map_err(|e| Refusal::new(ErrorCode::BadRoom, format!("{e}")))
    }

    fn id(&self) -> Result<MessageId, Refusal> {
        self.text("id")?.parse().map_err(|e| Refusal::new(ErrorCode::BadId, format!("{e}")))
    }

    fn message_text(&self) -> Result<MessageText, Refusal> {
        self.text("text")?.parse().map_err(|e: InvalidText| {
            let code = if e == InvalidText::TooLong { ErrorCode::TooLong } else { ErrorCode::BadText };
            Refusal::new(code, e.to_string())
        })
    }

    /// An optional position.
    fn position(&self, name: &str) -> Result<Option<Position>, Refusal> {
        if matches!(self.0.get(name), None | Some(Value::Null)) {
            return Ok(None);
        }
        let position = self.text(name)?.parse();
        position.map(Some).map_err(|e| Refusal::new(ErrorCode::BadFrame, format!("{name}: {e}")))
    }

    /// An optional integer in a range.
    fn count(&self, name: &str, min: usize, max: usize, default: usize) -> Result<usize, Refusal> {
        let number = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(default),
            Some(value) => value.as_u64().and_then(|n| usize::try_from(n).ok()),
        };
        number.filter(|n| (min..=max).contains(n)).ok_or_else(|| {
            Refusal::new(ErrorCode::BadFrame, format!("{name} must be a whole number from {min} to {max}"))
        })
    }

    /// The field as the refusal repeats it: a short string only, so that a client cannot make the gateway send much.
    fn echo(&self, name: &str, max_bytes: usize) -> Option<String> {
        self.0.get(name)?.as_str().filter(|text| text.len() <= max_bytes).map(str::to_owned)
    }
}
