//! An instance whose routes are mounted in an App, over Redis. `cargo xtask bench` uses it to measure the cost of a mounted
//! socket.
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
    // The load generator uses one address and few users, so limits per client are off.
    (config.limits.login_rate, config.limits.send_rate, config.limits.join_rate) = (None, None, None);
    config.limits.sockets_per_user = None;
    let sessions = RedisSessions::in_redis(&redis, "tl", config.lifetimes)?;
    let gateway = Gateway::new(RedisBus::new(RedisConfig::new(redis))?, sessions, config)?;
    let app = {
        let gateway = gateway.clone();
        move || App::new().configure(|routes| gateway.routes(routes))
    };
    // As in `embedded.rs`, without the drain: the benchmark kills the process.
    HttpServer::new(app)
        .on_connect(Gateway::<RedisBus, RedisSessions>::on_connect)
        .tcp_nodelay(true)
        .h1_allow_half_closed(false)
        .bind(("127.0.0.1", port))?
        .run()
        .await?;
    Ok(())
}
