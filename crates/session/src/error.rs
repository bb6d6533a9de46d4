//! Errors, by what the caller can do about them.

use std::{error::Error, time::Duration};

use trunkline_redis::InvalidRedisSettings;

/// A failed operation on sessions.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Another session holds this name or one that looks like it. Choose another name (409).
    #[error("another session holds the name")]
    Taken,
    /// [`Sessions::end_user`](crate::Sessions::end_user) keeps the user out for this much longer (403).
    #[error("the user is kept out for another {0:?}")]
    KeptOut(Duration),
    /// The session does not exist any more. Log in again (401).
    #[error("the session has ended")]
    Ended,
    /// The store cannot be reached, did not answer in time or refused. A write may have been applied. Try again later
    /// (503). The source is meant for logs, not for clients, and contains no secret.
    #[error("the session store is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl SessionError {
    /// [`Unavailable`](Self::Unavailable) with `source` as its cause.
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(source.into())
    }
}

/// A setting that cannot work. Occurs only at start.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// The URL of Redis or its options cannot be used. The message does not repeat the URL, which may contain a password.
    #[error(transparent)]
    Redis(#[from] InvalidRedisSettings),
    /// The key prefix is empty or contains other characters than letters, digits, `:`, `_`, `-` and `.`. Braces would
    /// be a hash tag in Redis Cluster.
    #[error("a key prefix consists of letters, digits, ':', '_', '-' and '.'")]
    Prefix,
    /// A secret with fewer than [`SecretKeys::MIN_BYTES`](crate::SecretKeys::MIN_BYTES) bytes.
    #[error("a secret for signing cookies needs at least 64 bytes; this one has {0}")]
    ShortSecret(usize),
    /// The list of secrets is empty.
    #[error("at least one secret for signing cookies is required")]
    NoSecret,
    /// Not a token of RFC 2616, which RFC 6265 section 4.1.1 requires of a cookie name.
    #[error("a cookie name consists of letters, digits and !#$%&'*+-.^_`|~")]
    CookieName,
}
