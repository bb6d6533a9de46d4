//! The program `trunkline`: reads settings, connects bus and sessions, serves, waits for a signal, drains.

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
    Bus, InstanceRegistry, InvalidRedisUrl, LocalBus, LocalConfig, PresenceStore, RedisConfig, mutant,
};
use trunkline_gateway::{Config, Gateway};
use trunkline_session::{InvalidSettings, MemorySessions, RedisSessions, SecretKeys, Sessions};

use crate::settings::Settings;

/// Maximum time in which the head of a request to the operators' listener must arrive.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Prefix of the keys of sessions in Redis. All instances of a cluster need the same.
const SESSION_KEY_PREFIX: &str = "tl";

/// Why the program ends although no signal asked it to.
#[derive(Debug, thiserror::Error)]
enum ProgramError {
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
                ProgramError::Listen(..) | ProgramError::Server(_) => ExitCode::FAILURE,
                // The exit code of wrong usage.
                ProgramError::Redis(_) | ProgramError::Settings(_) => ExitCode::from(2),
            }
        }
    }
}

async fn run(settings: &Settings, keys: Option<SecretKeys>) -> Result<(), ProgramError> {
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
            let sessions = RedisSessions::in_redis(url.reveal(), SESSION_KEY_PREFIX, config.lifetimes)?;
            serve(mutant::redis_bus(redis)?, sessions, config, settings, public, admin).await
        }
        None => {
            tracing::info!("no --redis: this process is the whole cluster, and its rooms and sessions end with it");
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
) -> Result<(), ProgramError> {
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
        // Without a signal the server ends only after a failure.
        ended = &mut server => return Ok(ended.map_err(io::Error::other)??),
        () = signals.next() => tracing::info!("draining"),
    }
    tokio::select! {
        () = gateway.drain() => {}
        () = signals.next() => tracing::warn!("second signal: stopping without a drain"),
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
    let server =
        HttpServer::new(app).client_request_timeout(REQUEST_HEAD_TIMEOUT).disable_signals().shutdown_timeout(1);
    Ok(server.workers(1).listen(listener)?.run())
}

/// The signals that stop the program: SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, ProgramError> {
    listener::listen(address).map_err(|error| ProgramError::Listen(address, error))
}

/// Writes the address on standard output, once connections are accepted.
fn announce(address: SocketAddr) {
    let mut out = io::stdout();
    // The parent process may have closed the pipe.
    let _ = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
}

/// Returns the default name of this instance: host name and port.
fn default_instance(address: SocketAddr) -> String {
    format!("{}:{}", rustix::system::uname().nodename().to_string_lossy(), address.port())
}
