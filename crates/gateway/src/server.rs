//! Our own server: actix's, with the connections of sockets taken over.

use std::{any::Any, fmt::Display, io, net::TcpListener, rc::Rc, time::Duration};

use actix_http::HttpService;
use actix_server::Server;
use actix_service::{
    IntoServiceFactory, ServiceFactory as _, ServiceFactoryExt as _, fn_factory, fn_service, map_config,
};
use actix_web::{App, dev::AppConfig, rt::net::TcpStream, web};
use trunkline_bus::Bus;
use trunkline_session::Sessions;

use crate::{Gateway, http::not_found, limits::descriptors::connections_per_worker, policy::Policy, socket::take_over};

/// Longest that a request's head may take to come.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// How long requests under way may still take when the server stops, in seconds. By then the gateway has drained.
const SHUTDOWN: u64 = 1;

impl<B: Bus, S: Sessions, P: Policy> Gateway<B, S, P> {
    /// A server of the gateway's routes alone, on `workers` threads (`None`: one a core). Against
    /// [`routes`](Self::routes) mounted in an App of one's own, a socket costs it a tenth of the memory.
    ///
    /// # Errors
    /// Where the listener cannot be used.
    pub fn serve(&self, listener: TcpListener, workers: Option<usize>) -> io::Result<Server> {
        let address = listener.local_addr()?;
        let gateway = self.clone();
        let app = move || {
            let gateway = gateway.clone();
            App::new().configure(move |config| gateway.routes(config)).default_service(web::to(not_found))
        };
        let mut builder = Server::build().disable_signals().shutdown_timeout(SHUTDOWN);
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
                .client_request_timeout(REQUEST_TIME)
                // Else a client that shuts down its sending side only would keep its socket for ever.
                .h1_allow_half_closed(false)
                .local_addr(address)
                .on_connect_ext(|connection: &TcpStream, extensions| {
                    // The builder's own `tcp_nodelay` has no effect on plain TCP.
                    report("no TCP_NODELAY", connection.set_nodelay(true));
                    Self::on_connect(connection as &dyn Any, extensions);
                })
                .upgrade(upgrade)
                .finish(map_config(http, |()| AppConfig::default()))
                .tcp()
        })?;
        Ok(builder.run())
    }
}

fn report(what: &str, outcome: Result<(), impl Display>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "{what}");
    }
}
