//! Chat as a part of another application: its own routes, its own rule about who may write where.
//!
//! ```sh
//! cargo run -p trunkline-gateway --example embedded        # then open http://127.0.0.1:8080
//! ```

use std::{error::Error, future::ready};

use actix_web::{App, HttpServer, rt, web};
use trunkline_bus::{LocalBus, LocalConfig};
use trunkline_domain::UserName;
use trunkline_gateway::{Action, Config, Denied, Gateway, Policy};
use trunkline_session::MemorySessions;

/// Everybody reads the room `news`; only `editor` writes there. All other rooms are open.
#[derive(Clone)]
struct NewsDesk;

impl Policy for NewsDesk {
    fn decide(&self, user: &UserName, action: Action<'_>) -> impl Future<Output = Result<(), Denied>> + Send {
        let allowed = !matches!(action, Action::Send(room) if room.as_str() == "news" && user.as_str() != "editor");
        ready(if allowed { Ok(()) } else { Err(Denied("only the editor writes here".to_owned())) })
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::default();
    // In Redis: `RedisSessions::in_redis(url, "tl", config.lifetimes)?` and `RedisBus::new(RedisConfig::new(url))?`.
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
        // Three lines that matter for sockets: give up peers that take nothing, do not delay small frames, and let go
        // of clients that shut down only their sending side.
        .on_connect(Gateway::<LocalBus, MemorySessions, NewsDesk>::on_connect)
        .tcp_nodelay(true)
        .h1_allow_half_closed(false)
        // Signals are ours: drain first, stop then.
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
