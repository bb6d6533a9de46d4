//! Presence in Redis: the users of each room, the instances that are alive, and the registries of rooms and instances.

use std::time::Duration;

use redis::{Cmd, Value};
use trunkline_domain::{InstanceId, Member, PresenceSnapshot, Room, millis};

use super::{
    bus::{ROOM_COUNT_RENEWAL_LEASES, RedisBus},
    codec::presence_snapshot,
    error::unexpected_reply,
    scripts,
};
use crate::{BusError, InstanceRegistry, InstanceReport, Lease, LeaseStatus, PresenceStore, sync::lock};

/// Maximum number of rooms per pipeline: other commands wait about 1 ms for it.
const ROOMS_PER_PIPELINE: usize = 128;

/// A record of a registry: name, text, age in ms.
type RegistryRecord = (String, String, u64);

impl RedisBus {
    fn presence_command(&self, operation: &str, room: &Room, instance: InstanceId) -> Cmd {
        scripts::presence(operation, &self.names.room(room), instance)
    }

    /// Runs the same operation in each of `rooms`, and returns the reply for each.
    async fn in_rooms(&self, operation: &str, rooms: &[Room], instance: InstanceId) -> Result<Vec<i64>, BusError> {
        let link = self.link()?;
        let mut versions = Vec::with_capacity(rooms.len());
        for rooms in rooms.chunks(ROOMS_PER_PIPELINE) {
            let commands = rooms.iter().map(|room| self.presence_command(operation, room, instance)).collect();
            versions.extend(link.query_all::<Vec<i64>>(commands).await?);
        }
        Ok(versions)
    }

    /// The call of registry.lua for the reports of instances.
    fn reports_command(&self) -> Cmd {
        scripts::registry(&self.names.shared("instances"), self.config.lease)
    }

    /// How long a record of the registry of rooms lives without renewal.
    fn room_count_lifetime(&self) -> Duration {
        2 * ROOM_COUNT_RENEWAL_LEASES * self.config.lease
    }
}

impl PresenceStore for RedisBus {
    async fn replace(&self, room: &Room, instance: InstanceId, users: &[Member]) -> Result<(), BusError> {
        let mut command = self.presence_command("replace", room, instance);
        for user in users {
            command.arg(user.to_string());
        }
        self.link()?.query::<i64>(command).await.map(drop)
    }

    async fn update(
        &self,
        room: &Room,
        instance: InstanceId,
        joined: &[Member],
        left: &[Member],
    ) -> Result<Lease, BusError> {
        let mut command = self.presence_command("update", room, instance);
        command.arg(joined.len());
        for user in joined.iter().chain(left) {
            command.arg(user.to_string());
        }
        let version: i64 = self.link()?.query(command).await?;
        Ok(if version < 0 { Lease::Lost } else { Lease::Held })
    }

    async fn check(&self, instance: InstanceId, rooms: &[Room]) -> Result<Vec<LeaseStatus>, BusError> {
        let versions = self.in_rooms("check", rooms, instance).await?;
        let status = |version: i64| u64::try_from(version).map_or(LeaseStatus::Lost, LeaseStatus::Held);
        Ok(versions.into_iter().map(status).collect())
    }

    async fn expire(&self, instance: InstanceId, rooms: &[Room]) -> Result<(), BusError> {
        self.in_rooms("expire", rooms, instance).await.map(drop)
    }

    async fn snapshot(&self, room: &Room) -> Result<PresenceSnapshot, BusError> {
        // The operation ignores the instance.
        let command = self.presence_command("snapshot", room, InstanceId(0));
        let reply: Vec<Value> = self.link()?.query(command).await?;
        presence_snapshot(&reply).ok_or_else(|| unexpected_reply("the presence script returned no snapshot"))
    }

    async fn set_room_counts(&self, counts: &[(Room, usize)]) -> Result<(), BusError> {
        let link = self.link()?;
        let (due, writer) = {
            let mut written = lock(&self.room_counts);
            if written.generation.as_ref() != Some(link.generation()) {
                // Redis may have lost the records.
                written.cache.clear();
                written.generation = Some(link.generation().clone());
            }
            (written.cache.take_due(counts, self.started.elapsed()), written.writer)
        };
        let record = |count: usize| match writer {
            _ if count == 0 => String::new(),
            Some(writer) => format!("{count} {writer}"),
            None => count.to_string(),
        };
        for counts in due.chunks(ROOMS_PER_PIPELINE) {
            let mut command = scripts::registry(&self.names.shared("rooms"), self.room_count_lifetime());
            for (room, count) in counts {
                command.arg(room.as_str()).arg(record(*count));
            }
            link.query::<()>(command).await.inspect_err(|_| lock(&self.room_counts).cache.clear())?;
        }
        Ok(())
    }

    async fn room_counts(&self) -> Result<Vec<(Room, usize)>, BusError> {
        let link = self.link()?;
        let alive: Vec<String> =
            link.query(redis::cmd("ZRANGE").arg(self.names.shared("alive")).arg(0).arg(-1).take()).await?;
        let registry = scripts::registry(&self.names.shared("rooms"), self.room_count_lifetime());
        let records: Vec<RegistryRecord> = link.query(registry).await?;
        let lease = millis(self.config.lease);
        let count = |(room, record, age): RegistryRecord| {
            let (count, writer) = record.split_once(' ').unwrap_or((&record, ""));
            // A record is renewed less than once per lease, so an old one counts only while its writer is alive, or
            // was until recently.
            let is_current = age < lease || alive.iter().any(|instance| instance == writer);
            if is_current { Some((room.parse().ok()?, count.parse().ok()?)) } else { None }
        };
        Ok(records.into_iter().filter_map(count).collect())
    }
}

impl InstanceRegistry for RedisBus {
    fn lease(&self) -> Duration {
        self.config.lease
    }

    async fn heartbeat(&self, instance: InstanceId) -> Result<Vec<InstanceId>, BusError> {
        let command = scripts::heartbeat(&self.names.shared("alive"), instance, self.config.lease / 2);
        let alive: Vec<String> = self.link()?.query(command).await?;
        // Names that are no instance ids were written by another program.
        let alive: Vec<InstanceId> = alive.iter().filter_map(|instance| instance.parse().ok()).collect();
        let mut room_counts = lock(&self.room_counts);
        if room_counts.writer.replace(instance).is_none() {
            // Counts without a writer are hidden after one lease.
            room_counts.cache.clear();
        }
        room_counts.cache.set_alive(alive.clone());
        Ok(alive)
    }

    async fn report(&self, instance: InstanceId, text: &str) -> Result<(), BusError> {
        let mut command = self.reports_command();
        command.arg(instance.to_string()).arg(text);
        self.link()?.query(command).await
    }

    async fn reports(&self) -> Result<Vec<InstanceReport>, BusError> {
        let records: Vec<RegistryRecord> = self.link()?.query(self.reports_command()).await?;
        let report = |(instance, text, age): RegistryRecord| {
            Some(InstanceReport { instance: instance.parse().ok()?, text, age: Duration::from_millis(age) })
        };
        Ok(records.into_iter().filter_map(report).collect())
    }
}
