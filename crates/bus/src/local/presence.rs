//! Presence in a [`LocalBus`](super::LocalBus), over injected time: no clock, no lock, no async.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use trunkline_domain::{Holder, Millis, Room, Shift, Snapshot, Turn, UserName};

use crate::{Report, Standing};

/// Who lives, every lease, and what is noted of rooms and processes. The same rules as those of the scripts in Redis.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Until when each counts as alive.
    alive: HashMap<Holder, Millis>,
    rooms: HashMap<Room, Present>,
    listed: HashMap<Room, (usize, Millis)>,
    reports: HashMap<Holder, (String, Millis)>,
    /// The last turn of the rooms that are forgotten, or more.
    forgotten: u64,
}

/// A room with leases in it.
#[derive(Debug, Default)]
struct Present {
    number: u64,
    holders: BTreeMap<Holder, BTreeSet<UserName>>,
}

impl Leases {
    /// Notes that the holder lives; answers who does.
    pub(super) fn beat(&mut self, now: Millis, until: Millis, holder: Holder) -> Vec<Holder> {
        self.alive.insert(holder, until);
        self.alive.retain(|_, until| *until > now);
        self.alive.keys().copied().collect()
    }

    pub(super) fn enter(&mut self, room: &Room, holder: Holder, users: &[UserName]) -> Option<Turn> {
        if users.is_empty() {
            return self.finish(room, holder, Shift::Gone);
        }
        let number = self.forgotten;
        let present = self.rooms.entry(room.clone()).or_insert_with(|| Present { number, holders: BTreeMap::new() });
        present.number += 1;
        present.holders.insert(holder, users.iter().cloned().collect());
        Some(Turn { number: present.number, holder, shift: Shift::Whole(users.to_vec()) })
    }

    /// `None` where the lease is lost.
    pub(super) fn shift(&mut self, room: &Room, holder: Holder, came: &[UserName], went: &[UserName]) -> Option<Turn> {
        let present = self.rooms.get_mut(room)?;
        let users = present.holders.get_mut(&holder)?;
        users.retain(|user| !went.contains(user));
        users.extend(came.iter().cloned());
        if users.is_empty() {
            return self.finish(room, holder, Shift::Gone);
        }
        present.number += 1;
        Some(Turn { number: present.number, holder, shift: Shift::Moves { came: came.to_vec(), went: went.to_vec() } })
    }

    pub(super) fn check(&self, room: &Room, holder: Holder) -> Standing {
        match self.rooms.get(room).filter(|present| present.holders.contains_key(&holder)) {
            Some(present) => Standing::Held(present.number),
            None => Standing::Lost,
        }
    }

    /// `None` where there is no lease.
    pub(super) fn end(&mut self, room: &Room, holder: Holder) -> Option<Turn> {
        self.finish(room, holder, Shift::Lapsed)
    }

    pub(super) fn present(&self, room: &Room) -> Snapshot {
        let Some(present) = self.rooms.get(room) else {
            return Snapshot { number: self.forgotten, holders: Vec::new() };
        };
        let users = |(holder, users): (&Holder, &BTreeSet<UserName>)| (*holder, users.iter().cloned().collect());
        Snapshot { number: present.number, holders: present.holders.iter().map(users).collect() }
    }

    pub(super) fn list(&mut self, until: Millis, rooms: &[(Room, usize)]) {
        for (room, count) in rooms {
            if *count == 0 {
                self.listed.remove(room);
            } else {
                self.listed.insert(room.clone(), (*count, until));
            }
        }
    }

    pub(super) fn rooms(&mut self, now: Millis) -> Vec<(Room, usize)> {
        self.listed.retain(|_, (_, until)| *until > now);
        self.listed.iter().map(|(room, (count, _))| (room.clone(), *count)).collect()
    }

    pub(super) fn report(&mut self, until: Millis, holder: Holder, about: &str) {
        if about.is_empty() {
            self.reports.remove(&holder);
        } else {
            self.reports.insert(holder, (about.to_owned(), until));
        }
    }

    pub(super) fn reports(&mut self, now: Millis, lease: Millis) -> Vec<Report> {
        self.reports.retain(|_, (_, until)| *until > now);
        let report = |(holder, (about, until)): (&Holder, &(String, Millis))| Report {
            holder: *holder,
            about: about.clone(),
            age: Duration::from_millis((now + lease).saturating_sub(*until)),
        };
        self.reports.iter().map(report).collect()
    }

    /// Takes the holder's users out of the room. Numbers go on where the room comes again.
    fn finish(&mut self, room: &Room, holder: Holder, shift: Shift) -> Option<Turn> {
        let present = self.rooms.get_mut(room)?;
        present.holders.remove(&holder)?;
        present.number += 1;
        let number = present.number;
        if present.holders.is_empty() {
            self.rooms.remove(room);
            self.forgotten = self.forgotten.max(number);
        }
        Some(Turn { number, holder, shift })
    }
}
