//! Errors of a [`Bus`](crate::Bus).

use std::{error::Error, fmt, sync::Arc};

/// What the caller can do about a [`BusError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The log cannot be reached, or a permission is missing. A write may have been applied; retry with the same id.
    Unavailable,
    /// There was no reply in time. A write may have been applied; retry with the same id.
    Timeout,
    /// The log refuses the operation for now (out of memory, disk full, read-only). Nothing was written.
    Rejected,
    /// The message to amend is not a retained text, or was deleted. Nothing was written.
    NotFound,
    /// The message to amend has another author. Nothing was written.
    Forbidden,
}

/// A failed operation of a [`Bus`](crate::Bus). Its source is for the log of the gateway, not for clients.
#[derive(Clone, Debug)]
pub struct BusError {
    kind: ErrorKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl BusError {
    /// An error of `kind`, with its cause.
    pub fn new(kind: ErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: Some(source.into().into()) }
    }

    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<ErrorKind> for BusError {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl fmt::Display for BusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            ErrorKind::Unavailable => "the log cannot be reached",
            ErrorKind::Timeout => "the log did not reply in time",
            ErrorKind::Rejected => "the log refused the operation",
            ErrorKind::NotFound => "the message to amend is not a retained text",
            ErrorKind::Forbidden => "the message to amend has another author",
        })
    }
}

impl Error for BusError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
