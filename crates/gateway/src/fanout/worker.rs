//! The hub of one worker thread, with its mailbox and its clock.

use std::{
    cell::{RefCell, RefMut},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use trunkline_session::Sid;

use super::{Hub, Key, Letter, Mail};
use crate::{
    Config,
    drain::{GRACE, Phase},
    metrics::Metrics,
};

/// Most letters that wait for a worker; what does not fit is asked for again.
const MAILBOX: usize = 1024;
/// Most letters taken before the sockets get their turn.
const BATCH: usize = 256;
/// A fan-out that takes less is followed by the next at once.
const SHORT: Duration = Duration::from_millis(1);
/// Longest pause between two fan-outs.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);
/// How often a worker looks at its clock.
const TICK: Duration = Duration::from_millis(250);
/// The furthest that a worker's clock diff in one tick: after a standstill, sockets are read before they are judged.
const LEAP: Duration = Duration::from_secs(1);

/// Names a worker thread of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WorkerId(u32);

/// One worker thread's share of the gateway. Lives on its thread; every socket there holds it.
pub(crate) struct Worker {
    id: WorkerId,
    hub: RefCell<Hub>,
    letters: mpsc::UnboundedSender<Letter>,
    mailbox: mpsc::Sender<Mail>,
    metrics: Arc<Metrics>,
}

#[cfg(test)]
impl WorkerId {
    pub(crate) fn new(index: usize) -> Self {
        Self(index as u32)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A socket as the other threads of the process see it.
#[derive(Clone, Debug)]
pub(crate) struct SocketRef {
    mailbox: mpsc::WeakSender<Mail>,
    key: Key,
}

impl SocketRef {
    /// Closes it, because its user has too many.
    pub(crate) async fn evict(self) {
        if let Some(mailbox) = self.mailbox.upgrade() {
            // A worker that is gone has closed it already.
            let _ = mailbox.send(Mail::Evict(self.key)).await;
        }
    }
}

impl Worker {
    /// Starts the worker of the current thread, with its mailbox task on the thread's own executor. The task hands
    /// sessions that are due for a look to `recheck`.
    pub(crate) fn start(
        letters: mpsc::UnboundedSender<Letter>,
        config: &Config,
        drain: watch::Receiver<Phase>,
        metrics: Arc<Metrics>,
        recheck: impl Fn(&Rc<Self>, Vec<Sid>) + 'static,
    ) -> Rc<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = WorkerId(NEXT.fetch_add(1, Ordering::Relaxed));
        let (mailbox, mail) = mpsc::channel(MAILBOX);
        let lagged = Arc::new(AtomicBool::new(false));
        // The feed outlives the workers; where it does not, the process is ending.
        let _ = letters.send(Letter::Attach(id, mailbox.clone(), lagged.clone()));
        let hub = RefCell::new(Hub::new(config.ping_interval));
        let worker = Rc::new(Self { id, hub, letters, mailbox, metrics });
        let window = config.drain_window;
        actix_web::rt::spawn(serve(Rc::downgrade(&worker), mail, lagged, drain, window, recheck));
        worker
    }

    /// One of this worker's sockets, for the rest of the process.
    pub(crate) fn socket(&self, key: Key) -> SocketRef {
        SocketRef { mailbox: self.mailbox.downgrade(), key }
    }

    /// Where this worker counts.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What the log calls a socket.
    pub(crate) fn name(&self, key: Key) -> String {
        format!("{}-{}", self.id.0, key.serial())
    }

    /// Works on the hub; what it wants from the feed is sent when the guard goes.
    pub(crate) fn hub(&self) -> HubGuard<'_> {
        HubGuard { worker: self, hub: self.hub.borrow_mut() }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.letters.send(Letter::Detach(self.id));
    }
}

/// Access to a worker's hub. Never held across an await.
pub(crate) struct HubGuard<'a> {
    worker: &'a Worker,
    hub: RefMut<'a, Hub>,
}

impl std::ops::Deref for HubGuard<'_> {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

impl std::ops::DerefMut for HubGuard<'_> {
    fn deref_mut(&mut self) -> &mut Hub {
        &mut self.hub
    }
}

impl Drop for HubGuard<'_> {
    fn drop(&mut self) {
        for ask in self.hub.take_asks() {
            let _ = self.worker.letters.send(Letter::Ask(self.worker.id, ask));
        }
    }
}

/// Delivers mail and diff the clock until the worker's last owner is gone.
///
/// Fan-outs adapt to the load: after a pause a message goes out at once, but the next fan-out begins no sooner than the
/// last one took (at most 10 ms). What comes meanwhile then goes out in one write a socket.
async fn serve(
    worker: std::rc::Weak<Worker>,
    mut mail: mpsc::Receiver<Mail>,
    lagged: Arc<AtomicBool>,
    mut drain: watch::Receiver<Phase>,
    drain_window: Duration,
    recheck: impl Fn(&Rc<Worker>, Vec<Sid>),
) {
    let mut clock = tokio::time::interval(TICK);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut now = Duration::ZERO;
    let mut last = tokio::time::Instant::now();
    let mut batch = Vec::with_capacity(BATCH);
    let mut draining = false;
    let mut pause = None;
    loop {
        let next_mail = async {
            if let Some(until) = pause {
                tokio::time::sleep_until(until).await;
            }
            mail.recv_many(&mut batch, BATCH).await
        };
        tokio::select! {
            count = next_mail => {
                let Some(worker) = worker.upgrade() else { return };
                if count == 0 {
                    return;
                }
                let begun = tokio::time::Instant::now();
                let mut hub = worker.hub();
                for letter in batch.drain(..) {
                    hub.receive(letter);
                }
                let woken = hub.flush();
                if mail.is_empty() && lagged.swap(false, Ordering::Acquire) {
                    hub.lagged();
                }
                drop(hub);
                drop(worker);
                if woken {
                    // Those tasks stand before this one in the thread's queue.
                    tokio::task::yield_now().await;
                }
                let took = begun.elapsed();
                pause = (took >= SHORT).then(|| begun + took + took.min(LONGEST_PAUSE));
            }
            Ok(phase) = drain.wait_for(|phase| *phase == Phase::Closing), if !draining => {
                drop(phase);
                draining = true;
                let Some(worker) = worker.upgrade() else { return };
                worker.hub().drain(drain_window, GRACE);
            }
            _ = clock.tick() => {
                let Some(worker) = worker.upgrade() else { return };
                now += last.elapsed().min(LEAP);
                last = tokio::time::Instant::now();
                let mut hub = worker.hub();
                let due = hub.tick(now);
                worker.metrics.delivered.inc_by(hub.take_delivered());
                drop(hub);
                if !due.is_empty() {
                    recheck(&worker, due);
                }
            }
        }
    }
}
