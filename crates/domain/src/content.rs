//! The content of a message: a text, an event of the application, or an amendment of an earlier text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Data, InvalidData, MessageText, Position};

/// The content that a client sends to a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A text for people.
    Text {
        /// The text.
        text: MessageText,
        /// The message that it answers. Its form is checked, and not whether such a message exists.
        reply_to: Option<Position>,
    },
    /// An event of the application.
    Event {
        /// Its name.
        event: EventName,
        /// Its data, passed through byte for byte.
        data: Data,
    },
    /// Replaces the text of an earlier message of the same user.
    Edit {
        /// The message.
        of: Position,
        /// The new text.
        text: MessageText,
    },
    /// Deletes the text of an earlier message.
    Delete {
        /// The message.
        of: Position,
    },
    /// Sets or removes a reaction of the user to an earlier message.
    React {
        /// The message.
        of: Position,
        /// The reaction.
        key: ReactionKey,
        /// Whether it is set; otherwise it is removed.
        on: bool,
    },
}

impl Content {
    /// Name of the event that replaces a text.
    pub const EDIT: &str = "edit";
    /// Name of the event that deletes a text.
    pub const DELETE: &str = "delete";
    /// Name of the event that sets or removes a reaction.
    pub const REACT: &str = "react";

    /// The message that this content amends.
    #[must_use]
    pub fn amends(&self) -> Option<Position> {
        match self {
            Self::Edit { of, .. } | Self::Delete { of } | Self::React { of, .. } => Some(*of),
            Self::Text { .. } | Self::Event { .. } => None,
        }
    }

    /// Its fields in a frame.
    #[must_use]
    pub fn fields(&self) -> ContentFields<'_> {
        match self {
            Self::Text { text, reply_to } => {
                ContentFields { reference: *reply_to, text: Some(text.as_str()), ..ContentFields::default() }
            }
            Self::Event { event, data } => {
                ContentFields { event: Some(event.as_str()), data: Some(data.clone()), ..ContentFields::default() }
            }
            Self::Edit { of, text } => ContentFields {
                event: Some(Self::EDIT),
                reference: Some(*of),
                text: Some(text.as_str()),
                ..ContentFields::default()
            },
            Self::Delete { of } => {
                ContentFields { event: Some(Self::DELETE), reference: Some(*of), ..ContentFields::default() }
            }
            Self::React { of, key, on } => ContentFields {
                event: Some(Self::REACT),
                reference: Some(*of),
                data: Some(ReactionData { key: key.clone(), on: *on }.encode()),
                ..ContentFields::default()
            },
        }
    }

    /// The content with these fields.
    ///
    /// # Errors
    /// [`InvalidContent`], by what is wrong.
    pub fn from_fields(
        event: Option<&str>,
        reference: Option<Position>,
        text: Option<&str>,
        data: Option<&RawValue>,
    ) -> Result<Self, InvalidContent> {
        let text_of = |text: &str| text.parse::<MessageText>().map_err(InvalidContent::Text);
        match event {
            None if data.is_some() => {
                Err(InvalidContent::Fields("data needs an event; a message without event is a text"))
            }
            None => {
                let text = text.ok_or(InvalidContent::Fields("text or event is missing"))?;
                Ok(Self::Text { text: text_of(text)?, reply_to: reference })
            }
            Some(Self::EDIT) => {
                no_data(data, "edit has ref and text")?;
                let of = reference.ok_or(InvalidContent::Fields("edit needs ref, the position of the message"))?;
                let text = text.ok_or(InvalidContent::Fields("edit needs text"))?;
                Ok(Self::Edit { of, text: text_of(text)? })
            }
            Some(Self::DELETE) => {
                no_data(data, "delete has ref alone")?;
                no_text(text, "delete has ref alone")?;
                let of = reference.ok_or(InvalidContent::Fields("delete needs ref, the position of the message"))?;
                Ok(Self::Delete { of })
            }
            Some(Self::REACT) => {
                no_text(text, "react has ref and data")?;
                let of = reference.ok_or(InvalidContent::Fields("react needs ref, the position of the message"))?;
                let data = data.ok_or(InvalidContent::Fields("react needs data: {\"key\":\"👍\",\"on\":true}"))?;
                let ReactionData { key, on } = ReactionData::parse(data)?;
                Ok(Self::React { of, key, on })
            }
            Some(event) => {
                let event = event.parse().map_err(InvalidContent::Event)?;
                no_text(text, "a message has either text or data; an event has data")?;
                if reference.is_some() {
                    return Err(InvalidContent::Fields("ref belongs to a text, or to edit, delete and react"));
                }
                let data = data.map_or_else(|| Ok(Data::null()), Data::new).map_err(InvalidContent::Data)?;
                Ok(Self::Event { event, data })
            }
        }
    }

    /// The content with one `body`, as logs store it: the JSON of the data of an event or a reaction, otherwise the text,
    /// which a deletion ignores.
    ///
    /// # Errors
    /// As [`from_fields`](Self::from_fields).
    pub fn from_body(event: Option<&str>, reference: Option<Position>, body: &str) -> Result<Self, InvalidContent> {
        let (text, data) = match event {
            Some(Self::DELETE) => (None, None),
            None | Some(Self::EDIT) => (Some(body), None),
            Some(_) => {
                let data = serde_json::from_str(body).map_err(|_| InvalidContent::Data(InvalidData::NotJson))?;
                (None, Some(data))
            }
        };
        Self::from_fields(event, reference, text, data)
    }
}

fn no_text(text: Option<&str>, detail: &'static str) -> Result<(), InvalidContent> {
    if text.is_some() { Err(InvalidContent::Fields(detail)) } else { Ok(()) }
}

fn no_data(data: Option<&RawValue>, detail: &'static str) -> Result<(), InvalidContent> {
    if data.is_some() { Err(InvalidContent::Fields(detail)) } else { Ok(()) }
}

/// Why fields are no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContent {
    /// Fields are missing, or do not belong together.
    #[error("{0}")]
    Fields(&'static str),
    /// The text.
    #[error(transparent)]
    Text(crate::InvalidText),
    /// The name of the event.
    #[error(transparent)]
    Event(InvalidEventName),
    /// The key of the reaction.
    #[error(transparent)]
    Key(InvalidReactionKey),
    /// The data.
    #[error(transparent)]
    Data(InvalidData),
}

/// The fields of a frame that state the content of a message.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ContentFields<'a> {
    /// Name of the event; absent for a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'a str>,
    /// The message that is answered or amended.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Position>,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    /// The data of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
    /// Whether the text was deleted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields().serialize(serializer)
    }
}

/// Name of an event of the application: `[a-z0-9][a-z0-9._-]{0,63}`, and none of the reserved names `edit`, `delete` and
/// `react`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct EventName(Box<str>);

impl EventName {
    /// Maximum length, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not the name of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of an event is 1 to 64 characters of a-z, 0-9, '.', '_' and '-', starts with a letter or digit, and is not \
     edit, delete or react"
)]
pub struct InvalidEventName;

impl FromStr for EventName {
    type Err = InvalidEventName;

    fn from_str(text: &str) -> Result<Self, InvalidEventName> {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let starts_well = text.bytes().next().is_some_and(alphanumeric);
        let goes_on_well = text.bytes().all(|b| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-'));
        let reserved = matches!(text, Content::EDIT | Content::DELETE | Content::REACT);
        if starts_well && goes_on_well && text.len() <= Self::MAX_BYTES && !reserved {
            Ok(Self(text.into()))
        } else {
            Err(InvalidEventName)
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EventName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The key of a reaction, usually an emoji: 1 to 64 bytes without white space and control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ReactionKey(Box<str>);

impl ReactionKey {
    /// Maximum length, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not the key of a reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key of a reaction is 1 to 64 bytes without white space and control characters")]
pub struct InvalidReactionKey;

impl FromStr for ReactionKey {
    type Err = InvalidReactionKey;

    fn from_str(text: &str) -> Result<Self, InvalidReactionKey> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if fits && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidReactionKey)
        }
    }
}

impl<'de> Deserialize<'de> for ReactionKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The data of a `react` event.
#[derive(Serialize)]
struct ReactionData {
    key: ReactionKey,
    on: bool,
}

impl ReactionData {
    fn encode(&self) -> Data {
        // Cannot fail: a short string and a truth value.
        Data::encode(self).unwrap_or_else(|_| Data::null())
    }

    fn parse(data: &RawValue) -> Result<Self, InvalidContent> {
        #[derive(Deserialize)]
        struct RawReaction<'a> {
            #[serde(borrow)]
            key: std::borrow::Cow<'a, str>,
            on: bool,
        }
        // serde would also read the fields from an array.
        let fields = Some(data.get()).filter(|json| json.starts_with('{'));
        let RawReaction { key, on } = fields
            .and_then(|json| serde_json::from_str(json).ok())
            .ok_or(InvalidContent::Fields("the data of react is {\"key\":\"👍\",\"on\":true}"))?;
        Ok(Self { key: key.parse().map_err(InvalidContent::Key)?, on })
    }
}
