//! 3: one position an id and one id a position, over all clients and every `sent`.

use std::collections::{HashMap, HashSet};

use trunkline_domain::Position;

use super::{
    Invariant,
    facts::Facts,
    record::{MessageNumber, Record, RoomNumber, What},
    verdict::{Breaches, Ruling},
};

/// After a fault in which Redis may lose data, an unacknowledged message may stand a second time in a later epoch: the
/// log that held it first is gone.
#[derive(Debug, Default)]
pub(super) struct Unique {
    holders: HashMap<(RoomNumber, Position), MessageNumber>,
    twice: HashSet<MessageNumber>,
    breaches: Breaches,
}

impl Unique {
    /// Messages that stand at more than one position.
    pub(super) fn twice(&self) -> u64 {
        self.twice.len() as u64
    }
}

impl Invariant for Unique {
    fn see(&mut self, record: &Record, facts: &Facts) {
        let (What::Message { room, pos, message, .. } | What::Sent { room, message, pos }) = record.what else {
            return;
        };
        let holder = *self.holders.entry((room, pos)).or_insert(message);
        if holder != message {
            self.breaches.add(|| {
                let (one, other) = (facts.names.message_name(holder), facts.names.message_name(message));
                format!("{pos} in {} is {one} and {other}", facts.names.room_name(room))
            });
        }
        if let Some(known) = facts.sending(message).pos
            && known != pos
            && (known.epoch == pos.epoch || !facts.redis_failed())
            && self.twice.insert(message)
        {
            self.breaches.add(|| {
                let name = facts.names.message_name(message);
                format!("{name} in {} stands at {known} and at {pos}", facts.names.room_name(room))
            });
        }
    }

    fn rule(&mut self, _: &Facts) -> Ruling {
        self.breaches.ruling(3, "one position an id, one id a position")
    }
}
