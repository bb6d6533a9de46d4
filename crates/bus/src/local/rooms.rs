//! The rooms of a [`LocalBus`](super::LocalBus) over injected time: no clock, no lock, no async.

use std::collections::HashMap;

use trunkline_domain::{Draft, Entry, Message, Millis, Position, Room, millis};

use super::LocalConfig;
use crate::{IdempotencyCache, Log, Page, Range, Receipt};

/// How often rooms are looked through for expired ones, in milliseconds.
const SWEEP: Millis = 60_000;

/// All rooms that hold something.
pub(super) struct Rooms {
    config: LocalConfig,
    rooms: HashMap<Room, Kept>,
    /// Above every epoch that was ever given to a log that is gone.
    next_epoch: u64,
    next_sweep: Millis,
}

/// One room.
struct Kept {
    log: Log,
    remembered: IdempotencyCache,
    expires: Millis,
}

impl Rooms {
    /// No rooms. Epochs start at `now`, so that a process started later gives larger ones.
    pub(super) fn new(config: LocalConfig, now: Millis) -> Self {
        Self { config, rooms: HashMap::new(), next_epoch: now.max(1), next_sweep: now + SWEEP }
    }

    /// Appends a message, or finds the one sent earlier under its id; then there is no new entry.
    pub(super) fn publish(&mut self, now: Millis, room: &Room, draft: Draft) -> (Receipt, Option<Entry>) {
        self.sweep(now);
        self.forget_if_expired(now, room);
        let expires = self.expiry(now);
        let config = self.config;
        let kept = self.rooms.entry(room.clone()).or_insert_with(|| Kept {
            log: Log::new(config.retain, config.retain_bytes),
            remembered: IdempotencyCache::default(),
            expires,
        });
        let Draft { id, user, text } = draft;
        if let Some(pos) = kept.remembered.find(now, &user, &id) {
            return (Receipt { pos, repeated: true }, None);
        }
        let prev = kept.log.head();
        let pos =
            if prev == Position::ORIGIN { Position::new(now.max(self.next_epoch), 1) } else { prev.next_in_epoch() };
        kept.remembered.insert(now, user.clone(), id.clone(), pos);
        kept.expires = expires;
        let entry = Entry { prev, message: Message { pos, id, user, text, at: now } };
        // Its `prev` was the log's head a moment ago.
        let appended = kept.log.append(entry.clone());
        debug_assert!(appended.is_ok());
        (Receipt { pos, repeated: false }, Some(entry))
    }

    pub(super) fn read(&mut self, now: Millis, room: &Room, range: Range) -> Page {
        self.forget_if_expired(now, room);
        self.rooms.get(room).map_or_else(|| Log::new(1, 0).read(range), |kept| kept.log.read(range))
    }

    pub(super) fn head(&mut self, now: Millis, room: &Room) -> Position {
        self.forget_if_expired(now, room);
        self.rooms.get(room).map_or(Position::ORIGIN, |kept| kept.log.head())
    }

    pub(super) fn refresh_expiry(&mut self, now: Millis, rooms: &[Room]) {
        let expires = self.expiry(now);
        for room in rooms {
            self.forget_if_expired(now, room);
            if let Some(kept) = self.rooms.get_mut(room) {
                kept.expires = expires;
            }
        }
    }

    fn expiry(&self, now: Millis) -> Millis {
        now.saturating_add(millis(self.config.retain_for))
    }

    fn forget_if_expired(&mut self, now: Millis, room: &Room) {
        if self.rooms.get(room).is_some_and(|kept| kept.expires <= now)
            && let Some(kept) = self.rooms.remove(room)
        {
            self.next_epoch = self.next_epoch.max(kept.log.head().epoch + 1);
        }
    }

    /// Drops rooms that expired, also those nobody asks for.
    fn sweep(&mut self, now: Millis) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP;
        let next_epoch = &mut self.next_epoch;
        self.rooms.retain(|_, kept| {
            let stays = kept.expires > now;
            if !stays {
                *next_epoch = (*next_epoch).max(kept.log.head().epoch + 1);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn draft(id: u32) -> Draft {
        Draft { id: format!("{id}").parse().unwrap(), user: "ann".parse().unwrap(), text: "hi".parse().unwrap() }
    }

    fn room(name: &str) -> Room {
        name.parse().unwrap()
    }

    fn keeping(seconds: u64, now: Millis) -> Rooms {
        Rooms::new(LocalConfig { retain_for: Duration::from_secs(seconds), ..LocalConfig::default() }, now)
    }

    #[test]
    fn an_expired_log_is_gone_and_the_next_has_a_new_epoch() {
        let mut rooms = keeping(10, 1000);
        let lobby = room("lobby");
        let first = rooms.publish(1000, &lobby, draft(1)).0.pos;
        assert_eq!(first, Position::new(1000, 1));
        rooms.refresh_expiry(9_000, std::slice::from_ref(&lobby));
        assert_eq!(rooms.head(18_999, &lobby), first);
        assert_eq!(rooms.head(19_000, &lobby), Position::ORIGIN);
        assert!(!rooms.read(19_000, &lobby, Range::After(first, 1)).follows);
        // The clock went back: still no position twice.
        let (receipt, entry) = rooms.publish(900, &lobby, draft(1));
        assert_eq!(receipt, Receipt { pos: Position::new(1001, 1), repeated: false });
        assert_eq!(entry.unwrap().prev, Position::ORIGIN);
    }

    #[test]
    fn rooms_nobody_asks_for_are_swept() {
        let mut rooms = keeping(10, 0);
        rooms.publish(0, &room("a"), draft(1));
        rooms.publish(70_000, &room("b"), draft(1));
        assert_eq!(rooms.rooms.keys().cloned().collect::<Vec<_>>(), [room("b")]);
    }

    proptest! {
        #[test]
        fn positions_are_given_once_and_go_up(
            steps in prop::collection::vec((0_u32..50, 0_u64..9000, any::<bool>()), 1..100),
        ) {
            let mut rooms = keeping(5, 1_000_000);
            let lobby = room("lobby");
            let mut now = 1_000_000_u64;
            let mut last = Position::ORIGIN;
            for (id, pause, back) in steps {
                now = if back { now.saturating_sub(pause) } else { now + pause };
                let (receipt, entry) = rooms.publish(now, &lobby, draft(id));
                if let Some(entry) = entry {
                    prop_assert!(receipt.pos > last);
                    prop_assert!(entry.prev == last || entry.prev == Position::ORIGIN);
                    last = receipt.pos;
                } else {
                    prop_assert!(receipt.repeated && receipt.pos <= last);
                }
            }
        }
    }
}
