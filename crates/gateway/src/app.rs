//! The gateway that embedders create. This file wires routes and starts tasks; it decides nothing.
//!
//! Long-lived tasks: the reader, the status report and two exchanges of limits, one each per gateway; per worker thread one task for the hub and one
//! for ended sessions; and per connection one command handler.

use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeMap,
    pin::Pin,
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{dev::Extensions, rt, web};
use socket2::SockRef;
use tokio::sync::{mpsc, oneshot};
use trunkline_bus::{Bus, Health, InstanceRegistry, PresenceStore, SharedLimits};
use trunkline_domain::{InstanceId, Permission};
use trunkline_session::{InvalidSettings, Sessions};

use crate::{
    Config, admin, connection,
    drain::{DRAIN_TIMEOUT, DrainPhase},
    fanout::{self, LocalWorker, ReaderCommand, Worker},
    http::{self, GatewayView, HttpState, RoomCounts, RoomListError},
    identity::Identity,
    limits::{descriptors::ConnectionDescriptor, login::LoginLimiter},
    metrics::Metrics,
    policy::{Action, AllowAll, Policy, decide},
    sessions,
    state::GatewayState,
    status,
};

/// Maximum time that each of the last two calls of a drain may take. Without them other instances notice the end later.
const LAST_CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// Time after which the kernel ends a connection whose peer acknowledges no data (`TCP_USER_TIMEOUT`, RFC 5482).
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// A chat gateway over a bus and a session store. Clones are cheap and refer to the same gateway.
///
/// # Examples
/// ```
/// use actix_web::{App, test};
/// use trunkline_bus::{LocalBus, LocalConfig};
/// use trunkline_gateway::{Config, Gateway};
/// use trunkline_session::MemorySessions;
///
/// # actix_web::rt::System::new().block_on(async {
/// let config = Config::default();
/// let sessions = MemorySessions::in_memory(config.lifetimes);
/// let gateway = Gateway::new(LocalBus::new(LocalConfig::default()), sessions, config)?;
/// let app = test::init_service(App::new().configure(|routes| gateway.routes(routes))).await;
/// let response = test::call_service(&app, test::TestRequest::get().uri("/healthz").to_request()).await;
/// assert!(response.status().is_success());
/// # Ok::<_, trunkline_session::InvalidSettings>(())
/// # }).unwrap();
/// ```
pub struct Gateway<B, S, P = AllowAll> {
    pub(crate) state: Arc<GatewayState<B, P>>,
    pub(crate) site: web::Data<HttpState<S>>,
}

impl<B: Bus + PresenceStore + InstanceRegistry + SharedLimits, S: Sessions> Gateway<B, S> {
    /// Creates a gateway in which every logged-in user may do everything, and starts its tasks. Must be called inside
    /// a Tokio runtime.
    ///
    /// # Errors
    /// [`InvalidSettings`] if the session cookie cannot have the configured name and attributes.
    pub fn new(bus: B, sessions: S, config: Config) -> Result<Self, InvalidSettings> {
        Self::with_policy(bus, sessions, config, AllowAll)
    }
}

impl<B: Bus + PresenceStore + InstanceRegistry + SharedLimits, S: Sessions, P: Policy> Gateway<B, S, P> {
    /// Creates a gateway with a [`Policy`] of the embedder, and starts its tasks. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`InvalidSettings`] if the session cookie cannot have the configured name and attributes.
    pub fn with_policy(bus: B, sessions: S, config: Config, policy: P) -> Result<Self, InvalidSettings> {
        let metrics = Arc::new(Metrics::new());
        let (reader, commands) = mpsc::unbounded_channel();
        let instance = InstanceId(rand::random());
        tokio::spawn(fanout::run(bus.clone(), instance, commands, metrics.clone()));
        let login_limiter = LoginLimiter::new(config.limits.login_rate, &bus);
        let state = Arc::new(GatewayState::new(bus, config.clone(), policy, instance, metrics, reader));
        tokio::spawn(status::report(Arc::downgrade(&state)));
        let site = web::Data::new(HttpState::new(config, sessions, state.clone(), login_limiter)?);
        Ok(Self { state, site })
    }

    /// Adds the operators' routes to an App, for a listener that the public cannot reach: probes, `/metrics`, and the status
    /// of all instances, as JSON at `/status` and with the feature `pages` also as a page at `/`.
    pub fn admin_routes(&self, config: &mut web::ServiceConfig) {
        let routes = [
            #[cfg(feature = "pages")]
            ("/", web::to(admin::page::<B, P>)),
            ("/status", web::to(admin::json::<B, P>)),
            ("/metrics", web::to(admin::metrics::<B, P>)),
        ];
        config.app_data(web::Data::from(self.state.clone())).configure(http::admin_routes(self.site.clone(), routes));
    }

    /// Drains the instance: for `drain_delay` it is not ready, then every client is asked to reconnect elsewhere, at a random
    /// time within `drain_window`. Returns when no socket is open, at the latest 7 s after the window.
    pub async fn drain(&self) {
        let config = &self.state.config;
        self.state.drain.enter(DrainPhase::NotReady);
        tokio::time::sleep(config.drain_delay).await;
        self.state.drain.enter(DrainPhase::Closing);
        let deadline = Instant::now() + config.drain_window + DRAIN_TIMEOUT;
        while self.sockets() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The other instances are sent the last leaves now. If that fails, the lease expires.
        let (reply, settled) = oneshot::channel();
        let _ = self.state.reader.send(ReaderCommand::NotifyWhenPresenceSettled(reply));
        let _ = tokio::time::timeout(LAST_CALL_TIMEOUT, settled).await;
        // Otherwise the next report would list the instance again.
        self.state.drain.enter(DrainPhase::Drained);
        let _ = tokio::time::timeout(LAST_CALL_TIMEOUT, self.state.bus.report(self.state.instance, "")).await;
        tracing::info!(sockets_left = self.sockets(), "drained");
    }
}

impl<B: Bus, S: Sessions, P: Policy> Gateway<B, S, P> {
    /// Adds the gateway's routes to an App: login, list of rooms, probes and the socket, and with the feature `pages` its pages.
    pub fn routes(&self, config: &mut web::ServiceConfig) {
        let socket = web::get().to(connection::upgrade::<B, P>);
        config
            .app_data(web::Data::from(self.state.clone()))
            .app_data(web::Data::new(self.worker()))
            .configure(http::routes(self.site.clone(), socket));
    }

    /// Adds the socket alone at `path`, for an application with its own pages and login, and beside it, in the same folder,
    /// `session`: the probe that clients call before they reconnect (`/ws` and `/session`, `/live/ws` and `/live/session`).
    pub fn socket_routes(&self, path: &str) -> impl FnOnce(&mut web::ServiceConfig) + use<B, S, P> {
        let routes = http::socket_routes(self.site.clone(), path, web::get().to(connection::upgrade::<B, P>));
        let (state, worker) = (web::Data::from(self.state.clone()), web::Data::new(self.worker()));
        move |config| {
            config.app_data(state).app_data(worker).configure(routes);
        }
    }

    /// Adds `/healthz` and `/readyz`, for the balancer of an application that mounts [`socket_routes`](Self::socket_routes)
    /// alone. `/readyz` answers 503 from the begin of a [drain](Self::drain).
    pub fn health_routes(&self, config: &mut web::ServiceConfig) {
        config.configure(http::health_routes(self.site.clone()));
    }

    /// Adds a socket at `/` that echoes messages, in place of the gateway's routes. It needs no login.
    #[cfg(feature = "echo")]
    #[doc(hidden)]
    pub fn echo_routes(&self, config: &mut web::ServiceConfig) {
        config
            .app_data(web::Data::from(self.state.clone()))
            .app_data(web::Data::new(self.worker()))
            .route("/", web::get().to(connection::echo::<B, P>));
    }

    /// As [`Self::serve`], with [`Self::echo_routes`].
    ///
    /// # Errors
    /// The listener cannot be used.
    #[cfg(feature = "echo")]
    #[doc(hidden)]
    pub fn serve_echo(
        &self,
        listener: std::net::TcpListener,
        workers: Option<usize>,
    ) -> std::io::Result<actix_server::Server> {
        self.serve_routes(listener, workers, Self::echo_routes)
    }

    /// For [`HttpServer::on_connect`](actix_web::HttpServer::on_connect): lets the kernel end connections whose client takes
    /// no bytes for 30 s, which nothing else can while actix holds a response that waits to be written. Also keeps the
    /// descriptor of the connection, so that sockets are refused before the process runs out of descriptors.
    pub fn on_connect(connection: &dyn Any, data: &mut Extensions) {
        on_connect(connection, data);
    }

    /// Returns the number of open sockets of this instance.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.state.connection_limits.total()
    }

    /// Returns the worker of the current thread, and starts it if there is none. It ends when no App and no connection of
    /// the thread refers to it.
    fn worker(&self) -> LocalWorker {
        thread_local! {
            /// The worker of each gateway on this thread. Several Apps that mount the same gateway share it.
            static WORKERS: RefCell<BTreeMap<InstanceId, Weak<Worker>>> = const { RefCell::new(BTreeMap::new()) };
        }
        let instance = self.state.instance;
        WORKERS.with_borrow_mut(|workers| {
            workers.retain(|_, worker| worker.strong_count() > 0);
            if let Some(worker) = workers.get(&instance).and_then(Weak::upgrade) {
                return LocalWorker(worker);
            }
            let worker = self.start_worker();
            workers.insert(instance, Rc::downgrade(&worker));
            LocalWorker(worker)
        })
    }

    fn start_worker(&self) -> Rc<Worker> {
        let sessions = self.site.sessions.clone();
        let worker = Worker::start(
            self.state.reader.clone(),
            &self.state.config,
            self.state.drain.watch(),
            self.state.metrics.clone(),
            move |worker, sids| sessions::start_look_up(worker, sessions.clone(), sids),
        );
        rt::spawn(sessions::watch_endings(Rc::downgrade(&worker), self.site.sessions.clone()));
        worker
    }
}

/// See [`Gateway::on_connect`].
pub(crate) fn on_connect(connection: &dyn Any, data: &mut Extensions) {
    ConnectionDescriptor::store(connection, data);
    if let Some(stream) = connection.downcast_ref::<rt::net::TcpStream>()
        && let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))
    {
        tracing::debug!(%error, "cannot set TCP_USER_TIMEOUT; blocked clients stay connected longer");
    }
}

impl<B: Bus + PresenceStore + InstanceRegistry, P: Policy> GatewayView for GatewayState<B, P> {
    fn accepts_sockets(&self) -> bool {
        self.drain.phase().accepts_sockets()
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn health(&self) -> Vec<Health> {
        let mut checks = self.bus.health();
        let state = match self.drain.phase() {
            DrainPhase::Serving => Ok(()),
            DrainPhase::NotReady | DrainPhase::Closing | DrainPhase::Drained => {
                Err("this instance is shutting down".to_owned())
            }
        };
        checks.push(Health::new("drain", state));
        checks
    }

    fn rooms<'a>(
        &'a self,
        identity: &'a Identity,
    ) -> Pin<Box<dyn Future<Output = Result<RoomCounts, RoomListError>> + Send + 'a>> {
        Box::pin(async {
            decide(&self.policy, identity, Action::List).await.map_err(RoomListError::Denied)?;
            let mut rooms = self.bus.room_counts().await.map_err(RoomListError::Unavailable)?;
            rooms.retain(|(room, _)| identity.is_granted(Permission::Join, room));
            Ok(rooms)
        })
    }
}

impl<B, S, P> Clone for Gateway<B, S, P> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), site: self.site.clone() }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_bus::{LocalBus, LocalConfig};
    use trunkline_session::MemorySessions;

    use super::*;

    #[actix_web::test]
    async fn drained_instance_reports_no_status() {
        let bus = LocalBus::new(LocalConfig::default());
        let config = Config { drain_delay: Duration::ZERO, drain_window: Duration::ZERO, ..Config::default() };
        let sessions = MemorySessions::in_memory(config.lifetimes);
        let gateway = Gateway::new(bus.clone(), sessions, config).unwrap();
        gateway.drain().await;
        let report = status::report(Arc::downgrade(&gateway.state));
        assert!(tokio::time::timeout(Duration::from_secs(5), report).await.is_ok(), "the task ends");
        assert!(bus.reports().await.unwrap().is_empty());
    }
}
