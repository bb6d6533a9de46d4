//! What can go wrong, by what the caller can do about it.

use std::error::Error;

/// A failed operation on sessions.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Another live session holds this name, or one that looks like it: choose another (409).
    #[error("the name is held by another session")]
    Taken,
    /// The session is gone for certain: log in again (401).
    #[error("the session has ended")]
    Ended,
    /// The store cannot be reached, did not answer in time or refused; nobody's session has changed for that, but a
    /// write was perhaps made. Try again later (503). The source is for the log, holds no secret, and is not for
    /// clients.
    #[error("the session store is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl SessionError {
    /// [`Unavailable`](Self::Unavailable), because of `source`.
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(source.into())
    }
}

/// A setting that cannot work. Only at start, hence not part of [`SessionError`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    /// No Redis URL, or one that needs what was not compiled in (TLS). The message never repeats it: it may hold a
    /// password.
    #[error("not a usable Redis URL: {0}")]
    Url(String),
    /// Letters, digits, `:`, `_`, `-` and `.` only; above all no braces, which Redis Cluster takes for a hash tag.
    #[error("a key prefix is made of letters, digits, ':', '_', '-' and '.'")]
    Prefix,
    /// Fewer than [`SecretKeys::MIN_BYTES`](crate::SecretKeys::MIN_BYTES) bytes.
    #[error("a secret for signing cookies needs at least 64 bytes, this one has {0}")]
    ShortSecret(usize),
    /// No secret at all.
    #[error("a secret for signing cookies is needed")]
    NoSecret,
    /// RFC 6265 section 4.1.1: a cookie name is an RFC 2616 token.
    #[error("a cookie name is made of letters, digits and !#$%&'*+-.^_`|~")]
    CookieName,
}
