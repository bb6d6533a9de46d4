//! `trunkline`: the gateway as a program. Settings, bus and sessions, server, announce, wait for a signal, drain.

mod listener;
mod logging;
mod settings;

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    time::Duration,
};

use actix_web::{App, HttpServer, dev::Server, rt, web};
use tokio::signal::unix::{Signal, SignalKind, signal};
use trunkline_bus::{
    Bus, InstanceRegistry, InvalidRedisUrl, LocalBus, LocalConfig, PresenceStore, RedisBus, RedisConfig,
};
use trunkline_gateway::{Config, Gateway};
use trunkline_session::{InvalidSettings, MemorySessions, RedisSessions, SecretKeys, Sessions};

use crate::settings::Settings;

/// Longest that a request's head may take to come.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// What keys of sessions in Redis begin with.
const PREFIX: &str = "tl";

/// Why the program ends without having been asked to.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("the server failed: {0}")]
    Server(#[from] io::Error),
    #[error("--redis: {0}")]
    Redis(#[from] InvalidRedisUrl),
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
}

fn main() -> ExitCode {
    let (settings, keys) = settings::from_process();
    match rt::System::new().block_on(run(&settings, keys)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("trunkline: {failure}");
            match failure {
                Failure::Listen(..) | Failure::Server(_) => ExitCode::FAILURE,
                // Wrong usage.
                Failure::Redis(_) | Failure::Settings(_) => ExitCode::from(2),
            }
        }
    }
}

async fn run(settings: &Settings, keys: Option<SecretKeys>) -> Result<(), Failure> {
    let public = listen(settings.listen)?;
    let admin = settings.admin_listen.map(listen).transpose()?;
    let random_key = keys.is_none();
    let config = settings.config(default_instance(public.local_addr()?), keys.unwrap_or_else(SecretKeys::random));
    logging::start(settings.log, settings.log_filter(), &config.instance);
    if random_key {
        tracing::info!("no --secret-file: session cookies are signed with a random key and end with this process");
    }
    let retain = settings.retain.get() as usize;
    match &settings.redis {
        Some(url) => {
            let mut redis = RedisConfig::new(url.reveal());
            redis.retain = retain;
            redis.retain_for = settings.retain_for;
            let sessions = RedisSessions::in_redis(url.reveal(), PREFIX, config.lifetimes)?;
            serve(RedisBus::new(redis)?, sessions, config, settings, public, admin).await
        }
        None => {
            tracing::info!("no --redis: this process is alone, and its rooms and sessions end with it");
            let local = LocalConfig { retain, retain_for: settings.retain_for, ..LocalConfig::default() };
            let sessions = MemorySessions::in_memory(config.lifetimes);
            serve(LocalBus::new(local), sessions, config, settings, public, admin).await
        }
    }
}

async fn serve<B: Bus + PresenceStore + InstanceRegistry, S: Sessions>(
    bus: B,
    sessions: S,
    config: Config,
    settings: &Settings,
    public: TcpListener,
    admin: Option<TcpListener>,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let address = public.local_addr()?;
    let gateway = Gateway::new(bus, sessions, config)?;
    let server = gateway.serve(public, settings.workers.map(|workers| workers.get() as usize))?;
    if let Some(admin) = &admin {
        tracing::info!(address = %admin.local_addr()?, "listening for operators");
    }
    let admin = admin.map(|admin| admin_server(gateway.clone(), admin)).transpose()?;
    let (handle, admin_handle) = (server.handle(), admin.as_ref().map(Server::handle));
    let mut server = rt::spawn(server);
    let admin = admin.map(rt::spawn);
    announce(address);

    tokio::select! {
        // It ends by itself only if something is badly wrong.
        ended = &mut server => return Ok(ended.map_err(io::Error::other)??),
        () = signals.next() => tracing::info!("draining"),
    }
    tokio::select! {
        () = gateway.drain() => {}
        () = signals.next() => tracing::warn!("second signal: not waiting for the drain"),
    }
    handle.stop(true).await;
    if let (Some(handle), Some(task)) = (admin_handle, admin) {
        handle.stop(true).await;
        task.await.map_err(io::Error::other)??;
    }
    Ok(())
}

fn admin_server<B: Bus + PresenceStore + InstanceRegistry, S: Sessions>(
    gateway: Gateway<B, S>,
    listener: TcpListener,
) -> io::Result<Server> {
    let app = move || {
        let gateway = gateway.clone();
        App::new()
            .configure(move |config| gateway.admin_routes(config))
            .default_service(web::to(trunkline_gateway::not_found))
    };
    let server = HttpServer::new(app).client_request_timeout(REQUEST_TIME).disable_signals().shutdown_timeout(1);
    Ok(server.workers(1).listen(listener)?.run())
}

/// SIGTERM and SIGINT, which mean the same.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one that comes.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    listener::listen(address).map_err(|error| Failure::Listen(address, error))
}

/// Says on standard output that connections are taken, and where.
fn announce(address: SocketAddr) {
    let mut out = io::stdout();
    // Whoever started the program may not want to read it.
    let _ = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
}

/// Host name and port.
fn default_instance(address: SocketAddr) -> String {
    format!("{}:{}", rustix::system::uname().nodename().to_string_lossy(), address.port())
}
