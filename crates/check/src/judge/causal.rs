//! 6: what was acknowledged before another message was first sent stands before it.

use std::collections::HashMap;

use trunkline_domain::Position;

use super::{
    Invariant,
    facts::Facts,
    record::{MessageNumber, Record, RoomNumber, What},
    verdict::{Breaches, Ruling},
};

#[derive(Debug, Default)]
pub(super) struct Causal {
    /// The highest position acknowledged so far.
    acked: HashMap<RoomNumber, Position>,
    /// What each message was sent behind; removed once its position is known.
    floors: HashMap<MessageNumber, Position>,
    breaches: Breaches,
}

impl Invariant for Causal {
    fn see(&mut self, record: &Record, facts: &Facts) {
        match record.what {
            What::Send { room, message, .. } if facts.sending(message).attempts == 0 => {
                if let Some(&floor) = self.acked.get(&room) {
                    self.floors.insert(message, floor);
                }
            }
            What::Message { room, pos, message, .. } => self.place(room, message, pos, facts),
            What::Sent { room, message, pos } => {
                self.place(room, message, pos, facts);
                let acked = self.acked.entry(room).or_default();
                *acked = pos.max(*acked);
            }
            _ => {}
        }
    }

    fn rule(&mut self, _: &Facts) -> Ruling {
        self.breaches.ruling(6, "what was acknowledged before a message was sent stands before it")
    }
}

impl Causal {
    fn place(&mut self, room: RoomNumber, message: MessageNumber, pos: Position, facts: &Facts) {
        if let Some(floor) = self.floors.remove(&message)
            && pos <= floor
        {
            self.breaches.add(|| {
                let name = facts.names.message_name(message);
                format!(
                    "{name} in {} stands at {pos}, though {floor} was acknowledged before it was sent",
                    facts.names.room_name(room)
                )
            });
        }
    }
}
