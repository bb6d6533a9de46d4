//! The gateway in an App of one's own, over Redis: an instance like any other. `cargo xtask bench` measures with it what a
//! socket costs there.
//!
//! ```sh
//! PORT=8080 REDIS_URL=redis://127.0.0.1:6379 cargo run -p trunkline-gateway --example mounted
//! ```

use std::{env, error::Error};

use actix_web::{App, HttpServer};
use trunkline_bus::{RedisBus, RedisConfig};
use trunkline_gateway::{Config, Gateway};
use trunkline_session::RedisSessions;

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (port, redis) = (env::var("PORT")?.parse()?, env::var("REDIS_URL")?);
    let mut config = Config::default();
    // All of the load comes from one address.
    (config.limits.login_rate, config.limits.send_rate, config.limits.join_rate) = (None, None, None);
    config.limits.sockets_per_user = None;
    let sessions = RedisSessions::in_redis(&redis, "tl", config.lifetimes)?;
    let gateway = Gateway::new(RedisBus::new(RedisConfig::new(redis))?, sessions, config)?;
    let app = {
        let gateway = gateway.clone();
        move || App::new().configure(|routes| gateway.routes(routes))
    };
    // The lines of `embedded.rs`, less the drain: who measures ends it.
    HttpServer::new(app)
        .on_connect(Gateway::<RedisBus, RedisSessions>::on_connect)
        .tcp_nodelay(true)
        .h1_allow_half_closed(false)
        .bind(("127.0.0.1", port))?
        .run()
        .await?;
    Ok(())
}
