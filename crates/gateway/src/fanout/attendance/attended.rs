//! One room: who of ours is in it, what the others were told of them, what they told, and what the members are told.

use std::{collections::BTreeSet, time::Duration};

use trunkline_domain::{Event, PresenceDebouncer, PresenceUpdate, Room, Roster, UserName};

use super::{CHECK, Effect, Mail, PAUSE, PresenceCommand, PresenceState, WorkerId, jittered, sockets::Sockets, text};

/// A room that this process hears.
#[derive(Debug, Default)]
pub(super) struct RoomPresence {
    /// Whether it is among those that are astir.
    pub(super) astir: bool,
    /// Those of this process.
    pub(super) local: Sockets,
    /// Workers that are told who is here.
    pub(super) followers: Vec<WorkerId>,
    pub(super) words: Words,
    pub(super) roster: Roster,
    pub(super) announcer: PresenceDebouncer,
    pub(super) here: Option<PresenceState>,
    pub(super) reading: Reading,
    /// A change that a check told of, to be heard until then.
    pub(super) expected: Option<(u64, Duration)>,
    /// What the list of rooms was told, and when it must be told again.
    pub(super) listed: Option<(usize, Duration)>,
}

/// What the others were told of our users, one word at a time.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Whether we have a lease, as far as we know.
    pub(super) held: bool,
    pub(super) under_way: bool,
    /// Whether the word under way leaves nobody of ours.
    pub(super) last: bool,
    /// Whether a word failed, so that nobody knows what stands.
    pub(super) unclear: bool,
    pub(super) joined: BTreeSet<UserName>,
    pub(super) left: BTreeSet<UserName>,
    /// When the next word may go.
    pub(super) next: Duration,
    /// When to look whether the lease stands.
    pub(super) check: Duration,
}

#[derive(Debug, Default)]
pub(super) enum Reading {
    /// Not under way.
    #[default]
    Idle,
    /// Under way; `stale` where something may have been missed since it began.
    UnderWay { stale: bool },
    /// It failed.
    Retry(Duration),
}

impl Words {
    /// The user is among ours.
    pub(super) fn come(&mut self, user: UserName) {
        if !self.left.remove(&user) {
            self.joined.insert(user);
        }
    }

    /// The user is among ours no more.
    pub(super) fn go(&mut self, user: UserName) {
        if !self.joined.remove(&user) {
            self.left.insert(user);
        }
    }
}

impl RoomPresence {
    /// Does what it is time for.
    pub(super) fn look(&mut self, room: &Room, now: Duration, effects: &mut Vec<Effect>) {
        self.say(room, now, effects);
        self.read_if_needed(room, now, effects);
        self.announce(room, now, effects);
    }

    /// Puts the room among those that are astir, if anything but an answer is waited for.
    pub(super) fn stir(&mut self, room: &Room, astir: &mut Vec<Room>) {
        let words = &self.words;
        let to_say = !words.joined.is_empty()
            || !words.left.is_empty()
            || !words.held && (words.unclear || !self.local.is_empty());
        let to_do =
            to_say && !words.under_way || self.announcer.is_pending() || matches!(self.reading, Reading::Retry(_));
        if to_do && !self.astir {
            self.astir = true;
            astir.push(room.clone());
        }
    }

    /// Says what there is to say, if it is time.
    pub(super) fn say(&mut self, room: &Room, now: Duration, effects: &mut Vec<Effect>) {
        let words = &mut self.words;
        if words.under_way || now < words.next {
            return;
        }
        let (joined, left) = (std::mem::take(&mut words.joined), std::mem::take(&mut words.left));
        let word = if words.held {
            if joined.is_empty() && left.is_empty() {
                return;
            }
            PresenceCommand::Update {
                room: room.clone(),
                joined: joined.into_iter().collect(),
                left: left.into_iter().collect(),
            }
        } else {
            if self.local.is_empty() && !words.unclear {
                return;
            }
            PresenceCommand::Replace(room.clone(), self.local.users().cloned().collect())
        };
        words.under_way = true;
        words.last = self.local.is_empty();
        words.next = now + PAUSE;
        // Not once it was said: what is heard of the lease meanwhile may be news.
        words.check = now + jittered(CHECK);
        effects.push(Effect::Say(word));
    }

    pub(super) fn read_if_needed(&mut self, room: &Room, now: Duration, effects: &mut Vec<Effect>) {
        let free = match self.reading {
            Reading::Idle => true,
            Reading::UnderWay { .. } => false,
            Reading::Retry(at) => now >= at,
        };
        if free && self.roster.must_read() {
            self.reading = Reading::UnderWay { stale: false };
            effects.push(Effect::Say(PresenceCommand::ReadSnapshot(room.clone())));
        }
    }

    /// Tells the members, if there is news and it is time.
    pub(super) fn announce(&mut self, room: &Room, now: Duration, effects: &mut Vec<Effect>) {
        let Some(announcement) = self.announcer.due(now) else { return };
        let change = match announcement {
            PresenceUpdate::State => None,
            PresenceUpdate::Diff(diff) => Some(text(&Event::Presence {
                room: room.clone(),
                count: self.announcer.count(),
                here: None,
                came: Some(diff.joined),
                went: Some(diff.left),
            })),
        };
        let here = PresenceState::of(room, &self.announcer, &self.roster);
        for &worker in &self.followers {
            let mail = Mail::Presence { room: room.clone(), here: here.clone(), change: change.clone() };
            effects.push(Effect::Post(worker, mail));
        }
        self.here = Some(here);
    }

    /// What the list of rooms is to be told, if anything: every process with members tells it, and the last one that
    /// there are none.
    pub(super) fn list(&mut self, now: Duration, again: Duration) -> Option<usize> {
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
