//! Sockets from the client's side, over both transports: mounted in an App, and taken over by the gateway's own server.

pub(crate) mod client;
mod commands;
mod endings;
mod identities;
mod wire;

use std::{net::TcpListener, num::NonZeroU32};

use actix_web::{App, HttpServer, dev::ServerHandle, rt};
use trunkline_bus::{LocalBus, LocalConfig};
use trunkline_gateway::{Config, Gateway, Limits};
use trunkline_session::{Lifetimes, MemorySessions};

/// Runs each of these `async fn(Transport)` over both transports.
macro_rules! over_both_transports {
    ($($test:ident),* $(,)?) => {
        mod mounted {
            $(#[actix_web::test]
            async fn $test() {
                super::$test(crate::socket::Transport::Mounted).await;
            })*
        }
        mod taken_over {
            $(#[actix_web::test]
            async fn $test() {
                super::$test(crate::socket::Transport::TakenOver).await;
            })*
        }
    };
}
use over_both_transports;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Mounted,
    TakenOver,
}

/// A gateway on its own port, stopped on drop.
struct Site {
    port: u16,
    gateway: Gateway<LocalBus, MemorySessions>,
    server: ServerHandle,
}

impl Site {
    fn start(transport: Transport, config: Config) -> Self {
        let sessions = MemorySessions::in_memory(Lifetimes::default());
        let gateway = Gateway::new(LocalBus::new(LocalConfig::default()), sessions, config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = match transport {
            Transport::TakenOver => gateway.serve(listener, Some(2)).unwrap(),
            Transport::Mounted => {
                let gateway = gateway.clone();
                let app = move || App::new().configure(|config| gateway.routes(config));
                HttpServer::new(app)
                    .workers(2)
                    .tcp_nodelay(true)
                    .h1_allow_half_closed(false)
                    .disable_signals()
                    .shutdown_timeout(0)
                    .listen(listener)
                    .unwrap()
                    .run()
            }
        };
        let handle = server.handle();
        rt::spawn(server);
        Self { port, gateway, server: handle }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        rt::spawn(self.server.stop(false));
    }
}

/// Limits that no test reaches by accident.
fn generous() -> Config {
    let limits = Limits { send_rate: None, join_rate: None, login_rate: None, ..Limits::default() };
    Config { limits, ..Config::default() }
}

fn limited(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = generous();
    change(&mut config.limits);
    config
}

fn count(number: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(number)
}
