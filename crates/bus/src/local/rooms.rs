//! The logs of a [`LocalBus`](super::LocalBus), over injected time: no clock, no lock, no async.

use std::collections::HashMap;

use trunkline_domain::{Body, Content, Draft, Entry, Message, Millis, Position, Room, UserId, millis};

use super::config::LocalConfig;
use crate::{ErrorKind, IdempotencyCache, Log, Page, Range, Receipt};

/// Time between two searches for expired rooms, in milliseconds.
const SWEEP_INTERVAL: Millis = 60_000;

/// All rooms with a log.
pub(super) struct Rooms {
    config: LocalConfig,
    rooms: HashMap<Room, StoredRoom>,
    /// Larger than every epoch of the logs that expired.
    next_epoch: u64,
    next_sweep: Millis,
}

/// One room.
struct StoredRoom {
    log: Log,
    ids: IdempotencyCache,
    /// Read marks.
    seen: HashMap<UserId, Position>,
    expiry: Millis,
}

impl Rooms {
    /// No rooms. Epochs start at `now`, so a process that starts later assigns larger ones.
    pub(super) fn new(config: LocalConfig, now: Millis) -> Self {
        Self { config, rooms: HashMap::new(), next_epoch: now.max(1), next_sweep: now + SWEEP_INTERVAL }
    }

    /// Appends a message and returns its entry, or finds the message sent earlier under its id; then there is no entry.
    ///
    /// # Errors
    /// `NotFound` or `Forbidden`, if the message amends another one and must not.
    pub(super) fn publish(
        &mut self,
        now: Millis,
        room: &Room,
        draft: Draft,
    ) -> Result<(Receipt, Option<Entry>), ErrorKind> {
        self.sweep(now);
        self.forget_if_expired(now, room);
        let expiry = self.expiry(now);
        let config = self.config;
        let stored = self.rooms.entry(room.clone()).or_insert_with(|| StoredRoom {
            log: Log::new(config.retain, config.retain_bytes),
            ids: IdempotencyCache::default(),
            seen: HashMap::new(),
            expiry,
        });
        if let Some(pos) = stored.ids.find(now, &draft.user, &draft.id) {
            return Ok((Receipt { pos, repeated: true }, None));
        }
        check_amendment(&stored.log, &draft)?;
        let Draft { id, user, name, content, may_moderate: _ } = draft;
        let prev = stored.log.head();
        let pos =
            if prev == Position::ORIGIN { Position::new(now.max(self.next_epoch), 1) } else { prev.next_in_epoch() };
        stored.ids.insert(now, user.clone(), id.clone(), pos);
        stored.expiry = expiry;
        if let Content::Delete { of } = content {
            stored.log.redact(of);
        }
        let entry = Entry { prev, message: Message { pos, id, user, name, body: Body::Content(content), at: now } };
        // Cannot fail: `prev` is the head of the log.
        let appended = stored.log.append(entry.clone());
        debug_assert!(appended.is_ok());
        Ok((Receipt { pos, repeated: false }, Some(entry)))
    }

    /// Moves the read mark of `user` forward, and returns it.
    pub(super) fn mark_seen(&mut self, now: Millis, room: &Room, user: &UserId, pos: Position) -> Position {
        let pos = pos.min(self.head(now, room));
        let Some(stored) = self.rooms.get_mut(room) else { return Position::ORIGIN };
        let mark = stored.seen.entry(user.clone()).or_default();
        *mark = pos.max(*mark);
        *mark
    }

    pub(super) fn seen(&mut self, now: Millis, room: &Room, user: &UserId) -> Option<Position> {
        self.forget_if_expired(now, room);
        self.rooms.get(room)?.seen.get(user).copied()
    }

    pub(super) fn read(&mut self, now: Millis, room: &Room, range: Range) -> Page {
        self.forget_if_expired(now, room);
        self.rooms.get(room).map_or_else(|| Log::new(1, 0).read(range), |stored| stored.log.read(range))
    }

    pub(super) fn head(&mut self, now: Millis, room: &Room) -> Position {
        self.forget_if_expired(now, room);
        self.rooms.get(room).map_or(Position::ORIGIN, |stored| stored.log.head())
    }

    pub(super) fn refresh_expiry(&mut self, now: Millis, rooms: &[Room]) {
        let expiry = self.expiry(now);
        for room in rooms {
            self.forget_if_expired(now, room);
            if let Some(stored) = self.rooms.get_mut(room) {
                stored.expiry = expiry;
            }
        }
    }

    fn expiry(&self, now: Millis) -> Millis {
        now.saturating_add(millis(self.config.retain_for))
    }

    fn forget_if_expired(&mut self, now: Millis, room: &Room) {
        if self.rooms.get(room).is_some_and(|stored| stored.expiry <= now)
            && let Some(stored) = self.rooms.remove(room)
        {
            self.next_epoch = self.next_epoch.max(stored.log.head().epoch + 1);
        }
    }

    /// Drops the rooms that expired and were not accessed since.
    fn sweep(&mut self, now: Millis) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP_INTERVAL;
        let next_epoch = &mut self.next_epoch;
        self.rooms.retain(|_, stored| {
            let stays = stored.expiry > now;
            if !stays {
                *next_epoch = (*next_epoch).max(stored.log.head().epoch + 1);
            }
            stays
        });
    }
}

/// Whether the log accepts an amendment: the message is a retained text that was not deleted, of the same author; a
/// moderator may delete the messages of others.
fn check_amendment(log: &Log, draft: &Draft) -> Result<(), ErrorKind> {
    let Some(of) = draft.content.amends() else { return Ok(()) };
    let message = log.get(of).ok_or(ErrorKind::NotFound)?;
    let Body::Content(Content::Text { .. }) = message.body else { return Err(ErrorKind::NotFound) };
    let is_allowed = match draft.content {
        Content::Edit { .. } => message.user == draft.user,
        Content::Delete { .. } => message.user == draft.user || draft.may_moderate,
        _ => true,
    };
    if is_allowed { Ok(()) } else { Err(ErrorKind::Forbidden) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn draft(id: u32) -> Draft {
        Draft::text(format!("{id}").parse().unwrap(), "ann".parse().unwrap(), "hi".parse().unwrap())
    }

    fn room(name: &str) -> Room {
        name.parse().unwrap()
    }

    fn rooms_expiring_after(seconds: u64, now: Millis) -> Rooms {
        Rooms::new(LocalConfig { retain_for: Duration::from_secs(seconds), ..LocalConfig::default() }, now)
    }

    #[test]
    fn expired_log_is_empty_and_the_next_entry_starts_a_new_epoch() {
        let mut rooms = rooms_expiring_after(10, 1000);
        let lobby = room("lobby");
        let first = rooms.publish(1000, &lobby, draft(1)).unwrap().0.pos;
        assert_eq!(first, Position::new(1000, 1));
        rooms.refresh_expiry(9_000, std::slice::from_ref(&lobby));
        assert_eq!(rooms.head(18_999, &lobby), first);
        assert_eq!(rooms.head(19_000, &lobby), Position::ORIGIN);
        assert!(!rooms.read(19_000, &lobby, Range::After(first, 1)).follows);
        // The clock was set back, and still no position is assigned twice.
        let (receipt, entry) = rooms.publish(900, &lobby, draft(1)).unwrap();
        assert_eq!(receipt, Receipt { pos: Position::new(1001, 1), repeated: false });
        assert_eq!(entry.unwrap().prev, Position::ORIGIN);
    }

    #[test]
    fn expired_rooms_are_dropped_without_being_accessed() {
        let mut rooms = rooms_expiring_after(10, 0);
        rooms.publish(0, &room("a"), draft(1)).unwrap();
        rooms.publish(70_000, &room("b"), draft(1)).unwrap();
        assert_eq!(rooms.rooms.keys().cloned().collect::<Vec<_>>(), [room("b")]);
    }

    proptest! {
        #[test]
        fn positions_are_unique_and_increase(
            steps in prop::collection::vec((0_u32..50, 0_u64..9000, any::<bool>()), 1..100),
        ) {
            let mut rooms = rooms_expiring_after(5, 1_000_000);
            let lobby = room("lobby");
            let mut now = 1_000_000_u64;
            let mut last = Position::ORIGIN;
            for (id, pause, back) in steps {
                now = if back { now.saturating_sub(pause) } else { now + pause };
                let (receipt, entry) = rooms.publish(now, &lobby, draft(id)).unwrap();
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
