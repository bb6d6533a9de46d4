//! Property tests of the state machine against a simulated server with crashes, lost answers, refusals and gaps.
//!
//! A run is determined by its steps and its jitter seed. proptest prints both for a failing run, reduced to the smallest
//! one, and records it in `proptest-regressions/`, from where later runs repeat it first. `PROPTEST_RNG_SEED=<number>`
//! makes all generated runs repeatable.

use std::collections::VecDeque;

use proptest::prelude::*;
use trunkline_client::{ClientCore, ClientEffect, ClientEvent, ClientInput, JitterSource, SessionProbe, SocketId};
use trunkline_domain::{
    Body, Command, Content, ErrorCode, Event, JoinFrom, Message, Position, Refusal, Room, Token, WelcomeLimits,
};

/// One step of a simulation.
#[derive(Clone, Copy, Debug)]
enum SimulationStep {
    /// This client's user sends a message.
    Send,
    /// Another user's message is logged.
    OtherMessage,
    /// The next command reaches the server and is answered.
    Serve,
    /// The next command takes effect, but its answer is `unavailable`.
    ServeUncertain,
    /// The next command is refused temporarily.
    Refuse,
    /// The next frame reaches the client.
    Deliver,
    /// The connection breaks. Everything in flight in either direction is lost.
    Disconnect,
    /// The server asks the client to reconnect.
    Drain,
    /// Time passes, in ms.
    Wait(u64),
}

fn step() -> impl Strategy<Value = SimulationStep> {
    prop_oneof![
        3 => Just(SimulationStep::Send),
        3 => Just(SimulationStep::OtherMessage),
        8 => Just(SimulationStep::Serve),
        1 => Just(SimulationStep::ServeUncertain),
        1 => Just(SimulationStep::Refuse),
        12 => Just(SimulationStep::Deliver),
        1 => Just(SimulationStep::Disconnect),
        1 => Just(SimulationStep::Drain),
        4 => (1..3000u64).prop_map(SimulationStep::Wait),
    ]
}

fn text(text: &str) -> Content {
    Content::Text { text: text.parse().unwrap(), reply_to: None }
}

struct Simulation {
    core: ClientCore,
    now: u64,
    room: Room,
    log: Vec<Message>,
    /// The open socket, the number of log entries queued for it, and whether it has joined the room.
    socket: Option<(SocketId, usize, bool)>,
    commands: VecDeque<Command>,
    frames: VecDeque<(SocketId, Event)>,
    sent: usize,
    received: Vec<Position>,
}

impl Simulation {
    fn new(jitter_seed: u64) -> Self {
        let core = ClientCore::new(Some("ann".parse().unwrap()), JitterSource::from_seed(jitter_seed));
        let mut simulation = Self {
            core,
            now: 1_000_000,
            room: "lobby".parse().unwrap(),
            log: Vec::new(),
            socket: None,
            commands: VecDeque::new(),
            frames: VecDeque::new(),
            sent: 0,
            received: Vec::new(),
        };
        let room = simulation.room.clone();
        simulation.handle(ClientInput::Join { room: room.clone(), recent: 0 });
        simulation.handle(ClientInput::Connect);
        simulation
    }

    fn handle(&mut self, input: ClientInput) {
        self.core.handle(self.now, input);
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                ClientEffect::Load { room, .. } => self.handle(ClientInput::Outbox { room, entries: Vec::new() }),
                ClientEffect::Probe { socket } => {
                    let result = SessionProbe::LoggedIn { user: "ann".parse().unwrap(), expires_in: None };
                    self.handle(ClientInput::Probed { socket, result });
                }
                ClientEffect::Token { socket } => {
                    let token = Some(Token::new("t"));
                    self.handle(ClientInput::Token { socket, token });
                }
                ClientEffect::Open { socket } => {
                    self.disconnect();
                    self.socket = Some((socket, 0, false));
                    let limits = WelcomeLimits { text_bytes: 4096, rooms: 128, data_bytes: 16384 };
                    let (user, instance) = ("ann".parse().unwrap(), "gw".to_owned());
                    self.queue(Event::Welcome { user, name: None, instance, ping_interval_ms: 25_000, limits });
                }
                ClientEffect::Close { socket } => {
                    if self.socket.is_some_and(|(open, ..)| open == socket) {
                        self.disconnect();
                    }
                }
                ClientEffect::Transmit { socket, command } => {
                    if self.socket.is_some_and(|(open, ..)| open == socket) {
                        self.commands.push_back(command);
                    }
                }
                ClientEffect::Emit(ClientEvent::Message { message, .. }) => self.received.push(message.pos),
                ClientEffect::Emit(ClientEvent::Joined { gap, .. }) => assert!(!gap, "the log never loses entries"),
                ClientEffect::Emit(_) => {}
            }
        }
    }

    fn disconnect(&mut self) {
        self.socket = None;
        self.commands.clear();
        self.frames.clear();
    }

    fn queue(&mut self, event: Event) {
        if let Some((socket, ..)) = self.socket {
            self.frames.push_back((socket, event));
        }
    }

    fn append(&mut self, user: &str, id: &str, content: Content) -> Position {
        let (user, id) = (user.parse().unwrap(), id.parse().unwrap());
        if let Some(known) = self.log.iter().find(|message| message.user == user && message.id == id) {
            return known.pos;
        }
        let pos = Position::new(7, self.log.len() as u64 + 1);
        self.log.push(Message { pos, id, user, name: None, body: Body::Content(content), at: 1 });
        pos
    }

    /// Queues the log entries appended since the last call, if the client has joined.
    fn queue_new_messages(&mut self) {
        let Some((_, queued, true)) = self.socket else { return };
        for index in queued..self.log.len() {
            let (room, message) = (self.room.clone(), self.log[index].clone());
            self.queue(Event::Message { room, message });
        }
        if let Some((_, queued, _)) = &mut self.socket {
            *queued = self.log.len();
        }
    }

    fn serve(&mut self, uncertain: bool, refuse: bool) {
        let Some(command) = self.commands.pop_front() else { return };
        let room = self.room.clone();
        match command {
            Command::Join { .. } if refuse => {
                let refusal = Refusal::new(ErrorCode::RateLimited, "later").in_room(&room);
                self.queue(Event::Error(refusal));
            }
            Command::Join { from: JoinFrom { after, .. }, .. } => {
                let head = self.log.last().map_or(Position::ORIGIN, |message| message.pos);
                self.queue(Event::Joined { room, resumed: after.is_some(), head, seen: None });
                let queued = after.map_or(self.log.len(), |after| usize::try_from(after.offset).unwrap());
                if let Some(socket) = &mut self.socket {
                    (socket.1, socket.2) = (queued, true);
                }
            }
            Command::Send { id, .. } if refuse => {
                self.queue(Event::Error(Refusal::new(ErrorCode::RateLimited, "later").in_room(&room).of(&id)));
            }
            Command::Send { id, content, .. } => {
                let pos = self.append("ann", id.as_str(), content);
                if uncertain {
                    self.queue(Event::Error(Refusal::new(ErrorCode::Unavailable, "?").in_room(&room).of(&id)));
                } else {
                    self.queue(Event::Sent { room, id, pos });
                }
            }
            _ => {}
        }
        self.queue_new_messages();
    }

    fn apply(&mut self, step: SimulationStep) {
        match step {
            SimulationStep::Send => {
                let id = format!("a{:04}", self.sent);
                // Every kind of content waits in the outbox alike.
                let content = match self.sent % 3 {
                    0 => text("hi"),
                    1 => Content::Event { event: "shipped".parse().unwrap(), data: "{}".parse().unwrap() },
                    _ => Content::Delete { of: Position::new(7, 1) },
                };
                self.sent += 1;
                self.handle(ClientInput::Send { room: self.room.clone(), id: id.parse().unwrap(), content });
            }
            SimulationStep::OtherMessage => {
                let id = format!("b{}", self.log.len());
                self.append("bob", &id, text("ho"));
                self.queue_new_messages();
            }
            SimulationStep::Serve => self.serve(false, false),
            SimulationStep::ServeUncertain => self.serve(true, false),
            SimulationStep::Refuse => self.serve(false, true),
            SimulationStep::Deliver => {
                if let Some((socket, event)) = self.frames.pop_front() {
                    self.handle(ClientInput::Frame { socket, event });
                }
            }
            SimulationStep::Disconnect => {
                if let Some((socket, ..)) = self.socket {
                    self.disconnect();
                    self.handle(ClientInput::Closed { socket, code: 1006 });
                }
            }
            SimulationStep::Drain => self.queue(Event::Closing { reason: "drain".to_owned(), reconnect_after_ms: 500 }),
            SimulationStep::Wait(time) => self.wait(time),
        }
    }

    /// Lets time pass, with a tick whenever one is due.
    fn wait(&mut self, time: u64) {
        let until = self.now + time;
        let mut ticks = 0;
        while let Some(due) = self.core.next_tick().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.handle(ClientInput::Tick);
            ticks += 1;
            assert!(ticks < 1000, "after a tick the next one is due at once");
        }
        self.now = until;
    }

    /// Lets the client and the server finish everything under way.
    fn run_without_faults(&mut self) {
        for _ in 0..40 {
            self.wait(1000);
            for _ in 0..200 {
                self.apply(SimulationStep::Deliver);
                self.apply(SimulationStep::Serve);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_message_is_received_once_and_logged_once(
        jitter_seed: u64,
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let mut simulation = Simulation::new(jitter_seed);
        for step in steps {
            simulation.apply(step);
        }
        simulation.run_without_faults();
        prop_assert_eq!(simulation.core.outbox().len(), 0);
        let own = simulation.log.iter().filter(|message| message.user.as_str() == "ann");
        let own: Vec<_> = own.map(|message| message.id.to_string()).collect();
        let expected: Vec<_> = (0..simulation.sent).map(|number| format!("a{number:04}")).collect();
        prop_assert_eq!(own, expected, "each message is logged once, in the order of sending");
        let first = simulation.received.first().map_or(0, |pos| pos.offset);
        let expected = (first..).take(simulation.received.len());
        let expected: Vec<_> = expected.map(|offset| Position::new(7, offset)).collect();
        prop_assert_eq!(&simulation.received, &expected, "each message is received once, in order, without a gap");
        let head = simulation.log.last().map(|message| message.pos);
        let reached = simulation.received.last().copied().or(head);
        prop_assert_eq!(reached, head, "all messages up to the head are received");
    }

    #[test]
    fn no_input_sequence_causes_a_panic_or_an_endless_tick(
        jitter_seed: u64,
        tokens: bool,
        steps in prop::collection::vec((0..21u8, 0..60_000u64, 0..4u64, any::<bool>()), 0..200),
    ) {
        let mut simulation = Simulation::new(jitter_seed);
        if tokens {
            simulation.core = ClientCore::new(None, JitterSource::from_seed(jitter_seed)).with_tokens();
        }
        let room = simulation.room.clone();
        for (kind, time, socket, flag) in steps {
            let pos = Position::new(7, time % 5);
            let id = || format!("x{socket}").parse().unwrap();
            simulation.handle(match kind {
                0 => ClientInput::Connect,
                1 => ClientInput::Disconnect,
                2 => ClientInput::Online,
                3 => ClientInput::Offline,
                4 => ClientInput::Visible,
                5 => {
                    let result = if flag { SessionProbe::Unavailable(time) } else { SessionProbe::NotLoggedIn };
                    ClientInput::Probed { socket, result }
                }
                6 => ClientInput::Closed { socket, code: if flag { 1006 } else { 4409 } },
                7 => ClientInput::Join { room: room.clone(), recent: usize::from(flag) },
                8 => ClientInput::Leave { room: room.clone() },
                9 => ClientInput::Send { room: room.clone(), id: id(), content: text("hi") },
                10 => ClientInput::Retry { room: room.clone(), id: id() },
                11 => ClientInput::Discard { room: room.clone(), id: id() },
                12 => ClientInput::History { room: room.clone(), before: flag.then_some(pos), limit: 5 },
                13 => ClientInput::Typing { room: room.clone() },
                14 => {
                    let event = Event::Joined { room: room.clone(), resumed: flag, head: pos, seen: flag.then_some(pos) };
                    ClientInput::Frame { socket, event }
                }
                15 => ClientInput::Seen { room: room.clone(), pos },
                16 => {
                    let (event, data) = ("cursor".parse().unwrap(), "1".parse().unwrap());
                    ClientInput::Signal { room: room.clone(), event, data }
                }
                17 => ClientInput::Token { socket, token: flag.then(|| Token::new("t")) },
                18 => {
                    let refusal = Refusal::new(if flag { ErrorCode::BadToken } else { ErrorCode::Forbidden }, "no");
                    ClientInput::Frame { socket, event: Event::Error(refusal.in_room(&room)) }
                }
                19 => {
                    let event = if flag { Event::Left { room: room.clone() } } else { Event::Refreshed { expires_in: time } };
                    ClientInput::Frame { socket, event }
                }
                _ => ClientInput::Tick,
            });
            simulation.wait(time);
        }
    }
}
