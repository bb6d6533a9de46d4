//! What an error of Redis means to a caller, and to the connection that it came on.

use redis::{RedisError, ServerErrorKind};

use crate::{BusError, ErrorKind};

/// What the caller of a failed command can do.
pub(super) fn kind(error: &RedisError) -> ErrorKind {
    if error.is_timeout() {
        return ErrorKind::Timeout;
    }
    match error.code() {
        // Checked before the script's first write, which is its first command that could be refused.
        Some("OOM" | "MISCONF" | "READONLY" | "NOREPLICAS" | "NOPERM") => ErrorKind::Rejected,
        _ => ErrorKind::Unavailable,
    }
}

/// Whether the connection should be given up: it broke, or Redis is not any more what it was when it was made.
pub(super) fn is_link_broken(error: &RedisError) -> bool {
    let changed = [ServerErrorKind::NoScript, ServerErrorKind::ReadOnly, ServerErrorKind::BusyLoading];
    error.is_unrecoverable_error()
        || error.is_timeout()
        || error.is_io_error()
        || changed.iter().any(|&kind| error.kind() == redis::ErrorKind::Server(kind))
}

impl From<RedisError> for BusError {
    fn from(error: RedisError) -> Self {
        Self::new(kind(&error), error)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn server(answer: &str) -> RedisError {
        let mut bytes = format!("-{answer}\r\n").into_bytes();
        bytes.shrink_to_fit();
        redis::parse_redis_value(&bytes).unwrap().extract_error().unwrap_err()
    }

    #[test]
    fn errors_are_named_by_what_the_caller_can_do() {
        let table = [
            (server("OOM command not allowed when used memory > 'maxmemory'."), ErrorKind::Rejected, false),
            (server("MISCONF Redis is configured to save RDB snapshots"), ErrorKind::Rejected, false),
            (server("NOREPLICAS Not enough good replicas to write."), ErrorKind::Rejected, false),
            (server("READONLY You can't write against a read only replica."), ErrorKind::Rejected, true),
            (server("NOPERM this user has no permissions"), ErrorKind::Rejected, false),
            (server("NOSCRIPT No matching script."), ErrorKind::Unavailable, true),
            (server("LOADING Redis is loading the dataset in memory"), ErrorKind::Unavailable, true),
            (server("ERR something"), ErrorKind::Unavailable, false),
            (io::Error::from(io::ErrorKind::ConnectionReset).into(), ErrorKind::Unavailable, true),
            (io::Error::from(io::ErrorKind::TimedOut).into(), ErrorKind::Timeout, true),
        ];
        for (error, expected, broken) in table {
            assert_eq!((kind(&error), is_link_broken(&error)), (expected, broken), "{error}");
        }
    }
}
