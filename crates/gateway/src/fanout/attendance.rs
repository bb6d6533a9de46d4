//! Who is in the rooms of this process, what the other processes are told of it, and what the members are. Part of the
//! feed and like it synchronous. Presence is state: whatever is lost on the way, later state replaces it. Nothing here
//! delays a message.

mod attended;
mod here;
mod pulse;
#[cfg(test)]
mod simulation;
mod sockets;

use std::{collections::BTreeMap, time::Duration};

use indexmap::IndexMap;
use trunkline_bus::{Lease, LeaseStatus};
use trunkline_domain::{ChangeKind, InstanceId, PresenceChange, PresenceDebouncer, PresenceSnapshot, Room, UserName};

pub(crate) use self::here::PresenceState;
use self::{
    attended::{Reading, RoomPresence},
    pulse::Pulse,
};
use super::{Mail, WorkerId, feed::Effect, round::Round, text};

/// Least time between two words about one room: what happens within it is told together.
const PAUSE: Duration = Duration::from_millis(250);
/// How long after a failed word or read the next one begins.
const RETRY: Duration = Duration::from_millis(500);
/// Most time between two looks at whether a lease stands. Whoever ends one says so; this is for what is lost without a
/// word, and for keys that somebody deleted.
const CHECK: Duration = Duration::from_secs(60);
/// How long a change may be under way that a check has told of.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// What is to be asked of, or told to, those who keep presence.
#[derive(Debug)]
pub(crate) enum PresenceCommand {
    /// These are our users; the answer comes to [`PresenceTracker::said`].
    Replace(Room, Vec<UserName>),
    /// Some joined, some left; the answer comes to [`PresenceTracker::said`].
    Update {
        /// Where.
        room: Room,
        /// Who joined.
        joined: Vec<UserName>,
        /// Who left.
        left: Vec<UserName>,
    },
    /// We live; the answer comes to [`PresenceTracker::beaten`].
    Heartbeat,
    /// Do our leases stand? The answer comes to [`PresenceTracker::checked`].
    Check(Vec<Room>),
    /// This process is dead; nobody waits for the answer.
    Expire(InstanceId, Vec<Room>),
    /// Read who is there; the answer comes to [`PresenceTracker::present`].
    ReadSnapshot(Room),
    /// So many users are in these rooms; the answer comes to [`PresenceTracker::listed`].
    SetRoomCounts(Vec<(Room, usize)>),
}

/// Presence in every room that this process hears.
#[derive(Debug)]
pub(crate) struct PresenceTracker {
    rooms: IndexMap<Room, RoomPresence>,
    round: Round,
    /// Rooms to look at with the next tick, whoever's change it is.
    astir: Vec<Room>,
    /// Rooms with users of this process, and users, each counted once a room.
    size: (usize, usize),
    /// This process.
    instance: InstanceId,
    pulse: Pulse,
    lease: Duration,
    /// Whether a list is under way.
    listing: bool,
    now: Duration,
}

impl PresenceTracker {
    /// Nobody anywhere; users of this process are those of `instance`, and a dead one's go within one `lease`.
    pub(crate) fn new(instance: InstanceId, lease: Duration) -> Self {
        Self {
            rooms: IndexMap::new(),
            round: Round::default(),
            astir: Vec::new(),
            size: (0, 0),
            instance,
            pulse: Pulse::new(lease),
            lease,
            listing: false,
            now: Duration::ZERO,
        }
    }

    // What workers tell

    /// A socket of the user joined the room.
    pub(crate) fn joined(&mut self, worker: WorkerId, room: &Room, user: UserName, effects: &mut Vec<Effect>) {
        let attended = self.rooms.entry(room.clone()).or_default();
        let first = attended.local.is_empty();
        if attended.local.add(worker, user.clone()) {
            self.size = (self.size.0 + usize::from(first), self.size.1 + 1);
            attended.words.come(user);
            attended.say(room, self.now, effects);
            attended.stir(room, &mut self.astir);
        }
    }

    /// A socket of the user left the room, or is gone.
    pub(crate) fn left(&mut self, worker: WorkerId, room: &Room, user: UserName, effects: &mut Vec<Effect>) {
        if let Some(attended) = self.rooms.get_mut(room)
            && attended.local.remove(worker, &user)
        {
            self.size = (self.size.0 - usize::from(attended.local.is_empty()), self.size.1 - 1);
            attended.words.go(user);
            attended.say(room, self.now, effects);
            attended.stir(room, &mut self.astir);
        }
    }

    /// A worker is gone.
    pub(crate) fn detach(&mut self, worker: WorkerId, effects: &mut Vec<Effect>) {
        for (room, attended) in &mut self.rooms {
            attended.followers.retain(|one| *one != worker);
            let gone = attended.local.remove_all(worker);
            let deserted = !gone.is_empty() && attended.local.is_empty();
            self.size = (self.size.0 - usize::from(deserted), self.size.1 - gone.len());
            gone.into_iter().for_each(|user| attended.words.go(user));
            attended.say(room, self.now, effects);
            attended.stir(room, &mut self.astir);
        }
    }

    /// A worker begins to follow the room, or missed mail of it.
    pub(crate) fn serve(&mut self, worker: WorkerId, room: &Room, effects: &mut Vec<Effect>) {
        let attended = self.rooms.entry(room.clone()).or_default();
        if !attended.followers.contains(&worker) {
            attended.followers.push(worker);
        }
        if let Some(here) = attended.here.clone() {
            effects.push(Effect::Post(worker, Mail::Presence { room: room.clone(), here, change: None }));
        }
    }

    /// A worker follows the room no more.
    pub(crate) fn unserve(&mut self, worker: WorkerId, room: &Room) {
        if let Some(attended) = self.rooms.get_mut(room) {
            attended.followers.retain(|one| *one != worker);
        }
    }

    // What the bus delivers

    /// The room is heard from now on: whatever was said before must be read, and a keeper that forgot us told again.
    pub(crate) fn subscribed(&mut self, room: &Room, effects: &mut Vec<Effect>) {
        let attended = self.rooms.entry(room.clone()).or_default();
        attended.roster.doubt();
        attended.words.check = self.now;
        if let Reading::UnderWay { stale } = &mut attended.reading {
            *stale = true;
        }
        attended.read_if_needed(room, self.now, effects);
    }

    /// Somebody joined or left, somewhere.
    pub(crate) fn heard(&mut self, room: &Room, mut change: PresenceChange, effects: &mut Vec<Effect>) {
        let Some(attended) = self.rooms.get_mut(room) else { return };
        let lapsed = change.kind == ChangeKind::Expired;
        if lapsed && change.instance == self.instance {
            // Taken for dead: unless we know better already, we are to enter again.
            attended.words.check = self.now;
        }
        // Gone for longer than a reconnect takes.
        let since = if lapsed { self.now.saturating_sub(PresenceDebouncer::GRACE) } else { self.now };
        match &mut change.kind {
            ChangeKind::Replaced(users) | ChangeKind::Updated { joined: users, .. } => {
                attended.local.share_names(users)
            }
            ChangeKind::Left | ChangeKind::Expired => {}
        }
        let diff = attended.roster.hear(change);
        attended.announcer.moved(diff, since);
        attended.read_if_needed(room, self.now, effects);
        attended.announce(room, self.now, effects);
        attended.stir(room, &mut self.astir);
    }

    /// The room, which nobody follows any more, is heard no more.
    pub(crate) fn forget(&mut self, room: &Room) {
        if let Some(RoomPresence { local, .. }) = self.rooms.swap_remove(room) {
            self.size = (self.size.0 - usize::from(!local.is_empty()), self.size.1 - local.count());
        }
    }

    // Answers

    /// A word was said; `None` when it failed, and perhaps stands all the same.
    pub(crate) fn said(&mut self, room: &Room, lease: Option<Lease>, effects: &mut Vec<Effect>) {
        let Some(attended) = self.rooms.get_mut(room) else { return };
        let words = &mut attended.words;
        words.under_way = false;
        words.unclear = lease.is_none();
        words.held = lease == Some(Lease::Held) && !words.last;
        match lease {
            Some(Lease::Held) => {}
            Some(Lease::Lost) => words.next = self.now,
            None => words.next = self.now + RETRY,
        }
        attended.say(room, self.now, effects);
        attended.stir(room, &mut self.astir);
    }

    /// Our beat was answered with those who live; `None` when nobody answered.
    pub(crate) fn beaten(&mut self, alive: Option<Vec<InstanceId>>) {
        self.pulse.answered(self.now, alive);
    }

    /// Leases were looked at; `None` when nobody answered.
    pub(crate) fn checked(&mut self, rooms: &[Room], standings: Option<&[LeaseStatus]>, effects: &mut Vec<Effect>) {
        for (index, room) in rooms.iter().enumerate() {
            let Some(attended) = self.rooms.get_mut(room) else { continue };
            let words = &mut attended.words;
            match standings.and_then(|standings| standings.get(index)) {
                Some(LeaseStatus::Held(change)) if *change > attended.roster.version() => {
                    attended.expected.get_or_insert((*change, self.now + UNDER_WAY));
                }
                Some(LeaseStatus::Held(_)) => {}
                // The word under way may have found it, or not.
                Some(LeaseStatus::Lost) if words.under_way => words.check = self.now,
                Some(LeaseStatus::Lost) => {
                    words.held = false;
                    words.next = self.now;
                    attended.say(room, self.now, effects);
                    attended.stir(room, &mut self.astir);
                }
                None => words.check = self.now + RETRY,
            }
        }
    }

    /// Who is in the room was read; `None` when that failed.
    pub(crate) fn present(&mut self, room: &Room, snapshot: Option<PresenceSnapshot>, effects: &mut Vec<Effect>) {
        let Some(attended) = self.rooms.get_mut(room) else { return };
        let stale = matches!(std::mem::take(&mut attended.reading), Reading::UnderWay { stale: true });
        match snapshot {
            None => attended.reading = Reading::Retry(self.now + RETRY),
            Some(_) if stale => {}
            Some(mut snapshot) => {
                attended.expected = None;
                snapshot.instances.iter_mut().for_each(|(_, users)| attended.local.share_names(users));
                let diff = attended.roster.replace(snapshot);
                attended.announcer.moved(diff, self.now);
            }
        }
        attended.read_if_needed(room, self.now, effects);
        attended.announce(room, self.now, effects);
        attended.stir(room, &mut self.astir);
    }

    /// The list of rooms was told, or not.
    pub(crate) fn listed(&mut self) {
        self.listing = false;
    }

    // Time

    /// PresenceDiff the clock: words and frames whose time has come go out. Every room is looked at once in a [`Round`], and
    /// more often while something is to be said of it.
    pub(crate) fn tick(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.now = now;
        if self.pulse.is_due(now) {
            effects.push(Effect::Say(PresenceCommand::Heartbeat));
        }
        for room in std::mem::take(&mut self.astir) {
            if let Some(attended) = self.rooms.get_mut(&room) {
                attended.astir = false;
                attended.look(&room, now, effects);
                attended.stir(&room, &mut self.astir);
            }
        }
        let (mut checks, mut list) = (Vec::new(), Vec::new());
        let mut dead = BTreeMap::<InstanceId, Vec<Room>>::new();
        for index in self.round.next(self.rooms.len()) {
            let Some((room, attended)) = self.rooms.get_index_mut(index) else { break };
            if let Some((change, until)) = attended.expected {
                if attended.roster.version() >= change {
                    attended.expected = None;
                } else if now >= until {
                    attended.roster.doubt();
                }
            }
            attended.look(room, now, effects);
            attended.stir(room, &mut self.astir);
            if attended.words.held && now >= attended.words.check {
                attended.words.check = now + jittered(CHECK);
                checks.push(room.clone());
            }
            for instance in attended.roster.instances().filter(|instance| self.pulse.misses(*instance, now)) {
                dead.entry(instance).or_default().push(room.clone());
            }
            if !self.listing {
                list.extend(attended.list(now, self.lease / 3).map(|count| (room.clone(), count)));
            }
        }
        effects.extend(dead.into_iter().map(|(instance, rooms)| Effect::Say(PresenceCommand::Expire(instance, rooms))));
        if !checks.is_empty() {
            effects.push(Effect::Say(PresenceCommand::Check(checks)));
        }
        if !list.is_empty() {
            self.listing = true;
            effects.push(Effect::Say(PresenceCommand::SetRoomCounts(list)));
        }
    }

    /// How many rooms have members here, and how many users they have here, each counted once a room.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.size
    }

    /// Whether everything was said that there is to say.
    pub(crate) fn is_told(&self) -> bool {
        self.rooms.values().all(|attended| {
            let words = &attended.words;
            !words.under_way
                && words.joined.is_empty()
                && words.left.is_empty()
                && (words.held || attended.local.is_empty())
        })
    }
}

/// Between 0.8 and 1 of `interval`, so that rooms that opened together drift apart.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.8..=1.0))
}
