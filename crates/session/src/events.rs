//! Notifications about ended sessions.

use tokio::sync::broadcast::{self, error::RecvError};

use crate::Sid;

/// Number of events that a receiver can be behind. Beyond that the oldest are dropped, and the receiver gets one
/// [`SessionEvent::Missed`].
pub(crate) const EVENT_BUFFER: usize = 1024;

/// A change of which the store notifies every instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// This session was ended, on any instance: close its sockets.
    Ended(Sid),
    /// Events may have been lost: the receiver was too slow, or the subscription to Redis was interrupted. Check all
    /// sessions that have sockets with [`touch`](crate::Sessions::touch), spread over a while.
    Missed,
}

/// A receiver of [`SessionEvent`]s.
///
/// There is no event for a session that expires. Check for that with [`touch`](crate::Sessions::touch).
#[derive(Debug)]
pub struct SessionEvents(broadcast::Receiver<SessionEvent>);

impl SessionEvents {
    pub(crate) fn new(receiver: broadcast::Receiver<SessionEvent>) -> Self {
        Self(receiver)
    }

    /// Waits for the next event. Returns `None` once the last clone of the store is dropped.
    ///
    /// Cancel safe: a dropped future loses no event.
    pub async fn next(&mut self) -> Option<SessionEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(_)) => Some(SessionEvent::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}
