//! The presence that each subscription has been sent. Pure.

use std::time::Duration;

use bytes::Bytes;
use trunkline_domain::UserId;

use super::PresenceState;
use crate::ticks::Tick;

/// The current presence of a room on one worker, and the difference from the state before it.
///
/// A subscription that was sent the state before is sent the difference; one that is further behind is sent the whole
/// state. So a client that takes no bytes costs nothing here.
#[derive(Debug)]
pub(crate) struct PresenceTail {
    /// Counts the states of this worker.
    number: u32,
    state: PresenceState,
    /// The frame that leads from the state before to this one; `None` if only the whole state will do.
    diff: Option<Bytes>,
}

/// The presence state that one subscription was sent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PresenceCursor {
    /// None, and none is sent before `joined`.
    BeforeJoined,
    /// None; the whole state is due since this tick.
    Due(Tick),
    /// The state of this number.
    Sent(u32),
}

impl PresenceTail {
    /// Creates the state that follows `before`.
    pub(crate) fn following(before: Option<&Self>, state: PresenceState, diff: Option<Bytes>) -> Self {
        Self { number: before.map_or(1, |before| before.number + 1), state, diff }
    }

    /// Returns the frame that brings `user`'s subscription up to date and advances `cursor`; `None` if nothing is due.
    pub(crate) fn frame_after(&self, cursor: &mut PresenceCursor, user: &UserId, now: Tick) -> Option<Bytes> {
        let frame = match *cursor {
            PresenceCursor::BeforeJoined => return None,
            PresenceCursor::Due(since) if !self.state.includes(user) && now < since + PresenceCursor::OWN_NAME_WAIT => {
                return None;
            }
            PresenceCursor::Sent(number) if number == self.number => return None,
            PresenceCursor::Sent(number) if number + 1 == self.number => {
                self.diff.as_ref().unwrap_or(&self.state.bytes)
            }
            PresenceCursor::Due(_) | PresenceCursor::Sent(_) => &self.state.bytes,
        };
        *cursor = PresenceCursor::Sent(self.number);
        Some(frame.clone())
    }
}

impl PresenceCursor {
    /// Maximum time for which the first state is held back because it does not contain the subscriber's own name yet. The own
    /// join passes through the store first, which usually takes less than 1 s; a smaller value sends states without it.
    pub(crate) const OWN_NAME_WAIT: Duration = Duration::from_secs(3);

    /// Returns whether the wait for a state with the subscriber's own name is over.
    pub(crate) fn is_overdue(self, now: Tick) -> bool {
        matches!(self, Self::Due(since) if now >= since + Self::OWN_NAME_WAIT)
    }
}
