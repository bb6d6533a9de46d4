//! The HTTP server: actix's own, except that the connections of sockets are taken over.

use std::{
    any::Any,
    io,
    net::{TcpListener, ToSocketAddrs},
    rc::Rc,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use actix_http::{HttpService, Request};
use actix_server::ServerHandle;
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt as _, fn_factory, fn_service, map_config};
use actix_web::{
    App,
    body::MessageBody,
    dev::{AppConfig, ServiceResponse},
    rt::{self, net::TcpStream},
    web,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};
use trunkline_bus::{Bus, InstanceRegistry, PresenceStore, SharedLimits};
use trunkline_session::Sessions;

use crate::{
    Gateway, app::on_connect, connection::take_over, http::not_found, limits::descriptors::connections_per_worker,
    policy::Policy,
};

/// Maximum time in which a request's head must arrive. A larger value lets slow attackers hold more connections.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for requests in flight when the server stops. By then the gateway has drained.
const SHUTDOWN_TIMEOUT_SECS: u64 = 1;

/// An HTTP server for an App that mounts a gateway. A socket needs a sixth of the memory that it needs in actix's
/// `HttpServer` (docs/BENCHMARKS.md), because its connection is taken over from the HTTP dispatcher.
///
/// ```no_run
/// use actix_web::App;
/// use trunkline_bus::{LocalBus, LocalConfig};
/// use trunkline_gateway::{Config, Gateway, Server};
/// use trunkline_session::MemorySessions;
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::default();
/// let sessions = MemorySessions::in_memory(config.lifetimes);
/// let gateway = Gateway::new(LocalBus::new(LocalConfig::default()), sessions, config)?;
/// let app = {
///     let gateway = gateway.clone();
///     move || App::new().configure(|routes| gateway.routes(routes))
/// };
/// // Returns after SIGTERM or SIGINT, when every socket has been asked to reconnect elsewhere.
/// Server::new(gateway, app).run("127.0.0.1:8080").await?;
/// # Ok(())
/// # }
/// ```
pub struct Server<G, F> {
    gateway: G,
    app: F,
    workers: Option<usize>,
}

impl<G, F> Server<G, F> {
    /// A server of the Apps that `app` creates, one per worker thread and two for sockets.
    pub fn new(gateway: G, app: F) -> Self {
        Self { gateway, app, workers: None }
    }

    /// Sets the number of worker threads; one per core otherwise.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }
}

impl<B, S, P, F> Server<Gateway<B, S, P>, F>
where
    B: Bus + PresenceStore + InstanceRegistry + SharedLimits,
    S: Sessions,
    P: Policy,
{
    /// Serves on `address` until the process receives SIGTERM or SIGINT, then [drains](Gateway::drain) the gateway. A second
    /// signal ends it without waiting for the drain.
    ///
    /// # Errors
    /// The address cannot be used, or the server failed.
    pub async fn run<I, A, Body>(self, address: impl ToSocketAddrs) -> io::Result<()>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<A, Request>,
        A: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<Body>, Error = actix_web::Error>
            + 'static,
        A::InitError: std::fmt::Debug,
        Body: MessageBody + 'static,
    {
        let mut signals = ShutdownSignals::new()?;
        let gateway = self.gateway.clone();
        let server = self.listen(TcpListener::bind(address)?)?;
        let handle = server.handle();
        let mut server = rt::spawn(server);
        tokio::select! {
            // The server stops by itself only after an error.
            ended = &mut server => return ended.map_err(io::Error::other)?,
            () = signals.next() => tracing::info!("signal received; draining"),
        }
        signals.drain(&gateway, &handle).await;
        server.await.map_err(io::Error::other)?
    }
}

impl<G, F> Server<G, F> {
    /// Starts the server on a listener. Await the result to run it; it handles no signals.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub fn listen<I, A, Body>(self, listener: TcpListener) -> io::Result<actix_server::Server>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<A, Request>,
        A: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<Body>, Error = actix_web::Error>
            + 'static,
        A::InitError: std::fmt::Debug,
        Body: MessageBody + 'static,
    {
        listen(self.app, listener, self.workers)
    }
}

/// Starts a server of the Apps that `app` creates on each worker's thread.
fn listen<I, A, Body>(
    app: impl Fn() -> I + Send + Clone + 'static,
    listener: TcpListener,
    workers: Option<usize>,
) -> io::Result<actix_server::Server>
where
    I: IntoServiceFactory<A, Request>,
    A: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<Body>, Error = actix_web::Error>
        + 'static,
    A::InitError: std::fmt::Debug,
    Body: MessageBody + 'static,
{
    let address = listener.local_addr()?;
    let mut builder = actix_server::Server::build().disable_signals().shutdown_timeout(SHUTDOWN_TIMEOUT_SECS);
    builder = builder.max_concurrent_connections(connections_per_worker(&listener, workers)?);
    if let Some(workers) = workers {
        builder = builder.workers(workers);
    }
    let builder = builder.listen("trunkline", listener, move || {
        let http = app().into_factory().map_err(|error: actix_web::Error| error.error_response());
        let boxed = app().into_factory().map(ServiceResponse::map_into_boxed_body);
        let sockets = Rc::new(map_config(boxed, |()| AppConfig::default()));
        let upgrade = fn_factory(move || {
            let sockets = sockets.clone();
            async move {
                let app = Rc::new(sockets.new_service(()).await?);
                Ok::<_, A::InitError>(fn_service(move |(request, framed)| take_over(app.clone(), request, framed)))
            }
        });
        HttpService::build()
            .client_request_timeout(REQUEST_HEAD_TIMEOUT)
            // Otherwise a client that shuts down only its sending side would keep its socket forever.
            .h1_allow_half_closed(false)
            .local_addr(address)
            .on_connect_ext(|connection: &TcpStream, extensions| {
                // `HttpService::tcp_nodelay` has no effect on plain TCP.
                if let Err(error) = connection.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY; small frames may be delayed");
                }
                on_connect(connection as &dyn Any, extensions);
            })
            .upgrade(upgrade)
            .finish(map_config(http, |()| AppConfig::default()))
            .tcp()
    })?;
    Ok(builder.run())
}

/// SIGTERM and SIGINT, which both start the drain.
pub struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl ShutdownSignals {
    /// Takes the signals over from the system's default, which ends the process.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Drains the gateway, or until the next signal, and stops the server.
    pub async fn drain<B, S, P>(&mut self, gateway: &Gateway<B, S, P>, server: &ServerHandle)
    where
        B: Bus + PresenceStore + InstanceRegistry + SharedLimits,
        S: Sessions,
        P: Policy,
    {
        tokio::select! {
            () = gateway.drain() => {}
            () = self.next() => tracing::warn!("second signal received; stopping without waiting for the drain"),
        }
        server.stop(true).await;
    }
}

impl<B: Bus, S: Sessions, P: Policy> Gateway<B, S, P> {
    /// Creates a [`Server`] with the gateway's routes alone, on `workers` threads (`None`: one per core). Await it to run it.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub fn serve(&self, listener: TcpListener, workers: Option<usize>) -> io::Result<actix_server::Server> {
        self.serve_routes(listener, workers, Self::routes)
    }

    /// As [`serve`](Self::serve), for a gateway that `create` makes on the thread of the first worker once the server runs.
    /// The tasks that it and the bus start run on that thread: a message passes fewer threads than between a worker and a
    /// thread without sockets (docs/decisions/0012-cost-of-a-delivery.md).
    ///
    /// The receiver yields the gateway. If `create` fails, it yields the error, and the server has no routes.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub fn serve_new<E: Send + 'static>(
        create: impl FnOnce() -> Result<Self, E> + Send + 'static,
        listener: TcpListener,
        workers: Option<usize>,
    ) -> io::Result<(actix_server::Server, oneshot::Receiver<Result<Self, E>>)> {
        let (sender, created) = oneshot::channel();
        let first = Mutex::new(Some((create, sender)));
        let create_once = move || -> Option<Self> {
            let (create, sender) = first.lock().unwrap_or_else(PoisonError::into_inner).take()?;
            let result = create();
            let gateway = result.as_ref().ok().cloned();
            // The caller may have stopped waiting.
            let _ = sender.send(result);
            gateway
        };
        let (gateway, create_once) = (Arc::new(OnceLock::new()), Arc::new(create_once));
        let app = move || {
            let gateway: Option<Self> = gateway.get_or_init(|| create_once()).clone();
            let routes =
                move |config: &mut web::ServiceConfig| gateway.iter().for_each(|gateway| gateway.routes(config));
            App::new().configure(routes).default_service(web::to(not_found))
        };
        Ok((listen(app, listener, workers)?, created))
    }

    /// As [`Self::serve`], with routes of the caller.
    pub(crate) fn serve_routes(
        &self,
        listener: TcpListener,
        workers: Option<usize>,
        routes: fn(&Self, &mut web::ServiceConfig),
    ) -> io::Result<actix_server::Server> {
        let gateway = self.clone();
        let app = move || {
            let gateway = gateway.clone();
            App::new().configure(move |config| routes(&gateway, config)).default_service(web::to(not_found))
        };
        listen(app, listener, workers)
    }
}
