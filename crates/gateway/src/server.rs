//! The program's HTTP server: actix's own, except that the connections of sockets are taken over.

use std::{any::Any, io, net::TcpListener, rc::Rc, time::Duration};

use actix_http::HttpService;
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, ServiceFactory as _, ServiceFactoryExt as _, fn_factory, fn_service, map_config,
};
use actix_web::{App, dev::AppConfig, rt::net::TcpStream, web};
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

    /// As [`Self::serve`], with routes of the caller.
    pub(crate) fn serve_routes(
        &self,
        listener: TcpListener,
        workers: Option<usize>,
        routes: fn(&Self, &mut web::ServiceConfig),
    ) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let gateway = self.clone();
        let app = move || {
            let gateway = gateway.clone();
            App::new().configure(move |config| routes(&gateway, config)).default_service(web::to(not_found))
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
