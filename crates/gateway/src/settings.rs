//! The settings of the program. Every flag and its environment variable is declared here once; `--help`,
//! `docs/CONFIG.md` and the validation are derived from the declarations. No other code reads the environment.
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::bare_urls,
    reason = "the comments of the settings are the text of --help and docs/CONFIG.md, not of rustdoc"
)]

mod oidc;
mod redis;
mod reference;
mod secrets;
mod tokens;
mod values;

use std::{io::Write as _, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind, parser::ValueSource,
};
use ipnet::IpNet;
use tracing_subscriber::filter::Targets;
use trunkline_bus::RedisOptions;
use trunkline_gateway::{Config, Limits, OidcConfig, Origin, jwt::TokenSettings};
use trunkline_session::{CookieSettings, Lifetimes, SecretKeys};

use self::{oidc::OidcFlags, redis::RedisFlags, tokens::TokenFlags};
pub(crate) use self::{redis::describe, secrets::RedactedText};

/// Real-time chat gateway. Runs as one instance, or as any number of instances that share a Redis server.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    settings: GatewaySettings,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Serve until SIGTERM or SIGINT. This is the default command.
    Serve(Box<GatewaySettings>),
    /// Print the reference of all settings as Markdown.
    #[command(hide = true)]
    Reference,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line, for programs.
    Json,
}

/// The settings of `trunkline serve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewaySettings {
    /// Address and port of the public listener. Port 0 picks a free port.
    #[arg(long, env = "TRUNKLINE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080",
          value_parser = values::address, help_heading = "Server")]
    pub(crate) listen: SocketAddr,

    /// Address and port of the admin listener, which serves /metrics, the status page, /healthz and /readyz. Keep it
    /// private. By default there is no admin listener.
    #[arg(long, env = "TRUNKLINE_ADMIN_LISTEN", value_name = "ADDR", value_parser = values::address, help_heading = "Server")]
    pub(crate) admin_listen: Option<SocketAddr>,

    #[command(flatten)]
    pub(crate) redis: RedisFlags,

    /// Name of this instance, shown on pages, in log lines and in /readyz. Each instance needs a different name.
    /// Defaults to the host name and the port.
    #[arg(long, env = "TRUNKLINE_INSTANCE", value_name = "NAME", value_parser = values::instance, help_heading = "Server")]
    pub(crate) instance: Option<String>,

    /// Number of worker threads. Defaults to the number of CPU cores.
    #[arg(long, env = "TRUNKLINE_WORKERS", value_name = "N", help_heading = "Server")]
    pub(crate) workers: Option<NonZeroU32>,

    /// Format of the log lines on standard error.
    #[arg(long, env = "TRUNKLINE_LOG", value_name = "FORMAT", default_value = "text", help_heading = "Server")]
    pub(crate) log: LogFormat,

    /// Log lines to write: a level, optionally with levels for single modules, such as info,trunkline_gateway=debug.
    // The middleware of actix-session warns about every forged cookie, so clients could fill the log.
    #[arg(
        long,
        env = "RUST_LOG",
        value_name = "FILTER",
        default_value = "info,actix_server=warn,actix_session::middleware=error",
        help_heading = "Server"
    )]
    log_filter: String,

    /// File with the keys that sign session cookies, the same on all instances: one key per line, each at least 64
    /// bytes. The first key signs, all are accepted. The variable TRUNKLINE_SECRET can hold the keys themselves
    /// instead. Required with --redis.
    #[arg(long, env = "TRUNKLINE_SECRET_FILE", value_name = "FILE", help_heading = "Sessions")]
    secret_file: Option<PathBuf>,

    // A variable only: an argument would be visible in process lists, so `parse` rejects the flag.
    #[arg(long, env = "TRUNKLINE_SECRET", hide = true, hide_env_values = true, value_parser = RedactedText::parse)]
    secret: Option<RedactedText>,

    /// Origin under which browsers reach the service, such as https://chat.example.org. Repeat the flag for several.
    /// Pages of other origins cannot open sockets or post forms. Without the flag, the Origin header must match the
    /// Host header of the request. Cookies are Secure if any of the origins is https.
    #[arg(long, env = "TRUNKLINE_PUBLIC_ORIGIN", value_name = "URL", value_delimiter = ',', help_heading = "Sessions")]
    public_origin: Vec<Origin>,

    /// Name of the session cookie. Services that share a host name need different names. A name that starts with
    /// __Host- requires an https origin.
    #[arg(long, env = "TRUNKLINE_COOKIE_NAME", value_name = "NAME", default_value = "jsessionid",
          value_parser = values::cookie_name, help_heading = "Sessions")]
    cookie_name: String,

    /// Time without use after which a session ends. An open socket counts as use.
    #[arg(long, env = "TRUNKLINE_SESSION_IDLE", value_name = "DURATION", default_value = "30m", value_parser = values::period,
          help_heading = "Sessions")]
    session_idle: Duration,

    /// Time after its login after which a session ends, whether it is used or not.
    #[arg(long, env = "TRUNKLINE_SESSION_MAX", value_name = "DURATION", default_value = "8h", value_parser = values::period,
          help_heading = "Sessions")]
    session_max: Duration,

    #[command(flatten)]
    pub(crate) oidc: OidcFlags,

    #[command(flatten)]
    pub(crate) tokens: TokenFlags,

    /// Time between two pings on a socket. A client that receives nothing for 1.6 times as long reconnects.
    #[arg(long, env = "TRUNKLINE_PING_INTERVAL", value_name = "DURATION", default_value = "25s", value_parser = values::period,
          help_heading = "Sockets")]
    ping_interval: Duration,

    /// Time after SIGTERM during which /readyz answers 503 while everything is still served, so that balancers stop
    /// sending new connections.
    #[arg(long, env = "TRUNKLINE_DRAIN_DELAY", value_name = "DURATION", default_value = "2s", value_parser = values::duration,
          help_heading = "Sockets")]
    drain_delay: Duration,

    /// Time after the drain delay during which clients are asked to reconnect to other instances, spread evenly. The
    /// process exits when no socket is left, at the latest 5 s after the window.
    #[arg(long, env = "TRUNKLINE_DRAIN_WINDOW", value_name = "DURATION", default_value = "10s", value_parser = values::duration,
          help_heading = "Sockets")]
    drain_window: Duration,

    /// Number of messages that the log of a room retains.
    #[arg(long, env = "TRUNKLINE_RETAIN", value_name = "N", default_value = "1000", help_heading = "Logs")]
    pub(crate) retain: NonZeroU32,

    /// Time without messages and members after which the log of a room expires.
    #[arg(long, env = "TRUNKLINE_RETAIN_FOR", value_name = "DURATION", default_value = "7d", value_parser = values::period,
          help_heading = "Logs")]
    pub(crate) retain_for: Duration,

    /// Messages per second and user on all instances, with bursts of three times as many. 0 disables the limit.
    #[arg(long, env = "TRUNKLINE_SEND_RATE", value_name = "N", default_value = "10", help_heading = "Limits")]
    send_rate: u32,

    /// Joins per second and socket. 0 disables the limit.
    #[arg(long, env = "TRUNKLINE_JOIN_RATE", value_name = "N", default_value = "10", help_heading = "Limits")]
    join_rate: u32,

    /// Login attempts per minute and client address on all instances. Each name is limited to five attempts per minute as well. 0
    /// disables both limits.
    #[arg(long, env = "TRUNKLINE_LOGIN_RATE", value_name = "N", default_value = "20", help_heading = "Limits")]
    login_rate: u32,

    /// Sockets per user on all instances. A new socket above the limit closes the oldest one. 0 disables the limit.
    #[arg(
        long,
        env = "TRUNKLINE_MAX_SOCKETS_PER_USER",
        value_name = "N",
        default_value = "16",
        help_heading = "Limits"
    )]
    max_sockets_per_user: u32,

    /// Sockets per client address on one instance. More are refused with 429. 0 disables the limit.
    #[arg(
        long,
        env = "TRUNKLINE_MAX_SOCKETS_PER_ADDRESS",
        value_name = "N",
        default_value = "0",
        help_heading = "Limits"
    )]
    max_sockets_per_address: u32,

    /// Sockets on one instance. More are refused with 429. 0 disables the limit.
    #[arg(long, env = "TRUNKLINE_MAX_SOCKETS", value_name = "N", default_value = "0", help_heading = "Limits")]
    max_sockets: u32,

    /// Address or network of a proxy whose X-Forwarded-For and X-Forwarded-Proto headers are trusted. Repeat the flag
    /// for several.
    #[arg(long, env = "TRUNKLINE_TRUST_PROXY", value_name = "CIDR", value_delimiter = ',', value_parser = values::network,
          help_heading = "Limits")]
    trust_proxy: Vec<IpNet>,
}

/// The settings, and what was read from the files that they name.
pub(crate) struct LoadedSettings {
    pub(crate) settings: GatewaySettings,
    /// The keys that sign session cookies; `None` if none are configured and none are required.
    pub(crate) keys: Option<SecretKeys>,
    /// What the flags add to the URL of Redis.
    pub(crate) redis_options: RedisOptions,
    /// Which tokens are accepted.
    pub(crate) tokens: Option<TokenSettings>,
    /// The OpenID provider with which users log in.
    pub(crate) oidc: Option<OidcConfig>,
}

/// Reads the arguments, the environment and the files with secrets and keys. Exits with code 2 if a setting is invalid, and
/// with 0 after `--help`.
pub(crate) fn from_process() -> LoadedSettings {
    let settings = match parse(std::env::args_os()) {
        Ok(Invocation::Serve(settings)) => *settings,
        Ok(Invocation::Reference) => {
            // Whether all of it is read does not matter, as in `trunkline reference | head`.
            let _ = std::io::stdout().write_all(reference::markdown(&CommandLine::command()).as_bytes());
            std::process::exit(0)
        }
        Err(error) => error.exit(),
    };
    let keys = settings.keys().unwrap_or_else(|error| error.exit());
    let redis_options = settings.redis.options().unwrap_or_else(|why| invalid(why).exit());
    let tokens = settings.tokens.load().unwrap_or_else(|why| invalid(why).exit());
    let oidc = settings.oidc.load().unwrap_or_else(|why| invalid(why).exit());
    LoadedSettings { settings, keys, redis_options, tokens, oidc }
}

/// The parsed command line.
#[derive(Debug)]
enum Invocation {
    Serve(Box<GatewaySettings>),
    Reference,
}

fn parse<I: IntoIterator<Item: Into<std::ffi::OsString> + Clone>>(args: I) -> Result<Invocation, clap::Error> {
    let matches = CommandLine::command().try_get_matches_from(args)?;
    let settings_matches = matches.subcommand().map_or(&matches, |(_, matches)| matches);
    if settings_matches.try_contains_id("secret").unwrap_or(false)
        && settings_matches.value_source("secret") == Some(ValueSource::CommandLine)
    {
        return Err(invalid(
            "arguments are visible in process lists: pass the secret with --secret-file or TRUNKLINE_SECRET",
        ));
    }
    let cli = CommandLine::from_arg_matches(&matches)?;
    let settings = match cli.command {
        Some(Subcommands::Reference) => return Ok(Invocation::Reference),
        Some(Subcommands::Serve(settings)) => settings,
        None => Box::new(cli.settings),
    };
    settings.validate()?;
    Ok(Invocation::Serve(settings))
}

/// Returns the error of an invalid setting, which exits with code 2.
fn invalid(message: impl std::fmt::Display) -> clap::Error {
    CommandLine::command().error(ErrorKind::ValueValidation, message)
}

impl GatewaySettings {
    /// Checks the rules that concern several settings.
    fn validate(&self) -> Result<(), clap::Error> {
        let https = self.public_origin.iter().any(Origin::is_https);
        self.redis.validate().map_err(invalid)?;
        if self.session_idle > self.session_max {
            return Err(invalid("--session-idle must not be longer than --session-max"));
        }
        if !https && ["__Host-", "__Secure-"].iter().any(|prefix| self.cookie_name.starts_with(prefix)) {
            return Err(invalid(format!(
                "browsers accept a cookie named {} over https only: set an https --public-origin, or choose another --cookie-name",
                self.cookie_name
            )));
        }
        if let Err(why) = self.log_filter.parse::<Targets>() {
            return Err(invalid(format!("--log-filter: {why}")));
        }
        if self.secret_file.is_some() && self.secret.is_some() {
            return Err(invalid("--secret-file and TRUNKLINE_SECRET are both set: set only one of them"));
        }
        self.tokens.validate().map_err(invalid)
    }

    /// Returns the keys that sign session cookies, or `None` if none are configured and none are required.
    ///
    /// # Errors
    /// Returns an error with exit code 2 if the keys cannot be read or are too short, or if there are none and
    /// `--redis` is set.
    fn keys(&self) -> Result<Option<SecretKeys>, clap::Error> {
        let (text, from) = match (&self.secret, &self.secret_file) {
            (Some(secret), _) => (secret.reveal().to_owned(), "TRUNKLINE_SECRET".to_owned()),
            (None, Some(file)) => {
                let from = format!("--secret-file {}", file.display());
                (secrets::read(file).map_err(|why| invalid(format!("{from}: {why}")))?, from)
            }
            (None, None) if self.redis.url.is_some() => return Err(invalid(secrets::KEY_REQUIRED)),
            (None, None) => return Ok(None),
        };
        let keys = SecretKeys::new(secrets::lines(&text));
        keys.map(Some).map_err(|why| invalid(format!("{from}: {why}; create one with `openssl rand -hex 64`")))
    }

    /// Returns the filter of log lines.
    pub(crate) fn log_filter(&self) -> Targets {
        // `validate` has parsed it already.
        self.log_filter.parse().unwrap_or_default()
    }

    /// Returns the lifetimes of sessions.
    pub(crate) fn lifetimes(&self) -> Lifetimes {
        Lifetimes { idle: self.session_idle, max: self.session_max, ..Lifetimes::default() }
    }

    /// Returns the configuration of the gateway, without tokens and provider. `default_instance` is the instance name unless one is set.
    pub(crate) fn config(&self, default_instance: String, keys: SecretKeys) -> Config {
        Config {
            name_login: self.tokens.is_name_login_asked_for() || !(self.tokens.are_accepted() || self.oidc.is_on()),
            instance: self.instance.clone().unwrap_or(default_instance),
            public_origins: self.public_origin.clone(),
            cookie: CookieSettings {
                name: self.cookie_name.clone(),
                secure: self.public_origin.iter().any(Origin::is_https),
            },
            keys,
            lifetimes: self.lifetimes(),
            ping_interval: self.ping_interval,
            drain_delay: self.drain_delay,
            drain_window: self.drain_window,
            limits: Limits {
                send_rate: NonZeroU32::new(self.send_rate),
                join_rate: NonZeroU32::new(self.join_rate),
                login_rate: NonZeroU32::new(self.login_rate),
                sockets_per_user: NonZeroU32::new(self.max_sockets_per_user),
                sockets_per_address: NonZeroU32::new(self.max_sockets_per_address),
                sockets: NonZeroU32::new(self.max_sockets),
                ..Limits::default()
            },
            trusted_proxies: self.trust_proxy.clone(),
            host_users: None,
            tokens: None,
            oidc: None,
        }
    }
}

#[cfg(test)]
mod tests;
