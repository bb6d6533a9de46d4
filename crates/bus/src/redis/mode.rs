//! How entries are published: classic pub/sub of one server, or sharded pub/sub of a cluster.

/// A payload that makes subscribers read the room's log.
pub(super) const READ_LOG: &[u8] = b"r";

/// The kind of pub/sub. Classic pub/sub in a cluster sends every message to every node
/// (<https://redis.io/docs/latest/develop/pubsub/#sharded-pubsub>), so there the messages of a channel stay at the master of
/// its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PubSubMode {
    /// For one server.
    Classic,
    /// For a cluster.
    Sharded,
}

impl PubSubMode {
    /// The command that publishes.
    pub(super) fn publish(self) -> &'static str {
        match self {
            Self::Classic => "PUBLISH",
            Self::Sharded => "SPUBLISH",
        }
    }

    /// The command that subscribes to channels: of one slot only, if sharded.
    pub(super) fn subscribe(self) -> &'static str {
        match self {
            Self::Classic => "SUBSCRIBE",
            Self::Sharded => "SSUBSCRIBE",
        }
    }

    /// The command that unsubscribes from channels: of one slot only, if sharded.
    pub(super) fn unsubscribe(self) -> &'static str {
        match self {
            Self::Classic => "UNSUBSCRIBE",
            Self::Sharded => "SUNSUBSCRIBE",
        }
    }

    /// A script with the command that publishes in place of `@PUBLISH@`.
    pub(super) fn script_text(self, text: &str) -> String {
        text.replace("@PUBLISH@", self.publish())
    }
}
