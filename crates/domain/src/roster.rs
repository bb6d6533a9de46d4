//! The users of a room over all instances, maintained from presence changes and snapshots.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::Entry};

use crate::{ChangeKind, InstanceId, Member, PresenceChange, PresenceDiff, PresenceSnapshot};

/// The users of one room. A user is in the room while at least one instance has them.
///
/// Changes may be lost, and the snapshot is the truth: after a gap in the numbers, or a new subscription, a snapshot [must be
/// read](Self::needs_snapshot). Changes that arrive meanwhile wait, at most [`Roster::PENDING`]; beyond, all of them are dropped,
/// and the next change after the snapshot reveals the gap.
#[derive(Clone, Debug)]
pub struct Roster {
    version: u64,
    /// The instances that have users.
    instances: BTreeMap<InstanceId, InstanceUsers>,
    /// The number of the newest instance.
    last_number: u32,
    users: HashMap<Member, Holders>,
    /// Changes received while a snapshot is needed; `None` while the numbers are contiguous.
    pending: Option<Vec<PresenceChange>>,
}

/// An instance that has users.
#[derive(Clone, Copy, Debug)]
struct InstanceUsers {
    /// Stands for the instance in [`Holders`]. Numbers are not used again, so an instance that loses all its users and gets
    /// others has a new one.
    number: u32,
    /// The number of its users.
    count: usize,
}

/// The numbers of the instances that have one user. Nearly all users are at one instance, which takes no allocation.
#[derive(Clone, Debug)]
enum Holders {
    One(u32),
    Several(Box<[u32]>),
}

impl Default for Roster {
    /// Starts unknown: a snapshot must be read first.
    fn default() -> Self {
        let pending = Some(Vec::new());
        Self { version: 0, instances: BTreeMap::new(), last_number: 0, users: HashMap::new(), pending }
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
                for user in left {
                    self.remove(change.instance, &user, touched);
                }
                for user in joined {
                    self.add(change.instance, user, touched);
                }
            }
        }
    }

    /// Sets the users of `instance`. Takes time in proportion to the users of the room.
    fn set(&mut self, instance: InstanceId, users: Vec<Member>, touched: &mut TouchedUsers) {
        let new: HashSet<Member> = users.into_iter().collect();
        if let Some(&InstanceUsers { number, .. }) = self.instances.get(&instance) {
            let held = self.users.iter().filter(|(user, holders)| holders.contain(number) && !new.contains(*user));
            for user in held.map(|(user, _)| user.clone()).collect::<Vec<_>>() {
                self.remove(instance, &user, touched);
            }
        }
        for user in new {
            self.add(instance, user, touched);
        }
    }

    /// Adds a user of `instance`, unless it has the user.
    fn add(&mut self, instance: InstanceId, user: Member, touched: &mut TouchedUsers) {
        let held = self.instances.entry(instance).or_insert_with(|| {
            self.last_number = self.last_number.wrapping_add(1);
            InstanceUsers { number: self.last_number, count: 0 }
        });
        match self.users.entry(user) {
            Entry::Vacant(entry) => {
                touched.note(entry.key(), false);
                entry.insert(Holders::One(held.number));
            }
            Entry::Occupied(entry) if entry.get().contain(held.number) => return,
            Entry::Occupied(mut entry) => {
                touched.note(entry.key(), true);
                let holders = entry.get().iter().copied().chain([held.number]);
                let holders = Holders::Several(holders.collect());
                entry.insert(holders);
            }
        }
        held.count += 1;
    }

    /// Removes a user of `instance`, if it has the user.
    fn remove(&mut self, instance: InstanceId, user: &Member, touched: &mut TouchedUsers) {
        let Some(held) = self.instances.get_mut(&instance) else { return };
        let Some(holders) = self.users.get_mut(user).filter(|holders| holders.contain(held.number)) else { return };
        touched.note(user, true);
        let others: Vec<u32> = holders.iter().copied().filter(|number| *number != held.number).collect();
        match others[..] {
            [] => _ = self.users.remove(user),
            [one] => *holders = Holders::One(one),
            _ => *holders = Holders::Several(others.into()),
        }
        held.count -= 1;
        if held.count == 0 {
            self.instances.remove(&instance);
        }
    }
}

impl Holders {
    fn iter(&self) -> std::slice::Iter<'_, u32> {
        match self {
            Self::One(number) => std::slice::from_ref(number).iter(),
            Self::Several(numbers) => numbers.iter(),
        }
    }

    fn contain(&self, number: u32) -> bool {
        self.iter().any(|one| *one == number)
    }
}

/// The users that a change touches, and whether each was in the room before it.
#[derive(Default)]
struct TouchedUsers(BTreeMap<Member, bool>);

impl TouchedUsers {
    /// Records whether the user was in the room, unless recorded before. Call it before the change.
    fn note(&mut self, user: &Member, was_present: bool) {
        if !self.0.contains_key(user) {
            self.0.insert(user.clone(), was_present);
        }
    }

    fn diff(self, users: &HashMap<Member, Holders>) -> PresenceDiff {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_of_a_user_takes_16_bytes() {
        assert_eq!(size_of::<Holders>(), 16);
    }
}
