//! What was heard and not yet taken by the consumer. Pure.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use trunkline_domain::{ChangeKind, Entry, Room};

use crate::Delivery;

/// Deliveries that wait for their consumer, bounded by count and bytes.
///
/// The connection must be read without waiting: Redis ends one that is not, and the driver's own queue has no bound. So
/// where the consumer does not keep up, this throws everything away and owes each room a `Subscribed` instead, which
/// makes the consumer read the log: loss is a value.
#[derive(Debug)]
pub(super) struct Backlog {
    waiting: VecDeque<Delivery>,
    bytes: usize,
    /// Rooms of which something was thrown away, and which were not told so yet.
    lost: BTreeSet<Room>,
    most: usize,
    most_bytes: usize,
}

/// What a user's name costs in memory, about.
const NAME: usize = 64;

/// What a delivery costs in memory, about.
fn weight(delivery: &Delivery) -> usize {
    size_of::<Delivery>()
        + match delivery {
            Delivery::Subscribed(_) => 0,
            Delivery::Entry(_, Entry { message, .. }) => message.text.as_str().len() + message.id.as_str().len(),
            Delivery::Ephemeral(_, bytes) => Bytes::len(bytes),
            Delivery::Presence(_, change) => match &change.kind {
                ChangeKind::Replaced(users) => NAME * users.len(),
                ChangeKind::Updated { joined, left } => NAME * (joined.len() + left.len()),
                ChangeKind::Left | ChangeKind::Expired => 0,
            },
        }
}

fn room_of(delivery: &Delivery) -> &Room {
    match delivery {
        Delivery::Subscribed(room)
        | Delivery::Entry(room, _)
        | Delivery::Ephemeral(room, _)
        | Delivery::Presence(room, _) => room,
    }
}

impl Backlog {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, lost: BTreeSet::new(), most, most_bytes }
    }

    /// Adds a delivery. `false` if that threw everything away.
    pub(super) fn push(&mut self, delivery: Delivery) -> bool {
        if self.lost.contains(room_of(&delivery)) {
            // Its `Subscribed` is yet to come, and stands for this too.
            return true;
        }
        self.bytes += weight(&delivery);
        self.waiting.push_back(delivery);
        if self.waiting.len() <= self.most && self.bytes <= self.most_bytes {
            return true;
        }
        self.lost.extend(self.waiting.drain(..).map(|delivery| room_of(&delivery).clone()));
        self.bytes = 0;
        false
    }

    /// The next delivery.
    pub(super) fn pop(&mut self) -> Option<Delivery> {
        if let Some(delivery) = self.waiting.pop_front() {
            self.bytes -= weight(&delivery);
            return Some(delivery);
        }
        self.lost.pop_first().map(Delivery::Subscribed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.lost.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use trunkline_domain::{Message, Position};

    use super::*;

    fn room(number: u8) -> Room {
        format!("room{number}").parse().unwrap()
    }

    fn entry(offset: u64) -> Entry {
        let message = Message {
            pos: Position::new(1, offset),
            id: "id".parse().unwrap(),
            user: "ann".parse().unwrap(),
            text: "text".parse().unwrap(),
            at: 0,
        };
        Entry { prev: Position::new(1, offset - 1), message }
    }

    proptest! {
        /// A consumer that reads the log upon `Subscribed` misses nothing and sees the rest in order.
        #[test]
        fn nothing_is_lost_in_silence(
            steps in prop::collection::vec((0_u8..3, any::<bool>()), 1..200),
            most in 1_usize..10,
        ) {
            let mut backlog = Backlog::new(most, usize::MAX);
            let mut heads: HashMap<Room, u64> = HashMap::new();
            let mut seen: HashMap<Room, u64> = HashMap::new();
            let mut consume = |backlog: &mut Backlog, heads: &HashMap<Room, u64>| match backlog.pop() {
                Some(Delivery::Subscribed(room)) => {
                    seen.insert(room.clone(), heads[&room]);
                }
                Some(Delivery::Entry(room, entry)) => {
                    let seen = seen.entry(room).or_default();
                    // Entries that a page already held come again and are passed over; none is missing.
                    assert!(entry.message.pos.offset <= *seen + 1);
                    *seen = (*seen).max(entry.message.pos.offset);
                }
                _ => {}
            };
            for (number, push) in steps {
                if push {
                    let head = heads.entry(room(number)).or_default();
                    *head += 1;
                    backlog.push(Delivery::Entry(room(number), entry(*head)));
                } else {
                    consume(&mut backlog, &heads);
                }
                prop_assert!(backlog.waiting.len() <= most);
            }
            while !backlog.is_empty() {
                consume(&mut backlog, &heads);
            }
            prop_assert_eq!(backlog.bytes, 0);
            prop_assert_eq!(seen, heads);
        }
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut backlog = Backlog::new(100, 1000);
        assert!(backlog.push(Delivery::Ephemeral(room(1), Bytes::from(vec![0; 500]))));
        assert!(!backlog.push(Delivery::Ephemeral(room(2), Bytes::from(vec![0; 500]))));
        assert_eq!(backlog.pop(), Some(Delivery::Subscribed(room(1))));
        assert_eq!(backlog.pop(), Some(Delivery::Subscribed(room(2))));
        assert_eq!(backlog.pop(), None);
    }
}
