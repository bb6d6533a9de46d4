//! Chat as a part of another application, with routes and a policy of its own.
//!
//! ```sh
//! cargo run -p trunkline-gateway --example embedded        # then open http://127.0.0.1:8080
//! ```

use std::{error::Error, future::ready};

use actix_web::{App, HttpServer, rt, web};
use trunkline_bus::{LocalBus, LocalConfig};
use trunkline_gateway::{Action, Config, Denied, Gateway, Identity, Policy};
use trunkline_session::MemorySessions;

/// In the room `news` only `editor` writes. All other rooms are open.
#[derive(Clone)]
struct NewsDesk;

impl Policy for NewsDesk {
    fn decide(&self, identity: &Identity, action: Action<'_>) -> impl Future<Output = Result<(), Denied>> + Send {
        let allowed =
            !matches!(action, Action::Send(room) if room.as_str() == "news" && identity.user().as_str() != "editor");
        ready(if allowed { Ok(()) } else { Err(Denied("Only the editor writes here.".to_owned())) })
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::default();
    // With Redis: `RedisSessions::in_redis(url, "tl", config.lifetimes)?` and `RedisBus::new(RedisConfig::new(url))?`.
    let sessions = MemorySessions::in_memory(config.lifetimes);
    let bus = LocalBus::new(LocalConfig::default());
    let gateway = Gateway::with_policy(bus, sessions, config, NewsDesk)?;

    let app = {
        let gateway = gateway.clone();
        move || {
            App::new()
                .route("/hello", web::get().to(async || "hello from the rest of the application"))
                .configure(|routes| gateway.routes(routes))
        }
    };
    let server = HttpServer::new(app)
        // Three lines that sockets need: end clients that take no bytes, send small frames without delay, and end clients
        // that shut down only their sending side.
        .on_connect(Gateway::<LocalBus, MemorySessions, NewsDesk>::on_connect)
        .tcp_nodelay(true)
        .h1_allow_half_closed(false)
        // The application handles signals: it drains first and stops then.
        .disable_signals()
        .bind("127.0.0.1:8080")?
        .run();
    let handle = server.handle();
    let server = rt::spawn(server);
    rt::signal::ctrl_c().await?;
    gateway.drain().await;
    handle.stop(true).await;
    Ok(server.await??)
}
