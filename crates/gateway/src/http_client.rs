//! The gateway as an HTTP client of identity providers: key sets, discovery, token exchange.

use std::{
    io,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Request, Response, header::USER_AGENT};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// Maximum time for a request, from the look-up of the host name to the end of the response. A larger value lets users wait
/// longer for a provider that does not answer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a response. Key sets and discovery documents of large providers have about 16 KiB.
const MAX_BODY_BYTES: usize = 256 << 10;
/// Time after which an idle connection is closed. Requests are rare, so connections are not worth keeping.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends requests over HTTP/1.1, with TLS for `https` URLs. Trusts the certificate authorities of the system, and the file that
/// `SSL_CERT_FILE` names. Follows no redirects and uses no proxy. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// A request has no usable response. The texts contain neither the URL nor parts of the response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpClientError {
    #[error("cannot connect")]
    Connect(#[source] hyper_util::client::legacy::Error),
    #[error("the connection failed before the response was complete")]
    Interrupted(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no response within 5 s")]
    Timeout,
    #[error("the response is larger than 256 KiB")]
    TooLarge,
}

impl HttpClient {
    /// Reads the certificates of the system.
    ///
    /// # Errors
    /// The system has no certificates.
    pub(crate) fn new() -> io::Result<Self> {
        let started = Instant::now();
        // Named, because the process may contain another provider as well, and then rustls has no default.
        let provider = rustls::crypto::ring::default_provider();
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)?
            .https_or_http()
            .enable_http1()
            .build();
        tracing::debug!(elapsed = ?started.elapsed(), "certificates of the system read");
        Ok(Self(Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_TIMEOUT).build(connector)))
    }

    /// Requests a JSON document.
    ///
    /// # Errors
    /// As [`Self::send`].
    #[cfg(feature = "jwt")]
    pub(crate) async fn get_json(&self, url: &hyper::Uri) -> Result<Response<Vec<u8>>, HttpClientError> {
        let mut request = Request::new(Vec::new());
        *request.uri_mut() = url.clone();
        request
            .headers_mut()
            .insert(hyper::header::ACCEPT, hyper::header::HeaderValue::from_static("application/json"));
        self.send(request).await
    }

    /// Sends a request and returns the complete response, whatever its status.
    ///
    /// # Errors
    /// [`HttpClientError`] if there is no complete response within [`REQUEST_TIMEOUT`].
    pub(crate) async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, HttpClientError> {
        let mut request = request.map(|body| Full::new(Bytes::from(body)));
        let agent = hyper::header::HeaderValue::from_static(concat!("trunkline/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().entry(USER_AGENT).or_insert(agent);
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| {
                if error.is_connect() {
                    HttpClientError::Connect(error)
                } else {
                    HttpClientError::Interrupted(error.into())
                }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    HttpClientError::TooLarge
                } else {
                    HttpClientError::Interrupted(error)
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes().into()))
        };
        tokio::time::timeout(REQUEST_TIMEOUT, exchange).await.unwrap_or(Err(HttpClientError::Timeout))
    }
}
