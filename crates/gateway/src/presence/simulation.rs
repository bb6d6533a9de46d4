//! Three instances over one presence store. Commands, answers, deliveries and whole instances are lost at random. In the
//! end every member sees the actual users, and no frame on the way contradicts the ones before it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use proptest::{collection::vec, prelude::*};
use tokio::{runtime::Builder, sync::mpsc::Receiver};
use trunkline_bus::{
    Bus, BusError, Delivery, InstanceRegistry, Lease, LocalBus, LocalConfig, LocalSubscriptions, PresenceStore,
    Subscriptions,
};
use trunkline_domain::{Event, InstanceId, Member, Room};

use super::{
    PresenceCommand, PresenceEffect, PresenceInput, PresenceReply, PresenceTracker, debouncer::PresenceDebouncer,
};
use crate::{ids::WorkerId, random::Random, simulation::simulate};

/// The outcome of a command or a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Executed and answered; or delivered.
    Done,
    /// Lost before it was executed; or lost, and the loss is reported as a new subscription.
    Lost,
    /// Executed, but the answer is lost; or lost without a report.
    Unanswered,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Join {
        instance: usize,
        worker: usize,
        user: u8,
    },
    Leave {
        instance: usize,
        worker: usize,
        user: u8,
    },
    /// Executes the oldest command.
    Execute {
        instance: usize,
        outcome: Outcome,
    },
    /// Receives all deliveries that wait.
    Receive {
        instance: usize,
        outcome: Outcome,
    },
    /// The instance crashes and another one replaces it.
    Crash {
        instance: usize,
    },
    Advance {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = || prop_oneof![8 => Just(Outcome::Done), 1 => Just(Outcome::Lost), 1 => Just(Outcome::Unanswered)];
    prop_oneof![
        6 => (0..3_usize, 0..2_usize, 0..4_u8)
            .prop_map(|(instance, worker, user)| Step::Join { instance, worker, user }),
        6 => (0..3_usize, 0..2_usize, 0..4_u8)
            .prop_map(|(instance, worker, user)| Step::Leave { instance, worker, user }),
        10 => (0..3_usize, outcome()).prop_map(|(instance, outcome)| Step::Execute { instance, outcome }),
        10 => (0..3_usize, outcome()).prop_map(|(instance, outcome)| Step::Receive { instance, outcome }),
        1 => (0..3_usize).prop_map(|instance| Step::Crash { instance }),
        6 => (1..2000_u64).prop_map(|millis| Step::Advance { millis }),
    ]
}

struct World {
    room: Room,
    bus: LocalBus,
    clock: Arc<AtomicU64>,
    random: Random,
    instances: Vec<Instance>,
    started: u128,
}

struct Instance {
    id: InstanceId,
    tracker: PresenceTracker,
    deliveries: Receiver<Delivery>,
    _subscriptions: LocalSubscriptions,
    commands: VecDeque<PresenceCommand>,
    /// The number of connections of each user on each worker.
    connections: BTreeMap<(usize, Member), usize>,
    /// The users that the members on each worker see.
    seen: [Option<BTreeSet<Member>>; 2],
    /// Numbers of checks of leases and of writes to the list of rooms.
    at_rest: (usize, usize),
}

const LEASE: Duration = Duration::from_secs(15);

/// Returns the answer of a local bus, which is always ready.
fn ready<T>(answer: impl Future<Output = Result<T, BusError>>) -> T {
    answer.now_or_never().expect("a local bus answers at once").expect("a local bus never fails")
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(AtomicU64::new(1000));
        let time = clock.clone();
        let config = LocalConfig { lease: LEASE, ..LocalConfig::default() };
        let bus = LocalBus::with_clock(config, move || time.load(Ordering::Relaxed));
        let room = "lobby".parse().unwrap();
        let mut world = Self { room, bus, clock, random: Random::new(seed), instances: Vec::new(), started: 0 };
        for _ in 0..3 {
            let instance = world.start();
            world.instances.push(instance);
        }
        world
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.clock.load(Ordering::Relaxed))
    }

    fn start(&mut self) -> Instance {
        self.started += 1;
        let (subscriptions, deliveries) = self.bus.open();
        subscriptions.subscribe(&self.room);
        let mut instance = Instance {
            id: InstanceId(self.started),
            tracker: PresenceTracker::new(InstanceId(self.started), LEASE, self.random.fork()),
            deliveries,
            _subscriptions: subscriptions,
            commands: VecDeque::new(),
            connections: BTreeMap::new(),
            seen: [None, None],
            at_rest: (0, 0),
        };
        for other in 0..29 {
            // With 30 rooms, only every tenth tick examines the room under test.
            let room = format!("other-{other}").parse().unwrap();
            instance.handle(PresenceInput::Follow(WorkerId(0), room), Duration::ZERO);
        }
        for _ in 0..21 {
            instance.handle(PresenceInput::Tick, self.now());
            while instance.execute(&self.bus, Outcome::Done, self.now()) {}
        }
        instance
    }

    fn run(&mut self, step: Step) {
        let now = self.now();
        match step {
            Step::Join { instance, worker, user } => {
                let instance = &mut self.instances[instance];
                let user: Member = format!("user{user}").parse().unwrap();
                if !instance.follows(worker) {
                    instance.handle(PresenceInput::Follow(WorkerId(worker as u32), self.room.clone()), now);
                }
                *instance.connections.entry((worker, user.clone())).or_default() += 1;
                instance.handle(PresenceInput::Joined(WorkerId(worker as u32), self.room.clone(), user), now);
            }
            Step::Leave { instance, worker, user } => {
                let instance = &mut self.instances[instance];
                let user: Member = format!("user{user}").parse().unwrap();
                let Some(count) = instance.connections.get_mut(&(worker, user.clone())) else { return };
                *count -= 1;
                if *count == 0 {
                    instance.connections.remove(&(worker, user.clone()));
                }
                instance.handle(PresenceInput::Left(WorkerId(worker as u32), self.room.clone(), user), now);
                if !instance.follows(worker) {
                    instance.handle(PresenceInput::Unfollow(WorkerId(worker as u32), self.room.clone()), now);
                    instance.seen[worker] = None;
                }
            }
            Step::Execute { instance, outcome } => {
                self.instances[instance].execute(&self.bus, outcome, now);
            }
            Step::Receive { instance, outcome } => {
                let instance = &mut self.instances[instance];
                while let Ok(delivery) = instance.deliveries.try_recv() {
                    match delivery {
                        Delivery::Subscribed(room) => instance.handle(PresenceInput::Subscribed(room), now),
                        Delivery::Presence(room, change) if outcome == Outcome::Done => {
                            instance.handle(PresenceInput::Changed(room, change), now);
                        }
                        _ => {}
                    }
                }
                if outcome == Outcome::Lost {
                    instance.handle(PresenceInput::Subscribed(self.room.clone()), now);
                }
            }
            Step::Crash { instance } => self.instances[instance] = self.start(),
            Step::Advance { millis } => {
                self.clock.fetch_add(millis, Ordering::Relaxed);
                let now = self.now();
                for instance in &mut self.instances {
                    instance.handle(PresenceInput::Tick, now);
                }
            }
        }
    }

    /// Loses nothing any more, for longer than a loss without a report stays undetected.
    fn settle(&mut self) {
        self.advance_by(1200, 220);
    }

    /// Advances 0.4 s as often as `times`, and executes and delivers everything.
    fn advance(&mut self, times: usize) {
        self.advance_by(400, times);
    }

    fn advance_by(&mut self, millis: u64, times: usize) {
        for _ in 0..times {
            self.run(Step::Advance { millis });
            for instance in 0..self.instances.len() {
                while !self.instances[instance].commands.is_empty() {
                    self.run(Step::Execute { instance, outcome: Outcome::Done });
                }
                self.run(Step::Receive { instance, outcome: Outcome::Done });
            }
        }
    }
}

impl Instance {
    fn follows(&self, worker: usize) -> bool {
        self.connections.keys().any(|(one, _)| *one == worker)
    }

    fn handle(&mut self, input: PresenceInput, now: Duration) {
        self.tracker.handle(input, now);
        while let Some(effect) = self.tracker.poll_effect() {
            match effect {
                PresenceEffect::Command(command) => self.commands.push_back(command),
                PresenceEffect::Show { worker, state, diff, .. } => {
                    let state = names(&state.bytes);
                    match (diff, &mut self.seen[worker.0 as usize]) {
                        (Some(diff), Some(seen)) => {
                            let Event::Presence { joined: Some(joined), left: Some(left), .. } = decode(&diff) else {
                                panic!("not a diff")
                            };
                            for user in joined {
                                assert!(seen.insert(user.clone()), "{user} was visible already");
                            }
                            for user in left {
                                assert!(seen.remove(&user), "{user} was not visible");
                            }
                            assert_eq!(*seen, state);
                        }
                        (_, seen) => *seen = Some(state),
                    }
                }
            }
        }
    }

    /// Executes the oldest command. Returns whether there was one.
    fn execute(&mut self, bus: &LocalBus, outcome: Outcome, now: Duration) -> bool {
        let Some(command) = self.commands.pop_front() else { return false };
        let (executed, answered) = (outcome != Outcome::Lost, outcome == Outcome::Done);
        let reply = match command {
            PresenceCommand::Replace(room, users) => {
                let lease = executed.then(|| ready(bus.replace(&room, self.id, &users))).map(|()| Lease::Held);
                PresenceReply::Written(room, lease.filter(|_| answered))
            }
            PresenceCommand::Update { room, joined, left } => {
                let lease = executed.then(|| ready(bus.update(&room, self.id, &joined, &left)));
                PresenceReply::Written(room, lease.filter(|_| answered))
            }
            PresenceCommand::Heartbeat => {
                let alive = executed.then(|| ready(bus.heartbeat(self.id)));
                PresenceReply::Heartbeat(alive.filter(|_| answered))
            }
            PresenceCommand::Check(rooms) => {
                self.at_rest.0 += rooms.len();
                let statuses = executed.then(|| ready(bus.check(self.id, &rooms)));
                PresenceReply::Checked(rooms, statuses.filter(|_| answered))
            }
            PresenceCommand::Expire(dead, rooms) => {
                if executed {
                    ready(bus.expire(dead, &rooms));
                }
                PresenceReply::Expired
            }
            PresenceCommand::ReadSnapshot(room) => {
                let snapshot = executed.then(|| ready(bus.snapshot(&room)));
                PresenceReply::Snapshot(room, snapshot.filter(|_| answered))
            }
            PresenceCommand::SetRoomCounts(rooms) => {
                self.at_rest.1 += rooms.len();
                if executed {
                    ready(bus.set_room_counts(&rooms));
                }
                PresenceReply::RoomCountsSet
            }
        };
        self.handle(PresenceInput::Answered(reply), now);
        true
    }
}

fn decode(frame: &[u8]) -> Event {
    let text = if frame[1] == 126 { &frame[4..] } else { &frame[2..] };
    Event::decode(std::str::from_utf8(text).unwrap()).unwrap()
}

fn names(frame: &[u8]) -> BTreeSet<Member> {
    let Event::Presence { users: Some(users), count, .. } = decode(frame) else { panic!("not a state") };
    assert_eq!(users.len(), count);
    users.into_iter().collect()
}

#[test]
fn members_see_the_actual_users_in_the_end() {
    simulate(200, &(any::<u64>(), vec(step(), 1..100)), |(seed, steps)| {
        let runtime = Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        let mut world = World::new(seed);
        for step in steps {
            world.run(step);
        }
        world.settle();
        let users = world.instances.iter().flat_map(|instance| instance.connections.keys());
        let present: BTreeSet<Member> = users.map(|(_, user)| user.clone()).collect();
        for instance in &world.instances {
            for worker in 0..2 {
                let seen = instance.seen[worker].as_ref();
                prop_assert_eq!(seen, instance.follows(worker).then_some(&present));
            }
            prop_assert!(instance.tracker.is_settled());
        }
        let listed = ready(world.bus.room_counts()).into_iter().map(|(_, count)| count).collect::<Vec<_>>();
        prop_assert_eq!(listed, if present.is_empty() { vec![] } else { vec![present.len()] });
        prop_assert!(PresenceDebouncer::LEAVE_DELAY < LEASE);
        Ok(())
    });
}

#[test]
fn an_instance_whose_lease_was_expired_renews_it_and_writes_nothing_else() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let mut world = World::new(1);
    for instance in 0..3 {
        world.run(Step::Join { instance, worker: 0, user: 0 });
    }
    world.settle();
    let before = ready(world.bus.snapshot(&world.room));
    assert_eq!(before.instances.len(), 3);
    world.settle();
    assert_eq!(ready(world.bus.snapshot(&world.room)), before);
    ready(world.bus.expire(InstanceId(1), std::slice::from_ref(&world.room)));
    world.advance(15);
    assert_eq!(ready(world.bus.snapshot(&world.room)).instances, before.instances);
}

#[test]
fn a_room_at_rest_is_checked_and_listed_rarely() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let mut world = World::new(1);
    world.run(Step::Join { instance: 0, worker: 0, user: 0 });
    world.settle();
    world.instances[0].at_rest = (0, 0);
    // One hour.
    world.advance_by(1200, 3000);
    let (checks, listings) = world.instances[0].at_rest;
    assert!((15..=20).contains(&checks), "{checks} checks: every 192 s to 240 s");
    assert!((30..=38).contains(&listings), "{listings} listings: every 96 s to 120 s");
    assert_eq!(ready(world.bus.room_counts()).len(), 1);
    let before = checks;
    world.run(Step::Join { instance: 1, worker: 0, user: 1 });
    world.advance_by(1200, 55);
    assert_eq!(world.instances[0].at_rest.0, before + 1, "a change was seen: checked within a minute");
}

#[test]
fn a_user_who_returns_within_2_s_to_the_same_instance_causes_no_write() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let mut world = World::new(1);
    let [join, leave] =
        [Step::Join { instance: 0, worker: 0, user: 0 }, Step::Leave { instance: 0, worker: 0, user: 0 }];
    world.run(join);
    world.advance(10);
    let before = ready(world.bus.snapshot(&world.room));
    assert_eq!(before.instances.len(), 1);
    for step in [leave, join, leave] {
        world.run(step);
        world.advance(4);
        assert_eq!(ready(world.bus.snapshot(&world.room)), before);
        assert!(world.instances[0].tracker.is_settled() == matches!(step, Step::Join { .. }));
    }
    world.advance(2);
    assert!(ready(world.bus.snapshot(&world.room)).instances.is_empty(), "2 s have passed");
}

#[test]
fn leaves_are_written_at_once_when_the_process_ends() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let mut world = World::new(1);
    for user in 0..2 {
        world.run(Step::Join { instance: 0, worker: 0, user });
    }
    world.advance(10);
    world.run(Step::Leave { instance: 0, worker: 0, user: 0 });
    let now = world.now();
    world.instances[0].handle(PresenceInput::WriteLeaves, now);
    world.advance(1);
    let instances = ready(world.bus.snapshot(&world.room)).instances;
    assert_eq!(instances, [(InstanceId(1), vec!["user1".parse().unwrap()])]);
}

#[test]
fn an_active_room_does_not_wait_for_its_slice() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let mut world = World::new(1);
    for user in 0..2 {
        world.run(Step::Join { instance: 0, worker: 0, user });
        world.run(Step::Execute { instance: 0, outcome: Outcome::Done });
    }
    world.advance(1);
    let instances = ready(world.bus.snapshot(&world.room)).instances;
    assert_eq!(instances, [(InstanceId(1), vec!["user0".parse().unwrap(), "user1".parse().unwrap()])]);
}
