//! Users: the id that programs compare ([`UserId`]), and the name that people read ([`DisplayName`]).

use std::{
    borrow::Borrow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize};

use crate::{MessageText, UserName};

/// Identifies a user: 1 to 128 bytes of UTF-8 without white space and control characters, compared byte for byte. Opaque: a
/// UUID, an e-mail address or `auth0|123` fit. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct UserId(Arc<str>);

impl UserId {
    /// Maximum length, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a user id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user id is 1 to 128 bytes without white space and control characters")]
pub struct InvalidUserId;

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, InvalidUserId> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if fits && !text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidUserId)
        }
    }
}

/// A name that was typed into the login is the id of its user. It has at most 32 characters, so at most 128 bytes, and no
/// white space.
impl From<UserName> for UserId {
    fn from(name: UserName) -> Self {
        Self(name.into_text())
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A name to show to people: 1 to 64 characters, not blank, no control characters. Several users may have the same. Cheap to
/// clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct DisplayName(Arc<str>);

impl DisplayName {
    /// Maximum length, in characters.
    pub const MAX_CHARS: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a display name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a display name is 1 to 64 characters, at least one of which is visible, without control characters")]
pub struct InvalidDisplayName;

impl FromStr for DisplayName {
    type Err = InvalidDisplayName;

    fn from_str(text: &str) -> Result<Self, InvalidDisplayName> {
        let fits = text.chars().nth(Self::MAX_CHARS).is_none();
        if fits && !text.chars().any(char::is_control) && !text.chars().all(MessageText::is_blank) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidDisplayName)
        }
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DisplayName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A user in a room, as presence shows them.
///
/// Two members are equal if their user ids are, whatever their names: a room contains each user once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// Their name, unless it equals the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<DisplayName>,
}

impl Member {
    /// A member whose name is left out if it equals the id.
    #[must_use]
    pub fn new(user: UserId, name: Option<DisplayName>) -> Self {
        let name = name.filter(|name| name.as_str() != user.as_str());
        Self { user, name }
    }
}

impl From<UserId> for Member {
    fn from(user: UserId) -> Self {
        Self { user, name: None }
    }
}

/// A set of members is searched by user id.
impl Borrow<UserId> for Member {
    fn borrow(&self) -> &UserId {
        &self.user
    }
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user
    }
}

impl Eq for Member {}

impl PartialOrd for Member {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Member {
    fn cmp(&self, other: &Self) -> Ordering {
        self.user.cmp(&other.user)
    }
}

impl Hash for Member {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.user.hash(state);
    }
}

/// As presence stores it: the id, and after a space the name if there is one. An id contains no space.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} {name}", self.user),
            None => write!(f, "{}", self.user),
        }
    }
}

/// The text is not a user id, or a user id, a space and a display name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a member is a user id, or a user id, a space and a display name")]
pub struct InvalidMember;

impl FromStr for Member {
    type Err = InvalidMember;

    fn from_str(text: &str) -> Result<Self, InvalidMember> {
        let (user, name) = text.split_once(' ').map_or((text, None), |(user, name)| (user, Some(name)));
        let user = user.parse().map_err(|_| InvalidMember)?;
        let name = name.map(str::parse).transpose().map_err(|_| InvalidMember)?;
        Ok(Self { user, name })
    }
}
