//! Who is in a room, on every instance: the true set, kept from what instances say.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    str::FromStr,
};

use crate::UserName;

/// One run of one gateway, which holds the presence of the users on its sockets. Random for every start, never the
/// instance's name: a restarted process must not adopt its own ghosts.
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
#[error("a instance is 32 hexadecimal digits")]
pub struct InvalidInstanceId;

impl FromStr for InstanceId {
    type Err = InvalidInstanceId;

    fn from_str(text: &str) -> Result<Self, InvalidInstanceId> {
        let plain = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = plain.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or(InvalidInstanceId)
    }
}

/// One change of a room's presence. The keeper of the leases numbers them, one up each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// Its number; the first of a room is arbitrary and larger than any of before.
    pub version: u64,
    /// Whose users changed.
    pub instance: InstanceId,
    /// What changed.
    pub kind: ChangeKind,
}

/// What changed among the users of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// These are its users, whatever was known.
    Replaced(Vec<UserName>),
    /// Some joined, some left; nobody is in both.
    Updated {
        /// Who joined.
        joined: Vec<UserName>,
        /// Who left.
        left: Vec<UserName>,
    },
    /// All its users left.
    Left,
    /// It died, and its lease was ended: its users have been gone for a while, and do not come back there.
    Expired,
}

/// All that is known of a room's presence, as of one change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceSnapshot {
    /// The last change that it holds; 0 where there never was one.
    pub version: u64,
    /// Each instance and its users.
    pub instances: Vec<(InstanceId, Vec<UserName>)>,
}

/// Who joined to a room and who left from it, as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceDiff {
    /// Users who were nowhere and are somewhere now.
    pub joined: Vec<UserName>,
    /// Users who were somewhere and are nowhere now.
    pub left: Vec<UserName>,
}

/// Who is in one room: a user is, while any instance has them.
///
/// Turns are heard and may be lost, the snapshot is the truth: a jump in the numbers, or a new subscription, means to
/// [read](Self::must_read) it. What is heard meanwhile waits, at most [`Roster::PENDING`] changes; beyond, all of it is
/// dropped, and the next change after the snapshot reveals the gap.
#[derive(Clone, Debug)]
pub struct Roster {
    version: u64,
    instances: BTreeMap<InstanceId, HashSet<UserName>>,
    /// How many instances have each user.
    users: HashMap<UserName, usize>,
    /// Turns heard since the snapshot was asked for; `None` while every change follows the last.
    pending: Option<Vec<PresenceChange>>,
}

impl Default for Roster {
    /// Of nothing is known anything: to be read first.
    fn default() -> Self {
        Self { version: 0, instances: BTreeMap::new(), users: HashMap::new(), pending: Some(Vec::new()) }
    }
}

impl Roster {
    /// Most changes that wait for a snapshot.
    pub const PENDING: usize = 1024;

    /// Whether a snapshot is needed before anything heard can be believed.
    #[must_use]
    pub fn must_read(&self) -> bool {
        self.pending.is_some()
    }

    /// The last change that was taken.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many users are here.
    #[must_use]
    pub fn count(&self) -> usize {
        self.users.len()
    }

    /// Everybody who has users here.
    pub fn instances(&self) -> impl Iterator<Item = InstanceId> {
        self.instances.keys().copied()
    }

    /// Whether the user is here.
    #[must_use]
    pub fn has(&self, user: &UserName) -> bool {
        self.users.contains_key(user)
    }

    /// Everybody who is here.
    pub fn users(&self) -> impl Iterator<Item = &UserName> {
        self.users.keys()
    }

    /// Something may have been missed: a snapshot is needed.
    pub fn doubt(&mut self) {
        self.pending.get_or_insert_default();
    }

    /// Takes a change, if it is the next one.
    pub fn hear(&mut self, change: PresenceChange) -> PresenceDiff {
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
                let mut ledger = Ledger::default();
                self.take(change, &mut ledger);
                ledger.diff(&self.users)
            }
            None => {
                self.pending = Some(vec![change]);
                PresenceDiff::default()
            }
        }
    }

    /// Takes the truth, and what was heard while it was read. Afterwards [`must_read`](Self::must_read) may hold still.
    pub fn replace(&mut self, snapshot: PresenceSnapshot) -> PresenceDiff {
        let mut ledger = Ledger::default();
        let pending = self.pending.take().unwrap_or_default();
        let known: BTreeSet<InstanceId> = snapshot.instances.iter().map(|(instance, _)| *instance).collect();
        let gone: Vec<InstanceId> =
            self.instances.keys().filter(|instance| !known.contains(instance)).copied().collect();
        for instance in gone {
            self.set(instance, Vec::new(), &mut ledger);
        }
        for (instance, users) in snapshot.instances {
            self.set(instance, users, &mut ledger);
        }
        self.version = snapshot.version;
        for change in pending {
            if change.version == self.version + 1 {
                self.take(change, &mut ledger);
            } else if change.version > self.version {
                self.pending.get_or_insert_default().push(change);
            }
        }
        ledger.diff(&self.users)
    }

    fn take(&mut self, change: PresenceChange, ledger: &mut Ledger) {
        self.version = change.version;
        match change.kind {
            ChangeKind::Replaced(users) => self.set(change.instance, users, ledger),
            ChangeKind::Left | ChangeKind::Expired => self.set(change.instance, Vec::new(), ledger),
            ChangeKind::Updated { joined, left } => {
                let held = self.instances.entry(change.instance).or_default();
                for user in left {
                    if held.remove(&user) {
                        ledger.note(&user, &self.users);
                        release(&mut self.users, &user);
                    }
                }
                for user in joined {
                    if held.insert(user.clone()) {
                        ledger.note(&user, &self.users);
                        *self.users.entry(user).or_default() += 1;
                    }
                }
                if held.is_empty() {
                    self.instances.remove(&change.instance);
                }
            }
        }
    }

    /// Makes `users` the users of `instance`.
    fn set(&mut self, instance: InstanceId, users: Vec<UserName>, ledger: &mut Ledger) {
        let new: HashSet<UserName> = users.into_iter().collect();
        let old = self.instances.remove(&instance).unwrap_or_default();
        for user in new.difference(&old) {
            ledger.note(user, &self.users);
            *self.users.entry(user.clone()).or_default() += 1;
        }
        for user in old.difference(&new) {
            ledger.note(user, &self.users);
            release(&mut self.users, user);
        }
        if !new.is_empty() {
            self.instances.insert(instance, new);
        }
    }
}

/// One instance fewer has the user.
fn release(users: &mut HashMap<UserName, usize>, user: &UserName) {
    if let Some(count) = users.get_mut(user) {
        *count -= 1;
        if *count == 0 {
            users.remove(user);
        }
    }
}

/// Whom a change touched, and whether they were here before it: what is left of it in the end is who joined and left.
#[derive(Default)]
struct Ledger(BTreeMap<UserName, bool>);

impl Ledger {
    /// The user is about to change.
    fn note(&mut self, user: &UserName, users: &HashMap<UserName, usize>) {
        if !self.0.contains_key(user) {
            self.0.insert(user.clone(), users.contains_key(user));
        }
    }

    fn diff(self, users: &HashMap<UserName, usize>) -> PresenceDiff {
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
