//! The program `trunkline`: reads the settings, connects the bus and the session store, serves, prints the address,
//! waits for a signal, drains.

mod listener;
mod logging;
mod settings;

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use actix_web::{App, HttpServer, dev::Server, rt, web};
use trunkline_bus::{
    Bus, InstanceRegistry, InvalidRedisSettings, LocalBus, LocalConfig, PresenceStore, RedisConfig, SharedLimits,
    mutant,
};
use trunkline_gateway::{Gateway, MAX_ADMIN_CONNECTIONS, ShutdownSignals, jwt::TokenVerifier};
use trunkline_session::{InvalidSettings, MemorySessions, RedisSessions, SecretKeys, Sessions};

use crate::settings::{GatewaySettings, LoadedSettings};

/// `.cargo/config.toml` has its settings.
#[cfg(all(feature = "jemalloc", target_os = "linux"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Maximum time for the head of a request to the admin listener to arrive.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for the last message of the process to be written.
const LAST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the program stops without a signal.
#[derive(Debug, thiserror::Error)]
enum ProgramError {
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    #[error("cannot start the log writer: {0}")]
    Log(#[source] io::Error),
    #[error("the HTTP server failed: {0}")]
    Server(#[from] io::Error),
    #[error("--jwt-jwks-url: cannot read the certificates of the system: {0}")]
    Certificates(#[source] io::Error),
    #[error("{}", settings::describe(.0))]
    Redis(#[from] InvalidRedisSettings),
    #[error(transparent)]
    Settings(InvalidSettings),
}

impl From<InvalidSettings> for ProgramError {
    fn from(error: InvalidSettings) -> Self {
        match error {
            InvalidSettings::Redis(error) => Self::Redis(error),
            other => Self::Settings(other),
        }
    }
}

fn main() -> ExitCode {
    match rt::System::new().block_on(run(settings::from_process())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(format!("trunkline: {error}\n"));
            match error {
                ProgramError::Listen(..)
                | ProgramError::Log(_)
                | ProgramError::Server(_)
                | ProgramError::Certificates(_) => ExitCode::FAILURE,
                // An invalid setting.
                ProgramError::Redis(_) | ProgramError::Settings(_) => ExitCode::from(2),
            }
        }
    }
}

async fn run(loaded: LoadedSettings) -> Result<(), ProgramError> {
    let LoadedSettings { settings, keys, redis_options, tokens, oidc } = loaded;
    let settings = &settings;
    let public = listen(settings.listen)?;
    let admin = settings.admin_listen.map(listen).transpose()?;
    let random_key = keys.is_none();
    let mut config = settings.config(default_instance(public.local_addr()?), keys.unwrap_or_else(SecretKeys::random));
    let _log = logging::start(settings.log, settings.log_filter(), &config.instance).map_err(ProgramError::Log)?;
    raise_limits();
    if random_key {
        tracing::info!(
            "no --secret-file is set: session cookies are signed with a random key, and all sessions end when this process stops"
        );
    }
    config.tokens = tokens.map(TokenVerifier::start).transpose().map_err(ProgramError::Certificates)?;
    config.oidc = oidc;
    if (config.tokens.is_some() || config.oidc.is_some()) && config.name_login {
        tracing::warn!(
            "--name-login is set although users come from a token issuer or an OpenID provider: anyone can log in under the id of \
             such a user; use it for development only"
        );
    }
    let retain = settings.retain.get() as usize;
    match &settings.redis.url {
        Some(url) => {
            let mut redis = RedisConfig::new(url.reveal());
            redis.prefix.clone_from(&settings.redis.prefix);
            redis.batch_delay_max = settings.redis.batch_delay_max;
            redis.retain = retain;
            redis.retain_for = settings.retain_for;
            let (url, prefix) = (url.reveal(), &settings.redis.prefix);
            let sessions = RedisSessions::in_redis_with(url, &redis_options, prefix, config.lifetimes)?;
            redis.options = redis_options;
            let create = move || Ok(Gateway::new(mutant::redis_bus(redis)?, sessions, config)?);
            serve(create, settings, public, admin).await
        }
        None => {
            tracing::info!(
                "no --redis is set: this process is the only instance, and all rooms and sessions end when it stops"
            );
            let local = LocalConfig { retain, retain_for: settings.retain_for, ..LocalConfig::default() };
            let sessions = MemorySessions::in_memory(config.lifetimes);
            serve(move || Ok(Gateway::new(LocalBus::new(local), sessions, config)?), settings, public, admin).await
        }
    }
}

async fn serve<B: Bus + PresenceStore + InstanceRegistry + SharedLimits, S: Sessions>(
    create: impl FnOnce() -> Result<Gateway<B, S>, ProgramError> + Send + 'static,
    settings: &GatewaySettings,
    public: TcpListener,
    admin: Option<TcpListener>,
) -> Result<(), ProgramError> {
    let mut signals = ShutdownSignals::new()?;
    let address = public.local_addr()?;
    let workers = settings.workers.map(|workers| workers.get() as usize);
    let (server, created) = Gateway::serve_new(create, public, workers)?;
    let handle = server.handle();
    let mut server = rt::spawn(server);
    let gateway = tokio::select! {
        ended = &mut server => return Ok(ended.map_err(io::Error::other)??),
        Ok(gateway) = created => gateway?,
    };
    if let Some(admin) = &admin {
        tracing::info!(address = %admin.local_addr()?, "admin listener started");
    }
    let admin = admin.map(|admin| admin_server(gateway.clone(), admin)).transpose()?;
    let admin_handle = admin.as_ref().map(Server::handle);
    let admin = admin.map(rt::spawn);
    print_address(address);

    tokio::select! {
        // The server stops by itself only after an error.
        ended = &mut server => return Ok(ended.map_err(io::Error::other)??),
        () = signals.next() => tracing::info!("signal received; draining"),
    }
    signals.drain(&gateway, &handle).await;
    if let (Some(handle), Some(task)) = (admin_handle, admin) {
        handle.stop(true).await;
        task.await.map_err(io::Error::other)??;
    }
    Ok(())
}

fn admin_server<B: Bus + PresenceStore + InstanceRegistry + SharedLimits, S: Sessions>(
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
    Ok(server.workers(1).max_connections(MAX_ADMIN_CONNECTIONS).listen(listener)?.run())
}

fn listen(address: SocketAddr) -> Result<TcpListener, ProgramError> {
    listener::listen(address).map_err(|error| ProgramError::Listen(address, error))
}

/// Raises the limit of open files, since each socket needs one.
fn raise_limits() {
    match trunkline_gateway::raise_open_file_limit() {
        Ok((before, after)) if before == after => tracing::info!(limit = after, "limit of open files"),
        Ok((before, after)) => tracing::info!(before, limit = after, "raised the limit of open files"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files; it stays as it is"),
    }
}

/// Prints on standard output that connections are accepted, and where. On a thread, because the write blocks if
/// standard output is a full pipe. An error is ignored: the program works without standard output.
fn print_address(address: SocketAddr) {
    thread::spawn(move || {
        let mut out = io::stdout();
        writeln!(out, "listening on http://{address}").and_then(|()| out.flush())
    });
}

/// Prints the last message of the process on standard error, unless it is a full pipe.
fn print_error(message: String) {
    let (done, written) = mpsc::channel();
    thread::spawn(move || {
        let _ = io::stderr().write_all(message.as_bytes());
        let _ = done.send(());
    });
    let _ = written.recv_timeout(LAST_MESSAGE_TIMEOUT);
}

/// Returns the default instance name: host name and port.
fn default_instance(address: SocketAddr) -> String {
    format!("{}:{}", rustix::system::uname().nodename().to_string_lossy(), address.port())
}
