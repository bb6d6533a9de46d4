//! Frames from client to gateway, and refusals. See "From the client" and "Error codes" in `docs/PROTOCOL.md`.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Content, Data, EventName, InvalidContent, InvalidData, InvalidText, MessageId, Position, Room};

/// A frame from a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Command {
    /// Subscribe to a room.
    Join {
        /// The room.
        room: Room,
        /// Where the subscription starts.
        #[serde(flatten)]
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
        /// The content.
        #[serde(flatten)]
        content: Content,
    },
    /// Deliver an event to the room without logging it.
    Signal {
        /// The room.
        room: Room,
        /// Name of the event.
        event: EventName,
        /// Its data, at most 4 KiB.
        data: Data,
    },
    /// Move the user's read mark of a room forward.
    Seen {
        /// The room.
        room: Room,
        /// The last message that the user has read.
        pos: Position,
    },
    /// Replace the identity of the socket by that of a newer token of the same user.
    Refresh {
        /// The token.
        token: Token,
    },
    /// Request a page of older messages.
    History {
        /// The room.
        room: Room,
        /// Only messages before this position; no message needs to exist at it. `None`: the latest messages.
        #[serde(skip_serializing_if = "Option::is_none")]
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

/// A JSON Web Token as a client sends it. `Debug` omits it.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// The token in a frame. It is not checked here.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The token itself, a secret.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct JoinFrom {
    /// Start after this position, if the log proves that no message is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    /// The name of the event, or the key of the reaction, is invalid.
    BadEvent,
    /// The text exceeds 4,096 bytes, or the data 16 KiB (4 KiB in a signal).
    TooLong,
    /// The message to amend is not a retained text, or was deleted.
    NotFound,
    /// The token is invalid, or belongs to another user. The identity of the socket is unchanged.
    BadToken,
    /// The socket has not joined the room.
    NotJoined,
    /// The socket has joined the maximum number of rooms.
    TooManyRooms,
    /// The policy or the grants of the identity forbid the command, or the message to amend has another author.
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
        let fields = CommandFields(serde_json::from_str(text).map_err(|error| {
            let detail = match error.classify() {
                serde_json::error::Category::Data => "a frame is a JSON object with a type".to_owned(),
                _ => format!("not JSON: {error}"),
            };
            Refusal::new(ErrorCode::BadFrame, detail)
        })?);
        fields.command().map_err(|refusal| Refusal {
            room: fields.echo("room", Room::MAX_BYTES),
            id: fields.echo("id", MessageId::MAX_BYTES),
            ..refusal
        })
    }

    /// Encodes the frame, as a client does.
    #[must_use]
    pub fn encode(&self) -> String {
        // Cannot fail: strings, numbers and JSON always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The refusal of a content.
impl From<InvalidContent> for Refusal {
    fn from(invalid: InvalidContent) -> Self {
        let code = match invalid {
            InvalidContent::Fields(_) | InvalidContent::Data(InvalidData::TooDeep | InvalidData::NotJson) => {
                ErrorCode::BadFrame
            }
            InvalidContent::Text(InvalidText::TooLong) | InvalidContent::Data(InvalidData::TooLong) => {
                ErrorCode::TooLong
            }
            InvalidContent::Text(InvalidText::Blank | InvalidText::Control) => ErrorCode::BadText,
            InvalidContent::Event(_) | InvalidContent::Key(_) => ErrorCode::BadEvent,
        };
        Self::new(code, invalid.to_string())
    }
}

/// The fields of a frame, each as the JSON that was sent.
struct CommandFields<'a>(BTreeMap<String, &'a RawValue>);

impl CommandFields<'_> {
    fn command(&self) -> Result<Command, Refusal> {
        match &*self.text("type")? {
            "join" => Ok(Command::Join {
                room: self.room()?,
                from: JoinFrom {
                    after: self.optional_position("after")?,
                    recent: self.count("recent", 0, JoinFrom::MAX_RECENT, JoinFrom::DEFAULT_RECENT)?,
                },
            }),
            "leave" => Ok(Command::Leave { room: self.room()? }),
            "send" => Ok(Command::Send { room: self.room()?, id: self.id()?, content: self.content()? }),
            "history" => Ok(Command::History {
                room: self.room()?,
                before: self.optional_position("before")?,
                limit: self.count("limit", 1, 200, 50)?,
            }),
            "typing" => Ok(Command::Typing { room: self.room()? }),
            "signal" => {
                let (room, event) = (self.room()?, self.text("event")?);
                let event = event.parse().map_err(InvalidContent::Event)?;
                let data =
                    self.get("data").map_or_else(|| Ok(Data::null()), Data::new).map_err(InvalidContent::Data)?;
                if data.as_str().len() > Data::MAX_SIGNAL_BYTES {
                    return Err(Refusal::new(ErrorCode::TooLong, "the data of a signal has at most 4096 bytes"));
                }
                Ok(Command::Signal { room, event, data })
            }
            "seen" => {
                let pos = self.optional_position("pos")?;
                let pos = pos.ok_or_else(|| Refusal::new(ErrorCode::BadFrame, "pos is missing"))?;
                Ok(Command::Seen { room: self.room()?, pos })
            }
            "refresh" => Ok(Command::Refresh { token: Token::new(self.text("token")?) }),
            "pong" => Ok(Command::Pong),
            other => {
                let shown: String = other.chars().take(32).collect();
                Err(Refusal::new(
                    ErrorCode::UnknownType,
                    format!(
                        "unknown type {shown:?}; this gateway knows join, leave, send, history, typing, signal, seen, \
                         refresh and pong"
                    ),
                ))
            }
        }
    }

    /// A field that is present and not null.
    fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.get(name).copied().filter(|value| value.get() != "null")
    }

    /// An optional string.
    fn optional_text(&self, name: &str) -> Result<Option<String>, Refusal> {
        let text = self.get(name).map(|value| serde_json::from_str(value.get())).transpose();
        text.map_err(|_| Refusal::new(ErrorCode::BadFrame, format!("{name} must be a string")))
    }

    /// A required string.
    fn text(&self, name: &str) -> Result<String, Refusal> {
        self.optional_text(name)?.ok_or_else(|| Refusal::new(ErrorCode::BadFrame, format!("{name} is missing")))
    }

    fn room(&self) -> Result<Room, Refusal> {
        self.text("room")?.parse().map_err(|e| Refusal::new(ErrorCode::BadRoom, format!("{e}")))
    }

    fn id(&self) -> Result<MessageId, Refusal> {
        self.text("id")?.parse().map_err(|e| Refusal::new(ErrorCode::BadId, format!("{e}")))
    }

    fn content(&self) -> Result<Content, Refusal> {
        let (event, text) = (self.optional_text("event")?, self.optional_text("text")?);
        let reference = self.optional_position("ref")?;
        Ok(Content::from_fields(event.as_deref(), reference, text.as_deref(), self.get("data"))?)
    }

    /// An optional position.
    fn optional_position(&self, name: &str) -> Result<Option<Position>, Refusal> {
        let position = self.optional_text(name)?.map(|text| text.parse()).transpose();
        position.map_err(|e| Refusal::new(ErrorCode::BadFrame, format!("{name}: {e}")))
    }

    /// An optional integer in a range.
    fn count(&self, name: &str, min: usize, max: usize, default: usize) -> Result<usize, Refusal> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let number = serde_json::from_str(value.get()).ok().filter(|n| (min..=max).contains(n));
        number.ok_or_else(|| {
            Refusal::new(ErrorCode::BadFrame, format!("{name} must be a whole number from {min} to {max}"))
        })
    }

    /// The field as the refusal repeats it: a short string only, so that a client cannot make the gateway send much.
    fn echo(&self, name: &str, max_bytes: usize) -> Option<String> {
        self.optional_text(name).ok().flatten().filter(|text| text.len() <= max_bytes)
    }
}
