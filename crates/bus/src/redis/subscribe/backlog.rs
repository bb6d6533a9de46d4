//! Deliveries that were received and not yet taken by the consumer. Pure.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use trunkline_domain::{ChangeKind, Room};

use crate::{Delivery, log};

/// A queue of deliveries, bounded by number and bytes.
///
/// The connection must be read without waiting for the consumer: Redis disconnects a subscriber that does not read
/// (`client-output-buffer-limit pubsub`), and the queue inside the redis crate has no bound. When a bound is exceeded, the
/// backlog drops all deliveries and owes each of their rooms a `Subscribed`, which makes the consumer read the log.
#[derive(Debug)]
pub(super) struct Backlog {
    waiting: VecDeque<Delivery>,
    bytes: usize,
    /// Rooms with dropped deliveries whose `Subscribed` was not taken yet.
    lost: BTreeSet<Room>,
    max_deliveries: usize,
    max_bytes: usize,
}

/// Approximate memory of a user's name, in bytes.
const NAME_BYTES: usize = 64;

/// Approximate memory of a delivery, in bytes.
fn weight(delivery: &Delivery) -> usize {
    size_of::<Delivery>()
        + match delivery {
            Delivery::Subscribed(_) => 0,
            Delivery::Entry(_, entry) => log::weight(entry),
            Delivery::Ephemeral(_, bytes) => Bytes::len(bytes),
            Delivery::Presence(_, change) => match &change.kind {
                ChangeKind::Replaced(users) => NAME_BYTES * users.len(),
                ChangeKind::Updated { joined, left } => NAME_BYTES * (joined.len() + left.len()),
                ChangeKind::Left | ChangeKind::Expired => 0,
            },
        }
}

impl Backlog {
    pub(super) fn new(max_deliveries: usize, max_bytes: usize) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, lost: BTreeSet::new(), max_deliveries, max_bytes }
    }

    /// Adds a delivery. Returns `false` if a bound was exceeded and all deliveries were dropped.
    pub(super) fn push(&mut self, delivery: Delivery) -> bool {
        if self.lost.contains(delivery.room()) {
            // The `Subscribed` that the room is owed covers this delivery too.
            return true;
        }
        self.bytes += weight(&delivery);
        self.waiting.push_back(delivery);
        if self.waiting.len() <= self.max_deliveries && self.bytes <= self.max_bytes {
            return true;
        }
        self.lost.extend(self.waiting.drain(..).map(|delivery| delivery.room().clone()));
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
    use trunkline_domain::{Body, Content, Entry, Message, Position};

    use super::*;

    fn room(number: u8) -> Room {
        format!("room{number}").parse().unwrap()
    }

    fn entry(offset: u64) -> Entry {
        let message = Message {
            pos: Position::new(1, offset),
            id: "id".parse().unwrap(),
            user: "ann".parse().unwrap(),
            name: None,
            body: Body::Content(Content::Text { text: "text".parse().unwrap(), reply_to: None }),
            at: 0,
        };
        Entry { prev: Position::new(1, offset - 1), message }
    }

    proptest! {
        /// A consumer that reads the log upon `Subscribed` misses nothing and sees the rest in order.
        #[test]
        fn every_dropped_delivery_is_announced(
            steps in prop::collection::vec((0_u8..3, any::<bool>()), 1..200),
            max in 1_usize..10,
        ) {
            let mut backlog = Backlog::new(max, usize::MAX);
            let mut heads: HashMap<Room, u64> = HashMap::new();
            let mut seen: HashMap<Room, u64> = HashMap::new();
            let mut consume = |backlog: &mut Backlog, heads: &HashMap<Room, u64>| match backlog.pop() {
                Some(Delivery::Subscribed(room)) => {
                    seen.insert(room.clone(), heads[&room]);
                }
                Some(Delivery::Entry(room, entry)) => {
                    let seen = seen.entry(room).or_default();
                    // Entries that a page already contained arrive again and are skipped; none is missing.
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
                prop_assert!(backlog.waiting.len() <= max);
            }
            while !backlog.is_empty() {
                consume(&mut backlog, &heads);
            }
            prop_assert_eq!(backlog.bytes, 0);
            prop_assert_eq!(seen, heads);
        }
    }

    #[test]
    fn bytes_are_bounded() {
        let mut backlog = Backlog::new(100, 1000);
        assert!(backlog.push(Delivery::Ephemeral(room(1), Bytes::from(vec![0; 500]))));
        assert!(!backlog.push(Delivery::Ephemeral(room(2), Bytes::from(vec![0; 500]))));
        assert_eq!(backlog.pop(), Some(Delivery::Subscribed(room(1))));
        assert_eq!(backlog.pop(), Some(Delivery::Subscribed(room(2))));
        assert_eq!(backlog.pop(), None);
    }
}
