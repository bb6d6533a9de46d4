//! Messages as users send them, and as a room's log contains them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Millis, Position, UserName};

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
    /// The author: the user of the session.
    pub user: UserName,
    /// The text.
    pub text: MessageText,
}

/// A message in a room's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its position.
    pub pos: Position,
    /// The id that its author chose.
    pub id: MessageId,
    /// The author.
    pub user: UserName,
    /// The text.
    pub text: MessageText,
    /// When it was appended, by the clock of the store (Redis, or this process).
    pub at: Millis,
}

/// A message and the position before it, which makes continuity provable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Head of the log before this entry; [`Position::ORIGIN`] if the log was empty.
    pub prev: Position,
    /// The message.
    pub message: Message,
}
