//! Every flag and every `TRUNKLINE_` variable, declared once. Help, `docs/CONFIG.md` and validation come from here, and the
//! process environment is read nowhere else.
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::bare_urls,
    reason = "the comments of settings are the text of --help and docs/CONFIG.md, which is not rustdoc's"
)]

mod reference;
mod secrets;
mod values;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind, parser::ValueSource,
};
use ipnet::IpNet;
use tracing_subscriber::filter::Targets;
use trunkline_gateway::{Config, Limits, Origin};
use trunkline_session::{CookieSettings, Lifetimes, SecretKeys};

pub(crate) use self::secrets::Secret;

/// Real-time chat gateway: any number of instances over one Redis, or one instance alone.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT; the same as `trunkline` alone.
    Serve(Box<Settings>),
    /// Print the reference of all settings as Markdown.
    #[command(hide = true)]
    Reference,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What `trunkline serve` was told.
#[derive(Args, Clone, Debug)]
pub(crate) struct Settings {
    /// Address and port to serve on; port 0 picks a free one.
    #[arg(long, env = "TRUNKLINE_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080",
          value_parser = values::address, help_heading = "Server")]
    pub(crate) listen: SocketAddr,

    /// Address and port for operators: /metrics, the status page, and /healthz and /readyz once more. Off unless given.
    #[arg(long, env = "TRUNKLINE_ADMIN_LISTEN", value_name = "ADDR", value_parser = values::address, help_heading = "Server")]
    pub(crate) admin_listen: Option<SocketAddr>,

    /// The Redis that all instances share: redis://[user:password@]host[:port][/db] or rediss://… . Without it this process
    /// is alone and keeps everything in memory. With a password in it, prefer the variable: arguments show in process lists.
    #[arg(long, env = "TRUNKLINE_REDIS", value_name = "URL", hide_env_values = true, value_parser = Secret::parse,
          help_heading = "Server")]
    pub(crate) redis: Option<Secret>,

    /// Name of this instance, shown to people and in logs. Default: host name and port.
    #[arg(long, env = "TRUNKLINE_INSTANCE", value_name = "NAME", value_parser = values::instance, help_heading = "Server")]
    pub(crate) instance: Option<String>,

    /// Threads that serve. Default: one a core.
    #[arg(long, env = "TRUNKLINE_WORKERS", value_name = "N", help_heading = "Server")]
    pub(crate) workers: Option<NonZeroU32>,

    /// How log lines on standard error look.
    #[arg(long, env = "TRUNKLINE_LOG", value_name = "FORMAT", default_value = "text", help_heading = "Server")]
    pub(crate) log: LogFormat,

    /// Which log lines are written: a level, or one a module, such as info,trunkline_gateway=debug.
    #[arg(
        long,
        env = "RUST_LOG",
        value_name = "FILTER",
        default_value = "info,actix_server=warn",
        help_heading = "Server"
    )]
    log_filter: String,

    /// File with the keys that sign session cookies: one a line, at least 64 bytes each, the same on all instances. The first
    /// signs. The variable TRUNKLINE_SECRET holds the keys themselves instead. Needed with --redis.
    #[arg(long, env = "TRUNKLINE_SECRET_FILE", value_name = "FILE", help_heading = "Sessions")]
    secret_file: Option<PathBuf>,

    // Has no flag for people: an argument shows in process lists. `parse` refuses it there.
    #[arg(long, env = "TRUNKLINE_SECRET", hide = true, hide_env_values = true, value_parser = Secret::parse)]
    secret: Option<Secret>,

    /// Where browsers find the service, such as https://chat.example.org; repeat it for several. Other origins may open no
    /// socket and post no form. Without it, Origin must name the host that the request itself names. Cookies are Secure as
    /// soon as one of them is https.
    #[arg(long, env = "TRUNKLINE_PUBLIC_ORIGIN", value_name = "URL", value_delimiter = ',', help_heading = "Sessions")]
    public_origin: Vec<Origin>,

    /// Name of the session cookie. A name that starts with __Host- needs an https origin.
    #[arg(long, env = "TRUNKLINE_COOKIE_NAME", value_name = "NAME", default_value = "jsessionid",
          value_parser = values::cookie_name, help_heading = "Sessions")]
    cookie_name: String,

    /// A session ends after this time without use; an open socket is use.
    #[arg(long, env = "TRUNKLINE_SESSION_IDLE", value_name = "TIME", default_value = "30m", value_parser = values::period,
          help_heading = "Sessions")]
    session_idle: Duration,

    /// A session ends after this time, used or not.
    #[arg(long, env = "TRUNKLINE_SESSION_MAX", value_name = "TIME", default_value = "8h", value_parser = values::period,
          help_heading = "Sessions")]
    session_max: Duration,

    /// Time between two pings of a socket. A client that hears nothing for 1.6 times as long reconnects.
    #[arg(long, env = "TRUNKLINE_PING_INTERVAL", value_name = "TIME", default_value = "25s", value_parser = values::period,
          help_heading = "Sockets")]
    ping_interval: Duration,

    /// After SIGTERM: how long to be "not ready" but still serve, so that balancers notice.
    #[arg(long, env = "TRUNKLINE_DRAIN_DELAY", value_name = "TIME", default_value = "2s", value_parser = values::time,
          help_heading = "Sockets")]
    drain_delay: Duration,

    /// Then: the time over which clients are asked to reconnect elsewhere. The process ends as soon as no socket is left, at
    /// the latest 5 s after it.
    #[arg(long, env = "TRUNKLINE_DRAIN_WINDOW", value_name = "TIME", default_value = "10s", value_parser = values::time,
          help_heading = "Sockets")]
    drain_window: Duration,

    /// Messages that a room's log keeps.
    #[arg(long, env = "TRUNKLINE_RETAIN", value_name = "N", default_value = "1000", help_heading = "Logs")]
    pub(crate) retain: NonZeroU32,

    /// A room's log expires after this time without messages and members.
    #[arg(long, env = "TRUNKLINE_RETAIN_FOR", value_name = "TIME", default_value = "7d", value_parser = values::period,
          help_heading = "Logs")]
    pub(crate) retain_for: Duration,

    /// Messages a second and user; bursts of three times as many pass. 0: no limit.
    #[arg(long, env = "TRUNKLINE_SEND_RATE", value_name = "N", default_value = "10", help_heading = "Limits")]
    send_rate: u32,

    /// Joins a second and socket. 0: no limit.
    #[arg(long, env = "TRUNKLINE_JOIN_RATE", value_name = "N", default_value = "10", help_heading = "Limits")]
    join_rate: u32,

    /// Attempts to log in, a minute and client address; a name can be tried five times a minute then. 0: no limits.
    #[arg(long, env = "TRUNKLINE_LOGIN_RATE", value_name = "N", default_value = "20", help_heading = "Limits")]
    login_rate: u32,

    /// Sockets a user on one instance; the oldest is closed for a new one. 0: no limit.
    #[arg(
        long,
        env = "TRUNKLINE_MAX_SOCKETS_PER_USER",
        value_name = "N",
        default_value = "16",
        help_heading = "Limits"
    )]
    max_sockets_per_user: u32,

    /// Sockets a client address on one instance. 0: no limit.
    #[arg(
        long,
        env = "TRUNKLINE_MAX_SOCKETS_PER_ADDRESS",
        value_name = "N",
        default_value = "0",
        help_heading = "Limits"
    )]
    max_sockets_per_address: u32,

    /// Sockets on one instance. 0: no limit.
    #[arg(long, env = "TRUNKLINE_MAX_SOCKETS", value_name = "N", default_value = "0", help_heading = "Limits")]
    max_sockets: u32,

    /// A proxy, or a network of them, whose X-Forwarded-For and X-Forwarded-Proto are believed; repeat it for several.
    #[arg(long, env = "TRUNKLINE_TRUST_PROXY", value_name = "CIDR", value_delimiter = ',', value_parser = values::network,
          help_heading = "Limits")]
    trust_proxy: Vec<IpNet>,
}

/// Reads arguments, environment and the file with the keys that sign session cookies; no keys where none were given and
/// none are needed. Wrong usage ends the process with code 2, `--help` with 0, each with its text.
pub(crate) fn from_process() -> (Settings, Option<SecretKeys>) {
    let settings = match parse(std::env::args_os()) {
        Ok(Asked::Serve(settings)) => *settings,
        Ok(Asked::Reference) => {
            print!("{}", reference::markdown(&Cli::command()));
            std::process::exit(0)
        }
        Err(error) => error.exit(),
    };
    let keys = settings.keys().unwrap_or_else(|error| error.exit());
    (settings, keys)
}

/// What a command line asks for.
#[derive(Debug)]
enum Asked {
    Serve(Box<Settings>),
    Reference,
}

fn parse<I: IntoIterator<Item: Into<std::ffi::OsString> + Clone>>(args: I) -> Result<Asked, clap::Error> {
    let matches = Cli::command().try_get_matches_from(args)?;
    let of_settings = matches.subcommand().map_or(&matches, |(_, matches)| matches);
    if of_settings.try_contains_id("secret").unwrap_or(false)
        && of_settings.value_source("secret") == Some(ValueSource::CommandLine)
    {
        return Err(wrong("an argument shows in process lists: give the secret by --secret-file or TRUNKLINE_SECRET"));
    }
    let cli = Cli::from_arg_matches(&matches)?;
    let settings = match cli.command {
        Some(Command::Reference) => return Ok(Asked::Reference),
        Some(Command::Serve(settings)) => settings,
        None => Box::new(cli.settings),
    };
    settings.validate()?;
    Ok(Asked::Serve(settings))
}

/// Wrong usage: exit code 2.
fn wrong(message: impl std::fmt::Display) -> clap::Error {
    Cli::command().error(ErrorKind::ValueValidation, message)
}

impl Settings {
    /// What no single value tells.
    fn validate(&self) -> Result<(), clap::Error> {
        let https = self.public_origin.iter().any(Origin::is_https);
        if self.redis.as_ref().is_some_and(|url| !values::is_redis_url(url.reveal())) {
            return Err(wrong("--redis takes a URL that starts with redis:// or rediss://"));
        }
        if self.session_idle > self.session_max {
            return Err(wrong("--session-idle is longer than --session-max"));
        }
        if !https && ["__Host-", "__Secure-"].iter().any(|prefix| self.cookie_name.starts_with(prefix)) {
            return Err(wrong(format!(
                "browsers take a cookie named {} over https only: give an https --public-origin",
                self.cookie_name
            )));
        }
        if let Err(why) = self.log_filter.parse::<Targets>() {
            return Err(wrong(format!("--log-filter: {why}")));
        }
        if self.secret_file.is_some() && self.secret.is_some() {
            return Err(wrong("give --secret-file or TRUNKLINE_SECRET, not both"));
        }
        Ok(())
    }

    /// The keys that sign session cookies; `None` where none were given and none are needed.
    ///
    /// # Errors
    /// Keys that cannot be read or are too short, or none where other instances must know them: wrong usage, to be shown.
    fn keys(&self) -> Result<Option<SecretKeys>, clap::Error> {
        let (text, from) = match (&self.secret, &self.secret_file) {
            (Some(secret), _) => (secret.reveal().to_owned(), "TRUNKLINE_SECRET".to_owned()),
            (None, Some(file)) => {
                let from = format!("--secret-file {}", file.display());
                (std::fs::read_to_string(file).map_err(|error| wrong(format!("{from}: {error}")))?, from)
            }
            (None, None) if self.redis.is_some() => return Err(wrong(secrets::NEEDED)),
            (None, None) => return Ok(None),
        };
        let keys = SecretKeys::new(secrets::lines(&text));
        keys.map(Some).map_err(|why| wrong(format!("{from}: {why}; make one with `openssl rand -hex 64`")))
    }

    /// Which log lines are written.
    pub(crate) fn log_filter(&self) -> Targets {
        // `validate` has tried it.
        self.log_filter.parse().unwrap_or_default()
    }

    /// How long sessions last.
    pub(crate) fn lifetimes(&self) -> Lifetimes {
        Lifetimes { idle: self.session_idle, max: self.session_max, ..Lifetimes::default() }
    }

    /// What the gateway is built from. `instance` is the name to use where none was given.
    pub(crate) fn config(&self, instance: String, keys: SecretKeys) -> Config {
        Config {
            instance: self.instance.clone().unwrap_or(instance),
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
        }
    }
}

#[cfg(test)]
mod tests;
