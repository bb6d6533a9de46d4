//! The keys that verify tokens, and the file formats that contain them.

use std::fmt;

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind,
    jwk::{Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::signature;

/// Maximum number of keys in a set. A token without `kid` is checked with all that fit, so this bounds the work that a forged
/// token causes. Identity providers publish two to five keys.
const MAX_KEYS: usize = 32;
/// Minimum length of an HMAC secret, in bytes: that of the hash value (RFC 7518 section 3.2 for HS256).
const MIN_SECRET_BYTES: usize = 32;
/// Minimum length of an RSA modulus, in bytes (RFC 7518 section 3.3).
const MIN_RSA_BYTES: usize = 256;

/// Keys that verify tokens. `Debug` shows no key.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    skipped: Vec<SkippedKey>,
}

/// One key with what its JWK says about it.
#[derive(Clone)]
pub(super) struct Key {
    id: Option<String>,
    /// The only algorithm that the key may be used with, if the JWK names one.
    algorithm: Option<Algorithm>,
    algorithms: &'static [Algorithm],
    key: DecodingKey,
}

/// The source of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// A file of the operator.
    File,
    /// A URL that everyone may read, so it must not contain secrets.
    Url,
}

/// A key that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SkippedKey {
    /// The line of the document on which it begins, from 1.
    pub(crate) line: usize,
    pub(crate) reason: &'static str,
}

/// A document contains no usable keys. The text names no part of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct InvalidKeys {
    /// The line at which reading stopped, from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl InvalidKeys {
    fn at(line: usize, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

impl KeySet {
    /// Reads the contents of a key file: a JWKS document (RFC 7517) if it begins with `{`, public keys if it contains PEM
    /// (`-----BEGIN PUBLIC KEY-----` or `-----BEGIN RSA PUBLIC KEY-----`), otherwise an HMAC secret of at least 32 bytes,
    /// without its trailing line end. Leading white space does not make a document a secret.
    ///
    /// # Errors
    /// [`InvalidKeys`] with the line and the reason.
    pub fn from_file(bytes: &[u8]) -> Result<Self, InvalidKeys> {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
        if text.starts_with(b"{") {
            return Self::from_jwks(bytes, KeySource::File);
        }
        if bytes.windows(PEM_BEGIN.len()).any(|part| part == PEM_BEGIN.as_bytes()) {
            return from_pem(bytes);
        }
        let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let secret = secret.strip_suffix(b"\r").filter(|_| secret.len() < bytes.len()).unwrap_or(secret);
        if secret.len() < MIN_SECRET_BYTES {
            let (length, least) = (secret.len(), MIN_SECRET_BYTES);
            let reason = format!(
                "an HMAC secret of {length} bytes; it must have at least {least} (create one with `openssl rand -hex 32`)"
            );
            return Err(InvalidKeys::at(1, reason));
        }
        let key = Key::new(DecodingKey::from_secret(secret)).map_err(|reason| InvalidKeys::at(1, reason))?;
        Ok(Self { keys: vec![key], skipped: Vec::new() })
    }

    /// Reads a JWKS document (RFC 7517 section 5). Keys of unknown types, for other uses, or with missing members are skipped,
    /// as the RFC recommends.
    ///
    /// # Errors
    /// [`InvalidKeys`] if the document is not a JWKS, or is a file without a usable key.
    pub(crate) fn from_jwks(bytes: &[u8], source: KeySource) -> Result<Self, InvalidKeys> {
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| InvalidKeys::at(line_at(bytes, error.valid_up_to()), "the document is not UTF-8"))?;
        let text = text.trim_start_matches('\u{feff}');
        // The message of serde_json would repeat parts of the document.
        let document: Document<'_> = serde_json::from_str(text).map_err(|error| {
            InvalidKeys::at(error.line().max(1), "not a JWKS document, which is a JSON object with an array \"keys\"")
        })?;
        if document.keys.len() > MAX_KEYS {
            return Err(InvalidKeys::at(1, format!("a JWKS document with more than {MAX_KEYS} keys")));
        }
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for raw in document.keys {
            // `raw` borrows from `text`.
            let line = line_at(text.as_bytes(), raw.get().as_ptr().addr().saturating_sub(text.as_ptr().addr()));
            match Key::from_jwk(raw.get(), source) {
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(SkippedKey { line, reason }),
            }
        }
        match (keys.is_empty(), skipped.first()) {
            (false, _) => Ok(Self { keys, skipped }),
            // The issuer has withdrawn its keys.
            (true, _) if source == KeySource::Url => Ok(Self { keys, skipped }),
            (true, Some(first)) => Err(InvalidKeys::at(first.line, format!("no usable key: {}", first.reason))),
            (true, None) => Err(InvalidKeys::at(1, "a JWKS document without keys")),
        }
    }

    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Returns the number of keys.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the keys of the document that are not used.
    pub(crate) fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }
}

const PEM_BEGIN: &str = "-----BEGIN ";

/// Reads all public keys of a PEM document (RFC 7468). Text between them is ignored.
fn from_pem(bytes: &[u8]) -> Result<KeySet, InvalidKeys> {
    let text = String::from_utf8_lossy(bytes);
    let mut keys = Vec::new();
    for (start, _) in text.match_indices(PEM_BEGIN) {
        let line = line_at(text.as_bytes(), start);
        let block = &text[start..];
        let label = block[PEM_BEGIN.len()..].split("-----").next().unwrap_or_default();
        let end = format!("-----END {label}-----");
        let Some(length) = block.find(&end) else {
            return Err(InvalidKeys::at(line, "the PEM block has no matching END line"));
        };
        let block = &block.as_bytes()[..length + end.len()];
        let key = match label {
            "PUBLIC KEY" => [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem]
                .iter()
                .find_map(|read| read(block).ok()),
            "RSA PUBLIC KEY" => DecodingKey::from_rsa_pem(block).ok(),
            label if label.contains("PRIVATE KEY") => {
                return Err(InvalidKeys::at(
                    line,
                    "a private key; only its public key belongs here (`openssl pkey -in FILE -pubout`)",
                ));
            }
            _ => return Err(InvalidKeys::at(line, "not a public key; expected -----BEGIN PUBLIC KEY-----")),
        };
        let key = key.and_then(|key| Key::new(key).ok());
        let unsupported = "not a public key of a supported type: RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519";
        keys.push(key.ok_or_else(|| InvalidKeys::at(line, unsupported))?);
        if keys.len() > MAX_KEYS {
            return Err(InvalidKeys::at(line, format!("more than {MAX_KEYS} keys")));
        }
    }
    Ok(KeySet { keys, skipped: Vec::new() })
}

impl Key {
    /// A key without an id, for all algorithms of its type.
    fn new(key: DecodingKey) -> Result<Self, &'static str> {
        Ok(Self { id: None, algorithm: None, algorithms: algorithms(&key)?, key })
    }

    fn from_jwk(json: &str, source: KeySource) -> Result<Self, &'static str> {
        let jwk: Jwk = serde_json::from_str(json).map_err(|_| "its type is not supported, or a member is missing")?;
        let common = &jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return Err("the key is not for signatures");
        }
        if common.key_operations.as_ref().is_some_and(|allowed| !allowed.contains(&KeyOperations::Verify)) {
            return Err("the key is not for verifying signatures");
        }
        let algorithm = common.key_algorithm.map(Algorithm::try_from).transpose();
        let algorithm = algorithm.map_err(|_| "the algorithm of the key is not supported")?;
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| "its type is not supported, or a member is missing")?;
        if source == KeySource::Url && key.family() == AlgorithmFamily::Hmac {
            return Err("a secret that a URL publishes is none");
        }
        let key = Self { id: common.key_id.clone(), algorithm, ..Self::new(key)? };
        if algorithm.is_some_and(|algorithm| !key.algorithms.contains(&algorithm)) {
            return Err("the algorithm of the key does not fit its type");
        }
        Ok(key)
    }

    /// The `kid` of the key.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether the key may verify signatures of this algorithm.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm) && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` is the signature of `message`. The key must [fit](Self::fits).
    pub(super) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.fits(algorithm) && signature::is_valid(&self.key, algorithm, message, signature)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, {:?})", self.id, self.algorithms)
    }
}

/// Returns the algorithms that a key fits, by its type and size.
fn algorithms(key: &DecodingKey) -> Result<&'static [Algorithm], &'static str> {
    use Algorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512};
    let bytes = match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) => bytes.len(),
        DecodingKeyKind::RsaModulusExponent { n, .. } => n.iter().skip_while(|byte| **byte == 0).count(),
    };
    match (key.family(), bytes) {
        (AlgorithmFamily::Hmac, bytes) if bytes >= MIN_SECRET_BYTES => Ok(&[HS256, HS384, HS512]),
        (AlgorithmFamily::Hmac, _) => Err("a secret must have at least 32 bytes"),
        // DER adds about 14 bytes to the modulus.
        (AlgorithmFamily::Rsa, bytes) if bytes >= MIN_RSA_BYTES => Ok(&[RS256, RS384, RS512, PS256, PS384, PS512]),
        (AlgorithmFamily::Rsa, _) => Err("an RSA key must have at least 2048 bits"),
        // An uncompressed point: 4, and two coordinates.
        (AlgorithmFamily::Ec, 65) => Ok(&[ES256]),
        (AlgorithmFamily::Ec, 97) => Ok(&[ES384]),
        (AlgorithmFamily::Ec, _) => Err("the curve must be P-256 or P-384"),
        (AlgorithmFamily::Ed, 32) => Ok(&[EdDSA]),
        (AlgorithmFamily::Ed, _) => Err("the curve must be Ed25519"),
    }
}

/// Returns the line of the byte at `offset`, from 1.
fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}
