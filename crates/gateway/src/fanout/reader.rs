//! The deliveries of all rooms of one process, in order and without gaps. Synchronous: inputs and the time come in, effects
//! are polled; [`reader_task`](super::reader_task) executes them.
//!
//! Pub/sub may lose entries; the log does not. So a room is subscribed first, read second, and live from then on. Whenever
//! entries may be missing (a `prev` that is not the head, a new subscription, a head that differs from the log's) the log is
//! read after the head.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use trunkline_bus::{Delivery, Page, Range};
use trunkline_domain::{InstanceId, Position, Room};

pub(crate) use super::room_feed::ReaderEffect;
use super::{
    ephemeral::{Control, Ephemeral},
    messages::{DeletionApplied, HubEvent, HubRequest},
    room_feed::{RoomFeed, RoomInput},
};
use crate::{
    frame::Frame,
    ids::WorkerId,
    presence::{PresenceEffect, PresenceInput, PresenceReply, PresenceTracker},
    random::Random,
    ticks::TimerWheel,
};

/// Granularity of timers. Every tick fires the ones that are due.
pub(super) const TIMER_GRANULARITY: Duration = Duration::from_millis(100);

/// What happened.
#[derive(Debug)]
pub(crate) enum ReaderInput {
    /// A worker asks for something.
    Request(WorkerId, HubRequest),
    /// A worker ended.
    WorkerEnded(WorkerId),
    /// The bus delivered something.
    Delivery(Delivery),
    /// The text at this position of the room was deleted by this process.
    Deleted(Room, Position, DeletionApplied),
    /// A read of the log finished; `None` if it failed.
    Read(Room, Range, Option<Page>),
    /// The heads of these rooms' logs differ from those in a comparison.
    ChangedHeads(Vec<(Room, Position)>),
    /// A presence command was answered.
    Presence(PresenceReply),
    /// The process ends: write the leaves of users now.
    WriteLeaves,
    /// Time passed.
    Tick,
}

/// Every room that this process subscribes to.
#[derive(Debug)]
pub(crate) struct RoomReader {
    instance: InstanceId,
    rooms: HashMap<Room, RoomFeed>,
    /// All rooms, by the times at which they are examined.
    timers: TimerWheel<Room>,
    presence: PresenceTracker,
    /// Rooms with frames that were not sent yet.
    unsent: Vec<Room>,
    effects: VecDeque<ReaderEffect>,
    random: Random,
    now: Duration,
}

impl RoomReader {
    /// Creates a reader of no rooms. Users of this process are those of `instance`; the users of an instance that dies
    /// disappear within one `lease`.
    pub(crate) fn new(instance: InstanceId, lease: Duration, mut random: Random) -> Self {
        Self {
            instance,
            rooms: HashMap::new(),
            timers: TimerWheel::new(TIMER_GRANULARITY),
            presence: PresenceTracker::new(instance, lease, random.fork()),
            unsent: Vec::new(),
            effects: VecDeque::from([ReaderEffect::Subscribe(Room::control())]),
            random,
            now: Duration::ZERO,
        }
    }

    /// Takes one input. What follows from it is returned by [`poll_effect`](Self::poll_effect).
    pub(crate) fn handle(&mut self, input: ReaderInput, now: Duration) {
        self.now = now;
        match input {
            ReaderInput::Delivery(delivery) => self.receive(delivery),
            ReaderInput::Deleted(name, position, applied) => {
                if let Some(mut room) = self.room(&name) {
                    room.delete(position, applied);
                }
            }
            ReaderInput::Request(worker, request) => self.request(worker, request),
            ReaderInput::WorkerEnded(worker) => {
                self.presence.handle(PresenceInput::WorkerEnded(worker), now);
                let names: Vec<Room> = self.rooms.keys().cloned().collect();
                for name in names {
                    self.remove_worker(worker, &name);
                }
            }
            ReaderInput::Read(name, range, page) => {
                if let Some(mut room) = self.room(&name) {
                    match page {
                        Some(page) => room.read_finished(range, page),
                        None => room.read_failed(range),
                    }
                }
                self.schedule(&name);
            }
            ReaderInput::ChangedHeads(heads) => {
                for (room, head) in heads {
                    if let Some(mut room) = self.room(&room) {
                        room.compare(head);
                    }
                }
            }
            ReaderInput::Presence(reply) => self.presence.handle(PresenceInput::Answered(reply), now),
            ReaderInput::WriteLeaves => self.presence.handle(PresenceInput::WriteLeaves, now),
            ReaderInput::Tick => self.tick(),
        }
    }

    /// Returns the next thing to do, in order; `None` until the next input. Frames that were received since the last `None`
    /// leave together, as one event per room and worker.
    pub(crate) fn poll_effect(&mut self) -> Option<ReaderEffect> {
        if self.effects.is_empty() {
            for name in std::mem::take(&mut self.unsent) {
                if let Some(mut room) = self.room(&name) {
                    room.send_unsent();
                }
            }
        }
        self.effects.pop_front().or_else(|| {
            self.presence.poll_effect().map(|effect| match effect {
                PresenceEffect::Command(command) => ReaderEffect::Presence(command),
                PresenceEffect::Show { worker, room, state, diff } => {
                    ReaderEffect::Send(worker, HubEvent::Presence { room, state, diff })
                }
            })
        })
    }

    /// Returns the presence of these rooms.
    pub(crate) fn presence(&self) -> &PresenceTracker {
        &self.presence
    }

    /// The worker has no members in the room any more.
    fn remove_worker(&mut self, worker: WorkerId, name: &Room) {
        if let Some(feed) = self.rooms.get_mut(name) {
            feed.remove_worker(worker, self.now);
            self.schedule(name);
        }
    }

    /// Has the room examined when something is due.
    fn schedule(&mut self, name: &Room) {
        let Some(feed) = self.rooms.get_mut(name) else { return };
        let next = feed.next_examination(self.now);
        self.timers.schedule(&mut feed.timer, next, || name.clone());
    }

    fn room<'a>(&'a mut self, name: &'a Room) -> Option<RoomInput<'a>> {
        let feed = self.rooms.get_mut(name)?;
        Some(RoomInput { name, feed, effects: &mut self.effects, now: self.now })
    }

    fn receive(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Entry(name, entry) => {
                let Some(mut room) = self.room(&name) else { return };
                let was_quiet = room.feed.is_quiet();
                let has_first_unsent = room.receive(Frame::encode(&name, entry));
                if was_quiet {
                    self.schedule(&name);
                }
                if has_first_unsent {
                    self.unsent.push(name);
                }
            }
            Delivery::Subscribed(name) => {
                if let Some(mut room) = self.room(&name) {
                    room.start_reading();
                    self.presence.handle(PresenceInput::Subscribed(name), self.now);
                }
            }
            Delivery::Presence(room, change) => self.presence.handle(PresenceInput::Changed(room, change), self.now),
            Delivery::Ephemeral(name, payload) => self.receive_ephemeral(&name, &payload),
        }
    }

    fn receive_ephemeral(&mut self, name: &Room, payload: &[u8]) {
        if name.is_control() {
            if let Some(Control::Disconnect(user)) = Control::decode(payload) {
                self.effects.push_back(ReaderEffect::Broadcast(HubEvent::Disconnect(user)));
            }
            return;
        }
        let (Some(feed), Some(ephemeral)) = (self.rooms.get(name), Ephemeral::decode(payload)) else { return };
        let own_socket = match &ephemeral {
            Ephemeral::Seen { user, origin, .. } => Some((user.clone(), *origin)),
            Ephemeral::Typing(_) | Ephemeral::Signal { .. } => None,
        };
        let frame = ephemeral.frame(name);
        for &worker in feed.followers() {
            let (room, frame) = (name.clone(), frame.clone());
            let event = match &own_socket {
                None => HubEvent::Ephemeral(room, frame),
                Some((user, origin)) => {
                    let is_here = (origin.instance, origin.worker) == (self.instance, worker);
                    HubEvent::Seen { room, user: user.clone(), except: is_here.then_some(origin.key), frame }
                }
            };
            self.effects.push_back(ReaderEffect::Send(worker, event));
        }
    }

    fn request(&mut self, worker: WorkerId, request: HubRequest) {
        let now = self.now;
        match request {
            HubRequest::Follow(name) => {
                self.presence.handle(PresenceInput::Follow(worker, name.clone()), now);
                if !self.rooms.contains_key(&name) {
                    self.rooms.insert(name.clone(), RoomFeed::new(now));
                    self.effects.push_back(ReaderEffect::Subscribe(name.clone()));
                }
                if let Some(mut room) = self.room(&name) {
                    room.follow(worker);
                }
                self.schedule(&name);
            }
            HubRequest::Unfollow(name) => {
                self.remove_worker(worker, &name);
                self.presence.handle(PresenceInput::Unfollow(worker, name), now);
            }
            HubRequest::Page(name, range) => {
                if let Some(mut room) = self.room(&name) {
                    room.request_page(worker, range);
                }
            }
            HubRequest::Joined(room, user) => self.presence.handle(PresenceInput::Joined(worker, room, user), now),
            HubRequest::Left(room, user) => self.presence.handle(PresenceInput::Left(worker, room, user), now),
        }
    }

    /// Examines the rooms for which something is due: repeats failed reads, compares the heads of quiet rooms with the
    /// log, and unsubscribes from rooms without members. A room whose last leave the presence store has not accepted yet is
    /// examined again with the next tick.
    fn tick(&mut self) {
        let now = self.now;
        let (mut compared, mut abandoned) = (Vec::new(), Vec::new());
        for name in self.timers.poll(now) {
            let Some(feed) = self.rooms.get_mut(&name) else { continue };
            if !self.timers.has_fired(&mut feed.timer) {
                continue;
            }
            // The tracker forgets the room with the subscription, so the last leave must be in the store before.
            if feed.is_abandoned(now) && self.presence.is_room_settled(&name) {
                abandoned.push(name);
                continue;
            }
            if let Some(head) = feed.poll_comparison(now, |interval| self.random.jitter(interval, 0.8)) {
                compared.push((name.clone(), head));
            }
            RoomInput { name: &name, feed, effects: &mut self.effects, now }.retry_reads();
            self.schedule(&name);
        }
        for name in abandoned {
            self.rooms.remove(&name);
            self.presence.handle(PresenceInput::Unsubscribed(name.clone()), now);
            self.effects.push_back(ReaderEffect::Unsubscribe(name));
        }
        if !compared.is_empty() {
            self.effects.push_back(ReaderEffect::CompareHeads(compared));
        }
        self.presence.handle(PresenceInput::Tick, now);
    }
}

#[cfg(test)]
mod tests {
    use trunkline_bus::Lease;
    use trunkline_domain::{Body, Content, Member};

    use super::*;
    use crate::presence::PresenceCommand;

    const WORKER: WorkerId = WorkerId(1);

    fn effects(reader: &mut RoomReader) -> Vec<ReaderEffect> {
        std::iter::from_fn(|| reader.poll_effect()).collect()
    }

    /// Lets a minute pass. The store answers every write with `lease`. Returns whether the subscription has ended.
    fn pass_minute(reader: &mut RoomReader, now: &mut Duration, lease: Option<Lease>) -> bool {
        let mut has_ended = false;
        for _ in 0..600 {
            *now += TIMER_GRANULARITY;
            reader.handle(ReaderInput::Tick, *now);
            for effect in effects(reader) {
                has_ended |= matches!(effect, ReaderEffect::Unsubscribe(_));
                if let ReaderEffect::Presence(
                    PresenceCommand::Replace(room, _) | PresenceCommand::Update { room, .. },
                ) = effect
                {
                    reader.handle(ReaderInput::Presence(PresenceReply::Written(room, lease)), *now);
                }
            }
        }
        has_ended
    }

    #[test]
    fn room_stays_subscribed_until_the_store_has_accepted_its_last_leave() {
        let mut reader = RoomReader::new(InstanceId(1), Duration::from_secs(15), Random::new(1));
        let (room, user, mut now): (Room, Member, _) =
            ("lobby".parse().unwrap(), "ann".parse().unwrap(), Duration::ZERO);
        for request in [HubRequest::Follow(room.clone()), HubRequest::Joined(room.clone(), user.clone())] {
            reader.handle(ReaderInput::Request(WORKER, request), now);
        }
        assert!(!pass_minute(&mut reader, &mut now, Some(Lease::Held)), "the room has a member");
        for request in [HubRequest::Left(room.clone(), user), HubRequest::Unfollow(room.clone())] {
            reader.handle(ReaderInput::Request(WORKER, request), now);
        }
        assert!(!pass_minute(&mut reader, &mut now, None), "the store refuses the leave");
        assert!(!reader.presence().is_settled());
        assert!(pass_minute(&mut reader, &mut now, Some(Lease::Held)), "the store accepts the leave");
        assert!(!reader.rooms.contains_key(&room));
    }

    #[test]
    fn heads_of_a_quiet_room_are_compared_ever_more_rarely_until_a_message_arrives() {
        let mut reader = RoomReader::new(InstanceId(1), Duration::from_secs(15), Random::new(1));
        let (room, mut now): (Room, _) = ("lobby".parse().unwrap(), Duration::ZERO);
        let empty = || Page { entries: Vec::new(), follows: true, more: false, head: Position::ORIGIN };
        reader.handle(ReaderInput::Request(WORKER, HubRequest::Follow(room.clone())), now);
        reader.handle(ReaderInput::Delivery(Delivery::Subscribed(room.clone())), now);
        let read = |effect: &ReaderEffect| matches!(effect, ReaderEffect::Read(..));
        assert!(effects(&mut reader).iter().any(read));
        let opening = Range::Latest(512);
        reader.handle(ReaderInput::Read(room.clone(), opening, Some(empty())), now);
        let mut pass = |reader: &mut RoomReader, seconds: u64| {
            let (start, mut compared) = (now, Vec::new());
            while now < start + Duration::from_secs(seconds) {
                now += TIMER_GRANULARITY;
                reader.handle(ReaderInput::Tick, now);
                if effects(reader).iter().any(|effect| matches!(effect, ReaderEffect::CompareHeads(_))) {
                    compared.push((now - start).as_secs_f64());
                }
            }
            compared
        };
        let times = pass(&mut reader, 400);
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let bounds = [20.0, 40.0, 60.0, 60.0, 60.0];
        assert!(gaps.len() >= bounds.len(), "{gaps:?}");
        let expected = |(gap, bound): (&f64, f64)| (0.8 * bound - 0.2..=bound + 0.2).contains(gap);
        assert!(gaps.iter().zip(bounds).all(expected), "{gaps:?}");
        let message = trunkline_domain::Message {
            pos: Position::new(1, 1),
            id: "id".parse().unwrap(),
            user: "ann".parse().unwrap(),
            name: None,
            body: Body::Content(Content::Delete { of: Position::ORIGIN }),
            at: 0,
        };
        let entry = trunkline_domain::Entry { prev: Position::ORIGIN, message };
        reader.handle(ReaderInput::Delivery(Delivery::Entry(room, entry)), Duration::from_secs(400));
        let times = pass(&mut reader, 60);
        assert!(times[0] <= 10.2 && times[1] <= 30.4, "soon after the message: {times:?}");
    }

    #[test]
    fn quiet_room_is_unsubscribed_30_s_after_its_last_member_left() {
        let mut reader = RoomReader::new(InstanceId(1), Duration::from_secs(15), Random::new(1));
        let (room, mut now): (Room, _) = ("lobby".parse().unwrap(), Duration::ZERO);
        reader.handle(ReaderInput::Request(WORKER, HubRequest::Follow(room.clone())), now);
        reader.handle(ReaderInput::Delivery(Delivery::Subscribed(room.clone())), now);
        let page = Page { entries: Vec::new(), follows: true, more: false, head: Position::ORIGIN };
        reader.handle(ReaderInput::Read(room.clone(), Range::Latest(512), Some(page)), now);
        for _ in 0..5 {
            assert!(!pass_minute(&mut reader, &mut now, None));
        }
        reader.handle(ReaderInput::Request(WORKER, HubRequest::Unfollow(room)), now);
        let left_at = now;
        while !effects(&mut reader).iter().any(|effect| matches!(effect, ReaderEffect::Unsubscribe(_))) {
            assert!(now < left_at + Duration::from_secs(31));
            now += TIMER_GRANULARITY;
            reader.handle(ReaderInput::Tick, now);
        }
        assert!(now >= left_at + Duration::from_secs(30));
    }

    #[test]
    fn subscription_that_is_renewed_during_a_read_is_followed_by_another_read() {
        let mut reader = RoomReader::new(InstanceId(1), Duration::from_secs(15), Random::new(1));
        let (room, now): (Room, _) = ("lobby".parse().unwrap(), Duration::ZERO);
        let reads = |reader: &mut RoomReader| -> Vec<Range> {
            let read = |effect| if let ReaderEffect::Read(_, range) = effect { Some(range) } else { None };
            effects(reader).into_iter().filter_map(read).collect()
        };
        let subscribed = || ReaderInput::Delivery(Delivery::Subscribed(room.clone()));
        let answer = |range| {
            let page = Page { entries: Vec::new(), follows: true, more: false, head: Position::ORIGIN };
            ReaderInput::Read(room.clone(), range, Some(page))
        };
        reader.handle(ReaderInput::Request(WORKER, HubRequest::Follow(room.clone())), now);
        reader.handle(subscribed(), now);
        let [first] = reads(&mut reader)[..] else { panic!("one read") };
        reader.handle(subscribed(), now);
        assert_eq!(reads(&mut reader), [], "the read in flight comes first");
        reader.handle(answer(first), now);
        let [second] = reads(&mut reader)[..] else { panic!("the first answer may be too old") };
        assert!(matches!((first, second), (Range::Latest(_), Range::After(Position::ORIGIN, _))));
        reader.handle(subscribed(), now);
        reader.handle(answer(second), now);
        assert_eq!(reads(&mut reader), [second]);
        reader.handle(answer(second), now);
        let sent = effects(&mut reader);
        assert!(matches!(&sent[..], [ReaderEffect::Send(WORKER, HubEvent::Tail(..))]), "the room is live: {sent:?}");
    }
}
