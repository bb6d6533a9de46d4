//! JSON Web Tokens of load users, signed here as a service with its own users would.

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;
use trunkline_domain::{DisplayName, Token, UserId};

use crate::CheckError;

/// Smallest length of the secret in bytes, as gateways require it (RFC 7518 section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// Signs tokens with HS256. Clones share the secret.
#[derive(Clone)]
pub(crate) struct TokenSigner {
    secret: Arc<[u8]>,
    ttl: Duration,
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the secret.
        f.debug_struct("TokenSigner").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl TokenSigner {
    /// Reads the secret: the bytes of the file without a trailing line end.
    ///
    /// # Errors
    /// [`CheckError::File`] if the file cannot be read, [`CheckError::Usage`] if the secret is too short.
    pub(crate) fn read(path: &Path, ttl: Duration) -> Result<Self, CheckError> {
        let bytes = std::fs::read(path).map_err(CheckError::file(path))?;
        let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if secret.len() < SECRET_BYTES_MIN {
            let text = format!(
                "--jwt-secret-file: the secret has {} bytes; at least {SECRET_BYTES_MIN} are needed",
                secret.len()
            );
            return Err(CheckError::Usage(text));
        }
        Ok(Self { secret: secret.into(), ttl })
    }

    /// A new token of a user.
    pub(crate) fn sign(&self, user: &UserId) -> Token {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.sign_at(user, now)
    }

    fn sign_at(&self, user: &UserId, now: Duration) -> Token {
        // Whole seconds (RFC 7519 section 2), rounded up so that the token lives for its time.
        let until = (now + self.ttl).as_secs_f64().ceil() as u64;
        let mut claims = json!({"sub": user, "iat": now.as_secs(), "exp": until});
        if let Some(name) = display_name(user) {
            claims["name"] = json!(name);
        }
        let encode = |json: String| BASE64_URL_SAFE_NO_PAD.encode(json);
        let signed =
            format!("{}.{}", encode(json!({"alg": "HS256", "typ": "JWT"}).to_string()), encode(claims.to_string()));
        // HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.secret) else { return Token::new(signed) };
        mac.update(signed.as_bytes());
        let signature = BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        Token::new(format!("{signed}.{signature}"))
    }
}

/// The display name in the tokens of a user. Every second user has one; it contains a space, as an id cannot.
pub(crate) fn display_name(user: &UserId) -> Option<DisplayName> {
    let sum: u32 = user.as_str().bytes().map(u32::from).sum();
    sum.is_multiple_of(2).then(|| format!("User {user}").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_signed_as_rfc_7515_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        let signer = TokenSigner::read(&path, Duration::from_secs(5)).unwrap();
        assert!(!format!("{signer:?}").contains("abcdef"));
        let token = signer.sign_at(&"u-w2".parse().unwrap(), Duration::from_millis(1_700_000_000_900));
        let parts: Vec<&str> = token.reveal().split('.').collect();
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        let json = |part: &str| serde_json::from_slice::<serde_json::Value>(&decode(part)).unwrap();
        assert_eq!(json(parts[0]), json!({"alg": "HS256", "typ": "JWT"}));
        assert_eq!(json(parts[1]), json!({"sub": "u-w2", "iat": 1_700_000_000, "exp": 1_700_000_006}));
        // printf '%s' "$header.$claims" | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef -binary | base64url
        assert_eq!(parts[2], "3zlU93sK2ZqgbHD39gHy84BDSjVb65aKl7SycBvLSok");
    }

    #[test]
    fn short_secret_and_missing_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(matches!(TokenSigner::read(&path, Duration::ZERO), Err(CheckError::File { .. })));
        std::fs::write(&path, "0123456789abcdef0123456789abcde\r\n").unwrap();
        assert!(matches!(TokenSigner::read(&path, Duration::ZERO), Err(CheckError::Usage(_))));
    }
}
