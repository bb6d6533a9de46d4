//! Presence in a [`LocalBus`](super::LocalBus), over injected time: no clock, no lock, no async.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use trunkline_domain::{Holder, Millis, Room, Shift, Snapshot, Turn, UserName};

use crate::{Beat, Report};

/// Every lease, and what is noted of rooms and processes. The same rules as those of the scripts in Redis.
#[derive(Debug, Default)]
pub(super) struct Leases {
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
    holders: BTreeMap<Holder, Held>,
}

#[derive(Debug)]
struct Held {
    until: Millis,
    users: BTreeSet<UserName>,
}

impl Leases {
    /// Ends the leases of others that ran out. Answers what is to be told.
    pub(super) fn end_expired(&mut self, now: Millis, room: &Room, except: Option<Holder>) -> Vec<Turn> {
        let Some(present) = self.rooms.get_mut(room) else { return Vec::new() };
        let mut turns = Vec::new();
        present.holders.retain(|holder, held| {
            let ended = held.until <= now && Some(*holder) != except;
            if ended {
                present.number += 1;
                turns.push(Turn { number: present.number, holder: *holder, shift: Shift::Lapsed });
            }
            !ended
        });
        self.forget_if_empty(room);
        turns
    }

    pub(super) fn enter(&mut self, until: Millis, room: &Room, holder: Holder, users: &[UserName]) -> Option<Turn> {
        let present = self.room(room);
        if users.is_empty() && !present.holders.contains_key(&holder) {
            self.forget_if_empty(room);
            return None;
        }
        present.number += 1;
        let turn = if users.is_empty() {
            present.holders.remove(&holder);
            Turn { number: present.number, holder, shift: Shift::Gone }
        } else {
            present.holders.insert(holder, Held { until, users: users.iter().cloned().collect() });
            Turn { number: present.number, holder, shift: Shift::Whole(users.to_vec()) }
        };
        self.forget_if_empty(room);
        Some(turn)
    }

    /// `None` where the lease is lost.
    pub(super) fn shift(
        &mut self,
        until: Millis,
        room: &Room,
        holder: Holder,
        came: &[UserName],
        went: &[UserName],
    ) -> Option<Turn> {
        let present = self.rooms.get_mut(room)?;
        let held = present.holders.get_mut(&holder)?;
        held.until = until;
        held.users.retain(|user| !went.contains(user));
        held.users.extend(came.iter().cloned());
        present.number += 1;
        let shift = if held.users.is_empty() {
            present.holders.remove(&holder);
            Shift::Gone
        } else {
            Shift::Moves { came: came.to_vec(), went: went.to_vec() }
        };
        let turn = Turn { number: present.number, holder, shift };
        self.forget_if_empty(room);
        Some(turn)
    }

    pub(super) fn beat(&mut self, until: Millis, room: &Room, holder: Holder) -> Beat {
        let Some(present) = self.rooms.get_mut(room) else { return Beat::Lost };
        match present.holders.get_mut(&holder) {
            Some(held) => {
                held.until = until;
                Beat::Renewed(present.number)
            }
            None => Beat::Lost,
        }
    }

    pub(super) fn present(&self, room: &Room) -> Snapshot {
        let Some(present) = self.rooms.get(room) else {
            return Snapshot { number: self.forgotten, holders: Vec::new() };
        };
        let users = |held: &Held| held.users.iter().cloned().collect();
        Snapshot {
            number: present.number,
            holders: present.holders.iter().map(|(holder, held)| (*holder, users(held))).collect(),
        }
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

    fn room(&mut self, room: &Room) -> &mut Present {
        let number = self.forgotten;
        self.rooms.entry(room.clone()).or_insert_with(|| Present { number, holders: BTreeMap::new() })
    }

    /// Numbers go on where a room comes again.
    fn forget_if_empty(&mut self, room: &Room) {
        if self.rooms.get(room).is_some_and(|present| present.holders.is_empty())
            && let Some(present) = self.rooms.remove(room)
        {
            self.forgotten = self.forgotten.max(present.number);
        }
    }
}
