//! News of sessions that ended.

use tokio::sync::broadcast::{self, error::RecvError};

use crate::Sid;

/// How many endings a receiver may be behind. Beyond that the oldest are dropped, and it gets one [`Ending::Missed`].
pub(crate) const BACKLOG: usize = 1024;

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// This session has ended, on whichever instance: close what belongs to it.
    Of(Sid),
    /// Some endings may not have been heard (the receiver was too slow, the connection to Redis was lost): check all
    /// sessions at hand again, spread over a while.
    Missed,
}

/// A receiver of endings. Sessions that expire do not announce it: check them with [`touch`](crate::Sessions::touch).
#[derive(Debug)]
pub struct Endings(broadcast::Receiver<Ending>);

impl Endings {
    pub(crate) fn new(receiver: broadcast::Receiver<Ending>) -> Self {
        Self(receiver)
    }

    /// The next; `None` once the store is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Ending> {
        match self.0.recv().await {
            Ok(ending) => Some(ending),
            Err(RecvError::Lagged(_)) => Some(Ending::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}
