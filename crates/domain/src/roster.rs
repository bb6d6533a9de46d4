//! Who is in a room, on every instance: the true set, kept from what holders say.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    str::FromStr,
};

use crate::UserName;

/// One run of one gateway, which holds the presence of the users on its sockets. Random for every start, never the
/// instance's name: a restarted process must not adopt its own ghosts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder(
    /// 128 random bits.
    pub u128,
);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Holder({self})")
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a holder is 32 hexadecimal digits")]
pub struct InvalidHolder;

impl FromStr for Holder {
    type Err = InvalidHolder;

    fn from_str(text: &str) -> Result<Self, InvalidHolder> {
        let plain = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = plain.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or(InvalidHolder)
    }
}

/// One change of a room's presence. The keeper of the leases numbers them, one up each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its number; the first of a room is arbitrary and larger than any of before.
    pub number: u64,
    /// Whose users changed.
    pub holder: Holder,
    /// What changed.
    pub shift: Shift,
}

/// What changed among the users of one holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shift {
    /// These are its users, whatever was known.
    Whole(Vec<UserName>),
    /// Some came, some went; nobody is in both.
    Moves {
        /// Who came.
        came: Vec<UserName>,
        /// Who went.
        went: Vec<UserName>,
    },
    /// All its users left.
    Gone,
    /// It died, and its lease was ended: its users have been gone for a while, and do not come back there.
    Lapsed,
}

/// All that is known of a room's presence, as of one turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The last turn that it holds; 0 where there never was one.
    pub number: u64,
    /// Each holder and its users.
    pub holders: Vec<(Holder, Vec<UserName>)>,
}

/// Who came to a room and who went from it, as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Users who were nowhere and are somewhere now.
    pub came: Vec<UserName>,
    /// Users who were somewhere and are nowhere now.
    pub went: Vec<UserName>,
}

/// Who is in one room: a user is, while any holder has them.
///
/// Turns are heard and may be lost, the snapshot is the truth: a jump in the numbers, or a new subscription, means to
/// [read](Self::must_read) it. What is heard meanwhile waits, at most [`Roster::PENDING`] turns; beyond, all of it is
/// dropped, and the next turn after the snapshot reveals the gap.
#[derive(Clone, Debug)]
pub struct Roster {
    number: u64,
    holders: BTreeMap<Holder, HashSet<UserName>>,
    /// How many holders have each user.
    users: HashMap<UserName, usize>,
    /// Turns heard since the snapshot was asked for; `None` while every turn follows the last.
    pending: Option<Vec<Turn>>,
}

impl Default for Roster {
    /// Of nothing is known anything: to be read first.
    fn default() -> Self {
        Self { number: 0, holders: BTreeMap::new(), users: HashMap::new(), pending: Some(Vec::new()) }
    }
}

impl Roster {
    /// Most turns that wait for a snapshot.
    pub const PENDING: usize = 1024;

    /// Whether a snapshot is needed before anything heard can be believed.
    #[must_use]
    pub fn must_read(&self) -> bool {
        self.pending.is_some()
    }

    /// The last turn that was taken.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many users are here.
    #[must_use]
    pub fn count(&self) -> usize {
        self.users.len()
    }

    /// Everybody who has users here.
    pub fn holders(&self) -> impl Iterator<Item = Holder> {
        self.holders.keys().copied()
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

    /// Takes a turn, if it is the next one.
    pub fn hear(&mut self, turn: Turn) -> Moves {
        match &mut self.pending {
            Some(pending) => {
                if pending.len() >= Self::PENDING {
                    pending.clear();
                }
                pending.push(turn);
                Moves::default()
            }
            None if turn.number <= self.number => Moves::default(),
            None if turn.number == self.number + 1 => {
                let mut ledger = Ledger::default();
                self.take(turn, &mut ledger);
                ledger.moves(&self.users)
            }
            None => {
                self.pending = Some(vec![turn]);
                Moves::default()
            }
        }
    }

    /// Takes the truth, and what was heard while it was read. Afterwards [`must_read`](Self::must_read) may hold still.
    pub fn replace(&mut self, snapshot: Snapshot) -> Moves {
        let mut ledger = Ledger::default();
        let pending = self.pending.take().unwrap_or_default();
        let known: BTreeSet<Holder> = snapshot.holders.iter().map(|(holder, _)| *holder).collect();
        let gone: Vec<Holder> = self.holders.keys().filter(|holder| !known.contains(holder)).copied().collect();
        for holder in gone {
            self.set(holder, Vec::new(), &mut ledger);
        }
        for (holder, users) in snapshot.holders {
            self.set(holder, users, &mut ledger);
        }
        self.number = snapshot.number;
        for turn in pending {
            if turn.number == self.number + 1 {
                self.take(turn, &mut ledger);
            } else if turn.number > self.number {
                self.pending.get_or_insert_default().push(turn);
            }
        }
        ledger.moves(&self.users)
    }

    fn take(&mut self, turn: Turn, ledger: &mut Ledger) {
        self.number = turn.number;
        match turn.shift {
            Shift::Whole(users) => self.set(turn.holder, users, ledger),
            Shift::Gone | Shift::Lapsed => self.set(turn.holder, Vec::new(), ledger),
            Shift::Moves { came, went } => {
                let held = self.holders.entry(turn.holder).or_default();
                for user in went {
                    if held.remove(&user) {
                        ledger.note(&user, &self.users);
                        release(&mut self.users, &user);
                    }
                }
                for user in came {
                    if held.insert(user.clone()) {
                        ledger.note(&user, &self.users);
                        *self.users.entry(user).or_default() += 1;
                    }
                }
                if held.is_empty() {
                    self.holders.remove(&turn.holder);
                }
            }
        }
    }

    /// Makes `users` the users of `holder`.
    fn set(&mut self, holder: Holder, users: Vec<UserName>, ledger: &mut Ledger) {
        let new: HashSet<UserName> = users.into_iter().collect();
        let old = self.holders.remove(&holder).unwrap_or_default();
        for user in new.difference(&old) {
            ledger.note(user, &self.users);
            *self.users.entry(user.clone()).or_default() += 1;
        }
        for user in old.difference(&new) {
            ledger.note(user, &self.users);
            release(&mut self.users, user);
        }
        if !new.is_empty() {
            self.holders.insert(holder, new);
        }
    }
}

/// One holder fewer has the user.
fn release(users: &mut HashMap<UserName, usize>, user: &UserName) {
    if let Some(count) = users.get_mut(user) {
        *count -= 1;
        if *count == 0 {
            users.remove(user);
        }
    }
}

/// Whom a change touched, and whether they were here before it: what is left of it in the end is who came and went.
#[derive(Default)]
struct Ledger(BTreeMap<UserName, bool>);

impl Ledger {
    /// The user is about to change.
    fn note(&mut self, user: &UserName, users: &HashMap<UserName, usize>) {
        if !self.0.contains_key(user) {
            self.0.insert(user.clone(), users.contains_key(user));
        }
    }

    fn moves(self, users: &HashMap<UserName, usize>) -> Moves {
        let mut moves = Moves::default();
        for (user, before) in self.0 {
            match (before, users.contains_key(&user)) {
                (false, true) => moves.came.push(user),
                (true, false) => moves.went.push(user),
                _ => {}
            }
        }
        moves
    }
}
