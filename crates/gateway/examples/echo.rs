//! Two echo servers made of the gateway's frame check, decoder and transports: one takes its connections over, the other is
//! mounted in an App. `cargo xtask conformance` runs the Autobahn test suite against them.
//!
//! ```sh
//! cargo run -p trunkline-gateway --features echo --example echo -- 9001 9002
//! ```

use std::{env, error::Error, net::TcpListener, time::Duration};

use actix_web::{App, HttpServer, rt};
use trunkline_bus::{LocalBus, LocalConfig};
use trunkline_gateway::{Config, Gateway};
use trunkline_session::MemorySessions;

/// Time between two pings of the gateway. They are text frames, which the test suite does not expect.
const PING_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
/// Time for which actix-web reads and drops bytes of a mounted socket after its close frame, before it closes TCP. The test
/// suite ends many cases after 500 ms; the default is 1 s.
const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(100);

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut listeners = Vec::new();
    for port in env::args().skip(1) {
        listeners.push(TcpListener::bind(("127.0.0.1", port.parse()?))?);
    }
    let Ok([take_over, mounted]) = <[TcpListener; 2]>::try_from(listeners) else {
        return Err("usage: echo PORT_OF_TAKEOVER PORT_OF_MOUNTED".into());
    };
    let mut config = Config::default();
    config.ping_interval = PING_INTERVAL;
    config.limits.sockets_per_user = None;
    let sessions = MemorySessions::in_memory(config.lifetimes);
    let gateway = Gateway::new(LocalBus::new(LocalConfig::default()), sessions, config)?;

    rt::spawn(gateway.serve_echo(take_over, Some(1))?);
    let app = move || App::new().configure(|routes| gateway.echo_routes(routes));
    HttpServer::new(app)
        .on_connect(Gateway::<LocalBus, MemorySessions>::on_connect)
        .tcp_nodelay(true)
        .h1_allow_half_closed(false)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .workers(1)
        .listen(mounted)?
        .run()
        .await?;
    Ok(())
}
