//! The settings of the connections to Redis.

use trunkline_bus::{InvalidRedisSettings, RedisOptions, TlsFile};

use super::{GatewaySettings, invalid, secrets};

impl GatewaySettings {
    /// Returns what the flags add to the URL.
    ///
    /// # Errors
    /// Returns an error with exit code 2 if the password of the Sentinels cannot be read. The files for TLS are read when the
    /// first connector is created.
    pub(super) fn redis_options(&self) -> Result<RedisOptions, clap::Error> {
        let password = |file| {
            let text = secrets::read(file)?;
            let line = secrets::lines(&text).next().map(str::to_owned);
            line.ok_or_else(|| "the file is empty; write the password in its first line".to_owned())
        };
        let sentinel_password = self.redis_sentinel_password_file.as_ref().map(|file| {
            let flag = "--redis-sentinel-password-file";
            password(file).map_err(|why| invalid(format!("{flag} {}: {why}", file.display())))
        });
        Ok(RedisOptions {
            ca_file: self.redis_ca.clone(),
            certificate_file: self.redis_cert.clone(),
            key_file: self.redis_key.clone(),
            sentinel_user: self.redis_sentinel_user.clone(),
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
