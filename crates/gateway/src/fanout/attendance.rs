//! Who is in the rooms of this process, what the other processes are told of it, and what the members are. Part of the
//! feed and like it synchronous. Presence is state: whatever is lost on the way, later state replaces it. Nothing here
//! delays a message.

mod here;
mod pulse;
#[cfg(test)]
mod simulation;
mod sockets;

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use trunkline_bus::{Lease, Standing};
use trunkline_domain::{Announcement, Announcer, Event, Holder, Room, Roster, Shift, Snapshot, Turn, UserName};

pub(crate) use self::here::Here;
use self::{pulse::Pulse, sockets::Sockets};
use super::{Mail, WorkerId, feed::Effect, text};

/// Least time between two words about one room: what happens within it is told together.
const PAUSE: Duration = Duration::from_millis(250);
/// How long after a failed word or read the next one begins.
const RETRY: Duration = Duration::from_millis(500);
/// Most time between two looks at whether a lease stands. Whoever ends one says so; this is for what is lost without a
/// word, and for keys that somebody deleted.
const CHECK: Duration = Duration::from_secs(60);
/// How long a turn may be under way that a check has told of.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// What is to be asked of, or told to, those who keep presence.
#[derive(Debug)]
pub(crate) enum Word {
    /// These are our users; the answer comes to [`Attendance::said`].
    Enter(Room, Vec<UserName>),
    /// Some came, some went; the answer comes to [`Attendance::said`].
    Shift {
        /// Where.
        room: Room,
        /// Who came.
        came: Vec<UserName>,
        /// Who went.
        went: Vec<UserName>,
    },
    /// We live; the answer comes to [`Attendance::beaten`].
    Beat,
    /// Do our leases stand? The answer comes to [`Attendance::checked`].
    Check(Vec<Room>),
    /// This process is dead; nobody waits for the answer.
    End(Holder, Vec<Room>),
    /// Read who is there; the answer comes to [`Attendance::present`].
    Present(Room),
    /// So many users are in these rooms; the answer comes to [`Attendance::listed`].
    List(Vec<(Room, usize)>),
}

/// Presence in every room that this process hears.
#[derive(Debug)]
pub(crate) struct Attendance {
    rooms: HashMap<Room, Attended>,
    /// This process.
    holder: Holder,
    pulse: Pulse,
    lease: Duration,
    /// Whether a list is under way.
    listing: bool,
    now: Duration,
}

#[derive(Debug)]
struct Attended {
    /// Those of this process.
    local: Sockets,
    /// Workers that are told who is here.
    followers: Vec<WorkerId>,
    words: Words,
    roster: Roster,
    announcer: Announcer,
    here: Option<Here>,
    reading: Reading,
    /// A turn that a check told of, to be heard until then.
    expected: Option<(u64, Duration)>,
    /// What the list of rooms was told, and when it must be told again.
    listed: Option<(usize, Duration)>,
}

/// What the others were told of our users, one word at a time.
#[derive(Debug, Default)]
struct Words {
    /// Whether we have a lease, as far as we know.
    held: bool,
    under_way: bool,
    /// Whether the word under way leaves nobody of ours.
    last: bool,
    /// Whether a word failed, so that nobody knows what stands.
    unclear: bool,
    came: BTreeSet<UserName>,
    went: BTreeSet<UserName>,
    /// When the next word may go.
    next: Duration,
    /// When to look whether the lease stands.
    check: Duration,
}

#[derive(Debug, Default)]
enum Reading {
    /// Not under way.
    #[default]
    Idle,
    /// Under way; `stale` where something may have been missed since it began.
    UnderWay { stale: bool },
    /// It failed.
    Retry(Duration),
}

impl Attendance {
    /// Nobody anywhere; users of this process are those of `holder`, and a dead one's go within one `lease`.
    pub(crate) fn new(holder: Holder, lease: Duration) -> Self {
        Self { rooms: HashMap::new(), holder, pulse: Pulse::new(lease), lease, listing: false, now: Duration::ZERO }
    }

    // What workers tell

    /// A socket of the user joined the room.
    pub(crate) fn came(&mut self, worker: WorkerId, room: &Room, user: UserName, effects: &mut Vec<Effect>) {
        let attended = self.rooms.entry(room.clone()).or_default();
        if attended.local.add(worker, user.clone()) {
            attended.words.come(user);
            attended.say(room, self.now, effects);
        }
    }

    /// A socket of the user left the room, or is gone.
    pub(crate) fn went(&mut self, worker: WorkerId, room: &Room, user: UserName, effects: &mut Vec<Effect>) {
        if let Some(attended) = self.rooms.get_mut(room)
            && attended.local.remove(worker, &user)
        {
            attended.words.go(user);
            attended.say(room, self.now, effects);
        }
    }

    /// A worker is gone.
    pub(crate) fn detach(&mut self, worker: WorkerId, effects: &mut Vec<Effect>) {
        for (room, attended) in &mut self.rooms {
            attended.followers.retain(|one| *one != worker);
            attended.local.remove_all(worker).into_iter().for_each(|user| attended.words.go(user));
            attended.say(room, self.now, effects);
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

    /// Somebody came or went, somewhere.
    pub(crate) fn heard(&mut self, room: &Room, mut turn: Turn, effects: &mut Vec<Effect>) {
        let Some(attended) = self.rooms.get_mut(room) else { return };
        let lapsed = turn.shift == Shift::Lapsed;
        if lapsed && turn.holder == self.holder {
            // Taken for dead: unless we know better already, we are to enter again.
            attended.words.check = self.now;
        }
        // Gone for longer than a reconnect takes.
        let since = if lapsed { self.now.saturating_sub(Announcer::GRACE) } else { self.now };
        match &mut turn.shift {
            Shift::Whole(users) | Shift::Moves { came: users, .. } => attended.local.share_names(users),
            Shift::Gone | Shift::Lapsed => {}
        }
        let moves = attended.roster.hear(turn);
        attended.announcer.moved(moves, since);
        attended.read_if_needed(room, self.now, effects);
        attended.announce(room, self.now, effects);
    }

    /// The room is heard no more.
    pub(crate) fn forget(&mut self, room: &Room) {
        self.rooms.remove(room);
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
    }

    /// Our beat was answered with those who live; `None` when nobody answered.
    pub(crate) fn beaten(&mut self, alive: Option<&[Holder]>, effects: &mut Vec<Effect>) {
        let known = self.rooms.values().flat_map(|attended| attended.roster.holders());
        for holder in self.pulse.answered(self.now, alive, known) {
            let held = self.rooms.iter().filter(|(_, attended)| attended.roster.is_held_by(holder));
            effects.push(Effect::Say(Word::End(holder, held.map(|(room, _)| room.clone()).collect())));
        }
    }

    /// Leases were looked at; `None` when nobody answered.
    pub(crate) fn checked(&mut self, rooms: &[Room], standings: Option<&[Standing]>, effects: &mut Vec<Effect>) {
        for (index, room) in rooms.iter().enumerate() {
            let Some(attended) = self.rooms.get_mut(room) else { continue };
            let words = &mut attended.words;
            match standings.and_then(|standings| standings.get(index)) {
                Some(Standing::Held(turn)) if *turn > attended.roster.number() => {
                    attended.expected.get_or_insert((*turn, self.now + UNDER_WAY));
                }
                Some(Standing::Held(_)) => {}
                // The word under way may have found it, or not.
                Some(Standing::Lost) if words.under_way => words.check = self.now,
                Some(Standing::Lost) => {
                    words.held = false;
                    words.next = self.now;
                    attended.say(room, self.now, effects);
                }
                None => words.check = self.now + RETRY,
            }
        }
    }

    /// Who is in the room was read; `None` when that failed.
    pub(crate) fn present(&mut self, room: &Room, snapshot: Option<Snapshot>, effects: &mut Vec<Effect>) {
        let Some(attended) = self.rooms.get_mut(room) else { return };
        let stale = matches!(std::mem::take(&mut attended.reading), Reading::UnderWay { stale: true });
        match snapshot {
            None => attended.reading = Reading::Retry(self.now + RETRY),
            Some(_) if stale => {}
            Some(mut snapshot) => {
                attended.expected = None;
                snapshot.holders.iter_mut().for_each(|(_, users)| attended.local.share_names(users));
                let moves = attended.roster.replace(snapshot);
                attended.announcer.moved(moves, self.now);
            }
        }
        attended.read_if_needed(room, self.now, effects);
        attended.announce(room, self.now, effects);
    }

    /// The list of rooms was told, or not.
    pub(crate) fn listed(&mut self) {
        self.listing = false;
    }

    // Time

    /// Moves the clock: words and frames whose time has come go out.
    pub(crate) fn tick(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.now = now;
        if self.pulse.is_due(now) {
            effects.push(Effect::Say(Word::Beat));
        }
        let (mut checks, mut list) = (Vec::new(), Vec::new());
        for (room, attended) in &mut self.rooms {
            attended.say(room, now, effects);
            if attended.words.held && now >= attended.words.check {
                attended.words.check = now + jittered(CHECK);
                checks.push(room.clone());
            }
            if let Some((turn, until)) = attended.expected {
                if attended.roster.number() >= turn {
                    attended.expected = None;
                } else if now >= until {
                    attended.roster.doubt();
                }
            }
            attended.read_if_needed(room, now, effects);
            attended.announce(room, now, effects);
            if !self.listing {
                list.extend(attended.list(now, self.lease / 3).map(|count| (room.clone(), count)));
            }
        }
        if !checks.is_empty() {
            effects.push(Effect::Say(Word::Check(checks)));
        }
        if !list.is_empty() {
            self.listing = true;
            effects.push(Effect::Say(Word::List(list)));
        }
    }

    /// How many rooms have members here, and how many users they have here, each counted once a room.
    pub(crate) fn size(&self) -> (usize, usize) {
        let rooms = self.rooms.values().filter(|attended| !attended.local.is_empty());
        rooms.fold((0, 0), |(rooms, users), attended| (rooms + 1, users + attended.local.count()))
    }

    /// Whether everything was said that there is to say.
    pub(crate) fn is_told(&self) -> bool {
        self.rooms.values().all(|attended| {
            let words = &attended.words;
            !words.under_way
                && words.came.is_empty()
                && words.went.is_empty()
                && (words.held || attended.local.is_empty())
        })
    }
}

impl Default for Attended {
    fn default() -> Self {
        Self {
            local: Sockets::default(),
            followers: Vec::new(),
            words: Words::default(),
            roster: Roster::default(),
            announcer: Announcer::default(),
            here: None,
            reading: Reading::Idle,
            expected: None,
            listed: None,
        }
    }
}

impl Words {
    /// The user is among ours.
    fn come(&mut self, user: UserName) {
        if !self.went.remove(&user) {
            self.came.insert(user);
        }
    }

    /// The user is among ours no more.
    fn go(&mut self, user: UserName) {
        if !self.came.remove(&user) {
            self.went.insert(user);
        }
    }
}

impl Attended {
    /// Says what there is to say, if it is time.
    fn say(&mut self, room: &Room, now: Duration, effects: &mut Vec<Effect>) {
        let words = &mut self.words;
        if words.under_way || now < words.next {
            return;
        }
        let (came, went) = (std::mem::take(&mut words.came), std::mem::take(&mut words.went));
        let word = if words.held {
            if came.is_empty() && went.is_empty() {
                return;
            }
            Word::Shift { room: room.clone(), came: came.into_iter().collect(), went: went.into_iter().collect() }
        } else {
            if self.local.is_empty() && !words.unclear {
                return;
            }
            Word::Enter(room.clone(), self.local.users().cloned().collect())
        };
        words.under_way = true;
        words.last = self.local.is_empty();
        words.next = now + PAUSE;
        // Not once it was said: what is heard of the lease meanwhile may be news.
        words.check = now + jittered(CHECK);
        effects.push(Effect::Say(word));
    }

    fn read_if_needed(&mut self, room: &Room, now: Duration, effects: &mut Vec<Effect>) {
        let free = match self.reading {
            Reading::Idle => true,
            Reading::UnderWay { .. } => false,
            Reading::Retry(at) => now >= at,
        };
        if free && self.roster.must_read() {
            self.reading = Reading::UnderWay { stale: false };
            effects.push(Effect::Say(Word::Present(room.clone())));
        }
    }

    /// Tells the members, if there is news and it is time.
    fn announce(&mut self, room: &Room, now: Duration, effects: &mut Vec<Effect>) {
        let Some(announcement) = self.announcer.due(now) else { return };
        let change = match announcement {
            Announcement::State => None,
            Announcement::Moves(moves) => Some(text(&Event::Presence {
                room: room.clone(),
                count: self.announcer.count(),
                here: None,
                came: Some(moves.came),
                went: Some(moves.went),
            })),
        };
        let here = Here::of(room, &self.announcer, &self.roster);
        for &worker in &self.followers {
            let mail = Mail::Presence { room: room.clone(), here: here.clone(), change: change.clone() };
            effects.push(Effect::Post(worker, mail));
        }
        self.here = Some(here);
    }

    /// What the list of rooms is to be told, if anything: every process with members tells it, and the last one that
    /// there are none.
    fn list(&mut self, now: Duration, again: Duration) -> Option<usize> {
        let count = self.roster.count();
        if self.local.is_empty() {
            // Once our own going was heard.
            let settled = !self.words.held && !self.words.under_way && now >= self.words.next + PAUSE;
            return self.listed.take_if(|_| settled).map(|_| count);
        }
        let told = self.listed.is_some_and(|(listed, until)| listed == count && now < until);
        if told || count == 0 {
            return None;
        }
        self.listed = Some((count, now + jittered(again)));
        Some(count)
    }
}

/// Between 0.8 and 1 of `interval`, so that rooms that opened together drift apart.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.8..=1.0))
}
