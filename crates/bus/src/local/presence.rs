//! Presence in a [`LocalBus`](super::LocalBus), over injected time: no clock, no lock, no async.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use trunkline_domain::{ChangeKind, InstanceId, Member, Millis, PresenceChange, PresenceSnapshot, Room};

use crate::{InstanceReport, LeaseStatus, ROOM_COUNT_LEASES};

/// The live instances, all leases, and the registries of rooms and instances. Behaves as the scripts in Redis do.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// Time until which each instance counts as alive.
    alive: HashMap<InstanceId, Millis>,
    rooms: HashMap<Room, RoomLeases>,
    /// Number of users per room, and when it was set.
    counts: HashMap<Room, (usize, Millis)>,
    /// Reports, and when each expires.
    reports: HashMap<InstanceId, (String, Millis)>,
    /// Largest version of any room without leases. Their versions continue from here.
    last_version: u64,
}

/// The leases in one room; there is at least one.
#[derive(Debug, Default)]
struct RoomLeases {
    version: u64,
    instances: BTreeMap<InstanceId, BTreeSet<Member>>,
}

impl Leases {
    /// Records a heartbeat, and returns the instances that are alive at `now`.
    pub(super) fn heartbeat(&mut self, now: Millis, expiry: Millis, instance: InstanceId) -> Vec<InstanceId> {
        self.alive.insert(instance, expiry);
        self.alive.retain(|_, expiry| *expiry > now);
        self.alive.keys().copied().collect()
    }

    pub(super) fn replace(&mut self, room: &Room, instance: InstanceId, users: &[Member]) -> Option<PresenceChange> {
        if users.is_empty() {
            return self.end_lease(room, instance, ChangeKind::Left);
        }
        let version = self.last_version;
        let room_leases =
            self.rooms.entry(room.clone()).or_insert_with(|| RoomLeases { version, instances: BTreeMap::new() });
        room_leases.version += 1;
        room_leases.instances.insert(instance, users.iter().cloned().collect());
        Some(PresenceChange { version: room_leases.version, instance, kind: ChangeKind::Replaced(users.to_vec()) })
    }

    /// `None` if the lease is lost.
    pub(super) fn update(
        &mut self,
        room: &Room,
        instance: InstanceId,
        joined: &[Member],
        left: &[Member],
    ) -> Option<PresenceChange> {
        let room_leases = self.rooms.get_mut(room)?;
        let users = room_leases.instances.get_mut(&instance)?;
        users.retain(|user| !left.contains(user));
        users.extend(joined.iter().cloned());
        if users.is_empty() {
            return self.end_lease(room, instance, ChangeKind::Left);
        }
        room_leases.version += 1;
        Some(PresenceChange {
            version: room_leases.version,
            instance,
            kind: ChangeKind::Updated { joined: joined.to_vec(), left: left.to_vec() },
        })
    }

    pub(super) fn check(&self, room: &Room, instance: InstanceId) -> LeaseStatus {
        match self.rooms.get(room).filter(|room_leases| room_leases.instances.contains_key(&instance)) {
            Some(room_leases) => LeaseStatus::Held(room_leases.version),
            None => LeaseStatus::Lost,
        }
    }

    /// `None` if there is no lease.
    pub(super) fn expire(&mut self, room: &Room, instance: InstanceId) -> Option<PresenceChange> {
        self.end_lease(room, instance, ChangeKind::Expired)
    }

    pub(super) fn snapshot(&self, room: &Room) -> PresenceSnapshot {
        let Some(room_leases) = self.rooms.get(room) else {
            return PresenceSnapshot { version: self.last_version, instances: Vec::new() };
        };
        let users = |(instance, users): (&InstanceId, &BTreeSet<Member>)| (*instance, users.iter().cloned().collect());
        PresenceSnapshot { version: room_leases.version, instances: room_leases.instances.iter().map(users).collect() }
    }

    pub(super) fn set_room_counts(&mut self, now: Millis, counts: &[(Room, usize)]) {
        for (room, count) in counts {
            if *count == 0 {
                self.counts.remove(room);
            } else {
                self.counts.insert(room.clone(), (*count, now));
            }
        }
    }

    pub(super) fn room_counts(&mut self, now: Millis, lease: Millis) -> Vec<(Room, usize)> {
        let is_alive = self.alive.values().any(|expiry| *expiry > now);
        let lifetime = if is_alive { lease.saturating_mul(ROOM_COUNT_LEASES.into()) } else { lease };
        self.counts.retain(|_, (_, set_at)| set_at.saturating_add(lifetime) > now);
        self.counts.iter().map(|(room, (count, _))| (room.clone(), *count)).collect()
    }

    pub(super) fn report(&mut self, expiry: Millis, instance: InstanceId, text: &str) {
        if text.is_empty() {
            self.reports.remove(&instance);
        } else {
            self.reports.insert(instance, (text.to_owned(), expiry));
        }
    }

    pub(super) fn reports(&mut self, now: Millis, lease: Millis) -> Vec<InstanceReport> {
        self.reports.retain(|_, (_, expiry)| *expiry > now);
        let report = |(instance, (text, expiry)): (&InstanceId, &(String, Millis))| InstanceReport {
            instance: *instance,
            text: text.clone(),
            age: Duration::from_millis((now + lease).saturating_sub(*expiry)),
        };
        self.reports.iter().map(report).collect()
    }

    /// Removes the users of the instance from the room.
    fn end_lease(&mut self, room: &Room, instance: InstanceId, kind: ChangeKind) -> Option<PresenceChange> {
        let room_leases = self.rooms.get_mut(room)?;
        room_leases.instances.remove(&instance)?;
        room_leases.version += 1;
        let version = room_leases.version;
        if room_leases.instances.is_empty() {
            self.rooms.remove(room);
            self.last_version = self.last_version.max(version);
        }
        Some(PresenceChange { version, instance, kind })
    }
}
