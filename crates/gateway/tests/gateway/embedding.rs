//! Applications that embed a gateway: with users, cookies and a policy of their own, as two instances over a real Redis.

mod cross_origin;
mod disconnect;
mod publish;
mod routes;

use std::{future::ready, net::TcpListener, time::Duration};

use actix_web::{App, HttpRequest, dev::ServerHandle, rt, web::ServiceConfig};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    client_async,
    tungstenite::{Error, client::IntoClientRequest, http::HeaderName},
};
use trunkline_bus::{Bus, InstanceRegistry, PresenceStore, RedisBus, RedisConfig, SharedLimits};
use trunkline_gateway::{Action, Config, Denied, Gateway, Identity, Limits, Policy, Server, Unidentified};
use trunkline_session::{CookieSettings, NoSessions, Sessions};
use trunkline_testbed::Redis;

use crate::socket::client::{TestSocket, ask};

/// Maximum time for a single step of a test; much longer than any step takes.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// A customer receives the events of their own orders, and only the shop sends.
#[derive(Clone)]
struct OwnOrders;

impl Policy for OwnOrders {
    fn decide(&self, customer: &Identity, action: Action<'_>) -> impl Future<Output = Result<(), Denied>> + Send {
        let is_allowed = match action {
            Action::Join(room) | Action::Read(room) => room.as_str() == format!("orders.{}", customer.user()),
            Action::Send(_) | Action::Moderate(_) | Action::List => false,
        };
        ready(if is_allowed { Ok(()) } else { Err(Denied("These are not your orders.".to_owned())) })
    }
}

/// The shop's own cookie names the customer. It has the name that the gateway's session cookie has by default.
async fn customer(request: &HttpRequest) -> Result<Identity, Unidentified> {
    let cookie = request.cookie(&CookieSettings::default().name).ok_or(Unidentified::NotGiven)?;
    let user = cookie.value().parse().map_err(|_| Unidentified::NotGiven)?;
    Ok(Identity::new(user).named("A customer".parse().unwrap()))
}

fn cookie(customer: &str) -> String {
    format!("{}={customer}", CookieSettings::default().name)
}

/// Limits that no test reaches by accident.
fn config(instance: &str) -> Config {
    let limits = Limits { send_rate: None, join_rate: None, login_rate: None, ..Limits::default() };
    Config { instance: instance.to_owned(), limits, name_login: false, ..Config::default() }
}

type Shop = Gateway<RedisBus, NoSessions, OwnOrders>;

/// One instance of an application on its own port, stopped on drop.
struct Instance<G> {
    port: u16,
    gateway: G,
    server: ServerHandle,
}

impl Instance<Shop> {
    /// Starts one instance of the shop, with its socket at `/live/ws`.
    async fn of_shop(name: &str, redis: &Redis) -> Self {
        let gateway = Gateway::builder(RedisBus::new(RedisConfig::new(redis.url())).unwrap())
            .config(config(name))
            .identify(customer)
            .policy(OwnOrders)
            .build()
            .unwrap();
        let instance = Self::start(gateway, |gateway, config| {
            config.configure(gateway.socket_routes("/live/ws")).configure(|routes| gateway.health_routes(routes));
        });
        instance.becomes_ready().await;
        instance
    }

    /// Opens the socket of a customer.
    async fn open(&self, customer: &str) -> TestSocket {
        open(self.port, "/live/ws", &[("cookie", &cookie(customer))]).await.unwrap()
    }
}

impl<B, S, P> Instance<Gateway<B, S, P>>
where
    B: Bus + PresenceStore + InstanceRegistry + SharedLimits,
    S: Sessions,
    P: Policy,
{
    /// Serves an App with these routes on the gateway's own server.
    fn start(gateway: Gateway<B, S, P>, routes: fn(&Gateway<B, S, P>, &mut ServiceConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = {
            let gateway = gateway.clone();
            move || App::new().configure(|config| routes(&gateway, config))
        };
        let server = Server::new(gateway.clone(), app).workers(1).listen(listener).unwrap();
        let handle = server.handle();
        rt::spawn(server);
        Self { port, gateway, server: handle }
    }

    async fn becomes_ready(&self) {
        until("the instance is ready", async || get(self.port, "/readyz", &[]).await.starts_with("HTTP/1.1 200")).await;
    }
}

impl<G> Drop for Instance<G> {
    fn drop(&mut self) {
        rt::spawn(self.server.stop(false));
    }
}

/// Opens a socket and reads its `welcome`.
async fn open(port: u16, path: &str, headers: &[(&'static str, &str)]) -> Result<TestSocket, Error> {
    let mut request = format!("ws://127.0.0.1:{port}{path}").into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut socket = TestSocket(client_async(request, stream).await?.0);
    assert_eq!(socket.next().await["type"], "welcome");
    Ok(socket)
}

/// Sends a request and returns the response as text.
async fn request(port: u16, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    // `ask` ends the request line, which is here the last header.
    ask(port, &format!("{method} {path} HTTP/1.1\r\n{headers}X-Version:"), "").await
}

async fn get(port: u16, path: &str, headers: &[(&str, &str)]) -> String {
    request(port, "GET", path, headers).await
}

/// Returns the value of a response header.
fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let lines = answer.lines().skip(1).take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + STEP_TIMEOUT;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
