//! The tasks that exchange counts with the other instances. A task rests while there is nothing to exchange; no message and
//! no handshake waits for it.

use std::{
    future,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use trunkline_bus::{BusError, SharedLimits};
use trunkline_domain::{InstanceId, UserId};

use super::{connections::ConnectionLimits, send::SendLimiter};

/// Time from the first use that is to be reported to the report. A larger value means fewer calls, and more uses before the
/// instances know of each other.
const EXCHANGE_INTERVAL: Duration = Duration::from_millis(250);
/// Maximum time to wait for the answer to a report of messages. A later answer is dropped, and the limits of the instance
/// hold alone.
const REPORT_TIMEOUT: Duration = Duration::from_millis(500);
/// Time between two exchanges of sockets while the instance has any. Other instances' requests to evict a socket arrive
/// with it.
const SOCKET_INTERVAL: Duration = Duration::from_secs(1);

/// Wakes a task that exchanges.
#[derive(Debug)]
pub(super) struct ExchangeTrigger(mpsc::Sender<()>);

impl ExchangeTrigger {
    fn new() -> (Self, mpsc::Receiver<()>) {
        let (sender, wakes) = mpsc::channel(1);
        (Self(sender), wakes)
    }

    /// Lets the task exchange after [`EXCHANGE_INTERVAL`]. If it is about to, this has no further effect.
    pub(super) fn wake(&self) {
        let _ = self.0.try_send(());
    }
}

/// The send limits of all users of this instance.
#[derive(Debug)]
pub(crate) struct SendLimits {
    started: Instant,
    limiter: Mutex<SendLimiter>,
    /// `None` if no other instance shares the limits.
    trigger: Option<ExchangeTrigger>,
}

impl SendLimits {
    /// Allows each user `per_second` messages, and three times as many at once. Starts the exchange with other instances,
    /// which ends when the limits are dropped.
    pub(crate) fn start(per_second: NonZeroU32, bus: &impl SharedLimits) -> Arc<Self> {
        let (trigger, wakes) = bus.is_shared().then(ExchangeTrigger::new).unzip();
        let limiter = Mutex::new(SendLimiter::new(per_second));
        let limits = Arc::new(Self { started: Instant::now(), limiter, trigger });
        if let Some(wakes) = wakes {
            tokio::spawn(exchange_sends(bus.clone(), Arc::downgrade(&limits), wakes));
        }
        limits
    }

    /// Counts a message of `user`.
    ///
    /// # Errors
    /// Returns the time to wait. After it, a second's worth of messages may come at once.
    pub(crate) fn admit(&self, user: &UserId) -> Result<(), Duration> {
        let mut limiter = self.lock();
        limiter.admit(user, self.started.elapsed())?;
        if let Some(trigger) = &self.trigger
            && limiter.report(user)
        {
            trigger.wake();
        }
        Ok(())
    }

    /// A panic while the lock is held leaves every state valid, so a poisoned lock is used further.
    fn lock(&self) -> MutexGuard<'_, SendLimiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports the messages of this instance, and applies what the others reported.
async fn exchange_sends(bus: impl SharedLimits, limits: Weak<SendLimits>, mut wakes: mpsc::Receiver<()>) {
    while wakes.recv().await.is_some() {
        tokio::time::sleep(EXCHANGE_INTERVAL).await;
        let Some(limits) = limits.upgrade() else { return };
        let (users, charges) = limits.lock().take_report();
        let taken = limits.started.elapsed();
        match tokio::time::timeout(REPORT_TIMEOUT, bus.charge(&charges)).await {
            Ok(Ok(charged)) => limits.lock().apply(&users, &charged, taken),
            // Not reported again: what may have been charged would be charged twice.
            Ok(Err(error)) => not_exchanged("messages", Some(&error)),
            Err(_) => not_exchanged("messages", None),
        }
    }
}

/// Starts the exchange of sockets with other instances, which ends when `limits` is dropped.
pub(super) fn start_socket_exchange(
    bus: &impl SharedLimits,
    make: impl FnOnce(ExchangeTrigger) -> Arc<ConnectionLimits>,
    instance: InstanceId,
    max: NonZeroU32,
) -> Arc<ConnectionLimits> {
    let (trigger, wakes) = ExchangeTrigger::new();
    let limits = make(trigger);
    tokio::spawn(exchange_sockets(bus.clone(), Arc::downgrade(&limits), wakes, instance, max));
    limits
}

/// Reports the sockets of this instance, and evicts those that are over the limit of their user.
async fn exchange_sockets(
    bus: impl SharedLimits,
    limits: Weak<ConnectionLimits>,
    mut wakes: mpsc::Receiver<()>,
    instance: InstanceId,
    max: NonZeroU32,
) {
    // Whether an exchange failed since the last one that succeeded.
    let mut has_failed = false;
    loop {
        let has_sockets = limits.upgrade().is_some_and(|limits| limits.total() > 0);
        let next =
            async { if has_sockets { tokio::time::sleep(SOCKET_INTERVAL).await } else { future::pending().await } };
        tokio::select! {
            woken = wakes.recv() => match woken {
                Some(()) => tokio::time::sleep(EXCHANGE_INTERVAL).await,
                None => return,
            },
            () = next => {}
        }
        let Some(limits) = limits.upgrade() else { return };
        let changes = limits.take_changes();
        match bus.exchange_sockets(instance, max.get(), &changes).await {
            Ok(exchange) => {
                // The store forgets sockets that it names for eviction. If that answer was lost, the sockets are still open.
                if !exchange.was_known || has_failed {
                    limits.report_all();
                }
                has_failed = false;
                for (user, number) in exchange.evict {
                    let evicted = limits.take(&user, number);
                    if let Some(connection) = evicted {
                        connection.evict();
                    }
                }
            }
            Err(error) => {
                not_exchanged("sockets", Some(&error));
                has_failed = true;
                limits.restore_changes(changes);
            }
        }
    }
}

fn not_exchanged(what: &str, error: Option<&BusError>) {
    let error = error.map(|error| error as &dyn std::error::Error);
    tracing::debug!(what, error, "exchange with other instances failed; the limits of this instance hold alone");
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use trunkline_bus::{Charge, Charged, ErrorKind, SocketChange, SocketExchange};

    use super::*;
    use crate::Limits;

    /// A store that counts exchanges of sockets. The reply to the first one is lost.
    #[derive(Clone, Default)]
    struct LossyStore(Arc<AtomicUsize>);

    impl SharedLimits for LossyStore {
        fn is_shared(&self) -> bool {
            true
        }

        async fn charge(&self, _: &[Charge]) -> Result<Vec<Charged>, BusError> {
            Err(ErrorKind::Unavailable.into())
        }

        async fn exchange_sockets(
            &self,
            _: InstanceId,
            _: u32,
            _: &[SocketChange],
        ) -> Result<SocketExchange, BusError> {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => Err(ErrorKind::Timeout.into()),
                _ => Ok(SocketExchange { was_known: true, evict: Vec::new() }),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_sockets_are_reported_once_after_a_lost_reply() {
        let store = LossyStore::default();
        let limits = ConnectionLimits::start(Limits::default(), &store, InstanceId(1));
        let _permit = limits.acquire(None).unwrap();
        limits.report_all();
        tokio::time::sleep(EXCHANGE_INTERVAL + SOCKET_INTERVAL + 2 * EXCHANGE_INTERVAL).await;
        assert_eq!(
            store.0.load(Ordering::Relaxed),
            3,
            "the failed exchange, the next one, and the report of all sockets"
        );
        tokio::time::sleep(SOCKET_INTERVAL).await;
        assert_eq!(store.0.load(Ordering::Relaxed), 4);
    }
}
