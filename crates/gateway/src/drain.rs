//! The phases in which an instance stops without clients losing messages: first not ready, then every client is asked to
//! reconnect elsewhere at a time of its own, then the rest is closed.

use std::time::Duration;

use tokio::sync::watch;

/// The progress of the drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainPhase {
    /// The instance serves normally.
    Serving,
    /// Readiness fails, so that balancers stop sending clients. New connections are still accepted.
    NotReady,
    /// New connections are refused, and clients are asked to reconnect elsewhere.
    Closing,
    /// The drain has ended. The instance does not report its status any more.
    Drained,
}

impl DrainPhase {
    /// Returns whether new sockets are accepted.
    pub(crate) fn accepts_sockets(self) -> bool {
        matches!(self, Self::Serving | Self::NotReady)
    }
}

/// The drain phase of an instance. Every worker watches it.
#[derive(Debug)]
pub(crate) struct Drain(watch::Sender<DrainPhase>);

/// Time for which a connection may stay open after the time at which its client was asked to reconnect. A larger value
/// gives slow clients longer and prolongs the drain.
pub(crate) const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// Time after the drain window at which the drain ends, even if connections are open.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

impl Drain {
    /// Creates the drain of an instance that serves.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(DrainPhase::Serving))
    }

    /// Returns the current phase.
    pub(crate) fn phase(&self) -> DrainPhase {
        *self.0.borrow()
    }

    /// Enters a phase.
    pub(crate) fn enter(&self, phase: DrainPhase) {
        self.0.send_replace(phase);
    }

    /// Returns a receiver that is notified of phases.
    pub(crate) fn watch(&self) -> watch::Receiver<DrainPhase> {
        self.0.subscribe()
    }
}
