//! What embedders build: a gateway, whose routes go into any actix-web App.
//!
//! Long-lived tasks, all started here: one feed a process ([`fanout::run`]), one mailbox and one watch over ended
//! sessions a worker thread, and one conversation a socket.

use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeMap,
    num::NonZeroU32,
    pin::Pin,
    rc::{Rc, Weak},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::{Responder, dev::Extensions, rt, web};
use futures_util::{StreamExt, stream};
use socket2::SockRef;
use tokio::sync::{mpsc, oneshot};
use trunkline_bus::{Bus, Health, InstanceRegistry, PresenceStore};
use trunkline_domain::{InstanceId, UserName};
use trunkline_session::{Ending, InvalidSettings, Sessions, Sid};

use crate::{
    Config,
    census::Census,
    drain::{DEADLINE, Drain, Phase},
    fanout::{self, Letter, Worker},
    http::{self, NoRooms, Rooms, Running, Site},
    metrics::Metrics,
    policy::{Action, LoggedIn, Policy},
    rate::{Rate, RateTable},
    socket, status,
};

/// How long the last words of a drain may take, each.
const FAREWELL: Duration = Duration::from_secs(1);
/// How many sessions are looked up at once.
const LOOK_UPS: usize = 8;
/// The media type of Prometheus's text format, as OpenMetrics names it.
const METRICS_TYPE: (&str, &str) = ("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8");

/// A chat gateway over a bus and a session store. Cheap to clone; clones are the same gateway.
pub struct Gateway<B, S, P = LoggedIn> {
    shared: Arc<Shared<B, P>>,
    site: web::Data<Site<S>>,
}

/// What all threads of a gateway share.
pub(crate) struct Shared<B, P> {
    pub(crate) config: Config,
    pub(crate) bus: B,
    pub(crate) policy: P,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) census: Arc<Census>,
    pub(crate) drain: Drain,
    pub(crate) join_rate: Option<Rate>,
    send_rates: Option<Mutex<RateTable<UserName>>>,
    started: Instant,
    /// This run of this gateway, as the others know it.
    pub(crate) instance: InstanceId,
    letters: mpsc::UnboundedSender<Letter>,
}

impl<B: Bus + PresenceStore + InstanceRegistry, S: Sessions> Gateway<B, S> {
    /// A gateway in which everybody who is logged in may do everything. Starts its feed: call it inside a Tokio runtime.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub fn new(bus: B, sessions: S, config: Config) -> Result<Self, InvalidSettings> {
        Self::with_policy(bus, sessions, config, LoggedIn)
    }
}

impl<B: Bus + PresenceStore + InstanceRegistry, S: Sessions, P: Policy> Gateway<B, S, P> {
    /// A gateway with a policy of the embedder's. Starts its feed: call it inside a Tokio runtime.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub fn with_policy(bus: B, sessions: S, config: Config, policy: P) -> Result<Self, InvalidSettings> {
        let metrics = Arc::new(Metrics::new());
        let (letters, mailbox) = mpsc::unbounded_channel();
        let instance = InstanceId(rand::random());
        tokio::spawn(fanout::run(bus.clone(), instance, mailbox, metrics.clone()));
        let limits = &config.limits;
        let send_rate = |count: NonZeroU32| Rate::new(count, SECOND, count.get().saturating_mul(3));
        let shared = Shared {
            census: Arc::new(Census::new(limits.clone())),
            drain: Drain::new(),
            join_rate: limits.join_rate.map(|count| Rate::new(count, SECOND, count.get())),
            send_rates: limits.send_rate.map(|count| Mutex::new(RateTable::new(send_rate(count), count))),
            started: Instant::now(),
            instance,
            config: config.clone(),
            bus,
            policy,
            metrics,
            letters,
        };
        let shared = Arc::new(shared);
        tokio::spawn(status::report(Arc::downgrade(&shared)));
        let site = web::Data::new(Site::new(config, sessions, shared.clone())?);
        Ok(Self { shared, site })
    }

    /// Puts the operators' routes into an App, for a listener that the public does not reach: probes, `/metrics`, and the
    /// status of all instances, at `/` as a page and at `/status` as JSON.
    pub fn admin_routes(&self, config: &mut web::ServiceConfig) {
        let shared = self.shared.clone();
        let metrics = move || std::future::ready(shared.metrics.encode().customize().insert_header(METRICS_TYPE));
        let (page, json) = (web::to(status::page::<B, S, P>), web::to(status::json::<B, S, P>));
        config
            .app_data(web::Data::new(self.clone()))
            .configure(http::admin_routes(self.site.clone(), [page, json, web::to(metrics)]));
    }

    /// Leaves without anybody noticing: not ready for `drain_delay`, then every client is asked to come back elsewhere at
    /// a time of its own within `drain_window`. Returns as soon as no socket is left, at the latest 5 s after the window.
    pub async fn drain(&self) {
        let config = &self.shared.config;
        self.shared.drain.enter(Phase::NotReady);
        tokio::time::sleep(config.drain_delay).await;
        self.shared.drain.enter(Phase::Closing);
        let deadline = Instant::now() + config.drain_window + DEADLINE;
        while self.sockets() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (told, settled) = oneshot::channel();
        // Those who went are told to the others now; else their leases would say so.
        let _ = self.shared.letters.send(Letter::Settle(told));
        let _ = tokio::time::timeout(FAREWELL, settled).await;
        let _ = tokio::time::timeout(FAREWELL, self.shared.bus.report(self.shared.instance, "")).await;
        tracing::info!(sockets_left = self.sockets(), "drained");
    }
}

impl<B: Bus, S: Sessions, P: Policy> Gateway<B, S, P> {
    /// Puts the gateway's routes into an App: pages, login, assets, probes and the socket.
    pub fn routes(&self, config: &mut web::ServiceConfig) {
        let socket = web::get().to(socket::upgrade::<B, S, P>);
        config
            .app_data(web::Data::new(self.clone()))
            .app_data(web::Data::new(self.worker()))
            .configure(http::routes(self.site.clone(), socket));
    }

    /// For [`HttpServer::on_connect`](actix_web::HttpServer::on_connect): the kernel gives up connections whose peer takes
    /// nothing for half a minute, which nothing else can while a response waits to be written.
    pub fn on_connect(connection: &dyn Any, _: &mut Extensions) {
        if let Some(stream) = connection.downcast_ref::<rt::net::TcpStream>() {
            let patience = Some(Duration::from_secs(30));
            if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(patience) {
                tracing::debug!(%error, "no TCP user timeout");
            }
        }
    }

    /// How many sockets are open on this instance.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.shared.census.total()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<B, P>> {
        &self.shared
    }

    /// The worker of the current thread, started if need be. Lives as long as somebody holds it.
    pub(crate) fn worker(&self) -> LocalWorker {
        thread_local! {
            /// Each gateway's worker on this thread. One a thread, however many Apps mount the gateway there.
            static WORKERS: RefCell<BTreeMap<usize, Weak<Worker>>> = const { RefCell::new(BTreeMap::new()) };
        }
        // While a worker lives its gateway does, and with it this address.
        let identity = Arc::as_ptr(&self.shared) as usize;
        WORKERS.with_borrow_mut(|workers| {
            workers.retain(|_, worker| worker.strong_count() > 0);
            if let Some(worker) = workers.get(&identity).and_then(Weak::upgrade) {
                return LocalWorker(worker);
            }
            let worker = self.start_worker();
            workers.insert(identity, Rc::downgrade(&worker));
            LocalWorker(worker)
        })
    }

    fn start_worker(&self) -> Rc<Worker> {
        let sessions = self.site.sessions.clone();
        let recheck = move |worker: &Rc<Worker>, sids| {
            rt::spawn(look_up(Rc::downgrade(worker), sessions.clone(), sids));
        };
        let worker = Worker::start(
            self.shared.letters.clone(),
            &self.shared.config,
            self.shared.drain.watch(),
            self.shared.metrics.clone(),
            recheck,
        );
        rt::spawn(watch_endings(Rc::downgrade(&worker), self.site.sessions.clone()));
        worker
    }
}

impl<B, P> Shared<B, P> {
    /// Time since the gateway was made.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts a message of `user`, over all sockets of this instance.
    ///
    /// # Errors
    /// How long to wait, where they come too fast: until a second's worth may come at once.
    pub(crate) fn admit_send(&self, user: &UserName) -> Result<(), Duration> {
        let Some(rates) = &self.send_rates else { return Ok(()) };
        rates.lock().unwrap_or_else(PoisonError::into_inner).admit(user, self.started.elapsed())
    }
}

impl<B: Bus + PresenceStore + InstanceRegistry, P: Policy> Running for Shared<B, P> {
    fn takes_sockets(&self) -> bool {
        self.drain.phase() != Phase::Closing
    }

    fn health(&self) -> Vec<Health> {
        let mut checks = self.bus.health();
        let state = match self.drain.phase() {
            Phase::Serving => Ok(()),
            Phase::NotReady | Phase::Closing => Err("this instance is about to stop".to_owned()),
        };
        checks.push(Health { check: "drain", state });
        checks
    }

    fn rooms<'a>(&'a self, user: &'a UserName) -> Pin<Box<dyn Future<Output = Result<Rooms, NoRooms>> + Send + 'a>> {
        Box::pin(async {
            self.policy.decide(user, Action::List).await.map_err(NoRooms::Denied)?;
            self.bus.room_counts().await.map_err(NoRooms::Unavailable)
        })
    }
}

impl<B, S, P> Clone for Gateway<B, S, P> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), site: self.site.clone() }
    }
}

/// The worker of the thread on which an App runs.
#[derive(Clone)]
pub(crate) struct LocalWorker(pub(crate) Rc<Worker>);

const SECOND: Duration = Duration::from_secs(1);

/// Closes the sockets of sessions that end anywhere.
async fn watch_endings<S: Sessions>(worker: Weak<Worker>, sessions: S) {
    let mut endings = sessions.endings();
    while let Some(ending) = endings.next().await {
        let Some(worker) = worker.upgrade() else { return };
        match ending {
            Ending::Of(sid) => worker.hub().end_session(&sid),
            Ending::Missed => {
                let sids = worker.hub().sessions();
                look_up(Rc::downgrade(&worker), sessions.clone(), sids).await;
            }
        }
    }
}

/// Looks sessions up, which counts as their use, and closes the sockets of those that are gone for certain.
async fn look_up<S: Sessions>(worker: Weak<Worker>, sessions: S, sids: Vec<Sid>) {
    let gone = stream::iter(sids)
        .map(|sid| {
            let sessions = sessions.clone();
            async move { matches!(sessions.touch(&sid).await, Ok(None)).then_some(sid) }
        })
        .buffer_unordered(LOOK_UPS)
        .filter_map(std::future::ready);
    let gone: Vec<Sid> = gone.collect().await;
    if let Some(worker) = worker.upgrade() {
        gone.iter().for_each(|sid| worker.hub().end_session(sid));
    }
}
