//! Certificates for servers that speak TLS, good ones and bad ones.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tempfile::TempDir;

use crate::{IoContext, Result, TestbedError};

/// The certificate that a server presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerCertificate {
    /// Valid for `127.0.0.1`, `::1` and `localhost`, signed by the CA.
    Valid,
    /// Valid for `redis.example` only.
    WrongName,
    /// Expired on 1 January 2020; otherwise valid.
    Expired,
    /// Signed by another CA; otherwise valid.
    WrongCa,
}

impl ServerCertificate {
    const ALL: [Self; 4] = [Self::Valid, Self::WrongName, Self::Expired, Self::WrongCa];

    fn file_name(self) -> &'static str {
        match self {
            Self::Valid => "server",
            Self::WrongName => "wrong-name",
            Self::Expired => "expired",
            Self::WrongCa => "wrong-ca",
        }
    }
}

/// A CA, server certificates and a client certificate as PEM files with ECDSA keys (P-256). Clones share the files, which
/// are removed with the last clone unless [`Self::create_in`] put them into a folder.
///
/// ```no_run
/// # fn main() -> Result<(), trunkline_testbed::TestbedError> {
/// use trunkline_testbed::{Redis, ServerCertificate, TlsFiles};
///
/// let tls = TlsFiles::create()?;
/// let redis = Redis::builder().tls(&tls).start()?;
/// println!("--redis {} --redis-ca {}", redis.url(), tls.ca().display());
/// redis.present(&tls, ServerCertificate::Expired)?; // on new connections
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TlsFiles {
    folder: PathBuf,
    _temporary: Option<Arc<TempDir>>,
}

impl TlsFiles {
    /// Creates the files in a temporary folder.
    ///
    /// # Errors
    /// See [`Self::create_in`].
    pub fn create() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("testbed-tls-").tempdir().context("cannot create a folder")?;
        let files = Self::create_in(folder.path())?;
        Ok(Self { _temporary: Some(Arc::new(folder)), ..files })
    }

    /// Creates the files in this folder. Files with the same names are replaced.
    ///
    /// # Errors
    /// Returns [`TestbedError::File`] if a file cannot be written, and [`TestbedError::Certificate`] if the system has no
    /// randomness.
    pub fn create_in(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).on_path("cannot create", folder)?;
        let files = Self { folder: folder.to_owned(), _temporary: None };
        let authority = files.authority("ca", "Trunkline test CA")?;
        let other = files.authority("other-ca", "Another test CA")?;
        for certificate in ServerCertificate::ALL {
            let names = match certificate {
                ServerCertificate::WrongName => vec!["redis.example".to_owned()],
                _ => ["127.0.0.1", "::1", "localhost"].map(str::to_owned).into(),
            };
            let mut params = CertificateParams::new(names)?;
            if certificate == ServerCertificate::Expired {
                params.not_after = date_time_ymd(2020, 1, 1);
            }
            // Servers also connect to each other, as clients: replication, cluster bus, Sentinels.
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let issuer = if certificate == ServerCertificate::WrongCa { &other } else { &authority };
            files.signed(certificate.file_name(), &params, issuer)?;
        }
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "gateway");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        files.signed("client", &params, &authority)?;
        Ok(files)
    }

    /// The CA that signed the server certificates and the client certificate: the gateway's `--redis-ca`.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A CA that signed none of them except [`ServerCertificate::WrongCa`].
    pub fn other_ca(&self) -> PathBuf {
        self.folder.join("other-ca.pem")
    }

    /// A server certificate and its key.
    pub fn server(&self, certificate: ServerCertificate) -> (PathBuf, PathBuf) {
        self.pair(certificate.file_name())
    }

    /// The client certificate and its key: the gateway's `--redis-cert` and `--redis-key`.
    pub fn client(&self) -> (PathBuf, PathBuf) {
        self.pair("client")
    }

    /// Directives for a Redis server or a Sentinel that listens with TLS only.
    pub(crate) fn directives(&self, port: u16, require_client_certificates: bool) -> Vec<(&'static str, String)> {
        let (certificate, key) = self.server(ServerCertificate::Valid);
        let clients = if require_client_certificates { "yes" } else { "optional" };
        vec![
            ("port", "0".to_owned()),
            ("tls-port", port.to_string()),
            ("tls-ca-cert-file", self.ca().display().to_string()),
            ("tls-cert-file", certificate.display().to_string()),
            ("tls-key-file", key.display().to_string()),
            ("tls-auth-clients", clients.to_owned()),
            // Also for connections of a Sentinel to the servers.
            ("tls-replication", "yes".to_owned()),
        ]
    }

    fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.folder.join(format!("{name}.pem")), self.folder.join(format!("{name}.key")))
    }

    fn authority(&self, name: &str, common_name: &str) -> Result<Issuer<'static, KeyPair>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        self.write(name, &params.self_signed(&key)?.pem(), &key)?;
        Ok(Issuer::new(params, key))
    }

    fn signed(&self, name: &str, params: &CertificateParams, issuer: &Issuer<'static, KeyPair>) -> Result<()> {
        let key = KeyPair::generate()?;
        self.write(name, &params.signed_by(&key, issuer)?.pem(), &key)
    }

    fn write(&self, name: &str, certificate: &str, key: &KeyPair) -> Result<()> {
        let (certificate_file, key_file) = self.pair(name);
        fs::write(&certificate_file, certificate).on_path("cannot write", &certificate_file)?;
        fs::write(&key_file, key.serialize_pem()).on_path("cannot write", &key_file)
    }
}

impl From<rcgen::Error> for TestbedError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}
