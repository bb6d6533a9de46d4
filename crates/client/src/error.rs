//! Errors before a client runs. A running client handles failures itself and reports them as events.

use std::{io, time::Duration};

/// Why a login, a logout or the parsing of a URL failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be used. Correct it.
    #[error("{url:?} is not the URL of a gateway: {reason}")]
    InvalidUrl {
        /// The URL.
        url: String,
        /// The mistake in it.
        reason: &'static str,
    },
    /// The gateway did not answer, or the connection failed. Try again later.
    #[error("the gateway cannot be reached")]
    Unreachable(#[from] io::Error),
    /// The server is not a Trunkline gateway.
    #[error("not a Trunkline gateway: {0}")]
    NotAGateway(&'static str),
    /// The gateway refused. If `retry_after` is given, try again after that time.
    #[error("refused with {status} {code}: {detail}")]
    Refused {
        /// HTTP status: 400 invalid name, 409 name taken, 429 too many logins, 503 unavailable.
        status: u16,
        /// The error code. Empty if the response has none.
        code: String,
        /// The explanation for people. Empty if the response has none.
        detail: String,
        /// The time of `Retry-After`.
        retry_after: Option<Duration>,
    },
}
