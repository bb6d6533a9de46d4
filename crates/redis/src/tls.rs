//! TLS by rustls: which certificates are trusted and shown, and what a failed handshake means.

use std::{fs::File, io, io::Read as _, path::Path, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        AlertDescription, CertificateError, ClientConfig, Error, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject},
    },
};

use crate::options::{InvalidRedisSettings, RedisOptions, TlsFile};

/// Maximum size of a file. The certificates of all public CAs take 300 KiB.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// How connections are encrypted. The files were read when it was created.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    /// # Errors
    /// A file or the system's roots cannot be used.
    pub(crate) fn new(options: &RedisOptions) -> Result<Self, InvalidRedisSettings> {
        let roots = match &options.ca_file {
            Some(path) => roots_in(path)?,
            None => system_roots()?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the cipher suites of TLS 1.2 and 1.3")
            .with_root_certificates(roots);
        let config = match (&options.certificate_file, &options.key_file) {
            (Some(certificate), Some(key)) => {
                let unusable =
                    |error: Error| invalid(TlsFile::Key, key, format!("not usable with the certificate: {error}"));
                config
                    .with_client_auth_cert(certificates(TlsFile::Certificate, certificate)?, private_key(key)?)
                    .map_err(unusable)?
            }
            (None, None) => config.with_no_client_auth(),
            _ => return Err(InvalidRedisSettings::HalfAClientCertificate),
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// The handshake with a host, whose certificate must be valid for its name or address.
    ///
    /// # Errors
    /// An error whose text names the cause.
    pub(crate) async fn handshake(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await.map_err(explained)
    }
}

fn roots_in(path: &Path) -> Result<RootCertStore, InvalidRedisSettings> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(TlsFile::Ca, path)? {
        let unusable =
            |error| invalid(TlsFile::Ca, path, format!("it contains a certificate that is not valid: {error}"));
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, InvalidRedisSettings> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems have certificates that rustls refuses; the others count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let cause = found.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(InvalidRedisSettings::SystemRoots(cause));
    }
    Ok(roots)
}

fn certificates(file: TlsFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, InvalidRedisSettings> {
    let bytes = read(file, path)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| invalid(file, path, not_pem(&error)))?;
    if certificates.is_empty() {
        return Err(invalid(file, path, "it contains no certificate in PEM format (-----BEGIN CERTIFICATE-----)"));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, InvalidRedisSettings> {
    let bytes = read(TlsFile::Key, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let cause = "it contains no private key in PEM format without a passphrase (-----BEGIN PRIVATE KEY-----)";
            invalid(TlsFile::Key, path, cause)
        }
        error => invalid(TlsFile::Key, path, not_pem(&error)),
    })
}

/// The errors of the parser can contain parts of the file.
fn not_pem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it is cut off: a PEM section has no end line",
        _ => "it is not in PEM format",
    }
}

fn read(file: TlsFile, path: &Path) -> Result<Vec<u8>, InvalidRedisSettings> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|open| open.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|error| {
        invalid(file, path, format!("{error}; the user that runs this program must be able to read it"))
    })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(invalid(file, path, "it is larger than 4 MiB, so it is no file of certificates"));
    }
    Ok(bytes)
}

fn invalid(file: TlsFile, path: &Path, cause: impl Into<String>) -> InvalidRedisSettings {
    InvalidRedisSettings::File { file, path: path.to_owned(), cause: cause.into() }
}

/// The same error with a text that names the cause, if rustls reported it.
pub(crate) fn explained(error: io::Error) -> io::Error {
    let text = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).map(explain);
    match text {
        Some(text) => io::Error::new(error.kind(), text),
        // The server closed the connection. Redis does so if the first bytes are no TLS it understands.
        None => error,
    }
}

/// What an error of rustls means, and what to do.
fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the server's certificate is from an unknown CA; the CA file must contain the CA's certificate".to_owned()
        }
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
            let expected = expected.to_str();
            if presented.is_empty() {
                format!("the server's certificate is not valid for the name {expected}; it names no host")
            } else {
                format!(
                    "the server's certificate is not valid for the name {expected}, only for {}",
                    presented.join(", ")
                )
            }
        }
        Error::InvalidCertificate(CertificateError::NotValidForName) => {
            "the server's certificate is not valid for the name of the host".to_owned()
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "the server's certificate has expired".to_owned()
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            "the server's certificate is not valid yet; compare the clocks".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server requires a client certificate; name its certificate file and key file".to_owned()
        }
        Error::AlertReceived(AlertDescription::UnknownCA) => {
            "the server does not know the CA of the client certificate".to_owned()
        }
        Error::InvalidMessage(_) => {
            format!("the answer is no TLS ({error}); compare the port, or use a URL without TLS")
        }
        error => error.to_string(),
    }
}
