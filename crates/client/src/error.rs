//! What can go wrong before a client runs; a running one deals with failures by itself.

use std::{io, time::Duration};

/// Why a login or the set-up of a client failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Correct the address.
    #[error("{address:?} is not the address of a gateway: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Try again later: nobody answers there, or the connection broke.
    #[error("the gateway cannot be reached")]
    Unreachable(#[from] io::Error),
    /// Something else than a Trunkline gateway answers there.
    #[error("not a Trunkline gateway: {0}")]
    Foreign(&'static str),
    /// The gateway refused; where `retry_after` is given, it may not after that time.
    #[error("refused with {status} {code}: {detail}")]
    Refused {
        /// HTTP status: 400 bad name, 409 name taken, 429 too many logins, 503 unavailable.
        status: u16,
        /// Why, for programs; empty if the answer has none.
        code: String,
        /// Why, for people; empty if the answer has none.
        detail: String,
        /// When to try again.
        retry_after: Option<Duration>,
    },
}
