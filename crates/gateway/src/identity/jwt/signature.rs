//! Checks signatures with `ring`, which the TLS of the HTTP client contains anyway. `jsonwebtoken` could check them itself,
//! but with a process-wide provider, which belongs to the application that embeds the gateway.

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
        RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
    },
};

/// Returns whether `signature` is the signature of `message`. The algorithm must be of the key's family; the caller checks
/// that.
pub(super) fn is_valid(key: &DecodingKey, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    match algorithm {
        Algorithm::HS256 => is_hmac(key, hmac::HMAC_SHA256, message, signature),
        Algorithm::HS384 => is_hmac(key, hmac::HMAC_SHA384, message, signature),
        Algorithm::HS512 => is_hmac(key, hmac::HMAC_SHA512, message, signature),
        Algorithm::RS256 => is_rsa(key, &RSA_PKCS1_2048_8192_SHA256, message, signature),
        Algorithm::RS384 => is_rsa(key, &RSA_PKCS1_2048_8192_SHA384, message, signature),
        Algorithm::RS512 => is_rsa(key, &RSA_PKCS1_2048_8192_SHA512, message, signature),
        Algorithm::PS256 => is_rsa(key, &RSA_PSS_2048_8192_SHA256, message, signature),
        Algorithm::PS384 => is_rsa(key, &RSA_PSS_2048_8192_SHA384, message, signature),
        Algorithm::PS512 => is_rsa(key, &RSA_PSS_2048_8192_SHA512, message, signature),
        Algorithm::ES256 => is_by_public_key(key, &ECDSA_P256_SHA256_FIXED, message, signature),
        Algorithm::ES384 => is_by_public_key(key, &ECDSA_P384_SHA384_FIXED, message, signature),
        Algorithm::EdDSA => is_by_public_key(key, &ED25519, message, signature),
        // The enum is non-exhaustive.
        _ => false,
    }
}

/// Compares in constant time.
fn is_hmac(key: &DecodingKey, algorithm: hmac::Algorithm, message: &[u8], signature: &[u8]) -> bool {
    let DecodingKeyKind::SecretOrDer(secret) = key.kind() else { return false };
    hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).is_ok()
}

fn is_rsa(key: &DecodingKey, algorithm: &'static RsaParameters, message: &[u8], signature: &[u8]) -> bool {
    match key.kind() {
        DecodingKeyKind::SecretOrDer(_) => is_by_public_key(key, algorithm, message, signature),
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            RsaPublicKeyComponents { n, e }.verify(algorithm, message, signature).is_ok()
        }
    }
}

fn is_by_public_key(
    key: &DecodingKey,
    algorithm: &'static dyn VerificationAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let DecodingKeyKind::SecretOrDer(public) = key.kind() else { return false };
    UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
}
