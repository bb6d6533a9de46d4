//! Which rooms are wanted, and how far Redis is told. Pure.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    mem,
};

use trunkline_domain::Room;

/// What one listener wants, and what of it is subscribed on the connection of the moment.
///
/// One request is under way at a time; what changes meanwhile goes into the next. Bounded by the number of rooms that
/// are wanted or about to be left.
#[derive(Debug, Default)]
pub(super) struct Interests {
    rooms: HashMap<Room, Status>,
    /// Rooms for which something is perhaps to be done; each at most once.
    todo: VecDeque<Room>,
    /// Rooms whose `Subscribed` is due.
    announce: BTreeSet<Room>,
}

#[derive(Debug)]
struct Status {
    wanted: bool,
    /// Wanted, and not told `Subscribed` since.
    owed: bool,
    at_redis: AtRedis,
    /// Whether it stands in `todo`.
    queued: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtRedis {
    Out,
    Joining,
    In,
    Leaving,
}

/// What to ask Redis for next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Subscribe(Vec<Room>),
    Unsubscribe(Vec<Room>),
}

impl Interests {
    /// Rooms in one request.
    const BATCH: usize = 256;

    /// The listener wants a room.
    pub(super) fn subscribe(&mut self, room: &Room) {
        let status = self.rooms.entry(room.clone()).or_insert(Status {
            wanted: false,
            owed: false,
            at_redis: AtRedis::Out,
            queued: false,
        });
        if mem::replace(&mut status.wanted, true) {
            return;
        }
        status.owed = true;
        match status.at_redis {
            AtRedis::In => {
                self.announce.insert(room.clone());
            }
            AtRedis::Out => self.queue(room),
            // The answer comes first.
            AtRedis::Joining | AtRedis::Leaving => {}
        }
    }

    /// The listener wants it no more.
    pub(super) fn unsubscribe(&mut self, room: &Room) {
        let Some(status) = self.rooms.get_mut(room) else { return };
        status.wanted = false;
        status.owed = false;
        match status.at_redis {
            AtRedis::In => self.queue(room),
            AtRedis::Out if !status.queued => {
                self.rooms.remove(room);
            }
            _ => {}
        }
    }

    fn queue(&mut self, room: &Room) {
        if let Some(status) = self.rooms.get_mut(room)
            && !mem::replace(&mut status.queued, true)
        {
            self.todo.push_back(room.clone());
        }
    }

    /// The next request, if something is to be done. Its answer is told by [`done`](Self::done) before the next one.
    pub(super) fn request(&mut self) -> Option<Request> {
        let (mut joining, mut leaving) = (Vec::new(), Vec::new());
        let mut later = VecDeque::new();
        while joining.len() < Self::BATCH
            && leaving.len() < Self::BATCH
            && let Some(room) = self.todo.pop_front()
        {
            let Some(status) = self.rooms.get_mut(&room) else { continue };
            match (status.wanted, status.at_redis) {
                (true, AtRedis::Out) if leaving.is_empty() => {
                    status.at_redis = AtRedis::Joining;
                    status.queued = false;
                    joining.push(room);
                }
                (false, AtRedis::In) if joining.is_empty() => {
                    status.at_redis = AtRedis::Leaving;
                    status.queued = false;
                    leaving.push(room);
                }
                (true, AtRedis::Out) | (false, AtRedis::In) => later.push_back(room),
                (false, AtRedis::Out) => {
                    self.rooms.remove(&room);
                }
                _ => status.queued = false,
            }
        }
        later.append(&mut self.todo);
        self.todo = later;
        match (joining.is_empty(), leaving.is_empty()) {
            (true, true) => None,
            (false, _) => Some(Request::Subscribe(joining)),
            (true, false) => Some(Request::Unsubscribe(leaving)),
        }
    }

    /// Redis confirmed the request.
    pub(super) fn done(&mut self, request: Request) {
        let (rooms, now) = match request {
            Request::Subscribe(rooms) => (rooms, AtRedis::In),
            Request::Unsubscribe(rooms) => (rooms, AtRedis::Out),
        };
        for room in rooms {
            let Some(status) = self.rooms.get_mut(&room) else { continue };
            status.at_redis = now;
            match (status.wanted, now) {
                (true, AtRedis::In) => {
                    self.announce.insert(room);
                }
                (false, AtRedis::Out) => {
                    self.rooms.remove(&room);
                }
                _ => self.queue(&room),
            }
        }
    }

    /// The connection is gone: every wanted room is subscribed again and owed its `Subscribed`.
    pub(super) fn lost(&mut self) {
        self.announce.clear();
        self.rooms.retain(|_, status| status.wanted);
        self.todo = self.rooms.keys().cloned().collect();
        for status in self.rooms.values_mut() {
            *status = Status { wanted: true, owed: true, at_redis: AtRedis::Out, queued: true };
        }
    }

    /// The rooms to announce now; from here on their deliveries [count](Self::hears).
    pub(super) fn announcements(&mut self) -> Vec<Room> {
        let due = |room: &Room| {
            // It may have been left since; then its turn comes when it is subscribed again.
            let status = self.rooms.get_mut(room).filter(|status| status.at_redis == AtRedis::In);
            status.is_some_and(|status| mem::replace(&mut status.owed, false))
        };
        mem::take(&mut self.announce).into_iter().filter(due).collect()
    }

    /// The room of that name, if its deliveries are wanted and were announced. What comes earlier need not be kept: it
    /// is in the log, which is read upon `Subscribed`.
    pub(super) fn hears(&self, name: &str) -> Option<Room> {
        let (room, status) = self.rooms.get_key_value(name)?;
        (status.wanted && !status.owed && status.at_redis == AtRedis::In).then(|| room.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Want(u8),
        Unwant(u8),
        Request,
        Done,
        Announce,
        Lost,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u8..4).prop_map(Step::Want),
            3 => (0_u8..4).prop_map(Step::Unwant),
            3 => Just(Step::Request),
            3 => Just(Step::Done),
            3 => Just(Step::Announce),
            1 => Just(Step::Lost),
        ];
        prop::collection::vec(step, 0..80)
    }

    fn room(number: u8) -> Room {
        format!("room{number}").parse().unwrap()
    }

    /// A Redis, a listener, and what each must be able to rely on.
    #[derive(Default)]
    struct World {
        interests: Interests,
        under_way: Option<Request>,
        subscribed: BTreeSet<Room>,
        /// Wanted rooms, with how often `Subscribed` was said since they became wanted or the connection was lost.
        wanted: BTreeMap<Room, usize>,
    }

    impl World {
        fn step(&mut self, step: Step) {
            match step {
                Step::Want(n) => {
                    self.interests.subscribe(&room(n));
                    self.wanted.entry(room(n)).or_insert(0);
                }
                Step::Unwant(n) => {
                    self.interests.unsubscribe(&room(n));
                    self.wanted.remove(&room(n));
                }
                Step::Request if self.under_way.is_none() => {
                    self.under_way = self.interests.request();
                    match &self.under_way {
                        Some(Request::Subscribe(rooms)) => {
                            assert!(!rooms.is_empty() && rooms.iter().all(|r| !self.subscribed.contains(r)));
                        }
                        Some(Request::Unsubscribe(rooms)) => {
                            assert!(!rooms.is_empty() && rooms.iter().all(|r| self.subscribed.contains(r)));
                        }
                        None => {}
                    }
                }
                Step::Done => {
                    if let Some(request) = self.under_way.take() {
                        match &request {
                            Request::Subscribe(rooms) => self.subscribed.extend(rooms.iter().cloned()),
                            Request::Unsubscribe(rooms) => self.subscribed.retain(|r| !rooms.contains(r)),
                        }
                        self.interests.done(request);
                    }
                }
                Step::Announce => {
                    for room in self.interests.announcements() {
                        assert!(self.subscribed.contains(&room), "announced before Redis confirmed");
                        *self.wanted.get_mut(&room).expect("announced only what is wanted") += 1;
                    }
                }
                Step::Lost => {
                    self.interests.lost();
                    self.under_way = None;
                    self.subscribed.clear();
                    self.wanted.values_mut().for_each(|said| *said = 0);
                }
                Step::Request => {}
            }
            for n in 0..4 {
                let heard = self.interests.hears(room(n).as_str()).is_some();
                let announced = self.wanted.get(&room(n)).is_some_and(|&said| said > 0);
                // While it is being left and wanted again, what comes is not relied on.
                assert!(!heard || (announced && self.subscribed.contains(&room(n))));
            }
        }
    }

    proptest! {
        #[test]
        fn each_wanted_room_is_announced_once(steps in steps()) {
            let mut world = World::default();
            for step in steps {
                world.step(step);
                prop_assert!(world.wanted.values().all(|&said| said <= 1));
            }
            // At rest everything is as wanted.
            while { world.step(Step::Done); world.step(Step::Request); world.under_way.is_some() } {}
            world.step(Step::Announce);
            prop_assert!(world.wanted.values().all(|&said| said == 1), "{:?}", world.wanted);
            prop_assert_eq!(world.subscribed, world.wanted.into_keys().collect());
            prop_assert!(world.interests.todo.is_empty());
            prop_assert!(world.interests.rooms.values().all(|status| status.wanted));
        }
    }

    /// Found by the test above: wanted again between leaving and coming back, it was announced too early.
    #[test]
    fn a_room_left_before_it_was_announced_is_announced_when_it_is_back() {
        let mut world = World::default();
        let (want, unwant) = (Step::Want(0), Step::Unwant(0));
        for step in [want, Step::Request, Step::Done, unwant, Step::Request, Step::Done, want, Step::Announce] {
            world.step(step);
        }
        assert_eq!(world.wanted[&room(0)], 0);
        for step in [Step::Request, Step::Done, Step::Announce] {
            world.step(step);
        }
        assert_eq!(world.wanted[&room(0)], 1);
    }
}
