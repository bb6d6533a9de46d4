//! What this process does not need to repeat to Redis while rooms are quiet. Pure: times are given as the time since some
//! fixed moment.

use std::{
    collections::{HashMap, HashSet},
    mem,
    time::Duration,
};

use trunkline_domain::{InstanceId, Room};

/// The user counts that this process wrote to the registry of rooms.
///
/// The caller sets the count of every room again and again. Counts that changed are written at once and, because another
/// instance may have written an older count meanwhile, when they are set next. Later, they are written again after a
/// [renewal time](Self::new).
#[derive(Debug)]
pub(super) struct RoomCountCache {
    renewal: Duration,
    written: HashMap<Room, WrittenCount>,
    next_sweep: Option<Duration>,
    alive: Vec<InstanceId>,
}

#[derive(Debug)]
struct WrittenCount {
    count: usize,
    at: Duration,
    /// Whether the count was written more than once.
    is_repeated: bool,
}

impl RoomCountCache {
    /// Unchanged counts are written again after `renewal`.
    pub(super) fn new(renewal: Duration) -> Self {
        Self { renewal, written: HashMap::new(), next_sweep: None, alive: Vec::new() }
    }

    /// The counts that must be written now. They count as written until [`clear`](Self::clear).
    pub(super) fn take_due(&mut self, counts: &[(Room, usize)], now: Duration) -> Vec<(Room, usize)> {
        if self.next_sweep.is_none_or(|next| now >= next) {
            self.written.retain(|_, written| now.saturating_sub(written.at) < 2 * self.renewal);
            self.next_sweep = Some(now + self.renewal);
        }
        let mut due = Vec::new();
        for (room, count) in counts {
            let same = self.written.get(room).filter(|written| written.count == *count);
            let is_current =
                |written: &WrittenCount| written.is_repeated && now.saturating_sub(written.at) < self.renewal;
            if same.is_some_and(is_current) {
                continue;
            }
            if *count == 0 {
                self.written.remove(room);
            } else {
                let written = WrittenCount { count: *count, at: now, is_repeated: same.is_some() };
                self.written.insert(room.clone(), written);
            }
            due.push((room.clone(), *count));
        }
        due
    }

    /// Redis may not have the counts: all are written again when they are set next.
    pub(super) fn clear(&mut self) {
        self.written.clear();
    }

    /// Records the live instances. If one disappeared, the counts that it wrote are hidden, so all are written again.
    pub(super) fn set_alive(&mut self, mut alive: Vec<InstanceId>) {
        alive.sort_unstable();
        if self.alive.iter().any(|instance| alive.binary_search(instance).is_err()) {
            self.clear();
        }
        self.alive = alive;
    }
}

/// The rooms whose expiry was refreshed recently, in two sets that are dropped as a whole.
#[derive(Debug)]
pub(super) struct RefreshCache {
    interval: Duration,
    current: HashSet<Room>,
    previous: HashSet<Room>,
    started: Option<Duration>,
}

impl RefreshCache {
    /// A room is due again after one to two intervals.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, current: HashSet::new(), previous: HashSet::new(), started: None }
    }

    /// The rooms among `rooms` that are due.
    pub(super) fn due(&mut self, rooms: &[Room], now: Duration) -> Vec<Room> {
        let started = self.started.unwrap_or(now);
        let elapsed = now.saturating_sub(started);
        self.started = Some(started);
        if elapsed >= 2 * self.interval {
            self.current.clear();
            self.previous.clear();
            self.started = Some(now);
        } else if elapsed >= self.interval {
            self.previous = mem::take(&mut self.current);
            self.started = Some(started + self.interval);
        }
        let is_due = |room: &&Room| !self.current.contains(*room) && !self.previous.contains(*room);
        rooms.iter().filter(is_due).cloned().collect()
    }

    /// Records that the rooms were refreshed.
    pub(super) fn refreshed(&mut self, rooms: &[Room]) {
        self.current.extend(rooms.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn room(number: u8) -> Room {
        format!("room{number}").parse().unwrap()
    }

    #[test]
    fn unchanged_counts_are_written_twice_and_then_once_per_renewal() {
        let mut cache = RoomCountCache::new(60 * SECOND);
        let start = SECOND;
        let counts = [(room(1), 3), (room(2), 1)];
        let mut written = 0;
        for second in (0..120).step_by(5) {
            written += cache.take_due(&counts, start + second * SECOND).len();
        }
        assert_eq!(written, 6);
        assert_eq!(cache.take_due(&[(room(1), 4)], start + 119 * SECOND), [(room(1), 4)]);
        assert_eq!(cache.take_due(&[(room(1), 0)], start + 119 * SECOND), [(room(1), 0)]);
    }

    #[test]
    fn counts_are_written_again_after_an_instance_disappeared() {
        let mut cache = RoomCountCache::new(60 * SECOND);
        let now = SECOND;
        let counts = [(room(1), 3)];
        cache.set_alive(vec![InstanceId(2), InstanceId(1)]);
        assert_eq!(cache.take_due(&counts, now).len(), 1);
        assert_eq!(cache.take_due(&counts, now).len(), 1);
        cache.set_alive(vec![InstanceId(1), InstanceId(2), InstanceId(3)]);
        assert_eq!(cache.take_due(&counts, now).len(), 0);
        cache.set_alive(vec![InstanceId(1), InstanceId(3)]);
        assert_eq!(cache.take_due(&counts, now).len(), 1);
    }

    proptest! {
        /// A registry that drops each record after twice the renewal always has the counts that were set last.
        #[test]
        fn registry_has_the_counts_set_last(steps in prop::collection::vec((0_u8..4, 0_usize..3, 0_u32..5), 1..200)) {
            let (mut cache, mut now) = (RoomCountCache::new(60 * SECOND), SECOND);
            let mut registry = BTreeMap::new();
            let mut set = BTreeMap::new();
            for (number, count, pause) in steps {
                now += pause * SECOND;
                set.insert(room(number), count);
                // The caller sets every room again every 5 s at least.
                let counts: Vec<_> = set.iter().map(|(room, count)| (room.clone(), *count)).collect();
                for (room, count) in cache.take_due(&counts, now) {
                    registry.insert(room, (count, now + 120 * SECOND));
                }
                let listed = |room: &Room| registry.get(room).filter(|(_, expiry)| *expiry > now).map(|(count, _)| *count);
                prop_assert!(set.iter().all(|(room, count)| listed(room) == Some(*count)));
            }
        }

        #[test]
        fn room_in_use_is_refreshed_within_two_intervals(pauses in prop::collection::vec(0_u32..20, 1..200)) {
            let (mut cache, mut now) = (RefreshCache::new(60 * SECOND), SECOND);
            let (mut last, rooms) = (now, [room(1)]);
            for pause in pauses {
                now += pause * SECOND;
                let due = cache.due(&rooms, now);
                cache.refreshed(&due);
                if !due.is_empty() {
                    last = now;
                }
                prop_assert!(now - last < 120 * SECOND);
            }
        }
    }
}
