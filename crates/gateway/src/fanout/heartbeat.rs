//! Decides when a connection is sent a ping and when it counts as dead. Pure.

use std::time::Duration;

use crate::ticks::Tick;

/// Maximum time from a ping to any frame of the client. A smaller value closes clients on slow networks; a larger one keeps
/// dead connections longer.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for which a client that has bytes waiting may take none of them.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// When a connection last showed that it is alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heartbeat {
    next_ping: Tick,
    /// When the oldest unanswered ping was sent.
    pinged_at: Option<Tick>,
    /// Since when bytes have been waiting without any being taken.
    blocked_since: Option<Tick>,
}

/// The action that a connection's heartbeat requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeartbeatAction {
    /// Nothing.
    None,
    /// Send a ping.
    Ping,
    /// Close with code 4408: a ping was not answered.
    Close,
    /// Abort: the client takes no bytes, so it would not take a close frame either.
    Abort,
}

impl Heartbeat {
    /// Creates the heartbeat of a new connection. Callers spread `first_ping` over connections that opened together.
    pub(crate) fn new(first_ping: Tick) -> Self {
        Self { next_ping: first_ping, pinged_at: None, blocked_since: None }
    }

    /// The client sent a frame.
    pub(crate) fn received_frame(&mut self) {
        self.pinged_at = None;
    }

    /// Bytes wait for the client.
    pub(crate) fn bytes_waiting(&mut self, now: Tick) {
        self.blocked_since.get_or_insert(now);
    }

    /// The client took bytes, or none wait.
    pub(crate) fn bytes_taken(&mut self) {
        self.blocked_since = None;
    }

    /// Returns the time at which [`poll`](Self::poll) is to be called next. It lies at most [`WRITE_TIMEOUT`] ahead, so that
    /// bytes that begin to wait in between are noticed in time.
    pub(crate) fn next_poll(&self, now: Tick) -> Tick {
        let unanswered = self.pinged_at.map(|pinged_at| pinged_at + PONG_TIMEOUT);
        let blocked = self.blocked_since.map(|since| since + WRITE_TIMEOUT);
        [unanswered, blocked].into_iter().flatten().fold(self.next_ping.min(now + WRITE_TIMEOUT), Tick::min)
    }

    /// Returns what is due. A ping counts as sent, and `next_ping` is evaluated for the time of the one after it.
    pub(crate) fn poll(&mut self, now: Tick, next_ping: impl FnOnce() -> Tick) -> HeartbeatAction {
        let is_unanswered = self.pinged_at.is_some_and(|pinged_at| now >= pinged_at + PONG_TIMEOUT);
        let is_blocked = self.blocked_since.is_some_and(|since| now >= since + WRITE_TIMEOUT);
        if is_blocked {
            HeartbeatAction::Abort
        } else if is_unanswered {
            HeartbeatAction::Close
        } else if now >= self.next_ping {
            self.next_ping = next_ping();
            self.pinged_at.get_or_insert(now);
            HeartbeatAction::Ping
        } else {
            HeartbeatAction::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::at(Duration::from_secs(seconds))
    }

    #[test]
    fn a_silent_client_is_pinged_and_then_closed() {
        let mut heartbeat = Heartbeat::new(at(25));
        assert_eq!(heartbeat.poll(at(24), || at(49)), HeartbeatAction::None);
        assert_eq!(heartbeat.poll(at(25), || at(50)), HeartbeatAction::Ping);
        assert_eq!(heartbeat.poll(at(34), || at(59)), HeartbeatAction::None);
        assert_eq!(heartbeat.poll(at(35), || at(60)), HeartbeatAction::Close);
    }

    #[test]
    fn any_frame_answers_a_ping() {
        let mut heartbeat = Heartbeat::new(at(25));
        assert_eq!(heartbeat.poll(at(25), || at(50)), HeartbeatAction::Ping);
        heartbeat.received_frame();
        assert_eq!(heartbeat.poll(at(36), || at(61)), HeartbeatAction::None);
        assert_eq!(heartbeat.poll(at(50), || at(75)), HeartbeatAction::Ping);
    }

    #[test]
    fn a_client_that_takes_no_bytes_for_30_seconds_is_aborted() {
        let mut heartbeat = Heartbeat::new(at(500));
        heartbeat.bytes_waiting(at(1));
        heartbeat.bytes_waiting(at(20));
        assert_eq!(heartbeat.poll(at(30), || at(500)), HeartbeatAction::None);
        assert_eq!(heartbeat.poll(at(31), || at(500)), HeartbeatAction::Abort);
        heartbeat.bytes_taken();
        assert_eq!(heartbeat.poll(at(40), || at(500)), HeartbeatAction::None);
    }
}
