//! Three processes over one keeper of leases, with words, answers, deliveries and whole processes lost at random: in the
//! end everybody is told the truth, and on the way no frame contradicts what was told before.

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
use trunkline_domain::{Event, InstanceId, PresenceDebouncer, Room, UserName};

use super::{Effect, Mail, PresenceCommand, PresenceTracker, WorkerId};

#[derive(Clone, Copy, Debug)]
enum Step {
    Came {
        process: usize,
        worker: usize,
        user: u8,
    },
    Went {
        process: usize,
        worker: usize,
        user: u8,
    },
    /// The oldest word is said: done, lost on its way, or done without an answer.
    Say {
        process: usize,
        outcome: u8,
    },
    /// Everything delivered is heard; or lost, and that is told; or lost without anybody knowing.
    Hear {
        process: usize,
        outcome: u8,
    },
    /// The process is killed, and another one takes its place.
    Crash {
        process: usize,
    },
    Pass {
        millis: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = || prop_oneof![8 => Just(0_u8), 1 => Just(1_u8), 1 => Just(2_u8)];
    prop_oneof![
        6 => (0..3_usize, 0..2_usize, 0..4_u8).prop_map(|(process, worker, user)| Step::Came { process, worker, user }),
        6 => (0..3_usize, 0..2_usize, 0..4_u8).prop_map(|(process, worker, user)| Step::Went { process, worker, user }),
        10 => (0..3_usize, outcome()).prop_map(|(process, outcome)| Step::Say { process, outcome }),
        10 => (0..3_usize, outcome()).prop_map(|(process, outcome)| Step::Hear { process, outcome }),
        1 => (0..3_usize).prop_map(|process| Step::Crash { process }),
        6 => (1..2000_u64).prop_map(|millis| Step::Pass { millis }),
    ]
}

struct World {
    room: Room,
    bus: LocalBus,
    clock: Arc<AtomicU64>,
    processes: Vec<Process>,
    started: u128,
}

struct Process {
    instance: InstanceId,
    attendance: PresenceTracker,
    deliveries: Receiver<Delivery>,
    _interest: LocalSubscriptions,
    words: VecDeque<PresenceCommand>,
    /// Who is on which worker, with how many sockets.
    local: BTreeMap<(usize, UserName), usize>,
    /// What the members on each worker were told.
    told: [Option<BTreeSet<UserName>>; 2],
}

const LEASE: Duration = Duration::from_secs(15);

/// What a local bus answers, which it does at once.
fn now<T>(answer: impl Future<Output = Result<T, BusError>>) -> T {
    answer.now_or_never().expect("nobody is waited for").expect("it is always there")
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(AtomicU64::new(1000));
        let time = clock.clone();
        let config = LocalConfig { lease: LEASE, ..LocalConfig::default() };
        let bus = LocalBus::with_clock(config, move || time.load(Ordering::Relaxed));
        let mut world = Self { room: "lobby".parse().unwrap(), bus, clock, processes: Vec::new(), started: 0 };
        for _ in 0..3 {
            let process = world.start();
            world.processes.push(process);
        }
        world
    }

    fn time(&self) -> Duration {
        Duration::from_millis(self.clock.load(Ordering::Relaxed))
    }

    fn start(&mut self) -> Process {
        self.started += 1;
        let (interest, deliveries) = self.bus.open();
        interest.subscribe(&self.room);
        let mut attendance = PresenceTracker::new(InstanceId(self.started), LEASE);
        let mut effects = Vec::new();
        for other in 0..29 {
            // So that the room's change comes with every tenth tick only.
            attendance.serve(WorkerId::new(0), &format!("other-{other}").parse().unwrap(), &mut effects);
        }
        attendance.tick(self.time(), &mut effects);
        let mut process = Process {
            instance: InstanceId(self.started),
            attendance,
            deliveries,
            _interest: interest,
            words: VecDeque::new(),
            local: BTreeMap::new(),
            told: [None, None],
        };
        process.take(effects);
        for _ in 0..20 {
            let mut effects = Vec::new();
            process.attendance.tick(self.time(), &mut effects);
            process.take(effects);
            while let Some(word) = process.words.pop_front() {
                let mut effects = Vec::new();
                process.say(&self.bus, word, 0, &mut effects);
                process.take(effects);
            }
        }
        process
    }

    fn run(&mut self, step: Step) {
        let mut effects = Vec::new();
        match step {
            Step::Came { process, worker, user } => {
                let process = &mut self.processes[process];
                let user: UserName = format!("user{user}").parse().unwrap();
                if !process.follows(worker) {
                    process.attendance.serve(WorkerId::new(worker), &self.room, &mut effects);
                }
                *process.local.entry((worker, user.clone())).or_default() += 1;
                process.attendance.joined(WorkerId::new(worker), &self.room, user, &mut effects);
                process.take(effects);
            }
            Step::Went { process, worker, user } => {
                let process = &mut self.processes[process];
                let user: UserName = format!("user{user}").parse().unwrap();
                let socket = (worker, user.clone());
                let Some(count) = process.local.get_mut(&socket) else { return };
                *count -= 1;
                if *count == 0 {
                    process.local.remove(&socket);
                }
                process.attendance.left(WorkerId::new(worker), &self.room, user, &mut effects);
                if !process.follows(worker) {
                    process.attendance.unserve(WorkerId::new(worker), &self.room);
                    process.told[worker] = None;
                }
                process.take(effects);
            }
            Step::Say { process, outcome } => {
                let process = &mut self.processes[process];
                if let Some(word) = process.words.pop_front() {
                    process.say(&self.bus, word, outcome, &mut effects);
                    process.take(effects);
                }
            }
            Step::Hear { process, outcome } => {
                let process = &mut self.processes[process];
                while let Ok(delivery) = process.deliveries.try_recv() {
                    match delivery {
                        Delivery::Subscribed(room) => process.attendance.subscribed(&room, &mut effects),
                        Delivery::Presence(room, change) if outcome == 0 => {
                            process.attendance.heard(&room, change, &mut effects);
                        }
                        _ => {}
                    }
                }
                if outcome == 1 {
                    process.attendance.subscribed(&self.room, &mut effects);
                }
                process.take(effects);
            }
            Step::Crash { process } => {
                let fresh = self.start();
                self.processes[process] = fresh;
            }
            Step::Pass { millis } => {
                self.clock.fetch_add(millis, Ordering::Relaxed);
                let time = self.time();
                for process in &mut self.processes {
                    let mut effects = Vec::new();
                    process.attendance.tick(time, &mut effects);
                    process.take(effects);
                }
            }
        }
    }

    /// Nothing is lost any more, for longer than what was lost without a word stays unnoticed.
    fn rest(&mut self) {
        self.pass(200);
    }

    /// So many times 0.4 s, in which everything arrives.
    fn pass(&mut self, times: usize) {
        for _ in 0..times {
            self.run(Step::Pass { millis: 400 });
            for process in 0..self.processes.len() {
                while !self.processes[process].words.is_empty() {
                    self.run(Step::Say { process, outcome: 0 });
                }
                self.run(Step::Hear { process, outcome: 0 });
            }
        }
    }
}

impl Process {
    fn follows(&self, worker: usize) -> bool {
        self.local.keys().any(|(one, _)| *one == worker)
    }

    fn say(&mut self, bus: &LocalBus, word: PresenceCommand, outcome: u8, effects: &mut Vec<Effect>) {
        let (done, answered) = (outcome != 1, outcome == 0);
        match word {
            PresenceCommand::Replace(room, users) => {
                let lease = done.then(|| now(bus.replace(&room, self.instance, &users))).map(|()| Lease::Held);
                self.attendance.said(&room, lease.filter(|_| answered), effects);
            }
            PresenceCommand::Update { room, joined, left } => {
                let lease = done.then(|| now(bus.update(&room, self.instance, &joined, &left)));
                self.attendance.said(&room, lease.filter(|_| answered), effects);
            }
            PresenceCommand::Heartbeat => {
                let alive = done.then(|| now(bus.heartbeat(self.instance)));
                self.attendance.beaten(alive.filter(|_| answered));
            }
            PresenceCommand::Check(rooms) => {
                let standings = done.then(|| now(bus.check(self.instance, &rooms)));
                self.attendance.checked(&rooms, standings.filter(|_| answered).as_deref(), effects);
            }
            PresenceCommand::Expire(dead, rooms) => {
                if done {
                    now(bus.expire(dead, &rooms));
                }
            }
            PresenceCommand::ReadSnapshot(room) => {
                let snapshot = done.then(|| now(bus.snapshot(&room)));
                self.attendance.present(&room, snapshot.filter(|_| answered), effects);
            }
            PresenceCommand::SetRoomCounts(rooms) => {
                if done {
                    now(bus.set_room_counts(&rooms));
                }
                self.attendance.listed();
            }
        }
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Say(word) => self.words.push_back(word),
                Effect::Post(worker, Mail::Presence { here, change, .. }) => {
                    let state = names(&here.bytes);
                    match (change, &mut self.told[worker.index()]) {
                        (Some(change), Some(told)) => {
                            let Event::Presence { came: Some(joined), went: Some(left), .. } = decode(&change) else {
                                panic!("no change")
                            };
                            for user in joined {
                                assert!(told.insert(user.clone()), "{user} was there already");
                            }
                            for user in left {
                                assert!(told.remove(&user), "{user} was not there");
                            }
                            assert_eq!(*told, state);
                        }
                        (_, told) => *told = Some(state),
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn decode(frame: &[u8]) -> Event {
    let text = if frame[1] == 126 { &frame[4..] } else { &frame[2..] };
    Event::decode(std::str::from_utf8(text).unwrap()).unwrap()
}

fn names(frame: &[u8]) -> BTreeSet<UserName> {
    let Event::Presence { here: Some(here), count, .. } = decode(frame) else { panic!("no state") };
    assert_eq!(here.len(), count);
    here.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn everybody_is_told_the_truth_in_the_end(steps in vec(step(), 1..100)) {
        let runtime = Builder::new_current_thread().build().unwrap();
        let _inside = runtime.enter();
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
        world.rest();
        let truth: BTreeSet<UserName> =
            world.processes.iter().flat_map(|process| process.local.keys()).map(|(_, user)| user.clone()).collect();
        for process in &world.processes {
            for worker in 0..2 {
                let told = process.told[worker].as_ref();
                prop_assert_eq!(told, process.follows(worker).then_some(&truth));
            }
            prop_assert!(process.attendance.is_told());
        }
        let listed = now(world.bus.room_counts()).into_iter().map(|(_, count)| count).collect::<Vec<_>>();
        prop_assert_eq!(listed, if truth.is_empty() { vec![] } else { vec![truth.len()] });
        prop_assert!(PresenceDebouncer::GRACE < LEASE);
    }
}

#[test]
fn whoever_is_taken_for_dead_enters_again_and_otherwise_nothing_is_said() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let mut world = World::new();
    for process in 0..3 {
        world.run(Step::Came { process, worker: 0, user: 0 });
    }
    world.rest();
    let before = now(world.bus.snapshot(&world.room));
    assert_eq!(before.instances.len(), 3);
    world.rest();
    assert_eq!(now(world.bus.snapshot(&world.room)), before);
    now(world.bus.expire(InstanceId(1), std::slice::from_ref(&world.room)));
    world.pass(15);
    assert_eq!(now(world.bus.snapshot(&world.room)).instances, before.instances);
}

#[test]
fn what_waits_for_its_time_waits_for_no_round() {
    let runtime = Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let mut world = World::new();
    for user in 0..2 {
        world.run(Step::Came { process: 0, worker: 0, user });
        world.run(Step::Say { process: 0, outcome: 0 });
    }
    world.pass(1);
    let here = now(world.bus.snapshot(&world.room)).instances;
    assert_eq!(here, [(InstanceId(1), vec!["user0".parse().unwrap(), "user1".parse().unwrap()])]);
}
