//! The task of one worker thread: it connects the thread's [`Hub`] with the reader's events and the clock.

use std::{
    cell::{RefCell, RefMut},
    ops::{Deref, DerefMut},
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::{mpsc, watch};
use trunkline_session::Sid;

use super::{
    hub::{Hub, TIMER_GRANULARITY},
    messages::{HubEvent, Mailbox, MailboxReceiver, ReaderCommand, WeakMailbox, mailbox},
};
use crate::{
    Config,
    drain::{DRAIN_GRACE, DrainPhase},
    ids::{ConnectionKey, WorkerId},
    metrics::Metrics,
    random::Random,
};

/// Maximum number of events that wait for a worker. If more arrive, the worker requests the tails of its rooms again; a
/// larger value survives longer stalls of the thread and holds more memory meanwhile.
const MAILBOX_EVENTS: usize = 4096;
/// Maximum number of batches that are taken before they are handed to connections. A larger value makes fewer and larger
/// writes under load.
const MAX_BATCHES: usize = 16;
/// Maximum advance of a worker's clock per tick. After the process was stopped, connections are read before their heartbeats
/// are judged.
const MAX_CLOCK_STEP: Duration = Duration::from_secs(1);

/// One worker thread's part of a gateway. It stays on its thread, and every connection there refers to it.
pub(crate) struct Worker {
    id: WorkerId,
    hub: RefCell<Hub>,
    reader: mpsc::UnboundedSender<ReaderCommand>,
    mailbox: Mailbox,
    metrics: Arc<Metrics>,
}

/// The worker of the thread on which an App runs.
#[derive(Clone)]
pub(crate) struct LocalWorker(pub(crate) Rc<Worker>);

/// A connection as other threads of the process refer to it.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionHandle {
    mailbox: WeakMailbox,
    key: ConnectionKey,
}

impl ConnectionHandle {
    /// Closes the connection, because its user has too many.
    pub(crate) fn evict(&self) {
        self.mailbox.send(HubEvent::Evict(self.key));
    }
}

impl Worker {
    /// Starts the worker of the current thread and its task. The task passes sessions that are due for a look-up to
    /// `check_sessions`.
    pub(crate) fn start(
        reader: mpsc::UnboundedSender<ReaderCommand>,
        config: &Config,
        drain: watch::Receiver<DrainPhase>,
        metrics: Arc<Metrics>,
        check_sessions: impl Fn(&Rc<Self>, Vec<Sid>) + 'static,
    ) -> Rc<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = WorkerId(NEXT.fetch_add(1, Ordering::Relaxed));
        let (mailbox, events) = mailbox(MAILBOX_EVENTS);
        // The reader outlives the workers, except while the process ends.
        let _ = reader.send(ReaderCommand::Attach(id, mailbox.clone()));
        let hub = RefCell::new(Hub::new(config.ping_interval, Random::new(rand::random())));
        let worker = Rc::new(Self { id, hub, reader, mailbox, metrics });
        let window = config.drain_window;
        actix_web::rt::spawn(run(Rc::downgrade(&worker), events, drain, window, check_sessions));
        worker
    }

    /// Returns a handle to one of this worker's connections for other threads.
    pub(crate) fn handle(&self, key: ConnectionKey) -> ConnectionHandle {
        ConnectionHandle { mailbox: self.mailbox.downgrade(), key }
    }

    /// Returns the worker's id.
    pub(crate) fn id(&self) -> WorkerId {
        self.id
    }

    /// Returns the counters of this worker's gateway.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns the name of a connection in the log, which is unique in the process.
    pub(crate) fn connection_name(&self, key: ConnectionKey) -> String {
        format!("{}-{}", self.id.0, key.serial)
    }

    /// Returns access to the hub. When the guard is dropped, the hub's requests are sent to the reader.
    pub(crate) fn hub(&self) -> HubGuard<'_> {
        HubGuard { worker: self, hub: self.hub.borrow_mut() }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.reader.send(ReaderCommand::Detach(self.id));
    }
}

/// Access to a worker's hub. It must not be held across an await, which clippy checks.
pub(crate) struct HubGuard<'a> {
    worker: &'a Worker,
    hub: RefMut<'a, Hub>,
}

impl Deref for HubGuard<'_> {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

impl DerefMut for HubGuard<'_> {
    fn deref_mut(&mut self) -> &mut Hub {
        &mut self.hub
    }
}

impl Drop for HubGuard<'_> {
    fn drop(&mut self) {
        while let Some(request) = self.hub.poll_request() {
            let _ = self.worker.reader.send(ReaderCommand::Request(self.worker.id, request));
        }
    }
}

/// Passes events and time to the hub until the worker is dropped.
///
/// Events are handed out at once. Only large rooms pause between two fan-outs: see [`Hub::flush`].
async fn run(
    worker: Weak<Worker>,
    mut events: MailboxReceiver,
    mut drain: watch::Receiver<DrainPhase>,
    drain_window: Duration,
    check_sessions: impl Fn(&Rc<Worker>, Vec<Sid>),
) {
    let started = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(TIMER_GRANULARITY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut clock, mut last_tick) = (Duration::ZERO, started);
    let mut is_draining = false;
    let mut next_fanout: Option<Duration> = None;
    loop {
        let must_flush = tokio::select! {
            batch = events.receive() => {
                let (Some(worker), Some(batch)) = (worker.upgrade(), batch) else { return };
                let mut hub = worker.hub();
                let more = std::iter::from_fn(|| events.try_receive()).take(MAX_BATCHES - 1);
                for event in std::iter::once(batch).chain(more).flatten() {
                    hub.receive(event);
                }
                if events.is_empty() && events.take_overflow() {
                    hub.events_lost();
                }
                true
            }
            () = tokio::time::sleep_until(started + next_fanout.unwrap_or_default()), if next_fanout.is_some() => true,
            Ok(phase) = drain.wait_for(|phase| !phase.accepts_sockets()), if !is_draining => {
                drop(phase);
                is_draining = true;
                let Some(worker) = worker.upgrade() else { return };
                worker.hub().drain(drain_window, DRAIN_GRACE);
                false
            }
            _ = ticks.tick() => {
                let Some(worker) = worker.upgrade() else { return };
                let step = last_tick.elapsed();
                clock += step.min(MAX_CLOCK_STEP);
                last_tick = tokio::time::Instant::now();
                let mut hub = worker.hub();
                if step > MAX_CLOCK_STEP {
                    let now = SystemTime::now();
                    hub.end_expired(|identity| identity.has_ended(now));
                }
                let due = hub.tick(clock);
                worker.metrics.delivered.inc_by(hub.take_delivered());
                // A worker that never catches up requests its rooms again here, at most four times per second. So does one
                // that took the last batch just before the next was dropped whole, which wakes no receiver.
                if events.take_overflow() {
                    hub.events_lost();
                }
                drop(hub);
                if !due.is_empty() {
                    check_sessions(&worker, due);
                }
                false
            }
        };
        if must_flush {
            let Some(worker) = worker.upgrade() else { return };
            let flushed = worker.hub().flush(started.elapsed());
            next_fanout = if flushed.is_partial { Some(Duration::ZERO) } else { flushed.next };
            drop(worker);
            if flushed.has_woken || flushed.is_partial {
                // The tasks that were woken write before this one takes further events, which then share a write.
                tokio::task::yield_now().await;
            }
        }
    }
}
