//! Presence in Redis: the users of each room, the instances that are alive, and the registries of rooms and instances.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, Value};
use trunkline_domain::{InstanceId, Member, PresenceSnapshot, Room, millis};

use super::{bus::RedisBus, codec::presence_snapshot, connection::Link, error::unexpected_reply, scripts};
use crate::{
    BusError, InstanceRegistry, InstanceReport, Lease, LeaseStatus, PresenceStore, ROOM_COUNT_LEASES, sync::lock,
};

/// Maximum number of rooms per pipeline: other commands wait about 1 ms for it.
const ROOMS_PER_PIPELINE: usize = 128;

/// A record of a registry: name, text, age in ms.
type RegistryRecord = (String, String, u64);

impl RedisBus {
    /// Runs an operation in a room. `arguments` appends its arguments.
    async fn in_room(
        &self,
        operation: &str,
        room: &Room,
        instance: InstanceId,
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<i64, BusError> {
        let keys = self.names.room(room);
        let command = |link: &Link| {
            let mut command = scripts::presence(link.mode(), operation, &keys, instance);
            arguments(&mut command);
            command
        };
        self.shards.publish(keys.channel(), command).await
    }

    /// Sends a command whose keys share the slot of `key`.
    async fn at_key<T: FromRedisValue>(&self, key: &str, command: Cmd) -> Result<T, BusError> {
        self.shards.query(key, |_| command.clone()).await
    }

    /// The call of registry.lua for the reports of instances.
    fn reports_command(&self) -> Cmd {
        scripts::registry(&self.names.shared("instances"), self.config.lease)
    }

    /// How long a record of the registry of rooms lives without renewal. Unchanged counts are written again after half of it,
    /// 4 min by default.
    fn room_count_lifetime(&self) -> Duration {
        2 * ROOM_COUNT_LEASES * self.config.lease
    }
}

impl PresenceStore for RedisBus {
    async fn replace(&self, room: &Room, instance: InstanceId, users: &[Member]) -> Result<(), BusError> {
        let arguments = |command: &mut Cmd| {
            for user in users {
                command.arg(user.to_string());
            }
        };
        self.in_room("replace", room, instance, arguments).await.map(drop)
    }

    async fn update(
        &self,
        room: &Room,
        instance: InstanceId,
        joined: &[Member],
        left: &[Member],
    ) -> Result<Lease, BusError> {
        let arguments = |command: &mut Cmd| {
            command.arg(joined.len());
            for user in joined.iter().chain(left) {
                command.arg(user.to_string());
            }
        };
        let version = self.in_room("update", room, instance, arguments).await?;
        Ok(if version < 0 { Lease::Lost } else { Lease::Held })
    }

    async fn check(&self, instance: InstanceId, rooms: &[Room]) -> Result<Vec<Option<LeaseStatus>>, BusError> {
        self.check_leases(instance, rooms).await
    }

    async fn expire(&self, instance: InstanceId, rooms: &[Room]) -> Result<(), BusError> {
        let mut expired = Ok(());
        for rooms in rooms.chunks(ROOMS_PER_PIPELINE) {
            let keys = self.slot_keys(rooms);
            let command = |link: &Link, index: usize| {
                vec![scripts::presence(link.mode(), "expire", &self.names.room(&rooms[index]), instance)]
            };
            for versions in self.shards.query_each::<i64>(&keys, 1, command).await {
                let version = versions.and_then(|versions| {
                    versions.first().copied().ok_or_else(|| unexpected_reply("the presence script returned nothing"))
                });
                // The other rooms all the same: the first error is returned after them.
                expired = expired.and(version.map(drop));
            }
        }
        expired
    }

    async fn snapshot(&self, room: &Room) -> Result<PresenceSnapshot, BusError> {
        let keys = self.names.room(room);
        let mut known: Vec<InstanceId> = Vec::new();
        if self.shards.is_cluster() {
            let instances: Vec<String> =
                self.at_key(keys.tagged(), redis::cmd("SMEMBERS").arg(keys.instances()).take()).await?;
            // Names that are no instance ids were written by another program.
            known.extend(instances.iter().filter_map(|instance| instance.parse::<InstanceId>().ok()));
        }
        let command = |link: &Link| scripts::snapshot(link.mode(), &keys, &known);
        let reply: Vec<Value> = self.shards.query(keys.tagged(), command).await?;
        presence_snapshot(&reply).ok_or_else(|| unexpected_reply("the presence script returned no snapshot"))
    }

    async fn set_room_counts(&self, counts: &[(Room, usize)]) -> Result<(), BusError> {
        let registry = self.names.shared("rooms");
        let link = self.shards.link(&registry)?;
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
            let mut command = scripts::registry(&registry, self.room_count_lifetime());
            for (room, count) in counts {
                command.arg(room.as_str()).arg(record(*count));
            }
            self.at_key::<()>(&registry, command).await.inspect_err(|_| lock(&self.room_counts).cache.clear())?;
        }
        Ok(())
    }

    async fn room_counts(&self) -> Result<Vec<(Room, usize)>, BusError> {
        let (alive, registry) = (self.names.shared("alive"), self.names.shared("rooms"));
        let alive: Vec<String> = self.at_key(&alive, redis::cmd("ZRANGE").arg(&alive).arg(0).arg(-1).take()).await?;
        let command = scripts::registry(&registry, self.room_count_lifetime());
        let records: Vec<RegistryRecord> = self.at_key(&registry, command).await?;
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
        let key = self.names.shared("alive");
        let command = scripts::heartbeat(&key, instance, self.config.lease / 2);
        let alive: Vec<String> = self.at_key(&key, command).await?;
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
        self.at_key(&self.names.shared("instances"), command).await
    }

    async fn reports(&self) -> Result<Vec<InstanceReport>, BusError> {
        let records: Vec<RegistryRecord> = self.at_key(&self.names.shared("instances"), self.reports_command()).await?;
        let report = |(instance, text, age): RegistryRecord| {
            Some(InstanceReport { instance: instance.parse().ok()?, text, age: Duration::from_millis(age) })
        };
        Ok(records.into_iter().filter_map(report).collect())
    }
}
