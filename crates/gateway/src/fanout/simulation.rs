//! One reader, two hubs and four clients over a log. Whatever can be lost is lost at random, and what clients see must still
//! be the log. There is no clock and no socket: the state machines are driven directly.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet, VecDeque},
    io,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use tokio::sync::oneshot::error::TryRecvError;
use trunkline_bus::{Delivery, Lease, Log, Range};
use trunkline_domain::{Body, Content, Entry, Event, InstanceId, JoinFrom, Message, Position, Room};

use super::{
    DeletionApplied, Hub, HubEvent, Outgoing, Transport,
    reader::{ReaderEffect, ReaderInput, RoomReader},
};
use crate::{
    identity::Identity,
    ids::{ConnectionKey, WorkerId},
    presence::{PresenceCommand, PresenceReply},
    random::Random,
    simulation::simulate,
};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A message is appended, and its delivery received or lost.
    Append { received: bool },
    /// A text is deleted, which is acknowledged by this instance. The delivery of the deletion is received or lost.
    Delete { nth: usize, received: bool },
    /// The subscription is established again.
    Resubscribe,
    /// The oldest read in flight is answered, or fails.
    Read { fails: bool },
    /// A hub receives its events, or loses them and learns that. Each connection takes this many bytes meanwhile.
    Deliver { hub: usize, lost: bool, capacity: usize },
    /// A client takes what it can, as often as `times`.
    Take { client: usize, times: usize },
    /// A client reconnects to the other hub and joins: without a position, with the origin, or with its own.
    Join { client: usize, from: JoinPosition, recent: usize },
    /// The log loses its last entries and continues in a new epoch.
    Lose { entries: usize },
    /// Time passes.
    Tick,
}

#[derive(Clone, Copy, Debug)]
enum JoinPosition {
    None,
    Origin,
    Last,
}

fn step() -> impl Strategy<Value = Step> {
    let from = || prop_oneof![Just(JoinPosition::None), Just(JoinPosition::Origin), Just(JoinPosition::Last)];
    prop_oneof![
        8 => any::<bool>().prop_map(|received| Step::Append { received }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(nth, received)| Step::Delete { nth, received }),
        1 => Just(Step::Resubscribe),
        6 => prop::bool::weighted(0.2).prop_map(|fails| Step::Read { fails }),
        8 => (0..2_usize, prop::bool::weighted(0.1), 0..600_usize)
            .prop_map(|(hub, lost, capacity)| Step::Deliver { hub, lost, capacity }),
        8 => (0..4_usize, 1..4_usize).prop_map(|(client, times)| Step::Take { client, times }),
        3 => (0..4_usize, from(), 0..6_usize).prop_map(|(client, from, recent)| Step::Join { client, from, recent }),
        1 => (0..20_usize).prop_map(|entries| Step::Lose { entries }),
        2 => Just(Step::Tick),
    ]
}

/// Number of entries that the log retains.
const RETAINED_ENTRIES: usize = 12;

struct World {
    room: Room,
    log: Log,
    /// For every position that ever existed, the one before.
    history: HashMap<Position, Position>,
    epoch: u64,
    deleted: HashSet<Position>,
    reader: RoomReader,
    is_subscribed: bool,
    reads: VecDeque<(Room, Range)>,
    hubs: Vec<Hub>,
    events: Vec<VecDeque<HubEvent>>,
    events_lost: Vec<bool>,
    clients: Vec<Client>,
    now: Duration,
}

/// A client that checks what it is sent.
struct Client {
    hub: usize,
    key: ConnectionKey,
    wire: Rc<Wire>,
    /// The position of the last message that it shows, if it knows one.
    shown: Option<Position>,
    /// The position after which it asked to resume.
    asked: Option<Position>,
    /// The texts that had been deleted when it joined. It is never sent one of them.
    deleted: HashSet<Position>,
    stage: ClientStage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientStage {
    Idle,
    Joining,
    Joined,
}

/// The bytes that were written to a client, and how many more it takes.
#[derive(Default)]
struct Wire {
    bytes: RefCell<Vec<u8>>,
    capacity: Cell<usize>,
}

impl Transport for Wire {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.capacity.get());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.capacity.update(|capacity| capacity - count);
        self.bytes.borrow_mut().extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

/// Opens a connection. The hub writes to those of the first two clients, as after a takeover; for the others only their own
/// task writes.
fn open(hub: &mut Hub, client: usize) -> (ConnectionKey, Rc<Wire>) {
    let key = hub.open(Rc::new(Identity::new("ann".parse().unwrap())), None, &Event::Ping);
    let wire = Rc::new(Wire::default());
    if client < 2 {
        hub.attach(key, wire.clone());
    }
    (key, wire)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut hubs: Vec<Hub> = (0..2).map(|_| Hub::new(Duration::from_secs(25), random.fork())).collect();
        let clients = (0..4)
            .map(|client| {
                let hub = client % 2;
                let (key, wire) = open(&mut hubs[hub], client);
                Client { hub, key, wire, shown: None, asked: None, deleted: HashSet::new(), stage: ClientStage::Idle }
            })
            .collect();
        Self {
            room: "lobby".parse().unwrap(),
            log: Log::new(RETAINED_ENTRIES, 1 << 20),
            history: HashMap::new(),
            epoch: 5,
            deleted: HashSet::new(),
            reader: RoomReader::new(InstanceId(1), Duration::from_secs(15), random),
            is_subscribed: false,
            reads: VecDeque::new(),
            hubs,
            events: vec![VecDeque::new(); 2],
            events_lost: vec![false; 2],
            clients,
            now: Duration::ZERO,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Append { received } => {
                let text = "text".parse().unwrap();
                let entry = self.append(Content::Text { text, reply_to: None });
                self.deliver(entry, received);
            }
            Step::Delete { nth, received } => {
                let entries = self.log.read(Range::Latest(RETAINED_ENTRIES)).entries;
                let texts: Vec<_> = entries.iter().filter(|entry| entry.message.text().is_some()).collect();
                if let Some(of) = nth.checked_rem(texts.len()).map(|nth| texts[nth].message.pos) {
                    self.log.redact(of);
                    self.deleted.insert(of);
                    let entry = self.append(Content::Delete { of });
                    self.deliver(entry, received);
                    let (applied, mut all_applied) = DeletionApplied::new();
                    self.handle(ReaderInput::Deleted(self.room.clone(), of, applied));
                    assert!(
                        all_applied.try_recv().is_err_and(|error| error == TryRecvError::Closed),
                        "applied at once"
                    );
                }
            }
            Step::Resubscribe => {
                if self.is_subscribed {
                    self.handle(ReaderInput::Delivery(Delivery::Subscribed(self.room.clone())));
                }
            }
            Step::Read { fails } => {
                if let Some((room, range)) = self.reads.pop_front() {
                    let page = (!fails).then(|| self.log.read(range));
                    self.handle(ReaderInput::Read(room, range, page));
                }
            }
            Step::Deliver { hub, lost, capacity } => {
                for client in &self.clients {
                    client.wire.capacity.set(capacity);
                }
                if lost && !self.events[hub].is_empty() {
                    self.events[hub].clear();
                    self.events_lost[hub] = true;
                }
                for event in std::mem::take(&mut self.events[hub]) {
                    self.hubs[hub].receive(event);
                }
                if std::mem::take(&mut self.events_lost[hub]) {
                    self.hubs[hub].events_lost();
                }
                self.hubs[hub].flush(self.now);
            }
            Step::Take { client, times } => {
                for _ in 0..times {
                    self.take(client);
                }
            }
            Step::Join { client: number, from, recent } => {
                let client = &mut self.clients[number];
                self.hubs[client.hub].remove(client.key);
                client.hub = 1 - client.hub;
                (client.key, client.wire) = open(&mut self.hubs[client.hub], number);
                client.asked = match from {
                    JoinPosition::None => None,
                    JoinPosition::Origin => Some(Position::ORIGIN),
                    JoinPosition::Last => client.shown,
                };
                client.deleted.clone_from(&self.deleted);
                client.stage = ClientStage::Joining;
                let from = JoinFrom { after: client.asked, recent };
                self.hubs[client.hub].join(client.key, &self.room, from, None);
            }
            Step::Lose { entries } => {
                let kept = self.log.len().saturating_sub(entries);
                let page = self.log.read(Range::Latest(RETAINED_ENTRIES));
                self.log = Log::new(RETAINED_ENTRIES, 1 << 20);
                for entry in page.entries.into_iter().take(kept) {
                    self.log.append(entry).unwrap();
                }
                self.epoch += 1;
            }
            Step::Tick => {
                self.now += Duration::from_secs(3);
                self.handle(ReaderInput::Tick);
            }
        }
        self.pass_requests();
    }

    fn deliver(&mut self, entry: Entry, received: bool) {
        if received && self.is_subscribed {
            self.handle(ReaderInput::Delivery(Delivery::Entry(self.room.clone(), entry)));
        }
    }

    /// Appends an entry by the rules of a log: the next offset, or the first one of a new epoch.
    fn append(&mut self, content: Content) -> Entry {
        let prev = self.log.head();
        let pos = if prev.epoch == self.epoch { prev.next_in_epoch() } else { Position::new(self.epoch, 1) };
        let message = Message {
            pos,
            id: "id".parse().unwrap(),
            user: "ann".parse().unwrap(),
            name: None,
            body: Body::Content(content),
            at: 0,
        };
        let entry = Entry { prev, message };
        self.history.insert(pos, prev);
        self.log.append(entry.clone()).unwrap();
        entry
    }

    /// Passes the requests of the hubs to the reader.
    fn pass_requests(&mut self) {
        for hub in 0..self.hubs.len() {
            while let Some(request) = self.hubs[hub].poll_request() {
                self.handle(ReaderInput::Request(WorkerId(hub as u32), request));
            }
        }
    }

    /// Passes an input to the reader and executes what follows from it.
    fn handle(&mut self, input: ReaderInput) {
        self.reader.handle(input, self.now);
        while let Some(effect) = self.reader.poll_effect() {
            match effect {
                ReaderEffect::Subscribe(room) => {
                    self.is_subscribed = true;
                    self.reader.handle(ReaderInput::Delivery(Delivery::Subscribed(room)), self.now);
                }
                ReaderEffect::Unsubscribe(_) => self.is_subscribed = false,
                ReaderEffect::Read(room, range) => self.reads.push_back((room, range)),
                ReaderEffect::CompareHeads(heads) => {
                    let head = self.log.head();
                    let changed = heads.into_iter().filter(|(_, known)| *known != head);
                    let changed = changed.map(|(room, _)| (room, head)).collect();
                    self.reader.handle(ReaderInput::ChangedHeads(changed), self.now);
                }
                ReaderEffect::Send(worker, event) => self.events[worker.0 as usize].push_back(event),
                ReaderEffect::Broadcast(event) => {
                    for (hub, events) in self.hubs.iter_mut().zip(&mut self.events) {
                        events.push_back(event.clone());
                        std::mem::take(events).into_iter().for_each(|event| hub.receive(event));
                    }
                }
                // The presence store of this world accepts every write and answers nothing else.
                ReaderEffect::Presence(PresenceCommand::Replace(room, _) | PresenceCommand::Update { room, .. }) => {
                    let reply = PresenceReply::Written(room, Some(Lease::Held));
                    self.reader.handle(ReaderInput::Presence(reply), self.now);
                }
                ReaderEffect::Presence(_) => {}
            }
        }
    }

    fn take(&mut self, client: usize) {
        let client = &mut self.clients[client];
        let cx = Context::from_waker(Waker::noop());
        match self.hubs[client.hub].poll_outgoing(client.key, &cx) {
            Poll::Ready(Outgoing::Bytes(bytes)) => client.wire.bytes.borrow_mut().extend_from_slice(&bytes),
            Poll::Ready(Outgoing::End) => panic!("the hub ended a connection"),
            Poll::Pending => {}
        }
        let wire = client.wire.clone();
        let mut wire = wire.bytes.borrow_mut();
        while let Some((text, length)) = first_frame(&wire) {
            let event = Event::decode(std::str::from_utf8(text).unwrap()).unwrap();
            wire.drain(..length);
            client.receive(event, &self.history);
        }
    }

    /// Loses nothing any more until everything has arrived.
    fn settle(&mut self) {
        for _ in 0..40 {
            self.run(Step::Tick);
            while !self.reads.is_empty() {
                self.run(Step::Read { fails: false });
            }
            for hub in 0..2 {
                self.run(Step::Deliver { hub, lost: false, capacity: usize::MAX });
            }
            for client in 0..4 {
                self.run(Step::Take { client, times: 200 });
            }
        }
    }
}

/// Returns the text of the first frame and the frame's length, if it is complete.
fn first_frame(wire: &[u8]) -> Option<(&[u8], usize)> {
    let (start, length) = match wire {
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        [_, short, ..] if *short < 126 => (2, usize::from(*short)),
        _ => return None,
    };
    Some((wire.get(start..start + length)?, start + length))
}

impl Client {
    fn receive(&mut self, event: Event, history: &HashMap<Position, Position>) {
        match event {
            Event::Joined { resumed, head, .. } => {
                assert!(self.stage != ClientStage::Idle, "joined without a join");
                assert!(self.stage == ClientStage::Joining || !resumed, "a second joined is never resumed");
                assert!(self.asked.is_some() || !resumed, "resumed although no position was given");
                self.stage = ClientStage::Joined;
                self.shown = match (resumed, head) {
                    (true, _) => self.asked,
                    (false, Position::ORIGIN) => Some(head),
                    (false, _) => None,
                };
            }
            Event::Message { message, .. } => {
                assert!(self.stage == ClientStage::Joined, "a message before joined");
                if let Some(shown) = self.shown {
                    assert_eq!(history[&message.pos], shown, "{} does not follow {shown}", message.pos);
                }
                assert!(message.text().is_none() || !self.deleted.contains(&message.pos), "a deleted text");
                self.shown = Some(message.pos);
            }
            Event::Ping => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[test]
fn clients_see_the_whole_log_or_are_told_that_they_start_over() {
    simulate(600, &(any::<u64>(), vec(step(), 1..120)), |(seed, steps)| {
        let mut world = World::new(seed);
        for step in steps {
            world.run(step);
        }
        world.settle();
        let head = world.log.head();
        for client in &world.clients {
            prop_assert!(client.stage != ClientStage::Joining, "a join was never answered");
            if let (ClientStage::Joined, Some(shown)) = (client.stage, client.shown) {
                prop_assert_eq!(shown, head, "a client stopped before the end of the log");
            }
        }
        prop_assert!(world.events.iter().all(VecDeque::is_empty));
        let has_joined = world.clients.iter().any(|client| client.stage != ClientStage::Idle);
        prop_assert_eq!(world.reader.presence().local_users(), usize::from(has_joined), "every client is ann");
        for client in &world.clients {
            world.hubs[client.hub].remove(client.key);
        }
        world.pass_requests();
        prop_assert_eq!(world.reader.presence().local_users(), 0, "all clients have left");
        Ok(())
    });
}

#[test]
fn a_frame_is_encoded_once_and_shared() {
    let mut world = World::new(1);
    for client in 0..4 {
        world.run(Step::Join { client, from: JoinPosition::None, recent: 5 });
    }
    world.settle();
    world.run(Step::Append { received: true });
    let frames: Vec<Arc<_>> = world
        .events
        .iter()
        .map(|events| match events.back() {
            Some(HubEvent::Frames(_, frames)) => frames.clone(),
            other => panic!("no frames but {other:?}"),
        })
        .collect();
    assert!(Arc::ptr_eq(&frames[0], &frames[1]));
}
