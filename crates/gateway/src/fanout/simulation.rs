//! One feed, two hubs and many clients over a log, with everything that can be lost lost at random: what clients see
//! must still be the log. No clock, no socket: the state machines are driven directly.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    io,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use trunkline_bus::{Delivery, Log, Range};
use trunkline_domain::{Entry, Event, InstanceId, JoinFrom, Message, Position, Room, UserName};
use trunkline_session::Sid;

use super::{
    Hub, Key, Mail, Newcomer, Outlet, Taken, WorkerId,
    feed::{Effect, Feed},
};

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A message is appended, and heard or not.
    Append { heard: bool },
    /// The subscription is made anew.
    Resubscribe,
    /// The oldest read that is under way is answered, or fails.
    Read { fails: bool },
    /// A hub gets its mail, or loses it and is told so. Each connection takes so many bytes meanwhile.
    Deliver { hub: usize, lost: bool, room: usize },
    /// A client takes what it can, up to so many times.
    Take { client: usize, times: usize },
    /// A client comes on a new socket at the other hub and joins: with its position, with the origin, or without.
    Join { client: usize, from: u8, recent: usize },
    /// The log comes back shorter by so many entries, under a new epoch.
    Lose { entries: usize },
    /// Time passes.
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<bool>().prop_map(|heard| Step::Append { heard }),
        1 => Just(Step::Resubscribe),
        6 => prop::bool::weighted(0.2).prop_map(|fails| Step::Read { fails }),
        8 => (0..2_usize, prop::bool::weighted(0.1), 0..600_usize)
            .prop_map(|(hub, lost, room)| Step::Deliver { hub, lost, room }),
        8 => (0..4_usize, 1..4_usize).prop_map(|(client, times)| Step::Take { client, times }),
        3 => (0..4_usize, 0..3_u8, 0..6_usize).prop_map(|(client, from, recent)| Step::Join { client, from, recent }),
        1 => (0..20_usize).prop_map(|entries| Step::Lose { entries }),
        2 => Just(Step::Tick),
    ]
}

/// How many entries the log retains.
const RETAINED: usize = 12;

/// Everything.
struct World {
    room: Room,
    log: Log,
    /// What every position that ever was follows.
    history: HashMap<Position, Position>,
    epoch: u64,
    feed: Feed,
    subscribed: bool,
    reads: VecDeque<(Room, Range)>,
    hubs: Vec<Hub>,
    mail: Vec<VecDeque<Mail>>,
    lagged: Vec<bool>,
    clients: Vec<Client>,
    now: Duration,
}

/// A client that shows what it is sent, and complains.
struct Client {
    hub: usize,
    key: Key,
    wire: Rc<Wire>,
    /// Up to where it has shown the room, if it knows.
    shown: Option<Position>,
    /// What it asked to resume after.
    asked: Option<Position>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Asked,
    Joined,
}

/// What was written to a client, and how much more it takes.
#[derive(Default)]
struct Wire {
    bytes: RefCell<Vec<u8>>,
    room: Cell<usize>,
}

impl Outlet for Wire {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room.get());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room.update(|room| room - count);
        self.bytes.borrow_mut().extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

/// A new socket. Of two clients one lets the hub write, as after a take-over; for the other only its own task writes.
fn open(hub: &mut Hub, client: usize) -> (Key, Rc<Wire>) {
    let user: UserName = "ann".parse().unwrap();
    let key = hub.open(Newcomer { sid: Sid::new(&user), user }, &Event::Ping);
    let wire = Rc::new(Wire::default());
    if client < 2 {
        hub.attach(key, wire.clone());
    }
    (key, wire)
}

impl World {
    fn new() -> Self {
        let mut hubs = vec![Hub::new(Duration::from_secs(25)), Hub::new(Duration::from_secs(25))];
        let clients = (0..4)
            .map(|client| {
                let hub = client % 2;
                let (key, wire) = open(&mut hubs[hub], client);
                Client { hub, key, wire, shown: None, asked: None, stage: Stage::Idle }
            })
            .collect();
        Self {
            room: "lobby".parse().unwrap(),
            log: Log::new(RETAINED, 1 << 20),
            history: HashMap::new(),
            epoch: 5,
            feed: Feed::new(InstanceId(1), Duration::from_secs(15)),
            subscribed: false,
            reads: VecDeque::new(),
            hubs,
            mail: vec![VecDeque::new(); 2],
            lagged: vec![false; 2],
            clients,
            now: Duration::ZERO,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Append { heard } => {
                let entry = self.append();
                if heard && self.subscribed {
                    self.feed.heard(Delivery::Entry(self.room.clone(), entry));
                    self.feed.flush();
                }
            }
            Step::Resubscribe => {
                if self.subscribed {
                    self.feed.heard(Delivery::Subscribed(self.room.clone()));
                }
            }
            Step::Read { fails } => {
                if let Some((room, range)) = self.reads.pop_front() {
                    let page = (!fails).then(|| self.log.read(range));
                    self.feed.read(&room, range, page);
                }
            }
            Step::Deliver { hub, lost, room } => {
                for client in &self.clients {
                    client.wire.room.set(room);
                }
                if lost && !self.mail[hub].is_empty() {
                    self.mail[hub].clear();
                    self.lagged[hub] = true;
                }
                for mail in std::mem::take(&mut self.mail[hub]) {
                    self.hubs[hub].receive(mail);
                }
                if std::mem::take(&mut self.lagged[hub]) {
                    self.hubs[hub].lagged();
                }
                self.hubs[hub].flush();
            }
            Step::Take { client, times } => {
                for _ in 0..times {
                    self.take(client);
                }
            }
            Step::Join { client: number, from, recent } => {
                let client = &mut self.clients[number];
                self.hubs[client.hub].forget(client.key);
                client.hub = 1 - client.hub;
                (client.key, client.wire) = open(&mut self.hubs[client.hub], number);
                client.asked = match from {
                    0 => None,
                    1 => Some(Position::ORIGIN),
                    _ => client.shown,
                };
                client.stage = Stage::Asked;
                let from = JoinFrom { after: client.asked, recent };
                self.hubs[client.hub].join(client.key, &self.room, from);
            }
            Step::Lose { entries } => {
                let kept = self.log.len().saturating_sub(entries);
                let page = self.log.read(Range::Latest(RETAINED));
                self.log = Log::new(RETAINED, 1 << 20);
                for entry in page.entries.into_iter().take(kept) {
                    self.log.append(entry).unwrap();
                }
                self.epoch += 1;
            }
            Step::Tick => {
                self.now += Duration::from_secs(3);
                self.feed.tick(self.now);
            }
        }
        self.settle();
    }

    /// Appends to the log by its rules: the next offset, or the first of a new epoch.
    fn append(&mut self) -> Entry {
        let prev = self.log.head();
        let pos = if prev.epoch == self.epoch { prev.next_in_epoch() } else { Position::new(self.epoch, 1) };
        let message = Message {
            pos,
            id: "id".parse().unwrap(),
            user: "ann".parse().unwrap(),
            text: "text".parse().unwrap(),
            at: 0,
        };
        let entry = Entry { prev, message };
        self.history.insert(pos, prev);
        self.log.append(entry.clone()).unwrap();
        entry
    }

    /// Carries letters between hubs and feed, and does what the feed wants of the bus.
    fn settle(&mut self) {
        for hub in 0..self.hubs.len() {
            for ask in self.hubs[hub].take_asks() {
                self.feed.ask(WorkerId::new(hub), ask);
            }
        }
        for effect in self.feed.take_effects() {
            match effect {
                Effect::Want(room) => {
                    self.subscribed = true;
                    self.feed.heard(Delivery::Subscribed(room));
                    return self.settle();
                }
                Effect::Unwant(_) => self.subscribed = false,
                Effect::Read(room, range) => self.reads.push_back((room, range)),
                Effect::Compare(rooms) => {
                    let head = self.log.head();
                    self.feed.compared(rooms.into_iter().map(|room| (room, head)));
                    return self.settle();
                }
                Effect::Post(worker, mail) => self.mail[worker.index()].push_back(mail),
                // The bus of this world keeps no presence.
                Effect::Say(_) => {}
            }
        }
    }

    fn take(&mut self, client: usize) {
        let client = &mut self.clients[client];
        let cx = Context::from_waker(Waker::noop());
        match self.hubs[client.hub].poll_take(client.key, &cx) {
            Poll::Ready(Taken::Bytes(bytes)) => client.wire.bytes.borrow_mut().extend_from_slice(&bytes),
            Poll::Ready(Taken::End) => panic!("the hub ended a socket"),
            Poll::Pending => {}
        }
        let wire = client.wire.clone();
        let mut wire = wire.bytes.borrow_mut();
        while let Some((text, length)) = frame(&wire) {
            let event = Event::decode(std::str::from_utf8(text).unwrap()).unwrap();
            wire.drain(..length);
            client.show(event, &self.history);
        }
    }

    /// Lets everything come to rest: nothing is lost any more.
    fn rest(&mut self) {
        for _ in 0..40 {
            self.run(Step::Tick);
            while !self.reads.is_empty() {
                self.run(Step::Read { fails: false });
            }
            for hub in 0..2 {
                self.run(Step::Deliver { hub, lost: false, room: usize::MAX });
            }
            for client in 0..4 {
                self.run(Step::Take { client, times: 200 });
            }
        }
    }
}

/// The text of the first frame, if all of it is there, and the frame's length.
fn frame(wire: &[u8]) -> Option<(&[u8], usize)> {
    let (start, length) = match wire {
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        [_, short, ..] if *short < 126 => (2, usize::from(*short)),
        _ => return None,
    };
    Some((wire.get(start..start + length)?, start + length))
}

impl Client {
    fn show(&mut self, event: Event, history: &HashMap<Position, Position>) {
        match event {
            Event::Joined { resumed, head, .. } => {
                assert!(self.stage != Stage::Idle, "joined, but nobody asked");
                assert!(self.stage == Stage::Asked || !resumed, "an unasked joined is never resumed");
                assert!(self.asked.is_some() || !resumed, "resumed though nothing was to be resumed");
                self.stage = Stage::Joined;
                self.shown = match (resumed, head) {
                    (true, _) => self.asked,
                    (false, Position::ORIGIN) => Some(head),
                    (false, _) => None,
                };
            }
            Event::Message { message, .. } => {
                assert!(self.stage == Stage::Joined, "a message before joined");
                if let Some(shown) = self.shown {
                    assert_eq!(history[&message.pos], shown, "{} does not follow {shown}", message.pos);
                }
                self.shown = Some(message.pos);
            }
            Event::Ping => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn clients_see_the_log_or_are_told(steps in vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
        world.rest();
        let head = world.log.head();
        for client in &world.clients {
            prop_assert!(client.stage != Stage::Asked, "a join was never answered");
            if let (Stage::Joined, Some(shown)) = (client.stage, client.shown) {
                prop_assert_eq!(shown, head, "a client stopped before the end of the log");
            }
        }
        prop_assert!(world.mail.iter().all(VecDeque::is_empty));
        let joined = world.clients.iter().any(|client| client.stage != Stage::Idle);
        prop_assert_eq!(world.feed.attendance().0.size().1, usize::from(joined), "every client is ann");
        for client in &world.clients {
            world.hubs[client.hub].forget(client.key);
        }
        world.settle();
        prop_assert_eq!(world.feed.attendance().0.size().1, 0, "nobody is left");
    }
}

#[test]
fn a_frame_is_encoded_once_and_shared() {
    let mut world = World::new();
    for client in 0..4 {
        world.run(Step::Join { client, from: 0, recent: 5 });
    }
    world.rest();
    world.run(Step::Append { heard: true });
    let tails: Vec<Arc<_>> = world
        .mail
        .iter()
        .map(|mail| match mail.back() {
            Some(Mail::Frames(_, frames)) => frames.clone(),
            other => panic!("no frames but {other:?}"),
        })
        .collect();
    assert!(Arc::ptr_eq(&tails[0], &tails[1]));
}
