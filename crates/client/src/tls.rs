//! TLS with the operating system's trusted certificates.

use std::sync::{Arc, OnceLock};

use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring},
};

/// The TLS connector of the process. Reading the trusted certificates takes some ms, so it happens once.
pub(crate) fn connector() -> TlsConnector {
    static CONNECTOR: OnceLock<TlsConnector> = OnceLock::new();
    CONNECTOR.get_or_init(make).clone()
}

fn make() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    // Certificates that cannot be read are left out. If one was needed, the handshake fails and names the issuer.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder
        .with_safe_default_protocol_versions()
        // Fails only if the provider has no cipher suite for a version; ring has suites for both.
        .unwrap_or_else(|error| unreachable!("ring supports TLS 1.2 and 1.3: {error}"))
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
