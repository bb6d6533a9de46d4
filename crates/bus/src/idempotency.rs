//! Which messages were sent lately: what makes a retry harmless.

use std::{collections::HashMap, mem};

use trunkline_domain::{MessageId, Millis, Position, UserName};

/// The ids that users gave their messages in one room, and where those messages stand. An id is remembered for at
/// least ten minutes and less than twenty.
///
/// Two buckets, one for the current ten minutes and one for those before, which are forgotten whole: so forgetting
/// costs nothing. Bounded by what a room can be sent in twenty minutes, about 150 bytes an id.
#[derive(Clone, Debug, Default)]
pub struct IdempotencyCache {
    /// Which ten minutes `current` is for, counted from the Unix epoch.
    number: u64,
    current: Bucket,
    previous: Bucket,
}

type Bucket = HashMap<(UserName, MessageId), Position>;

impl IdempotencyCache {
    /// How long a bucket takes ids, in milliseconds.
    pub const BUCKET: Millis = 10 * 60 * 1000;

    /// Where the message that `user` sent as `id` stands, if that is remembered at `now`.
    pub fn find(&mut self, now: Millis, user: &UserName, id: &MessageId) -> Option<Position> {
        self.turn(now);
        // Cheap: names are shared, and ids are short.
        let key = (user.clone(), id.clone());
        self.current.get(&key).or_else(|| self.previous.get(&key)).copied()
    }

    /// Remembers that `user` sent `id` at `now`, and where it stands.
    pub fn insert(&mut self, now: Millis, user: UserName, id: MessageId, pos: Position) {
        self.turn(now);
        self.current.insert((user, id), pos);
    }

    /// Forgets what is old at `now`. A clock that went back changes nothing.
    fn turn(&mut self, now: Millis) {
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
        /// The naive model: every send with its time, searched backwards.
        #[test]
        fn remembers_ten_minutes_and_forgets_after_twenty(
            sends in prop::collection::vec((0_u64..400_000, 0_usize..5), 1..60),
        ) {
            let user: UserName = "ann".parse().unwrap();
            let mut remembered = IdempotencyCache::default();
            let mut sent: HashMap<usize, (Millis, Position)> = HashMap::new();
            let mut now = 1_700_000_000_000;
            for (offset, (pause, id)) in (1..).zip(sends) {
                now += pause;
                let name: MessageId = format!("m{id}").parse().unwrap();
                let found = remembered.find(now, &user, &name);
                match sent.get(&id) {
                    Some((at, pos)) if now - at < IdempotencyCache::BUCKET => prop_assert_eq!(found, Some(*pos)),
                    Some((at, _)) if now - at >= 2 * IdempotencyCache::BUCKET => prop_assert_eq!(found, None),
                    Some((_, pos)) => prop_assert!(found.is_none() || found == Some(*pos)),
                    None => prop_assert_eq!(found, None),
                }
                if found.is_none() {
                    let pos = Position::new(1, offset);
                    remembered.insert(now, user.clone(), name, pos);
                    sent.insert(id, (now, pos));
                }
            }
        }
    }

    #[test]
    fn ids_belong_to_their_user() {
        let (ann, bob): (UserName, UserName) = ("ann".parse().unwrap(), "bob".parse().unwrap());
        let id: MessageId = "1".parse().unwrap();
        let mut remembered = IdempotencyCache::default();
        remembered.insert(5, ann.clone(), id.clone(), Position::new(1, 1));
        assert_eq!(remembered.find(5, &bob, &id), None);
        assert_eq!(remembered.find(4, &ann, &id), Some(Position::new(1, 1)));
    }
}
