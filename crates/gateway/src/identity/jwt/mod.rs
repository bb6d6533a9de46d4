//! Verifies JSON Web Tokens (RFC 7519). Pure: time and keys are arguments. Follows RFC 8725: the algorithm must be one that
//! fits the type of the key, `none` does not exist, and audiences are checked.

mod claims;
mod keys;
mod signature;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Header;

use self::claims::{Claims, SetOfText};
pub(super) use self::keys::KeySource;
pub use self::keys::{InvalidKeys, KeySet};
pub use super::{
    jwks::{InvalidJwksUrl, JwksUrl},
    tokens::{TokenSettings, TokenVerifier},
};
use crate::identity::Identity;

/// Maximum size of a token, in bytes. Servers commonly allow 8 KiB for one header line, so a larger token could not be sent.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;
/// Difference between the clocks of the issuer and of this machine that a token survives. It applies to accepting a token, not
/// to sockets, which are closed at `exp`.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// Why a token is refused, for the log. Contains nothing that a client chose, except lengths. Clients are sent the code
/// `bad_token` whatever the reason is, so that a client learns nothing about the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    #[error("the token has {0} bytes; at most 8192 are allowed")]
    TooLong(usize),
    #[error("the token does not consist of three parts in base64url")]
    Malformed,
    #[error("the header is not JSON, or names an algorithm that is not supported")]
    Header,
    #[error("the header has critical extensions, none of which is supported")]
    CriticalExtension,
    #[error("no key has the id that the token names")]
    UnknownKey,
    #[error("no key fits the algorithm of the token")]
    NoFittingKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("the claims are not a JSON object, or one of sub, exp, nbf, iss, aud and rooms is missing or invalid")]
    Claims,
    #[error("the token expired {0} s ago")]
    Expired(u64),
    #[error("the token becomes valid in {0} s")]
    NotYetValid(u64),
    #[error("the issuer is not the configured one")]
    Issuer,
    #[error("the audience is not the configured one")]
    Audience,
    #[error("the token is meant for an audience, and none is configured (--jwt-audience)")]
    UnexpectedAudience,
}

/// The claims that tokens must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRules {
    /// The required `iss`, if any.
    pub issuer: Option<String>,
    /// The required `aud`, if any. Without one, tokens that have an audience are refused, because they are meant for others
    /// (RFC 7519 section 4.1.3).
    pub audience: Option<String>,
}

impl TokenRules {
    /// Returns the identity that a token proves at `now`.
    ///
    /// # Errors
    /// [`BadToken`] with the reason. [`UnknownKey`](BadToken::UnknownKey) if newer keys could change the result.
    pub(crate) fn verify<'a>(
        &self,
        token: &str,
        sets: impl Iterator<Item = &'a KeySet>,
        now: SystemTime,
    ) -> Result<Identity, BadToken> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(BadToken::TooLong(token.len()));
        }
        let (message, signature) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(BadToken::Malformed)?;
        let [header, claims, signature] = [header, claims, signature].map(|part| URL_SAFE_NO_PAD.decode(part));
        let (Ok(header), Ok(claims), Ok(signature)) = (header, claims, signature) else {
            return Err(BadToken::Malformed);
        };
        let header: Header = serde_json::from_slice(&header).map_err(|_| BadToken::Header)?;
        if header.crit.is_some() {
            return Err(BadToken::CriticalExtension);
        }
        verify_signature(&header, message.as_bytes(), &signature, sets)?;
        self.check(serde_json::from_slice(&claims).map_err(|_| BadToken::Claims)?, now)
    }

    /// Checks the claims of a token whose signature is right.
    fn check(&self, claims: Claims, now: SystemTime) -> Result<Identity, BadToken> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expired = now.saturating_sub(claims.exp.0);
        if expired >= LEEWAY {
            return Err(BadToken::Expired(expired.as_secs()));
        }
        let early = claims.nbf.map_or(Duration::ZERO, |nbf| nbf.0.saturating_sub(now));
        if early > LEEWAY {
            return Err(BadToken::NotYetValid(early.as_secs()));
        }
        if self.issuer.is_some() && self.issuer != claims.iss {
            return Err(BadToken::Issuer);
        }
        match (&self.audience, claims.aud.unwrap_or_default()) {
            (None, SetOfText(audiences)) if audiences.is_empty() => {}
            (None, _) => return Err(BadToken::UnexpectedAudience),
            (Some(audience), SetOfText(audiences)) if audiences.contains(audience) => {}
            (Some(_), _) => return Err(BadToken::Audience),
        }
        let mut identity = Identity::new(claims.sub).until(UNIX_EPOCH + claims.exp.0);
        if let Some(name) = claims.name {
            identity = identity.named(name);
        }
        Ok(match claims.rooms {
            Some(grants) => identity.with_grants(grants),
            None => identity,
        })
    }
}

/// Checks the signature with the key that the header names, or with every key that fits the algorithm. A key without an id
/// fits every token.
fn verify_signature<'a>(
    header: &Header,
    message: &[u8],
    signature: &[u8],
    sets: impl Iterator<Item = &'a KeySet>,
) -> Result<(), BadToken> {
    let kid = header.kid.as_deref();
    let (mut is_known, mut has_fitting) = (kid.is_none(), false);
    for key in sets.flat_map(KeySet::keys) {
        let is_named = kid.is_some() && key.id() == kid;
        is_known |= is_named;
        if (kid.is_none() || is_named || key.id().is_none()) && key.fits(header.alg) {
            has_fitting = true;
            if key.verify(header.alg, message, signature) {
                return Ok(());
            }
        }
    }
    Err(match (is_known, has_fitting) {
        (false, _) => BadToken::UnknownKey,
        (true, false) => BadToken::NoFittingKey,
        (true, true) => BadToken::Signature,
    })
}
