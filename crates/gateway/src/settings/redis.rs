//! The settings of the connections to Redis.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use trunkline_bus::{InvalidRedisSettings, RedisOptions, RedisUrl, TlsFile};

use super::{RedactedText, secrets, values};

/// Which Redis the instance uses, and how.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct RedisFlags {
    /// URL of the Redis that all instances share. One server: redis://[user:password@]host[:port][/db] or
    /// unix://[user:password@]/path[?db=n]. The master that Sentinels name:
    /// redis-sentinel://[user:password@]host[:port][,host...][/db]#master. A cluster:
    /// redis-cluster://[user:password@]host[:port][,host...]. The same over TLS: rediss://, rediss-sentinel:// and
    /// rediss-cluster://. In a password, @ : / # ? % are written %40 %3A %2F %23 %3F %25. Without the flag the process
    /// runs as a single instance and keeps everything in memory. Prefer the variable for a URL with a password, because
    /// arguments are visible in process lists.
    #[arg(id = "redis", long = "redis", env = "TRUNKLINE_REDIS", value_name = "URL", hide_env_values = true,
          value_parser = RedactedText::parse)]
    pub(crate) url: Option<RedactedText>,

    /// File with the CA certificates (PEM) that the certificate of Redis must come from. By default those of the system
    /// count. Requires a URL with TLS.
    #[arg(long = "redis-ca", env = "TRUNKLINE_REDIS_CA", value_name = "FILE", requires = "redis")]
    ca: Option<PathBuf>,

    /// File with the certificate, and its chain (PEM), that the gateway shows to Redis. Requires --redis-key and a URL with
    /// TLS.
    #[arg(long = "redis-cert", env = "TRUNKLINE_REDIS_CERT", value_name = "FILE", requires = "redis")]
    cert: Option<PathBuf>,

    /// File with the private key (PEM) of that certificate. Files are read at the start only.
    #[arg(long = "redis-key", env = "TRUNKLINE_REDIS_KEY", value_name = "FILE", requires = "redis")]
    key: Option<PathBuf>,

    /// User at the Sentinels, where they have users of their own. They are not sent the user and password of the URL.
    #[arg(
        long = "redis-sentinel-user",
        env = "TRUNKLINE_REDIS_SENTINEL_USER",
        value_name = "NAME",
        requires = "redis"
    )]
    sentinel_user: Option<String>,

    /// File with the password at the Sentinels, where they require one.
    #[arg(
        long = "redis-sentinel-password-file",
        env = "TRUNKLINE_REDIS_SENTINEL_PASSWORD_FILE",
        value_name = "FILE",
        requires = "redis"
    )]
    sentinel_password_file: Option<PathBuf>,

    /// Prefix of all keys and channels in Redis. Deployments that share a Redis server need different prefixes: pub/sub
    /// channels are shared by all databases of a server.
    #[arg(long = "redis-prefix", env = "TRUNKLINE_REDIS_PREFIX", value_name = "PREFIX", default_value = "tl",
          value_parser = values::redis_prefix)]
    pub(crate) prefix: String,

    /// Maximum time for which commands to Redis wait for others so that they are sent together, from 0ms to 4ms. With 0ms
    /// they wait only while earlier commands are on their way. Larger values save CPU time of Redis and the gateway under
    /// load at the cost of latency; at little load commands never wait.
    #[arg(long, env = "TRUNKLINE_BATCH_DELAY_MAX", value_name = "DURATION", default_value = "0ms",
          value_parser = values::batch_delay)]
    pub(crate) batch_delay_max: Duration,
}

impl RedisFlags {
    /// Checks the URL.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(super) fn validate(&self) -> Result<(), String> {
        let parsed = self.url.as_ref().map(|url| url.reveal().parse::<RedisUrl>()).transpose();
        parsed.map(drop).map_err(|why| format!("--redis: {why}"))
    }

    /// Returns what the flags add to the URL.
    ///
    /// # Errors
    /// The password of the Sentinels cannot be read. The files for TLS are read when the first connector is created.
    pub(super) fn options(&self) -> Result<RedisOptions, String> {
        let password = |file| {
            let text = secrets::read(file)?;
            let line = secrets::lines(&text).next().map(str::to_owned);
            line.ok_or_else(|| "the file is empty; write the password in its first line".to_owned())
        };
        let sentinel_password = self.sentinel_password_file.as_ref().map(|file| {
            let flag = "--redis-sentinel-password-file";
            password(file).map_err(|why| format!("{flag} {}: {why}", file.display()))
        });
        Ok(RedisOptions {
            ca_file: self.ca.clone(),
            certificate_file: self.cert.clone(),
            key_file: self.key.clone(),
            sentinel_user: self.sentinel_user.clone(),
            sentinel_password: sentinel_password.transpose()?,
        })
    }
}

/// Returns the message to the operator: the flags that are wrong, and why.
pub(crate) fn describe(error: &InvalidRedisSettings) -> String {
    let flags = match error {
        InvalidRedisSettings::File { file, path, cause } => {
            return format!("{} {}: {cause}", flag(*file), path.display());
        }
        InvalidRedisSettings::NoTls(file) => flag(*file),
        InvalidRedisSettings::HalfAClientCertificate => "--redis-cert, --redis-key",
        InvalidRedisSettings::NoSentinels => "--redis-sentinel-user, --redis-sentinel-password-file",
        InvalidRedisSettings::SentinelUserWithoutPassword => "--redis-sentinel-password-file",
        InvalidRedisSettings::Url(_) | InvalidRedisSettings::SystemRoots(_) => "--redis",
    };
    format!("{flags}: {error}")
}

fn flag(file: TlsFile) -> &'static str {
    match file {
        TlsFile::Ca => "--redis-ca",
        TlsFile::Certificate => "--redis-cert",
        TlsFile::Key => "--redis-key",
    }
}
