//! Where a message stands in its room's log, and the one rule of continuity.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The place of a message in its room's log, written `<epoch>-<offset>`.
///
/// Offsets of an epoch count up by one from 1. A new epoch begins when the log cannot be proven to continue the old
/// one (Redis lost data or failed over), and is always larger, so positions of one room are ordered across epochs.
/// Clients treat positions as opaque, but for [`Position::ORIGIN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which unbroken run of the log; milliseconds since the Unix epoch at its start, or more.
    pub epoch: u64,
    /// Place inside the epoch, from 1.
    pub offset: u64,
}

impl Position {
    /// Before everything: `0-0`, the head of an empty log.
    pub const ORIGIN: Self = Self { epoch: 0, offset: 0 };

    /// The position `offset` of `epoch`.
    #[must_use]
    pub const fn new(epoch: u64, offset: u64) -> Self {
        Self { epoch, offset }
    }

    /// The position before this one inside its epoch; `None` for an epoch's first, whose predecessor only the log knows.
    #[must_use]
    pub const fn before_in_epoch(self) -> Option<Self> {
        if self.offset > 1 { Some(Self::new(self.epoch, self.offset - 1)) } else { None }
    }

    /// The position after this one inside its epoch.
    #[must_use]
    pub const fn next_in_epoch(self) -> Self {
        Self::new(self.epoch, self.offset + 1)
    }
}

/// The one rule of continuity: an entry follows a head exactly when its `prev` is that head.
///
/// Feed, page, resume and head comparison all judge by it, so they cannot disagree.
#[must_use]
pub fn follows(prev: Position, head: Position) -> bool {
    prev == head
}

/// The text is not `<epoch>-<offset>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is 0-0 or one that a gateway gave, like 1732270000000-812")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, offset) = text.split_once('-').ok_or(InvalidPosition)?;
        Ok(Self { epoch: number(epoch)?, offset: number(offset)? })
    }
}

/// Decimal digits in their one canonical form, so that equal positions are equal strings.
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
