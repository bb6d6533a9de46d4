//! Identities from tokens: which keys are asked, and when newer keys are fetched.

use std::{io, sync::Arc, time::SystemTime};

use actix_web::HttpRequest;

use super::{
    Identify, Identity, Unidentified, bearer,
    jwks::{JwksSource, JwksUrl},
    jwt::{BadToken, KeySet, TokenRules},
};
use crate::http_client::HttpClient;

/// Which tokens prove an identity.
#[derive(Clone, Debug, Default)]
pub struct TokenSettings {
    /// Keys that do not change while the process runs.
    pub keys: Option<KeySet>,
    /// URL of a JWKS document (RFC 7517) with further keys. Fetched at the start, every ten minutes, and at most once per minute
    /// when a token names an unknown key. While it cannot be fetched, the last keys remain valid.
    pub jwks_url: Option<JwksUrl>,
    /// The claims that tokens must have.
    pub rules: TokenRules,
}

/// Verifies tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TokenVerifier(Arc<VerifierState>);

#[derive(Debug)]
struct VerifierState {
    rules: TokenRules,
    fixed: Option<KeySet>,
    published: Option<JwksSource>,
}

impl TokenVerifier {
    /// Starts fetching keys if a URL is set. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// A URL is set, and the certificates of the system cannot be read.
    pub fn start(settings: TokenSettings) -> io::Result<Self> {
        for key in settings.keys.iter().flat_map(KeySet::skipped) {
            tracing::warn!(line = key.line, reason = key.reason, "a key of tokens is not used");
        }
        let published = match settings.jwks_url {
            Some(url) => {
                if !url.is_https() {
                    tracing::warn!(
                        "keys of tokens are fetched without TLS; a party on the way could replace them and log in as any user"
                    );
                }
                Some(JwksSource::start(HttpClient::new()?, url))
            }
            None => None,
        };
        Ok(Self(Arc::new(VerifierState { rules: settings.rules, fixed: settings.keys, published })))
    }

    /// Returns the identity that a token proves. Waits for newer keys if the token names an unknown one, for at most 6 s.
    ///
    /// # Errors
    /// - [`Unidentified::Invalid`] if it proves none.
    /// - [`Unidentified::Unavailable`] if no keys could be fetched since the start.
    pub async fn verify(&self, token: &str) -> Result<Identity, Unidentified> {
        let mut result = self.check(token);
        if let (Err(BadToken::UnknownKey | BadToken::NoFittingKey), Some(published)) = (&result, &self.0.published) {
            // Even without a fetch: another request's may just have ended.
            published.refresh().await;
            result = self.check(token);
            if result.is_err() && published.keys().is_none() {
                return Err(Unidentified::Unavailable("no keys of tokens have been fetched yet".to_owned()));
            }
        }
        result.map_err(|reason| Unidentified::Invalid(reason.to_string()))
    }

    /// Returns what is wrong although tokens of known keys work, for `/readyz`.
    pub(crate) fn degraded(&self) -> Option<String> {
        let published = self.0.published.as_ref()?;
        match (published.failure(), published.keys()) {
            (Some(failure), Some(_)) => Some(format!("jwks: {failure}; the earlier keys are kept")),
            (Some(failure), None) => Some(format!("jwks: {failure}; no token of its keys is accepted yet")),
            (None, Some(keys)) if keys.len() == 0 => Some("jwks: the document contains no usable key".to_owned()),
            (None, _) => None,
        }
    }

    fn check(&self, token: &str) -> Result<Identity, BadToken> {
        let published = self.0.published.as_ref().and_then(JwksSource::keys);
        self.0.rules.verify(token, self.0.fixed.iter().chain(published.as_deref()), SystemTime::now())
    }
}

impl Identify for TokenVerifier {
    async fn identify(&self, request: &HttpRequest) -> Result<Identity, Unidentified> {
        match bearer::token(request.headers()) {
            Ok(Some(token)) => self.verify(token).await,
            Ok(None) => Err(Unidentified::NotGiven),
            Err(ambiguous) => Err(Unidentified::Invalid(ambiguous.to_string())),
        }
    }
}
