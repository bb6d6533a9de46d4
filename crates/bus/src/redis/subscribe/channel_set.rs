//! The rooms that a consumer wants, and the state of each channel at Redis. Pure.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
};

use trunkline_domain::Room;

/// The wanted rooms, and which channels are subscribed on the current connection.
///
/// One request is under way at a time; changes made meanwhile go into the next one. Memory is bounded by the number of
/// rooms that are wanted or being unsubscribed.
#[derive(Debug, Default)]
pub(super) struct ChannelSet {
    channels: HashMap<Room, Channel>,
    /// Rooms for which a request may be needed; each at most once.
    todo: VecDeque<Room>,
    /// Rooms that may have to be announced.
    announce: BTreeSet<Room>,
}

#[derive(Debug)]
struct Channel {
    wanted: bool,
    /// Wanted, and `Subscribed` was not delivered since.
    unannounced: bool,
    state: ChannelState,
    /// Whether the room is in `todo`.
    queued: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChannelState {
    Unsubscribed,
    Subscribing,
    Subscribed,
    Unsubscribing,
}

/// The next request to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChannelRequest {
    Subscribe(Vec<Room>),
    Unsubscribe(Vec<Room>),
}

impl ChannelSet {
    /// Maximum number of rooms per request.
    const BATCH: usize = 256;

    /// The consumer wants the room.
    pub(super) fn subscribe(&mut self, room: &Room) {
        let channel = self.channels.entry(room.clone()).or_insert(Channel {
            wanted: false,
            unannounced: false,
            state: ChannelState::Unsubscribed,
            queued: false,
        });
        if mem::replace(&mut channel.wanted, true) {
            return;
        }
        channel.unannounced = true;
        match channel.state {
            ChannelState::Subscribed => {
                self.announce.insert(room.clone());
            }
            ChannelState::Unsubscribed => self.queue(room),
            // `confirm` continues from here.
            ChannelState::Subscribing | ChannelState::Unsubscribing => {}
        }
    }

    /// The consumer no longer wants the room.
    pub(super) fn unsubscribe(&mut self, room: &Room) {
        let Some(channel) = self.channels.get_mut(room) else { return };
        channel.wanted = false;
        channel.unannounced = false;
        match channel.state {
            ChannelState::Subscribed => self.queue(room),
            ChannelState::Unsubscribed if !channel.queued => {
                self.channels.remove(room);
            }
            _ => {}
        }
    }

    fn queue(&mut self, room: &Room) {
        if let Some(channel) = self.channels.get_mut(room)
            && !mem::replace(&mut channel.queued, true)
        {
            self.todo.push_back(room.clone());
        }
    }

    /// The next request, if one is needed. Call [`confirm`](Self::confirm) or [`moved`](Self::moved) for each of its rooms
    /// before asking for another.
    pub(super) fn next_request(&mut self) -> Option<ChannelRequest> {
        let (mut joining, mut leaving) = (Vec::new(), Vec::new());
        let mut later = VecDeque::new();
        while joining.len() < Self::BATCH
            && leaving.len() < Self::BATCH
            && let Some(room) = self.todo.pop_front()
        {
            let Some(channel) = self.channels.get_mut(&room) else { continue };
            match (channel.wanted, channel.state) {
                (true, ChannelState::Unsubscribed) if leaving.is_empty() => {
                    channel.state = ChannelState::Subscribing;
                    channel.queued = false;
                    joining.push(room);
                }
                (false, ChannelState::Subscribed) if joining.is_empty() => {
                    channel.state = ChannelState::Unsubscribing;
                    channel.queued = false;
                    leaving.push(room);
                }
                (true, ChannelState::Unsubscribed) | (false, ChannelState::Subscribed) => later.push_back(room),
                (false, ChannelState::Unsubscribed) => {
                    self.channels.remove(&room);
                }
                _ => channel.queued = false,
            }
        }
        later.append(&mut self.todo);
        self.todo = later;
        match (joining.is_empty(), leaving.is_empty()) {
            (true, true) => None,
            (false, _) => Some(ChannelRequest::Subscribe(joining)),
            (true, false) => Some(ChannelRequest::Unsubscribe(leaving)),
        }
    }

    /// Redis confirmed the part of the request for the room of this name.
    pub(super) fn confirm(&mut self, name: &str) {
        let Some((room, channel)) = self.get(name) else { return };
        channel.state = match channel.state {
            ChannelState::Subscribing => ChannelState::Subscribed,
            ChannelState::Unsubscribing => ChannelState::Unsubscribed,
            ChannelState::Subscribed | ChannelState::Unsubscribed => return,
        };
        match (channel.wanted, channel.state) {
            (true, ChannelState::Subscribed) => {
                self.announce.insert(room);
            }
            (false, ChannelState::Unsubscribed) => {
                self.channels.remove(&room);
            }
            _ => self.queue(&room),
        }
    }

    /// The room's slot is at another master: Redis refused the part of the request for the room of this name, or unsubscribed
    /// it by itself. The room is parked: it is requested again after [`resume`](Self::resume), unless the caller moves it to
    /// the set of the other master before.
    pub(super) fn moved(&mut self, name: &str) {
        let Some((room, channel)) = self.get(name) else { return };
        channel.state = ChannelState::Unsubscribed;
        channel.unannounced = channel.wanted;
        let is_wanted = channel.wanted;
        self.announce.remove(&room);
        if !is_wanted {
            self.channels.remove(&room);
        }
    }

    /// Whether a message that the room of this name was unsubscribed, without a request, tells anything new. While a
    /// request for it is under way it does not: Redis replies in order, so the reply to the request is yet to come.
    pub(super) fn is_subscribed(&self, name: &str) -> bool {
        self.channels.get(name).is_some_and(|channel| channel.state == ChannelState::Subscribed)
    }

    /// Requests the parked rooms again.
    pub(super) fn resume(&mut self) {
        let is_parked = |channel: &Channel| channel.wanted && channel.state == ChannelState::Unsubscribed;
        let parked = self.channels.iter_mut().filter(|(_, channel)| is_parked(channel) && !channel.queued);
        self.todo.extend(parked.map(|(room, channel)| {
            channel.queued = true;
            room.clone()
        }));
    }

    /// The wanted rooms.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &Room> {
        self.channels.iter().filter(|(_, channel)| channel.wanted).map(|(room, _)| room)
    }

    fn get(&mut self, name: &str) -> Option<(Room, &mut Channel)> {
        let room = self.channels.get_key_value(name)?.0.clone();
        let channel = self.channels.get_mut(name)?;
        Some((room, channel))
    }

    /// The connection ended: every wanted room must be subscribed and announced again.
    pub(super) fn connection_lost(&mut self) {
        self.announce.clear();
        self.channels.retain(|_, channel| channel.wanted);
        self.todo = self.channels.keys().cloned().collect();
        for channel in self.channels.values_mut() {
            *channel = Channel { wanted: true, unannounced: true, state: ChannelState::Unsubscribed, queued: true };
        }
    }

    /// The rooms to announce now. From here on [`delivering_room`](Self::delivering_room) returns them.
    pub(super) fn take_announcements(&mut self) -> Vec<Room> {
        let is_due = |room: &Room| {
            // A room that was unsubscribed since is announced after it is subscribed again.
            let channel = self.channels.get_mut(room).filter(|channel| channel.state == ChannelState::Subscribed);
            channel.is_some_and(|channel| mem::replace(&mut channel.unannounced, false))
        };
        mem::take(&mut self.announce).into_iter().filter(is_due).collect()
    }

    /// The room of this name, if it is wanted and was announced. What arrives earlier can be dropped: it is in the log,
    /// which the consumer reads upon `Subscribed`.
    pub(super) fn delivering_room(&self, name: &str) -> Option<Room> {
        let (room, channel) = self.channels.get_key_value(name)?;
        (channel.wanted && !channel.unannounced && channel.state == ChannelState::Subscribed).then(|| room.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Subscribe(u8),
        Unsubscribe(u8),
        Request,
        Confirm,
        Refuse,
        Move(u8),
        Resume,
        Announce,
        LoseConnection,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u8..4).prop_map(Step::Subscribe),
            3 => (0_u8..4).prop_map(Step::Unsubscribe),
            3 => Just(Step::Request),
            3 => Just(Step::Confirm),
            1 => Just(Step::Refuse),
            1 => (0_u8..4).prop_map(Step::Move),
            1 => Just(Step::Resume),
            3 => Just(Step::Announce),
            1 => Just(Step::LoseConnection),
        ];
        prop::collection::vec(step, 0..80)
    }

    fn room(number: u8) -> Room {
        format!("room{number}").parse().unwrap()
    }

    fn rooms_of(request: &ChannelRequest) -> &[Room] {
        let (ChannelRequest::Subscribe(rooms) | ChannelRequest::Unsubscribe(rooms)) = request;
        rooms
    }

    /// A set of channels, the subscriptions that Redis has, and the announcements to the consumer.
    #[derive(Default)]
    struct World {
        channels: ChannelSet,
        pending: Option<ChannelRequest>,
        subscribed_at_redis: BTreeSet<Room>,
        /// Wanted rooms, with the number of announcements since the room became wanted or the connection was lost.
        announced: BTreeMap<Room, usize>,
    }

    impl World {
        fn step(&mut self, step: Step) {
            match step {
                Step::Subscribe(n) => {
                    self.channels.subscribe(&room(n));
                    self.announced.entry(room(n)).or_insert(0);
                }
                Step::Unsubscribe(n) => {
                    self.channels.unsubscribe(&room(n));
                    self.announced.remove(&room(n));
                }
                Step::Request if self.pending.is_none() => {
                    self.pending = self.channels.next_request();
                    match &self.pending {
                        Some(ChannelRequest::Subscribe(rooms)) => {
                            assert!(!rooms.is_empty() && rooms.iter().all(|r| !self.subscribed_at_redis.contains(r)));
                        }
                        Some(ChannelRequest::Unsubscribe(rooms)) => {
                            assert!(!rooms.is_empty() && rooms.iter().all(|r| self.subscribed_at_redis.contains(r)));
                        }
                        None => {}
                    }
                }
                Step::Confirm => {
                    if let Some(request) = self.pending.take() {
                        match &request {
                            ChannelRequest::Subscribe(rooms) => self.subscribed_at_redis.extend(rooms.iter().cloned()),
                            ChannelRequest::Unsubscribe(rooms) => {
                                self.subscribed_at_redis.retain(|r| !rooms.contains(r));
                            }
                        }
                        for room in rooms_of(&request) {
                            self.channels.confirm(room.as_str());
                        }
                    }
                }
                Step::Refuse => {
                    for room in self.pending.take().iter().flat_map(rooms_of) {
                        self.channels.moved(room.as_str());
                        self.subscribed_at_redis.remove(room);
                        self.announced.entry(room.clone()).and_modify(|count| *count = 0);
                    }
                }
                Step::Move(n) => {
                    // Redis unsubscribes a room of a slot that moves; the request under way is refused or finds it gone.
                    if self.channels.is_subscribed(room(n).as_str()) {
                        self.channels.moved(room(n).as_str());
                        self.announced.entry(room(n)).and_modify(|count| *count = 0);
                        self.subscribed_at_redis.remove(&room(n));
                    }
                }
                Step::Resume => self.channels.resume(),
                Step::Announce => {
                    for room in self.channels.take_announcements() {
                        assert!(self.subscribed_at_redis.contains(&room), "announced before Redis confirmed");
                        *self.announced.get_mut(&room).expect("only wanted rooms are announced") += 1;
                    }
                }
                Step::LoseConnection => {
                    self.channels.connection_lost();
                    self.pending = None;
                    self.subscribed_at_redis.clear();
                    self.announced.values_mut().for_each(|count| *count = 0);
                }
                Step::Request => {}
            }
            for n in 0..4 {
                let delivering = self.channels.delivering_room(room(n).as_str()).is_some();
                let announced = self.announced.get(&room(n)).is_some_and(|&count| count > 0);
                assert!(!delivering || (announced && self.subscribed_at_redis.contains(&room(n))));
            }
        }
    }

    proptest! {
        #[test]
        fn each_wanted_room_is_announced_once(steps in steps()) {
            let mut world = World::default();
            for step in steps {
                world.step(step);
                prop_assert!(world.announced.values().all(|&count| count <= 1));
            }
            // When all requests are done, Redis holds exactly the wanted rooms.
            world.step(Step::Resume);
            while { world.step(Step::Confirm); world.step(Step::Request); world.pending.is_some() } {}
            world.step(Step::Announce);
            prop_assert!(world.announced.values().all(|&count| count == 1), "{:?}", world.announced);
            prop_assert_eq!(world.subscribed_at_redis, world.announced.into_keys().collect());
            prop_assert!(world.channels.todo.is_empty());
            prop_assert!(world.channels.channels.values().all(|channel| channel.wanted));
        }
    }

    /// A regression found by the property test: the room was announced before it was subscribed again.
    #[test]
    fn room_unsubscribed_before_its_announcement_is_announced_after_it_is_subscribed_again() {
        let mut world = World::default();
        let (subscribe, unsubscribe) = (Step::Subscribe(0), Step::Unsubscribe(0));
        let steps = [
            subscribe,
            Step::Request,
            Step::Confirm,
            unsubscribe,
            Step::Request,
            Step::Confirm,
            subscribe,
            Step::Announce,
        ];
        for step in steps {
            world.step(step);
        }
        assert_eq!(world.announced[&room(0)], 0);
        for step in [Step::Request, Step::Confirm, Step::Announce] {
            world.step(step);
        }
        assert_eq!(world.announced[&room(0)], 1);
    }
}
