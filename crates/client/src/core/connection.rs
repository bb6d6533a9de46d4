//! Connection attempts, back-off, detection of dead sockets, and the hand-over to another instance.

use trunkline_domain::{CloseCode, DisplayName, Millis, Reconnect, UserId};

use super::{ClientCore, ClientEffect, ClientEvent, ClientState, DisconnectReason, EndReason, SessionProbe, SocketId};

/// Ceiling of the first back-off delay, in ms. It doubles with each failure.
pub(super) const FIRST_BACKOFF_MS: Millis = 500;
/// Maximum ceiling of a back-off delay, in ms.
pub(super) const MAX_BACKOFF_MS: Millis = 20_000;
/// Maximum time from the start of a connection attempt to `welcome`, in ms.
const ATTEMPT_TIMEOUT_MS: Millis = 10_000;
/// Minimum lifetime of a socket whose loss restarts the back-off, in ms. A socket that is lost earlier counts as another
/// failure.
const STABLE_AFTER_MS: Millis = 10_000;
/// Minimum number of failures after a close code that blames this client: the next ceiling is 4 s.
const FAILURES_AFTER_BLAME: u32 = 3;
/// RFC 6455 section 7.1.5: the socket closed without a close frame.
const ABNORMAL_CLOSURE: u16 = 1006;

/// The state of the connection to the server.
#[derive(Debug, Default)]
pub(super) struct ConnectionState {
    pub(super) offline: bool,
    /// The number of the latest socket.
    latest_socket: SocketId,
    /// Failed attempts in a row.
    failures: u32,
    /// The attempt under way. There is an active socket at the same time only during a hand-over.
    attempt: Option<ConnectAttempt>,
    /// The socket on which `welcome` arrived.
    pub(super) active: Option<ActiveSocket>,
    retry: Option<ScheduledRetry>,
}

#[derive(Debug)]
struct ConnectAttempt {
    socket: SocketId,
    /// Whether the probe succeeded and [`ClientEffect::Open`] was emitted.
    open: bool,
    deadline: Millis,
    /// When its token is to be replaced.
    refresh_at: Option<Millis>,
}

#[derive(Debug)]
pub(super) struct ActiveSocket {
    pub(super) socket: SocketId,
    since: Millis,
    /// When the last frame arrived.
    last_frame_at: Millis,
    /// Time without a frame after which the socket counts as dead, in ms: 1.6 ping intervals.
    silence_limit: Millis,
    /// When the draining server asks the client to reconnect.
    hand_over_at: Option<Millis>,
    /// When to ask for a new token.
    pub(super) refresh_at: Option<Millis>,
    /// Tokens in a row that were refused or could not be had.
    pub(super) failed_tokens: u32,
}

#[derive(Clone, Copy, Debug)]
struct ScheduledRetry {
    at: Millis,
    reason: DisconnectReason,
}

impl ConnectionState {
    /// When the next timer expires.
    pub(super) fn next_tick(&self) -> Option<Millis> {
        let active = self.active.as_ref();
        [
            self.attempt.as_ref().map(|attempt| attempt.deadline),
            self.retry.map(|retry| retry.at),
            active.map(|active| active.last_frame_at + active.silence_limit),
            active.and_then(|active| active.hand_over_at),
            active.and_then(|active| active.refresh_at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn awaits_welcome(&self, socket: SocketId) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.open && attempt.socket == socket)
    }

    /// Records that a frame arrived. Returns false if the socket is not the active one.
    pub(super) fn record_activity(&mut self, socket: SocketId, now: Millis) -> bool {
        match &mut self.active {
            Some(active) if active.socket == socket => {
                active.last_frame_at = now;
                true
            }
            _ => false,
        }
    }

    pub(super) fn schedule_hand_over(&mut self, at: Millis) {
        if let Some(active) = &mut self.active {
            active.hand_over_at = Some(at);
        }
    }

    fn is_silent(&self, now: Millis) -> bool {
        self.active.as_ref().is_some_and(|active| now >= active.last_frame_at + active.silence_limit)
    }
}

impl ClientCore {
    pub(super) fn connect(&mut self) {
        if self.connection.active.is_none() && self.connection.attempt.is_none() {
            self.start_attempt();
        }
    }

    fn start_attempt(&mut self) {
        self.connection.retry = None;
        self.connection.latest_socket += 1;
        let socket = self.connection.latest_socket;
        let deadline = self.now + ATTEMPT_TIMEOUT_MS;
        self.connection.attempt = Some(ConnectAttempt { socket, open: false, deadline, refresh_at: None });
        if self.connection.active.is_none() {
            self.emit(ClientEvent::State(ClientState::Connecting));
        }
        self.effects.push_back(ClientEffect::Probe { socket });
    }

    pub(super) fn probed(&mut self, socket: SocketId, result: SessionProbe) {
        if self.connection.attempt.as_ref().is_none_or(|attempt| attempt.socket != socket) {
            return;
        }
        match result {
            SessionProbe::LoggedIn { user, expires_in } => {
                if self.identify(&user) {
                    let refresh_at = expires_in.filter(|_| self.has_tokens).map(|time| self.refresh_time(time));
                    if let Some(attempt) = &mut self.connection.attempt {
                        attempt.open = true;
                        attempt.refresh_at = refresh_at;
                    }
                    self.effects.push_back(ClientEffect::Open { socket });
                }
            }
            SessionProbe::NotLoggedIn if self.has_tokens => self.attempt_failed(DisconnectReason::BadToken, 0, None),
            SessionProbe::NotLoggedIn => self.stop(ClientState::Ended(EndReason::NotLoggedIn)),
            SessionProbe::Unavailable(retry_after) => {
                self.attempt_failed(DisconnectReason::Unavailable, retry_after, None);
            }
            SessionProbe::Unreachable(retry_after) => {
                self.attempt_failed(DisconnectReason::Unreachable, retry_after, None);
            }
        }
    }

    /// Ends the attempt under way and schedules a retry, at the earliest after `retry_after` ms.
    fn attempt_failed(&mut self, reason: DisconnectReason, retry_after: Millis, code: Option<u16>) {
        if let Some(ConnectAttempt { socket, open: true, .. }) = self.connection.attempt.take() {
            self.effects.push_back(ClientEffect::Close { socket });
        }
        self.back_off(reason, retry_after, code);
    }

    fn back_off(&mut self, reason: DisconnectReason, retry_after: Millis, code: Option<u16>) {
        let delay = self.back_off_delay(self.connection.failures);
        let at = self.now.saturating_add(retry_after).saturating_add(delay);
        self.connection.failures = self.connection.failures.saturating_add(1);
        self.connection.retry = Some(ScheduledRetry { at, reason });
        if self.connection.active.is_none() {
            self.emit_waiting(code);
        }
    }

    fn emit_waiting(&mut self, code: Option<u16>) {
        if let Some(ScheduledRetry { at: retry_at, reason }) = self.connection.retry {
            let offline = self.connection.offline;
            self.emit(ClientEvent::State(ClientState::Waiting { reason, retry_at, code, offline }));
        }
    }

    pub(super) fn went_offline(&mut self) {
        self.connection.offline = true;
        if self.connection.active.is_none() {
            self.emit_waiting(None);
        }
    }

    pub(super) fn welcome(
        &mut self,
        socket: SocketId,
        (user, name): (UserId, Option<DisplayName>),
        instance: String,
        ping_interval: Millis,
    ) {
        let refresh_at = self.connection.attempt.take().and_then(|attempt| attempt.refresh_at);
        let active = ActiveSocket {
            socket,
            since: self.now,
            last_frame_at: self.now,
            silence_limit: ping_interval.max(1).saturating_mul(8) / 5,
            hand_over_at: None,
            refresh_at,
            failed_tokens: 0,
        };
        if let Some(old) = self.connection.active.replace(active) {
            self.effects.push_back(ClientEffect::Close { socket: old.socket });
        }
        if !self.identify(&user) {
            return;
        }
        self.emit(ClientEvent::State(ClientState::Connected { user, name, instance }));
        for index in 0..self.rooms.len() {
            self.reset_subscription(index);
            self.join(index);
        }
    }

    /// Checks that the identity is the outbox's user, and learns that user from the first one. Stops the
    /// client and returns false if it does not.
    fn identify(&mut self, user: &UserId) -> bool {
        if self.user.is_none() {
            self.user = Some(user.clone());
            for room in &self.rooms {
                self.effects.push_back(ClientEffect::Load { user: user.clone(), room: room.name.clone() });
            }
        }
        let same = self.user.as_ref() == Some(user);
        if !same {
            self.stop(ClientState::Ended(EndReason::OtherUser));
        }
        same
    }

    pub(super) fn closed(&mut self, socket: SocketId, code: u16) {
        if let Some(attempt) = self.connection.attempt.as_mut().filter(|attempt| attempt.socket == socket) {
            attempt.open = false;
            if !self.stops_after(code) {
                self.attempt_failed(DisconnectReason::Closed, 0, Some(code));
            }
        } else if self.connection.active.as_ref().is_some_and(|active| active.socket == socket) {
            self.socket_lost(code, DisconnectReason::Closed);
        }
    }

    /// Stops the client and returns true if the close code forbids to reconnect.
    fn stops_after(&mut self, code: u16) -> bool {
        let state = match CloseCode::from_code(code).map(CloseCode::reconnect) {
            // A new token may bring the identity back.
            Some(Reconnect::LoginFirst) if self.has_tokens => return false,
            Some(Reconnect::LoginFirst) => ClientState::Ended(EndReason::SessionEnded),
            Some(Reconnect::OnRequest) => ClientState::TooManySockets,
            Some(Reconnect::AfterDelay | Reconnect::WithBackoff) | None => return false,
        };
        self.stop(state);
        true
    }

    /// Handles the loss of the active socket.
    fn socket_lost(&mut self, code: u16, reason: DisconnectReason) {
        let Some(active) = self.connection.active.take() else { return };
        for index in 0..self.rooms.len() {
            self.reset_subscription(index);
        }
        if self.stops_after(code) {
            return;
        }
        if self.connection.attempt.is_some() {
            self.emit(ClientEvent::State(ClientState::Connecting));
        } else if self.connection.retry.is_some() {
            self.emit_waiting(Some(code));
        } else if let Some(at) = active.hand_over_at {
            self.connection.retry = Some(ScheduledRetry { at: at.max(self.now), reason: DisconnectReason::Drain });
            self.emit_waiting(Some(code));
        } else {
            if self.now >= active.since + STABLE_AFTER_MS {
                self.connection.failures = 0;
            }
            if blames_client(code) {
                self.connection.failures = self.connection.failures.max(FAILURES_AFTER_BLAME);
            }
            self.back_off(reason, 0, (reason == DisconnectReason::Closed).then_some(code));
        }
    }

    fn drop_silent_socket(&mut self) {
        if let Some(active) = &self.connection.active {
            self.effects.push_back(ClientEffect::Close { socket: active.socket });
            self.socket_lost(ABNORMAL_CLOSURE, DisconnectReason::Silence);
        }
    }

    /// Retries at once, except for a draining server, which announced a time.
    pub(super) fn skip_back_off(&mut self) {
        if self.connection.is_silent(self.now) {
            self.drop_silent_socket();
        }
        if self.connection.retry.is_some_and(|retry| retry.reason != DisconnectReason::Drain) {
            self.start_attempt();
        }
    }

    pub(super) fn stop(&mut self, state: ClientState) {
        if let Some(ConnectAttempt { socket, open: true, .. }) = self.connection.attempt.take() {
            self.effects.push_back(ClientEffect::Close { socket });
        }
        if let Some(active) = self.connection.active.take() {
            self.effects.push_back(ClientEffect::Close { socket: active.socket });
        }
        self.connection.retry = None;
        for index in 0..self.rooms.len() {
            self.reset_subscription(index);
        }
        self.emit(ClientEvent::State(state));
    }

    pub(super) fn tick_connection(&mut self) {
        if self.connection.is_silent(self.now) {
            self.drop_silent_socket();
        }
        if self.connection.attempt.as_ref().is_some_and(|attempt| self.now >= attempt.deadline) {
            self.attempt_failed(DisconnectReason::Timeout, 0, None);
        }
        if let Some(active) = &mut self.connection.active
            && active.hand_over_at.is_some_and(|at| self.now >= at)
        {
            active.hand_over_at = None;
            self.connection.failures = 0;
            if self.connection.attempt.is_none() {
                self.start_attempt();
            }
        }
        if self.connection.retry.is_some_and(|retry| self.now >= retry.at) {
            self.start_attempt();
        }
    }
}

/// Close codes for errors of this client, which an immediate reconnect would repeat.
fn blames_client(code: u16) -> bool {
    use CloseCode::{InvalidUtf8, Policy, TooBig, Unsupported};
    matches!(CloseCode::from_code(code), Some(Unsupported | InvalidUtf8 | Policy | TooBig))
}
