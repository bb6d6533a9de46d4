//! Grants: the rights that the issuer of an identity gives, by room.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer};

use crate::Room;

/// The rights of an identity, by room. Without a matching grant it may do nothing.
///
/// ```
/// use trunkline_domain::{Grants, Permission, Room};
///
/// let grants: Grants = serde_json::from_str(r#"[{"room": "orders.*", "can": ["join", "read"]}]"#)?;
/// let order: Room = "orders.42".parse()?;
/// assert!(grants.allow(Permission::Join, &order));
/// assert!(!grants.allow(Permission::Send, &order));
/// assert!(!grants.allow(Permission::Join, &"lobby".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Grants(Vec<Grant>);

impl Grants {
    /// Whether a grant allows this in `room`.
    #[must_use]
    pub fn allow(&self, permission: Permission, room: &Room) -> bool {
        self.0.iter().any(|grant| grant.room.matches(room) && grant.can.contains(&permission))
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}

/// The rights in the rooms of one pattern.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Grant {
    /// The rooms.
    pub room: RoomPattern,
    /// The rights there. Words that this version does not know allow nothing.
    #[serde(deserialize_with = "known_permissions")]
    pub can: Vec<Permission>,
}

/// One thing that a grant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// `join`: receive new messages and the recent ones.
    Join,
    /// `read`: read older messages.
    Read,
    /// `send`: send messages and signals, and amend one's own messages.
    Send,
    /// `moderate`: delete the messages of others.
    Moderate,
}

fn known_permissions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Permission>, D::Error> {
    let words = Vec::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    let permission = |word: std::borrow::Cow<'de, str>| match &*word {
        "join" => Some(Permission::Join),
        "read" => Some(Permission::Read),
        "send" => Some(Permission::Send),
        "moderate" => Some(Permission::Moderate),
        _ => None,
    };
    Ok(words.into_iter().filter_map(permission).collect())
}

/// A room name, or the beginning of room names followed by `*`. `*` alone matches every room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomPattern {
    /// This room alone.
    Exactly(Room),
    /// Every room whose name begins with this text.
    StartingWith(Box<str>),
}

impl RoomPattern {
    /// Whether the pattern matches the room.
    #[must_use]
    pub fn matches(&self, room: &Room) -> bool {
        match self {
            Self::Exactly(exactly) => exactly == room,
            Self::StartingWith(start) => room.as_str().starts_with(&**start),
        }
    }
}

/// The text is not a room pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a room pattern is the name of a room, or the beginning of one followed by '*'")]
pub struct InvalidRoomPattern;

impl FromStr for RoomPattern {
    type Err = InvalidRoomPattern;

    fn from_str(text: &str) -> Result<Self, InvalidRoomPattern> {
        match text.strip_suffix('*') {
            Some("") => Ok(Self::StartingWith("".into())),
            // The beginning of a name is a name.
            Some(start) => {
                start.parse::<Room>().map(|_| Self::StartingWith(start.into())).map_err(|_| InvalidRoomPattern)
            }
            None => text.parse().map(Self::Exactly).map_err(|_| InvalidRoomPattern),
        }
    }
}

impl fmt::Display for RoomPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(room) => write!(f, "{room}"),
            Self::StartingWith(start) => write!(f, "{start}*"),
        }
    }
}

impl<'de> Deserialize<'de> for RoomPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
