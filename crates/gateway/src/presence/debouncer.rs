//! Decides when the members of one room are sent its presence, and what. Pure: time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use trunkline_domain::{Member, PresenceDiff};

/// Turns the changes of a room's presence into updates for its members.
///
/// Users who reconnect must not flicker, and a room of thousands must not cause a frame per join. So a user who leaves and
/// returns within [`Self::LEAVE_DELAY`] causes no update, updates are at least [`Self::MIN_UPDATE_INTERVAL`] apart, and
/// above [`Self::MAX_NAMED_USERS`] users an update contains a count instead of names.
///
/// A client that applies every [`PresenceUpdate`] in order has the set of [`visible_users`](Self::visible_users). The
/// debouncer stores only the differences between that set and the actual one, which the [`Roster`](trunkline_domain::Roster)
/// stores.
#[derive(Clone, Debug, Default)]
pub(crate) struct PresenceDebouncer {
    /// Number of visible users.
    visible: usize,
    /// Present users that are not yet visible.
    joining: BTreeSet<Member>,
    /// Visible users that are no longer present, with the time at which they left.
    leaving: BTreeMap<Member, Duration>,
    /// Earliest time of the next update.
    next_update: Duration,
}

/// An update for every member of the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PresenceUpdate {
    /// These users joined and left. At least one of the two lists has users, and no user is in both.
    Diff(PresenceDiff),
    /// The whole state replaces what members know: the room is, or was, too large for names.
    State,
}

impl PresenceDebouncer {
    /// Time for which a user who left stays visible. It must cover a reconnect; a larger value shows users longer after
    /// they left.
    pub(crate) const LEAVE_DELAY: Duration = Duration::from_secs(5);
    /// Minimum time between two updates of a room. A smaller value shows joins sooner and costs a frame per member for
    /// each update.
    pub(crate) const MIN_UPDATE_INTERVAL: Duration = Duration::from_secs(1);
    /// Maximum number of users that are sent as names. At the maximum length of names, a state of 500 is about 18 KiB.
    pub(crate) const MAX_NAMED_USERS: usize = 500;

    /// Applies a change that happened at `now`. Users who left earlier, such as those of an instance that crashed, stay
    /// visible for a correspondingly shorter time if `now` is in the past.
    pub(crate) fn apply(&mut self, diff: PresenceDiff, now: Duration) {
        for user in diff.left {
            if !self.joining.remove(&user) {
                self.leaving.entry(user).or_insert(now);
            }
        }
        for user in diff.joined {
            if self.leaving.remove(&user).is_none() {
                self.joining.insert(user);
            }
        }
    }

    /// Returns the update that is due at `now`, if there is one.
    pub(crate) fn poll_update(&mut self, now: Duration) -> Option<PresenceUpdate> {
        if now < self.next_update {
            return None;
        }
        let is_due = |left_at: &Duration| now >= *left_at + Self::LEAVE_DELAY;
        if self.joining.is_empty() && !self.leaving.values().any(is_due) {
            return None;
        }
        let had_names = self.shows_names();
        let joined: Vec<Member> = std::mem::take(&mut self.joining).into_iter().collect();
        let left: Vec<Member> =
            self.leaving.extract_if(.., |_, left_at| is_due(left_at)).map(|(user, _)| user).collect();
        self.visible = self.visible + joined.len() - left.len();
        self.next_update = now + Self::MIN_UPDATE_INTERVAL;
        let names = had_names && self.shows_names();
        Some(if names { PresenceUpdate::Diff(PresenceDiff { joined, left }) } else { PresenceUpdate::State })
    }

    /// Returns whether an update is due now or at a later time.
    pub(crate) fn is_pending(&self) -> bool {
        !self.joining.is_empty() || !self.leaving.is_empty()
    }

    /// Returns whether the room is small enough for names.
    pub(crate) fn shows_names(&self) -> bool {
        self.visible <= Self::MAX_NAMED_USERS
    }

    /// Returns the number of visible users.
    pub(crate) fn count(&self) -> usize {
        self.visible
    }

    /// Returns the users that members see. `present` are the users in the room after all applied changes.
    pub(crate) fn visible_users<'a>(&'a self, present: impl IntoIterator<Item = &'a Member>) -> BTreeSet<Member> {
        let visible = present.into_iter().filter(|user| !self.joining.contains(*user));
        visible.chain(self.leaving.keys()).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
