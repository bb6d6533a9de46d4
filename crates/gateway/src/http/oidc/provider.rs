//! The requests to the provider: its discovery document and keys, and the identity behind a code.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, EndUserName, HttpRequest,
    IssuerUrl, LocalizedClaim, LogoutRequest, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier,
    PostLogoutRedirectUrl, ProviderMetadataWithLogout, RedirectUrl, RequestTokenError, Scope,
    SignatureVerificationError, SubjectIdentifier, TokenResponse as _,
    core::{
        CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreErrorResponseType, CoreIdToken,
        CoreJwsSigningAlgorithm, CoreTokenResponse, CoreUserInfoClaims,
    },
};
use tokio::sync::Mutex;
use trunkline_domain::{DisplayName, UserId};
use url::Url;

use super::{pending::PendingLogin, user};
use crate::{
    http_client::{HttpClient, HttpClientError},
    oidc::OidcConfig,
};

/// Age at which the discovery document and the keys are requested again. Until that succeeds, the old ones are used.
const REFRESH_AGE: Duration = Duration::from_secs(60 * 60);
/// Minimum time between two requests for the discovery document because of a token that is signed by an unknown key.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(60);
/// Time after a failed discovery during which it is not repeated, so that not every login waits for a provider that is away.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Algorithms with which an ID token may be signed. Those with the client secret as the key are left out, because no provider
/// needs them: a secret of a few characters could be guessed from one token.
const SIGNATURES: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

type BoxError = Box<dyn Error + Send + Sync>;

/// The provider gives no identity. The sources are for the log and contain no secret, code or token.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    /// The provider does not answer, or answers something else than the protocol expects, which a wrong client secret can
    /// cause, too. The user can try again.
    #[error("the provider did not answer as expected")]
    Away(#[source] BoxError),
    /// The provider does not accept the code: it is used, expired or forged. The user must start again.
    #[error("the provider refused the code")]
    Refused(#[source] BoxError),
    /// The answer is for another login or another service, is not signed by the provider, or names a user whose id cannot be
    /// a user id.
    #[error("the provider's answer is not valid")]
    Invalid(#[source] BoxError),
}

/// The user that the provider has authenticated.
pub(super) struct ProviderUser {
    pub(super) user: UserId,
    pub(super) name: Option<DisplayName>,
    /// The ID token, with which the provider can be asked for a logout.
    pub(super) id_token: String,
}

/// The provider, as this process knows it.
pub(super) struct Provider {
    config: OidcConfig,
    /// Held while the discovery document is requested: other logins wait for the same answer, at most for two requests.
    known: Mutex<Discovery>,
}

type Metadata = Arc<ProviderMetadataWithLogout>;

/// The metadata of the provider, and the times of the last fetch and the last failure.
#[derive(Default)]
struct Discovery {
    client: Option<HttpClient>,
    known: Option<(Metadata, Instant)>,
    failed: Option<Instant>,
}

/// Whether to ask the provider again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// For a login; an old answer is good enough.
    Login,
    /// Because a token is signed by a key that is not among the known ones.
    UnknownKey,
}

/// Returns whether the provider is asked now, given the age of the known answer and the time since the last failure.
fn is_due(need: Need, age: Option<Duration>, since_failure: Option<Duration>) -> bool {
    let old = match need {
        Need::Login => REFRESH_AGE,
        Need::UnknownKey => UNKNOWN_KEY_PAUSE,
    };
    age.is_none_or(|age| age >= old) && since_failure.is_none_or(|since| since >= RETRY_PAUSE)
}

impl Provider {
    pub(super) fn new(config: OidcConfig) -> Self {
        Self { config, known: Mutex::default() }
    }

    pub(super) fn issuer(&self) -> &str {
        self.config.issuer()
    }

    /// The address of the provider's login for a pending login that returns to `redirect`.
    pub(super) async fn login_url(&self, pending: &PendingLogin, redirect: &RedirectUrl) -> Result<Url, ProviderError> {
        let (metadata, _) = self.discover(Need::Login).await?;
        let PendingLogin { state, nonce, verifier, .. } = pending.clone();
        let verifier = PkceCodeVerifier::new(verifier);
        let (url, ..) = CoreClient::from_provider_metadata((*metadata).clone(), self.client_id(), None)
            .set_redirect_uri(redirect.clone())
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .add_scope(Scope::new("profile".to_owned()))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        Ok(url)
    }

    /// Exchanges a code for the identity of the user who logged in.
    pub(super) async fn user(
        &self,
        code: &str,
        pending: &PendingLogin,
        redirect: &RedirectUrl,
    ) -> Result<ProviderUser, ProviderError> {
        let (metadata, http) = self.discover(Need::Login).await?;
        let tokens = self.exchange(code, pending, redirect, &metadata, &http).await?;
        let token = tokens.id_token().ok_or_else(|| ProviderError::Away("the response contains no ID token".into()))?;
        let nonce = Nonce::new(pending.nonce.clone());
        let mut claims = self.claims(token, &nonce, &metadata);
        if let Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey)) = claims {
            claims = self.claims(token, &nonce, &self.discover(Need::UnknownKey).await?.0);
        }
        let claims = claims.map_err(|error| ProviderError::Invalid(error.into()))?;
        let subject = claims.subject();
        let user = user::user_id(self.config.host(), subject)
            .ok_or_else(|| ProviderError::Invalid("the subject is too long or contains white space".into()))?;
        let preferred = claims.preferred_username().map(|name| name.as_str());
        let mut name = user::display_name([any_language(claims.name()), preferred]);
        if name.is_none() {
            name = self.name_from_user_info(&tokens, subject, &metadata, &http).await;
        }
        Ok(ProviderUser { user, name, id_token: token.to_string() })
    }

    /// The address at which the provider ends its session of the user, who then returns to `back`. `None` if it has none, or if
    /// the provider is away.
    pub(super) async fn logout_url(&self, id_token: &str, back: Url) -> Option<Url> {
        let (metadata, _) = self.discover(Need::Login).await.ok()?;
        let endpoint = metadata.additional_metadata().end_session_endpoint.clone()?;
        let mut request = LogoutRequest::from(endpoint)
            .set_client_id(self.client_id())
            .set_post_logout_redirect_uri(PostLogoutRedirectUrl::from_url(back));
        if let Ok(token) = id_token.parse::<CoreIdToken>() {
            request = request.set_id_token_hint(&token);
        }
        Some(request.http_get_url())
    }

    fn client_id(&self) -> ClientId {
        ClientId::new(self.config.client_id().to_owned())
    }

    async fn exchange(
        &self,
        code: &str,
        pending: &PendingLogin,
        redirect: &RedirectUrl,
        metadata: &Metadata,
        http: &HttpClient,
    ) -> Result<CoreTokenResponse, ProviderError> {
        // Basic is what providers must support; those that list their methods without it get the secret in the body.
        let methods = metadata.token_endpoint_auth_methods_supported();
        let basic = methods.is_none_or(|methods| methods.contains(&CoreClientAuthMethod::ClientSecretBasic));
        let secret = ClientSecret::new(self.config.secret().to_owned());
        let client = CoreClient::from_provider_metadata((**metadata).clone(), self.client_id(), Some(secret))
            .set_auth_type(if basic { AuthType::BasicAuth } else { AuthType::RequestBody })
            .set_redirect_uri(redirect.clone());
        let request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|error| ProviderError::Away(error.into()))?
            .set_pkce_verifier(PkceCodeVerifier::new(pending.verifier.clone()));
        request.request_async(&sender(http)).await.map_err(|error| match error {
            RequestTokenError::ServerResponse(refusal) if *refusal.error() == CoreErrorResponseType::InvalidGrant => {
                ProviderError::Refused(refusal.to_string().into())
            }
            error => ProviderError::Away(error.to_string().into()),
        })
    }

    /// The claims of a token that is signed by the provider, for this service and this login.
    fn claims<'a>(
        &self,
        token: &'a CoreIdToken,
        nonce: &Nonce,
        metadata: &Metadata,
    ) -> Result<&'a openidconnect::core::CoreIdTokenClaims, ClaimsVerificationError> {
        let client = CoreClient::from_provider_metadata((**metadata).clone(), self.client_id(), None);
        token.claims(&client.id_token_verifier().set_allowed_algs(SIGNATURES), nonce)
    }

    /// The name that the provider gives on request, which many leave out of the token. A user without a name can log in.
    async fn name_from_user_info(
        &self,
        tokens: &CoreTokenResponse,
        subject: &SubjectIdentifier,
        metadata: &Metadata,
        http: &HttpClient,
    ) -> Option<DisplayName> {
        let token = tokens.access_token();
        // openidconnect panics at a token that cannot be a header.
        if !token.secret().bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let client = CoreClient::from_provider_metadata((**metadata).clone(), self.client_id(), None);
        let request = client.user_info(token.clone(), Some(subject.clone())).ok()?;
        let claims: Result<CoreUserInfoClaims, _> = request.request_async(&sender(http)).await;
        match claims {
            Ok(claims) => {
                user::display_name([any_language(claims.name()), claims.preferred_username().map(|name| name.as_str())])
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn Error, "the provider gave no name; the user is shown by id");
                None
            }
        }
    }

    /// The discovery document with the keys, and the client to reach the provider with.
    async fn discover(&self, need: Need) -> Result<(Metadata, HttpClient), ProviderError> {
        let mut discovery = self.known.lock().await;
        let Discovery { client, known, failed } = &mut *discovery;
        let http = match client {
            Some(client) => client.clone(),
            None => client.insert(HttpClient::new().map_err(|error| ProviderError::Away(error.into()))?).clone(),
        };
        let (age, since_failure) = (known.as_ref().map(|(_, at)| at.elapsed()), failed.map(|at| at.elapsed()));
        if is_due(need, age, since_failure) {
            match self.request_metadata(&http).await {
                Ok(metadata) => {
                    *known = Some((Arc::new(metadata), Instant::now()));
                    *failed = None;
                }
                Err(error) => {
                    *failed = Some(Instant::now());
                    if known.is_none() {
                        return Err(ProviderError::Away(error));
                    }
                    tracing::warn!(
                        error = &*error as &dyn Error,
                        issuer = self.config.issuer(),
                        "discovery of the provider failed; using the document and the keys of before"
                    );
                }
            }
        }
        match known {
            Some((metadata, _)) => Ok((metadata.clone(), http)),
            None => Err(ProviderError::Away("the last discovery failed less than 2 s ago".into())),
        }
    }

    async fn request_metadata(&self, http: &HttpClient) -> Result<ProviderMetadataWithLogout, BoxError> {
        let issuer = IssuerUrl::new(self.config.issuer().to_owned())?;
        Ok(ProviderMetadataWithLogout::discover_async(issuer, &sender(http)).await?)
    }
}

/// The claim without a language, or else in any.
fn any_language(claim: Option<&LocalizedClaim<EndUserName>>) -> Option<&str> {
    let claim = claim?;
    claim.get(None).or_else(|| claim.iter().next().map(|(_, name)| name)).map(|name| name.as_str())
}

/// Sends the requests that openidconnect builds.
fn sender(
    http: &HttpClient,
) -> impl Fn(HttpRequest) -> futures_util::future::BoxFuture<'static, Result<openidconnect::HttpResponse, HttpClientError>>
{
    let http = http.clone();
    move |request| {
        let http = http.clone();
        Box::pin(async move { http.send(request).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn provider_is_asked_once_an_hour_and_earlier_for_an_unknown_key() {
        for (need, age, due) in [
            (Need::Login, None, true),
            (Need::Login, Some(REFRESH_AGE - SECOND), false),
            (Need::Login, Some(REFRESH_AGE), true),
            (Need::UnknownKey, Some(UNKNOWN_KEY_PAUSE - SECOND), false),
            (Need::UnknownKey, Some(UNKNOWN_KEY_PAUSE), true),
        ] {
            assert_eq!(is_due(need, age, None), due, "{need:?} {age:?}");
        }
    }

    #[test]
    fn failed_discovery_is_not_repeated_for_two_seconds() {
        assert!(!is_due(Need::Login, None, Some(RETRY_PAUSE - SECOND)));
        assert!(!is_due(Need::UnknownKey, Some(REFRESH_AGE), Some(Duration::ZERO)));
        assert!(is_due(Need::Login, None, Some(RETRY_PAUSE)));
    }
}
