//! The presence of one room: the users of this instance, what the store knows of them, all users, and what members see.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use trunkline_bus::{Lease, ROOM_COUNT_LEASES};
use trunkline_domain::{Event, Member, PresenceSnapshot, Room, Roster};

use super::{
    PresenceCommand, PresenceEffect, PresenceState,
    debouncer::{PresenceDebouncer, PresenceUpdate},
    local_users::LocalUsers,
};
use crate::{
    frame::text_frame,
    ids::WorkerId,
    random::Random,
    ticks::{Timer, TimerWheel},
};

/// Minimum time between two writes about one room. Joins and leaves within it are written together; a larger value saves
/// calls and shows changes later.
const MIN_WRITE_INTERVAL: Duration = Duration::from_millis(250);
/// Time from a user's leave to its write. A user who reconnects to this instance within it causes no write, neither for the
/// leave nor for the join; a larger value shows leaves later. Members are shown a leave 5 s after its write at the earliest.
const LEAVE_WRITE_DELAY: Duration = Duration::from_secs(2);
/// Time from a failed write, check or snapshot to the next attempt.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Maximum time from a change of the room's presence to the check of a held lease. Each further check follows after twice the
/// time, at most [`MAX_LEASE_CHECK_INTERVAL`]. Changes and ends of leases are published; the check finds those whose
/// publication was lost, within this time or within as long as presence did not change before, and keys that an operator
/// deleted.
const LEASE_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum time between two checks of a held lease. The keys expire an hour after a write, and a check in their last half
/// hour renews them. A larger value saves little.
const MAX_LEASE_CHECK_INTERVAL: Duration = Duration::from_secs(240);

/// Presence of one room that this instance subscribes to.
#[derive(Debug, Default)]
pub(super) struct RoomPresence {
    /// The users of this instance.
    pub(super) local: LocalUsers,
    /// Workers with members in the room.
    pub(super) followers: Vec<WorkerId>,
    pub(super) lease: LocalLease,
    /// The users of all instances.
    pub(super) roster: Roster,
    pub(super) debouncer: PresenceDebouncer,
    /// The state that members see; `None` before the first update.
    pub(super) state: Option<PresenceState>,
    pub(super) snapshot_read: SnapshotRead,
    /// A version that a lease check returned and that was not received yet, with the time until which it may still arrive.
    pub(super) awaited_version: Option<(u64, Duration)>,
    /// The number of users that was written to the list of rooms, and when to write it again.
    listed: Option<(usize, Duration)>,
    /// Earliest time of the next write to the list of rooms.
    next_listing: Duration,
    /// When the tracker examines this room next.
    pub(super) timer: Timer,
    /// Whether the room is among those that every tick examines.
    pub(super) is_active: bool,
}

/// This instance's lease on its users in the room, and the changes that were not written yet. At most one write is in
/// flight.
#[derive(Debug, Default)]
pub(super) struct LocalLease {
    /// Whether the store has the lease, as far as this instance knows.
    pub(super) is_held: bool,
    pub(super) write_in_flight: bool,
    /// Whether the write in flight leaves no user, which gives the lease up.
    releases: bool,
    /// Whether a write failed, which may have been applied.
    is_uncertain: bool,
    joined: BTreeSet<Member>,
    /// The users that left, with the time at which that is written.
    left: BTreeMap<Member, Duration>,
    next_write: Duration,
    pub(super) next_check: Duration,
    check_interval: Duration,
}

/// The read of the room's snapshot.
#[derive(Debug, Default)]
pub(super) enum SnapshotRead {
    #[default]
    Idle,
    /// In flight; `is_stale` if changes may have been lost since it began.
    InFlight { is_stale: bool },
    /// The last read failed; the next one starts at this time.
    RetryAt(Duration),
}

/// Minimum time between two writes of a room to the list of rooms. A larger value shows changed numbers later.
const MIN_LISTING_INTERVAL: Duration = Duration::from_secs(1);

/// The parts that the rooms of one tracker share: the queue of effects, the active rooms, and time.
#[derive(Debug)]
pub(super) struct RoomContext {
    pub(super) effects: VecDeque<PresenceEffect>,
    /// Rooms that every tick examines.
    pub(super) active: Vec<Room>,
    /// All rooms for which something is due later.
    pub(super) timers: TimerWheel<Room>,
    pub(super) random: Random,
    pub(super) now: Duration,
}

impl LocalLease {
    /// The first connection of `user` joined.
    pub(super) fn add(&mut self, user: Member) {
        match self.left.remove_entry(&user) {
            Some((left, _)) if left.name == user.name => {}
            Some((left, _)) => {
                // Under another name the user joins and leaves in one write: the store compares the whole member.
                self.left.insert(left, Duration::ZERO);
                self.joined.insert(user);
            }
            None => _ = self.joined.insert(user),
        }
    }

    /// The last connection of `user` left.
    pub(super) fn remove(&mut self, user: Member, now: Duration) {
        if !self.joined.remove(&user) {
            self.left.insert(user, now + LEAVE_WRITE_DELAY);
        }
    }

    /// Writes the leaves of users without waiting for their return.
    pub(super) fn write_leaves_now(&mut self) {
        self.left.values_mut().for_each(|due| *due = Duration::ZERO);
    }

    /// The lease was lost: all users are to be written again, now.
    pub(super) fn lost(&mut self, now: Duration) {
        self.is_held = false;
        self.next_write = now;
    }

    /// The lease is being checked: schedules the next check.
    pub(super) fn check_started(&mut self, context: &mut RoomContext) {
        self.schedule_check((2 * self.check_interval).min(MAX_LEASE_CHECK_INTERVAL), context);
    }

    /// Presence of the room changed.
    pub(super) fn check_soon(&mut self, now: Duration) {
        self.check_interval = LEASE_CHECK_INTERVAL;
        self.next_check = self.next_check.min(now + LEASE_CHECK_INTERVAL);
    }

    fn schedule_check(&mut self, interval: Duration, context: &mut RoomContext) {
        self.check_interval = interval;
        self.next_check = context.now + context.random.jitter(interval, 0.8);
    }

    /// A check failed.
    pub(super) fn check_failed(&mut self, now: Duration) {
        self.next_check = now + RETRY_DELAY;
    }

    /// Returns whether the store has all users of `local` and no other.
    pub(super) fn is_settled(&self, local: &LocalUsers) -> bool {
        !self.write_in_flight && !self.has_changes(local)
    }

    /// Returns whether a write is needed, now or once `next_write` is reached.
    fn has_changes(&self, local: &LocalUsers) -> bool {
        let must_replace = !self.is_held && (self.is_uncertain || !local.is_empty());
        must_replace || !self.joined.is_empty() || !self.left.is_empty()
    }
}

impl RoomPresence {
    /// A write was answered; `None` if it failed and may have been applied.
    pub(super) fn write_answered(&mut self, answer: Option<Lease>, now: Duration) {
        let lease = &mut self.lease;
        lease.write_in_flight = false;
        lease.is_uncertain = answer.is_none();
        lease.is_held = answer == Some(Lease::Held) && !lease.releases;
        match answer {
            Some(Lease::Held) => {}
            Some(Lease::Lost) => lease.next_write = now,
            None => lease.next_write = now + RETRY_DELAY,
        }
    }

    /// The snapshot was read; `None` if that failed.
    pub(super) fn snapshot_answered(&mut self, snapshot: Option<PresenceSnapshot>, now: Duration) {
        let is_stale = matches!(std::mem::take(&mut self.snapshot_read), SnapshotRead::InFlight { is_stale: true });
        match snapshot {
            None => self.snapshot_read = SnapshotRead::RetryAt(now + RETRY_DELAY),
            Some(_) if is_stale => {}
            Some(mut snapshot) => {
                self.awaited_version = None;
                snapshot.instances.iter_mut().for_each(|(_, users)| self.local.share_names(users));
                let diff = self.roster.replace(snapshot);
                self.debouncer.apply(diff, now);
            }
        }
    }

    /// Starts everything that is due: a write, a read of the snapshot, an update for members. Keeps the room active while
    /// something waits for its time.
    pub(super) fn advance(&mut self, room: &Room, context: &mut RoomContext) {
        if let Some(write) = self.poll_write(room, context) {
            context.effects.push_back(PresenceEffect::Command(write));
        }
        self.read_snapshot_if_needed(room, context);
        self.update_members(room, context);
        let waits = self.lease.has_changes(&self.local) && !self.lease.write_in_flight
            || self.debouncer.is_pending()
            || matches!(self.snapshot_read, SnapshotRead::RetryAt(_));
        if waits && !self.is_active {
            self.is_active = true;
            context.active.push(room.clone());
        }
        if let Some(next) = self.next_examination(context.now) {
            context.timers.schedule(&mut self.timer, next, || room.clone());
        }
    }

    /// Returns when the lease is to be checked, a change counts as lost, or the list of rooms is to be written.
    fn next_examination(&self, now: Duration) -> Option<Duration> {
        let lease = &self.lease;
        let check = lease.is_held.then_some(lease.next_check);
        let awaited = self.awaited_version.map(|(_, until)| until);
        let count = self.roster.count();
        let listing = match self.listed {
            Some((listed, until)) if listed == count && !self.local.is_empty() => Some(until),
            _ if !self.local.is_empty() => (count > 0).then_some(self.next_listing.max(now)),
            Some(_) => (!lease.is_held && !lease.write_in_flight).then_some(lease.next_write + MIN_WRITE_INTERVAL),
            None => None,
        };
        [check, awaited, listing].into_iter().flatten().min()
    }

    fn poll_write(&mut self, room: &Room, context: &mut RoomContext) -> Option<PresenceCommand> {
        let lease = &mut self.lease;
        if lease.write_in_flight || context.now < lease.next_write {
            return None;
        }
        // Without a lease all users are written, or nothing if there are none and the store has none.
        if !lease.is_held {
            lease.joined.clear();
            lease.left.clear();
        }
        let is_due = |due: &Duration| *due <= context.now;
        let has_diff = !lease.joined.is_empty() || lease.left.values().any(is_due);
        let is_needed = if lease.is_held { has_diff } else { lease.is_uncertain || !self.local.is_empty() };
        if !is_needed {
            return None;
        }
        let joined = std::mem::take(&mut lease.joined);
        let left: Vec<Member> = lease.left.extract_if(.., |_, due| is_due(due)).map(|(user, _)| user).collect();
        lease.write_in_flight = true;
        lease.releases = self.local.is_empty() && lease.left.is_empty();
        lease.next_write = context.now + MIN_WRITE_INTERVAL;
        // Scheduled at the write, not at its answer: the loss of the lease may be received in between.
        lease.schedule_check(LEASE_CHECK_INTERVAL, context);
        Some(if lease.is_held {
            PresenceCommand::Update { room: room.clone(), joined: joined.into_iter().collect(), left }
        } else {
            PresenceCommand::Replace(room.clone(), self.local.iter().cloned().collect())
        })
    }

    fn read_snapshot_if_needed(&mut self, room: &Room, context: &mut RoomContext) {
        let is_free = match self.snapshot_read {
            SnapshotRead::Idle => true,
            SnapshotRead::InFlight { .. } => false,
            SnapshotRead::RetryAt(at) => context.now >= at,
        };
        if is_free && self.roster.needs_snapshot() {
            self.snapshot_read = SnapshotRead::InFlight { is_stale: false };
            context.effects.push_back(PresenceEffect::Command(PresenceCommand::ReadSnapshot(room.clone())));
        }
    }

    fn update_members(&mut self, room: &Room, context: &mut RoomContext) {
        let Some(update) = self.debouncer.poll_update(context.now) else { return };
        let diff = match update {
            PresenceUpdate::State => None,
            PresenceUpdate::Diff(diff) => Some(text_frame(&Event::Presence {
                room: room.clone(),
                count: self.debouncer.count(),
                users: None,
                joined: Some(diff.joined),
                left: Some(diff.left),
            })),
        };
        let state = PresenceState::encode(room, &self.debouncer, &self.roster);
        for &worker in &self.followers {
            let (room, state, diff) = (room.clone(), state.clone(), diff.clone());
            context.effects.push_back(PresenceEffect::Show { worker, room, state, diff });
        }
        self.state = Some(state);
    }

    /// The list of rooms may lack this room, or show it because of a record that is hidden soon: another instance ended its
    /// lease and may have written the number of users last, or the store lost data. The number is written again soon.
    pub(super) fn list_again(&mut self, now: Duration) {
        if let Some((_, until)) = &mut self.listed {
            *until = now;
        }
    }

    /// Returns the number of users that is due to be written to the list of rooms. Every instance with members writes it,
    /// once more within a `lease`, and from then on every half of [`ROOM_COUNT_LEASES`]; one that lost its last member writes
    /// only that none are left.
    pub(super) fn poll_list_entry(&mut self, lease: Duration, context: &mut RoomContext) -> Option<usize> {
        let (count, now) = (self.roster.count(), context.now);
        if self.local.is_empty() {
            // The leave of the own users must have been received before the count is right.
            let lease = &self.lease;
            let is_settled = !lease.is_held && !lease.write_in_flight && now >= lease.next_write + MIN_WRITE_INTERVAL;
            // A number above zero is left to the instances with members: here, it could be outdated and stay so.
            return self.listed.take_if(|_| is_settled).map(|_| count).filter(|count| *count == 0);
        }
        let is_listed = self.listed.is_some_and(|(listed, _)| listed == count);
        let is_current = is_listed && self.listed.is_some_and(|(_, until)| now < until);
        if is_current || count == 0 || now < self.next_listing {
            return None;
        }
        let refresh = if is_listed { lease * ROOM_COUNT_LEASES / 2 } else { lease / 3 };
        self.next_listing = now + MIN_LISTING_INTERVAL;
        self.listed = Some((count, now + context.random.jitter(refresh, 0.8)));
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_returns_under_another_name_leaves_and_joins_in_one_write() {
        let [ann, anna] = ["u-1 Ann", "u-1 Anna"].map(|member| member.parse::<Member>().unwrap());
        let mut lease = LocalLease::default();
        lease.remove(ann.clone(), Duration::from_secs(1));
        assert_eq!(lease.left[&ann], Duration::from_secs(3));
        lease.add(anna.clone());
        let left: Vec<_> = lease.left.iter().map(|(user, due)| (user.to_string(), *due)).collect();
        assert_eq!(left, [("u-1 Ann".to_owned(), Duration::ZERO)]);
        assert_eq!(lease.joined.first().map(Member::to_string), Some("u-1 Anna".to_owned()));
        lease.remove(anna, Duration::from_secs(2));
        lease.add(ann);
        assert!(lease.left.is_empty() && lease.joined.is_empty(), "the store has this name");
    }
}
