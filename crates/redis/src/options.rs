//! What flags add to a URL.

use std::{fmt, path::PathBuf};

use crate::url::InvalidRedisUrl;

/// What the URL does not say. The default adds nothing. `Debug` omits the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RedisOptions {
    /// File with the certificates (PEM) of the CAs that are trusted instead of those of the system. Only with TLS.
    pub ca_file: Option<PathBuf>,
    /// File with the client certificate and its chain (PEM). Only with TLS, and with [`key_file`](Self::key_file).
    pub certificate_file: Option<PathBuf>,
    /// File with the private key of the client certificate (PEM: PKCS #8, PKCS #1 or SEC 1).
    pub key_file: Option<PathBuf>,
    /// User of the Sentinels, if not the default one. Only with Sentinels, and with a password.
    pub sentinel_user: Option<String>,
    /// Password of the Sentinels. They are not sent the user and password of the URL.
    pub sentinel_password: Option<String>,
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ca_file, certificate_file, key_file, sentinel_user, sentinel_password } = self;
        f.debug_struct("RedisOptions")
            .field("ca_file", ca_file)
            .field("certificate_file", certificate_file)
            .field("key_file", key_file)
            .field("sentinel_user", sentinel_user)
            .field("sentinel_password", &sentinel_password.as_ref().map(|_| "***"))
            .finish()
    }
}

/// A file of [`RedisOptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// [`RedisOptions::ca_file`].
    Ca,
    /// [`RedisOptions::certificate_file`].
    Certificate,
    /// [`RedisOptions::key_file`].
    Key,
}

impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "CA file",
            Self::Certificate => "certificate file",
            Self::Key => "key file",
        })
    }
}

/// A setting with which no connection can work. Occurs only at start; contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedisSettings {
    /// The URL cannot be parsed.
    #[error(transparent)]
    Url(#[from] InvalidRedisUrl),
    /// A file cannot be read, or does not contain what it should.
    #[error("{file} {path}: {cause}", path = path.display())]
    File {
        /// What the file is for.
        file: TlsFile,
        /// Its path.
        path: PathBuf,
        /// What is wrong, and what to do.
        cause: String,
    },
    /// The system's root certificates cannot be used.
    #[error("cannot use the root certificates of this system ({0}); install them, or name a CA file")]
    SystemRoots(String),
    /// Files for TLS, and a URL without TLS.
    #[error(
        "the {0} is for TLS, and the URL does not ask for TLS: it must begin with rediss://, rediss-sentinel:// or rediss-cluster://"
    )]
    NoTls(TlsFile),
    /// A client certificate without its key, or the other way round.
    #[error("a client certificate needs both: the certificate file and the key file")]
    HalfAClientCertificate,
    /// Credentials for Sentinels, and a URL without Sentinels.
    #[error("there is a user or password for Sentinels, and the URL names no Sentinels")]
    NoSentinels,
    /// The Sentinels' user has no password.
    #[error("the user of the Sentinels needs a password")]
    SentinelUserWithoutPassword,
}
