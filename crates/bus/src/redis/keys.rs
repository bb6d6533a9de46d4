//! Names of keys and channels in Redis. All keys of a room share the hash tag `{room}`, and so one slot of Redis Cluster.

use trunkline_domain::Room;

/// The keys and the channel of one room.
pub(super) struct Keys(String);

impl Keys {
    pub(super) fn of(prefix: &str, room: &Room) -> Self {
        Self(format!("{prefix}:{{{room}}}"))
    }

    /// The channel of the room's deliveries.
    pub(super) fn channel(&self) -> &str {
        &self.0
    }

    /// Stream: the log.
    pub(super) fn log(&self) -> String {
        format!("{}:log", self.0)
    }

    /// Hash: generation of the last write, epoch, and when expiries were set.
    pub(super) fn meta(&self) -> String {
        format!("{}:meta", self.0)
    }

    /// Hash: message ids of the even (0) or odd (1) ten-minute buckets.
    pub(super) fn ids(&self, parity: u8) -> String {
        format!("{}:ids:{parity}", self.0)
    }

    /// Set: instances with users in the room. With `:<instance>` appended, a set: the users of that instance.
    pub(super) fn instances(&self) -> String {
        format!("{}:holders", self.0)
    }

    /// String: version of the room's presence.
    pub(super) fn version(&self) -> String {
        format!("{}:turn", self.0)
    }
}

/// A key that belongs to no room. Its hash tag starts with a colon, which no room name contains.
pub(super) fn shared_key(prefix: &str, name: &str) -> String {
    format!("{prefix}:{{:{name}}}")
}

/// The name of the room whose channel this is.
pub(super) fn room_of_channel<'a>(prefix: &str, channel: &'a str) -> Option<&'a str> {
    channel.strip_prefix(prefix)?.strip_prefix(":{")?.strip_suffix('}')
}

/// The channel, and the key, of a process's probes. Rooms' channels contain braces, so it is none of them.
pub(super) fn probe_channel(prefix: &str, process: u128) -> String {
    format!("{prefix}:probe:{process:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_recovered_from_its_channel() {
        let room: Room = "team.a-1".parse().unwrap();
        let keys = Keys::of("tl", &room);
        assert_eq!(keys.log(), "tl:{team.a-1}:log");
        assert_eq!(room_of_channel("tl", keys.channel()), Some("team.a-1"));
        assert_eq!(room_of_channel("tl", &probe_channel("tl", 7)), None);
        assert_eq!(room_of_channel("x", keys.channel()), None);
    }
}
