//! Where a room lives in Redis. All its keys share the hash tag `{room}`, so they share a slot of Redis Cluster.

use trunkline_domain::Room;

/// The keys and the channel of one room.
pub(super) struct Keys(String);

impl Keys {
    pub(super) fn of(prefix: &str, room: &Room) -> Self {
        Self(format!("{prefix}:{{{room}}}"))
    }

    /// The channel on which entries and whispers are told.
    pub(super) fn channel(&self) -> &str {
        &self.0
    }

    /// Stream: the log.
    pub(super) fn log(&self) -> String {
        format!("{}:log", self.0)
    }

    /// Hash: who wrote last, and the epoch.
    pub(super) fn meta(&self) -> String {
        format!("{}:meta", self.0)
    }

    /// Hash: remembered ids of the even (0) or odd (1) ten-minute buckets.
    pub(super) fn ids(&self, parity: u8) -> String {
        format!("{}:ids:{parity}", self.0)
    }

    /// Set: who has users here. With `:<instance>`, a set: these users.
    pub(super) fn holders(&self) -> String {
        format!("{}:instances", self.0)
    }

    /// String: the number of the last change of presence.
    pub(super) fn turn(&self) -> String {
        format!("{}:turn", self.0)
    }
}

/// The room's name in the name of its channel.
pub(super) fn room_of<'a>(prefix: &str, channel: &'a str) -> Option<&'a str> {
    channel.strip_prefix(prefix)?.strip_prefix(":{")?.strip_suffix('}')
}

/// The channel on which a process hears itself. No room's channel: those have braces.
pub(super) fn probe_channel(prefix: &str, boot: u128) -> String {
    format!("{prefix}:probe:{boot:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_names_its_room() {
        let room: Room = "team.a-1".parse().unwrap();
        let keys = Keys::of("tl", &room);
        assert_eq!(keys.log(), "tl:{team.a-1}:log");
        assert_eq!(room_of("tl", keys.channel()), Some("team.a-1"));
        assert_eq!(room_of("tl", &probe_channel("tl", 7)), None);
        assert_eq!(room_of("x", keys.channel()), None);
    }
}
