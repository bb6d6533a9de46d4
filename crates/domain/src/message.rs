//! Messages as users send them, and as a room's log contains them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Content, ContentFields, DisplayName, InvalidContent, Member, Millis, Position, Room, UserId};

/// The text of a message: 1 to 4096 bytes, no control characters except newline and tab, and at least one character that
/// shows something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MessageText(Box<str>);

impl MessageText {
    /// Longest text, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 4096;

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a character shows nothing: white space, format characters without a glyph, default ignorable characters
    /// (Unicode 15.1, `DerivedCoreProperties.txt`), and blank glyphs such as U+2800.
    ///
    /// `web/text.js` has the same list; `web/vectors/text/blank.json` pins both.
    #[must_use]
    pub const fn is_blank(c: char) -> bool {
        matches!(
            c,
            '\t'..='\r'
                | ' '
                | '\u{85}'
                | '\u{a0}'
                | '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{1680}'
                | '\u{17b4}'
                | '\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{2000}'..='\u{200f}'
                | '\u{2028}'..='\u{202f}'
                | '\u{205f}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3000}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d159}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
    }
}

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Nothing that can be seen: see [`MessageText::is_blank`].
    #[error("the text is blank")]
    Blank,
    /// Over [`MessageText::MAX_BYTES`].
    #[error("the text is longer than 4096 bytes; send it in parts")]
    TooLong,
    /// A control character other than newline and tab.
    #[error("the text holds a control character; only newline and tab are allowed")]
    Control,
}

impl FromStr for MessageText {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text.len() > Self::MAX_BYTES {
            Err(InvalidText::TooLong)
        } else if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            Err(InvalidText::Control)
        } else if text.chars().all(Self::is_blank) {
            Err(InvalidText::Blank)
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl<'de> Deserialize<'de> for MessageText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The id that a client chooses for a message: 1 to 64 characters of `[A-Za-z0-9_-]`. Scoped to room and user; the same for
/// every retry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct MessageId(Box<str>);

impl MessageId {
    /// Maximum length, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a message id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message id is 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'")]
pub struct InvalidId;

impl FromStr for MessageId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId)
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A message that is to be appended: without position and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The id that the client chose. Together with the user it identifies a retry.
    pub id: MessageId,
    /// The author.
    pub user: UserId,
    /// The author's name, unless it equals the id.
    pub name: Option<DisplayName>,
    /// The content.
    pub content: Content,
    /// Whether the author may delete the messages of others in this room.
    pub may_moderate: bool,
}

impl Draft {
    /// A text by `user` that answers nothing.
    #[must_use]
    pub fn text(id: MessageId, user: UserId, text: MessageText) -> Self {
        Self { id, user, name: None, content: Content::Text { text, reply_to: None }, may_moderate: false }
    }
}

/// A message in a room's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its position.
    pub pos: Position,
    /// The id that its author chose.
    pub id: MessageId,
    /// The author.
    pub user: UserId,
    /// The author's name when the message was sent, unless it equals the id.
    pub name: Option<DisplayName>,
    /// The content.
    pub body: Body,
    /// When it was appended, by the clock of the store (Redis, or this process).
    pub at: Millis,
}

/// The content of a message in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The content as it was sent.
    Content(Content),
    /// A text that was deleted. The message keeps its place.
    DeletedText {
        /// The message that it answered.
        reply_to: Option<Position>,
    },
    /// An edit of a text that was deleted.
    DeletedEdit {
        /// The message that was edited.
        of: Position,
    },
}

impl Message {
    /// The text, if the message is one or edits one, and was not deleted.
    #[must_use]
    pub fn text(&self) -> Option<&MessageText> {
        match &self.body {
            Body::Content(Content::Text { text, .. } | Content::Edit { text, .. }) => Some(text),
            _ => None,
        }
    }

    /// The message whose text this one deletes.
    #[must_use]
    pub fn deletes(&self) -> Option<Position> {
        if let Body::Content(Content::Delete { of }) = self.body { Some(of) } else { None }
    }

    /// Removes the text if it, or the text that it edits, was deleted. `is_deleted` is asked for the position of the text.
    /// Returns whether a text was removed.
    pub fn redact(&mut self, is_deleted: impl FnOnce(Position) -> bool) -> bool {
        let (original, redacted) = match &self.body {
            Body::Content(Content::Text { reply_to, .. }) => (self.pos, Body::DeletedText { reply_to: *reply_to }),
            Body::Content(Content::Edit { of, .. }) => (*of, Body::DeletedEdit { of: *of }),
            _ => return false,
        };
        let is_redacted = is_deleted(original);
        if is_redacted {
            self.body = redacted;
        }
        is_redacted
    }

    /// The author, as presence shows them.
    #[must_use]
    pub fn author(&self) -> Member {
        Member { user: self.user.clone(), name: self.name.clone() }
    }
}

impl Body {
    fn fields(&self) -> ContentFields<'_> {
        match self {
            Self::Content(content) => content.fields(),
            Self::DeletedText { reply_to } => {
                ContentFields { reference: *reply_to, deleted: true, ..ContentFields::default() }
            }
            Self::DeletedEdit { of } => ContentFields {
                event: Some(Content::EDIT),
                reference: Some(*of),
                deleted: true,
                ..ContentFields::default()
            },
        }
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct MessageParts<'a> {
            pos: Position,
            id: &'a MessageId,
            user: &'a UserId,
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'a DisplayName>,
            #[serde(flatten)]
            content: ContentFields<'a>,
            at: Millis,
        }
        let Self { pos, id, user, name, body, at } = self;
        MessageParts { pos: *pos, id, user, name: name.as_ref(), content: body.fields(), at: *at }.serialize(serializer)
    }
}

/// The fields of a message in a frame, before they are checked. `room` is absent in a page.
///
/// One flat struct: serde keeps the bytes of `data` only if no `flatten` and no tag stands between it and the JSON.
#[derive(Deserialize)]
pub(crate) struct MessageFields {
    #[serde(default)]
    pub(crate) room: Option<Room>,
    pos: Position,
    id: MessageId,
    user: UserId,
    #[serde(default)]
    name: Option<DisplayName>,
    #[serde(default)]
    event: Option<String>,
    #[serde(default, rename = "ref")]
    reference: Option<Position>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    deleted: bool,
    at: Millis,
}

impl TryFrom<MessageFields> for Message {
    type Error = InvalidContent;

    fn try_from(fields: MessageFields) -> Result<Self, InvalidContent> {
        let MessageFields { room: _, pos, id, user, name, event, reference, text, data, deleted, at } = fields;
        let body = match (deleted, event.as_deref(), reference) {
            (true, None, reply_to) => Body::DeletedText { reply_to },
            (true, Some(Content::EDIT), Some(of)) => Body::DeletedEdit { of },
            (true, ..) => return Err(InvalidContent::Fields("only texts and edits are deleted")),
            (false, event, reference) => {
                Body::Content(Content::from_fields(event, reference, text.as_deref(), data.as_deref())?)
            }
        };
        Ok(Self { pos, id, user, name, body, at })
    }
}

impl<'de> Deserialize<'de> for Message {
    /// From JSON text only: other formats do not keep the bytes of `data`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(MessageFields::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A message and the position before it, which makes continuity provable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Head of the log before this entry; [`Position::ORIGIN`] if the log was empty.
    pub prev: Position,
    /// The message.
    pub message: Message,
}
