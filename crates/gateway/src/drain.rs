//! Leaving without anybody noticing: not ready, then every client asked away at a time of its own, then closed.

use std::time::Duration;

use tokio::sync::watch;

/// How far the drain has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Serving.
    Serving,
    /// Not ready, so that balancers stop sending; still taking what they send until they have noticed.
    NotReady,
    /// New sockets are refused, the others are told when to come back elsewhere.
    Closing,
}

/// The one place where the phase stands. Watched by every worker.
#[derive(Debug)]
pub(crate) struct Drain(watch::Sender<Phase>);

/// How long a socket may stay beyond the time at which its client was asked to come back.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// How long after the window the last socket is cut.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

impl Drain {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.0.send_replace(phase);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }
}
