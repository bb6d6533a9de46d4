//! Presence in all rooms of this instance. Synchronous: inputs and the time come in, effects are polled.

use std::{
    collections::{BTreeMap, VecDeque},
    iter,
    time::Duration,
};

use indexmap::IndexMap;
use trunkline_bus::LeaseStatus;
use trunkline_domain::{ChangeKind, InstanceId, Member, PresenceChange, Room};

use super::{
    debouncer::PresenceDebouncer,
    liveness::InstanceLiveness,
    messages::{PresenceCommand, PresenceEffect, PresenceInput, PresenceReply},
    room::{RoomContext, RoomPresence, SnapshotRead},
};
use crate::{
    ids::WorkerId,
    random::Random,
    ticks::{TickSlicer, TimerWheel},
};

/// Maximum time from the check that returned a newer version to the arrival of that change. After it the change counts as
/// lost and the snapshot is read; a smaller value reads snapshots that were not needed.
const MAX_CHANGE_DELAY: Duration = Duration::from_secs(1);

/// Granularity of timers. Every tick of the reader fires the ones that are due.
const TIMER_GRANULARITY: Duration = Duration::from_millis(100);

/// Presence in every room that this instance subscribes to.
#[derive(Debug)]
pub(crate) struct PresenceTracker {
    rooms: IndexMap<Room, RoomPresence>,
    context: RoomContext,
    slicer: TickSlicer,
    /// Number of rooms with users of this instance.
    local_rooms: usize,
    /// Number of users of this instance, each counted once per room.
    local_users: usize,
    instance: InstanceId,
    liveness: InstanceLiveness,
    lease: Duration,
    /// Whether numbers for the list of rooms are being written.
    room_counts_in_flight: bool,
}

impl PresenceTracker {
    /// Creates a tracker of no rooms. Users of this process are those of `instance`; the users of an instance that dies
    /// disappear within one `lease`.
    pub(crate) fn new(instance: InstanceId, lease: Duration, mut random: Random) -> Self {
        let liveness = InstanceLiveness::new(lease, random.fork());
        let context = RoomContext {
            effects: VecDeque::new(),
            active: Vec::new(),
            timers: TimerWheel::new(TIMER_GRANULARITY),
            random,
            now: Duration::ZERO,
        };
        Self {
            rooms: IndexMap::new(),
            context,
            slicer: TickSlicer::default(),
            local_rooms: 0,
            local_users: 0,
            instance,
            liveness,
            lease,
            room_counts_in_flight: false,
        }
    }

    /// Takes one input. What follows from it is returned by [`poll_effect`](Self::poll_effect).
    pub(crate) fn handle(&mut self, input: PresenceInput, now: Duration) {
        self.context.now = now;
        match input {
            PresenceInput::Follow(worker, room) => self.follow(worker, room),
            PresenceInput::Unfollow(worker, room) => {
                if let Some(presence) = self.rooms.get_mut(&room) {
                    presence.followers.retain(|one| *one != worker);
                }
            }
            PresenceInput::Joined(worker, room, user) => self.joined(worker, &room, user),
            PresenceInput::Left(worker, room, user) => self.left(worker, &room, &user),
            PresenceInput::WorkerEnded(worker) => self.worker_ended(worker),
            PresenceInput::Subscribed(room) => self.subscribed(&room),
            PresenceInput::Unsubscribed(room) => self.unsubscribed(&room),
            PresenceInput::Changed(room, change) => self.changed(&room, change),
            PresenceInput::Answered(reply) => self.answered(reply),
            PresenceInput::WriteLeaves => {
                for (room, presence) in &mut self.rooms {
                    presence.lease.write_leaves_now();
                    presence.advance(room, &mut self.context);
                }
            }
            PresenceInput::Tick => self.tick(),
        }
    }

    /// Returns the next thing to do, in order; `None` until the next input.
    pub(crate) fn poll_effect(&mut self) -> Option<PresenceEffect> {
        self.context.effects.pop_front()
    }

    /// Returns the number of rooms with users of this instance.
    pub(crate) fn local_rooms(&self) -> usize {
        self.local_rooms
    }

    /// Returns the number of users of this instance, each counted once per room.
    pub(crate) fn local_users(&self) -> usize {
        self.local_users
    }

    /// Returns whether the store has exactly the users of this instance.
    pub(crate) fn is_settled(&self) -> bool {
        self.rooms.values().all(|presence| presence.lease.is_settled(&presence.local))
    }

    /// Returns whether the store has exactly the users of this instance in the room.
    pub(crate) fn is_room_settled(&self, room: &Room) -> bool {
        self.rooms.get(room).is_none_or(|presence| presence.lease.is_settled(&presence.local))
    }

    fn follow(&mut self, worker: WorkerId, room: Room) {
        let presence = self.rooms.entry(room.clone()).or_default();
        if !presence.followers.contains(&worker) {
            presence.followers.push(worker);
        }
        if let Some(state) = presence.state.clone() {
            self.context.effects.push_back(PresenceEffect::Show { worker, room, state, diff: None });
        }
    }

    fn joined(&mut self, worker: WorkerId, room: &Room, user: Member) {
        let presence = self.rooms.entry(room.clone()).or_default();
        let is_first = presence.local.is_empty();
        if presence.local.add(worker, user.clone()) {
            self.local_rooms += usize::from(is_first);
            self.local_users += 1;
            presence.lease.add(user);
            presence.advance(room, &mut self.context);
        }
    }

    fn left(&mut self, worker: WorkerId, room: &Room, user: &Member) {
        if let Some(presence) = self.rooms.get_mut(room)
            && let Some(user) = presence.local.remove(worker, user)
        {
            self.local_rooms -= usize::from(presence.local.is_empty());
            self.local_users -= 1;
            presence.lease.remove(user, self.context.now);
            presence.advance(room, &mut self.context);
        }
    }

    fn worker_ended(&mut self, worker: WorkerId) {
        for (room, presence) in &mut self.rooms {
            presence.followers.retain(|one| *one != worker);
            let left = presence.local.remove_worker(worker);
            self.local_rooms -= usize::from(!left.is_empty() && presence.local.is_empty());
            self.local_users -= left.len();
            left.into_iter().for_each(|user| presence.lease.remove(user, self.context.now));
            presence.advance(room, &mut self.context);
        }
    }

    /// Reads the snapshot, and checks the lease: the store may have been replaced by an empty one.
    fn subscribed(&mut self, room: &Room) {
        let presence = self.rooms.entry(room.clone()).or_default();
        presence.roster.mark_stale();
        presence.lease.next_check = self.context.now;
        if let SnapshotRead::InFlight { is_stale } = &mut presence.snapshot_read {
            *is_stale = true;
        }
        presence.advance(room, &mut self.context);
    }

    fn unsubscribed(&mut self, room: &Room) {
        if let Some(presence) = self.rooms.swap_remove(room) {
            self.local_rooms -= usize::from(!presence.local.is_empty());
            self.local_users -= presence.local.count();
        }
    }

    fn changed(&mut self, room: &Room, mut change: PresenceChange) {
        let Some(presence) = self.rooms.get_mut(room) else { return };
        let now = self.context.now;
        presence.lease.check_soon(now);
        let is_expiry = change.kind == ChangeKind::Expired;
        if is_expiry && change.instance == self.instance {
            // Another instance took this one for dead. The check finds out whether the lease was renewed since.
            presence.lease.next_check = now;
        }
        if matches!(change.kind, ChangeKind::Expired | ChangeKind::Left) && change.instance != self.instance {
            presence.list_again(now);
        }
        // Users of a dead instance have been absent for longer than a reconnect takes.
        let left_at = if is_expiry { now.saturating_sub(PresenceDebouncer::LEAVE_DELAY) } else { now };
        match &mut change.kind {
            ChangeKind::Replaced(users) | ChangeKind::Updated { joined: users, .. } => {
                presence.local.share_names(users);
            }
            ChangeKind::Left | ChangeKind::Expired => {}
        }
        // An instance that is not alive is noticed, and its rooms are searched.
        self.liveness.is_dead(change.instance, now);
        let diff = presence.roster.apply(change);
        presence.debouncer.apply(diff, left_at);
        presence.advance(room, &mut self.context);
    }

    fn answered(&mut self, reply: PresenceReply) {
        let now = self.context.now;
        match reply {
            PresenceReply::Written(room, lease) => {
                let Some(presence) = self.rooms.get_mut(&room) else { return };
                presence.write_answered(lease, now);
                presence.advance(&room, &mut self.context);
            }
            PresenceReply::Heartbeat(alive) => self.liveness.heartbeat_answered(now, alive),
            PresenceReply::Checked(rooms, statuses) => {
                let statuses = statuses.unwrap_or_default().into_iter().chain(iter::repeat(None));
                for (room, status) in rooms.iter().zip(statuses) {
                    self.checked(room, status);
                }
            }
            PresenceReply::Expired => {}
            PresenceReply::Snapshot(room, snapshot) => {
                let Some(presence) = self.rooms.get_mut(&room) else { return };
                for (instance, _) in snapshot.iter().flat_map(|snapshot| &snapshot.instances) {
                    self.liveness.is_dead(*instance, now);
                }
                presence.snapshot_answered(snapshot, now);
                presence.advance(&room, &mut self.context);
            }
            PresenceReply::RoomCountsSet => self.room_counts_in_flight = false,
        }
    }

    fn checked(&mut self, room: &Room, status: Option<LeaseStatus>) {
        let Some(presence) = self.rooms.get_mut(room) else { return };
        let now = self.context.now;
        match status {
            Some(LeaseStatus::Held(version)) if version > presence.roster.version() => {
                presence.awaited_version.get_or_insert((version, now + MAX_CHANGE_DELAY));
                presence.advance(room, &mut self.context);
            }
            Some(LeaseStatus::Held(_)) => {}
            // The write in flight may have found that out, or may have been applied before the loss.
            Some(LeaseStatus::Lost) if presence.lease.write_in_flight => {
                presence.lease.next_check = now;
                presence.advance(room, &mut self.context);
            }
            Some(LeaseStatus::Lost) => {
                presence.lease.lost(now);
                // What lost the lease may have lost the list of rooms too.
                presence.list_again(now);
                presence.advance(room, &mut self.context);
            }
            None => {
                presence.lease.check_failed(now);
                presence.advance(room, &mut self.context);
            }
        }
    }

    /// Examines the active rooms, and those for which something is due.
    fn tick(&mut self) {
        let now = self.context.now;
        if self.liveness.poll_heartbeat(now) {
            self.context.effects.push_back(PresenceEffect::Command(PresenceCommand::Heartbeat));
        }
        for room in std::mem::take(&mut self.context.active) {
            if let Some(presence) = self.rooms.get_mut(&room) {
                presence.is_active = false;
                presence.advance(&room, &mut self.context);
            }
        }
        let (mut checks, mut counts) = (Vec::new(), Vec::new());
        for room in self.context.timers.poll(now) {
            let Some(presence) = self.rooms.get_mut(&room) else { continue };
            if !self.context.timers.has_fired(&mut presence.timer) {
                continue;
            }
            if let Some((version, until)) = presence.awaited_version {
                if presence.roster.version() >= version {
                    presence.awaited_version = None;
                } else if now >= until {
                    presence.roster.mark_stale();
                    presence.awaited_version = None;
                }
            }
            if presence.lease.is_held && now >= presence.lease.next_check {
                presence.lease.check_started(&mut self.context);
                checks.push(room.clone());
            }
            if !self.room_counts_in_flight {
                let count = presence.poll_list_entry(self.lease, &mut self.context);
                counts.extend(count.map(|count| (room.clone(), count)));
            }
            presence.advance(&room, &mut self.context);
        }
        self.expire_dead_instances();
        if !checks.is_empty() {
            self.context.effects.push_back(PresenceEffect::Command(PresenceCommand::Check(checks)));
        }
        if !counts.is_empty() {
            self.room_counts_in_flight = true;
            self.context.effects.push_back(PresenceEffect::Command(PresenceCommand::SetRoomCounts(counts)));
        }
    }

    /// Ends the leases of dead instances. Rooms are searched, a slice per tick, only while an instance is missing.
    fn expire_dead_instances(&mut self) {
        if !self.liveness.has_missing() {
            return;
        }
        let now = self.context.now;
        let mut dead = BTreeMap::<InstanceId, Vec<Room>>::new();
        for index in self.slicer.next(self.rooms.len()) {
            let Some((room, presence)) = self.rooms.get_index(index) else { break };
            for instance in presence.roster.instances().filter(|instance| self.liveness.is_dead(*instance, now)) {
                dead.entry(instance).or_default().push(room.clone());
            }
        }
        let expire = dead.into_iter().map(|(instance, rooms)| PresenceCommand::Expire(instance, rooms));
        self.context.effects.extend(expire.map(PresenceEffect::Command));
    }
}
