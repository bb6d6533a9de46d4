//! Presence in a [`LocalBus`](super::LocalBus), over injected time: no clock, no lock, no async.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use trunkline_domain::{ChangeKind, InstanceId, Millis, PresenceChange, PresenceSnapshot, Room, UserName};

use crate::{InstanceReport, LeaseStatus};

/// Who lives, every lease, and what is noted of rooms and processes. The same rules as those of the scripts in Redis.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Until when each counts as alive.
    alive: HashMap<InstanceId, Millis>,
    rooms: HashMap<Room, Present>,
    listed: HashMap<Room, (usize, Millis)>,
    reports: HashMap<InstanceId, (String, Millis)>,
    /// The last change of the rooms that are forgotten, or more.
    forgotten: u64,
}

/// A room with leases in it.
#[derive(Debug, Default)]
struct Present {
    version: u64,
    instances: BTreeMap<InstanceId, BTreeSet<UserName>>,
}

impl Leases {
    /// Notes that the instance lives; answers who does.
    pub(super) fn heartbeat(&mut self, now: Millis, until: Millis, instance: InstanceId) -> Vec<InstanceId> {
        self.alive.insert(instance, until);
        self.alive.retain(|_, until| *until > now);
        self.alive.keys().copied().collect()
    }

    pub(super) fn replace(&mut self, room: &Room, instance: InstanceId, users: &[UserName]) -> Option<PresenceChange> {
        if users.is_empty() {
            return self.finish(room, instance, ChangeKind::Left);
        }
        let version = self.forgotten;
        let present = self.rooms.entry(room.clone()).or_insert_with(|| Present { version, instances: BTreeMap::new() });
        present.version += 1;
        present.instances.insert(instance, users.iter().cloned().collect());
        Some(PresenceChange { version: present.version, instance, kind: ChangeKind::Replaced(users.to_vec()) })
    }

    /// `None` where the lease is lost.
    pub(super) fn update(
        &mut self,
        room: &Room,
        instance: InstanceId,
        joined: &[UserName],
        left: &[UserName],
    ) -> Option<PresenceChange> {
        let present = self.rooms.get_mut(room)?;
        let users = present.instances.get_mut(&instance)?;
        users.retain(|user| !left.contains(user));
        users.extend(joined.iter().cloned());
        if users.is_empty() {
            return self.finish(room, instance, ChangeKind::Left);
        }
        present.version += 1;
        Some(PresenceChange {
            version: present.version,
            instance,
            kind: ChangeKind::Updated { joined: joined.to_vec(), left: left.to_vec() },
        })
    }

    pub(super) fn check(&self, room: &Room, instance: InstanceId) -> LeaseStatus {
        match self.rooms.get(room).filter(|present| present.instances.contains_key(&instance)) {
            Some(present) => LeaseStatus::Held(present.version),
            None => LeaseStatus::Lost,
        }
    }

    /// `None` where there is no lease.
    pub(super) fn expire(&mut self, room: &Room, instance: InstanceId) -> Option<PresenceChange> {
        self.finish(room, instance, ChangeKind::Expired)
    }

    pub(super) fn snapshot(&self, room: &Room) -> PresenceSnapshot {
        let Some(present) = self.rooms.get(room) else {
            return PresenceSnapshot { version: self.forgotten, instances: Vec::new() };
        };
        let users =
            |(instance, users): (&InstanceId, &BTreeSet<UserName>)| (*instance, users.iter().cloned().collect());
        PresenceSnapshot { version: present.version, instances: present.instances.iter().map(users).collect() }
    }

    pub(super) fn set_room_counts(&mut self, until: Millis, rooms: &[(Room, usize)]) {
        for (room, count) in rooms {
            if *count == 0 {
                self.listed.remove(room);
            } else {
                self.listed.insert(room.clone(), (*count, until));
            }
        }
    }

    pub(super) fn room_counts(&mut self, now: Millis) -> Vec<(Room, usize)> {
        self.listed.retain(|_, (_, until)| *until > now);
        self.listed.iter().map(|(room, (count, _))| (room.clone(), *count)).collect()
    }

    pub(super) fn report(&mut self, until: Millis, instance: InstanceId, text: &str) {
        if text.is_empty() {
            self.reports.remove(&instance);
        } else {
            self.reports.insert(instance, (text.to_owned(), until));
        }
    }

    pub(super) fn reports(&mut self, now: Millis, lease: Millis) -> Vec<InstanceReport> {
        self.reports.retain(|_, (_, until)| *until > now);
        let report = |(instance, (text, until)): (&InstanceId, &(String, Millis))| InstanceReport {
            instance: *instance,
            text: text.clone(),
            age: Duration::from_millis((now + lease).saturating_sub(*until)),
        };
        self.reports.iter().map(report).collect()
    }

    /// Takes the instance's users out of the room. Numbers go on where the room comes again.
    fn finish(&mut self, room: &Room, instance: InstanceId, kind: ChangeKind) -> Option<PresenceChange> {
        let present = self.rooms.get_mut(room)?;
        present.instances.remove(&instance)?;
        present.version += 1;
        let version = present.version;
        if present.instances.is_empty() {
            self.rooms.remove(room);
            self.forgotten = self.forgotten.max(version);
        }
        Some(PresenceChange { version, instance, kind })
    }
}
