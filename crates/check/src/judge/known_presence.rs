//! Presence of a room as one socket knows it.

use std::collections::BTreeSet;

use super::event::{PresenceContent, UserNumber};

/// Users in a room, according to the `presence` frames that one socket received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownPresence {
    pub(crate) count: usize,
    /// `None` if the frames named only the count.
    pub(crate) users: Option<BTreeSet<UserNumber>>,
}

impl KnownPresence {
    /// Applies a frame by the rules of `docs/PROTOCOL.md`.
    pub(crate) fn after(before: Option<Self>, count: usize, content: &PresenceContent) -> Self {
        let users = match content {
            PresenceContent::CountOnly => None,
            PresenceContent::Full(users) => Some(users.iter().copied().collect()),
            PresenceContent::Diff { joined, left } => before.and_then(|before| before.users).map(|mut users| {
                users.retain(|user| !left.contains(user));
                users.extend(joined);
                users
            }),
        };
        Self { count, users }
    }

    /// Returns whether exactly the users `live` are in the room, as far as the frames named them.
    pub(crate) fn equals(&self, live: &BTreeSet<UserNumber>) -> bool {
        self.count == live.len() && self.users.as_ref().is_none_or(|users| users == live)
    }
}
