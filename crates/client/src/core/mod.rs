//! The client's state machine. It does no I/O and reads neither a clock nor a global random generator.
//!
//! The driver passes the time with every input, carries out the effects in order, and passes [`ClientInput::Tick`] at
//! [`ClientCore::next_tick`]. The vectors in `web/vectors/` pin this machine and the browser's alike.

mod connection;
mod effect;
mod event;
mod fold;
mod input;
mod jitter;
mod outbox;
mod presence;
mod read_mark;
mod room;
mod token;

use std::collections::VecDeque;

use trunkline_domain::{Command, Event, Millis, UserId};

use connection::ConnectionState;
pub use effect::ClientEffect;
pub use event::{ClientEvent, ClientState, DisconnectReason, EndReason, HistoryFailure, OutboxEntry, OutboxEntryState};
pub use fold::{Fold, FoldedMessage, FoldedReaction};
pub use input::{ClientInput, MessageSummary, SessionProbe, SocketId};
pub use jitter::JitterSource;
use outbox::OutboxItem;
use room::ClientRoom;

/// The state machine of one client.
///
/// Memory: one [`OutboxEntry`] per unacknowledged message, whose number the application bounds, and up to 256 positions
/// per room. It holds no messages: an application shows what a [`Fold`] of the emitted ones contains.
#[derive(Debug)]
pub struct ClientCore {
    /// The user that the outbox belongs to, learned from the server if not given. Never changes after that, so an
    /// outbox is never sent under another name.
    user: Option<UserId>,
    /// Whether the driver has a source of tokens, so that an identity that has ended can begin again.
    has_tokens: bool,
    now: Millis,
    connection: ConnectionState,
    /// In the order of the `Join` inputs.
    rooms: Vec<ClientRoom>,
    /// In the order of [`OutboxEntry::written_at`].
    outbox: Vec<OutboxItem>,
    last_written_at: Millis,
    effects: VecDeque<ClientEffect>,
    jitter: JitterSource,
}

impl ClientCore {
    /// A disconnected client of `user`, or of the user whose session the server confirms first.
    #[must_use]
    pub fn new(user: Option<UserId>, jitter: JitterSource) -> Self {
        Self {
            user,
            has_tokens: false,
            now: 0,
            connection: ConnectionState::default(),
            rooms: Vec::new(),
            outbox: Vec::new(),
            last_written_at: 0,
            effects: VecDeque::new(),
            jitter,
        }
    }

    /// The same client with a source of tokens: it refreshes them, and reconnects after a 401 and after 4401.
    #[must_use]
    pub fn with_tokens(self) -> Self {
        Self { has_tokens: true, ..self }
    }

    /// The user that the outbox belongs to.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        self.user.as_ref()
    }

    /// The outbox: pending, failed and uncertain entries, in the order in which they were written.
    pub fn outbox(&self) -> impl ExactSizeIterator<Item = &OutboxEntry> {
        self.outbox.iter().map(|item| &item.entry)
    }

    /// Handles one input at the time `now`, in ms since the Unix epoch. Time never goes back: an earlier `now` counts as
    /// the latest one. [`poll_effect`](Self::poll_effect) returns the effects.
    pub fn handle(&mut self, now: Millis, input: ClientInput) {
        self.now = self.now.max(now);
        match input {
            ClientInput::Connect => self.connect(),
            ClientInput::Disconnect => self.stop(ClientState::Closed),
            ClientInput::Tick => self.tick(),
            ClientInput::Online => {
                self.connection.offline = false;
                self.skip_back_off();
            }
            ClientInput::Offline => self.went_offline(),
            ClientInput::Visible => self.skip_back_off(),
            ClientInput::Probed { socket, result } => self.probed(socket, result),
            ClientInput::Token { socket, token } => self.token(socket, token),
            ClientInput::Frame { socket, event } => self.frame(socket, event),
            ClientInput::MessageSeen { socket, message } => self.message_seen(socket, &message),
            ClientInput::Closed { socket, code } => self.closed(socket, code),
            ClientInput::Join { room, recent } => self.add_room(room, recent),
            ClientInput::Leave { room } => self.remove_room(&room),
            ClientInput::Outbox { room, entries } => self.outbox_loaded(&room, entries),
            ClientInput::Send { room, id, content } => self.send(room, id, content),
            ClientInput::Retry { room, id } => self.retry(&room, &id),
            ClientInput::Discard { room, id } => self.remove_entry(&room, &id, OutboxEntryState::Discarded, None),
            ClientInput::History { room, before, limit } => self.request_history(room, before, limit),
            ClientInput::Typing { room } => self.send_typing(&room),
            ClientInput::Signal { room, event, data } => self.send_signal(room, event, data),
            ClientInput::Seen { room, pos } => self.seen(&room, pos),
        }
    }

    /// The next effect. Call it until it returns `None` after every [`handle`](Self::handle).
    pub fn poll_effect(&mut self) -> Option<ClientEffect> {
        self.effects.pop_front()
    }

    /// When [`ClientInput::Tick`] is due, in ms since the Unix epoch. `None` if no timer runs.
    #[must_use]
    pub fn next_tick(&self) -> Option<Millis> {
        let mut due = self.connection.next_tick();
        if self.connection.active.is_some() {
            for room in &self.rooms {
                let send = self.next_to_send(room).map(|_| room.send_at);
                due = [due, room.rejoin_at, send, room.next_mark()].into_iter().flatten().min();
            }
        }
        due
    }

    fn tick(&mut self) {
        self.tick_connection();
        if self.connection.active.is_none() {
            return;
        }
        self.tick_token();
        for index in 0..self.rooms.len() {
            if self.rooms[index].rejoin_at.is_some_and(|at| at <= self.now) {
                self.join(index);
            }
            self.send_mark(index);
            self.flush(index);
        }
    }

    fn frame(&mut self, socket: SocketId, event: Event) {
        if self.connection.awaits_welcome(socket) {
            if let Event::Welcome { user, name, instance, ping_interval_ms, .. } = event {
                self.welcome(socket, (user, name), instance, ping_interval_ms);
            }
            return;
        }
        if !self.connection.record_activity(socket, self.now) {
            return;
        }
        match event {
            Event::Ping => self.transmit(Command::Pong),
            Event::Closing { reconnect_after_ms, .. } => {
                self.connection.schedule_hand_over(self.now.saturating_add(reconnect_after_ms));
            }
            Event::Error(refusal) => self.refused(refusal),
            Event::Sent { room, id, pos } => self.acknowledged(&room, &id, OutboxEntryState::Sent { pos }, None),
            Event::Joined { room, resumed, head, seen } => self.joined(&room, resumed, head, seen),
            Event::Message { room, message } => self.message(room, message),
            Event::History { room, before, messages, more } => self.history(&room, before, messages, more),
            Event::Presence { room, count, users, joined, left } => self.presence(&room, count, users, joined, left),
            Event::Typing { room, user } => self.typing(room, user),
            Event::Signal { room, user, event, data } => self.signal(room, user, event, data),
            Event::Seen { room, pos } => self.marked_elsewhere(&room, pos),
            Event::Left { room } => self.left(&room),
            Event::Refreshed { expires_in } => self.refreshed(expires_in),
            Event::Welcome { .. } | Event::Unknown => {}
        }
    }

    fn transmit(&mut self, command: Command) {
        if let Some(active) = &self.connection.active {
            self.effects.push_back(ClientEffect::Transmit { socket: active.socket, command });
        }
    }

    fn emit(&mut self, event: ClientEvent) {
        self.effects.push_back(ClientEffect::Emit(event));
    }

    /// A back-off delay with full jitter: a random part of a ceiling that doubles with each failure
    /// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
    fn back_off_delay(&mut self, failures: u32) -> Millis {
        let ceiling = connection::MAX_BACKOFF_MS.min(connection::FIRST_BACKOFF_MS << failures.min(16));
        // The product lies in 0..=20000, so neither sign nor precision is lost.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let delay = (self.jitter.next_factor() * ceiling as f64).floor() as Millis;
        delay
    }
}
