//! Names of keys and channels in Redis. All keys of a room share the hash tag `{room}`, and so one slot of Redis Cluster.

use trunkline_domain::{InstanceId, Room};
use trunkline_redis::slots::slot_of;

/// The names of one deployment: those that start with its prefix.
///
/// Keys belong to a database of Redis, but channels do not (<https://redis.io/docs/latest/develop/pubsub/>). So channels also
/// contain the number of the database, unless it is 0: two deployments on databases of one server do not receive each
/// other's deliveries.
#[derive(Clone, Debug)]
pub(super) struct Keyspace {
    prefix: String,
    /// First part of the names of channels, if it differs from `prefix`.
    channel_prefix: Option<String>,
}

/// The keys and the channel of one room.
#[derive(Debug)]
pub(super) struct Keys {
    base: String,
    channel: Option<String>,
}

impl Keyspace {
    pub(super) fn new(prefix: &str, database: i64) -> Self {
        let channel_prefix = (database != 0).then(|| format!("{prefix}:{database}"));
        Self { prefix: prefix.to_owned(), channel_prefix }
    }

    pub(super) fn room(&self, room: &Room) -> Keys {
        self.tagged(room.as_str())
    }

    /// The keys and the channel of a process's probes. They are named like those of a room, so that what Redis permits for
    /// them it permits for rooms; no room name contains a colon.
    pub(super) fn probe(&self, process: u128) -> Keys {
        self.tagged(&format!(":probe:{process:032x}"))
    }

    /// Like [`probe`](Self::probe), with names in a slot of which `is_owned` is true. `None` if none was found: of a master
    /// with a single slot it is after about 16,000 names, which take 1 ms.
    pub(super) fn probe_in(&self, process: u128, is_owned: impl Fn(u16) -> bool) -> Option<Keys> {
        let names = (0..1_u32 << 18).map(|number| self.tagged(&format!(":probe:{process:032x}:{number}")));
        names.into_iter().find(|keys| is_owned(slot_of(&keys.base)))
    }

    fn tagged(&self, tag: &str) -> Keys {
        let channel = self.channel_prefix.as_ref().map(|prefix| format!("{prefix}:{{{tag}}}"));
        Keys { base: format!("{}:{{{tag}}}", self.prefix), channel }
    }

    /// A key that belongs to no room.
    pub(super) fn shared(&self, name: &str) -> String {
        format!("{}:{{:{name}}}", self.prefix)
    }

    /// The name of the room whose channel this is.
    pub(super) fn room_of_channel<'a>(&self, channel: &'a str) -> Option<&'a str> {
        let prefix = self.channel_prefix.as_ref().unwrap_or(&self.prefix);
        channel.strip_prefix(prefix)?.strip_prefix(":{")?.strip_suffix('}')
    }
}

impl Keys {
    /// A text with the hash tag of all keys and of the channel: it determines their slot.
    pub(super) fn tagged(&self) -> &str {
        &self.base
    }

    /// The channel of the room's deliveries.
    pub(super) fn channel(&self) -> &str {
        self.channel.as_ref().unwrap_or(&self.base)
    }

    /// Stream: the log.
    pub(super) fn log(&self) -> String {
        format!("{}:log", self.base)
    }

    /// Hash: generation of the last write, epoch, when expiries were set, and the positions of deleted texts.
    pub(super) fn meta(&self) -> String {
        format!("{}:meta", self.base)
    }

    /// Hash: message ids of the even (0) or odd (1) ten-minute buckets.
    pub(super) fn ids(&self, parity: u8) -> String {
        format!("{}:ids:{parity}", self.base)
    }

    /// Hash: the read mark of each user.
    pub(super) fn seen(&self) -> String {
        format!("{}:seen", self.base)
    }

    /// Set: instances with users in the room.
    pub(super) fn instances(&self) -> String {
        format!("{}:holders", self.base)
    }

    /// Set: the users of one instance in the room.
    pub(super) fn users(&self, instance: InstanceId) -> String {
        format!("{}:holders:{instance}", self.base)
    }

    /// String: version of the room's presence.
    pub(super) fn version(&self) -> String {
        format!("{}:turn", self.base)
    }

    /// A further key with the same hash tag.
    pub(super) fn other(&self, name: &str) -> String {
        format!("{}:{name}", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_recovered_from_its_channel() {
        let room: Room = "team.a-1".parse().unwrap();
        let names = Keyspace::new("tl", 0);
        let keys = names.room(&room);
        assert_eq!(keys.log(), "tl:{team.a-1}:log");
        assert_eq!(names.room_of_channel(keys.channel()), Some("team.a-1"));
        assert_eq!(Keyspace::new("x", 0).room_of_channel(keys.channel()), None);
    }

    #[test]
    fn probe_is_found_in_every_slot() {
        let names = Keyspace::new("tl", 0);
        for slot in [0, 7, 16_383] {
            let keys = names.probe_in(7, |other| other == slot).unwrap();
            assert_eq!((slot_of(&keys.log()), slot_of(keys.channel())), (slot, slot));
        }
        assert!(names.probe_in(7, |_| false).is_none(), "a master without slots has no probe");
    }

    #[test]
    fn channels_of_databases_differ_and_keys_do_not() {
        let room: Room = "lobby".parse().unwrap();
        let (zero, one) = (Keyspace::new("tl", 0), Keyspace::new("tl", 1));
        assert_eq!(zero.room(&room).channel(), "tl:{lobby}");
        assert_eq!(one.room(&room).channel(), "tl:1:{lobby}");
        assert_eq!(one.room(&room).log(), zero.room(&room).log());
        assert_eq!(zero.room_of_channel(one.room(&room).channel()), None);
        assert_eq!(one.room_of_channel(zero.room(&room).channel()), None);
    }
}
