//! Room names.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

/// The name of a room: `[a-z0-9][a-z0-9._-]{0,63}`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Room(Arc<str>);

impl Room {
    /// Maximum length, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The room in which gateways publish to each other what concerns no room. Clients cannot join it, read it or send to it.
    #[must_use]
    pub fn control() -> Self {
        Self(Self::CONTROL.into())
    }

    /// Whether this is the [control room](Self::control).
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.as_str() == Self::CONTROL
    }

    const CONTROL: &str = "trunkline.control";

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a room name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a room name is 1 to 64 characters of a-z, 0-9, '.', '_' and '-', and starts with a letter or digit")]
pub struct InvalidRoom;

impl FromStr for Room {
    type Err = InvalidRoom;

    fn from_str(text: &str) -> Result<Self, InvalidRoom> {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let starts_well = text.bytes().next().is_some_and(alphanumeric);
        let goes_on_well = text.bytes().all(|b| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-'));
        if starts_well && goes_on_well && text.len() <= Self::MAX_BYTES {
            Ok(Self(text.into()))
        } else {
            Err(InvalidRoom)
        }
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Room {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Room {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
