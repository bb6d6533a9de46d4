//! Message ids that were used recently: they make a retry harmless.

use std::{collections::HashMap, mem};

use trunkline_domain::{MessageId, Millis, Position, UserId};

/// The ids of the messages that users sent to one room, with their positions. An id is remembered for at least ten minutes
/// and less than twenty.
///
/// There are two buckets, one for the current ten minutes and one for the ten minutes before. A bucket is dropped as a
/// whole, so expiry costs no scan. Memory is bounded by the number of messages sent to the room in twenty minutes, about
/// 150 bytes per id.
#[derive(Clone, Debug, Default)]
pub struct IdempotencyCache {
    /// Number of the current bucket, counted from the Unix epoch.
    number: u64,
    current: Bucket,
    previous: Bucket,
}

type Bucket = HashMap<(UserId, MessageId), Position>;

impl IdempotencyCache {
    /// Time covered by one bucket, in milliseconds.
    pub const BUCKET: Millis = 10 * 60 * 1000;

    /// Position of the message that `user` sent as `id`, if it is remembered at `now`.
    pub fn find(&mut self, now: Millis, user: &UserId, id: &MessageId) -> Option<Position> {
        self.rotate(now);
        // A clone of a name shares its text, and an id has at most 64 bytes.
        let key = (user.clone(), id.clone());
        self.current.get(&key).or_else(|| self.previous.get(&key)).copied()
    }

    /// Remembers that `user` sent `id` at `now`, and its position.
    pub fn insert(&mut self, now: Millis, user: UserId, id: MessageId, pos: Position) {
        self.rotate(now);
        self.current.insert((user, id), pos);
    }

    /// Drops the buckets that are expired at `now`. A clock that was set back changes nothing.
    fn rotate(&mut self, now: Millis) {
        let number = now / Self::BUCKET;
        if number <= self.number {
            return;
        }
        self.previous = if number == self.number + 1 { mem::take(&mut self.current) } else { Bucket::new() };
        self.current = Bucket::new();
        self.number = number;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The model is a map of each id to its last send.
        #[test]
        fn ids_are_remembered_for_ten_minutes_and_forgotten_after_twenty(
            sends in prop::collection::vec((0_u64..400_000, 0_usize..5), 1..60),
        ) {
            let user: UserId = "ann".parse().unwrap();
            let mut cache = IdempotencyCache::default();
            let mut sent: HashMap<usize, (Millis, Position)> = HashMap::new();
            let mut now = 1_700_000_000_000;
            for (offset, (pause, id)) in (1..).zip(sends) {
                now += pause;
                let name: MessageId = format!("m{id}").parse().unwrap();
                let found = cache.find(now, &user, &name);
                match sent.get(&id) {
                    Some((at, pos)) if now - at < IdempotencyCache::BUCKET => prop_assert_eq!(found, Some(*pos)),
                    Some((at, _)) if now - at >= 2 * IdempotencyCache::BUCKET => prop_assert_eq!(found, None),
                    Some((_, pos)) => prop_assert!(found.is_none() || found == Some(*pos)),
                    None => prop_assert_eq!(found, None),
                }
                if found.is_none() {
                    let pos = Position::new(1, offset);
                    cache.insert(now, user.clone(), name, pos);
                    sent.insert(id, (now, pos));
                }
            }
        }
    }

    #[test]
    fn ids_are_scoped_to_their_user() {
        let (ann, bob): (UserId, UserId) = ("ann".parse().unwrap(), "bob".parse().unwrap());
        let id: MessageId = "1".parse().unwrap();
        let mut cache = IdempotencyCache::default();
        cache.insert(5, ann.clone(), id.clone(), Position::new(1, 1));
        assert_eq!(cache.find(5, &bob, &id), None);
        assert_eq!(cache.find(4, &ann, &id), Some(Position::new(1, 1)));
    }
}
