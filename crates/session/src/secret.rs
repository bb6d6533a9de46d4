//! The secret part of a session's key, and what stores keep of it.

use crate::{
    Sid,
    hex::{as_hex, hash, parse_hex},
};

/// The secret in a session cookie: 128 random bits. Never logged and never stored; stores keep its [`SecretDigest`].
#[derive(Clone, Copy)]
pub(crate) struct SessionSecret(u128);

impl SessionSecret {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    pub(crate) fn digest(self) -> SecretDigest {
        SecretDigest(hash(&[b"digest", &self.0.to_be_bytes()]))
    }

    /// Derives the secret that supersedes this one. The result depends only on this secret and the salt, so every
    /// instance derives the same.
    pub(crate) fn next(self, salt: SecretSalt) -> Self {
        Self(hash(&[b"next", &self.0.to_be_bytes(), &salt.0.to_be_bytes()]))
    }
}

/// The value of a session cookie before it is signed: `<sid>.<secret>`.
pub(crate) struct SessionToken {
    pub(crate) sid: Sid,
    pub(crate) secret: SessionSecret,
}

impl SessionToken {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (sid, secret) = text.split_once('.')?;
        Some(Self { sid: sid.parse().ok()?, secret: SessionSecret(parse_hex(secret)?) })
    }

    pub(crate) fn to_text(&self) -> String {
        format!("{}.{:032x}", self.sid, self.secret.0)
    }
}

/// The first 128 bits of the SHA-256 of a secret: what stores keep and compare.
///
/// A copy of the store does not contain the secrets that cookies need. Comparisons need not take constant time: their
/// duration depends on the digest of a guess, which an attacker cannot choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecretDigest(u128);

/// 128 random bits that, together with a superseded secret, derive its successor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SecretSalt(u128);

impl SecretSalt {
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }
}

as_hex!(SecretDigest, SecretSalt);
