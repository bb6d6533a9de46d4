//! What a client asks: the frames from client to server, and how a bad one is refused.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{InvalidText, MessageId, MessageText, Position, Room};

/// One frame from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Subscribe to a room.
    Join {
        /// Which.
        room: Room,
        /// Where to begin.
        from: JoinFrom,
    },
    /// Unsubscribe; cancels a join that is under way.
    Leave {
        /// Which room.
        room: Room,
    },
    /// Publish; the same id at every retry.
    Send {
        /// Where to.
        room: Room,
        /// The client's id of the message.
        id: MessageId,
        /// The text.
        text: MessageText,
    },
    /// One page of older messages.
    History {
        /// Of which room.
        room: Room,
        /// Older than this; it need not exist, order decides. `None`: the latest.
        before: Option<Position>,
        /// At most this many, 1 to 200.
        limit: usize,
    },
    /// The user is typing.
    Typing {
        /// In which room.
        room: Room,
    },
    /// The answer to a ping.
    Pong,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinFrom {
    /// Everything after this position, if that can be proven to be everything.
    pub after: Option<Position>,
    /// How many of the latest messages come first where `after` is absent or not proven; 0 to 200.
    pub recent: usize,
}

impl JoinFrom {
    /// Most messages that `recent` may ask for.
    pub const MAX_RECENT: usize = 200;
    /// What `recent` is where it is left out.
    pub const DEFAULT_RECENT: usize = 50;
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// No JSON object, or a field of the wrong type.
    BadFrame,
    /// A `type` that this gateway does not know.
    UnknownType,
    /// No valid room name.
    BadRoom,
    /// No valid message id.
    BadId,
    /// A blank text or one with control characters.
    BadText,
    /// A text over 4096 bytes.
    TooLong,
    /// The socket has not joined the room.
    NotJoined,
    /// The socket is in as many rooms as it may be.
    TooManyRooms,
    /// The policy says no.
    Forbidden,
    /// Too many in too short a time; `retry_after_ms` says when to come back.
    RateLimited,
    /// The log did not answer in time: the message may or may not stand. Keep it and retry with the same id.
    Unavailable,
}

impl ErrorCode {
    /// Whether the attempt certainly wrote nothing.
    #[must_use]
    pub const fn is_definite(self) -> bool {
        !matches!(self, Self::Unavailable)
    }
}

/// A command that was refused: the content of an `error` frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why and what to do, for people.
    pub detail: String,
    /// The room, where the command named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// The message id, where the command named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal that names neither room nor id.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), room: None, id: None, retry_after_ms: None }
    }

    /// The same about `room`.
    #[must_use]
    pub fn in_room(mut self, room: &Room) -> Self {
        self.room = Some(room.to_string());
        self
    }

    /// The same about the message `id`.
    #[must_use]
    pub fn of(mut self, id: &MessageId) -> Self {
        self.id = Some(id.to_string());
        self
    }
}

impl Command {
    /// Reads one text frame. Unknown fields are ignored.
    ///
    /// # Errors
    /// The refusal to answer with; it repeats `room` and `id` where the frame had usable ones.
    pub fn decode(text: &str) -> Result<Self, Refusal> {
        let fields = match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Fields(map),
            Ok(_) => return Err(Refusal::new(ErrorCode::BadFrame, "a frame is one JSON object with a type")),
            Err(error) => return Err(Refusal::new(ErrorCode::BadFrame, format!("not JSON: {error}"))),
        };
        fields.command().map_err(|refusal| Refusal {
            room: fields.echo("room", Room::MAX_BYTES),
            id: fields.echo("id", MessageId::MAX_BYTES),
            ..refusal
        })
    }

    /// Writes the frame; what a client sends.
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

/// The fields of a frame that is known to be an object.
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

    /// A field that must be there, as text.
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

    /// A position that may be left out.
    fn position(&self, name: &str) -> Result<Option<Position>, Refusal> {
        if matches!(self.0.get(name), None | Some(Value::Null)) {
            return Ok(None);
        }
        let position = self.text(name)?.parse();
        position.map(Some).map_err(|e| Refusal::new(ErrorCode::BadFrame, format!("{name}: {e}")))
    }

    /// A whole number that may be left out.
    fn count(&self, name: &str, least: usize, most: usize, default: usize) -> Result<usize, Refusal> {
        let number = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(default),
            Some(value) => value.as_u64().and_then(|n| usize::try_from(n).ok()),
        };
        number.filter(|n| (least..=most).contains(n)).ok_or_else(|| {
            Refusal::new(ErrorCode::BadFrame, format!("{name} must be a whole number from {least} to {most}"))
        })
    }

    /// What the answer may repeat of a field: short text only, so that a refusal cannot be made to carry a flood.
    fn echo(&self, name: &str, most: usize) -> Option<String> {
        self.0.get(name)?.as_str().filter(|text| text.len() <= most).map(str::to_owned)
    }
}
