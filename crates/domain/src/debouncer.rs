//! What a room is told of who is in it: calmer than the truth, and never false for long.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{PresenceDiff, UserName};

/// Turns the true set of a room's users over time into frames: nothing for a user who is back within [`Self::GRACE`], at
/// most one frame each [`Self::PACE`], only counts above [`Self::NAMED`] users.
///
/// Whoever was told the [state](Self::shown) and every [`PresenceUpdate`] since knows the state of now. Kept is only what
/// differs from the true set, which the roster has.
#[derive(Clone, Debug, Default)]
pub struct PresenceDebouncer {
    /// How many users the room was told of: those who are here, without those coming, with those leaving.
    count: usize,
    /// Who is here and was not told.
    coming: BTreeSet<UserName>,
    /// Who was told, is not here, and since when.
    leaving: BTreeMap<UserName, Duration>,
    /// When the next frame may go.
    next: Duration,
}

/// What to tell everybody in the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresenceUpdate {
    /// These joined and left; nobody is in both, and both are never empty.
    Diff(PresenceDiff),
    /// The state in place of what was known: only its count matters, or names are shown again.
    State,
}

impl PresenceDebouncer {
    /// How long a user may be nowhere without being told to have gone: a reconnect.
    pub const GRACE: Duration = Duration::from_secs(5);
    /// Least time between two frames.
    pub const PACE: Duration = Duration::from_secs(1);
    /// Most users whose names are told.
    pub const NAMED: usize = 500;

    /// The truth changed at `now`. Who left some time before `now`, as those of a crashed process, is owed so much less
    /// grace.
    pub fn moved(&mut self, diff: PresenceDiff, now: Duration) {
        for user in diff.left {
            if !self.coming.remove(&user) {
                self.leaving.entry(user).or_insert(now);
            }
        }
        for user in diff.joined {
            if self.leaving.remove(&user).is_none() {
                self.coming.insert(user);
            }
        }
    }

    /// What is to be told now, if anything.
    pub fn due(&mut self, now: Duration) -> Option<PresenceUpdate> {
        if now < self.next {
            return None;
        }
        let ripe = |since: &Duration| now >= *since + Self::GRACE;
        if self.coming.is_empty() && !self.leaving.values().any(ripe) {
            return None;
        }
        let named = self.is_named();
        let joined: Vec<UserName> = std::mem::take(&mut self.coming).into_iter().collect();
        let left: Vec<UserName> =
            self.leaving.iter().filter(|(_, since)| ripe(since)).map(|(user, _)| user.clone()).collect();
        for user in &left {
            self.leaving.remove(user);
        }
        self.count = self.count + joined.len() - left.len();
        self.next = now + Self::PACE;
        let diff = named && self.is_named();
        Some(if diff { PresenceUpdate::Diff(PresenceDiff { joined, left }) } else { PresenceUpdate::State })
    }

    /// Whether there is something to tell, now or later.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.coming.is_empty() || !self.leaving.is_empty()
    }

    /// Whether the room is told names.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.count <= Self::NAMED
    }

    /// How many users are here, as far as the room was told.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Who is here, as far as the room was told. `here` is the true set: what all diff so far made.
    pub fn shown<'a>(&'a self, here: impl IntoIterator<Item = &'a UserName>) -> BTreeSet<UserName> {
        let told = here.into_iter().filter(|user| !self.coming.contains(*user));
        told.chain(self.leaving.keys()).cloned().collect()
    }
}
