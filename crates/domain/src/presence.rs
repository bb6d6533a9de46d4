//! Values of presence: instances, changes, snapshots.

use std::{fmt, str::FromStr};

use crate::Member;

/// Identifies one running gateway process. Chosen at random at every start and not derived from the instance name, so a
/// restarted process does not adopt the leases of its predecessor.
///
/// Written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(
    /// 128 random bits.
    pub u128,
);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceId({self})")
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instance id has 32 hexadecimal digits")]
pub struct InvalidInstanceId;

impl FromStr for InstanceId {
    type Err = InvalidInstanceId;

    fn from_str(text: &str) -> Result<Self, InvalidInstanceId> {
        let plain = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = plain.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or(InvalidInstanceId)
    }
}

/// A change of a room's presence. The presence store numbers the changes of a room consecutively.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// Its number. The first one of a room is arbitrary, and larger than all earlier ones.
    pub version: u64,
    /// The instance whose users changed.
    pub instance: InstanceId,
    /// The change.
    pub kind: ChangeKind,
}

/// A change of the users of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// These are its users, in place of those before.
    Replaced(Vec<Member>),
    /// Users joined or left. No user is in both lists.
    Updated {
        /// The users that joined.
        joined: Vec<Member>,
        /// The users that left.
        left: Vec<Member>,
    },
    /// All its users left.
    Left,
    /// The instance is dead and its lease was ended. Its users left about one lease ago.
    Expired,
}

/// The presence of a room after one change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceSnapshot {
    /// Number of the last change that it contains; 0 if there was none.
    pub version: u64,
    /// The users of each instance.
    pub instances: Vec<(InstanceId, Vec<Member>)>,
}

/// The users that joined and left a room, over all instances. A user is in the room while at least one instance has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceDiff {
    /// Users that were at no instance and are at one now.
    pub joined: Vec<Member>,
    /// Users that were at an instance and are at none now.
    pub left: Vec<Member>,
}
