//! The connection: attempts, back-off, silence, hand-over.

use trunkline_domain::{CloseCode, Millis, Reconnect, UserName};

use super::{Cause, Core, Effect, End, Notice, Probed, SocketId, State};

/// Ceiling of the first back-off, in milliseconds; it doubles with each failure.
pub(super) const BACKOFF_FIRST: Millis = 500;
/// Ceiling of every back-off, in milliseconds.
pub(super) const BACKOFF_MOST: Millis = 20_000;
/// From the start of an attempt to `welcome`, in milliseconds.
const ATTEMPT_TIMEOUT: Millis = 10_000;
/// A socket that lived this long has proven the way: its loss starts the back-off afresh.
const STABLE_AFTER: Millis = 10_000;
/// After a close that blames this client the back-off starts here (0 to 4 s).
const BLAMED_FAILURES: u32 = 3;
/// RFC 6455 section 7.1.5: a socket that went without a close frame.
const ABNORMAL: u16 = 1006;

/// What is known of the way to the server.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) offline: bool,
    sockets: SocketId,
    failures: u32,
    /// The attempt under way; beside an active socket only during a hand-over.
    trial: Option<Trial>,
    /// The socket that said `welcome`.
    pub(super) active: Option<Active>,
    retry: Option<Retry>,
}

#[derive(Debug)]
struct Trial {
    socket: SocketId,
    /// The probe was answered and the socket asked for.
    open: bool,
    deadline: Millis,
}

#[derive(Debug)]
pub(super) struct Active {
    pub(super) socket: SocketId,
    since: Millis,
    heard: Millis,
    /// Milliseconds without a frame after which the peer is taken for dead: 1.6 ping intervals.
    silence: Millis,
    /// When the draining server wants us to come back.
    hand_over: Option<Millis>,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Millis,
    cause: Cause,
}

impl Link {
    /// When something is due by itself.
    pub(super) fn due(&self) -> Option<Millis> {
        let active = self.active.as_ref();
        [
            self.trial.as_ref().map(|trial| trial.deadline),
            self.retry.map(|retry| retry.at),
            active.map(|active| active.heard + active.silence),
            active.and_then(|active| active.hand_over),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn is_trial(&self, socket: SocketId) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.open && trial.socket == socket)
    }

    /// Notes a sign of life; false if the socket is not the active one.
    pub(super) fn heard(&mut self, socket: SocketId, now: Millis) -> bool {
        match &mut self.active {
            Some(active) if active.socket == socket => {
                active.heard = now;
                true
            }
            _ => false,
        }
    }

    pub(super) fn hand_over_at(&mut self, at: Millis) {
        if let Some(active) = &mut self.active {
            active.hand_over = Some(at);
        }
    }

    fn is_silent(&self, now: Millis) -> bool {
        self.active.as_ref().is_some_and(|active| now >= active.heard + active.silence)
    }
}

impl Core {
    pub(super) fn connect(&mut self) {
        if self.link.active.is_none() && self.link.trial.is_none() {
            self.attempt();
        }
    }

    fn attempt(&mut self) {
        self.link.retry = None;
        self.link.sockets += 1;
        let socket = self.link.sockets;
        self.link.trial = Some(Trial { socket, open: false, deadline: self.now + ATTEMPT_TIMEOUT });
        if self.link.active.is_none() {
            self.tell(Notice::State(State::Connecting));
        }
        self.effects.push_back(Effect::Probe { socket });
    }

    pub(super) fn probed(&mut self, socket: SocketId, answer: Probed) {
        if self.link.trial.as_ref().is_none_or(|trial| trial.socket != socket) {
            return;
        }
        match answer {
            Probed::LoggedIn(user) => {
                if self.identify(&user) {
                    if let Some(trial) = &mut self.link.trial {
                        trial.open = true;
                    }
                    self.effects.push_back(Effect::Open { socket });
                }
            }
            Probed::NotLoggedIn => self.stop(State::Ended(End::NotLoggedIn)),
            Probed::Unavailable(after) => self.failed(Cause::Unavailable, after, None),
            Probed::Unreachable(after) => self.failed(Cause::Unreachable, after, None),
        }
    }

    /// The attempt under way came to nothing.
    fn failed(&mut self, cause: Cause, after: Millis, code: Option<u16>) {
        if let Some(Trial { socket, open: true, .. }) = self.link.trial.take() {
            self.effects.push_back(Effect::Close { socket });
        }
        self.back_off(cause, after, code);
    }

    fn back_off(&mut self, cause: Cause, after: Millis, code: Option<u16>) {
        let jitter = self.jitter(self.link.failures);
        let at = self.now.saturating_add(after).saturating_add(jitter);
        self.link.failures = self.link.failures.saturating_add(1);
        self.link.retry = Some(Retry { at, cause });
        if self.link.active.is_none() {
            self.tell_waiting(code);
        }
    }

    fn tell_waiting(&mut self, code: Option<u16>) {
        if let Some(Retry { at: retry_at, cause }) = self.link.retry {
            let offline = self.link.offline;
            self.tell(Notice::State(State::Waiting { cause, retry_at, code, offline }));
        }
    }

    pub(super) fn went_offline(&mut self) {
        self.link.offline = true;
        if self.link.active.is_none() {
            self.tell_waiting(None);
        }
    }

    pub(super) fn welcome(&mut self, socket: SocketId, user: UserName, instance: String, ping_interval: Millis) {
        self.link.trial = None;
        let active = Active {
            socket,
            since: self.now,
            heard: self.now,
            silence: ping_interval.max(1).saturating_mul(8) / 5,
            hand_over: None,
        };
        if let Some(old) = self.link.active.replace(active) {
            self.effects.push_back(Effect::Close { socket: old.socket });
        }
        if !self.identify(&user) {
            return;
        }
        self.tell(Notice::State(State::Connected { user, instance }));
        for index in 0..self.rooms.len() {
            self.forget_subscription(index);
            self.join(index);
        }
    }

    /// False, and the end, if the server takes us for somebody else.
    fn identify(&mut self, user: &UserName) -> bool {
        if self.user.is_none() {
            self.user = Some(user.clone());
            for room in &self.rooms {
                self.effects.push_back(Effect::Load { user: user.clone(), room: room.name.clone() });
            }
        }
        let same = self.user.as_ref() == Some(user);
        if !same {
            self.stop(State::Ended(End::OtherUser));
        }
        same
    }

    pub(super) fn closed(&mut self, socket: SocketId, code: u16) {
        if let Some(trial) = self.link.trial.as_mut().filter(|trial| trial.socket == socket) {
            trial.open = false;
            if !self.stays_away(code) {
                self.failed(Cause::Closed, 0, Some(code));
            }
        } else if self.link.active.as_ref().is_some_and(|active| active.socket == socket) {
            self.lost(code, Cause::Closed);
        }
    }

    /// Whether the close code forbids to come back; then everything is stopped.
    fn stays_away(&mut self, code: u16) -> bool {
        let state = match CloseCode::from_code(code).map(CloseCode::reconnect) {
            Some(Reconnect::LoginFirst) => State::Ended(End::SessionEnded),
            Some(Reconnect::OnRequest) => State::Down,
            Some(Reconnect::WhenTold | Reconnect::WithBackoff) | None => return false,
        };
        self.stop(state);
        true
    }

    /// The active socket is gone.
    fn lost(&mut self, code: u16, cause: Cause) {
        let Some(active) = self.link.active.take() else { return };
        for index in 0..self.rooms.len() {
            self.forget_subscription(index);
        }
        if self.stays_away(code) {
            return;
        }
        if self.link.trial.is_some() {
            self.tell(Notice::State(State::Connecting));
        } else if self.link.retry.is_some() {
            self.tell_waiting(Some(code));
        } else if let Some(at) = active.hand_over {
            self.link.retry = Some(Retry { at: at.max(self.now), cause: Cause::Drain });
            self.tell_waiting(Some(code));
        } else {
            if self.now >= active.since + STABLE_AFTER {
                self.link.failures = 0;
            }
            if is_blame(code) {
                self.link.failures = self.link.failures.max(BLAMED_FAILURES);
            }
            self.back_off(cause, 0, (cause == Cause::Closed).then_some(code));
        }
    }

    fn hang_up(&mut self) {
        if let Some(active) = &self.link.active {
            self.effects.push_back(Effect::Close { socket: active.socket });
            self.lost(ABNORMAL, Cause::Silence);
        }
    }

    /// The world may have changed: do not sit out the back-off. A draining server, though, named its time.
    pub(super) fn nudge(&mut self) {
        if self.link.is_silent(self.now) {
            self.hang_up();
        }
        if self.link.retry.is_some_and(|retry| retry.cause != Cause::Drain) {
            self.attempt();
        }
    }

    pub(super) fn stop(&mut self, state: State) {
        if let Some(Trial { socket, open: true, .. }) = self.link.trial.take() {
            self.effects.push_back(Effect::Close { socket });
        }
        if let Some(active) = self.link.active.take() {
            self.effects.push_back(Effect::Close { socket: active.socket });
        }
        self.link.retry = None;
        for index in 0..self.rooms.len() {
            self.forget_subscription(index);
        }
        self.tell(Notice::State(state));
    }

    pub(super) fn tick_link(&mut self) {
        if self.link.is_silent(self.now) {
            self.hang_up();
        }
        if self.link.trial.as_ref().is_some_and(|trial| self.now >= trial.deadline) {
            self.failed(Cause::Timeout, 0, None);
        }
        if let Some(active) = &mut self.link.active
            && active.hand_over.is_some_and(|at| self.now >= at)
        {
            active.hand_over = None;
            self.link.failures = 0;
            if self.link.trial.is_none() {
                self.attempt();
            }
        }
        if self.link.retry.is_some_and(|retry| self.now >= retry.at) {
            self.attempt();
        }
    }
}

/// Codes that say that this client did wrong: to come back at once would only repeat it.
fn is_blame(code: u16) -> bool {
    use CloseCode::{InvalidUtf8, Policy, TooBig, Unsupported};
    matches!(CloseCode::from_code(code), Some(Unsupported | InvalidUtf8 | Policy | TooBig))
}
