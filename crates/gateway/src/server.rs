//! The program's HTTP server: actix's own, except that the connections of sockets are taken over.

use std::{
    any::Any,
    io,
    net::TcpListener,
    rc::Rc,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use actix_http::HttpService;
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, ServiceFactory as _, ServiceFactoryExt as _, fn_factory, fn_service, map_config,
};
use actix_web::{App, dev::AppConfig, rt::net::TcpStream, web};
use tokio::sync::oneshot;
use trunkline_bus::Bus;
use trunkline_session::Sessions;

use crate::{
    Gateway, connection::take_over, http::not_found, limits::descriptors::connections_per_worker, policy::Policy,
};

/// Maximum time in which a request's head must arrive. A larger value lets slow attackers hold more connections.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for requests in flight when the server stops. By then the gateway has drained.
const SHUTDOWN_TIMEOUT_SECS: u64 = 1;

impl<B: Bus, S: Sessions, P: Policy> Gateway<B, S, P> {
    /// Creates a server with the gateway's routes alone, on `workers` threads (`None`: one per core). A socket needs a tenth
    /// of the memory that it needs when [`routes`](Self::routes) are mounted in an App (docs/BENCHMARKS.md). Await the
    /// server to run it.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub fn serve(&self, listener: TcpListener, workers: Option<usize>) -> io::Result<Server> {
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
    ) -> io::Result<(Server, oneshot::Receiver<Result<Self, E>>)> {
        let (sender, created) = oneshot::channel();
        let first = Mutex::new(Some((create, sender)));
        let gateway = Arc::new(OnceLock::new());
        let create_once = move || -> Option<Self> {
            let (create, sender) = first.lock().unwrap_or_else(PoisonError::into_inner).take()?;
            let result = create();
            let gateway = result.as_ref().ok().cloned();
            // The caller may have stopped waiting.
            let _ = sender.send(result);
            gateway
        };
        let create_once = Arc::new(create_once);
        let server =
            Self::server(listener, workers, move || gateway.get_or_init(|| create_once()).clone(), Self::routes)?;
        Ok((server, created))
    }

    /// As [`Self::serve`], with routes of the caller.
    pub(crate) fn serve_routes(
        &self,
        listener: TcpListener,
        workers: Option<usize>,
        routes: fn(&Self, &mut web::ServiceConfig),
    ) -> io::Result<Server> {
        let gateway = self.clone();
        Self::server(listener, workers, move || Some(gateway.clone()), routes)
    }

    /// Creates a server. Each worker calls `gateway` on its own thread.
    fn server(
        listener: TcpListener,
        workers: Option<usize>,
        gateway: impl Fn() -> Option<Self> + Clone + Send + 'static,
        routes: fn(&Self, &mut web::ServiceConfig),
    ) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let app = move || {
            let gateway = gateway();
            let routes =
                move |config: &mut web::ServiceConfig| gateway.iter().for_each(|gateway| routes(gateway, config));
            App::new().configure(routes).default_service(web::to(not_found))
        };
        let mut builder = Server::build().disable_signals().shutdown_timeout(SHUTDOWN_TIMEOUT_SECS);
        builder = builder.max_concurrent_connections(connections_per_worker(&listener, workers)?);
        if let Some(workers) = workers {
            builder = builder.workers(workers);
        }
        let builder = builder.listen("trunkline", listener, move || {
            let http = app().into_factory().map_err(|error| error.error_response());
            let sockets = Rc::new(map_config(app().into_factory(), |()| AppConfig::default()));
            let upgrade = fn_factory(move || {
                let sockets = sockets.clone();
                async move {
                    let app = Rc::new(sockets.new_service(()).await?);
                    Ok::<_, ()>(fn_service(move |(request, framed)| take_over(app.clone(), request, framed)))
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
                    Self::on_connect(connection as &dyn Any, extensions);
                })
                .upgrade(upgrade)
                .finish(map_config(http, |()| AppConfig::default()))
                .tcp()
        })?;
        Ok(builder.run())
    }
}
