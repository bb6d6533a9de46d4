//! The core in a simulated world of crashes, lost answers, refusals and gaps: whatever happens, each message is shown
//! once and in order, and each message sent stands once.

use std::collections::VecDeque;

use proptest::prelude::*;
use trunkline_client::{Core, Effect, Input, Notice, Probed, SocketId};
use trunkline_domain::{Command, ErrorCode, Event, JoinFrom, Limits, Message, Position, Refusal, Room};

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// The person writes.
    Write,
    /// Somebody else writes.
    Other,
    /// The next command reaches the server and is answered.
    Serve,
    /// The next command reaches the server; its answer is `unavailable` though it took effect.
    Doubtful,
    /// The next command is refused for now.
    Refuse,
    /// One frame reaches the client.
    Hear,
    /// The connection breaks: what is under way in either direction is lost.
    Break,
    /// The server wants the client to come back elsewhere.
    Drain,
    /// Time passes, in milliseconds.
    Pass(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => Just(Happening::Write),
        3 => Just(Happening::Other),
        8 => Just(Happening::Serve),
        1 => Just(Happening::Doubtful),
        1 => Just(Happening::Refuse),
        12 => Just(Happening::Hear),
        1 => Just(Happening::Break),
        1 => Just(Happening::Drain),
        4 => (1..3000u64).prop_map(Happening::Pass),
    ]
}

struct World {
    core: Core,
    now: u64,
    room: Room,
    log: Vec<Message>,
    /// The socket that is open, how much of the log it was told, and whether it is joined.
    socket: Option<(SocketId, usize, bool)>,
    commands: VecDeque<Command>,
    frames: VecDeque<(SocketId, Event)>,
    written: usize,
    shown: Vec<Position>,
}

impl World {
    fn new() -> Self {
        let core = Core::new(Some("ann".parse().unwrap()), Box::new(|| 0.5));
        let mut world = Self {
            core,
            now: 1_000_000,
            room: "lobby".parse().unwrap(),
            log: Vec::new(),
            socket: None,
            commands: VecDeque::new(),
            frames: VecDeque::new(),
            written: 0,
            shown: Vec::new(),
        };
        let room = world.room.clone();
        world.tell(Input::Join { room: room.clone(), recent: 0 });
        world.tell(Input::Connect);
        world
    }

    fn tell(&mut self, input: Input) {
        self.core.handle(self.now, input);
        while let Some(effect) = self.core.effect() {
            match effect {
                Effect::Load { room, .. } => self.tell(Input::Outbox { room, entries: Vec::new() }),
                Effect::Probe { socket } => {
                    let answer = Probed::LoggedIn("ann".parse().unwrap());
                    self.tell(Input::Probed { socket, answer });
                }
                Effect::Open { socket } => {
                    self.break_off();
                    self.socket = Some((socket, 0, false));
                    let limits = Limits { text_bytes: 4096, rooms: 128 };
                    let (user, instance) = ("ann".parse().unwrap(), "gw".to_owned());
                    self.say(Event::Welcome { user, instance, ping_interval_ms: 25_000, limits });
                }
                Effect::Close { socket } => {
                    if self.socket.is_some_and(|(open, ..)| open == socket) {
                        self.break_off();
                    }
                }
                Effect::Transmit { socket, command } => {
                    if self.socket.is_some_and(|(open, ..)| open == socket) {
                        self.commands.push_back(command);
                    }
                }
                Effect::Tell(Notice::Message { message, .. }) => self.shown.push(message.pos),
                Effect::Tell(Notice::Joined { gap, .. }) => assert!(!gap, "the log was always whole"),
                Effect::Tell(_) => {}
            }
        }
    }

    fn break_off(&mut self) {
        self.socket = None;
        self.commands.clear();
        self.frames.clear();
    }

    fn say(&mut self, event: Event) {
        if let Some((socket, ..)) = self.socket {
            self.frames.push_back((socket, event));
        }
    }

    fn append(&mut self, user: &str, id: &str, text: &str) -> Position {
        let (user, id) = (user.parse().unwrap(), id.parse().unwrap());
        if let Some(known) = self.log.iter().find(|message| message.user == user && message.id == id) {
            return known.pos;
        }
        let pos = Position::new(7, self.log.len() as u64 + 1);
        self.log.push(Message { pos, id, user, text: text.parse().unwrap(), at: 1 });
        pos
    }

    /// What was appended since goes to the client, if it is joined.
    fn deliver(&mut self) {
        let Some((_, told, true)) = self.socket else { return };
        for index in told..self.log.len() {
            let (room, message) = (self.room.clone(), self.log[index].clone());
            self.say(Event::Message { room, message });
        }
        if let Some((_, told, _)) = &mut self.socket {
            *told = self.log.len();
        }
    }

    fn serve(&mut self, doubtful: bool, refuse: bool) {
        let Some(command) = self.commands.pop_front() else { return };
        let room = self.room.clone();
        match command {
            Command::Join { .. } if refuse => {
                let refusal = Refusal::new(ErrorCode::RateLimited, "later").in_room(&room);
                self.say(Event::Error(refusal));
            }
            Command::Join { from: JoinFrom { after, .. }, .. } => {
                let head = self.log.last().map_or(Position::ORIGIN, |message| message.pos);
                self.say(Event::Joined { room, resumed: after.is_some(), head });
                let told = after.map_or(self.log.len(), |after| usize::try_from(after.offset).unwrap());
                if let Some(socket) = &mut self.socket {
                    (socket.1, socket.2) = (told, true);
                }
            }
            Command::Send { id, .. } if refuse => {
                self.say(Event::Error(Refusal::new(ErrorCode::RateLimited, "later").in_room(&room).of(&id)));
            }
            Command::Send { id, text, .. } => {
                let pos = self.append("ann", id.as_str(), text.as_str());
                if doubtful {
                    self.say(Event::Error(Refusal::new(ErrorCode::Unavailable, "?").in_room(&room).of(&id)));
                } else {
                    self.say(Event::Sent { room, id, pos });
                }
            }
            _ => {}
        }
        self.deliver();
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Write => {
                let (id, text) = (format!("a{:04}", self.written), "hi".parse().unwrap());
                self.written += 1;
                self.tell(Input::Send { room: self.room.clone(), id: id.parse().unwrap(), text });
            }
            Happening::Other => {
                let id = format!("b{}", self.log.len());
                self.append("bob", &id, "ho");
                self.deliver();
            }
            Happening::Serve => self.serve(false, false),
            Happening::Doubtful => self.serve(true, false),
            Happening::Refuse => self.serve(false, true),
            Happening::Hear => {
                if let Some((socket, event)) = self.frames.pop_front() {
                    self.tell(Input::Frame { socket, event });
                }
            }
            Happening::Break => {
                if let Some((socket, ..)) = self.socket {
                    self.break_off();
                    self.tell(Input::Closed { socket, code: 1006 });
                }
            }
            Happening::Drain => self.say(Event::Closing { reason: "drain".to_owned(), reconnect_after_ms: 500 }),
            Happening::Pass(time) => self.pass(time),
        }
    }

    /// Time passes; what is due happens when it is due.
    fn pass(&mut self, time: u64) {
        let until = self.now + time;
        let mut ticks = 0;
        while let Some(wake) = self.core.wake().filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            self.tell(Input::Tick);
            ticks += 1;
            assert!(ticks < 1000, "a tick changes nothing, and the next is due at once");
        }
        self.now = until;
    }

    /// Nothing goes wrong any more.
    fn rest(&mut self) {
        for _ in 0..40 {
            self.pass(1000);
            for _ in 0..200 {
                self.happen(Happening::Hear);
                self.happen(Happening::Serve);
            }
        }
    }
}

proptest! {
    #[test]
    fn everything_is_shown_once_and_stands_once(happenings in prop::collection::vec(happening(), 0..200)) {
        let mut world = World::new();
        for happening in happenings {
            world.happen(happening);
        }
        world.rest();
        prop_assert_eq!(world.core.unsettled().len(), 0);
        let own: Vec<_> = world.log.iter().filter(|message| message.user.as_str() == "ann").map(|m| m.id.to_string()).collect();
        let expected: Vec<_> = (0..world.written).map(|number| format!("a{number:04}")).collect();
        prop_assert_eq!(own, expected, "each stands once, in the order of the writing");
        let first = world.shown.first().map_or(0, |pos| pos.offset);
        let expected: Vec<_> = (first..).take(world.shown.len()).map(|offset| Position::new(7, offset)).collect();
        prop_assert_eq!(&world.shown, &expected, "shown once, in order, without a gap");
        let reached = world.shown.last().copied().or(world.log.last().map(|message| message.pos));
        prop_assert_eq!(reached, world.log.last().map(|message| message.pos), "and to the end");
    }

    #[test]
    fn nothing_makes_it_panic_or_spin(
        steps in prop::collection::vec((0..16u8, 0..60_000u64, 0..4u64, any::<bool>()), 0..200),
    ) {
        let mut world = World::new();
        let room = world.room.clone();
        for (kind, time, socket, flag) in steps {
            let pos = Position::new(7, time % 5);
            let id = || format!("x{socket}").parse().unwrap();
            world.tell(match kind {
                0 => Input::Connect,
                1 => Input::Disconnect,
                2 => Input::Online,
                3 => Input::Offline,
                4 => Input::Visible,
                5 => Input::Probed { socket, answer: if flag { Probed::Unavailable(time) } else { Probed::NotLoggedIn } },
                6 => Input::Closed { socket, code: if flag { 1006 } else { 4409 } },
                7 => Input::Join { room: room.clone(), recent: usize::from(flag) },
                8 => Input::Leave { room: room.clone() },
                9 => Input::Send { room: room.clone(), id: id(), text: "hi".parse().unwrap() },
                10 => Input::Retry { room: room.clone(), id: id() },
                11 => Input::Discard { room: room.clone(), id: id() },
                12 => Input::History { room: room.clone(), before: flag.then_some(pos), limit: 5 },
                13 => Input::Typing { room: room.clone() },
                14 => Input::Frame { socket, event: Event::Joined { room: room.clone(), resumed: flag, head: pos } },
                _ => Input::Tick,
            });
            world.pass(time);
        }
    }
}
