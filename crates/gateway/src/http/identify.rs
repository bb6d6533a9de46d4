//! The identity of a request: from its token, else from the session cookie, else from the host application.

use actix_session::SessionExt as _;
use actix_web::{HttpRequest, http::header::HeaderMap};
use trunkline_session::principal;

use super::error::HttpError;
use crate::{
    Config,
    identity::{Identity, Unidentified},
    log_limit::info_limited,
};

/// Returns whether a request carries a token, in a gateway that accepts tokens. Such a request is not sent by a page of another
/// site on behalf of its user, because browsers do not add tokens by themselves.
pub(crate) fn carries_token(config: &Config, headers: &HeaderMap) -> bool {
    #[cfg(feature = "jwt")]
    return accepts_tokens(config) && crate::identity::carries_token(headers);
    #[cfg(not(feature = "jwt"))]
    {
        let _ = headers;
        accepts_tokens(config)
    }
}

/// Returns whether the gateway accepts tokens.
pub(super) fn accepts_tokens(config: &Config) -> bool {
    #[cfg(feature = "jwt")]
    return config.tokens.is_some();
    #[cfg(not(feature = "jwt"))]
    {
        let _ = config;
        false
    }
}

/// Returns the identity of the sender. The session middleware has loaded the session, if the request has a cookie.
///
/// # Errors
/// 401 without an identity or with an invalid token, 503 if that cannot be found out now. The reason is logged.
pub(crate) async fn identify(config: &Config, request: &HttpRequest) -> Result<Identity, HttpError> {
    match find(config, request).await {
        Ok(identity) => Ok(identity),
        Err(Unidentified::NotGiven) => Err(HttpError::NotLoggedIn),
        Err(Unidentified::Invalid(reason)) => {
            info_limited!(reason, "identity refused");
            Err(HttpError::BadToken)
        }
        Err(Unidentified::Unavailable(reason)) => {
            info_limited!(reason, "identity cannot be checked; answering 503");
            Err(HttpError::Unavailable)
        }
    }
}

async fn find(config: &Config, request: &HttpRequest) -> Result<Identity, Unidentified> {
    #[cfg(feature = "jwt")]
    if let Some(tokens) = &config.tokens {
        use crate::identity::Identify as _;
        match tokens.identify(request).await {
            Err(Unidentified::NotGiven) => {}
            decided => return decided,
        }
    }
    if let Some(principal) = principal(&request.get_session()) {
        let identity = Identity::new(principal.user).of_session(principal.sid);
        return Ok(match principal.name {
            Some(name) => identity.named(name),
            None => identity,
        });
    }
    match &config.host_users {
        Some(users) => users.identify(request).await,
        None => Err(Unidentified::NotGiven),
    }
}
