//! Positions in a room's log, and the rule of continuity.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The position of an entry in its room's log, written `<epoch>-<offset>`.
///
/// The offsets of an epoch count up by one from 1. A new epoch starts when the store cannot prove that the log continues
/// (Redis was restarted or failed over). It is always larger, so the positions of a room are ordered across epochs. Clients
/// treat positions as opaque, except [`Position::ORIGIN`].
///
/// ```
/// use trunkline_domain::{Position, follows};
///
/// let head: Position = "1732270000000-812".parse()?;
/// assert!(follows(head, head));
/// assert!(head.next_in_epoch() > head);
/// assert_eq!(head.next_in_epoch().before_in_epoch(), Some(head));
/// # Ok::<(), trunkline_domain::InvalidPosition>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Identifies an unbroken part of the log: the time of its start in milliseconds since the Unix epoch, or more.
    pub epoch: u64,
    /// Number of the entry in the epoch, from 1.
    pub offset: u64,
}

impl Position {
    /// `0-0`: before every entry; the head of an empty log.
    pub const ORIGIN: Self = Self { epoch: 0, offset: 0 };

    /// The position `offset` of `epoch`.
    #[must_use]
    pub const fn new(epoch: u64, offset: u64) -> Self {
        Self { epoch, offset }
    }

    /// The position before this one in its epoch. `None` for the first one of an epoch, whose predecessor is stored in its
    /// entry.
    #[must_use]
    pub const fn before_in_epoch(self) -> Option<Self> {
        if self.offset > 1 { Some(Self::new(self.epoch, self.offset - 1)) } else { None }
    }

    /// The position after this one in its epoch.
    #[must_use]
    pub const fn next_in_epoch(self) -> Self {
        Self::new(self.epoch, self.offset + 1)
    }
}

/// The rule of continuity: an entry follows a head exactly if its `prev` is that head.
///
/// Live delivery, pages, resumption and the comparison of heads all use this function, so they cannot disagree.
#[must_use]
pub fn follows(prev: Position, head: Position) -> bool {
    prev == head
}

/// The text is not `<epoch>-<offset>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is 0-0 or one that a gateway assigned, like 1732270000000-812")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, offset) = text.split_once('-').ok_or(InvalidPosition)?;
        Ok(Self { epoch: number(epoch)?, offset: number(offset)? })
    }
}

/// Parses decimal digits in canonical form only, so that equal positions are equal strings.
fn number(digits: &str) -> Result<u64, InvalidPosition> {
    let canonical = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
    if canonical { digits.parse().map_err(|_| InvalidPosition) } else { Err(InvalidPosition) }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
