//! The decision core: inputs in, effects out; no socket, no clock, no dice of its own.
//!
//! Whoever drives it passes the time with every input, carries out the effects in order, and calls back with
//! [`Input::Tick`] at [`Core::wake`]. The same vectors pin this machine and the browser's (`web/vectors/`).

mod link;
mod outbox;
mod room;
mod words;

use std::collections::VecDeque;

use trunkline_domain::{Command, Event, Millis, UserName};

use link::Link;
use outbox::Item;
use room::Subscription;
pub use words::{Cause, Effect, End, Entry, EntryState, Input, Notice, PageFailure, Passed, Probed, SocketId, State};

/// Where randomness comes from: each call gives a number of `[0, 1)`.
pub type Dice = Box<dyn FnMut() -> f64 + Send>;

/// The state machine of one client.
///
/// Memory: one [`Entry`] for each message that is not settled yet (the application decides how many it lets wait), and
/// up to 256 positions a room.
pub struct Core {
    /// Whom the machine speaks for; learned from the server if not given. Never changes after that: an outbox is never
    /// sent under another name.
    user: Option<UserName>,
    now: Millis,
    link: Link,
    /// In the order of the `join` inputs.
    rooms: Vec<Subscription>,
    /// In the order of [`Entry::at`].
    outbox: Vec<Item>,
    last_at: Millis,
    effects: VecDeque<Effect>,
    dice: Dice,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("user", &self.user).field("link", &self.link).finish_non_exhaustive()
    }
}

impl Core {
    /// A machine that speaks for `user`, or for whomever the server names first.
    #[must_use]
    pub fn new(user: Option<UserName>, dice: Dice) -> Self {
        Self {
            user,
            now: 0,
            link: Link::default(),
            rooms: Vec::new(),
            outbox: Vec::new(),
            last_at: 0,
            effects: VecDeque::new(),
            dice,
        }
    }

    /// Whom the machine speaks for.
    #[must_use]
    pub fn user(&self) -> Option<&UserName> {
        self.user.as_ref()
    }

    /// Entries of the outbox that are neither sent nor discarded: pending, failed and unsure ones.
    pub fn unsettled(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.outbox.iter().map(|item| &item.entry)
    }

    /// Takes one input at the time `now`, in milliseconds since the Unix epoch, which never goes back.
    /// What follows from it waits in [`Core::effect`].
    pub fn handle(&mut self, now: Millis, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Connect => self.connect(),
            Input::Disconnect => self.stop(State::Closed),
            Input::Tick => self.tick(),
            Input::Online => {
                self.link.offline = false;
                self.nudge();
            }
            Input::Offline => self.went_offline(),
            Input::Visible => self.nudge(),
            Input::Probed { socket, answer } => self.probed(socket, answer),
            Input::Frame { socket, event } => self.frame(socket, event),
            Input::Passed { socket, passed } => self.passed(socket, &passed),
            Input::Closed { socket, code } => self.closed(socket, code),
            Input::Join { room, recent } => self.add_room(room, recent),
            Input::Leave { room } => self.remove_room(&room),
            Input::Outbox { room, entries } => self.loaded(&room, entries),
            Input::Send { room, id, text } => self.send(room, id, text),
            Input::Retry { room, id } => self.send_again(&room, &id),
            Input::Discard { room, id } => self.settle(&room, &id, EntryState::Discarded, None),
            Input::History { room, before, limit } => self.history(room, before, limit),
            Input::Typing { room } => self.typing(&room),
        }
    }

    /// The next thing to do; to be called until it is `None`, after every [`Core::handle`].
    pub fn effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due; `None`: only another input can change anything.
    #[must_use]
    pub fn wake(&self) -> Option<Millis> {
        let mut due = self.link.due();
        if self.link.active.is_some() {
            for room in &self.rooms {
                let send = self.next_entry(room).map(|_| room.send_at);
                due = [due, room.rejoin_at, send].into_iter().flatten().min();
            }
        }
        due
    }

    fn tick(&mut self) {
        self.tick_link();
        if self.link.active.is_none() {
            return;
        }
        for index in 0..self.rooms.len() {
            if self.rooms[index].rejoin_at.is_some_and(|at| at <= self.now) {
                self.join(index);
            }
            self.flush(index);
        }
    }

    fn frame(&mut self, socket: SocketId, event: Event) {
        if self.link.is_trial(socket) {
            if let Event::Welcome { user, instance, ping_interval_ms, .. } = event {
                self.welcome(socket, user, instance, ping_interval_ms);
            }
            return;
        }
        if !self.link.heard(socket, self.now) {
            return;
        }
        match event {
            Event::Ping => self.transmit(Command::Pong),
            Event::Closing { reconnect_after_ms, .. } => {
                self.link.hand_over_at(self.now.saturating_add(reconnect_after_ms));
            }
            Event::Error(refusal) => self.refused(refusal),
            Event::Sent { room, id, pos } => self.answered(&room, &id, EntryState::Sent { pos }, None),
            Event::Joined { room, resumed, head } => self.joined(&room, resumed, head),
            Event::Message { room, message } => self.message(room, message),
            Event::History { room, before, messages, more } => self.page(&room, before, messages, more),
            Event::Presence { room, count, here, came, went } => self.presence(&room, count, here, came, went),
            Event::Typing { room, user } => self.typed(room, user),
            Event::Welcome { .. } | Event::Left { .. } | Event::Unknown => {}
        }
    }

    fn transmit(&mut self, command: Command) {
        if let Some(active) = &self.link.active {
            self.effects.push_back(Effect::Transmit { socket: active.socket, command });
        }
    }

    fn tell(&mut self, notice: Notice) {
        self.effects.push_back(Effect::Tell(notice));
    }

    /// Full jitter: any delay below a ceiling that doubles with each failure.
    fn jitter(&mut self, failures: u32) -> Millis {
        let ceiling = link::BACKOFF_MOST.min(link::BACKOFF_FIRST << failures.min(16));
        // The product lies in 0..=20000: neither sign nor precision is lost.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let delay = ((self.dice)() * ceiling as f64).floor() as Millis;
        delay
    }
}
