//! Signs of life of one socket. Pure: time comes from outside.

use std::{num::NonZeroU64, ops::Add, time::Duration};

use trunkline_domain::millis;

/// Time on a worker's own clock, in whole milliseconds; it stands still while the worker does: a process that was stopped
/// for a minute reads its sockets before it judges them. Every socket holds some, and perhaps none: that costs no byte more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(NonZeroU64);

impl Tick {
    /// `clock` after the worker began.
    pub(crate) fn at(clock: Duration) -> Self {
        Self(NonZeroU64::MIN) + clock
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// How long a client may take to answer a ping, or to take any byte of what waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// When a socket was last heard, asked and served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vitals {
    next_ping: Tick,
    /// When the ping that is not yet answered went out.
    asked: Option<Tick>,
    /// Since when bytes wait and none was taken.
    stuck: Option<Tick>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// Send a ping.
    Ping,
    /// A ping was not answered: 4408.
    Close,
    /// It takes nothing, not even a close frame.
    Abort,
}

impl Vitals {
    /// A socket that opened now; `first_ping` spreads the pings of sockets that opened together.
    pub(crate) fn new(first_ping: Tick) -> Self {
        Self { next_ping: first_ping, asked: None, stuck: None }
    }

    /// Any frame came.
    pub(crate) fn heard(&mut self) {
        self.asked = None;
    }

    /// Bytes are ready for the socket.
    pub(crate) fn offered(&mut self, now: Tick) {
        self.stuck.get_or_insert(now);
    }

    /// The socket took bytes, or nothing waits any more.
    pub(crate) fn took(&mut self) {
        self.stuck = None;
    }

    /// What is due now; a ping counts as sent, and `next_ping` says when the one after it goes out.
    pub(crate) fn due(&mut self, now: Tick, next_ping: impl FnOnce() -> Tick) -> Due {
        let unanswered = self.asked.is_some_and(|asked| now >= asked + PATIENCE);
        let stuck = self.stuck.is_some_and(|since| now >= since + WRITE_PATIENCE);
        if stuck {
            Due::Abort
        } else if unanswered {
            Due::Close
        } else if now >= self.next_ping {
            self.next_ping = next_ping();
            self.asked.get_or_insert(now);
            Due::Ping
        } else {
            Due::Nothing
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
    fn a_silent_client_is_asked_then_given_up() {
        let mut vitals = Vitals::new(at(25));
        assert_eq!(vitals.due(at(24), || at(49)), Due::Nothing);
        assert_eq!(vitals.due(at(25), || at(50)), Due::Ping);
        assert_eq!(vitals.due(at(34), || at(59)), Due::Nothing);
        assert_eq!(vitals.due(at(35), || at(60)), Due::Close);
    }

    #[test]
    fn any_frame_is_life() {
        let mut vitals = Vitals::new(at(25));
        assert_eq!(vitals.due(at(25), || at(50)), Due::Ping);
        vitals.heard();
        assert_eq!(vitals.due(at(36), || at(61)), Due::Nothing);
        assert_eq!(vitals.due(at(50), || at(75)), Due::Ping);
    }

    #[test]
    fn a_socket_that_takes_nothing_for_half_a_minute_is_given_up() {
        let mut vitals = Vitals::new(at(500));
        vitals.offered(at(1));
        vitals.offered(at(20));
        assert_eq!(vitals.due(at(30), || at(500)), Due::Nothing);
        assert_eq!(vitals.due(at(31), || at(500)), Due::Abort);
        vitals.took();
        assert_eq!(vitals.due(at(40), || at(500)), Due::Nothing);
    }
}
