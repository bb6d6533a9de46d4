//! The users of a room over all instances, maintained from presence changes and snapshots.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::{ChangeKind, InstanceId, Member, PresenceChange, PresenceDiff, PresenceSnapshot};

/// The users of one room. A user is in the room while at least one instance has them.
///
/// Changes may be lost, and the snapshot is the truth: after a gap in the numbers, or a new subscription, a snapshot [must be
/// read](Self::needs_snapshot). Changes that arrive meanwhile wait, at most [`Roster::PENDING`]; beyond, all of them are dropped,
/// and the next change after the snapshot reveals the gap.
#[derive(Clone, Debug)]
pub struct Roster {
    version: u64,
    instances: BTreeMap<InstanceId, HashSet<Member>>,
    /// Number of instances that have each user.
    users: HashMap<Member, usize>,
    /// Changes received while a snapshot is needed; `None` while the numbers are contiguous.
    pending: Option<Vec<PresenceChange>>,
}

impl Default for Roster {
    /// Starts unknown: a snapshot must be read first.
    fn default() -> Self {
        Self { version: 0, instances: BTreeMap::new(), users: HashMap::new(), pending: Some(Vec::new()) }
    }
}

impl Roster {
    /// Maximum number of changes that wait for a snapshot.
    pub const PENDING: usize = 1024;

    /// Whether a snapshot is needed before changes can be applied.
    #[must_use]
    pub fn needs_snapshot(&self) -> bool {
        self.pending.is_some()
    }

    /// Number of the last change that was applied.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Number of users in the room.
    #[must_use]
    pub fn count(&self) -> usize {
        self.users.len()
    }

    /// The instances that have users in the room.
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> {
        self.instances.keys().copied()
    }

    /// Whether the user is in the room.
    #[must_use]
    pub fn has(&self, user: &Member) -> bool {
        self.users.contains_key(user)
    }

    /// The users in the room.
    pub fn users(&self) -> impl Iterator<Item = &Member> {
        self.users.keys()
    }

    /// Records that changes may have been lost, so a snapshot is needed.
    pub fn mark_stale(&mut self) {
        self.pending.get_or_insert_default();
    }

    /// Applies a change if it is the next one, ignores it if it is an old one, and otherwise waits for a snapshot. Returns
    /// what changed.
    pub fn apply(&mut self, change: PresenceChange) -> PresenceDiff {
        match &mut self.pending {
            Some(pending) => {
                if pending.len() >= Self::PENDING {
                    pending.clear();
                }
                pending.push(change);
                PresenceDiff::default()
            }
            None if change.version <= self.version => PresenceDiff::default(),
            None if change.version == self.version + 1 => {
                let mut touched = TouchedUsers::default();
                self.apply_next(change, &mut touched);
                touched.diff(&self.users)
            }
            None => {
                self.pending = Some(vec![change]);
                PresenceDiff::default()
            }
        }
    }

    /// Applies a snapshot, and the changes that arrived while it was read. Returns what changed. If one of these changes does
    /// not follow, another snapshot [must be read](Self::needs_snapshot).
    pub fn replace(&mut self, snapshot: PresenceSnapshot) -> PresenceDiff {
        let mut touched = TouchedUsers::default();
        let pending = self.pending.take().unwrap_or_default();
        let known: BTreeSet<InstanceId> = snapshot.instances.iter().map(|(instance, _)| *instance).collect();
        let gone: Vec<InstanceId> =
            self.instances.keys().filter(|instance| !known.contains(instance)).copied().collect();
        for instance in gone {
            self.set(instance, Vec::new(), &mut touched);
        }
        for (instance, users) in snapshot.instances {
            self.set(instance, users, &mut touched);
        }
        self.version = snapshot.version;
        for change in pending {
            if change.version == self.version + 1 {
                self.apply_next(change, &mut touched);
            } else if change.version > self.version {
                self.pending.get_or_insert_default().push(change);
            }
        }
        touched.diff(&self.users)
    }

    fn apply_next(&mut self, change: PresenceChange, touched: &mut TouchedUsers) {
        self.version = change.version;
        match change.kind {
            ChangeKind::Replaced(users) => self.set(change.instance, users, touched),
            ChangeKind::Left | ChangeKind::Expired => self.set(change.instance, Vec::new(), touched),
            ChangeKind::Updated { joined, left } => {
                let held = self.instances.entry(change.instance).or_default();
                for user in left {
                    if held.remove(&user) {
                        touched.note(&user, &self.users);
                        release(&mut self.users, &user);
                    }
                }
                for user in joined {
                    if held.insert(user.clone()) {
                        touched.note(&user, &self.users);
                        *self.users.entry(user).or_default() += 1;
                    }
                }
                if held.is_empty() {
                    self.instances.remove(&change.instance);
                }
            }
        }
    }

    /// Sets the users of `instance`.
    fn set(&mut self, instance: InstanceId, users: Vec<Member>, touched: &mut TouchedUsers) {
        let new: HashSet<Member> = users.into_iter().collect();
        let old = self.instances.remove(&instance).unwrap_or_default();
        for user in new.difference(&old) {
            touched.note(user, &self.users);
            *self.users.entry(user.clone()).or_default() += 1;
        }
        for user in old.difference(&new) {
            touched.note(user, &self.users);
            release(&mut self.users, user);
        }
        if !new.is_empty() {
            self.instances.insert(instance, new);
        }
    }
}

/// Decrements the number of instances that have the user.
fn release(users: &mut HashMap<Member, usize>, user: &Member) {
    if let Some(count) = users.get_mut(user) {
        *count -= 1;
        if *count == 0 {
            users.remove(user);
        }
    }
}

/// The users that a change touches, and whether each was in the room before it.
#[derive(Default)]
struct TouchedUsers(BTreeMap<Member, bool>);

impl TouchedUsers {
    /// Records the user, unless recorded before. Call it before the change.
    fn note(&mut self, user: &Member, users: &HashMap<Member, usize>) {
        if !self.0.contains_key(user) {
            self.0.insert(user.clone(), users.contains_key(user));
        }
    }

    fn diff(self, users: &HashMap<Member, usize>) -> PresenceDiff {
        let mut diff = PresenceDiff::default();
        for (user, before) in self.0 {
            match (before, users.contains_key(&user)) {
                (false, true) => diff.joined.push(user),
                (true, false) => diff.left.push(user),
                _ => {}
            }
        }
        diff
    }
}
